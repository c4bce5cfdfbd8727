// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/otlptranslator"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/prompb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// TestRule08Histograms: cumulative buckets with +Inf, the count, and the sum unless it is unset.
func TestRule08Histograms(t *testing.T) {
	changed := func(point func(pmetric.HistogramDataPoint), change func(pmetric.HistogramDataPoint)) metrics {
		return metrics{histogramOf("h", func(dp pmetric.HistogramDataPoint) {
			point(dp)
			change(dp)
		})}
	}
	runTranslations(t, []translationCase{
		{
			name: "buckets", metrics: metrics{histogramOf("h", buckets([]float64{0.005, 1, 1e21}, []uint64{1, 2, 3, 4}, with("a", "b")))},
			want: []string{
				`h_bucket{a="b",le="0.005"} 1 @1000`, `h_bucket{a="b",le="1"} 3 @1000`, `h_bucket{a="b",le="1000000000000000000000"} 6 @1000`,
				`h_bucket{a="b",le="+Inf"} 10 @1000`, `h_sum{a="b"} 100 @1000`, `h_count{a="b"} 10 @1000`,
			},
		},
		{
			name:    "no sum",
			metrics: changed(buckets(nil, []uint64{1}), func(dp pmetric.HistogramDataPoint) { dp.RemoveSum() }),
			want:    []string{`h_bucket{le="+Inf"} 1 @1000`, `h_count{} 1 @1000`},
		},
		{
			name:    "a sum that has the bits of a stale marker",
			metrics: changed(buckets(nil, []uint64{1}), func(dp pmetric.HistogramDataPoint) { dp.SetSum(wire.StaleNaN) }),
			want:    []string{`h_bucket{le="+Inf"} 1 @1000`, `h_sum{} NaN @1000`, `h_count{} 1 @1000`},
		},
		{
			name:    "no buckets",
			metrics: changed(buckets([]float64{3, 2, math.NaN()}, nil), func(dp pmetric.HistogramDataPoint) { dp.SetCount(5) }),
			want:    []string{`h_bucket{le="+Inf"} 5 @1000`, `h_sum{} 100 @1000`, `h_count{} 5 @1000`},
		},
		{
			name:    "the last bucket is the count, whatever the buckets add up to",
			metrics: changed(buckets([]float64{1}, []uint64{1, 2}), func(dp pmetric.HistogramDataPoint) { dp.SetCount(7) }),
			want:    []string{`h_bucket{le="1"} 1 @1000`, `h_bucket{le="+Inf"} 7 @1000`, `h_sum{} 100 @1000`, `h_count{} 7 @1000`},
		},
		{
			name: "a bound of +Inf", metrics: metrics{histogramOf("h", buckets([]float64{1, math.Inf(1)}, []uint64{1, 2, 3}))},
			want: []string{`h_bucket{le="1"} 1 @1000`, `h_bucket{le="+Inf"} 6 @1000`, `h_sum{} 100 @1000`, `h_count{} 6 @1000`},
		},
		{
			name: "a bound of -Inf", metrics: metrics{histogramOf("h", buckets([]float64{math.Inf(-1), 0}, []uint64{1, 2, 3}))},
			want: []string{
				`h_bucket{le="-Inf"} 1 @1000`, `h_bucket{le="0"} 3 @1000`, `h_bucket{le="+Inf"} 6 @1000`, `h_sum{} 100 @1000`, `h_count{} 6 @1000`,
			},
		},
		{
			name: "impossible buckets",
			metrics: metrics{histogramOf("h",
				buckets([]float64{1}, []uint64{1}), buckets([]float64{1}, []uint64{1, 2, 3}), buckets([]float64{2, 1}, []uint64{1, 2, 3}),
				buckets([]float64{1, 1}, []uint64{1, 2, 3}), buckets([]float64{math.NaN()}, []uint64{1, 2}),
				buckets([]float64{math.Inf(1), math.Inf(1)}, []uint64{1, 2, 3}), buckets([]float64{1, math.Inf(1), 2}, []uint64{1, 2, 3, 4}),
			)},
			drops: map[account.Reason]int{account.ReasonInvalidHistogram: 7},
		},
	})
}

