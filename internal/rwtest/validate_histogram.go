// SPDX-License-Identifier: Apache-2.0

package rwtest

import (
	"errors"
	"fmt"
	"math"
	"math/bits"

	"github.com/prometheus/prometheus/prompb"
)

// staleBits are the bits of a stale marker (Remote-Write 1.0, "Stale Markers").
const staleBits = 0x7ff0000000000002

// isStale says whether v is a stale marker. Other NaNs are ordinary values.
func isStale(v float64) bool { return math.Float64bits(v) == staleBits }

// histogramRules are the demands on a native histogram, in both versions. Remote-Write 1.0 does not speak of them; what its
// message means is said in types.proto, and Prometheus refuses what breaks these rules (model/histogram, Validate).
var histogramRules = []rule[*prompb.Histogram]{
	{`counts are all integers or all floats (types.proto, "Histogram")`, func(h *prompb.Histogram, fail failFunc) {
		_, floatZero := h.ZeroCount.(*prompb.Histogram_ZeroCountFloat)
		_, intZero := h.ZeroCount.(*prompb.Histogram_ZeroCountInt)
		deltas := len(h.PositiveDeltas) + len(h.NegativeDeltas)
		counts := len(h.PositiveCounts) + len(h.NegativeCounts)
		if isFloat(h) && (intZero || deltas > 0) || !isFloat(h) && (floatZero || counts > 0) {
			fail("count %T, zero count %T, %d deltas, %d absolute counts", h.Count, h.ZeroCount, deltas, counts)
		}
	}},
	{`the zero threshold is a number not below 0 (types.proto, "Histogram")`, func(h *prompb.Histogram, fail failFunc) {
		if !(h.ZeroThreshold >= 0) || math.IsInf(h.ZeroThreshold, 1) {
			fail("%v", h.ZeroThreshold)
		}
	}},
	{`the spans cover as many buckets as there are (types.proto, "BucketSpan")`, func(h *prompb.Histogram, fail failFunc) {
		for _, s := range sides(h) {
			length := uint64(0)
			for _, span := range s.spans {
				length += uint64(span.Length)
			}
			if n := max(len(s.deltas), len(s.counts)); length != uint64(n) {
				fail("%s side: spans of %d for %d buckets", s.name, length, n)
			}
		}
	}},
	{`only the first span has a negative offset (types.proto, "BucketSpan")`, func(h *prompb.Histogram, fail failFunc) {
		for _, s := range sides(h) {
			for i, span := range s.spans {
				if i > 0 && span.Offset < 0 {
					fail("%s side: offset %d of span %d", s.name, span.Offset, i)
				}
			}
		}
	}},
	{`bucket indexes are int32 (Prometheus, model/histogram, checkHistogramSpans)`, func(h *prompb.Histogram, fail failFunc) {
		for _, s := range sides(h) {
			next := int64(0)
			for i, span := range s.spans {
				if next += int64(span.Offset); next <= math.MinInt32 {
					fail("%s side: span %d starts at %d", s.name, i, next)
				}
				if next += int64(span.Length); next-1 > math.MaxInt32 {
					fail("%s side: span %d ends at %d", s.name, i, next-1)
				}
			}
		}
	}},
	{`no bucket count is negative (Prometheus, model/histogram, checkHistogramBuckets)`, func(h *prompb.Histogram, fail failFunc) {
		for _, s := range sides(h) {
			if _, err := s.total(); err != nil {
				fail("%s side: %v", s.name, err)
			}
		}
	}},
	{`count is the sum of the zero bucket and all buckets (Prometheus, model/histogram, Validate)`, func(h *prompb.Histogram, fail failFunc) {
		if isFloat(h) {
			if !(h.GetCountFloat() >= 0) || !(h.GetZeroCountFloat() >= 0) {
				fail("count %v, zero count %v", h.GetCountFloat(), h.GetZeroCountFloat())
			}
			return // the rounding of floats forbids more
		}
		total, overflow := h.GetZeroCountInt(), uint64(0)
		for _, s := range sides(h) {
			n, err := s.total()
			if err != nil {
				return // the rule above has said so
			}
			var carry uint64
			total, carry = bits.Add64(total, n, 0)
			overflow += carry
		}
		switch {
		case overflow > 0:
			fail("count %d, buckets beyond 64 bits", h.GetCountInt())
		case math.IsNaN(h.Sum) && total <= h.GetCountInt(): // observed NaNs are counted but are in no bucket
		case total != h.GetCountInt():
			fail("count %d, buckets %d", h.GetCountInt(), total)
		}
	}},
	{`a stale histogram has no count and no buckets (OpenTelemetry, prometheus_and_openmetrics.md; Prometheus, scrape)`, func(h *prompb.Histogram, fail failFunc) {
		if !isStale(h.Sum) {
			return
		}
		if h.GetCountInt() != 0 || h.GetCountFloat() != 0 || h.GetZeroCountInt() != 0 || h.GetZeroCountFloat() != 0 {
			fail("count %v, zero count %v", h.Count, h.ZeroCount)
		}
		for _, s := range sides(h) {
			if n := len(s.spans) + len(s.deltas) + len(s.counts); n > 0 {
				fail("%s side: %d spans, %d deltas, %d counts", s.name, len(s.spans), len(s.deltas), len(s.counts))
			}
		}
	}},
}

