package orderedremotewriteexporter

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/prompb"
	"github.com/stretchr/testify/assert"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// translated is what becomes of a payload, in a readable form.
type translated struct {
	// series has the points of each series, in order.
	series map[string][]string
	drops  map[reason]int
}

// lines are the points with their series, sorted.
func (r *translated) lines() []string {
	var lines []string
	for series, points := range r.series {
		for _, p := range points {
			lines = append(lines, series+" "+p)
		}
	}
	slices.Sort(lines)
	return lines
}

func newTestTranslator(cfg *Config) *translator {
	return newTranslator(cfg, newBoundMemory(time.Hour), nil)
}

func configOf(edit func(*Config)) *Config {
	cfg := createDefaultConfig().(*Config)
	if edit != nil {
		edit(cfg)
	}
	return cfg
}

// translatePayload translates a payload, decodes and validates what is sent, and makes the translator ready for another.
// It is an error if a point is neither sent nor counted as dropped.
func translatePayload(t testing.TB, tr *translator, md pmetric.Metrics) *translated {
	t.Helper()
	tr.translate(md, protocolV1)
	result := &translated{series: make(map[string][]string), drops: make(map[reason]int)}
	sent := 0
	for _, s := range sentSeries(t, tr) {
		key := seriesString(s.Labels)
		result.series[key] = append(result.series[key], pointString(t, s.TimeSeries))
		sent++
	}
	for r := range tr.drops {
		if n := tr.drops[r].count; n > 0 {
			result.drops[reason(r)] = n
		}
	}
	assert.Equal(t, tr.points, sent+tr.drops.total(), "points sent or dropped")
	tr.reset()
	return result
}

// sentPoint is a point on the wire.
type sentPoint struct {
	*prompb.TimeSeries
	partition int
}

// sentSeries decodes and validates what the translator holds, in the order of the wire.
func sentSeries(t testing.TB, tr *translator) []sentPoint {
	t.Helper()
	var points []sentPoint
	for i := range tr.segments {
		s := &tr.segments[i]
		assert.Equal(t, !s.empty(), slices.Contains(tr.touched, i), "partition %d is touched", i)
		before := len(points)
		for _, raw := range segmentMessages(s) {
			for len(raw) > 0 {
				frame, _, rest, err := wire.NextSeries(raw)
				if err != nil {
					t.Fatal(err)
				}
				points = append(points, sentPoint{validSeries(t, frame, tr.namer.label.UTF8Allowed), i})
				raw = rest
			}
		}
		assert.Equal(t, s.total(), len(points)-before, "samples of partition %d", i)
	}
	return points
}

// segmentMessages are the uncompressed messages of a segment, in order.
func segmentMessages(s *segment) [][]byte {
	var messages [][]byte
	for _, f := range s.full {
		messages = append(messages, decompress(f.batch.body))
	}
	return append(messages, s.raw)
}

// validSeries decodes a request of one series with one point, which must be valid. Names need not be classic if UTF-8
// is allowed.
func validSeries(t testing.TB, frame []byte, utf8Allowed bool) *prompb.TimeSeries {
	t.Helper()
	request, err := rwtest.ValidateV1(snappy.Encode(nil, frame))
	if request == nil {
		t.Fatal(err)
	}
	var violations interface{ Unwrap() []error }
	if errors.As(err, &violations) {
		for _, v := range violations.Unwrap() {
			if !utf8Allowed || !strings.Contains(v.Error(), " names match ") {
				t.Error(v)
			}
		}
	}
	ts := &request.Timeseries[0]
	if n := len(ts.Samples) + len(ts.Histograms); n != 1 {
		t.Errorf("%s has %d points", seriesString(ts.Labels), n)
	}
	return ts
}

