// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
)

// outcome is one point that a payload becomes, in a form that can be compared.
type outcome struct {
	series    string
	timestamp int64
	// fields are what is said of the point, by what it is.
	fields map[string]string
}

// The fields of an outcome, in the order in which differences are shown. That a point is there at all, and how often, are fields
// too.
var outcomeFields = []string{"there", "value", "start", "type", "unit", "help", "exemplars"}

// newOutcome is a point of a series with labels in any order.
func newOutcome(name string, rest map[string]string, timestamp int64) outcome {
	return outcome{series: name + renderLabels(rest), timestamp: timestamp, fields: map[string]string{"there": "once"}}
}

func renderLabels(of map[string]string) string {
	var pairs []string
	for _, name := range slices.Sorted(maps.Keys(of)) {
		pairs = append(pairs, name+"="+strconv.Quote(of[name]))
	}
	return "{" + strings.Join(pairs, ",") + "}"
}

// renderFloat tells stale markers from other NaNs.
func renderFloat(v float64) string {
	switch {
	case math.Float64bits(v) == math.Float64bits(staleBits):
		return "stale"
	case v != v:
		return "NaN"
	default:
		return strconv.FormatFloat(v, 'g', -1, 64)
	}
}

// renderHistogram renders the counts of buckets by their index, so that it does not matter how they are encoded. Of a stale
// marker only the sum counts (Prometheus, "Native Histograms", "Staleness markers").
func renderHistogram(h *histogram.FloatHistogram) string {
	if math.Float64bits(h.Sum) == math.Float64bits(staleBits) {
		return "stale histogram"
	}
	side := func(spans []histogram.Span, counts []float64) string {
		var filled []string
		index := int32(0)
		for _, s := range spans {
			index += s.Offset
			for range s.Length {
				if counts[0] != 0 {
					filled = append(filled, fmt.Sprintf("%d:%g", index, counts[0]))
				}
				counts = counts[1:]
				index++
			}
		}
		return "[" + strings.Join(filled, " ") + "]"
	}
	text := fmt.Sprintf("schema %d count %g sum %s +%s", h.Schema, h.Count, renderFloat(h.Sum), side(h.PositiveSpans, h.PositiveBuckets))
	if h.Schema == histogram.CustomBucketsSchema {
		return text + fmt.Sprintf(" bounds %v", h.CustomValues)
	}
	return text + fmt.Sprintf(" -%s zero %g<=%g", side(h.NegativeSpans, h.NegativeBuckets), h.ZeroCount, h.ZeroThreshold)
}

func renderExemplar(l map[string]string, value float64, timestamp int64) string {
	return fmt.Sprintf("%s %s @%d", renderLabels(l), renderFloat(value), timestamp)
}

// resultOf is what a 2.0 message says. Exemplars are those of the last point of their series.
func resultOf(symbols []string, series []*writev2.TimeSeries) []outcome {
	resolve := func(refs []uint32) map[string]string {
		resolved := make(map[string]string)
		for i := 0; i+1 < len(refs); i += 2 {
			resolved[symbols[refs[i]]] = symbols[refs[i+1]]
		}
		return resolved
	}
	var result []outcome
	for _, ts := range series {
		l := resolve(ts.LabelsRefs)
		name := l["__name__"]
		delete(l, "__name__")
		var points []outcome
		add := func(timestamp, start int64, value string) {
			o := newOutcome(name, l, timestamp)
			o.fields["value"], o.fields["start"] = value, strconv.FormatInt(start, 10)
			o.fields["type"] = strings.ToLower(strings.TrimPrefix(ts.Metadata.Type.String(), "METRIC_TYPE_"))
			o.fields["unit"], o.fields["help"] = symbols[ts.Metadata.UnitRef], symbols[ts.Metadata.HelpRef]
			points = append(points, o)
		}
		for _, s := range ts.Samples {
			add(s.Timestamp, s.StartTimestamp, renderFloat(s.Value))
		}
		for i := range ts.Histograms {
			h := &ts.Histograms[i]
			add(h.Timestamp, h.StartTimestamp, renderHistogram(h.ToFloatHistogram()))
		}
		var exemplars []string
		for _, e := range ts.Exemplars {
			exemplars = append(exemplars, renderExemplar(resolve(e.LabelsRefs), e.Value, e.Timestamp))
		}
		if len(points) > 0 {
			points[len(points)-1].fields["exemplars"] = strings.Join(exemplars, " ")
		}
		result = append(result, points...)
	}
	return result
}

// appended is what Prometheus's converter gives to an appender.
func appended(l labels.Labels, start, timestamp int64, v float64, h *histogram.Histogram, typ, unit, help string, exemplars []exemplar.Exemplar) outcome {
	rest := l.Map()
	name := rest["__name__"]
	delete(rest, "__name__")
	o := newOutcome(name, rest, timestamp)
	o.fields["value"], o.fields["start"] = renderFloat(v), strconv.FormatInt(start, 10)
	if h != nil {
		o.fields["value"] = renderHistogram(h.ToFloat(nil))
	}
	// What 2.0 calls unspecified, Prometheus calls unknown.
	o.fields["type"], o.fields["unit"], o.fields["help"] = strings.Replace(typ, "unknown", "unspecified", 1), unit, help
	var all []string
	for _, e := range exemplars {
		all = append(all, renderExemplar(e.Labels.Map(), e.Value, e.Ts))
	}
	o.fields["exemplars"] = strings.Join(all, " ")
	return o
}

// difference is one between what is sent here and what another translator makes.
type difference struct {
	series      string
	timestamp   int64
	field       string
	here, there string
}

func (d *difference) String() string {
	field := ""
	if d.field != "there" {
		field = d.field + " "
	}
	text := fmt.Sprintf("%s @%d: %shere %s, there %s", d.series, d.timestamp, field, d.here, d.there)
	return strings.ToValidUTF8(text, `\xff`)
}

// differences compares results point by point.
func differences(here, there []outcome) []difference {
	type key struct {
		series    string
		timestamp int64
	}
	collect := func(result []outcome) map[key]outcome {
		points := make(map[key]outcome)
		for _, o := range result {
			k := key{o.series, o.timestamp}
			if first, ok := points[k]; ok {
				first.fields["there"] = "repeated"
				continue
			}
			points[k] = o
		}
		return points
	}
	a, b := collect(here), collect(there)
	keys := make(map[key]bool)
	for _, points := range []map[key]outcome{a, b} {
		for k := range points {
			keys[k] = true
		}
	}
	var found []difference
	for k := range keys {
		x, inA := a[k]
		y, inB := b[k]
		switch {
		case !inA:
			found = append(found, difference{k.series, k.timestamp, "there", "nothing", y.fields["value"]})
		case !inB:
			found = append(found, difference{k.series, k.timestamp, "there", x.fields["value"], "nothing"})
		default:
			for _, f := range outcomeFields {
				if x.fields[f] != y.fields[f] {
					found = append(found, difference{k.series, k.timestamp, f, x.fields[f], y.fields[f]})
				}
			}
		}
	}
	slices.SortFunc(found, func(a, b difference) int {
		return cmp.Or(cmp.Compare(a.series, b.series), cmp.Compare(a.timestamp, b.timestamp),
			cmp.Compare(slices.Index(outcomeFields, a.field), slices.Index(outcomeFields, b.field)))
	})
	return found
}
