// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
)

// translated is what becomes of a payload, in a readable form.
type translated struct {
	// series has the points of each series, in order.
	series map[string][]string
	// origins has for each point what only 2.0 says of it.
	origins map[string][]string
	drops   map[account.Reason]int
}

func newTranslated() *translated {
	return &translated{series: make(map[string][]string), origins: make(map[string][]string), drops: make(map[account.Reason]int)}
}

// lines are the points with their series, sorted.
func (r *translated) lines() []string { return flattened(r.series) }

func flattened(bySeries map[string][]string) []string {
	var lines []string
	for series, points := range bySeries {
		for _, p := range points {
			lines = append(lines, series+" "+p)
		}
	}
	slices.Sort(lines)
	return lines
}

// testTranslator is a translator to one version of the protocol.
type testTranslator struct {
	*translator
	protocol wire.Protocol
}

// testSecret makes tests find the same partitions as the exporter.
var testSecret = partitionSecret{0x0706050403020100, 0x0f0e0d0c0b0a0908}

func testTranslation(cfg *Config) translation { return newTranslation(cfg, testSecret) }

func testNamer(cfg *Config) *namer {
	return newTranslator(testTranslation(cfg), newBoundMemory(0), nil).namer
}

func newTestTranslator(cfg *Config) *testTranslator {
	t := &testTranslator{translator: newTranslator(testTranslation(cfg), newBoundMemory(time.Hour), nil)}
	if cfg.ProtobufMessage == MessageV2 {
		t.protocol = wire.V2
	}
	return t
}

