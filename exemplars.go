package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"slices"
	"strings"
	"unicode/utf8"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// exemplarScratch holds exemplars while their point is encoded.
type exemplarScratch struct {
	// classic leaves out attributes whose names 1.0 cannot carry.
	classic   bool
	exemplars []wire.Exemplar
	labels    []wire.Label
}

// maxExemplarRunes is the most characters that the names and values of an exemplar's labels may have together
// (OpenMetrics 1.0, "Exemplars").
const maxExemplarRunes = 128

// translate returns the exemplars of a point. They are valid until the next call.
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
	return s.exemplars
}

// exemplarLabels returns trace_id and span_id, and the attributes if all of them fit, sorted by name (Remote-Write 2.0,
// types.proto, "Exemplar").
func (s *exemplarScratch) exemplarLabels(n *namer, ex pmetric.Exemplar) []wire.Label {
	start := len(s.labels)
	if id := ex.SpanID(); !id.IsEmpty() {
		s.labels = append(s.labels, wire.Label{Name: "span_id", Value: id.String()})
	}
	if id := ex.TraceID(); !id.IsEmpty() {
		s.labels = append(s.labels, wire.Label{Name: "trace_id", Value: id.String()})
	}
	ids := len(s.labels)
	for key, value := range ex.FilteredAttributes().All() {
		s.addAttribute(start, n.labelName(key), value)
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

func (s *exemplarScratch) addAttribute(start int, name string, value pcommon.Value) {
	v := validValue(value)
	if name == "" || v == "" || s.classic && !isClassicLabelName(name) || slices.ContainsFunc(s.labels[start:], func(l wire.Label) bool { return l.Name == name }) {
		return
	}
	s.labels = append(s.labels, wire.Label{Name: name, Value: v})
}

// forget lets go of what belongs to a payload.
func (s *exemplarScratch) forget() {
	clear(s.exemplars[:cap(s.exemplars)])
	clear(s.labels[:cap(s.labels)])
}
