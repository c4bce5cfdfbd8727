package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/prometheus/otlptranslator"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
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
		stale := dp.Flags().NoRecordedValue()
		bounds, ok := t.bounds.bucketBounds(dp)
		if !ok && !stale {
			t.drop(account.ReasonInvalidHistogram, 1, m.Name())
			continue
		}
		if t.customBuckets && t.protocol == wire.V2 {
			t.customHistogram(m, names, bounds, dp, ts)
			if !t.keepClassic {
				continue
			}
		}
		ls := t.labelSet(m, dp.Attributes(), histogramKind)
		if ls == nil {
			continue
		}
		key := ls.pointKey(names, histogramKind)
		if stale {
			t.point = point{timestamp: ts, start: startTimestamp(dp.StartTimestamp(), dp.Timestamp()), value: staleNaN}
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
		t.point = point{timestamp: ts, start: start, value: value, exemplars: exemplars[:n]}
		exemplars = exemplars[n:]
		t.emit(ls, &names.bucket, &bounds.labels[i], &noLabel)
	}
	if dp.HasSum() {
		t.point = point{timestamp: ts, start: start, value: recordedValue(dp.Sum())}
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
				return staleNaN
			}
			return recordedValue(v)
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

// Range of the schemas of native histograms with exponential buckets.
const (
	minSchema = -4
	maxSchema = 8
)

// defaultZeroThreshold is Prometheus's own default, for points that give none.
const defaultZeroThreshold = 1e-128

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
		h, r := t.histogram.translate(dp)
		if r != account.NoReason {
			t.drop(r, 1, m.Name())
			continue
		}
		t.point = point{timestamp: ts, start: startTimestamp(dp.StartTimestamp(), dp.Timestamp()), histogram: h}
		if dp.Exemplars().Len() > 0 {
			t.point.exemplars = t.exemplars.translate(t.namer, dp.Exemplars(), ts)
		}
		if ls := t.labelSet(m, dp.Attributes(), plainKind); ls != nil {
			t.emit(ls, &names.plain, &noLabel, &noLabel)
		}
	}
}

// histogramScratch holds a native histogram while it is made.
type histogramScratch struct {
	histogram wire.Histogram
	buf       []byte
}

// translate makes a native histogram of a point. The reason is why it cannot, or account.NoReason.
func (s *histogramScratch) translate(dp pmetric.ExponentialHistogramDataPoint) (*wire.Histogram, account.Reason) {
	h := &s.histogram
	*h = wire.Histogram{
		NegativeSpans: h.NegativeSpans[:0], NegativeDeltas: h.NegativeDeltas[:0],
		PositiveSpans: h.PositiveSpans[:0], PositiveDeltas: h.PositiveDeltas[:0],
	}
	if dp.Flags().NoRecordedValue() {
		h.Sum = staleNaN
		return h, account.NoReason
	}
	switch {
	case dp.Scale() < minSchema:
		return nil, account.ReasonScale
	case !dp.HasSum():
		return nil, account.ReasonNoSum
	}
	h.Schema = min(dp.Scale(), maxSchema)
	h.Count, h.Sum = dp.Count(), recordedValue(dp.Sum())
	h.ZeroCount, h.ZeroThreshold = dp.ZeroCount(), dp.ZeroThreshold()
	if !(h.ZeroThreshold > 0) || math.IsInf(h.ZeroThreshold, 0) {
		h.ZeroThreshold = defaultZeroThreshold
	}
	scaleDown := int64(dp.Scale()) - int64(h.Schema)
	positive := bucketSide{spans: h.PositiveSpans, deltas: h.PositiveDeltas}
	negative := bucketSide{spans: h.NegativeSpans, deltas: h.NegativeDeltas}
	if !positive.add(dp.Positive(), scaleDown) || !negative.add(dp.Negative(), scaleDown) {
		return nil, account.ReasonInvalidHistogram
	}
	h.PositiveSpans, h.PositiveDeltas = positive.spans, positive.deltas
	h.NegativeSpans, h.NegativeDeltas = negative.spans, negative.deltas
	// A receiver refuses a histogram whose count is not that of its buckets; only observations of NaN are in none.
	sum := positive.total + negative.total
	overflow := sum < positive.total || sum+h.ZeroCount < sum
	sum += h.ZeroCount
	if overflow || sum > h.Count || sum < h.Count && !math.IsNaN(h.Sum) {
		return nil, account.ReasonInvalidHistogram
	}
	return h, account.NoReason
}