// TestRule08CustomBuckets: optionally a native histogram with custom buckets, whose bounds are without +Inf.
func TestRule08CustomBuckets(t *testing.T) {
	custom := func(c *Config) { c.ConvertExplicitHistogramsToNHCB = true }
	both := func(c *Config) {
		custom(c)
		c.KeepClassicHistograms = true
	}
	infinite := buckets([]float64{1, math.Inf(1)}, []uint64{1, 2, 3})
	runTranslations(t, []translationCase{
		{
			name: "buckets", edit: custom,
			metrics: metrics{histogramOf("h", buckets([]float64{-1, 1, 5}, []uint64{1, 0, 3, 4}, with("le", "kept", "a", "b"), exampled(0.5)))},
			want:    []string{`h{a="b",le="kept"} custom=[-1 1 5] count=8 sum=100 map[0:1 2:3 3:4] @1000 # {} 0.5 @1000`},
		},
		{
			name: "no buckets", edit: custom,
			metrics: metrics{histogramOf("h", buckets(nil, []uint64{5}), buckets([]float64{1}, nil, at(2e9)))},
			want:    []string{`h{} custom=[] count=5 sum=100 map[0:5] @1000`, `h{} custom=[1] count=0 sum=100 map[] @2000`},
		},
		{name: "a bound of +Inf", edit: custom, metrics: metrics{histogramOf("h", infinite)}, want: []string{`h{} custom=[1] count=6 sum=100 map[0:1 1:5] @1000`}},
		{
			name: "and the classic series", edit: both, metrics: metrics{histogramOf("h", infinite)},
			want: []string{
				`h{} custom=[1] count=6 sum=100 map[0:1 1:5] @1000`, `h_bucket{le="1"} 1 @1000`, `h_bucket{le="+Inf"} 6 @1000`, `h_sum{} 100 @1000`,
				`h_count{} 6 @1000`,
			},
		},
		{
			name: "stale", edit: both, metrics: metrics{histogramOf("h", buckets([]float64{1}, []uint64{1, 2}, noRecordedValue))},
			want: []string{
				`h{} custom=[] count=0 sum=stale map[] @1000`, `h_bucket{le="1"} stale @1000`, `h_bucket{le="+Inf"} stale @1000`, `h_sum{} stale @1000`,
				`h_count{} stale @1000`,
			},
		},
		{
			name: "what cannot be one", edit: custom,
			metrics: metrics{histogramOf("h",
				buckets([]float64{2, 1}, []uint64{1, 2, 3}), buckets([]float64{1, 1}, []uint64{1, 2, 3}), buckets([]float64{math.NaN()}, []uint64{1, 2}),
				buckets([]float64{1}, []uint64{math.MaxInt64, 1}), buckets(nil, []uint64{math.MaxUint64}), counting(math.MaxUint64, buckets(nil, nil)),
			)},
			drops: map[account.Reason]int{account.ReasonInvalidHistogram: 6},
		},
		{
			name: "neither form", edit: both,
			metrics: metrics{histogramOf("h", buckets([]float64{2, 1}, []uint64{1, 2, 3}), buckets([]float64{math.NaN()}, []uint64{1, 2}))},
			drops:   map[account.Reason]int{account.ReasonInvalidHistogram: 2},
		},
		{
			name: "the classic form alone", edit: both, metrics: metrics{histogramOf("h", buckets([]float64{1}, []uint64{math.MaxInt64, 1}))},
			want: []string{
				`h_bucket{le="1"} 9.223372036854776e+18 @1000`, `h_bucket{le="+Inf"} 9.223372036854776e+18 @1000`, `h_sum{} 100 @1000`,
				`h_count{} 9.223372036854776e+18 @1000`,
			},
			drops: map[account.Reason]int{account.ReasonInvalidHistogram: 1},
		},
	})
}

// counting is a point with another count.
func counting(n uint64, point func(pmetric.HistogramDataPoint)) func(pmetric.HistogramDataPoint) {
	return func(dp pmetric.HistogramDataPoint) {
		point(dp)
		dp.SetCount(n)
	}
}

// TestRule21RepairedCustomBuckets: what a native histogram with custom buckets cannot say is repaired rather than dropped.
func TestRule21RepairedCustomBuckets(t *testing.T) {
	custom := func(c *Config) { c.ConvertExplicitHistogramsToNHCB = true }
	bounds := []float64{1, 5}
	runTranslations(t, []translationCase{
		{
			name: "no sum", edit: custom,
			metrics: metrics{histogramOf("h", func(dp pmetric.HistogramDataPoint) {
				buckets(bounds, []uint64{1, 2, 3})(dp)
				dp.RemoveSum()
			})},
			want: []string{`h{} custom=[1 5] count=6 sum=0 map[0:1 1:2 2:3] @1000`},
		},
		{
			name: "more counted than in the buckets", edit: custom, metrics: metrics{histogramOf("h", counting(10, buckets(bounds, []uint64{1, 2, 3})))},
			want: []string{`h{} custom=[1 5] count=10 sum=100 map[0:1 1:2 2:7] @1000`},
		},
		{
			name: "less counted than in the buckets", edit: custom, metrics: metrics{histogramOf("h", counting(2, buckets(bounds, []uint64{1, 2, 3})))},
			want: []string{`h{} custom=[1 5] count=6 sum=100 map[0:1 1:2 2:3] @1000`},
		},
		{
			name: "buckets left out at the end", edit: custom,
			metrics: metrics{histogramOf("h", buckets(bounds, []uint64{1}), counting(4, buckets(bounds, []uint64{1, 2}, at(2e9))), counting(3, buckets(bounds, nil, at(3e9))))},
			want: []string{
				`h{} custom=[1 5] count=1 sum=100 map[0:1] @1000`, `h{} custom=[1 5] count=4 sum=100 map[0:1 1:2 2:1] @2000`,
				`h{} custom=[1 5] count=3 sum=100 map[2:3] @3000`,
			},
		},
		{
			name: "more buckets than bounds", edit: custom, metrics: metrics{histogramOf("h", buckets(bounds, []uint64{1, 2, 3, 4, 5}))},
			want: []string{`h{} custom=[1 5] count=15 sum=100 map[0:1 1:2 2:12] @1000`},
		},
		{
			name: "but not of the classic series", metrics: metrics{histogramOf("h", buckets(bounds, []uint64{1}))},
			edit: func(c *Config) {
				custom(c)
				c.KeepClassicHistograms = true
			},
			want:  []string{`h{} custom=[1 5] count=1 sum=100 map[0:1] @1000`},
			drops: map[account.Reason]int{account.ReasonInvalidHistogram: 1},
		},
	})
}

