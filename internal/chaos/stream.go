// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/prometheus/prompb"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
)

// stream is one OTLP stream: points of one metric, resource, scope and set of attributes.
type stream struct {
	kind      pmetric.MetricType
	monotonic bool
	scale     int32
	resource  int
	named     bool // the scope
	instance  string

	// given is the metric's name, and family what it becomes.
	given, family, unit string
	attributes          [][2]string
	labels              []prompb.Label

	// last is the time of the last point, in milliseconds.
	last    int64
	count   uint64
	sum     float64
	buckets [4]uint64
}

// spelling is a name that stands in a payload, with what becomes of it if names are escaped and if they are not.
type spelling struct{ given, escaped, verbatim string }

// metricNames and attributeKeys are given literally, so that nothing needs to be computed.
var (
	plainName   = spelling{"chaos", "chaos", "chaos"}
	metricNames = []spelling{
		{"chaos.dotted", "chaos_dotted", "chaos.dotted"},
		{"chaos-dashed", "chaos_dashed", "chaos-dashed"},
		{"9chaos", "_9chaos", "9chaos"},
	}
	attributeKeys = []spelling{
		{"a.b", "a_b", "a.b"},
		{"9a", "key_9a", "9a"},
		{"région", "r_gion", "région"},
	}
)

// name gives the stream a name and labels of its own.
func (st *stream) name(p *Payloads, producer, number int) {
	s, r := p.settings, p.rnd
	spelled := func(n spelling) string {
		if s.escapes() {
			return n.escaped
		}
		return n.verbatim
	}
	name, extra := plainName, []spelling(nil)
	if p.Permille > 0 && (s.escapes() || !s.mayFallBack()) {
		name = pick(r, plainName, plainName, pick(r, metricNames...))
		if r.IntN(3) == 0 {
			extra = append(extra, pick(r, attributeKeys...))
		}
	}
	suffix := map[pmetric.MetricType]string{
		pmetric.MetricTypeGauge: "_gauge", pmetric.MetricTypeSum: "_sum", pmetric.MetricTypeHistogram: "_classic",
		pmetric.MetricTypeExponentialHistogram: "_native", pmetric.MetricTypeSummary: "_summary",
	}[st.kind] + strconv.Itoa(r.IntN(3))
	st.given, st.family = name.given+suffix, spelled(name)+suffix
	if st.kind == pmetric.MetricTypeSum && st.monotonic {
		st.given, st.family = st.given+"_total", st.family+"_total"
	}
	if st.kind == pmetric.MetricTypeGauge && !p.Simple && r.IntN(3) == 0 {
		st.given, st.family = st.given+"_age", st.family+"_age"
		if st.unit = "s"; s.suffixes() {
			st.family += "_seconds"
		}
	}
	st.family = p.prefixed(st.family)
	if s.Namespace != "" {
		st.family = strings.Replace(st.family, s.Namespace+"__", s.Namespace+"_", 1)
	}
	st.instance = "p" + strconv.Itoa(producer) + "-" + strconv.Itoa(st.resource)
	st.label(p, spelled, extra, number)
}

func (st *stream) label(p *Payloads, spelled func(spelling) string, extra []spelling, number int) {
	add := func(name, value string) { st.labels = append(st.labels, prompb.Label{Name: name, Value: value}) }
	attribute := func(key, name, value string) {
		st.attributes = append(st.attributes, [2]string{key, value})
		if name != "" {
			add(name, strings.ToValidUTF8(value, "\uFFFD"))
		}
	}
	add("job", "chaos")
	add("instance", st.instance)
	attribute("stream", "stream", strconv.Itoa(number))
	attribute("zone", "zone", "zone-"+strconv.Itoa(number%3))
	for _, key := range extra {
		attribute(key.given, spelled(key), pick(p.rnd, "x", "é", "broken\xff", strings.Repeat("v", 200)))
	}
	if len(extra) > 0 && extra[0].given == "a.b" && p.settings.escapes() {
		// Two keys become one label, whose value has both, in the order of the keys.
		st.attributes = append(st.attributes, [2]string{"a_b", "second"})
		st.labels[len(st.labels)-1].Value += ";second"
	}
	if p.Permille > 0 && p.rnd.IntN(3) == 0 {
		attribute("region", "region", "own")
		attribute("empty", "", "")
	}
	if len(p.settings.PromotedAttributes) > 0 && p.hosts[st.resource] != "" {
		add("host", p.hosts[st.resource])
	}
	if st.named && !p.settings.DisableScopeInfo {
		add("otel_scope_name", "lib")
		add("otel_scope_version", "1.2")
	}
	st.labels = p.external(st.labels)
}

