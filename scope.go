// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"slices"
	"strings"

	"go.opentelemetry.io/collector/pdata/pmetric"
)

// scopeValue is a value of a label of the scope, which has several if several attribute keys become its name.
type scopeValue struct {
	name, value string
	// key says where the value stands among those that are joined with it.
	key string
}

// The labels of a scope that are made from no attribute.
const (
	scopeNameLabel      = "otel_scope_name"
	scopeVersionLabel   = "otel_scope_version"
	scopeSchemaURLLabel = "otel_scope_schema_url"
)

// appendScopeValues appends what the scope says of itself, sorted by name and key. Attributes that would take the place of
// its name, version or schema URL are left out (OpenTelemetry specification, "Prometheus and OpenMetrics Compatibility",
// "Instrumentation Scope").
func appendScopeValues(values []scopeValue, sm pmetric.ScopeMetrics, n *namer) []scopeValue {
	scope := sm.Scope()
	add := func(name, key, value string) {
		values = append(values, scopeValue{name: name, key: key, value: strings.ToValidUTF8(value, "\uFFFD")})
	}
	add(scopeNameLabel, scopeNameLabel, scope.Name())
	add(scopeVersionLabel, scopeVersionLabel, scope.Version())
	add(scopeSchemaURLLabel, scopeSchemaURLLabel, sm.SchemaUrl())
	for key, value := range scope.Attributes().All() {
		if key == "" {
			continue
		}
		key = "otel_scope_" + key
		switch name := n.labelName(key); name {
		case scopeNameLabel, scopeVersionLabel, scopeSchemaURLLabel:
		default:
			add(name, key, anyString(value))
		}
	}
	sortStable(values, func(a, b scopeValue) int {
		if c := strings.Compare(a.name, b.name); c != 0 {
			return c
		}
		return strings.Compare(a.key, b.key)
	})
	// Of a key that is there twice, the first one counts.
	values = slices.CompactFunc(values, func(a, b scopeValue) bool { return a.key == b.key })
	return slices.DeleteFunc(values, func(v scopeValue) bool { return v.value == "" })
}

// appendScopeLabels appends a label for each name, its values joined. Promoted resource attributes give way to them.
func appendScopeLabels(labels []constLabel, scope []scopeValue) []constLabel {
	byName := func(v scopeValue, name string) int { return strings.Compare(v.name, name) }
	labels = slices.DeleteFunc(labels, func(l constLabel) bool {
		_, ok := slices.BinarySearchFunc(scope, l.name, byName)
		return ok && !l.own
	})
	for len(scope) > 0 {
		name, n := scope[0].name, 1
		for n < len(scope) && scope[n].name == name {
			n++
		}
		value := scope[0].value
		if n > 1 {
			values := make([]string, n)
			for i := range values {
				values[i] = scope[i].value
			}
			value = strings.Join(values, ";")
		}
		labels = append(labels, constLabel{name: name, value: value, own: true})
		scope = scope[n:]
	}
	return labels
}
