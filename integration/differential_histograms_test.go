// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"math"
	"strconv"
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// oddHistograms are histograms with explicit bounds that are not all as they should be.
func oddHistograms() []struct {
	name  string
	point func(pmetric.HistogramDataPoint)
} {
	two := []float64{1, 5}
	count := func(n uint64, point func(pmetric.HistogramDataPoint)) func(pmetric.HistogramDataPoint) {
		return changed(point, func(dp pmetric.HistogramDataPoint) { dp.SetCount(n) })
	}
	value := func(v float64, point func(pmetric.HistogramDataPoint)) func(pmetric.HistogramDataPoint) {
		return changed(point, func(dp pmetric.HistogramDataPoint) { dp.SetSum(v) })
	}
	return []struct {
		name  string
		point func(pmetric.HistogramDataPoint)
	}{
		{"sound", buckets(two, []uint64{1, 2, 3})},
		{"empty buckets", buckets([]float64{1, 2, 3, 4, 5, 6, 7}, []uint64{0, 0, 4, 0, 0, 0, 1, 0})},
		{"one bucket", buckets(nil, []uint64{5})},
		{"nothing counted", buckets(two, []uint64{0, 0, 0})},
		{"no sum", changed(buckets(two, []uint64{1, 2, 3}), pmetric.HistogramDataPoint.RemoveSum)},
		{"a sum of NaN", value(math.NaN(), buckets(two, []uint64{1, 2, 3}))},
		{"a negative sum", value(-3, buckets(two, []uint64{1, 2, 3}))},
		{"more counted than in buckets", count(10, buckets(two, []uint64{1, 2, 3}))},
		{"less counted than in buckets", count(2, buckets(two, []uint64{1, 2, 3}))},
		{"no buckets", count(6, buckets(nil, nil))},
		{"bounds without buckets", count(6, buckets(two, nil))},
		{"the last bucket left out", buckets(two, []uint64{1, 2})},
		{"two buckets left out", count(4, buckets(two, []uint64{1}))},
		{"a bucket too many", buckets(two, []uint64{1, 2, 3, 4})},
		{"a bound of +Inf", buckets([]float64{1, math.Inf(1)}, []uint64{1, 2, 3})},
		{"a bound of +Inf for the last bucket", buckets([]float64{1, math.Inf(1)}, []uint64{1, 2})},
		{"a bound of -Inf", buckets([]float64{math.Inf(-1), 0}, []uint64{1, 2, 3})},
		{"a bound of NaN", buckets([]float64{math.NaN()}, []uint64{1, 2})},
		{"bounds that step back", buckets([]float64{5, 1}, []uint64{1, 2, 3})},
		{"equal bounds", buckets([]float64{1, 1}, []uint64{1, 2, 3})},
		{"negative bounds", buckets([]float64{-5, 0, 5}, []uint64{1, 2, 3, 4})},
		{"long bounds", buckets([]float64{0.1 + 0.2, 1e21}, []uint64{1, 2, 3})},
	}
}

func (c *corpus) classicHistograms() {
	for _, h := range oddHistograms() {
		c.add("histograms: "+h.name, payload(nil, explicit("x", h.point)))
	}
}

func (c *corpus) customBuckets() {
	for _, h := range oddHistograms() {
		c.add("custom buckets: "+h.name, payload(nil, explicit("x", h.point)), custom)
	}
	c.add("custom buckets: with the classic series", payload(nil, explicit("x", buckets([]float64{1}, []uint64{1, 2}))), classicToo)
	c.add("custom buckets: with a start", payload(shop, of("s", explicit("x", buckets([]float64{1}, []uint64{1, 2}, began(second-60e9), with("a", "b"))))), custom)
}