// TestRule09Example is the specification's own: the buckets' indexes and the encoding of their counts.
func TestRule09Example(t *testing.T) {
	native := nativeFrom(t, exponential(0, 3, []uint64{10, 0, 0, 20, 5, 2}))
	assert.Equal(t, []prompb.BucketSpan{{Offset: 4, Length: 1}, {Offset: 2, Length: 3}}, native.PositiveSpans)
	assert.Equal(t, []int64{10, 10, -15, -3}, native.PositiveDeltas)
	assert.Empty(t, native.NegativeSpans)
	assert.Empty(t, native.NegativeDeltas)
}

// nativeFrom translates a point to a native histogram.
func nativeFrom(t *testing.T, point func(pmetric.ExponentialHistogramDataPoint)) *prompb.Histogram {
	t.Helper()
	tr := newTestTranslator(configOf(nil))
	tr.translate(metricsOf(nil, exponentialOf("x", point)))
	points := sentPoints(t, tr)
	require.Len(t, points, 1)
	return &points[0].Histograms[0]
}

// TestRule09ExponentialHistograms: what becomes a native histogram, and what is dropped.
func TestRule09ExponentialHistograms(t *testing.T) {
	changed := func(point func(pmetric.ExponentialHistogramDataPoint), change func(pmetric.ExponentialHistogramDataPoint)) metrics {
		return metrics{exponentialOf("x", func(dp pmetric.ExponentialHistogramDataPoint) {
			point(dp)
			change(dp)
		})}
	}
	withCount := func(n uint64) func(pmetric.ExponentialHistogramDataPoint) {
		return func(dp pmetric.ExponentialHistogramDataPoint) { dp.SetCount(n) }
	}
	const most = math.MaxInt64
	runTranslations(t, []translationCase{
		{
			name: "both sides and zero",
			metrics: changed(exponential(-4, -3, []uint64{1, 0, 2, 0, 0, 3}), func(dp pmetric.ExponentialHistogramDataPoint) {
				dp.Negative().SetOffset(10)
				dp.Negative().BucketCounts().FromRaw([]uint64{0, 4})
				dp.SetZeroCount(5)
				dp.SetZeroThreshold(0.25)
				dp.SetCount(15)
				dp.SetSum(-2.5)
			}),
			want: []string{`x{} schema=-4 count=15 sum=-2.5 zero=5<=0.25 +map[-2:1 0:2 3:3] -map[12:4] @1000`},
		},
		{
			name: "empty", metrics: metrics{exponentialOf("x", exponential(8, 0, nil))},
			want: []string{`x{} schema=8 count=0 sum=100 zero=0<=1e-128 +map[] -map[] @1000`},
		},
		{
			name:    "zero thresholds that are none",
			metrics: changed(exponential(0, 0, nil), func(dp pmetric.ExponentialHistogramDataPoint) { dp.SetZeroThreshold(math.NaN()) }),
			want:    []string{`x{} schema=0 count=0 sum=100 zero=0<=1e-128 +map[] -map[] @1000`},
		},
		{
			name: "scale over 8", metrics: metrics{exponentialOf("x", exponential(10, -6, []uint64{1, 2, 4, 8, 16, 32, 64, 128}))},
			want: []string{`x{} schema=8 count=255 sum=100 zero=0<=1e-128 +map[-1:3 0:60 1:192] -map[] @1000`},
		},
		{
			name:    "the greatest scale",
			metrics: metrics{exponentialOf("x", exponential(math.MaxInt32, -2, []uint64{1, 2, 4, 8}), exponential(20, math.MinInt32, []uint64{1}, at(2e9)))},
			want: []string{
				`x{} schema=8 count=15 sum=100 zero=0<=1e-128 +map[0:3 1:12] -map[] @1000`,
				`x{} schema=8 count=1 sum=100 zero=0<=1e-128 +map[-524287:1] -map[] @2000`,
			},
		},
		{
			name: "extreme offsets",
			metrics: metrics{exponentialOf("x",
				exponential(0, math.MinInt32, []uint64{1, 2}), exponential(0, math.MaxInt32-1, []uint64{1, 0, 0, 0}, at(2e9)),
				exponential(0, math.MaxInt32, []uint64{0, 0}, at(3e9)), exponential(0, math.MaxInt32, []uint64{1}, at(4e9)),
				exponential(0, math.MaxInt32-1, []uint64{1, 1}, at(5e9)), exponential(9, math.MaxInt32, []uint64{1, 1}, at(6e9)),
			)},
			want: []string{
				`x{} schema=0 count=3 sum=100 zero=0<=1e-128 +map[-2147483647:1 -2147483646:2] -map[] @1000`,
				`x{} schema=0 count=1 sum=100 zero=0<=1e-128 +map[2147483647:1] -map[] @2000`,
				`x{} schema=0 count=0 sum=100 zero=0<=1e-128 +map[] -map[] @3000`,
				`x{} schema=8 count=2 sum=100 zero=0<=1e-128 +map[1073741824:1 1073741825:1] -map[] @6000`,
			},
			drops: map[account.Reason]int{account.ReasonInvalidHistogram: 2},
		},
		{
			name: "scale under -4", metrics: metrics{exponentialOf("x", exponential(-5, 0, nil), exponential(math.MinInt32, 0, []uint64{1}))},
			drops: map[account.Reason]int{account.ReasonScale: 2},
		},
		{
			name:    "no sum",
			metrics: changed(exponential(0, 0, []uint64{1}), func(dp pmetric.ExponentialHistogramDataPoint) { dp.RemoveSum() }),
			drops:   map[account.Reason]int{account.ReasonNoSum: 1},
		},
		{name: "count too great", metrics: changed(exponential(0, 0, []uint64{1}), withCount(2)), drops: map[account.Reason]int{account.ReasonInvalidHistogram: 1}},
		{name: "count too small", metrics: changed(exponential(0, 0, []uint64{2}), withCount(1)), drops: map[account.Reason]int{account.ReasonInvalidHistogram: 1}},
		{
			name: "observations of NaN are in no bucket",
			metrics: changed(exponential(0, 0, []uint64{1}), func(dp pmetric.ExponentialHistogramDataPoint) {
				dp.SetCount(3)
				dp.SetSum(wire.StaleNaN)
			}),
			want: []string{`x{} schema=0 count=3 sum=NaN zero=0<=1e-128 +map[1:1] -map[] @1000`},
		},
		{
			name: "but never more of them in buckets than at all",
			metrics: changed(exponential(0, 0, []uint64{5}), func(dp pmetric.ExponentialHistogramDataPoint) {
				dp.SetCount(3)
				dp.SetSum(math.NaN())
			}),
			drops: map[account.Reason]int{account.ReasonInvalidHistogram: 1},
		},
		{
			name: "the greatest counts", metrics: metrics{exponentialOf("x", exponential(0, 0, []uint64{most - 1, 1}), exponential(9, 0, []uint64{most - 1, 1}, at(2e9)))},
			want: []string{
				`x{} schema=0 count=9223372036854775807 sum=100 zero=0<=1e-128 +map[1:9223372036854775806 2:1] -map[] @1000`,
				`x{} schema=8 count=9223372036854775807 sum=100 zero=0<=1e-128 +map[1:9223372036854775807] -map[] @2000`,
			},
		},
		{
			name: "counts beyond them",
			metrics: metrics{exponentialOf("x",
				exponential(0, 0, []uint64{most, 1}), exponential(9, 0, []uint64{most, 1}), exponential(0, 0, []uint64{most + 1}),
				exponential(9, 0, []uint64{math.MaxUint64, 1}), exponential(0, 0, []uint64{math.MaxUint64, 1, 5}),
			)},
			drops: map[account.Reason]int{account.ReasonInvalidHistogram: 5},
		},
		{
			name: "a zero count that overflows",
			metrics: changed(exponential(0, 0, []uint64{4}), func(dp pmetric.ExponentialHistogramDataPoint) {
				dp.SetZeroCount(math.MaxUint64 - 1)
				dp.SetCount(2)
			}),
			drops: map[account.Reason]int{account.ReasonInvalidHistogram: 1},
		},
	})
}

