// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"fmt"
	"math"
	"testing"

	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
)

func exampleV1() *prompb.WriteRequest {
	r := &prompb.WriteRequest{Metadata: []prompb.MetricMetadata{{MetricFamilyName: "x", Help: "y"}}}
	for i := range 5 {
		ts := prompb.TimeSeries{
			Labels:    []prompb.Label{{Name: "__name__", Value: "x"}, {Name: "series", Value: fmt.Sprint(i / 2)}},
			Exemplars: []prompb.Exemplar{{Value: 1, Labels: []prompb.Label{{Name: "trace_id", Value: "1"}}}},
		}
		for j := range i {
			ts.Samples = append(ts.Samples, prompb.Sample{Value: float64(j) / 3, Timestamp: int64(j) - 1})
			ts.Histograms = append(ts.Histograms, prompb.Histogram{
				Count: &prompb.Histogram_CountInt{CountInt: 300 + uint64(j)}, Sum: 7.5, Timestamp: 1_800_000_000_000 + int64(j),
				PositiveSpans: []prompb.BucketSpan{{Offset: -1, Length: 2}}, PositiveDeltas: []int64{1, -1},
			})
		}
		r.Timeseries = append(r.Timeseries, ts)
	}
	return r
}

func exampleV2() *writev2.Request {
	r := &writev2.Request{Symbols: []string{"", "__name__", "x", "series", "0", "1", "2"}}
	for i := range 5 {
		ts := writev2.TimeSeries{LabelsRefs: []uint32{1, 2, 3, uint32(4 + i/2)}, Metadata: writev2.Metadata{Type: 1, HelpRef: 2}}
		for j := range i {
			ts.Samples = append(ts.Samples, writev2.Sample{Value: float64(j) / 3, Timestamp: int64(j) - 1})
			ts.Histograms = append(ts.Histograms, writev2.Histogram{
				Count: &writev2.Histogram_CountFloat{CountFloat: 1.5}, Sum: 7.5, Timestamp: 1_800_000_000_000 + int64(j), CustomValues: []float64{1, 2},
			})
		}
		r.Timeseries = append(r.Timeseries, ts)
	}
	return r
}

// check compares what was read with what prompb makes of the same message, in the form of 1.0.
func check(t *testing.T, r *Request, message []byte, want *prompb.WriteRequest) {
	t.Helper()
	require.Len(t, r.Series, len(want.Timeseries))
	keys := map[uint64]string{}
	floats, histograms, exemplars := 0, 0, 0
	for i := range want.Timeseries {
		ts := &want.Timeseries[i]
		var samples, natives []Sample
		for _, s := range r.Series[i].Samples {
			if r.NativeOf(&s) != nil {
				natives = append(natives, s)
			} else {
				samples = append(samples, s)
			}
		}
		require.Len(t, samples, len(ts.Samples))
		for j, s := range ts.Samples {
			require.Equal(t, Sample{Time: s.Timestamp, Bits: math.Float64bits(s.Value)}, samples[j])
		}
		require.Len(t, natives, len(ts.Histograms))
		for j := range ts.Histograms {
			requireHistogram(t, &ts.Histograms[j], natives[j], r.NativeOf(&natives[j]).Sum)
		}
		floats, histograms, exemplars = floats+len(ts.Samples), histograms+len(ts.Histograms), exemplars+len(ts.Exemplars)
		labels, err := r.Labels(&r.Series[i])
		require.NoError(t, err)
		require.Equal(t, rwtest.SeriesKey(ts.Labels), rwtest.SeriesKey(labels))
		require.Len(t, labels, len(ts.Labels))
		key := fmt.Sprintf("%q", labels)
		if before, ok := keys[r.Series[i].Key]; ok && r.Version == 1 {
			// Encodings of a label that say the same may be different.
			require.Equal(t, before, key)
		}
		keys[r.Series[i].Key] = key
	}
	require.Equal(t, []int{floats, histograms, exemplars}, []int{r.Floats, r.Histograms, r.Exemplars})
	countedFloats, countedHistograms, countedExemplars, err := Count(r.Version, message)
	require.NoError(t, err)
	require.Equal(t, []int{floats, histograms, exemplars}, []int{countedFloats, countedHistograms, countedExemplars})
}

func requireHistogram(t *testing.T, h *prompb.Histogram, s Sample, sum float64) {
	t.Helper()
	count := h.GetCountFloat()
	if _, ok := h.Count.(*prompb.Histogram_CountInt); ok {
		count = float64(h.GetCountInt())
	}
	require.Equal(t, h.Timestamp, s.Time)
	require.Equal(t, math.Float64bits(count), s.Bits)
	require.Equal(t, math.Float64bits(h.Sum), math.Float64bits(sum))
}

