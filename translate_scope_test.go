// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"testing"

	"github.com/prometheus/otlptranslator"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// scoped is a scope of the name lib, with attributes given as keys and values.
func scoped(keysAndValues ...any) func(pmetric.ScopeMetrics) {
	return func(sm pmetric.ScopeMetrics) {
		sm.Scope().SetName("lib")
		putAll(sm.Scope().Attributes(), keysAndValues)
	}
}

// TestRule17ScopeAttributesThatConflict: an attribute of a scope whose label would be the scope's name, version or schema
// URL is left out, whatever its key, and also if the scope has none.
func TestRule17ScopeAttributesThatConflict(t *testing.T) {
	x := metrics{gaugeOf("x", number(1))}
	runTranslations(t, []translationCase{
		{
			name: "after the conversion of the key", metrics: x,
			scope: scoped("name", "1", ".name", "2", "_name", "3", "schema.url", "4", "schema_url", "5", "schema-url", "6", "version", "7", "-version", "8"),
			want:  []string{`x{otel_scope_name="lib"} 1 @1000`},
		},
		{
			name: "of a scope with a schema URL", metrics: x,
			scope: func(sm pmetric.ScopeMetrics) {
				scoped("schema.url", "attribute", "schema.urls", "another")(sm)
				sm.SetSchemaUrl("https://schema")
			},
			want: []string{`x{otel_scope_name="lib",otel_scope_schema_url="https://schema",otel_scope_schema_urls="another"} 1 @1000`},
		},
		{
			name: "of UTF-8 names, only the very same", edit: strategy(otlptranslator.NoTranslation), metrics: x,
			scope: scoped("name", "1", ".name", "2", "schema.url", "4", "schema_url", "5"),
			want:  []string{`x{"otel_scope_.name"="2",otel_scope_name="lib","otel_scope_schema.url"="4"} 1 @1000`},
		},
	})
}

// TestRule18AttributesThatCollideWithTheScope: the values of an attribute of a point and of a label of its scope are joined
// in the order of the keys, where a label of the scope has its own name for a key.
func TestRule18AttributesThatCollideWithTheScope(t *testing.T) {
	point := func(keysAndValues ...any) metrics { return metrics{gaugeOf("x", number(1, with(keysAndValues...)))} }
	runTranslations(t, []translationCase{
		{
			name: "of the same key, the scope's first", scope: scoped("a", "scope"), metrics: point("otel_scope_a", "point", "otel_scope_name", "mine"),
			want: []string{`x{otel_scope_a="scope;point",otel_scope_name="lib;mine"} 1 @1000`},
		},
		{
			name: "in the order of the keys", scope: scoped("a.b", "3", "a_b", "6"),
			metrics: point("otel.scope.a.b", "1", "otel_scope_a-b", "2", "otel_scope_a/b", "4", "otel_scope_a:b", "5", "otel_scope_a~b", "7", "otel.scope.name", "mine"),
			want:    []string{`x{otel_scope_a_b="1;2;3;4;5;6;7",otel_scope_name="mine;lib"} 1 @1000`},
		},
		{
			name: "without the empty ones", scope: scoped("a", "", "b", "scope"), metrics: point("otel_scope_a", "point", "otel_scope_b", ""),
			want: []string{`x{otel_scope_a="point",otel_scope_b="scope",otel_scope_name="lib"} 1 @1000`},
		},
		{
			name: "what is not UTF-8", scope: scoped("a", "sc\xffope"), metrics: point("otel_scope_a", "po\xffint"),
			want: []string{`x{otel_scope_a="sc�ope;po�int",otel_scope_name="lib"} 1 @1000`},
		},
		{
			name: "of points one after the other", scope: scoped("a", "scope"),
			metrics: metrics{gaugeOf("x", number(1, with("otel_scope_a", "1")), number(2, with("otel_scope_a", "22")), number(3, with("otel_scope_a", "")))},
			want: []string{
				`x{otel_scope_a="scope",otel_scope_name="lib"} 3 @1000`, `x{otel_scope_a="scope;1",otel_scope_name="lib"} 1 @1000`,
				`x{otel_scope_a="scope;22",otel_scope_name="lib"} 2 @1000`,
			},
		},
		{
			name: "no scope, no collision", edit: func(c *Config) { c.DisableScopeInfo = true }, scope: scoped("a", "scope"), metrics: point("otel_scope_a", "point"),
			want: []string{`x{otel_scope_a="point"} 1 @1000`},
		},
		{
			name: "job and instance are not joined, for they say whose the series is", resource: []any{"service.name", "shop", "service.instance.id", "i-1"},
			metrics: point("job", "j", "instance", "i"),
			want:    []string{`x{exported_instance="i",exported_job="j",instance="i-1",job="shop"} 1 @1000`},
		},
	})
}
