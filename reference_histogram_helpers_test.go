// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"cmp"
	"maps"
	"math"
	"math/big"
	"slices"
	"strconv"

	"github.com/prometheus/otlptranslator"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
)

// boundsOf returns the bounds of the series of a point: those that it has, or if it is stale those that were sent last
// (rule 11).
func (r *reference) boundsOf(name string, labels labelMap, stale bool, own sentBounds) sentBounds {
	key := name + seriesString(sortedLabels(labels))
	if !stale {
		r.sentBounds[key] = own
		return own
	}
	if sent, ok := r.sentBounds[key]; ok {
		return sentBounds{sent.values, sent.hasSum || own.hasSum}
	}
	return own
}

// histograms is rule 8.
func (r *reference) histograms(m pmetric.Metric, points pmetric.HistogramDataPointSlice) {
	name, ok := r.name(m, otlptranslator.MetricTypeHistogram, points.Len())
	if !ok {
		return
	}
	for _, dp := range points.All() {
		timestamp, ok := r.times(dp.Timestamp(), dp.StartTimestamp())
		if !ok {
			continue
		}
		stale, why := dp.Flags().NoRecordedValue(), account.NoReason
		if r.cfg.ProtobufMessage == MessageV2 && r.cfg.ConvertExplicitHistogramsToNHCB {
			h := &nativeHistogram{schema: -53, sum: math.Float64frombits(0x7ff0000000000002)}
			if !stale {
				h, why = customOf(dp)
			}
			r.native(name, dp, h, why, timestamp)
			if !r.cfg.KeepClassicHistograms {
				continue
			}
		}
		counts := dp.BucketCounts().AsRaw()
		bounds, sound := finiteBounds(dp)
		switch {
		case len(counts) == 0:
			bounds = nil
		case sound && len(counts) == dp.ExplicitBounds().Len()+1:
		case stale:
			bounds = nil
		default:
			if why == account.NoReason {
				r.drop(account.ReasonInvalidHistogram, 1)
			}
			continue
		}
		labels := r.labels(dp.Attributes(), "le")
		sent := r.boundsOf("histogram "+name, labels, stale, sentBounds{formatted(append(bounds, math.Inf(1))), dp.HasSum()})
		exemplars := r.exemplars(dp.Exemplars(), timestamp)
		total := uint64(0)
		for i, le := range sent.values {
			bucket := maps.Clone(labels)
			bucket["le"] = le
			if stale {
				r.sendStale(name+"_bucket", bucket, timestamp)
				continue
			}
			value, limit := float64(dp.Count()), math.Inf(1)
			if i < len(bounds) {
				total += counts[i]
				value, limit = float64(total), bounds[i]
			}
			var inBucket []exampleOf
			inBucket, exemplars = splitExemplars(exemplars, func(v float64) bool { return le == "+Inf" || v <= limit })
			r.send(name+"_bucket", bucket, timestamp, value, printed(inBucket))
		}
		r.sumAndCount(name, labels, timestamp, stale, sent.hasSum, dp.Sum(), dp.Count())
	}
}

// finiteBounds are the bounds of a point without the one that every histogram has, +Inf. They must increase.
func finiteBounds(dp pmetric.HistogramDataPoint) (bounds []float64, sound bool) {
	bounds, sound = dp.ExplicitBounds().AsRaw(), true
	for i, b := range bounds {
		sound = sound && !math.IsNaN(b) && (i == 0 || b > bounds[i-1])
	}
	if n := len(bounds); n > 0 && math.IsInf(bounds[n-1], 1) {
		bounds = bounds[:n-1]
	}
	return bounds, sound
}

func (r *reference) sendStale(name string, labels labelMap, timestamp int64) {
	r.send(name, labels, timestamp, math.Float64frombits(0x7ff0000000000002), nil)
}

func (r *reference) sumAndCount(name string, labels labelMap, timestamp int64, stale, hasSum bool, sum float64, count uint64) {
	sum, n := notStale(sum), float64(count)
	if stale {
		sum = math.Float64frombits(0x7ff0000000000002)
		n = sum
	}
	if hasSum {
		r.send(name+"_sum", labels, timestamp, sum, nil)
	}
	r.send(name+"_count", labels, timestamp, n, nil)
}

func formatted(values []float64) []string {
	var s []string
	for _, v := range values {
		s = append(s, strconv.FormatFloat(v, 'f', -1, 64))
	}
	return s
}

