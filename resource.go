// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"slices"
	"strings"
	"unicode/utf8"

	"go.opentelemetry.io/collector/pdata/pcommon"
)

// Resource attributes that become job and instance (OpenTelemetry specification, "Prometheus and OpenMetrics
// Compatibility", "Resource Attributes").
const (
	serviceName       = "service.name"
	serviceNamespace  = "service.namespace"
	serviceInstanceID = "service.instance.id"
)

// identifies says whether job and instance are made from the attribute.
func identifies(key string) bool {
	return key == serviceName || key == serviceNamespace || key == serviceInstanceID
}

// resourceLabels appends job, instance and the promoted attributes, unless the latter are too many.
func (tr *translation) resourceLabels(labels []constLabel, attrs pcommon.Map, n *namer) (_ []constLabel, tooMany bool) {
	labels = appendJobInstance(labels, attrs)
	if len(tr.promoted.Included) == 0 && len(tr.promoted.Excluded) == 0 {
		return labels, false
	}
	type attribute struct {
		key, name string
		value     pcommon.Value
	}
	var promoted []attribute
	for key, value := range attrs.All() {
		if tr.promoted.selects(key) {
			promoted = append(promoted, attribute{key: key, value: value})
		}
	}
	if tr.exceedsMaxLabels(len(promoted)) {
		return labels, true
	}
	sortByString(promoted, func(a attribute) string { return a.key })
	// Of a key that is there twice, the first one counts.
	promoted = slices.CompactFunc(promoted, func(a, b attribute) bool { return a.key == b.key })
	own, labelName := labels, n.labelNames(len(promoted))
	for i := range promoted {
		name := labelName(promoted[i].key)
		for name != "" && (name == leLabel || name == quantileLabel || hasOwn(own, name)) {
			name = exportedPrefix + name
		}
		promoted[i].name = name
	}
	sortByString(promoted, func(a attribute) string { return a.name })
	labels = slices.Grow(labels, len(promoted))
	var values []string
	for len(promoted) > 0 {
		name := promoted[0].name
		values = values[:0]
		for ; len(promoted) > 0 && promoted[0].name == name; promoted = promoted[1:] {
			if value := validValue(promoted[0].value); value != "" {
				values = append(values, value)
			}
		}
		if name != "" && len(values) > 0 {
			labels = append(labels, constLabel{name: name, value: strings.Join(values, ";")})
		}
	}
	return labels, false
}

// appendJobInstance appends job and instance, as far as the resource has what they are made from.
func appendJobInstance(labels []constLabel, attrs pcommon.Map) []constLabel {
	get := func(key string) string {
		value, ok := attrs.Get(key)
		if !ok {
			return ""
		}
		return validValue(value)
	}
	job := get(serviceName)
	if namespace := get(serviceNamespace); job != "" && namespace != "" {
		job = namespace + "/" + job
	}
	for _, l := range []constLabel{{name: jobLabel, value: job, own: true}, {name: instanceLabel, value: get(serviceInstanceID), own: true}} {
		if l.value != "" {
			labels = append(labels, l)
		}
	}
	return labels
}

func hasOwn(labels []constLabel, name string) bool {
	return slices.ContainsFunc(labels, func(l constLabel) bool { return l.own && l.name == name })
}

// selects says whether a resource attribute becomes a label of all series.
func (c *ResourceConstantLabelsConfig) selects(key string) bool {
	match := func(pattern string) bool { return matchGlob(pattern, key) }
	return !slices.ContainsFunc(c.Excluded, match) && (len(c.Included) == 0 || slices.ContainsFunc(c.Included, match))
}

// matchGlob matches s with a pattern in which * stands for any characters and ? for one.
func matchGlob(pattern, s string) bool {
	star, retry := -1, 0
	p, i := 0, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, retry = p, i
			p++
		case p < len(pattern) && pattern[p] == '?':
			_, n := utf8.DecodeRuneInString(s[i:])
			p++
			i += n
		case p < len(pattern) && pattern[p] == s[i]:
			p++
			i++
		case star >= 0:
			// Let the last star stand for one character more.
			_, n := utf8.DecodeRuneInString(s[retry:])
			retry += n
			p, i = star+1, retry
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
