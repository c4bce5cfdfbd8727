// SPDX-License-Identifier: Apache-2.0

package rwtest

import (
	"errors"
	"slices"
	"unicode/utf8"

	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
)

// contentTypeV2 is the Content-Type of a 2.0 request.
const contentTypeV2 = "application/x-protobuf;proto=io.prometheus.write.v2.Request"

// ValidateV2 is ValidateV1 for Remote-Write 2.0. What both versions demand is checked by the same rules.
func ValidateV2(body []byte) (*writev2.Request, error) {
	msg, _, err := decodeV2(body)
	return msg, err
}

// decodeV2 is ValidateV2 that also returns the message in the form of 1.0, with the SeriesKeys.
func decodeV2(body []byte) (*writev2.Request, *request, error) {
	msg := &writev2.Request{}
	if err := unpack(body, msg); err != nil {
		return nil, nil, err
	}
	r := newRequest(ToV1(msg), msg)
	violations := append(apply(symbolRules, msg, noKey, ""), r.validate(&rulesV2)...)
	for i := range msg.Timeseries {
		s := &seriesV2{&msg.Timeseries[i], msg.Symbols, timestampsOf(&r.Timeseries[i])}
		violations = append(violations, apply(seriesRulesV2, s, func() string { return r.keys[i] }, "")...)
	}
	return msg, r, errors.Join(violations...)
}

var rulesV2 = rules{
	request:   append([]rule[*request]{nothingBut(`io.prometheus.write.v2.Request`, `Remote-Write 2.0, "Protocol"`)}, requestRules...),
	series:    slices.Concat(seriesRules, namesAreUTF8),
	histogram: slices.Concat(histogramRules, histogramRulesV2),
	exemplar:  slices.Concat(exemplarRules, exemplarRulesV2),
}

// ToV1 converts a message to the form of 1.0, without what 1.0 has no place for. References that point nowhere are left
// out.
func ToV1(msg *writev2.Request) *prompb.WriteRequest {
	converted := &prompb.WriteRequest{Timeseries: make([]prompb.TimeSeries, len(msg.Timeseries))}
	for i := range msg.Timeseries {
		from, to := &msg.Timeseries[i], &converted.Timeseries[i]
		to.Labels = resolve(from.LabelsRefs, msg.Symbols)
		for _, s := range from.Samples {
			to.Samples = append(to.Samples, prompb.Sample{Value: s.Value, Timestamp: s.Timestamp})
		}
		for j := range from.Histograms {
			to.Histograms = append(to.Histograms, histogramToV1(&from.Histograms[j]))
		}
		for _, e := range from.Exemplars {
			to.Exemplars = append(to.Exemplars, prompb.Exemplar{Labels: resolve(e.LabelsRefs, msg.Symbols), Value: e.Value, Timestamp: e.Timestamp})
		}
	}
	return converted
}

func resolve(refs []uint32, symbols []string) []prompb.Label {
	labels := make([]prompb.Label, 0, len(refs)/2)
	for ; len(refs) >= 2; refs = refs[2:] {
		if name, value := int(refs[0]), int(refs[1]); max(name, value) < len(symbols) {
			labels = append(labels, prompb.Label{Name: symbols[name], Value: symbols[value]})
		}
	}
	return labels
}

func histogramToV1(h *writev2.Histogram) prompb.Histogram {
	converted := prompb.Histogram{
		Sum: h.Sum, Schema: h.Schema, ZeroThreshold: h.ZeroThreshold, Timestamp: h.Timestamp,
		NegativeSpans: spansToV1(h.NegativeSpans), NegativeDeltas: h.NegativeDeltas, NegativeCounts: h.NegativeCounts,
		PositiveSpans: spansToV1(h.PositiveSpans), PositiveDeltas: h.PositiveDeltas, PositiveCounts: h.PositiveCounts,
		ResetHint: prompb.Histogram_ResetHint(h.ResetHint), CustomValues: h.CustomValues,
	}
	switch c := h.Count.(type) {
	case *writev2.Histogram_CountInt:
		converted.Count = &prompb.Histogram_CountInt{CountInt: c.CountInt}
	case *writev2.Histogram_CountFloat:
		converted.Count = &prompb.Histogram_CountFloat{CountFloat: c.CountFloat}
	}
	switch c := h.ZeroCount.(type) {
	case *writev2.Histogram_ZeroCountInt:
		converted.ZeroCount = &prompb.Histogram_ZeroCountInt{ZeroCountInt: c.ZeroCountInt}
	case *writev2.Histogram_ZeroCountFloat:
		converted.ZeroCount = &prompb.Histogram_ZeroCountFloat{ZeroCountFloat: c.ZeroCountFloat}
	}
	return converted
}

func spansToV1(spans []writev2.BucketSpan) []prompb.BucketSpan {
	var converted []prompb.BucketSpan
	for _, s := range spans {
		converted = append(converted, prompb.BucketSpan{Offset: s.Offset, Length: s.Length})
	}
	return converted
}