// summaries is rule 10.
func (r *reference) summaries(m pmetric.Metric, points pmetric.SummaryDataPointSlice) {
	name, ok := r.name(m, otlptranslator.MetricTypeSummary, points.Len())
	if !ok {
		return
	}
	for _, dp := range points.All() {
		timestamp, ok := r.times(dp.Timestamp(), dp.StartTimestamp())
		if !ok {
			continue
		}
		var quantiles, values []float64
		for _, q := range dp.QuantileValues().All() {
			quantiles, values = append(quantiles, q.Quantile()), append(values, q.Value())
		}
		stale := dp.Flags().NoRecordedValue()
		labels := r.labels(dp.Attributes(), "quantile")
		for i, q := range r.boundsOf("summary "+name, labels, stale, sentBounds{values: formatted(quantiles)}).values {
			series := maps.Clone(labels)
			series["quantile"] = q
			if stale {
				r.sendStale(name, series, timestamp)
			} else {
				r.send(name, series, timestamp, notStale(values[i]), nil)
			}
		}
		r.sumAndCount(name, labels, timestamp, stale, true, dp.Sum(), dp.Count())
	}
}

// exponentialHistograms is rule 9.
func (r *reference) exponentialHistograms(m pmetric.Metric, points pmetric.ExponentialHistogramDataPointSlice) {
	name, ok := r.name(m, otlptranslator.MetricTypeExponentialHistogram, points.Len())
	if !ok {
		return
	}
	for _, dp := range points.All() {
		timestamp, ok := r.times(dp.Timestamp(), dp.StartTimestamp())
		if !ok {
			continue
		}
		h, why := &nativeHistogram{sum: math.Float64frombits(0x7ff0000000000002)}, account.NoReason
		if !dp.Flags().NoRecordedValue() {
			h, why = nativeOf(dp)
		}
		r.native(name, dp, h, why, timestamp)
	}
}

// native sends a native histogram, unless there is a reason not to.
func (r *reference) native(name string, dp histogramPoint, h *nativeHistogram, why account.Reason, timestamp int64) {
	if why == account.NoReason {
		why = r.emit(name, r.labels(dp.Attributes(), ""), timestamp, h.String(), printed(r.exemplars(dp.Exemplars(), timestamp)))
	}
	r.drop(why, 1)
}

// histogramPoint is a point of a histogram of either kind.
type histogramPoint interface {
	Attributes() pcommon.Map
	Exemplars() pmetric.ExemplarSlice
	Count() uint64
}

func nativeOf(dp pmetric.ExponentialHistogramDataPoint) (*nativeHistogram, account.Reason) {
	switch {
	case dp.Scale() < -4:
		return nil, account.ReasonScale
	case !dp.HasSum():
		return nil, account.ReasonNoSum
	}
	h := &nativeHistogram{
		schema: min(dp.Scale(), 8), count: dp.Count(), sum: notStale(dp.Sum()), zeroCount: dp.ZeroCount(), zeroThreshold: 1e-128,
		positive: make(map[int64]uint64), negative: make(map[int64]uint64),
	}
	if t := dp.ZeroThreshold(); t > 0 && !math.IsInf(t, 1) {
		h.zeroThreshold = t
	}
	total := new(big.Int).SetUint64(h.zeroCount)
	for _, side := range []struct {
		from pmetric.ExponentialHistogramDataPointBuckets
		to   map[int64]uint64
	}{{dp.Positive(), h.positive}, {dp.Negative(), h.negative}} {
		onSide := new(big.Int)
		for i, n := range side.from.BucketCounts().AsRaw() {
			if n == 0 {
				continue
			}
			index := nativeIndex(int64(side.from.Offset())+int64(i), dp.Scale())
			side.to[index] += n
			onSide.Add(onSide, new(big.Int).SetUint64(n))
			if index > math.MaxInt32 || !onSide.IsInt64() {
				return nil, account.ReasonInvalidHistogram
			}
		}
		total.Add(total, onSide)
	}
	return h, h.agreesWith(total)
}

// agreesWith is that the buckets, which have so many observations, have all that were counted, but for those of NaN.
func (h *nativeHistogram) agreesWith(inBuckets *big.Int) account.Reason {
	missing := new(big.Int).SetUint64(h.count)
	missing.Sub(missing, inBuckets)
	if missing.Sign() == 0 || missing.Sign() > 0 && math.IsNaN(h.sum) {
		return account.NoReason
	}
	return account.ReasonInvalidHistogram
}