// seriesString renders a label set nearly as PromQL does: name{label="value"}.
func seriesString(labels []prompb.Label) string {
	name := ""
	rest := slices.DeleteFunc(slices.Clone(labels), func(l prompb.Label) bool {
		if l.Name == "__name__" {
			name = l.Value
		}
		return l.Name == "__name__"
	})
	return name + rwtest.SeriesKey(rest)
}

// pointString renders the point of a series as value @milliseconds, with its exemplars after it.
func pointString(t testing.TB, ts *prompb.TimeSeries) string {
	var exemplars []string
	for _, e := range ts.Exemplars {
		exemplars = append(exemplars, exemplarString(e.Labels, e.Value, e.Timestamp))
	}
	if len(ts.Samples) == 1 {
		return sampleString(floatString(ts.Samples[0].Value), ts.Samples[0].Timestamp, exemplars)
	}
	h := &ts.Histograms[0]
	if h.ResetHint != prompb.Histogram_UNKNOWN {
		t.Errorf("reset hint %v", h.ResetHint)
	}
	native := &nativeHistogram{
		schema: h.Schema, count: h.GetCountInt(), sum: h.Sum, zeroCount: h.GetZeroCountInt(), zeroThreshold: h.ZeroThreshold,
		positive: absoluteBuckets(h.PositiveSpans, h.PositiveDeltas), negative: absoluteBuckets(h.NegativeSpans, h.NegativeDeltas),
	}
	return sampleString(native.String(), h.Timestamp, exemplars)
}

// sampleString renders a value with its time and exemplars. The order of exemplars has no meaning.
func sampleString(value string, timestamp int64, exemplars []string) string {
	slices.Sort(exemplars)
	return value + " @" + strconv.FormatInt(timestamp, 10) + strings.Join(exemplars, "")
}

// exemplarString renders an exemplar with its labels in the order given.
func exemplarString(labels []prompb.Label, value float64, timestamp int64) string {
	var pairs []string
	for _, l := range labels {
		pairs = append(pairs, l.Name+"="+strconv.Quote(l.Value))
	}
	return fmt.Sprintf(" # {%s} %s @%d", strings.Join(pairs, ","), floatString(value), timestamp)
}

// floatString tells stale markers, and NaNs of unusual bits, from the ordinary NaN.
func floatString(v float64) string {
	switch bits := math.Float64bits(v); {
	case bits == 0x7ff0000000000002:
		return "stale"
	case v != v && bits != math.Float64bits(math.NaN()):
		return fmt.Sprintf("NaN(%x)", bits)
	default:
		return strconv.FormatFloat(v, 'g', -1, 64)
	}
}

// nativeHistogram is a native histogram with the counts of its buckets by index; empty ones are not in the maps.
type nativeHistogram struct {
	schema             int32
	count, zeroCount   uint64
	sum, zeroThreshold float64
	positive, negative map[int64]uint64
}

func (h *nativeHistogram) String() string {
	return fmt.Sprintf("schema=%d count=%d sum=%s zero=%d<=%s +%v -%v", h.schema, h.count, floatString(h.sum), h.zeroCount,
		floatString(h.zeroThreshold), h.positive, h.negative)
}

// absoluteBuckets undoes the encoding of buckets (prompb, types.proto, "BucketSpan").
func absoluteBuckets(spans []prompb.BucketSpan, deltas []int64) map[int64]uint64 {
	buckets := make(map[int64]uint64)
	index, count := int64(0), int64(0)
	for _, span := range spans {
		index += int64(span.Offset)
		for range min(int(span.Length), len(deltas)) {
			if count += deltas[0]; count != 0 {
				buckets[index] = uint64(count)
			}
			deltas = deltas[1:]
			index++
		}
	}
	return buckets
}

// translationCase is a payload of one resource and scope, and what must become of it.
type translationCase struct {
	name     string
	edit     func(*Config)
	resource []any
	scope    func(pmetric.ScopeMetrics)
	metrics  []func(pmetric.Metric)
	want     []string
	drops    map[reason]int
}