// symbolRules are the demands on the symbol table.
var symbolRules = []rule[*writev2.Request]{
	{`the first symbol is the empty string (Remote-Write 2.0, "Symbols")`, func(r *writev2.Request, fail failFunc) {
		if len(r.Symbols) == 0 {
			fail("there is no symbol")
		} else if r.Symbols[0] != "" {
			fail("%q", r.Symbols[0])
		}
	}},
	{`no symbol is repeated (Remote-Write 2.0, "Symbols")`, func(r *writev2.Request, fail failFunc) {
		first := make(map[string]int, len(r.Symbols))
		for i, s := range r.Symbols {
			if before, ok := first[s]; ok {
				fail("symbols %d and %d are %q", before, i, s)
			} else {
				first[s] = i
			}
		}
	}},
	{`symbols are the strings that are used (Remote-Write 2.0, "Symbols")`, func(r *writev2.Request, fail failFunc) {
		used := make([]bool, len(r.Symbols))
		for i := range r.Timeseries {
			eachRef(&r.Timeseries[i], func(_ string, ref uint32) {
				if int(ref) < len(used) {
					used[ref] = true
				}
			})
		}
		for i := 1; i < len(used); i++ {
			if !used[i] {
				fail("symbol %d, %q, is not", i, r.Symbols[i])
			}
		}
	}},
	{`symbols are UTF-8 (Remote-Write 2.0, "Series Labels"; protobuf, "string")`, func(r *writev2.Request, fail failFunc) {
		for i, s := range r.Symbols {
			if !utf8.ValidString(s) {
				fail("symbol %d is %q", i, s)
			}
		}
	}},
}

// eachRef calls f with each reference of a series and what it is of.
func eachRef(ts *writev2.TimeSeries, f func(of string, ref uint32)) {
	for _, ref := range ts.LabelsRefs {
		f("labels_refs", ref)
	}
	for i := range ts.Exemplars {
		for _, ref := range ts.Exemplars[i].LabelsRefs {
			f("labels_refs of an exemplar", ref)
		}
	}
	f("help_ref", ts.Metadata.HelpRef)
	f("unit_ref", ts.Metadata.UnitRef)
}

// seriesV2 is a series with the symbols of its message and the timestamps of its points.
type seriesV2 struct {
	*writev2.TimeSeries
	symbols    []string
	timestamps []int64
}

// seriesRulesV2 are the demands on what only 2.0 has.
var seriesRulesV2 = []rule[*seriesV2]{
	{`labels_refs are provided (Remote-Write 2.0, "Protobuf Message")`, func(s *seriesV2, fail failFunc) {
		if len(s.LabelsRefs) == 0 {
			fail("they are not")
		}
	}},
	{`labels_refs come in pairs (Remote-Write 2.0, "Protobuf Message")`, func(s *seriesV2, fail failFunc) {
		if n := len(s.LabelsRefs); n%2 != 0 {
			fail("there are %d", n)
		}
		for i := range s.Exemplars {
			if n := len(s.Exemplars[i].LabelsRefs); n%2 != 0 {
				fail("exemplar %d has %d", i, n)
			}
		}
	}},
	{`references point to symbols (Remote-Write 2.0, "Symbols")`, func(s *seriesV2, fail failFunc) {
		eachRef(s.TimeSeries, func(of string, ref uint32) {
			if int(ref) >= len(s.symbols) {
				fail("%s: %d of %d symbols", of, ref, len(s.symbols))
			}
		})
	}},
	{`a series has either samples or histograms (Remote-Write 2.0, "Protobuf Message")`, func(s *seriesV2, fail failFunc) {
		if len(s.Samples) > 0 && len(s.Histograms) > 0 {
			fail("%d samples and %d histograms", len(s.Samples), len(s.Histograms))
		}
	}},
	{`metadata has a known type (Remote-Write 2.0, "Protobuf Message"); the unspecified one is that of metrics of unknown type`, func(s *seriesV2, fail failFunc) {
		if _, ok := writev2.Metadata_MetricType_name[int32(s.Metadata.Type)]; !ok {
			fail("type %d", s.Metadata.Type)
		}
	}},
	{`an exemplar has a timestamp (Remote-Write 2.0, "Exemplars")`, func(s *seriesV2, fail failFunc) {
		for i := range s.Exemplars {
			// In 1970 it is 0, like that of its sample.
			if s.Exemplars[i].Timestamp == 0 && !slices.Contains(s.timestamps, 0) {
				fail("exemplar %d: it has none", i)
			}
		}
	}},
	{`a start timestamp is not after the timestamp (write/v2/types.proto, "start_timestamp")`, func(s *seriesV2, fail failFunc) {
		for _, p := range s.Samples {
			if p.StartTimestamp > p.Timestamp {
				fail("%d is after %d", p.StartTimestamp, p.Timestamp)
			}
		}
		for i := range s.Histograms {
			if h := &s.Histograms[i]; h.StartTimestamp > h.Timestamp {
				fail("%d is after %d", h.StartTimestamp, h.Timestamp)
			}
		}
	}},
}

// namesAreUTF8 is what 2.0 demands of names. That they are classic it only recommends.
var namesAreUTF8 = []rule[*prompb.TimeSeries]{
	{`label names are UTF-8 (Remote-Write 2.0, "Series Labels")`, func(ts *prompb.TimeSeries, fail failFunc) {
		for _, l := range ts.Labels {
			if !utf8.ValidString(l.Name) {
				fail("%q", l.Name)
			}
		}
	}},
}

// exemplarRulesV2 are what 2.0 demands of an exemplar.
var exemplarRulesV2 = []rule[*prompb.Exemplar]{
	{`exemplar labels are sorted by name (write/v2/types.proto, "Exemplar")`, func(e *prompb.Exemplar, fail failFunc) {
		for i := 1; i < len(e.Labels); i++ {
			if e.Labels[i].Name < e.Labels[i-1].Name {
				fail("%q after %q", e.Labels[i].Name, e.Labels[i-1].Name)
			}
		}
	}},
	{`exemplar labels have names and values, in UTF-8 (Remote-Write 2.0, "Exemplars")`, func(e *prompb.Exemplar, fail failFunc) {
		for _, l := range e.Labels {
			if l.Name == "" || l.Value == "" || !utf8.ValidString(l.Name) {
				fail("%q=%q", l.Name, l.Value)
			}
		}
	}},
}