// TestRule09ScaleDown: what is merged from a scale over 8 is what Prometheus itself makes of a histogram when it reduces
// its resolution. Prometheus has no schemas over 8, so the same merging is compared at lower ones.
func TestRule09ScaleDown(t *testing.T) {
	r := rand.New(rand.NewPCG(seed(t), 0))
	for range 2000 {
		counts := make([]uint64, 1+r.IntN(60))
		for i := range counts {
			counts[i] = uint64(max(0, r.IntN(10)-5))
		}
		scaleDown, offset := int32(1+r.IntN(8)), int32(r.IntN(2000)-1000)
		fine, coarse := nativeFrom(t, exponential(8, offset, counts)), nativeFrom(t, exponential(8+scaleDown, offset, counts))
		require.NoError(t, histogramOfPrometheus(coarse).Validate())
		reduced := histogramOfPrometheus(fine)
		require.NoError(t, reduced.ReduceResolution(8-scaleDown))
		got := absoluteBuckets(coarse.PositiveSpans, coarse.PositiveDeltas)
		want := make(map[int64]uint64)
		for it := reduced.PositiveBucketIterator(); it.Next(); {
			if b := it.At(); b.Count > 0 {
				want[int64(b.Index)] = b.Count
			}
		}
		require.Equal(t, want, got, "%d scales down, offset %d, counts %v", scaleDown, offset, counts)
	}
}