// histogramRulesV1 are what 1.0 demands besides.
var histogramRulesV1 = []rule[*prompb.Histogram]{
	{`schema is -4 to 8 (types.proto, "Histogram"); custom buckets (-53) are for Remote-Write 2.0 only`, func(h *prompb.Histogram, fail failFunc) {
		if h.Schema < -4 || h.Schema > 8 {
			fail("schema %d", h.Schema)
		}
		if len(h.CustomValues) > 0 {
			fail("%d custom values", len(h.CustomValues))
		}
	}},
}

// histogramRulesV2 are what 2.0 demands besides.
var histogramRulesV2 = []rule[*prompb.Histogram]{
	{`schema is -4 to 8, or -53 for custom buckets (write/v2/types.proto, "Histogram")`, func(h *prompb.Histogram, fail failFunc) {
		if h.Schema < -4 && h.Schema != customSchema || h.Schema > 8 {
			fail("schema %d", h.Schema)
		}
		if h.Schema != customSchema && len(h.CustomValues) > 0 {
			fail("%d custom values in schema %d", len(h.CustomValues), h.Schema)
		}
	}},
	{`custom buckets have neither a zero bucket nor a negative side (write/v2/types.proto, "custom_values")`, func(h *prompb.Histogram, fail failFunc) {
		if h.Schema != customSchema {
			return
		}
		if h.ZeroThreshold != 0 || h.GetZeroCountInt() != 0 || h.GetZeroCountFloat() != 0 {
			fail("zero threshold %v, zero count %v", h.ZeroThreshold, h.ZeroCount)
		}
		if n := len(h.NegativeSpans) + len(h.NegativeDeltas) + len(h.NegativeCounts); n > 0 {
			fail("a negative side")
		}
	}},
	{`custom values increase, and +Inf is not among them (write/v2/types.proto, "custom_values")`, func(h *prompb.Histogram, fail failFunc) {
		for i, v := range h.CustomValues {
			if math.IsNaN(v) || math.IsInf(v, 1) || i > 0 && v <= h.CustomValues[i-1] {
				fail("%v", h.CustomValues)
				return
			}
		}
	}},
	{`custom buckets are those of the custom values and one for +Inf (Prometheus, model/histogram, checkHistogramCustomBounds)`, func(h *prompb.Histogram, fail failFunc) {
		if h.Schema != customSchema {
			return
		}
		next := int64(0)
		for i, span := range h.PositiveSpans {
			if span.Offset < 0 {
				fail("offset %d of span %d", span.Offset, i)
			}
			next += int64(span.Offset) + int64(span.Length)
		}
		if next > int64(len(h.CustomValues))+1 {
			fail("bucket %d of %d custom values", next-1, len(h.CustomValues))
		}
	}},
}

// customSchema is the schema of custom buckets.
const customSchema = -53

// isFloat says whether the histogram counts in floats. One without a count is an integer histogram of count 0.
func isFloat(h *prompb.Histogram) bool {
	_, ok := h.Count.(*prompb.Histogram_CountFloat)
	return ok
}

// side is the positive or the negative half of a histogram.
type side struct {
	name   string
	spans  []prompb.BucketSpan
	deltas []int64
	counts []float64
}

func sides(h *prompb.Histogram) [2]side {
	return [2]side{
		{"positive", h.PositiveSpans, h.PositiveDeltas, h.PositiveCounts},
		{"negative", h.NegativeSpans, h.NegativeDeltas, h.NegativeCounts},
	}
}

// total accumulates the deltas and returns the sum of the integer buckets. It is an error if a bucket is negative, or if
// a bucket or the sum cannot be represented.
func (s side) total() (uint64, error) {
	for i, c := range s.counts {
		if !(c >= 0) {
			return 0, fmt.Errorf("bucket %d has %v", i, c)
		}
	}
	var count int64
	var sum, carry uint64
	for i, d := range s.deltas {
		if d > 0 && count > math.MaxInt64-d {
			return 0, fmt.Errorf("bucket %d exceeds 63 bits", i)
		}
		if count += d; count < 0 {
			return 0, fmt.Errorf("bucket %d has %d", i, count)
		}
		if sum, carry = bits.Add64(sum, uint64(count), 0); carry > 0 {
			return 0, errors.New("the buckets together exceed 64 bits")
		}
	}
	return sum, nil
}
