// SPDX-License-Identifier: Apache-2.0

// Package nativehist makes Prometheus's native histograms of OpenTelemetry's histogram points: those with exponential
// buckets of exponential histograms, and those with custom buckets of histograms with explicit bounds.
package nativehist // import "github.com/orderedremotewrite/orderedremotewriteexporter/internal/nativehist"

import (
	"errors"
	"math"
	"unsafe"

	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// Why a point cannot be a native histogram.
var (
	// ErrScale is for buckets that are wider than those of the widest schema.
	ErrScale = errors.New("scale under -4")
	// ErrNoSum is for an exponential histogram without a sum. Of its native histogram the sum would be that of a stale marker.
	ErrNoSum = errors.New("no sum")
	// ErrInvalid is for buckets that contradict each other or the count, and for numbers that a native histogram has no place for.
	ErrInvalid = errors.New("invalid buckets")
)

// Range of the schemas of native histograms with exponential buckets.
const (
	minSchema = -4
	maxSchema = 8
)

// defaultZeroThreshold is Prometheus's own default, for points that give none.
const defaultZeroThreshold = 1e-128

// Builder makes native histograms. The zero value is ready for use. What a method returns is valid until the next call.
type Builder struct {
	histogram wire.Histogram
	bounds    []float64
}

// Capacity is the bytes of the buffers.
func (b *Builder) Capacity() int {
	h := &b.histogram
	return (cap(h.NegativeSpans)+cap(h.PositiveSpans))*int(unsafe.Sizeof(wire.Span{})) + 8*(cap(h.NegativeDeltas)+cap(h.PositiveDeltas)+cap(b.bounds))
}

// restart empties the histogram; its slices stay.
func (b *Builder) restart(schema int32) *wire.Histogram {
	h := &b.histogram
	*h = wire.Histogram{
		Schema:        schema,
		NegativeSpans: h.NegativeSpans[:0], NegativeDeltas: h.NegativeDeltas[:0],
		PositiveSpans: h.PositiveSpans[:0], PositiveDeltas: h.PositiveDeltas[:0],
	}
	return h
}

// Exponential makes a native histogram of a point (OpenTelemetry specification, "Prometheus and OpenMetrics Compatibility",
// "Exponential Histograms"). A stale point becomes a stale marker.
func (b *Builder) Exponential(dp pmetric.ExponentialHistogramDataPoint) (*wire.Histogram, error) {
	if dp.Flags().NoRecordedValue() {
		return b.stale(0), nil
	}
	switch {
	case dp.Scale() < minSchema:
		return nil, ErrScale
	case !dp.HasSum():
		return nil, ErrNoSum
	}
	h := b.restart(min(dp.Scale(), maxSchema))
	h.Count, h.Sum = dp.Count(), wire.Recorded(dp.Sum())
	h.ZeroCount, h.ZeroThreshold = dp.ZeroCount(), dp.ZeroThreshold()
	if !(h.ZeroThreshold > 0) || math.IsInf(h.ZeroThreshold, 0) {
		h.ZeroThreshold = defaultZeroThreshold
	}
	scaleDown := int64(dp.Scale()) - int64(h.Schema)
	positive := side{spans: h.PositiveSpans, deltas: h.PositiveDeltas}
	negative := side{spans: h.NegativeSpans, deltas: h.NegativeDeltas}
	if !positive.add(dp.Positive(), scaleDown) || !negative.add(dp.Negative(), scaleDown) {
		return nil, ErrInvalid
	}
	h.PositiveSpans, h.PositiveDeltas = positive.spans, positive.deltas
	h.NegativeSpans, h.NegativeDeltas = negative.spans, negative.deltas
	// A receiver refuses a histogram whose count is not that of its buckets; only observations of NaN are in none.
	sum := positive.total + negative.total
	overflow := sum < positive.total || sum+h.ZeroCount < sum
	sum += h.ZeroCount
	if overflow || sum > h.Count || sum < h.Count && !math.IsNaN(h.Sum) {
		return nil, ErrInvalid
	}
	return h, nil
}

// Custom makes a native histogram with custom buckets of a point (OpenTelemetry specification, "Prometheus and OpenMetrics
// Compatibility", "Histograms"). A stale point becomes a stale marker.
//
// What can be repaired is: a sum that is not set is 0, buckets that are left out at the end are empty, what is counted but in
// no bucket is in the last one, and if the buckets have more than was counted, that is the count.
func (b *Builder) Custom(dp pmetric.HistogramDataPoint) (*wire.Histogram, error) {
	if dp.Flags().NoRecordedValue() {
		return b.stale(wire.CustomBucketsSchema), nil
	}
	if !b.setBounds(dp) {
		return nil, ErrInvalid
	}
	h := b.restart(wire.CustomBucketsSchema)
	h.CustomValues, h.Sum = b.bounds, wire.Recorded(dp.Sum())
	buckets := side{spans: h.PositiveSpans, deltas: h.PositiveDeltas}
	last := int64(len(b.bounds))
	counts := dp.BucketCounts()
	for i := range counts.Len() {
		// There are two last buckets if +Inf was given as a bound.
		if !buckets.put(min(int64(i), last), counts.At(i)) {
			return nil, ErrInvalid
		}
	}
	if rest := dp.Count() - buckets.total; dp.Count() > buckets.total && !buckets.put(last, rest) {
		return nil, ErrInvalid
	}
	h.Count, h.PositiveSpans, h.PositiveDeltas = buckets.total, buckets.spans, buckets.deltas
	return h, nil
}

// setBounds takes the bounds of a point without +Inf, which every histogram has. It returns false if they do not increase.
func (b *Builder) setBounds(dp pmetric.HistogramDataPoint) bool {
	b.bounds = b.bounds[:0]
	bounds := dp.ExplicitBounds()
	for i := range bounds.Len() {
		v := bounds.At(i)
		if v != v || i > 0 && v <= bounds.At(i-1) {
			return false
		}
		if !math.IsInf(v, 1) {
			b.bounds = append(b.bounds, v)
		}
	}
	return true
}

// stale is a stale marker: its sum says so, and it has no buckets (Prometheus, "Native Histograms", "Staleness markers").
func (b *Builder) stale(schema int32) *wire.Histogram {
	h := b.restart(schema)
	h.Sum = wire.StaleNaN
	return h
}
