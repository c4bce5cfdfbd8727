// SPDX-License-Identifier: Apache-2.0

package nativehist

import (
	"math"
	"math/rand/v2"
	"testing"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// exponential is a point with positive buckets, a sum, and the count of the buckets.
func exponential(scale, offset int32, counts ...uint64) pmetric.ExponentialHistogramDataPoint {
	dp := pmetric.NewExponentialHistogramDataPoint()
	dp.SetScale(scale)
	dp.Positive().SetOffset(offset)
	dp.Positive().BucketCounts().FromRaw(counts)
	dp.SetCount(total(counts))
	dp.SetSum(1)
	return dp
}

// explicit is a point with a sum and the count of its buckets.
func explicit(bounds []float64, counts ...uint64) pmetric.HistogramDataPoint {
	dp := pmetric.NewHistogramDataPoint()
	dp.ExplicitBounds().FromRaw(bounds)
	dp.BucketCounts().FromRaw(counts)
	dp.SetCount(total(counts))
	dp.SetSum(1)
	return dp
}

func total(counts []uint64) (sum uint64) {
	for _, n := range counts {
		sum += n
	}
	return sum
}

// prometheus is a histogram in Prometheus's own types, which knows what is valid.
func prometheus(h *wire.Histogram) *histogram.Histogram {
	spans := func(from []wire.Span) (to []histogram.Span) {
		for _, s := range from {
			to = append(to, histogram.Span{Offset: s.Offset, Length: s.Length})
		}
		return to
	}
	return &histogram.Histogram{
		Schema: h.Schema, Count: h.Count, Sum: h.Sum, ZeroCount: h.ZeroCount, ZeroThreshold: h.ZeroThreshold, CustomValues: h.CustomValues,
		PositiveSpans: spans(h.PositiveSpans), PositiveBuckets: h.PositiveDeltas, NegativeSpans: spans(h.NegativeSpans), NegativeBuckets: h.NegativeDeltas,
	}
}

// TestExponentialExample is the specification's own, and a gap of one bucket is written as an empty one.
func TestExponentialExample(t *testing.T) {
	var b Builder
	h, err := b.Exponential(exponential(0, 3, 10, 0, 0, 20, 5, 2))
	require.NoError(t, err)
	assert.Equal(t, []wire.Span{{Offset: 4, Length: 1}, {Offset: 2, Length: 3}}, h.PositiveSpans)
	assert.Equal(t, []int64{10, 10, -15, -3}, h.PositiveDeltas)
	assert.Equal(t, 1e-128, h.ZeroThreshold)

	h, err = b.Exponential(exponential(10, -8, 1, 1, 1, 1, 0, 0, 0, 0, 2)) // down by two: four buckets become one
	require.NoError(t, err)
	assert.Equal(t, int32(8), h.Schema)
	assert.Equal(t, []wire.Span{{Offset: -1, Length: 3}}, h.PositiveSpans)
	assert.Equal(t, []int64{4, -4, 2}, h.PositiveDeltas)
}

// TestWhatCannotBeOne, and why.
func TestWhatCannotBeOne(t *testing.T) {
	var b Builder
	for name, c := range map[string]struct {
		point pmetric.ExponentialHistogramDataPoint
		edit  func(pmetric.ExponentialHistogramDataPoint)
		want  error
	}{
		"too wide buckets":           {point: exponential(-5, 0, 1), want: ErrScale},
		"no sum":                     {point: exponential(0, 0, 1), edit: pmetric.ExponentialHistogramDataPoint.RemoveSum, want: ErrNoSum},
		"another count":              {point: exponential(0, 0, 1), edit: func(dp pmetric.ExponentialHistogramDataPoint) { dp.SetCount(2) }, want: ErrInvalid},
		"an index over all":          {point: exponential(0, math.MaxInt32, 1), want: ErrInvalid},
		"a count over all":           {point: exponential(0, 0, math.MaxInt64+1), want: ErrInvalid},
		"counts that overflow":       {point: exponential(0, 0, math.MaxInt64, 1), want: ErrInvalid},
		"counts that wrap when down": {point: exponential(20, 0, math.MaxInt64, math.MaxInt64, 2), want: ErrInvalid},
	} {
		if c.edit != nil {
			c.edit(c.point)
		}
		_, err := b.Exponential(c.point)
		assert.ErrorIs(t, err, c.want, name)
	}
	for name, point := range map[string]pmetric.HistogramDataPoint{
		"bounds that step back": explicit([]float64{2, 1}, 1, 1, 1),
		"equal bounds":          explicit([]float64{1, 1}, 1, 1, 1),
		"a bound of NaN":        explicit([]float64{math.NaN()}, 1, 1),
		"counts that overflow":  explicit([]float64{1}, math.MaxInt64, 1),
	} {
		_, err := b.Custom(point)
		assert.ErrorIs(t, err, ErrInvalid, name)
	}
}

// TestStaleMarkers have no buckets, whatever the point has.
func TestStaleMarkers(t *testing.T) {
	var b Builder
	stale := pmetric.DefaultDataPointFlags.WithNoRecordedValue(true)
	point := exponential(-5, 0, 1)
	point.SetFlags(stale)
	h, err := b.Exponential(point)
	require.NoError(t, err)
	assert.Equal(t, math.Float64bits(wire.StaleNaN), math.Float64bits(h.Sum))
	assert.Empty(t, h.PositiveSpans)

	custom := explicit([]float64{2, 1}, 1)
	custom.SetFlags(stale)
	h, err = b.Custom(custom)
	require.NoError(t, err)
	assert.Equal(t, math.Float64bits(wire.StaleNaN), math.Float64bits(h.Sum))
	assert.Equal(t, int32(wire.CustomBucketsSchema), h.Schema)
	assert.Empty(t, h.CustomValues)
}

// TestWhatIsMadeIsValid: Prometheus accepts what is made of any point, one after the other.
func TestWhatIsMadeIsValid(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	counts := func() []uint64 {
		all := make([]uint64, r.IntN(8))
		for i := range all {
			all[i] = r.Uint64N(3) * r.Uint64N(3)
		}
		return all
	}
	var b Builder
	made := 0
	for range 5000 {
		e := exponential(r.Int32N(30)-10, r.Int32()>>r.IntN(32), counts()...)
		negative := counts()
		e.Negative().SetOffset(r.Int32N(10) - 5)
		e.Negative().BucketCounts().FromRaw(negative)
		e.SetCount(e.Count() + total(negative))
		if h, err := b.Exponential(e); err == nil {
			made++
			assert.NoError(t, prometheus(h).Validate())
		}
		c := explicit([]float64{-1, 0, 2.5, math.Inf(1)}[:r.IntN(5)], counts()...)
		c.SetCount(r.Uint64N(20))
		h, err := b.Custom(c)
		require.NoError(t, err)
		assert.NoError(t, prometheus(h).Validate())
	}
	assert.Greater(t, made, 1000)
}
