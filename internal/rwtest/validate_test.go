// SPDX-License-Identifier: Apache-2.0

package rwtest

import (
	"bytes"
	"errors"
	"math"
	"net/http"
	"regexp"
	"strings"
	"testing"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/prompb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// soundHistogram has the buckets 10, 0, 0, 20, 5, 2 from index 4 on, and 3 observations in the zero bucket.
func soundHistogram(timestamp int64) prompb.Histogram {
	return prompb.Histogram{
		Count:          &prompb.Histogram_CountInt{CountInt: 40},
		Sum:            1234.5,
		Schema:         3,
		ZeroThreshold:  1e-128,
		ZeroCount:      &prompb.Histogram_ZeroCountInt{ZeroCountInt: 3},
		PositiveSpans:  []prompb.BucketSpan{{Offset: 4, Length: 1}, {Offset: 2, Length: 3}},
		PositiveDeltas: []int64{10, 10, -15, -3},
		Timestamp:      timestamp,
	}
}

// soundRequest has a series of samples with an exemplar, a series of histograms, and metadata.
func soundRequest() *prompb.WriteRequest {
	return &prompb.WriteRequest{
		Timeseries: []prompb.TimeSeries{
			{
				Labels: []prompb.Label{
					{Name: "A", Value: "upper case sorts before __name__"},
					{Name: "__name__", Value: "http_requests:rate_total"},
					{Name: "job", Value: "日本"},
				},
				Samples: []prompb.Sample{{Value: 1, Timestamp: 1000}, {Value: math.Float64frombits(staleBits), Timestamp: 2000}},
				Exemplars: []prompb.Exemplar{{
					Labels: []prompb.Label{{Name: "trace_id", Value: strings.Repeat("é", 120)}}, Value: 1, Timestamp: 999,
				}},
			},
			{
				Labels:     []prompb.Label{{Name: "__name__", Value: "latency"}},
				Histograms: []prompb.Histogram{soundHistogram(1000), soundHistogram(2000)},
			},
		},
		Metadata: []prompb.MetricMetadata{{Type: prompb.MetricMetadata_COUNTER, MetricFamilyName: "http_requests:rate", Help: "é", Unit: "s"}},
	}
}

func encode(t *testing.T, msg *prompb.WriteRequest) []byte {
	t.Helper()
	raw, err := msg.Marshal()
	require.NoError(t, err)
	return snappy.Encode(nil, raw)
}

func TestSoundRequestIsValid(t *testing.T) {
	want := soundRequest()
	got, err := ValidateV1(encode(t, want))
	require.NoError(t, err)
	// The stale marker is unequal to itself, so the encodings are compared.
	assert.Equal(t, encode(t, want), encode(t, got))
	for i := range want.Timeseries {
		assert.NoError(t, ValidateSeriesV1(&want.Timeseries[i]))
	}
}

func TestSoundVariantsAreValid(t *testing.T) {
	for name, change := range map[string]func(samples, histograms *prompb.TimeSeries, msg *prompb.WriteRequest){
		"metadata only": func(_, _ *prompb.TimeSeries, msg *prompb.WriteRequest) { msg.Timeseries = nil },
		"a series again, later": func(s, _ *prompb.TimeSeries, msg *prompb.WriteRequest) {
			msg.Timeseries = append(msg.Timeseries, prompb.TimeSeries{Labels: s.Labels, Samples: []prompb.Sample{{Timestamp: 2001}}})
		},
		"an ordinary NaN":         func(s, _ *prompb.TimeSeries, _ *prompb.WriteRequest) { s.Samples[0].Value = math.NaN() },
		"NaNs among observations": func(_, h *prompb.TimeSeries, _ *prompb.WriteRequest) { h.Histograms[0] = nanHistogram() },
		"a stale histogram": func(_, h *prompb.TimeSeries, _ *prompb.WriteRequest) {
			h.Histograms[1] = prompb.Histogram{Sum: math.Float64frombits(staleBits), Timestamp: 2000}
		},
		"a histogram of floats": func(_, h *prompb.TimeSeries, _ *prompb.WriteRequest) { h.Histograms[0] = floatHistogram() },
		"a negative side": func(_, h *prompb.TimeSeries, _ *prompb.WriteRequest) {
			x := &h.Histograms[0]
			x.NegativeSpans, x.NegativeDeltas = x.PositiveSpans, x.PositiveDeltas
			x.Count = &prompb.Histogram_CountInt{CountInt: 77}
		},
	} {
		t.Run(name, func(t *testing.T) {
			msg := soundRequest()
			change(&msg.Timeseries[0], &msg.Timeseries[1], msg)
			_, err := ValidateV1(encode(t, msg))
			assert.NoError(t, err)
		})
	}
}

func nanHistogram() prompb.Histogram {
	h := soundHistogram(1000)
	h.Sum, h.Count = math.NaN(), &prompb.Histogram_CountInt{CountInt: 41}
	return h
}

func floatHistogram() prompb.Histogram {
	h := soundHistogram(1000)
	h.Count, h.ZeroCount = &prompb.Histogram_CountFloat{CountFloat: 40}, &prompb.Histogram_ZeroCountFloat{ZeroCountFloat: 3}
	h.PositiveDeltas, h.PositiveCounts = nil, []float64{10, 20, 5, 2}
	return h
}

func TestViolations(t *testing.T) {
	type seriesChange = func(ts *prompb.TimeSeries)
	label := func(i int, name, value string) seriesChange {
		return func(ts *prompb.TimeSeries) { ts.Labels[i] = prompb.Label{Name: name, Value: value} }
	}
	exemplar := func(labels ...prompb.Label) seriesChange {
		return func(ts *prompb.TimeSeries) { ts.Exemplars[0].Labels = labels }
	}
	histogram := func(change func(h *prompb.Histogram)) seriesChange {
		return func(ts *prompb.TimeSeries) { change(&ts.Histograms[0]) }
	}
	for _, tt := range []struct {
		name   string
		series int // of soundRequest
		change seriesChange
		rule   string
		detail string
	}{
		{"unsorted labels", 0, label(0, "z", "v"), "label names are sorted bytewise", `"__name__" after "z"`},
		{"the metric name first", 0, func(ts *prompb.TimeSeries) { ts.Labels[0], ts.Labels[1] = ts.Labels[1], ts.Labels[0] }, "label names are sorted bytewise", `"A" after "__name__"`},
		{"a label twice", 0, label(0, "__name__", "x"), "no label name is repeated", `"__name__"`},
		{"an empty label name", 0, label(0, "", "v"), "no label name is empty", `the name of value "v"`},
		{"an empty label value", 0, label(2, "job", ""), "no label value is empty", `the value of "job"`},
		{"an empty metric name", 0, label(1, "__name__", ""), "no label value is empty", `the value of "__name__"`},
		{"no metric name", 0, label(1, "b", "v"), "the label __name__ is present", "it is not"},
		{"a metric name of another pattern", 0, label(1, "__name__", "http.requests"), "metric names match", `"http.requests"`},
		{"a metric name that is not UTF-8", 0, label(1, "__name__", "\xff"), "label values are UTF-8", `"\xff"`},
		{"a label name of another pattern", 0, label(2, "service.name", "v"), "label names match", `"service.name"`},
		{"a label name with a line break", 0, label(2, "job\n", "v"), "label names match", `"job\n"`},
		{"a colon in a label name", 0, label(2, "j:b", "v"), "label names match", `"j:b"`},
		{"a label name that is not UTF-8", 0, label(2, "j\xff", "v"), "label names match", `"j\xff"`},
		{"a reserved label", 0, label(2, "__x__", "v"), "label names beginning with __ are reserved", `"__x__"`},
		{"a value that is not UTF-8", 0, label(2, "job", "\xff"), "label values are UTF-8", `the value of "job" is "\xff"`},
		{"no samples", 0, func(ts *prompb.TimeSeries) { ts.Samples = nil }, "a series has at least one sample or histogram", "it has none"},
		{"an older sample", 0, func(ts *prompb.TimeSeries) { ts.Samples[1].Timestamp = 999 }, "samples of a series are in timestamp order", "999 after 1000"},
		{"a timestamp twice", 0, func(ts *prompb.TimeSeries) { ts.Samples[1].Timestamp = 1000 }, "once each", "1000 after 1000"},
		{"an older histogram", 1, func(ts *prompb.TimeSeries) { ts.Histograms[1].Timestamp = 999 }, "samples of a series are in timestamp order", "999 after 1000"},
		{"a histogram not after a sample", 1, func(ts *prompb.TimeSeries) { ts.Samples = []prompb.Sample{{Timestamp: 1000}} }, "samples of a series are in timestamp order", "1000 after 1000"},

		{"an exemplar label of another pattern", 0, exemplar(prompb.Label{Name: "a.b", Value: "v"}), "exemplar label names match", `exemplar 0: "a.b"`},
		{"an exemplar label without a name", 0, exemplar(prompb.Label{Value: "v"}), "exemplar label names match", `exemplar 0: ""`},
		{"an exemplar label twice", 0, exemplar(prompb.Label{Name: "a", Value: "v"}, prompb.Label{Name: "a", Value: "w"}), "exemplar label names are not repeated", `exemplar 0: "a"`},
		{"an exemplar value that is not UTF-8", 0, exemplar(prompb.Label{Name: "a", Value: "\xff"}), "exemplar label values are UTF-8", `"\xff"`},
		{"a long exemplar", 0, exemplar(prompb.Label{Name: "a", Value: strings.Repeat("é", 128)}), "exemplar labels have at most 128 UTF-8 characters", "exemplar 0: 129"},

		{"a schema above 8", 1, histogram(func(h *prompb.Histogram) { h.Schema = 9 }), "schema is -4 to 8", "histogram at 1000: schema 9"},
		{"custom buckets", 1, histogram(func(h *prompb.Histogram) { h.Schema = -53 }), "schema is -4 to 8", "schema -53"},
		{"custom values", 1, histogram(func(h *prompb.Histogram) { h.CustomValues = []float64{1} }), "schema is -4 to 8", "1 custom values"},
		{"a float zero count", 1, histogram(func(h *prompb.Histogram) { h.ZeroCount = &prompb.Histogram_ZeroCountFloat{ZeroCountFloat: 3} }), "counts are all integers or all floats", "CountInt"},
		{"float buckets", 1, histogram(func(h *prompb.Histogram) { h.PositiveCounts = []float64{1} }), "counts are all integers or all floats", "1 absolute counts"},
		{"a float count", 1, histogram(func(h *prompb.Histogram) { h.Count = &prompb.Histogram_CountFloat{CountFloat: 40} }), "counts are all integers or all floats", "4 deltas"},
		{"a negative zero threshold", 1, histogram(func(h *prompb.Histogram) { h.ZeroThreshold = -1 }), "the zero threshold is a number not below 0", "-1"},
		{"no zero threshold", 1, histogram(func(h *prompb.Histogram) { h.ZeroThreshold = math.NaN() }), "the zero threshold is a number not below 0", "NaN"},
		{"a bucket outside of the spans", 1, histogram(func(h *prompb.Histogram) { h.PositiveSpans[1].Length = 2 }), "the spans cover as many buckets as there are", "positive side: spans of 3 for 4 buckets"},
		{"a span without buckets", 1, histogram(func(h *prompb.Histogram) { h.NegativeSpans = []prompb.BucketSpan{{Length: math.MaxUint32}} }), "the spans cover as many buckets as there are", "negative side: spans of 4294967295 for 0 buckets"},
		{"a span that goes back", 1, histogram(func(h *prompb.Histogram) { h.PositiveSpans[1].Offset = -1 }), "only the first span has a negative offset", "offset -1 of span 1"},
		{"an index above int32", 1, histogram(func(h *prompb.Histogram) { h.PositiveSpans[0].Offset = math.MaxInt32 }), "bucket indexes are int32", "span 1 ends at 2147483652"},
		{"an index below int32", 1, histogram(func(h *prompb.Histogram) { h.PositiveSpans[0].Offset = math.MinInt32 }), "bucket indexes are int32", "span 0 starts at -2147483648"},
		{"a negative bucket", 1, histogram(func(h *prompb.Histogram) { h.PositiveDeltas[2] = -21 }), "no bucket count is negative", "bucket 2 has -1"},
		{"a bucket that overflows", 1, histogram(func(h *prompb.Histogram) { h.PositiveDeltas[1] = math.MaxInt64 }), "no bucket count is negative", "bucket 1 exceeds 63 bits"},
		{"buckets that overflow", 1, histogram(func(h *prompb.Histogram) { h.PositiveDeltas = []int64{math.MaxInt64, 0, 0, 0} }), "no bucket count is negative", "exceed 64 bits"},
		{"a negative float bucket", 1, histogram(func(h *prompb.Histogram) { *h = floatHistogram(); h.PositiveCounts[0] = -1 }), "no bucket count is negative", "bucket 0 has -1"},
		{"a negative float count", 1, histogram(func(h *prompb.Histogram) {
			*h = floatHistogram()
			h.Count = &prompb.Histogram_CountFloat{CountFloat: -1}
		}), "count is the sum", "count -1"},
		{"a count too large", 1, histogram(func(h *prompb.Histogram) { h.Count = &prompb.Histogram_CountInt{CountInt: 41} }), "count is the sum", "count 41, buckets 40"},
		{"a count too small for NaNs", 1, histogram(func(h *prompb.Histogram) {
			*h = nanHistogram()
			h.Count = &prompb.Histogram_CountInt{CountInt: 39}
		}), "count is the sum", "count 39, buckets 40"},
		{"a count that overflows", 1, histogram(func(h *prompb.Histogram) {
			h.ZeroCount = &prompb.Histogram_ZeroCountInt{ZeroCountInt: math.MaxUint64}
		}), "count is the sum", "beyond 64 bits"},
		{"a stale histogram with a count", 1, histogram(func(h *prompb.Histogram) {
			*h = prompb.Histogram{Sum: math.Float64frombits(staleBits), Count: &prompb.Histogram_CountInt{CountInt: 1}, Timestamp: 1000}
		}), "a stale histogram has no count and no buckets", "count"},
		{"a stale histogram with buckets", 1, histogram(func(h *prompb.Histogram) { h.Sum = math.Float64frombits(staleBits) }), "a stale histogram has no count and no buckets", "2 spans, 4 deltas"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			msg := soundRequest()
			ts := &msg.Timeseries[tt.series]
			tt.change(ts)
			_, err := ValidateV1(encode(t, msg))
			for _, err := range []error{err, ValidateSeriesV1(ts)} {
				assertViolation(t, err, tt.rule, SeriesKey(ts.Labels), tt.detail)
			}
		})
	}
}