// customHistogram emits a point as a native histogram with custom buckets (OpenTelemetry specification, "Prometheus and
// OpenMetrics Compatibility", "Histograms").
func (t *translator) customHistogram(m pmetric.Metric, names *metricNames, bounds *boundSet, dp pmetric.HistogramDataPoint, ts int64) {
	h, r := t.histogram.translateCustom(dp, bounds.values)
	if r != account.NoReason {
		t.drop(r, 1, m.Name())
		return
	}
	t.point = point{timestamp: ts, start: startTimestamp(dp.StartTimestamp(), dp.Timestamp()), histogram: h}
	if dp.Exemplars().Len() > 0 {
		t.point.exemplars = t.exemplars.translate(t.namer, dp.Exemplars(), ts)
	}
	if ls := t.labelSet(m, dp.Attributes(), plainKind); ls != nil {
		t.emit(ls, &names.plain, &noLabel, &noLabel)
	}
}

// customBucketsSchema is the schema of native histograms with custom buckets.
const customBucketsSchema = -53

// translateCustom makes a native histogram with custom buckets of a point. The reason is why it cannot, or account.NoReason.
func (s *histogramScratch) translateCustom(dp pmetric.HistogramDataPoint, bounds []float64) (*wire.Histogram, account.Reason) {
	h := &s.histogram
	*h = wire.Histogram{
		Schema:        customBucketsSchema,
		PositiveSpans: h.PositiveSpans[:0], PositiveDeltas: h.PositiveDeltas[:0],
		NegativeSpans: h.NegativeSpans[:0], NegativeDeltas: h.NegativeDeltas[:0],
	}
	if dp.Flags().NoRecordedValue() {
		h.Sum = staleNaN
		return h, account.NoReason
	}
	if !dp.HasSum() {
		return nil, account.ReasonNoSum
	}
	h.Count, h.Sum, h.CustomValues = dp.Count(), recordedValue(dp.Sum()), bounds
	side := bucketSide{spans: h.PositiveSpans, deltas: h.PositiveDeltas}
	counts := dp.BucketCounts()
	for i := range counts.Len() {
		n := counts.At(i)
		if s := side.total + n; n > math.MaxInt64 || s > math.MaxInt64 {
			return nil, account.ReasonInvalidHistogram
		}
		side.total += n
		switch {
		case n == 0:
		case int64(i) > int64(len(bounds)) && side.next == int64(len(bounds))+1:
			// +Inf was given as a bound, so that there are two buckets for it.
			side.grow(int64(n))
		default:
			side.append(min(int64(i), int64(len(bounds))), int64(n))
		}
	}
	if counts.Len() == 0 && h.Count > 0 {
		if h.Count > math.MaxInt64 {
			return nil, account.ReasonInvalidHistogram
		}
		side.total = h.Count
		side.append(0, int64(h.Count))
	}
	h.PositiveSpans, h.PositiveDeltas = side.spans, side.deltas
	if side.total > h.Count || side.total < h.Count && !math.IsNaN(h.Sum) {
		return nil, account.ReasonInvalidHistogram
	}
	return h, account.NoReason
}

// maxGap is the longest run of empty buckets that is written as such; a longer one costs more than a new span.
const maxGap = 1

// bucketSide collects the positive or the negative buckets of a native histogram.
type bucketSide struct {
	spans  []wire.Span
	deltas []int64
	// next is the index after the last bucket, last its count, total the count of all.
	next  int64
	last  int64
	total uint64
}

// add adds dense buckets, 2^scaleDown of them merged into one. OpenTelemetry's bucket i is (base^i, base^(i+1)],
// Prometheus's is (base^(i-1), base^i]. It returns false if an index or a count does not fit.
func (s *bucketSide) add(b pmetric.ExponentialHistogramDataPointBuckets, scaleDown int64) bool {
	counts := b.BucketCounts()
	offset := int64(b.Offset())
	for i := 0; i < counts.Len(); {
		index := shiftRight(offset+int64(i), scaleDown)
		count := uint64(0)
		for ; i < counts.Len() && shiftRight(offset+int64(i), scaleDown) == index; i++ {
			if count += counts.At(i); count > math.MaxInt64 || counts.At(i) > math.MaxInt64 {
				return false
			}
		}
		if count == 0 {
			continue
		}
		if s.total += count; s.total > math.MaxInt64 || index+1 > math.MaxInt32 || index+1 < math.MinInt32 {
			return false
		}
		s.append(index+1, int64(count))
	}
	return true
}

