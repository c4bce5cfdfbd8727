package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"errors"
	"math"
	"slices"
	"strconv"

	"github.com/cespare/xxhash/v2"
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
		if t.customBuckets && t.protocol == wire.V2 {
			t.customHistogram(m, names, dp, ts)
			if !t.keepClassic {
				continue
			}
		}
		stale := dp.Flags().NoRecordedValue()
		bounds, ok := t.bounds.bucketBounds(dp)
		if !ok && !stale {
			t.drop(account.ReasonInvalidHistogram, 1, m.Name())
			continue
		}
		ls := t.labeler.labelSet(dp.Attributes(), &t.context, histogramKind)
		key := ls.pointKey(names, histogramKind)
		if stale {
			t.point = point{timestamp: ts, start: startTimestamp(dp.StartTimestamp(), dp.Timestamp()), value: wire.StaleNaN}
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
		exemplars = t.exemplars.translate(t.namer, dp.Exemplars(), ts)
		slices.SortStableFunc(exemplars, func(a, b wire.Exemplar) int { return compareFloats(a.Value, b.Value) })
	}
	start := startTimestamp(dp.StartTimestamp(), dp.Timestamp())
	counts := dp.BucketCounts()
	cumulative := uint64(0)
	for i := range bounds.labels {
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
		t.point = point{timestamp: ts, start: start, value: value, exemplars: exemplars[:n]}
		exemplars = exemplars[n:]
		t.emit(ls, &names.bucket, &bounds.labels[i], &noLabel)
	}
	if dp.HasSum() {
		t.point = point{timestamp: ts, start: start, value: wire.Recorded(dp.Sum())}
		t.emit(ls, &names.sum, &noLabel, &noLabel)
	}
	t.point = point{timestamp: ts, start: start, value: float64(dp.Count())}
	t.emit(ls, &names.count, &noLabel, &noLabel)
}

// compareFloats orders NaN last: it is in no bucket but +Inf.
func compareFloats(a, b float64) int {
	switch {
	case a < b || b != b && a == a:
		return -1
	case a > b || a != a && b == b:
		return 1
	default:
		return 0
	}
}

// staleClassic ends the series of a classic histogram with t.point.
func (t *translator) staleClassic(ls *labelSet, names *metricNames, sent remembered) {
	for i := range sent.bounds.labels {
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
		ls := t.labeler.labelSet(dp.Attributes(), &t.context, summaryKind)
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
		for i := range quantiles.labels {
			v := 0.0
			if !stale {
				v = dp.QuantileValues().At(i).Value()
			}
			t.point = point{timestamp: ts, start: start, value: value(v)}
			t.emit(ls, &names.plain, &noLabel, &quantiles.labels[i])
		}
		t.point = point{timestamp: ts, start: start, value: value(dp.Sum())}
		t.emit(ls, &names.sum, &noLabel, &noLabel)
		t.point = point{timestamp: ts, start: start, value: value(float64(dp.Count()))}
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
			t.point.exemplars = t.exemplars.translate(t.namer, dp.Exemplars(), ts)
		}
		t.emit(t.labeler.labelSet(dp.Attributes(), &t.context, plainKind), &names.plain, &noLabel, &noLabel)
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
// OpenMetrics Compatibility", "Histograms").
func (t *translator) customHistogram(m pmetric.Metric, names *metricNames, dp pmetric.HistogramDataPoint, ts int64) {
	h, err := t.histogram.Custom(dp)
	if err != nil {
		t.drop(reasonOf(err), 1, m.Name())
		return
	}
	t.point = point{timestamp: ts, start: startTimestamp(dp.StartTimestamp(), dp.Timestamp()), histogram: h}
	if dp.Exemplars().Len() > 0 {
		t.point.exemplars = t.exemplars.translate(t.namer, dp.Exemplars(), ts)
	}
	t.emit(t.labeler.labelSet(dp.Attributes(), &t.context, plainKind), &names.plain, &noLabel, &noLabel)
}

// extraLabel is the le or quantile of a series, encoded and hashed; the zero value is none.
type extraLabel struct {
	value string
	label []byte
	hash  uint64
}

// noLabel is none.
var noLabel extraLabel

// set makes e the label of an attribute.
func (e *extraLabel) set(name, value string) *extraLabel {
	e.value, e.hash = value, hashValue(value)
	e.label = wire.AppendLabel(e.label[:0], name, value)
	return e
}

func newExtraLabel(name string, v float64) extraLabel {
	value := strconv.FormatFloat(v, 'f', -1, 64)
	return extraLabel{value: value, label: wire.AppendLabel(nil, name, value), hash: hashValue(value)}
}

// boundSet is the bounds of a classic histogram, +Inf included in labels only, or the quantiles of a summary. It never
// changes.
type boundSet struct {
	values []float64
	labels []extraLabel
}

// maxBoundSets bounds the cache of bounds: a program has a few, which all its histograms share.
const maxBoundSets = 1 << 10

// boundCache makes boundSets and keeps them.
type boundCache struct {
	sets    map[uint64][]*boundSet
	count   int
	last    *boundSet
	scratch []float64
}

// bucketBounds returns the bounds of a point's buckets; ok is false if they are not increasing or do not fit the
// buckets. Without any there is the +Inf bucket alone.
func (c *boundCache) bucketBounds(dp pmetric.HistogramDataPoint) (set *boundSet, ok bool) {
	bounds := dp.ExplicitBounds()
	n := bounds.Len()
	if buckets := dp.BucketCounts().Len(); buckets == 0 {
		n = 0
	} else if buckets != n+1 {
		return c.get(leLabel, nil), false
	}
	c.scratch = c.scratch[:0]
	for i := range n {
		b := bounds.At(i)
		if b != b || i > 0 && b <= bounds.At(i-1) {
			return c.get(leLabel, nil), false
		}
		// An explicit last bound of +Inf is the one that every histogram has.
		if !math.IsInf(b, 1) {
			c.scratch = append(c.scratch, b)
		}
	}
	return c.get(leLabel, c.scratch), true
}

// quantiles returns the quantiles of a summary's point.
func (c *boundCache) quantiles(dp pmetric.SummaryDataPoint) *boundSet {
	c.scratch = c.scratch[:0]
	for _, q := range dp.QuantileValues().All() {
		c.scratch = append(c.scratch, q.Quantile())
	}
	return c.get(quantileLabel, c.scratch)
}

func (c *boundCache) get(name string, values []float64) *boundSet {
	if c.last != nil && c.last.is(name, values) {
		return c.last
	}
	hash := xxhash.Sum64String(name)
	for _, v := range values {
		hash = combine(hash, math.Float64bits(v))
	}
	for _, s := range c.sets[hash] {
		if s.is(name, values) {
			c.last = s
			return s
		}
	}
	if c.count >= maxBoundSets || c.sets == nil {
		c.sets = make(map[uint64][]*boundSet)
		c.count = 0
	}
	s := &boundSet{values: slices.Clone(values)}
	for _, v := range values {
		s.labels = append(s.labels, newExtraLabel(name, v))
	}
	if name == leLabel {
		s.labels = append(s.labels, newExtraLabel(name, math.Inf(1)))
	}
	c.sets[hash] = append(c.sets[hash], s)
	c.count++
	c.last = s
	return s
}

func (s *boundSet) is(name string, values []float64) bool {
	return (name == leLabel) == (len(s.labels) > len(s.values)) &&
		slices.EqualFunc(s.values, values, func(a, b float64) bool { return math.Float64bits(a) == math.Float64bits(b) })
}