// series is the key of one of the stream's series.
func (st *stream) series(suffix string, more ...string) string {
	labels := append(slices.Clone(st.labels), prompb.Label{Name: "__name__", Value: st.family + suffix})
	for i := 0; i < len(more); i += 2 {
		labels = append(labels, prompb.Label{Name: more[i], Value: more[i+1]})
	}
	return rwtest.SeriesKey(labels)
}

// observe adds an observation to each of some buckets.
func (st *stream) observe(p *Payloads) {
	for i := range st.buckets {
		n := uint64(p.rnd.IntN(3))
		st.buckets[i] += n
		st.count += n
		st.sum += float64(n) * p.rnd.Float64()
	}
}

// dataPoint is what the points of all kinds have in common.
type dataPoint interface {
	Attributes() pcommon.Map
	SetTimestamp(pcommon.Timestamp)
	SetStartTimestamp(pcommon.Timestamp)
	SetFlags(pmetric.DataPointFlags)
}

func (st *stream) describe(dp dataPoint, p *Payloads, ts int64, d *damage) {
	for _, a := range st.attributes {
		dp.Attributes().PutStr(a[0], a[1])
	}
	if d.label != "" {
		dp.Attributes().PutStr("huge", d.label)
	}
	dp.SetStartTimestamp(pcommon.Timestamp(1_000_000))
	dp.SetTimestamp(pcommon.Timestamp(ts) * pcommon.Timestamp(time.Millisecond))
	if d.stale {
		dp.SetFlags(pmetric.DefaultDataPointFlags.WithNoRecordedValue(true))
	}
	if ts > 0 {
		// What is under a millisecond is cut off.
		dp.SetTimestamp(pcommon.Timestamp(ts)*pcommon.Timestamp(time.Millisecond) + pcommon.Timestamp(p.rnd.Int64N(1e6)))
	}
}

// add appends a point to m, and returns what it becomes, as configured and as 1.0.
func (st *stream) add(p *Payloads, m pmetric.Metric, ts int64, d *damage) (native, classic []Point) {
	value := func(v float64) rwtest.Sample {
		if d.stale {
			return rwtest.Sample{Timestamp: ts, Bits: staleBits}
		}
		return floatSample(ts, v)
	}
	switch m.Type() {
	case pmetric.MetricTypeGauge:
		native = st.addNumber(p, m.Gauge().DataPoints().AppendEmpty(), ts, d, value)
	case pmetric.MetricTypeSum:
		native = st.addNumber(p, m.Sum().DataPoints().AppendEmpty(), ts, d, value)
	case pmetric.MetricTypeHistogram:
		return st.addClassic(p, m.Histogram().DataPoints().AppendEmpty(), ts, d, value)
	case pmetric.MetricTypeExponentialHistogram:
		native = []Point{st.addNative(p, m.ExponentialHistogram().DataPoints().AppendEmpty(), ts, d)}
	case pmetric.MetricTypeSummary:
		native = st.addSummary(p, m.Summary().DataPoints().AppendEmpty(), ts, d, value)
	}
	return native, native
}

func (st *stream) addNumber(p *Payloads, dp pmetric.NumberDataPoint, ts int64, d *damage, value func(float64) rwtest.Sample) []Point {
	st.describe(dp, p, ts, d)
	v := p.rnd.NormFloat64()
	switch {
	case d.empty:
		return nil
	case d.value != nil:
		v = *d.value
		dp.SetDoubleValue(v)
		if math.Float64bits(v) == staleBits {
			v = math.NaN() // which has other bits: only a flag makes a stale marker
		}
	case st.kind == pmetric.MetricTypeSum:
		st.count += uint64(p.rnd.IntN(1000))
		v = float64(st.count)
		dp.SetIntValue(int64(st.count))
		if st.monotonic && p.exemplars() {
			st.exemplar(p, dp.Exemplars().AppendEmpty(), ts)
		}
	default:
		dp.SetDoubleValue(v)
	}
	return []Point{{st.series("", d.more()...), value(v)}}
}

// exemplars says whether a point has one.
func (p *Payloads) exemplars() bool { return p.rnd.IntN(4) == 0 && !p.NoExemplars }