// histogramOfPrometheus is Prometheus's own form of a histogram with a positive side.
func histogramOfPrometheus(h *prompb.Histogram) *histogram.Histogram {
	p := &histogram.Histogram{
		Schema: h.Schema, Count: h.GetCountInt(), Sum: h.Sum, ZeroThreshold: h.ZeroThreshold, PositiveBuckets: slices.Clone(h.PositiveDeltas),
	}
	for _, s := range h.PositiveSpans {
		p.PositiveSpans = append(p.PositiveSpans, histogram.Span{Offset: s.Offset, Length: s.Length})
	}
	return p
}

// TestRule10Summaries: quantiles, sum and count.
func TestRule10Summaries(t *testing.T) {
	runTranslations(t, []translationCase{
		{
			name: "quantiles", metrics: metrics{summaryOf("s", quantiles([]float64{0.5, 0.99, 1}, with("a", "b", "z", "z")))},
			want: []string{
				`s{a="b",quantile="0.5",z="z"} 5 @1000`, `s{a="b",quantile="0.99",z="z"} 9.9 @1000`, `s{a="b",quantile="1",z="z"} 10 @1000`,
				`s_sum{a="b",z="z"} 100 @1000`, `s_count{a="b",z="z"} 10 @1000`,
			},
		},
		{name: "none", metrics: metrics{summaryOf("s", quantiles(nil))}, want: []string{`s_sum{} 100 @1000`, `s_count{} 10 @1000`}},
		{
			name: "odd ones", metrics: metrics{summaryOf("s", quantiles([]float64{math.Inf(1), -1, math.NaN()}))},
			want: []string{
				`s{quantile="+Inf"} +Inf @1000`, `s{quantile="-1"} -10 @1000`, `s{quantile="NaN"} NaN @1000`, `s_sum{} 100 @1000`, `s_count{} 10 @1000`,
			},
		},
		{
			name: "values that have the bits of a stale marker",
			metrics: metrics{summaryOf("s", quantiles([]float64{0.5}), func(dp pmetric.SummaryDataPoint) {
				quantiles([]float64{0.5}, at(2e9))(dp)
				dp.QuantileValues().At(0).SetValue(wire.StaleNaN)
				dp.SetSum(wire.StaleNaN)
			})},
			want: []string{
				`s{quantile="0.5"} 5 @1000`, `s_sum{} 100 @1000`, `s_count{} 10 @1000`, `s{quantile="0.5"} NaN @2000`, `s_sum{} NaN @2000`, `s_count{} 10 @2000`,
			},
		},
	})
}

// TestRule11StaleMarkers: a point without a recorded value ends every series that it would give, and no recorded value
// looks like a stale marker.
func TestRule11StaleMarkers(t *testing.T) {
	runTranslations(t, []translationCase{
		{
			name:    "numbers",
			metrics: metrics{gaugeOf("a", number(1.5, noRecordedValue)), gaugeOf("b", number(nil, noRecordedValue)), sumOf("c", true, number(1, noRecordedValue))},
			want:    []string{`a{} stale @1000`, `b{} stale @1000`, `c_total{} stale @1000`},
		},
		{
			name:    "recorded NaNs",
			metrics: metrics{gaugeOf("a", number(wire.StaleNaN)), gaugeOf("b", number(math.NaN())), gaugeOf("c", number(math.Float64frombits(0xfff0000000000002)))},
			want:    []string{`a{} NaN @1000`, `b{} NaN @1000`, `c{} NaN(fff0000000000002) @1000`},
		},
		{
			name: "other flags", metrics: metrics{gaugeOf("a", number(1, func(p dataPoint) { p.SetFlags(0xfffffffe) }))},
			want: []string{`a{} 1 @1000`},
		},
		{
			name: "histogram", metrics: metrics{histogramOf("h", buckets([]float64{1}, []uint64{1, 2}, noRecordedValue, exampled(1)))},
			want: []string{`h_bucket{le="1"} stale @1000`, `h_bucket{le="+Inf"} stale @1000`, `h_sum{} stale @1000`, `h_count{} stale @1000`},
		},
		{
			name: "summary", metrics: metrics{summaryOf("s", quantiles([]float64{0.5}, noRecordedValue))},
			want: []string{`s{quantile="0.5"} stale @1000`, `s_sum{} stale @1000`, `s_count{} stale @1000`},
		},
		{
			name: "native histogram", metrics: metrics{exponentialOf("x", exponential(-9, 3, []uint64{1, 2}, noRecordedValue))},
			want: []string{`x{} schema=0 count=0 sum=stale zero=0<=0 +map[] -map[] @1000`},
		},
	})
}