// shiftRight is floor(v / 2^n).
func shiftRight(v, n int64) int64 {
	return v >> min(n, 63)
}

func (s *bucketSide) append(index, count int64) {
	gap := index - s.next
	switch {
	case len(s.spans) == 0:
		s.spans = append(s.spans, wire.Span{Offset: int32(index)})
	case gap > maxGap:
		s.spans = append(s.spans, wire.Span{Offset: int32(gap)})
	default:
		for range gap {
			s.appendDelta(0)
		}
	}
	s.appendDelta(count)
	s.next = index + 1
}

// grow adds to the last bucket.
func (s *bucketSide) grow(count int64) {
	s.deltas[len(s.deltas)-1] += count
	s.last += count
}

func (s *bucketSide) appendDelta(count int64) {
	s.spans[len(s.spans)-1].Length++
	s.deltas = append(s.deltas, count-s.last)
	s.last = count
}

// exemplarScratch holds exemplars while their point is encoded.
type exemplarScratch struct {
	// classic leaves out attributes whose names 1.0 cannot carry.
	classic   bool
	exemplars []wire.Exemplar
	labels    []wire.Label
}

// maxExemplarRunes is the most characters that the names and values of an exemplar's labels may have together
// (OpenMetrics 1.0, "Exemplars").
const maxExemplarRunes = 128

// translate returns the exemplars of a point. They are valid until the next call.
func (s *exemplarScratch) translate(n *namer, exemplars pmetric.ExemplarSlice, pointTimestamp int64) []wire.Exemplar {
	s.exemplars, s.labels = s.exemplars[:0], s.labels[:0]
	for _, ex := range exemplars.All() {
		e := wire.Exemplar{Timestamp: int64(ex.Timestamp() / 1_000_000)}
		if e.Timestamp == 0 {
			e.Timestamp = pointTimestamp
		}
		switch ex.ValueType() {
		case pmetric.ExemplarValueTypeDouble:
			e.Value = recordedValue(ex.DoubleValue())
		case pmetric.ExemplarValueTypeInt:
			e.Value = float64(ex.IntValue())
		default:
			continue
		}
		e.Labels = s.exemplarLabels(n, ex)
		s.exemplars = append(s.exemplars, e)
	}
	return s.exemplars
}

// exemplarLabels returns trace_id and span_id, and the attributes if all of them fit, sorted by name (Remote-Write 2.0,
// types.proto, "Exemplar").
func (s *exemplarScratch) exemplarLabels(n *namer, ex pmetric.Exemplar) []wire.Label {
	start := len(s.labels)
	if id := ex.SpanID(); !id.IsEmpty() {
		s.labels = append(s.labels, wire.Label{Name: "span_id", Value: id.String()})
	}
	if id := ex.TraceID(); !id.IsEmpty() {
		s.labels = append(s.labels, wire.Label{Name: "trace_id", Value: id.String()})
	}
	ids := len(s.labels)
	for key, value := range ex.FilteredAttributes().All() {
		s.addAttribute(start, n.labelName(key), value)
	}
	runes := 0
	for _, l := range s.labels[start:] {
		runes += utf8.RuneCountInString(l.Name) + utf8.RuneCountInString(l.Value)
	}
	if runes > maxExemplarRunes {
		s.labels = s.labels[:ids]
	}
	slices.SortFunc(s.labels[start:], func(a, b wire.Label) int { return strings.Compare(a.Name, b.Name) })
	return s.labels[start:len(s.labels):len(s.labels)]
}

func (s *exemplarScratch) addAttribute(start int, name string, value pcommon.Value) {
	v := validValue(value)
	if name == "" || v == "" || s.classic && !isClassicLabelName(name) || slices.ContainsFunc(s.labels[start:], func(l wire.Label) bool { return l.Name == name }) {
		return
	}
	s.labels = append(s.labels, wire.Label{Name: name, Value: v})
}

// forget lets go of what belongs to a payload.
func (s *exemplarScratch) forget() {
	clear(s.exemplars[:cap(s.exemplars)])
	clear(s.labels[:cap(s.labels)])
}
