// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"errors"

	"github.com/prometheus/otlptranslator"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/nativehist"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// classicHistograms emits each point as its buckets, sum and count (OpenTelemetry specification, "Prometheus and
// OpenMetrics Compatibility", "Histograms").
func (t *translator) classicHistograms(m pmetric.Metric, points pmetric.HistogramDataPointSlice) {
	names := t.names(m, otlptranslator.MetricTypeHistogram, points.Len())
	if names == nil {
		return
	}
	for _, dp := range points.All() {
		ts, ok := t.timestamp(m, dp.Timestamp())
		if !ok {
			continue
		}
		var invalid bool
		if t.customBuckets && t.protocol == wire.V2 {
			fits := true
			if invalid, fits = t.customHistogram(m, names, dp, ts); !fits || !t.keepClassic {
				continue
			}
		}
		stale := dp.Flags().NoRecordedValue()
		bounds, ok := t.bounds.bucketBounds(dp)
		if !ok && !stale {
			// A point of which neither form can be made counts once.
			if !invalid {
				t.drop(account.ReasonInvalidHistogram, 1, m.Name())
			}
			continue
		}
		ls := t.labelSet(m, dp.Attributes(), histogramKind)
		if ls == nil {
			continue
		}
		key := ls.pointKey(names, histogramKind)
		if stale {
			t.point.sample(ts, startTimestamp(dp.StartTimestamp(), dp.Timestamp()), wire.StaleNaN, 0)
			t.staleClassic(ls, names, t.memory.get(key, bounds, dp.HasSum(), t.now))
			continue
		}
		t.memory.put(key, bounds, dp.HasSum(), t.now)
		t.classicHistogram(ls, names, bounds, dp, ts)
	}
}

func (t *translator) classicHistogram(ls *labelSet, names *metricNames, bounds *boundSet, dp pmetric.HistogramDataPoint, ts int64) {
	var exemplars []wire.Exemplar
	if dp.Exemplars().Len() > 0 {
		exemplars = t.translateExemplars(dp.Exemplars(), ts)
		sortStable(exemplars, func(a, b wire.Exemplar) int { return compareFloats(a.Value, b.Value) })
	}
	start := startTimestamp(dp.StartTimestamp(), dp.Timestamp())
	siblings := len(bounds.labels) + 2
	counts := dp.BucketCounts()
	cumulative := uint64(0)
	for i := range bounds.labels {
		if t.watch.done(1 + len(ls.buf)/64) {
			return
		}
		value := float64(dp.Count())
		n := len(exemplars)
		// The last bound is +Inf. Its bucket is the count, whatever the buckets add up to.
		if i < len(bounds.values) {
			cumulative += counts.At(i)
			value = float64(cumulative)
			n = 0
			for n < len(exemplars) && exemplars[n].Value <= bounds.values[i] {
				n++
			}
		}
		sortExemplars(exemplars[:n])
		if t.point.sample(ts, start, value, siblings); n > 0 {
			t.point.exemplars = exemplars[:n]
		}
		exemplars = exemplars[n:]
		t.emit(ls, &names.bucket, &bounds.labels[i], &noLabel)
	}
	if dp.HasSum() {
		t.point.sample(ts, start, wire.Recorded(dp.Sum()), siblings)
		t.emit(ls, &names.sum, &noLabel, &noLabel)
	}
	t.point.sample(ts, start, float64(dp.Count()), siblings)
	t.emit(ls, &names.count, &noLabel, &noLabel)
}

// staleClassic ends the series of a classic histogram with t.point.
func (t *translator) staleClassic(ls *labelSet, names *metricNames, sent remembered) {
	t.point.siblings = len(sent.bounds.labels) + 2
	for i := range sent.bounds.labels {
		if t.watch.done(1 + len(ls.buf)/64) {
			return
		}
		t.emit(ls, &names.bucket, &sent.bounds.labels[i], &noLabel)
	}
	if sent.hasSum {
		t.emit(ls, &names.sum, &noLabel, &noLabel)
	}
	t.emit(ls, &names.count, &noLabel, &noLabel)
}