// TestRule11StaleMarkersWithoutBounds: a stale point that comes without its bounds ends the series that were sent before.
func TestRule11StaleMarkersWithoutBounds(t *testing.T) {
	// bare is a point of neither bounds nor sum.
	bare := func(edits ...func(dataPoint)) func(pmetric.HistogramDataPoint) {
		return func(dp pmetric.HistogramDataPoint) {
			edited(dp, append([]func(dataPoint){noRecordedValue, at(2e9)}, edits...))
		}
	}
	bareSummary := quantiles(nil, noRecordedValue, at(2e9))
	sent := buckets([]float64{1, 2}, []uint64{1, 2, 3}, with("a", "b"))
	ended := []string{
		`h_bucket{a="b",le="1"} stale @2000`, `h_bucket{a="b",le="2"} stale @2000`, `h_bucket{a="b",le="+Inf"} stale @2000`,
		`h_sum{a="b"} stale @2000`, `h_count{a="b"} stale @2000`,
	}
	onlyCount := []string{`h_bucket{a="b",le="+Inf"} stale @2000`, `h_count{a="b"} stale @2000`}
	for name, c := range map[string]struct {
		before metrics
		stale  func(pmetric.Metric)
		want   []string
	}{
		"histogram":                  {metrics{histogramOf("h", sent)}, histogramOf("h", bare(with("a", "b"))), ended},
		"histogram of other bounds":  {metrics{histogramOf("h", sent)}, histogramOf("h", buckets([]float64{7}, []uint64{1, 2}, with("a", "b"), at(2e9), noRecordedValue)), ended},
		"histogram of broken bounds": {metrics{histogramOf("h", sent)}, histogramOf("h", buckets([]float64{7}, nil, with("a", "b"), at(2e9), noRecordedValue)), ended},
		"histogram ended twice":      {metrics{histogramOf("h", sent, bare(with("a", "b"), at(1_500_000_000)))}, histogramOf("h", bare(with("a", "b"))), ended},
		"histogram never sent":       {metrics{histogramOf("g", sent)}, histogramOf("h", bare(with("a", "b"))), onlyCount},
		"another attribute":          {metrics{histogramOf("h", sent)}, histogramOf("h", bare(with("a", "c"))), []string{`h_bucket{a="c",le="+Inf"} stale @2000`, `h_count{a="c"} stale @2000`}},
		"broken and never sent":      {nil, histogramOf("h", buckets([]float64{2, 1}, []uint64{1}, with("a", "b"), at(2e9), noRecordedValue)), append([]string{`h_sum{a="b"} stale @2000`}, onlyCount...)},
		"the last bounds": {
			metrics{histogramOf("h", sent, buckets([]float64{1}, []uint64{1, 2}, with("a", "b"), at(1_500_000_000)))},
			histogramOf("h", bare(with("a", "b"))),
			[]string{`h_bucket{a="b",le="1"} stale @2000`, `h_bucket{a="b",le="+Inf"} stale @2000`, `h_sum{a="b"} stale @2000`, `h_count{a="b"} stale @2000`},
		},
		"a summary of the same name": {
			metrics{histogramOf("h", sent), summaryOf("h", quantiles([]float64{0.5}, with("a", "b")))}, histogramOf("h", bare(with("a", "b"))), ended,
		},
		"a histogram of the same family": {
			metrics{histogramOf("h", sent), histogramOf("h_count", buckets([]float64{5}, []uint64{1, 2}, with("a", "b")))}, histogramOf("h", bare(with("a", "b"))), ended,
		},
		"an attribute named quantile": {
			metrics{histogramOf("h", buckets([]float64{1}, []uint64{1, 2}, with("quantile", 1)), buckets([]float64{2}, []uint64{1, 2}, with("quantile", 2)))},
			histogramOf("h", bare(with("quantile", 1))),
			[]string{
				`h_bucket{le="1",quantile="1"} stale @2000`, `h_bucket{le="+Inf",quantile="1"} stale @2000`, `h_sum{quantile="1"} stale @2000`,
				`h_count{quantile="1"} stale @2000`,
			},
		},
		"summary": {
			metrics{summaryOf("s", quantiles([]float64{0.5, 0.9}))},
			summaryOf("s", bareSummary),
			[]string{`s{quantile="0.5"} stale @2000`, `s{quantile="0.9"} stale @2000`, `s_sum{} stale @2000`, `s_count{} stale @2000`},
		},
		"summary never sent": {nil, summaryOf("s", bareSummary), []string{`s_sum{} stale @2000`, `s_count{} stale @2000`}},
		"a histogram of the summary's name": {
			metrics{summaryOf("s", quantiles([]float64{0.5})), histogramOf("s", buckets([]float64{1}, []uint64{1, 2}))},
			summaryOf("s", bareSummary),
			[]string{`s{quantile="0.5"} stale @2000`, `s_sum{} stale @2000`, `s_count{} stale @2000`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			checkTranslation(t, nil, []pmetric.Metrics{metricsOf(nil, c.before...), metricsOf(nil, c.stale)}, c.want, nil)
		})
		t.Run(name+", refused and sent again", func(t *testing.T) {
			stale := metricsOf(nil, c.stale)
			checkTranslation(t, nil, []pmetric.Metrics{metricsOf(nil, c.before...), stale, stale}, c.want, nil)
		})
	}
}

