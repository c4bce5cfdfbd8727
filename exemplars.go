// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"cmp"
	"slices"
	"strings"
	"unicode/utf8"
	"unsafe"

	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// exemplarScratch holds exemplars while their point is encoded.
type exemplarScratch struct {
	// classic leaves out attributes whose names 1.0 cannot carry.
	classic    bool
	exemplars  []wire.Exemplar
	labels     []wire.Label
	attributes []exemplarAttribute
}

// exemplarAttribute is an attribute of an exemplar with the name of its label.
type exemplarAttribute struct{ name, key, value string }

// maxExemplarRunes is the most characters that the names and values of an exemplar's labels may have together
// (OpenMetrics 1.0, "Exemplars").
const maxExemplarRunes = 128

// The labels of an exemplar that are made from no attribute.
const (
	spanIDLabel  = "span_id"
	traceIDLabel = "trace_id"
)

// translate returns the exemplars of a point in the order in which a receiver wants them. They are valid until the next call.
func (s *exemplarScratch) translate(n *namer, exemplars pmetric.ExemplarSlice, pointTimestamp int64) []wire.Exemplar {
	s.exemplars, s.labels = s.exemplars[:0], s.labels[:0]
	for _, ex := range exemplars.All() {
		e := wire.Exemplar{Timestamp: int64(ex.Timestamp() / 1_000_000)}
		if e.Timestamp == 0 {
			e.Timestamp = pointTimestamp
		}
		switch ex.ValueType() {
		case pmetric.ExemplarValueTypeDouble:
			e.Value = wire.Recorded(ex.DoubleValue())
		case pmetric.ExemplarValueTypeInt:
			e.Value = float64(ex.IntValue())
		default:
			continue
		}
		e.Labels = s.exemplarLabels(n, ex)
		s.exemplars = append(s.exemplars, e)
	}
	sortExemplars(s.exemplars)
	return s.exemplars
}

// sortExemplars sorts the exemplars of a series by time, and those of one time by value: a receiver drops what comes in
// another order (Prometheus, tsdb, validateExemplar).
func sortExemplars(exemplars []wire.Exemplar) {
	sortStable(exemplars, func(a, b wire.Exemplar) int {
		return cmp.Or(cmp.Compare(a.Timestamp, b.Timestamp), compareFloats(a.Value, b.Value))
	})
}

// compareFloats orders NaN last: it is in no bucket but +Inf.
func compareFloats(a, b float64) int {
	switch {
	case a < b || b != b && a == a:
		return -1
	case a > b || a != a && b == b:
		return 1
	default:
		return 0
	}
}

// exemplarLabels returns trace_id and span_id, and the attributes if all of them fit, sorted by name (Remote-Write 2.0,
// types.proto, "Exemplar"). The values of attributes that become one label are joined in the order of their keys, but the ids
// stand alone (OpenTelemetry specification, "Prometheus and OpenMetrics Compatibility", "Exemplar Conversion").
func (s *exemplarScratch) exemplarLabels(n *namer, ex pmetric.Exemplar) []wire.Label {
	start := len(s.labels)
	if id := ex.SpanID(); !id.IsEmpty() {
		s.labels = append(s.labels, wire.Label{Name: spanIDLabel, Value: id.String()})
	}
	if id := ex.TraceID(); !id.IsEmpty() {
		s.labels = append(s.labels, wire.Label{Name: traceIDLabel, Value: id.String()})
	}
	ids := len(s.labels)
	if s.takeAttributes(n, ex, s.labels[start:]) {
		s.joinAttributes()
	}
	runes := 0
	for _, l := range s.labels[start:] {
		runes += utf8.RuneCountInString(l.Name) + utf8.RuneCountInString(l.Value)
	}
	if runes > maxExemplarRunes {
		s.labels = s.labels[:ids]
	}
	slices.SortFunc(s.labels[start:], func(a, b wire.Label) int { return strings.Compare(a.Name, b.Name) })
	return s.labels[start:len(s.labels):len(s.labels)]
}

// takeAttributes takes those attributes that can be labels beside the ids. It returns false if they cannot fit: they are too many,
// as each takes two characters at least, or their values alone are too long, which would be joined in vain.
func (s *exemplarScratch) takeAttributes(n *namer, ex pmetric.Exemplar, ids []wire.Label) bool {
	s.attributes = s.attributes[:0]
	left := maxExemplarRunes
	for key, value := range ex.FilteredAttributes().All() {
		v := validValue(value)
		if key == "" || v == "" {
			continue
		}
		name := n.labelName(key)
		if s.classic && !isClassicLabelName(name) || slices.ContainsFunc(ids, func(id wire.Label) bool { return id.Name == name }) {
			continue
		}
		s.attributes = append(s.attributes, exemplarAttribute{name, key, v})
		if left -= utf8.RuneCountInString(v); left < 0 || len(s.attributes) > maxExemplarRunes/2 {
			return false
		}
	}
	return true
}

// joinAttributes makes labels of the attributes.
func (s *exemplarScratch) joinAttributes() {
	sortStable(s.attributes, func(a, b exemplarAttribute) int {
		return cmp.Or(strings.Compare(a.name, b.name), strings.Compare(a.key, b.key))
	})
	for i, a := range s.attributes {
		if last := len(s.labels) - 1; i > 0 && a.name == s.attributes[i-1].name {
			s.labels[last].Value += ";" + a.value
		} else {
			s.labels = append(s.labels, wire.Label{Name: a.name, Value: a.value})
		}
	}
}

// capacity is the bytes of the buffers.
func (s *exemplarScratch) capacity() int {
	return cap(s.exemplars)*int(unsafe.Sizeof(wire.Exemplar{})) + cap(s.labels)*int(unsafe.Sizeof(wire.Label{})) +
		cap(s.attributes)*int(unsafe.Sizeof(exemplarAttribute{}))
}

// forget lets go of what belongs to a payload.
func (s *exemplarScratch) forget() {
	clear(s.exemplars[:cap(s.exemplars)])
	clear(s.labels[:cap(s.labels)])
	clear(s.attributes[:cap(s.attributes)])
}