func (st *stream) exemplar(p *Payloads, e pmetric.Exemplar, ts int64) {
	e.SetTimestamp(pcommon.Timestamp(ts) * pcommon.Timestamp(time.Millisecond))
	e.SetDoubleValue(p.rnd.Float64())
	e.SetTraceID(pcommon.TraceID{1, byte(p.rnd.IntN(256))})
	e.SetSpanID(pcommon.SpanID{2})
}

// classicBounds are chosen such that there is one way to write them.
var (
	classicBounds = []float64{0.5, 2.5, 7.5}
	classicLabels = []string{"0.5", "2.5", "7.5", "+Inf"}
)

func (st *stream) addClassic(p *Payloads, dp pmetric.HistogramDataPoint, ts int64, d *damage, value func(float64) rwtest.Sample) (native, classic []Point) {
	st.observe(p)
	st.describe(dp, p, ts, d)
	dp.ExplicitBounds().FromRaw(classicBounds)
	dp.BucketCounts().FromRaw(st.buckets[:])
	dp.SetCount(st.count)
	dp.SetSum(st.sum)
	if d.contradicts {
		dp.ExplicitBounds().FromRaw([]float64{3, 2, 1})
	}
	if p.exemplars() {
		st.exemplar(p, dp.Exemplars().AppendEmpty(), ts)
	}
	h := histogram{schema: -53, count: st.count, sum: st.sum, bounds: classicBounds, positive: make(map[int64]uint64)}
	cumulative := uint64(0)
	for i, n := range st.buckets {
		cumulative += n
		h.positive[int64(i)] = n
		classic = append(classic, Point{st.series("_bucket", append(d.more(), "le", classicLabels[i])...), value(float64(cumulative))})
	}
	classic = append(classic, Point{st.series("_sum", d.more()...), value(st.sum)}, Point{st.series("_count", d.more()...), value(float64(st.count))})
	if d.stale {
		h = stale
	}
	switch {
	case !p.settings.CustomBuckets:
		return classic, classic
	case p.settings.KeepClassic:
		native = slices.Clone(classic)
	}
	return append(native, Point{st.series("", d.more()...), histogramSample(ts, h)}), classic
}

// addNative adds a point of an exponential histogram. An index is one more than in OTLP, and there is no schema above 8.
func (st *stream) addNative(p *Payloads, dp pmetric.ExponentialHistogramDataPoint, ts int64, d *damage) Point {
	st.observe(p)
	st.describe(dp, p, ts, d)
	dp.SetScale(st.scale)
	dp.SetZeroCount(st.buckets[0])
	dp.Positive().SetOffset(-2)
	dp.Positive().BucketCounts().FromRaw(st.buckets[1:3])
	dp.Negative().SetOffset(5)
	dp.Negative().BucketCounts().FromRaw(st.buckets[3:])
	dp.SetCount(st.count)
	dp.SetSum(st.sum)
	if p.exemplars() {
		st.exemplar(p, dp.Exemplars().AppendEmpty(), ts)
	}
	switch {
	case d.contradicts:
		dp.SetCount(st.count + 1)
	case d.coarse:
		dp.SetScale(-10)
	case d.sumless:
		dp.RemoveSum()
	}
	h := histogram{
		schema: min(st.scale, 8), count: st.count, sum: st.sum, zeroThreshold: 1e-128, zeroCount: st.buckets[0],
		positive: make(map[int64]uint64), negative: make(map[int64]uint64),
	}
	merge := st.scale - h.schema // so many times two neighbouring buckets become one
	for i, n := range st.buckets[1:3] {
		h.positive[int64((-2+i)>>merge)+1] += n
	}
	h.negative[int64(5>>merge)+1] += st.buckets[3]
	if d.stale {
		h = stale
	}
	return Point{st.series("", d.more()...), histogramSample(ts, h)}
}

func (st *stream) addSummary(p *Payloads, dp pmetric.SummaryDataPoint, ts int64, d *damage, value func(float64) rwtest.Sample) []Point {
	st.observe(p)
	st.describe(dp, p, ts, d)
	dp.SetCount(st.count)
	dp.SetSum(st.sum)
	var points []Point
	for q, label := range map[float64]string{0.5: "0.5", 0.9: "0.9", 0.99: "0.99"} {
		v := dp.QuantileValues().AppendEmpty()
		v.SetQuantile(q)
		v.SetValue(q * st.sum)
		points = append(points, Point{st.series("", append(d.more(), "quantile", label)...), value(q * st.sum)})
	}
	return append(points, Point{st.series("_sum", d.more()...), value(st.sum)}, Point{st.series("_count", d.more()...), value(float64(st.count))})
}