// TestRule11MemoryIsForgotten: bounds are remembered for at least the idle timeout and at most twice as long, and those
// in use for ever.
func TestRule11MemoryIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const idle = time.Hour
		m := newBoundMemory(idle)
		sent, unknown := newBoundSet(leLabel, nil), newBoundSet(leLabel, nil)
		knows := func(key uint64) bool { return m.get(key, unknown, false, time.Now()).bounds == sent }
		// All are of one shard, which forgets at its own times.
		const busy, quiet, other = 1, 1 + 64, 1 + 2*64
		m.put(quiet, sent, true, time.Now())
		for elapsed := time.Duration(0); elapsed < 5*idle; elapsed += idle / 4 {
			m.put(busy, sent, true, time.Now())
			assert.True(t, knows(busy))
			if elapsed <= idle {
				assert.True(t, knows(quiet), "after %v", elapsed)
			}
			if elapsed >= 2*idle {
				assert.False(t, knows(quiet), "after %v", elapsed)
			}
			time.Sleep(idle / 4)
		}
		assert.False(t, knows(other))
	})
}

// TestRule12Exemplars: which series have exemplars, and with which labels.
func TestRule12Exemplars(t *testing.T) {
	traced := func(e pmetric.Exemplar) {
		e.SetTimestamp(900_999_999)
		e.SetTraceID(pcommon.TraceID{15: 1})
		e.SetSpanID(pcommon.SpanID{7: 2})
	}
	const ids = `span_id="0000000000000002",trace_id="00000000000000000000000000000001"`
	attributes := func(keysAndValues ...any) func(pmetric.Exemplar) {
		return func(e pmetric.Exemplar) { putAll(e.FilteredAttributes(), keysAndValues) }
	}
	// The ids take 63 of the 128 characters, and the name z one.
	fits, tooLong := strings.Repeat("é", 64), strings.Repeat("é", 65)
	runTranslations(t, []translationCase{
		{
			name: "kinds of metrics",
			metrics: metrics{
				sumOf("a", true, number(1, exampled(0.5))), sumOf("b", false, number(1, exampled(0.5))), gaugeOf("c", number(1, exampled(0.5))),
				exponentialOf("d", exponential(0, 0, nil, exampled(0.5, traced))),
			},
			want: []string{
				`a_total{} 1 @1000 # {} 0.5 @1000`, `b{} 1 @1000`, `c{} 1 @1000`,
				`d{} schema=0 count=0 sum=100 zero=0<=1e-128 +map[] -map[] @1000 # {` + ids + `} 0.5 @900`,
			},
		},
		{
			name: "values",
			metrics: metrics{sumOf("a", true, number(1,
				exampled(wire.StaleNaN), exampled(0, func(e pmetric.Exemplar) { e.SetIntValue(-7) }), exampled(0, func(e pmetric.Exemplar) { pmetric.NewExemplar().CopyTo(e) }),
			))},
			want: []string{`a_total{} 1 @1000 # {} -7 @1000 # {} NaN @1000`},
		},
		{
			name:    "labels",
			metrics: metrics{sumOf("a", true, number(1, exampled(1, traced, attributes("z.z", 1, "__a__", true, "trace_id", "other", "", "x", "none", "", "le", "b\xff"))))},
			want:    []string{`a_total{} 1 @1000 # {_a_="true",le="b�",` + ids + `,z_z="1"} 1 @900`},
		},
		{
			name:    "a trace_id that is none",
			metrics: metrics{sumOf("a", true, number(1, exampled(1, attributes("trace_id", "attribute", "a.b", "first", "a-b", "second"))))},
			want:    []string{`a_total{} 1 @1000 # {a_b="second;first",trace_id="attribute"} 1 @1000`},
		},
		{
			name: "128 characters", metrics: metrics{sumOf("a", true, number(1, exampled(1, traced, attributes("z", fits))))},
			want: []string{`a_total{} 1 @1000 # {` + ids + `,z="` + fits + `"} 1 @900`},
		},
		{
			name: "129 characters", metrics: metrics{sumOf("a", true, number(1, exampled(1, traced, attributes("z", tooLong)), exampled(2, attributes("z", fits))))},
			want: []string{`a_total{} 1 @1000 # {` + ids + `} 1 @900 # {z="` + fits + `"} 2 @1000`},
		},
		{
			name: "129 characters and no ids", metrics: metrics{sumOf("a", true, number(1, exampled(1, attributes("zz", strings.Repeat("v", 127)))))},
			want: []string{`a_total{} 1 @1000 # {} 1 @1000`},
		},
		{
			name: "in the buckets where they belong",
			metrics: metrics{histogramOf("h", buckets([]float64{1, 2}, []uint64{1, 2, 3},
				exampled(math.NaN()), exampled(2), exampled(1), exampled(math.Inf(1)), exampled(math.Inf(-1)), exampled(1.5), exampled(math.NaN())))},
			want: []string{
				`h_bucket{le="1"} 1 @1000 # {} -Inf @1000 # {} 1 @1000`, `h_bucket{le="2"} 3 @1000 # {} 1.5 @1000 # {} 2 @1000`,
				`h_bucket{le="+Inf"} 6 @1000 # {} +Inf @1000 # {} NaN @1000 # {} NaN @1000`, `h_sum{} 100 @1000`, `h_count{} 6 @1000`,
			},
		},
	})
}