// runTranslations checks the translator, and also that the reference is of the same opinion.
func runTranslations(t *testing.T, cases []translationCase) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			md := metricsOf(c.resource, c.metrics...)
			if c.scope != nil {
				c.scope(md.ResourceMetrics().At(0).ScopeMetrics().At(0))
			}
			checkTranslation(t, configOf(c.edit), []pmetric.Metrics{md}, c.want, c.drops)
		})
	}
}

// checkTranslation checks what becomes of the last of some payloads.
func checkTranslation(t *testing.T, cfg *Config, payloads []pmetric.Metrics, want []string, drops map[reason]int) {
	t.Helper()
	tr, ref := newTestTranslator(cfg), newReference(cfg)
	var got, expected *translated
	for _, md := range payloads {
		got, expected = translatePayload(t, tr, md), ref.translate(md)
	}
	slices.Sort(want)
	if drops == nil {
		drops = map[reason]int{}
	}
	assert.Equal(t, want, got.lines())
	assert.Equal(t, drops, got.drops)
	assert.Equal(t, want, expected.lines(), "the reference")
	assert.Equal(t, drops, expected.drops, "the reference")
}

// metricsOf is a payload of one resource, whose attributes are given as keys and values, and a scope without a name.
func metricsOf(resource []any, metrics ...func(pmetric.Metric)) pmetric.Metrics {
	md := pmetric.NewMetrics()
	rm := md.ResourceMetrics().AppendEmpty()
	putAll(rm.Resource().Attributes(), resource)
	sm := rm.ScopeMetrics().AppendEmpty()
	for _, m := range metrics {
		m(sm.Metrics().AppendEmpty())
	}
	return md
}

// together joins payloads into one.
func together(payloads ...pmetric.Metrics) pmetric.Metrics {
	md := pmetric.NewMetrics()
	for _, p := range payloads {
		p.ResourceMetrics().MoveAndAppendTo(md.ResourceMetrics())
	}
	return md
}

// putAll puts attributes, given as keys and values.
func putAll(m pcommon.Map, keysAndValues []any) {
	for i := 0; i < len(keysAndValues); i += 2 {
		if err := m.PutEmpty(keysAndValues[i].(string)).FromRaw(keysAndValues[i+1]); err != nil {
			panic(err)
		}
	}
}

func gaugeOf(name string, points ...func(pmetric.NumberDataPoint)) func(pmetric.Metric) {
	return func(m pmetric.Metric) {
		m.SetName(name)
		appendPoints(m.SetEmptyGauge().DataPoints().AppendEmpty, points)
	}
}

// sumOf is a cumulative sum.
func sumOf(name string, monotonic bool, points ...func(pmetric.NumberDataPoint)) func(pmetric.Metric) {
	return func(m pmetric.Metric) {
		m.SetName(name)
		m.SetEmptySum().SetIsMonotonic(monotonic)
		m.Sum().SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
		appendPoints(m.Sum().DataPoints().AppendEmpty, points)
	}
}

// histogramOf is a cumulative histogram.
func histogramOf(name string, points ...func(pmetric.HistogramDataPoint)) func(pmetric.Metric) {
	return func(m pmetric.Metric) {
		m.SetName(name)
		m.SetEmptyHistogram().SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
		appendPoints(m.Histogram().DataPoints().AppendEmpty, points)
	}
}

// exponentialOf is a cumulative exponential histogram.
func exponentialOf(name string, points ...func(pmetric.ExponentialHistogramDataPoint)) func(pmetric.Metric) {
	return func(m pmetric.Metric) {
		m.SetName(name)
		m.SetEmptyExponentialHistogram().SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
		appendPoints(m.ExponentialHistogram().DataPoints().AppendEmpty, points)
	}
}

func summaryOf(name string, points ...func(pmetric.SummaryDataPoint)) func(pmetric.Metric) {
	return func(m pmetric.Metric) {
		m.SetName(name)
		appendPoints(m.SetEmptySummary().DataPoints().AppendEmpty, points)
	}
}