func TestParseV1(t *testing.T) {
	want := exampleV1()
	message, err := want.Marshal()
	require.NoError(t, err)
	var r Request
	for range 2 { // the second time with what is left of the first
		require.NoError(t, r.Parse(1, message))
		check(t, &r, message, want)
	}
	assert.Equal(t, r.Series[0].Key, r.Series[1].Key)
	assert.NotEqual(t, r.Series[1].Key, r.Series[2].Key)
	assert.Zero(t, testing.AllocsPerRun(10, func() { _ = r.Parse(1, message) }))
}

func TestParseV2(t *testing.T) {
	msg := exampleV2()
	message, err := msg.Marshal()
	require.NoError(t, err)
	var r Request
	for range 2 {
		require.NoError(t, r.Parse(2, message))
		check(t, &r, message, rwtest.ToV1(msg))
	}
	assert.Equal(t, r.Series[0].Key, r.Series[1].Key)
	assert.NotEqual(t, r.Series[1].Key, r.Series[2].Key)
	assert.Zero(t, testing.AllocsPerRun(10, func() { _ = r.Parse(2, message) }))
	// The same series has the same key whatever else is in the table.
	key := r.Series[4].Key
	msg = &writev2.Request{Symbols: []string{"", "series", "2", "x", "__name__"}, Timeseries: []writev2.TimeSeries{{LabelsRefs: []uint32{4, 3, 1, 2}}}}
	message, err = msg.Marshal()
	require.NoError(t, err)
	require.NoError(t, r.Parse(2, message))
	assert.Equal(t, key, r.Series[0].Key)
}

func TestLabelsMayStandApart(t *testing.T) {
	one, err := (&prompb.TimeSeries{Labels: []prompb.Label{{Name: "a", Value: "1"}}, Samples: []prompb.Sample{{Value: 1}}}).Marshal()
	require.NoError(t, err)
	two, err := (&prompb.TimeSeries{Labels: []prompb.Label{{Name: "b", Value: "2"}}}).Marshal()
	require.NoError(t, err)
	series := append(one, two...)
	message := append([]byte{1<<3 | 2, byte(len(series))}, series...)
	want := &prompb.WriteRequest{}
	require.NoError(t, want.Unmarshal(message))
	var r Request
	require.NoError(t, r.Parse(1, message))
	check(t, &r, message, want)
}

func FuzzParseV1(f *testing.F) {
	message, err := exampleV1().Marshal()
	require.NoError(f, err)
	f.Add(message)
	f.Fuzz(func(t *testing.T, message []byte) {
		var r Request
		var want prompb.WriteRequest
		if r.Parse(1, message) == nil && want.Unmarshal(message) == nil {
			check(t, &r, message, &want)
		}
	})
}

func FuzzParseV2(f *testing.F) {
	message, err := exampleV2().Marshal()
	require.NoError(f, err)
	f.Add(message)
	f.Fuzz(func(t *testing.T, message []byte) {
		var r Request
		var want writev2.Request
		if r.Parse(2, message) != nil || want.Unmarshal(message) != nil {
			return
		}
		for i := range want.Timeseries {
			refs := want.Timeseries[i].LabelsRefs
			if len(refs)%2 != 0 {
				return
			}
			for _, ref := range refs {
				if int(ref) >= len(want.Symbols) {
					return
				}
			}
			want.Timeseries[i].Exemplars = make([]writev2.Exemplar, len(want.Timeseries[i].Exemplars)) // their references may lead nowhere
		}
		check(t, &r, message, rwtest.ToV1(&want))
	})
}

func BenchmarkParse(b *testing.B) {
	v1 := &prompb.WriteRequest{}
	for i := range 2000 {
		ts := prompb.TimeSeries{Samples: []prompb.Sample{{Value: float64(i), Timestamp: 1_800_000_000_000}}}
		for j := range 14 {
			ts.Labels = append(ts.Labels, prompb.Label{Name: fmt.Sprintf("k8s_label_name_%02d", j), Value: fmt.Sprintf("value-%08d", i/(j+1))})
		}
		v1.Timeseries = append(v1.Timeseries, ts)
	}
	message, err := v1.Marshal()
	require.NoError(b, err)
	var r Request
	b.ReportAllocs()
	b.SetBytes(int64(len(message)))
	for b.Loop() {
		_ = r.Parse(1, message)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*2000), "ns/sample")
}