// assertViolation checks that the error has a violation of the rule by the series.
func assertViolation(t *testing.T, err error, rule, series, detail string) {
	t.Helper()
	require.Error(t, err)
	joined, ok := err.(interface{ Unwrap() []error })
	require.True(t, ok, "%T", err)
	for _, err := range joined.Unwrap() {
		var v *Violation
		require.ErrorAs(t, err, &v)
		if strings.Contains(v.Rule, rule) && v.Series == series && strings.Contains(v.Detail, detail) {
			return
		}
	}
	assert.Failf(t, "no such violation", "of %q by %s: %q\nin: %v", rule, series, detail, err)
}

func TestRequestViolations(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(msg *prompb.WriteRequest)
		rule   string
		detail string
	}{
		{"nothing", func(msg *prompb.WriteRequest) { *msg = prompb.WriteRequest{} }, "a request carries series or metadata", "it is empty"},
		{"a field of no message", func(msg *prompb.WriteRequest) { msg.XXX_unrecognized = []byte{0x78, 1} }, "the message is prometheus.WriteRequest and nothing else", "2 bytes"},
		{"a field of no series", func(msg *prompb.WriteRequest) { msg.Timeseries[0].XXX_unrecognized = []byte{0x78, 1} }, "nothing else", "2 bytes"},
		{"a field of no label", func(msg *prompb.WriteRequest) { msg.Timeseries[0].Labels[0].XXX_unrecognized = []byte{0x78, 1} }, "nothing else", "2 bytes"},
		{"a field of no span", func(msg *prompb.WriteRequest) {
			msg.Timeseries[1].Histograms[0].PositiveSpans[0].XXX_unrecognized = []byte{0x78, 1}
		}, "nothing else", "2 bytes"},
		{"a series again, not later", func(msg *prompb.WriteRequest) { msg.Timeseries = append(msg.Timeseries, msg.Timeseries[0]) }, "samples of a series are in timestamp order", "1000 after 2000 in an earlier element"},
		{"a series again and again", func(msg *prompb.WriteRequest) {
			labels := msg.Timeseries[0].Labels
			msg.Timeseries = []prompb.TimeSeries{
				{Labels: labels, Samples: []prompb.Sample{{Timestamp: 3000}}},
				{Labels: labels, Samples: []prompb.Sample{{Timestamp: 1000}}},
				{Labels: labels, Samples: []prompb.Sample{{Timestamp: 2000}}},
			}
		}, "samples of a series are in timestamp order", "2000 after 3000 in an earlier element"},
		{"metadata without a name", func(msg *prompb.WriteRequest) { msg.Metadata[0].MetricFamilyName = "" }, "metadata names a valid metric family", `metric family name ""`},
		{"metadata that are not UTF-8", func(msg *prompb.WriteRequest) { msg.Metadata[0].Help = "\xff" }, "metadata names a valid metric family", `help "\xff"`},
		{"metadata of no type", func(msg *prompb.WriteRequest) { msg.Metadata[0].Type = 99 }, "metadata names a valid metric family", "type 99"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			msg := soundRequest()
			tt.change(msg)
			_, err := ValidateV1(encode(t, msg))
			assertViolation(t, err, tt.rule, "", tt.detail)
		})
	}
}