// customOf is a native histogram whose buckets are those of the point; the last one is up to +Inf, and has what is in no
// other (rule 21).
func customOf(dp pmetric.HistogramDataPoint) (*nativeHistogram, account.Reason) {
	bounds, sound := finiteBounds(dp)
	h := &nativeHistogram{schema: -53, sum: notStale(dp.Sum()), custom: bounds, positive: make(map[int64]uint64)}
	total := new(big.Int)
	fits := func() bool { return total.IsInt64() }
	for i, n := range dp.BucketCounts().AsRaw() {
		total.Add(total, new(big.Int).SetUint64(n))
		sound = sound && fits()
		h.positive[int64(min(i, len(bounds)))] += n
	}
	if missing := new(big.Int).Sub(new(big.Int).SetUint64(dp.Count()), total); missing.Sign() > 0 {
		total.Add(total, missing)
		sound = sound && fits()
		h.positive[int64(len(bounds))] += missing.Uint64()
	}
	if !sound {
		return nil, account.ReasonInvalidHistogram
	}
	maps.DeleteFunc(h.positive, func(_ int64, n uint64) bool { return n == 0 })
	h.count = total.Uint64()
	return h, account.NoReason
}

// nativeIndex is the index that Prometheus gives to OpenTelemetry's bucket. Going down by one scale merges two
// neighbours.
func nativeIndex(index int64, scale int32) int64 {
	for ; scale > 8 && index != 0 && index != -1; scale-- {
		index = int64(math.Floor(float64(index) / 2))
	}
	return index + 1
}

// exampleOf is an exemplar with its value and time.
type exampleOf struct {
	value     float64
	timestamp int64
	exemplar  string
}

func printed(exemplars []exampleOf) []string {
	var s []string
	for _, e := range exemplars {
		s = append(s, e.exemplar)
	}
	return s
}

func splitExemplars(exemplars []exampleOf, belongs func(float64) bool) (in, out []exampleOf) {
	for _, e := range exemplars {
		if belongs(e.value) {
			in = append(in, e)
		} else {
			out = append(out, e)
		}
	}
	return in, out
}

// exemplars is rules 12 and 22. Names that the version of the protocol has no place for are left out.
func (r *reference) exemplars(exemplars pmetric.ExemplarSlice, pointTimestamp int64) []exampleOf {
	var examples []exampleOf
	for _, ex := range exemplars.All() {
		value := float64(ex.IntValue())
		switch ex.ValueType() {
		case pmetric.ExemplarValueTypeDouble:
			value = notStale(ex.DoubleValue())
		case pmetric.ExemplarValueTypeEmpty:
			continue
		}
		timestamp := int64(ex.Timestamp() / 1e6)
		if timestamp == 0 {
			timestamp = pointTimestamp
		}
		ids := make(labelMap)
		if id := ex.TraceID(); !id.IsEmpty() {
			ids["trace_id"] = id.String()
		}
		if id := ex.SpanID(); !id.IsEmpty() {
			ids["span_id"] = id.String()
		}
		attributes := slices.DeleteFunc(r.attributes(ex.FilteredAttributes(), "", func(string) bool { return false }), func(a namedValue) bool {
			return ids[a.name] != "" || r.cfg.ProtobufMessage == MessageV1 && !classicOnly(labelMap{"__name__": "x", a.name: a.value})
		})
		labels := withDefaults(joined(attributes, func(string) bool { return true }), ids)
		characters := 0
		for name, value := range labels {
			characters += len([]rune(name)) + len([]rune(value))
		}
		if characters > 128 {
			labels = ids
		}
		examples = append(examples, exampleOf{value, timestamp, exemplarString(sortedLabels(labels), value, timestamp)})
	}
	slices.SortStableFunc(examples, func(a, b exampleOf) int {
		switch {
		case a.timestamp != b.timestamp:
			return cmp.Compare(a.timestamp, b.timestamp)
		case math.IsNaN(a.value) || math.IsNaN(b.value): // which is greater than all others
			return cmp.Compare(b.value, a.value)
		}
		return cmp.Compare(a.value, b.value)
	})
	return examples
}