func appendPoints[T any](add func() T, points []func(T)) {
	for _, p := range points {
		p(add())
	}
}

// withUnit is the metric with a unit.
func withUnit(unit string, metric func(pmetric.Metric)) func(pmetric.Metric) {
	return func(m pmetric.Metric) {
		metric(m)
		m.SetUnit(unit)
	}
}

// dataPoint is what points of all types have in common.
type dataPoint interface {
	Attributes() pcommon.Map
	SetTimestamp(pcommon.Timestamp)
	SetFlags(pmetric.DataPointFlags)
}

// edited applies the edits to a point of time 1s.
func edited(p dataPoint, edits []func(dataPoint)) {
	p.SetTimestamp(1e9)
	for _, e := range edits {
		e(p)
	}
}

// with gives a point attributes.
func with(keysAndValues ...any) func(dataPoint) {
	return func(p dataPoint) { putAll(p.Attributes(), keysAndValues) }
}

// at gives a point a time in nanoseconds.
func at(ns pcommon.Timestamp) func(dataPoint) {
	return func(p dataPoint) { p.SetTimestamp(ns) }
}

// noRecordedValue makes a point a stale one.
func noRecordedValue(p dataPoint) {
	p.SetFlags(pmetric.DefaultDataPointFlags.WithNoRecordedValue(true))
}

// exampled adds an exemplar to a point.
func exampled(value float64, edits ...func(pmetric.Exemplar)) func(dataPoint) {
	return func(p dataPoint) {
		e := p.(interface{ Exemplars() pmetric.ExemplarSlice }).Exemplars().AppendEmpty()
		e.SetDoubleValue(value)
		for _, edit := range edits {
			edit(e)
		}
	}
}

// number is an integer or floating-point number; nil is no value.
func number(value any, edits ...func(dataPoint)) func(pmetric.NumberDataPoint) {
	return func(dp pmetric.NumberDataPoint) {
		switch v := value.(type) {
		case int:
			dp.SetIntValue(int64(v))
		case float64:
			dp.SetDoubleValue(v)
		}
		edited(dp, edits)
	}
}

// buckets is a point of a histogram, its count that of all buckets and its sum 100.
func buckets(bounds []float64, counts []uint64, edits ...func(dataPoint)) func(pmetric.HistogramDataPoint) {
	return func(dp pmetric.HistogramDataPoint) {
		dp.ExplicitBounds().FromRaw(bounds)
		dp.BucketCounts().FromRaw(counts)
		for _, n := range counts {
			dp.SetCount(dp.Count() + n)
		}
		dp.SetSum(100)
		edited(dp, edits)
	}
}

// exponential is a point of an exponential histogram with positive buckets, its count that of all of them and its sum
// 100.
func exponential(scale, offset int32, counts []uint64, edits ...func(dataPoint)) func(pmetric.ExponentialHistogramDataPoint) {
	return func(dp pmetric.ExponentialHistogramDataPoint) {
		dp.SetScale(scale)
		dp.Positive().SetOffset(offset)
		dp.Positive().BucketCounts().FromRaw(counts)
		for _, n := range counts {
			dp.SetCount(dp.Count() + n)
		}
		dp.SetSum(100)
		edited(dp, edits)
	}
}

// quantiles is a point of a summary of count 10 and sum 100, each of whose values is ten times its quantile.
func quantiles(qs []float64, edits ...func(dataPoint)) func(pmetric.SummaryDataPoint) {
	return func(dp pmetric.SummaryDataPoint) {
		for _, q := range qs {
			v := dp.QuantileValues().AppendEmpty()
			v.SetQuantile(q)
			v.SetValue(10 * q)
		}
		dp.SetCount(10)
		dp.SetSum(100)
		edited(dp, edits)
	}
}