func TestAllViolationsAreReported(t *testing.T) {
	msg := soundRequest()
	msg.Timeseries[0].Labels[2] = prompb.Label{Name: "__x.", Value: ""}
	msg.Timeseries[1].Histograms[0].Schema = 9
	msg.Timeseries[1].Histograms[1].Schema = 9
	_, err := ValidateV1(encode(t, msg))
	require.Error(t, err)
	// Empty value, pattern, reserved; and twice the schema.
	assert.Len(t, err.(interface{ Unwrap() []error }).Unwrap(), 5, "%v", err)
}

func TestUndecodableBodies(t *testing.T) {
	body := encode(t, soundRequest())
	var framed bytes.Buffer
	w := snappy.NewBufferedWriter(&framed)
	_, err := w.Write(body)
	require.NoError(t, err)
	require.NoError(t, w.Close())
	raw, err := snappy.Decode(nil, body)
	require.NoError(t, err)
	for name, body := range map[string][]byte{
		"framed":                       framed.Bytes(),
		"empty":                        {},
		"not compressed":               raw,
		"cut":                          body[:len(body)-1],
		"garbage after the block":      append(bytes.Clone(body), 0),
		"protobuf cut":                 snappy.Encode(nil, raw[:len(raw)-1]),
		"garbage after the last field": snappy.Encode(nil, append(bytes.Clone(raw), 0xff)),
	} {
		t.Run(name, func(t *testing.T) {
			msg, err := ValidateV1(body)
			assert.Nil(t, msg)
			var v *Violation
			require.ErrorAs(t, err, &v)
			assert.Contains(t, v.Rule, "Snappy-block-compressed")
			if name == "framed" {
				assert.Contains(t, v.Detail, "framed format")
			}
		})
	}
}