// TestRule22ExemplarsInOrder: the exemplars of a series are ordered by time, and those of one time by value.
func TestRule22ExemplarsInOrder(t *testing.T) {
	when := func(ms pcommon.Timestamp) func(pmetric.Exemplar) {
		return func(e pmetric.Exemplar) { e.SetTimestamp(ms * 1e6) }
	}
	const want = ` # {} 9 @700 # {} 3 @800 # {} 1 @900 # {} 4 @900`
	exampled := []func(dataPoint){exampled(4, when(900)), exampled(1, when(900)), exampled(9, when(700)), exampled(3, when(800))}
	runTranslations(t, []translationCase{
		{name: "of a counter", metrics: metrics{sumOf("a", true, number(1, exampled...))}, want: []string{`a_total{} 1 @1000` + want}},
		{
			name: "of an exponential histogram", metrics: metrics{exponentialOf("a", exponential(0, 0, nil, exampled...))},
			want: []string{`a{} schema=0 count=0 sum=100 zero=0<=1e-128 +map[] -map[] @1000` + want},
		},
		{
			name: "of a histogram with custom buckets", edit: func(c *Config) { c.ConvertExplicitHistogramsToNHCB = true },
			metrics: metrics{histogramOf("a", buckets([]float64{3}, []uint64{1, 1}, exampled...))},
			want:    []string{`a{} custom=[3] count=2 sum=100 map[0:1 1:1] @1000` + want},
		},
		{
			name: "of the buckets of a histogram", metrics: metrics{histogramOf("a", buckets([]float64{3}, []uint64{1, 1}, exampled...))},
			want: []string{
				`a_bucket{le="3"} 1 @1000 # {} 3 @800 # {} 1 @900`, `a_bucket{le="+Inf"} 2 @1000 # {} 9 @700 # {} 4 @900`,
				`a_sum{} 100 @1000`, `a_count{} 2 @1000`,
			},
		},
	})
}

// TestRule22ExemplarLabels: attributes of an exemplar that become one label are joined as those of points are, but not with the
// ids of trace and span.
func TestRule22ExemplarLabels(t *testing.T) {
	attributes := func(keysAndValues ...any) func(pmetric.Exemplar) {
		return func(e pmetric.Exemplar) { putAll(e.FilteredAttributes(), keysAndValues) }
	}
	of := func(edits ...func(pmetric.Exemplar)) metrics {
		return metrics{sumOf("a", true, number(1, exampled(1, edits...)))}
	}
	many := make([]any, 0, 2*65)
	for i := range 65 {
		many = append(many, string(rune('0'+i)), "v")
	}
	runTranslations(t, []translationCase{
		{
			name: "joined in the order of the keys", metrics: of(attributes("a_b", "3", "a.b", "2", "a-b", "1", "a/b", "")),
			want: []string{`a_total{} 1 @1000 # {a_b="1;2;3"} 1 @1000`},
		},
		{
			name: "not with the ids", metrics: of(attributes("trace.id", "1", "span_id", "2", "a", "3"), func(e pmetric.Exemplar) { e.SetSpanID(pcommon.SpanID{7: 2}) }),
			want: []string{`a_total{} 1 @1000 # {a="3",span_id="0000000000000002",trace_id="1"} 1 @1000`},
		},
		{
			name: "128 characters when they are joined", metrics: of(attributes("a.b", strings.Repeat("v", 62), "a-b", strings.Repeat("w", 62))),
			want: []string{`a_total{} 1 @1000 # {a_b="` + strings.Repeat("w", 62) + ";" + strings.Repeat("v", 62) + `"} 1 @1000`},
		},
		{
			name: "129 characters when they are joined", metrics: of(attributes("a.b", strings.Repeat("v", 62), "a-b", strings.Repeat("w", 63))),
			want: []string{`a_total{} 1 @1000 # {} 1 @1000`},
		},
		{name: "more than can fit", metrics: of(attributes(many...)), want: []string{`a_total{} 1 @1000 # {} 1 @1000`}},
		{
			name: "names in UTF-8 in 2.0", edit: strategy(otlptranslator.NoTranslation), metrics: of(attributes("a.b", "1", "a-b", "2", "日本", "3")),
			want: []string{`a{} 1 @1000 # {a-b="2",a.b="1",日本="3"} 1 @1000`},
		},
	})
}

// TestExemplarLabelsOfTooMany: of an exemplar with any number of attributes no more are looked at than could fit.
func TestExemplarLabelsOfTooMany(t *testing.T) {
	ex := pmetric.NewExemplar()
	for i := range 10_000 {
		ex.FilteredAttributes().PutInt("key "+strconv.Itoa(i), int64(i))
	}
	n := testNamer(configOf(nil))
	assert.Empty(t, new(exemplarScratch).exemplarLabels(n, ex))
	assert.LessOrEqual(t, len(n.labels), maxExemplarRunes)
}