// summaries emits each point as its quantiles, sum and count.
func (t *translator) summaries(m pmetric.Metric, points pmetric.SummaryDataPointSlice) {
	names := t.names(m, otlptranslator.MetricTypeSummary, points.Len())
	if names == nil {
		return
	}
	for _, dp := range points.All() {
		ts, ok := t.timestamp(m, dp.Timestamp())
		if !ok {
			continue
		}
		ls := t.labelSet(m, dp.Attributes(), summaryKind)
		if ls == nil {
			continue
		}
		quantiles := t.bounds.quantiles(dp)
		key := ls.pointKey(names, summaryKind)
		start := startTimestamp(dp.StartTimestamp(), dp.Timestamp())
		stale := dp.Flags().NoRecordedValue()
		if stale {
			quantiles = t.memory.get(key, quantiles, true, t.now).bounds
		} else {
			t.memory.put(key, quantiles, true, t.now)
		}
		value := func(v float64) float64 {
			if stale {
				return wire.StaleNaN
			}
			return wire.Recorded(v)
		}
		siblings := len(quantiles.labels) + 2
		for i := range quantiles.labels {
			if t.watch.done(1 + len(ls.buf)/64) {
				return
			}
			v := 0.0
			if !stale {
				v = dp.QuantileValues().At(i).Value()
			}
			t.point.sample(ts, start, value(v), siblings)
			t.emit(ls, &names.plain, &noLabel, &quantiles.labels[i])
		}
		t.point.sample(ts, start, value(dp.Sum()), siblings)
		t.emit(ls, &names.sum, &noLabel, &noLabel)
		t.point.sample(ts, start, value(float64(dp.Count())), siblings)
		t.emit(ls, &names.count, &noLabel, &noLabel)
	}
}

// nativeHistograms emits each point as a native histogram (OpenTelemetry specification, "Prometheus and OpenMetrics
// Compatibility", "Exponential Histograms").
func (t *translator) nativeHistograms(m pmetric.Metric, points pmetric.ExponentialHistogramDataPointSlice) {
	names := t.names(m, otlptranslator.MetricTypeExponentialHistogram, points.Len())
	if names == nil {
		return
	}
	for _, dp := range points.All() {
		ts, ok := t.timestamp(m, dp.Timestamp())
		if !ok {
			continue
		}
		h, err := t.histogram.Exponential(dp)
		if err != nil {
			t.drop(reasonOf(err), 1, m.Name())
			continue
		}
		t.point = point{timestamp: ts, start: startTimestamp(dp.StartTimestamp(), dp.Timestamp()), histogram: h}
		if dp.Exemplars().Len() > 0 {
			t.point.exemplars = t.translateExemplars(dp.Exemplars(), ts)
		}
		if ls := t.labelSet(m, dp.Attributes(), plainKind); ls != nil {
			t.emit(ls, &names.plain, &noLabel, &noLabel)
		}
	}
}

// reasonOf is why a point is dropped that cannot be a native histogram.
func reasonOf(err error) account.Reason {
	switch {
	case errors.Is(err, nativehist.ErrScale):
		return account.ReasonScale
	case errors.Is(err, nativehist.ErrNoSum):
		return account.ReasonNoSum
	default:
		return account.ReasonInvalidHistogram
	}
}

// customHistogram emits a point as a native histogram with custom buckets (OpenTelemetry specification, "Prometheus and
// OpenMetrics Compatibility", "Histograms"). It says whether the point has no such form, or too many labels for any, and is
// counted for that.
func (t *translator) customHistogram(m pmetric.Metric, names *metricNames, dp pmetric.HistogramDataPoint, ts int64) (invalid, fits bool) {
	h, err := t.histogram.Custom(dp)
	if err != nil {
		t.drop(reasonOf(err), 1, m.Name())
		return true, true
	}
	t.point = point{timestamp: ts, start: startTimestamp(dp.StartTimestamp(), dp.Timestamp()), histogram: h}
	if dp.Exemplars().Len() > 0 {
		t.point.exemplars = t.translateExemplars(dp.Exemplars(), ts)
	}
	ls := t.labelSet(m, dp.Attributes(), plainKind)
	if ls == nil {
		return false, false
	}
	t.emit(ls, &names.plain, &noLabel, &noLabel)
	return false, true
}