func TestHeaders(t *testing.T) {
	require.NoError(t, ValidateHeadersV1(soundHeaders()))
	for _, tt := range []struct{ header, value, rule string }{
		{"Content-Encoding", "", "Content-Encoding is snappy"},
		{"Content-Encoding", "gzip", "Content-Encoding is snappy"},
		{"Content-Type", "application/x-protobuf;proto=io.prometheus.write.v2.Request", "Content-Type is"},
		{"X-Prometheus-Remote-Write-Version", "2.0.0", "Version is 0.1.0"},
		{"User-Agent", "", "User-Agent is"},
		{"User-Agent", "curl", "User-Agent is"},
	} {
		t.Run(tt.header+" "+tt.value, func(t *testing.T) {
			h := soundHeaders()
			h.Set(tt.header, tt.value)
			assertViolation(t, ValidateHeadersV1(h), tt.rule, "", "")
			h = soundHeaders()
			h.Add(tt.header, h.Get(tt.header))
			assertViolation(t, ValidateHeadersV1(h), strings.Fields(tt.rule)[0], "", "")
		})
	}
	assert.Len(t, ValidateHeadersV1(nil).(interface{ Unwrap() []error }).Unwrap(), 4)
}

func soundHeaders() http.Header {
	return http.Header{
		"Content-Encoding":                  {"snappy"},
		"Content-Type":                      {"application/x-protobuf"},
		"X-Prometheus-Remote-Write-Version": {"0.1.0"},
		"User-Agent":                        {"rwtest/1.0 (test)"},
	}
}

func TestSeriesKey(t *testing.T) {
	labels := []prompb.Label{{Name: "b", Value: `"`}, {Name: "a", Value: "1"}, {Name: "é,x", Value: "2"}}
	assert.Equal(t, `{a="1",b="\"","é,x"="2"}`, SeriesKey(labels))
	assert.Equal(t, "b", labels[0].Name, "the labels are not changed")
	assert.Equal(t, "{}", SeriesKey(nil))
	var v *Violation
	require.True(t, errors.As(ValidateSeriesV1(&prompb.TimeSeries{}), &v))
	assert.Contains(t, v.Error(), "series {}")
}

func TestNames(t *testing.T) {
	label, metric := regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`), regexp.MustCompile(`^[a-zA-Z_:][a-zA-Z0-9_:]*$`)
	assert.False(t, isLabelName(""))
	assert.False(t, isMetricName(""))
	for c := range 256 {
		for _, s := range []string{string([]byte{byte(c)}), string([]byte{'a', byte(c)})} {
			assert.Equal(t, label.MatchString(s), isLabelName(s), "%q", s)
			assert.Equal(t, metric.MatchString(s), isMetricName(s), "%q", s)
		}
	}
}
