// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"slices"
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"
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

// scopePrefix begins the key of each attribute of a scope among those of points.
const scopePrefix = "otel_scope_"

// scopeKeys are the keys of the attributes with their prefix, one after the other in one piece of memory.
func scopeKeys(attrs pcommon.Map) string {
	size := 0
	for key := range attrs.All() {
		size += len(scopePrefix) + len(key)
	}
	var keys strings.Builder
	keys.Grow(size)
	for key := range attrs.All() {
		if key != "" {
			keys.WriteString(scopePrefix)
			keys.WriteString(key)
		}
	}
	return keys.String()
}

// appendScopeValues appends what the scope says of itself, sorted by name and key. Attributes that would take the place of
// its name, version or schema URL are left out (OpenTelemetry specification, "Prometheus and OpenMetrics Compatibility",
// "Instrumentation Scope").
func appendScopeValues(values []scopeValue, sm pmetric.ScopeMetrics, n *namer) []scopeValue {
	scope := sm.Scope()
	values = slices.Grow(values, scope.Attributes().Len()+3)
	add := func(name, key, value string) {
		values = append(values, scopeValue{name: name, key: key, value: strings.ToValidUTF8(value, "\uFFFD")})
	}
	add(scopeNameLabel, scopeNameLabel, scope.Name())
	add(scopeVersionLabel, scopeVersionLabel, scope.Version())
	add(scopeSchemaURLLabel, scopeSchemaURLLabel, sm.SchemaUrl())
	keys, labelName := scopeKeys(scope.Attributes()), n.labelNames(scope.Attributes().Len())
	for key, value := range scope.Attributes().All() {
		if key == "" {
			continue
		}
		key, keys = keys[:len(scopePrefix)+len(key)], keys[len(scopePrefix)+len(key):]
		switch name := labelName(key); name {
		case scopeNameLabel, scopeVersionLabel, scopeSchemaURLLabel:
		default:
			add(name, key, anyString(value))
		}
	}
	sortByString(values, func(v scopeValue) string { return v.key })
	sortByString(values, func(v scopeValue) string { return v.name })
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
	labels = slices.Grow(labels, len(scope))
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