func (tr *testTranslator) translate(md pmetric.Metrics) {
	if err := tr.translator.translate(context.Background(), md, tr.protocol); err != nil {
		panic(err)
	}
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
func translatePayload(t testing.TB, tr *testTranslator, md pmetric.Metrics) *translated {
	t.Helper()
	tr.translate(md)
	defer tr.reset()
	result := newTranslated()
	sent := sentPoints(t, tr)
	for _, s := range sent {
		key := seriesString(s.Labels)
		result.series[key] = append(result.series[key], pointString(t, s.TimeSeries))
		if tr.protocol == wire.V2 {
			result.origins[key] = append(result.origins[key], s.origin)
		}
	}
	for r := range tr.drops {
		if n := tr.drops[r].Count; n > 0 {
			result.drops[account.Reason(r)] = n
		}
	}
	assert.Equal(t, tr.points, len(sent)+tr.drops.Total(), "points sent or dropped")
	return result
}

// sentPoint is a series with one point, as it is sent.
type sentPoint struct {
	*prompb.TimeSeries
	partition int
	// hash is that of the guard's index, or 0 if the point is not in it.
	hash uint64
	// origin is what only 2.0 says.
	origin string
}

// sentPoints seals, decodes and validates what the translator holds, in the order of the wire.
func sentPoints(t testing.TB, tr *testTranslator) []sentPoint {
	t.Helper()
	var points []sentPoint
	for i := range tr.segments {
		s := &tr.segments[i]
		assert.Equal(t, !s.empty(), slices.Contains(tr.touched, i), "partition %d is touched", i)
		for j := range s.chunks {
			c := &s.chunks[j]
			message := decodeMessage(t, tr.protocol, body(tr.protocol, []*chunk{&c.chunk}))
			assert.Len(t, message, c.Samples, "samples of a message")
			require.Len(t, c.index, c.Samples)
			for number, e := range c.index {
				message[number].hash = e.identity
			}
			for _, p := range message {
				if n := len(p.Samples) + len(p.Histograms); n != 1 {
					t.Fatalf("%s has %d points", seriesString(p.Labels), n)
				}
				p.partition = i
				points = append(points, p)
			}
		}
	}
	return points
}

// bodyOf is the request that a finished segment would be on its own.
func bodyOf(s *segment) []byte {
	var chunks []*chunk
	for i := range s.chunks {
		chunks = append(chunks, &s.chunks[i].chunk)
	}
	return body(s.protocol, chunks)
}

// talliesOf sums the chunks of a finished segment.
func talliesOf(s *segment) (t tally) {
	for i := range s.chunks {
		t.add(&s.chunks[i].tally)
	}
	return t
}

// decodeMessage decodes the body of a request, which must be valid but for the order of time: points can come in any.
func decodeMessage(t testing.TB, p wire.Protocol, body []byte) []sentPoint {
	t.Helper()
	var v1 *prompb.WriteRequest
	var v2 *writev2.Request
	var err error
	if p == wire.V1 {
		v1, err = rwtest.ValidateV1(body)
	} else if v2, err = rwtest.ValidateV2(body); v2 != nil {
		v1 = rwtest.ToV1(v2)
	}
	if v1 == nil {
		t.Fatal(err)
	}
	var violations interface{ Unwrap() []error }
	if errors.As(err, &violations) {
		for _, v := range violations.Unwrap() {
			if !strings.Contains(v.Error(), "in timestamp order") {
				t.Errorf("%.500s", v.Error())
			}
		}
	}
	points := make([]sentPoint, len(v1.Timeseries))
	for i := range points {
		points[i].TimeSeries = &v1.Timeseries[i]
		if v2 != nil {
			points[i].origin = originOf(v2, &v2.Timeseries[i])
		}
	}
	return points
}

func originOf(r *writev2.Request, ts *writev2.TimeSeries) string {
	start := int64(0)
	for _, s := range ts.Samples {
		start = s.StartTimestamp
	}
	for _, h := range ts.Histograms {
		start = h.StartTimestamp
	}
	m := &ts.Metadata
	typ := strings.ToLower(strings.TrimPrefix(m.Type.String(), "METRIC_TYPE_"))
	return originString(typ, r.Symbols[m.UnitRef], r.Symbols[m.HelpRef], start)
}

// originString renders what only 2.0 says of a point.
func originString(typ, unit, help string, start int64) string {
	return fmt.Sprintf("%s unit=%q help=%q start=%d", typ, unit, shortened(help), start)
}

// seriesString renders a label set nearly as PromQL does: name{label="value"}. Long values are shortened.
func seriesString(labels []prompb.Label) string {
	name := ""
	var rest []prompb.Label
	for _, l := range labels {
		l.Value = shortened(l.Value)
		if l.Name == "__name__" {
			name = l.Value
		} else {
			rest = append(rest, l)
		}
	}
	return name + rwtest.SeriesKey(rest)
}

// shortened is s, or of a long s its beginning and its hash.
func shortened(s string) string {
	const longest = 300
	if len(s) <= longest {
		return s
	}
	h := fnv.New64a()
	_, _ = h.Write([]byte(s))
	return fmt.Sprintf("%s...%x", s[:20], h.Sum64())
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
	assert.Equal(t, prompb.Histogram_UNKNOWN, h.ResetHint)
	native := &nativeHistogram{
		schema: h.Schema, count: h.GetCountInt(), sum: h.Sum, zeroCount: h.GetZeroCountInt(), zeroThreshold: h.ZeroThreshold,
		positive: absoluteBuckets(h.PositiveSpans, h.PositiveDeltas), negative: absoluteBuckets(h.NegativeSpans, h.NegativeDeltas),
		custom: h.CustomValues,
	}
	return sampleString(native.String(), h.Timestamp, exemplars)
}

// sampleString renders a value with its time and exemplars.
func sampleString(value string, timestamp int64, exemplars []string) string {
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
	// custom are the bounds of custom buckets.
	custom []float64
}

func (h *nativeHistogram) String() string {
	if h.schema == -53 {
		return fmt.Sprintf("custom=%v count=%d sum=%s %v", h.custom, h.count, floatString(h.sum), h.positive)
	}
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
	drops    map[account.Reason]int
}

// runTranslations checks the translator, and also that the reference is of the same opinion.
func runTranslations(t *testing.T, cases []translationCase) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			md := metricsOf(c.resource, c.metrics...)
			if c.scope != nil {
				c.scope(md.ResourceMetrics().At(0).ScopeMetrics().At(0))
			}
			checkTranslation(t, c.edit, []pmetric.Metrics{md}, c.want, c.drops)
		})
	}
}

// checkTranslation checks what becomes of the last of some payloads, in each version of the protocol that can carry it.
func checkTranslation(t *testing.T, edit func(*Config), payloads []pmetric.Metrics, want []string, drops map[account.Reason]int) {
	t.Helper()
	slices.Sort(want)
	if drops == nil {
		drops = map[account.Reason]int{}
	}
	for _, message := range []ProtobufMessage{MessageV1, MessageV2} {
		cfg := configOf(edit)
		if message == MessageV1 && needsV2(cfg) {
			continue
		}
		cfg.ProtobufMessage = message
		c := newComparison(cfg)
		for _, md := range payloads[:len(payloads)-1] {
			c.check(t, md)
		}
		got := c.check(t, payloads[len(payloads)-1])
		assert.Equal(t, want, got.lines(), message)
		assert.Equal(t, drops, got.drops, message)
	}
}

// needsV2 says whether 1.0 cannot carry what the configuration asks for.
func needsV2(cfg *Config) bool {
	return !cfg.TranslationStrategy.ShouldEscape() || cfg.ConvertExplicitHistogramsToNHCB
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
		case int64:
			dp.SetIntValue(v)
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
