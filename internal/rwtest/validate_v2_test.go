// SPDX-License-Identifier: Apache-2.0

package rwtest

import (
	"math"
	"net/http"
	"strings"
	"testing"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// toV2 converts a message to the form of 2.0, each series with the metadata of a counter.
func toV2(msg *prompb.WriteRequest) *writev2.Request {
	symbols := writev2.NewSymbolTable()
	refs := func(labels []prompb.Label) []uint32 {
		var refs []uint32
		for _, l := range labels {
			refs = append(refs, symbols.Symbolize(l.Name), symbols.Symbolize(l.Value))
		}
		return refs
	}
	converted := &writev2.Request{}
	for _, from := range msg.Timeseries {
		to := writev2.TimeSeries{LabelsRefs: refs(from.Labels)}
		to.Metadata = writev2.Metadata{Type: writev2.Metadata_METRIC_TYPE_COUNTER, HelpRef: symbols.Symbolize("Help."), UnitRef: symbols.Symbolize("")}
		for _, s := range from.Samples {
			to.Samples = append(to.Samples, writev2.Sample{Value: s.Value, Timestamp: s.Timestamp, StartTimestamp: 1})
		}
		for i := range from.Histograms {
			to.Histograms = append(to.Histograms, histogramToV2(&from.Histograms[i]))
		}
		for _, e := range from.Exemplars {
			to.Exemplars = append(to.Exemplars, writev2.Exemplar{LabelsRefs: refs(e.Labels), Value: e.Value, Timestamp: e.Timestamp})
		}
		converted.Timeseries = append(converted.Timeseries, to)
	}
	converted.Symbols = symbols.Symbols()
	return converted
}

// histogramToV2 converts a histogram by way of its encoding, which 2.0 has only added a field to.
func histogramToV2(h *prompb.Histogram) (converted writev2.Histogram) {
	encoded, err := h.Marshal()
	if err == nil {
		err = converted.Unmarshal(encoded)
	}
	if err != nil {
		panic(err)
	}
	converted.StartTimestamp = 1
	return converted
}

func encodeV2(t *testing.T, msg *writev2.Request) []byte {
	t.Helper()
	raw, err := msg.Marshal()
	require.NoError(t, err)
	return snappy.Encode(nil, raw)
}

func soundHeadersV2() http.Header {
	h := soundHeaders()
	h.Set("Content-Type", contentTypeV2)
	h.Set("X-Prometheus-Remote-Write-Version", "2.0.0")
	return h
}

// customHistogram has the buckets 1 up to 0.5, 2 up to 1, none up to 2, and 4 above.
func customHistogram() writev2.Histogram {
	return writev2.Histogram{
		Schema: customSchema, CustomValues: []float64{0.5, 1, 2}, Count: &writev2.Histogram_CountInt{CountInt: 7}, Sum: 30,
		PositiveSpans:  []writev2.BucketSpan{{Offset: 0, Length: 2}, {Offset: 1, Length: 1}},
		PositiveDeltas: []int64{1, 1, 2},
		Timestamp:      1000,
	}
}

func TestSoundV2RequestIsValid(t *testing.T) {
	for name, change := range map[string]func(msg *writev2.Request){
		"as it is": func(*writev2.Request) {},
		"names in any script": func(msg *writev2.Request) {
			msg.Symbols[4] = "http.requests 日本"
			msg.Symbols[5] = "service.name"
		},
		"custom buckets":                  func(msg *writev2.Request) { msg.Timeseries[1].Histograms[0] = customHistogram() },
		"a start at the time of a sample": func(msg *writev2.Request) { msg.Timeseries[0].Samples[0].StartTimestamp = 1000 },
		"no start":                        func(msg *writev2.Request) { msg.Timeseries[0].Samples[0].StartTimestamp = 0 },
		"a stale histogram of custom buckets": func(msg *writev2.Request) {
			msg.Timeseries[1].Histograms[1] = writev2.Histogram{Schema: customSchema, Sum: math.Float64frombits(staleBits), Timestamp: 2000}
		},
	} {
		t.Run(name, func(t *testing.T) {
			want := toV2(soundRequest())
			change(want)
			got, err := ValidateV2(encodeV2(t, want))
			require.NoError(t, err)
			assert.Equal(t, encodeV2(t, want), encodeV2(t, got))
		})
	}
}

// TestConversionKeepsWhatBothVersionsHave, so that one ledger can compare them.
func TestConversionKeepsWhatBothVersionsHave(t *testing.T) {
	want := soundRequest()
	want.Timeseries[1].Histograms = append(want.Timeseries[1].Histograms, floatHistogram())
	got := ToV1(toV2(want))
	got.Metadata = want.Metadata
	assert.Equal(t, encode(t, want), encode(t, got))
}

func TestViolationsOfV2(t *testing.T) {
	series := func(change func(ts *writev2.TimeSeries)) func(*writev2.Request) {
		return func(msg *writev2.Request) { change(&msg.Timeseries[0]) }
	}
	histogram := func(change func(h *writev2.Histogram)) func(*writev2.Request) {
		return func(msg *writev2.Request) {
			msg.Timeseries[1].Histograms = []writev2.Histogram{customHistogram()}
			change(&msg.Timeseries[1].Histograms[0])
		}
	}
	for _, tt := range []struct {
		name   string
		change func(msg *writev2.Request)
		rule   string
		series int // -1 is the request
		detail string
	}{
		{"no symbols", func(msg *writev2.Request) { msg.Symbols = nil }, "the first symbol is the empty string", -1, "there is no symbol"},
		{"another first symbol", func(msg *writev2.Request) { msg.Symbols[0] = "x" }, "the first symbol is the empty string", -1, `"x"`},
		{"a symbol twice", func(msg *writev2.Request) { msg.Symbols[4] = msg.Symbols[2] }, "no symbol is repeated", -1, "symbols 2 and 4"},
		{"a symbol that nobody uses", func(msg *writev2.Request) { msg.Symbols = append(msg.Symbols, "alone") }, "symbols are the strings that are used", -1, `"alone"`},
		{"a symbol that is not UTF-8", func(msg *writev2.Request) { msg.Symbols[2] = "\xff" }, "symbols are UTF-8", -1, `"\xff"`},
		{"an empty request", func(msg *writev2.Request) { *msg = writev2.Request{Symbols: []string{""}} }, "a request carries series", -1, "it is empty"},
		{"a field of no message", func(msg *writev2.Request) { msg.XXX_unrecognized = []byte{0x78, 1} }, "the message is io.prometheus.write.v2.Request and nothing else", -1, "2 bytes"},
		{"a field of no metadata", func(msg *writev2.Request) { msg.Timeseries[0].Metadata.XXX_unrecognized = []byte{0x78, 1} }, "nothing else", -1, "2 bytes"},
		{"a series again, not later", func(msg *writev2.Request) {
			msg.Timeseries = append(msg.Timeseries, msg.Timeseries[0])
		}, "samples of a series are in timestamp order", -1, "1000 after 2000 in an earlier element"},

		{"no labels", series(func(ts *writev2.TimeSeries) { ts.LabelsRefs = nil }), "labels_refs are provided", 0, "they are not"},
		{"half a label", series(func(ts *writev2.TimeSeries) { ts.LabelsRefs = ts.LabelsRefs[:5] }), "labels_refs come in pairs", 0, "there are 5"},
		{"half a label of an exemplar", series(func(ts *writev2.TimeSeries) { ts.Exemplars[0].LabelsRefs = ts.Exemplars[0].LabelsRefs[:1] }), "labels_refs come in pairs", 0, "exemplar 0 has 1"},
		{"a reference to nowhere", series(func(ts *writev2.TimeSeries) { ts.LabelsRefs[5] = 99 }), "references point to symbols", 0, "labels_refs: 99"},
		{"help from nowhere", series(func(ts *writev2.TimeSeries) { ts.Metadata.HelpRef = 99 }), "references point to symbols", 0, "help_ref: 99"},
		{"a unit from nowhere", series(func(ts *writev2.TimeSeries) { ts.Metadata.UnitRef = 99 }), "references point to symbols", 0, "unit_ref: 99"},
		{"an exemplar from nowhere", series(func(ts *writev2.TimeSeries) { ts.Exemplars[0].LabelsRefs[0] = 99 }), "references point to symbols", 0, "labels_refs of an exemplar: 99"},
		{"an empty value", series(func(ts *writev2.TimeSeries) { ts.LabelsRefs[5] = 0 }), "no label value is empty", 0, `"job"`},
		{"labels out of order", series(func(ts *writev2.TimeSeries) {
			ts.LabelsRefs[0], ts.LabelsRefs[2] = ts.LabelsRefs[2], ts.LabelsRefs[0]
		}), "label names are sorted bytewise", 0, `"A" after "__name__"`},
		{"samples and histograms", func(msg *writev2.Request) {
			msg.Timeseries[0].Histograms = []writev2.Histogram{customHistogram()}
			msg.Timeseries[0].Histograms[0].Timestamp = 3000
		}, "either samples or histograms", 0, "2 samples and 1 histograms"},
		{"no samples", series(func(ts *writev2.TimeSeries) { ts.Samples = nil }), "at least one sample or histogram", 0, "none"},
		{"a type that is none", series(func(ts *writev2.TimeSeries) { ts.Metadata.Type = 8 }), "metadata has a known type", 0, "type 8"},
		{"a start after the sample", series(func(ts *writev2.TimeSeries) { ts.Samples[0].StartTimestamp = 1001 }), "a start timestamp is not after", 0, "1001 is after 1000"},
		{"a start after the histogram", histogram(func(h *writev2.Histogram) { h.StartTimestamp = 1001 }), "a start timestamp is not after", 1, "1001 is after 1000"},
		{"an exemplar without a time", series(func(ts *writev2.TimeSeries) { ts.Exemplars[0].Timestamp = 0 }), "an exemplar has a timestamp", 0, "exemplar 0: it has none"},
		{"an exemplar without a value of a label", series(func(ts *writev2.TimeSeries) { ts.Exemplars[0].LabelsRefs[1] = 0 }), "exemplar labels have names and values", 0, `"trace_id"=""`},
		{"an exemplar out of order", series(func(ts *writev2.TimeSeries) { ts.Exemplars[0].LabelsRefs = []uint32{3, 4, 1, 2} }), "exemplar labels are sorted", 0, `"A" after "__name__"`},

		{"another schema", histogram(func(h *writev2.Histogram) { h.Schema = -54 }), "schema is -4 to 8, or -53", 1, "schema -54"},
		{"custom values in an exponential schema", histogram(func(h *writev2.Histogram) { h.Schema = 0 }), "schema is -4 to 8, or -53", 1, "3 custom values in schema 0"},
		{"a zero bucket", histogram(func(h *writev2.Histogram) { h.ZeroThreshold = 1e-128 }), "neither a zero bucket nor a negative side", 1, "zero threshold"},
		{"a count of the zero bucket", histogram(func(h *writev2.Histogram) { h.ZeroCount = &writev2.Histogram_ZeroCountInt{ZeroCountInt: 1} }), "neither a zero bucket nor a negative side", 1, "zero count"},
		{"a negative side", histogram(func(h *writev2.Histogram) { h.NegativeSpans, h.NegativeDeltas = h.PositiveSpans, h.PositiveDeltas }), "neither a zero bucket nor a negative side", 1, "a negative side"},
		{"custom values that do not increase", histogram(func(h *writev2.Histogram) { h.CustomValues[2] = 1 }), "custom values increase", 1, "[0.5 1 1]"},
		{"an infinite custom value", histogram(func(h *writev2.Histogram) { h.CustomValues[2] = math.Inf(1) }), "custom values increase", 1, "+Inf"},
		{"a bucket too many", histogram(func(h *writev2.Histogram) { h.PositiveSpans[1].Offset = 2 }), "those of the custom values and one for +Inf", 1, "bucket 4 of 3"},
		{"a bucket before the first", histogram(func(h *writev2.Histogram) { h.PositiveSpans[0].Offset = -1 }), "those of the custom values and one for +Inf", 1, "offset -1"},
		{"a count that is not that of the buckets", histogram(func(h *writev2.Histogram) { h.Count = &writev2.Histogram_CountInt{CountInt: 8} }), "count is the sum", 1, "count 8, buckets 7"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			msg := toV2(soundRequest())
			tt.change(msg)
			_, err := ValidateV2(encodeV2(t, msg))
			key := ""
			if tt.series >= 0 {
				key = SeriesKey(ToV1(msg).Timeseries[tt.series].Labels)
			}
			assertViolation(t, err, tt.rule, key, tt.detail)
		})
	}
}

func TestUndecodableV2Bodies(t *testing.T) {
	for name, body := range map[string][]byte{
		"framed": []byte("\xff\x06\x00\x00sNaPpY"), "empty": {}, "no protobuf": snappy.Encode(nil, []byte{0xff}),
	} {
		t.Run(name, func(t *testing.T) {
			msg, err := ValidateV2(body)
			assert.Nil(t, msg)
			var v *Violation
			require.ErrorAs(t, err, &v)
			assert.Contains(t, v.Rule, "Snappy-block-compressed")
		})
	}
}

func TestHeadersOfV2(t *testing.T) {
	require.NoError(t, ValidateHeadersV2(soundHeadersV2()))
	for header, value := range map[string]string{
		"Content-Encoding": "gzip", "Content-Type": "application/x-protobuf", "X-Prometheus-Remote-Write-Version": "0.1.0", "User-Agent": "",
	} {
		h := soundHeadersV2()
		h.Set(header, value)
		assertViolation(t, ValidateHeadersV2(h), strings.Split(header, " ")[0], "", "")
	}
}
