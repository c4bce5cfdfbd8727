// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"fmt"
	"hash/fnv"
	"math"
	"slices"
	"strings"

	"github.com/prometheus/prometheus/prompb"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
)

// staleBits are those of a stale marker (Remote-Write 1.0, "Stale Markers").
const staleBits = 0x7ff0000000000002

// Point is a sample, or a native histogram, of a series.
type Point struct {
	// Series is the rwtest.SeriesKey.
	Series string
	// Sample's Bits are, for a native histogram, a hash of what it says, whatever the encoding.
	rwtest.Sample
}

func (p Point) String() string {
	if p.Histogram {
		return fmt.Sprintf("histogram %016x at %d of %.300s", p.Bits, p.Timestamp, p.Series)
	}
	return fmt.Sprintf("%v at %d of %.300s", p.Value(), p.Timestamp, p.Series)
}

func floatSample(ts int64, value float64) rwtest.Sample {
	return rwtest.Sample{Timestamp: ts, Bits: math.Float64bits(value)}
}

// pointsOf lists the samples of a message in their order. The keys are those of its series.
func pointsOf(message *prompb.WriteRequest, keys []string) []Point {
	var points []Point
	for i, key := range keys {
		ts := &message.Timeseries[i]
		for _, s := range ts.Samples {
			points = append(points, Point{key, floatSample(s.Timestamp, s.Value)})
		}
		for j := range ts.Histograms {
			h := &ts.Histograms[j]
			points = append(points, Point{key, histogramSample(h.Timestamp, decodeHistogram(h))})
		}
	}
	return points
}

// histogram is what a native histogram says.
type histogram struct {
	schema        int32
	count         uint64
	sum           float64
	zeroThreshold float64
	zeroCount     uint64
	// positive and negative are the counts that are not 0, by index.
	positive, negative map[int64]uint64
	bounds             []float64
}

// stale is a native histogram that is a stale marker: its sum says so, and nothing else counts.
var stale = histogram{sum: math.Float64frombits(staleBits)}

// histogramSample makes a sample that two histograms have in common if they say the same.
func histogramSample(ts int64, h histogram) rwtest.Sample {
	text := "stale"
	if math.Float64bits(h.sum) != staleBits {
		text = fmt.Sprintf("%d %d %x %x %d %s %s %x", h.schema, h.count, math.Float64bits(h.sum), math.Float64bits(h.zeroThreshold), h.zeroCount,
			bucketsText(h.positive), bucketsText(h.negative), h.bounds)
	}
	sum := fnv.New64a()
	_, _ = sum.Write([]byte(text))
	return rwtest.Sample{Timestamp: ts, Bits: sum.Sum64(), Histogram: true}
}

func bucketsText(buckets map[int64]uint64) string {
	var parts []string
	for index, n := range buckets {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d:%d", index, n))
		}
	}
	slices.Sort(parts)
	return strings.Join(parts, ",")
}

// decodeHistogram reads the form of types.proto: spans of buckets, whose counts are differences.
func decodeHistogram(h *prompb.Histogram) histogram {
	return histogram{
		schema: h.Schema, count: h.GetCountInt(), sum: h.Sum, zeroThreshold: h.ZeroThreshold, zeroCount: h.GetZeroCountInt(),
		positive: decodeBuckets(h.PositiveSpans, h.PositiveDeltas), negative: decodeBuckets(h.NegativeSpans, h.NegativeDeltas),
		bounds: h.CustomValues,
	}
}

func decodeBuckets(spans []prompb.BucketSpan, deltas []int64) map[int64]uint64 {
	buckets := make(map[int64]uint64)
	index, n := int64(0), int64(0)
	for _, span := range spans {
		index += int64(span.Offset)
		for range span.Length {
			if len(deltas) == 0 {
				return buckets
			}
			n += deltas[0]
			deltas = deltas[1:]
			buckets[index] = uint64(n)
			index++
		}
	}
	return buckets
}