func (c *corpus) nativeHistograms() {
	for _, scale := range []int32{-10, -5, -4, 0, 8, 9, 12, 20} {
		c.add("native: scale "+strconv.Itoa(int(scale)), payload(nil, exponential("x", scaled(scale, 3, []uint64{1, 2, 3, 4, 5, 6, 7, 8}))))
		c.add("native: scale "+strconv.Itoa(int(scale))+" and a negative offset", payload(nil, exponential("x", scaled(scale, -5, []uint64{1, 2, 3, 0, 0, 0, 0, 8}))))
	}
	c.add("native: scaled down, with an empty bucket among those of one", payload(nil, exponential("x", scaled(9, 0, []uint64{1, 0, 0, 0, 3, 1}))))
	for _, offset := range []int32{0, -1, 100, -100, math.MaxInt32 - 10, math.MinInt32} {
		c.add("native: offset "+strconv.Itoa(int(offset)), payload(nil, exponential("x", scaled(0, offset, []uint64{1, 2}))))
	}
	c.add("native: the specification's example", payload(nil, exponential("x", scaled(0, 3, []uint64{10, 0, 0, 20, 5, 2}))))
	c.add("native: gaps", payload(nil, exponential("x", scaled(0, 0, []uint64{1, 0, 2, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 0, 5}))))
	c.add("native: empty buckets at both ends", payload(nil, exponential("x", scaled(0, 0, []uint64{0, 0, 0, 0, 1, 0, 0, 0, 0}))))
	c.add("native: nothing", payload(nil, exponential("x", scaled(0, 0, nil))))
	c.add("native: empty buckets alone", payload(nil, exponential("x", scaled(0, 0, []uint64{0, 0, 0}))))
	edit := func(change func(pmetric.ExponentialHistogramDataPoint)) pmetric.Metrics {
		return payload(nil, exponential("x", changed(scaled(0, 0, []uint64{1, 2}), change)))
	}
	c.add("native: both sides and zero", edit(func(dp pmetric.ExponentialHistogramDataPoint) {
		dp.Negative().SetOffset(-3)
		dp.Negative().BucketCounts().FromRaw([]uint64{4, 0, 5})
		dp.SetZeroCount(6)
		dp.SetCount(18)
		dp.SetSum(-1)
	}))
	c.add("native: a zero threshold", edit(func(dp pmetric.ExponentialHistogramDataPoint) { dp.SetZeroThreshold(0.25) }))
	c.add("native: no sum", edit(pmetric.ExponentialHistogramDataPoint.RemoveSum))
	c.add("native: a sum of NaN", edit(func(dp pmetric.ExponentialHistogramDataPoint) { dp.SetSum(math.NaN()) }))
	c.add("native: a sum with the bits of a stale marker", edit(func(dp pmetric.ExponentialHistogramDataPoint) { dp.SetSum(staleBits) }))
	c.add("native: more counted than in buckets", edit(func(dp pmetric.ExponentialHistogramDataPoint) { dp.SetCount(7) }))
	c.add("native: less counted than in buckets", edit(func(dp pmetric.ExponentialHistogramDataPoint) { dp.SetCount(1) }))
	c.add("native: min and max", edit(func(dp pmetric.ExponentialHistogramDataPoint) {
		dp.SetMin(1)
		dp.SetMax(4)
	}))
	c.add("native: several points", payload(shop, of("s", exponential("x", scaled(0, 0, []uint64{1}), scaled(1, 0, []uint64{1, 2}, at(1e9)), scaled(0, 0, []uint64{3}, with("a", "b"))))))
}

func (c *corpus) exemplars() {
	for _, k := range kinds("x", "", exampled(0.5, traced, filtered("a", "b")))[:6] {
		c.add("exemplars: of a "+k.kind, payload(nil, k.metric))
	}
	when := func(before pcommon.Timestamp) func(pmetric.Exemplar) {
		return func(e pmetric.Exemplar) { e.SetTimestamp(second - before) }
	}
	counter := func(edits ...pointEdit) pmetric.Metrics { return payload(nil, sum("x", true, number(1, edits...))) }
	c.add("exemplars: of custom buckets", payload(nil, explicit("x", buckets([]float64{1}, []uint64{1, 2}, exampled(0.5, traced), exampled(3, traced)))), custom)
	c.add("exemplars: in the buckets where they belong", payload(nil, explicit("x", buckets([]float64{1, 2}, []uint64{1, 2, 3}, exampled(0.5), exampled(1), exampled(1.5), exampled(9)))))
	c.add("exemplars: of a histogram, by falling value", payload(nil, explicit("x", buckets([]float64{1, 2}, []uint64{1, 2, 3}, exampled(9), exampled(1.5), exampled(0.5)))))
	c.add("exemplars: in order", counter(exampled(1, when(3e8)), exampled(2, when(2e8))))
	c.add("exemplars: out of order", counter(exampled(1, when(2e8)), exampled(2, when(3e8))))
	c.add("exemplars: an integer", counter(exampled(0, func(e pmetric.Exemplar) { e.SetIntValue(7) })))
	c.add("exemplars: no value", counter(exampled(0, func(e pmetric.Exemplar) {
		empty := pmetric.NewExemplar()
		empty.SetTimestamp(e.Timestamp())
		empty.CopyTo(e)
	})))
	c.add("exemplars: no time", counter(exampled(1, func(e pmetric.Exemplar) { e.SetTimestamp(0) })))
	c.add("exemplars: no labels", counter(exampled(1)))
	c.add("exemplars: labels out of order", counter(exampled(1, filtered("z", "1", "a", "2"))))
	c.add("exemplars: dots", counter(exampled(1, filtered("http.method", "GET"))))
	c.add("exemplars: dots, untranslated", payload(nil, sum("x", true, number(1, exampled(1, filtered("http.method", "GET"))))), untranslated)
	c.add("exemplars: labels that collide", counter(exampled(1, filtered("a.b", "2", "a-b", "1"))))
	c.add("exemplars: an attribute trace_id", counter(exampled(1, traced, filtered("trace_id", "mine"))))
	c.add("exemplars: an attribute trace_id without a trace", counter(exampled(1, filtered("trace_id", "mine"))))
	c.add("exemplars: an empty value", counter(exampled(1, filtered("a", "", "b", "c"))))
	c.add("exemplars: 128 characters", counter(exampled(1, filtered("a", strings.Repeat("v", 127)))))
	c.add("exemplars: 129 characters", counter(exampled(1, filtered("a", strings.Repeat("v", 128)))))
	c.add("exemplars: ids and too much", counter(exampled(1, traced, filtered("a", strings.Repeat("v", 128)))))
}
