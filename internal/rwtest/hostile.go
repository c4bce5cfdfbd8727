// SPDX-License-Identifier: Apache-2.0

package rwtest

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/rand/v2"
	"strings"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// Hostile returns random metrics that are as unpleasant as OTLP can express: names, keys and values that are empty,
// reserved, colliding, repeated or not UTF-8, points that are incomplete or contradict themselves, and numbers at the
// edges of their types. Sound metrics are among them. The random source alone decides what comes.
func Hostile(r *rand.Rand) pmetric.Metrics { return hostile{r}.metrics() }

// FromBytes returns hostile metrics that the data decide about, for fuzzing: a small change of the data is a small
// change of the metrics. Data that begin with 0xff and go on as an OTLP message are that message.
func FromBytes(data []byte) pmetric.Metrics {
	if len(data) > 0 && data[0] == 0xff {
		if md, err := new(pmetric.ProtoUnmarshaler).UnmarshalMetrics(data[1:]); err == nil {
			return md
		}
	}
	return hostile{&tape{data}}.metrics()
}

// dice is a source of decisions. An IntN of 0 must be the dull choice, which ends things.
type dice interface {
	IntN(n int) int
	Uint64() uint64
}

// tape plays the bytes of a fuzzer's input, and after their end zeros.
type tape struct{ data []byte }

func (t *tape) take(n int) uint64 {
	var word [8]byte
	taken := copy(word[:n], t.data)
	t.data = t.data[taken:]
	return binary.LittleEndian.Uint64(word[:])
}

// IntN implements dice. A byte is enough for most decisions.
func (t *tape) IntN(n int) int {
	width := 1
	if n > 256 {
		width = 4
	}
	return int(t.take(width) % uint64(n))
}

// Uint64 implements dice.
func (t *tape) Uint64() uint64 { return t.take(8) }

func pick[T any](d dice, from []T) T { return from[d.IntN(len(from))] }

// hostile builds hostile metrics from decisions.
type hostile struct{ dice }

// rarely is true once in n times.
func (h hostile) rarely(n int) bool { return h.IntN(n) == n-1 }

var (
	hostileNames = []string{
		"x", "x_total", "x.total", "x-total", "x_bucket", "x_count", "x_sum", "x_info", "X", "foo.bar", "foo_bar", "foo..bar",
		"http.server.request.duration", "target_info", "target.info", "up", "a:b", ":", "9lives", "1", "",
		"_", "___", "__name__", "__x__", ".", "温度", "é", "\xff", "a\xc3", "a\x00b", "a\nb", "{}", strings.Repeat("long.", 1000),
	}
	hostileUnits = []string{"", "1", "By", "s", "ms", "%", "{request}", "{", "m/s", "By/s/s", "/", "1/{x}", "Cel", "x", "total", "\xfe", "单位"}
	hostileKeys  = []string{
		"a", "A", "a.b", "a-b", "a_b", "a..b", "_a", "le", "quantile", "job", "instance", "__name__", "__x__", "__", "___", "_", "",
		"service.name", "otel_scope_name", "otel.scope.version", "otel_scope_a", "otel.scope.a.b", "otel_scope_a-b", "schema.url", "name", "exported_job", "trace_id", "span_id", "9", "9a", "0.1", "key_9",
		"Host", "DeviceID", "日本", "語", "é", "\xff", "k\xc3", "k\x00", "k\"", strings.Repeat("k", 300),
	}
	hostileStrings = []string{
		"", "a", "b", "a;b", ";", " ", "0", "+Inf", "1.0", "NaN", "日本語", "🎉", "\xff", "ok\xc3", "a\x00b", "a\nb\"c\\", "\xed\xa0\x80",
		strings.Repeat("v", 200), strings.Repeat("é", 20_000),
	}
	hostileFloats = []float64{
		0, 1, -1, 0.5, math.Copysign(0, -1), 1e-128, 1e21, 0.1 + 0.2, math.MaxFloat64, -math.MaxFloat64, math.SmallestNonzeroFloat64,
		math.Inf(1), math.Inf(-1), math.NaN(), math.Float64frombits(staleBits), math.Float64frombits(staleBits | 1<<63),
		math.Float64frombits(0x7ff0000000000001), 1 << 53, 1<<53 + 2,
	}
	hostileCounts = []uint64{
		0, 1, 2, 10, 1 << 32, 1<<53 + 1, math.MaxInt64 - 1, math.MaxInt64, math.MaxInt64 + 1, math.MaxUint64 - 1, math.MaxUint64,
	}
	hostileInts    = []int64{0, 1, -1, 1000, 1<<53 + 1, math.MaxInt64, math.MinInt64}
	hostileOffsets = []int32{
		0, 1, -1, 3, -5, 100, -1000, math.MaxInt32, math.MaxInt32 - 1, math.MaxInt32 - 100, math.MinInt32, math.MinInt32 + 1, math.MinInt32 + 100,
	}
	hostileTimes = []pcommon.Timestamp{
		0, 1, 999_999, 1_000_000, 4102444800e9, 17000000000e9, math.MaxInt64 - 1, math.MaxInt64, math.MaxInt64 + 1, math.MaxUint64,
	}
	hostileBounds = [][]float64{
		{},
		{1},
		{1, 2, 3},
		{-1, 0, 1e-300},
		{3, 2, 1},
		{1, 1, 2},
		{0, math.Copysign(0, -1)},
		{math.NaN()},
		{1, math.NaN(), 2},
		{1, math.Inf(1)},
		{math.Inf(-1), 0},
		{math.Inf(1), math.Inf(1)},
		{0.1 + 0.2, 0.3},
		{math.MaxFloat64, math.Inf(1)},
	}
	hostileQuantiles = []float64{0.5, 0.99, 0, 1, -1, 2, math.NaN(), math.Inf(1), math.Float64frombits(staleBits)}
)

// twins are keys that stand twice in a map. No method of pdata makes such a map; the wire can carry it. The first of the
// twins is put under a key of the same length, which metrics replaces in the encoded message.
var twins = []string{"service.name", "service.instance.id", "__name__", "quantile", "http.method"}

func disguise(key string) string { return "\x01\x02\x03" + key[3:] }

func (h hostile) metrics() pmetric.Metrics {
	md := pmetric.NewMetrics()
	for range h.IntN(4) {
		h.resource(md.ResourceMetrics().AppendEmpty())
	}
	encoded, _ := new(pmetric.ProtoMarshaler).MarshalMetrics(md) // which never fails
	for _, key := range twins {
		encoded = bytes.ReplaceAll(encoded, []byte(disguise(key)), []byte(key))
	}
	if twinned, err := new(pmetric.ProtoUnmarshaler).UnmarshalMetrics(encoded); err == nil {
		return twinned
	}
	return md // numbers that happened to look like a disguise have been replaced too
}

func (h hostile) resource(rm pmetric.ResourceMetrics) {
	attributes := rm.Resource().Attributes()
	for _, key := range []string{"service.name", "service.namespace", "service.instance.id"} {
		switch h.IntN(5) {
		case 0, 1:
			attributes.PutStr(key, "a") // the same for several resources
		case 2:
			h.value(attributes.PutEmpty(key), 0)
		}
	}
	h.attributes(attributes)
	rm.SetSchemaUrl(pick(h, hostileStrings))
	for range h.IntN(3) {
		sm := rm.ScopeMetrics().AppendEmpty()
		if h.rarely(2) {
			sm.Scope().SetName(pick(h, hostileStrings))
			sm.Scope().SetVersion(pick(h, hostileStrings))
			sm.SetSchemaUrl(pick(h, hostileStrings))
			h.attributes(sm.Scope().Attributes())
		}
		for range h.IntN(5) {
			h.metric(sm.Metrics().AppendEmpty())
		}
	}
}

func (h hostile) metric(m pmetric.Metric) {
	if m.SetName(pick(h, hostileNames)); h.rarely(8) {
		m.SetName(h.noise())
	}
	m.SetUnit(pick(h, hostileUnits))
	m.SetDescription(pick(h, hostileStrings))
	if h.rarely(8) {
		h.attributes(m.Metadata())
		m.Metadata().PutStr("prometheus.type", pick(h, []string{"unknown", "info", "stateset", "gauge", "counter"}))
	}
	temporality := pmetric.AggregationTemporalityCumulative
	if h.rarely(4) {
		temporality = pmetric.AggregationTemporality(h.IntN(4)) // of which 3 is unknown
	}
	points := h.IntN(5)
	switch h.IntN(6) {
	case 0: // pmetric.MetricTypeEmpty
	case 1:
		dps := m.SetEmptyGauge().DataPoints()
		for range points {
			h.number(dps.AppendEmpty())
		}
	case 2:
		sum := m.SetEmptySum()
		sum.SetAggregationTemporality(temporality)
		sum.SetIsMonotonic(h.rarely(2))
		for range points {
			h.number(sum.DataPoints().AppendEmpty())
		}
	case 3:
		m.SetEmptyHistogram().SetAggregationTemporality(temporality)
		for range points {
			h.histogram(m.Histogram().DataPoints().AppendEmpty())
		}
	case 4:
		m.SetEmptyExponentialHistogram().SetAggregationTemporality(temporality)
		for range points {
			h.exponential(m.ExponentialHistogram().DataPoints().AppendEmpty())
		}
	case 5:
		dps := m.SetEmptySummary().DataPoints()
		for range points {
			h.summary(dps.AppendEmpty())
		}
	}
}

// point is what the points of all kinds have in common.
type point interface {
	Attributes() pcommon.Map
	SetTimestamp(pcommon.Timestamp)
	SetStartTimestamp(pcommon.Timestamp)
	SetFlags(pmetric.DataPointFlags)
}

func (h hostile) point(p point) {
	if h.rarely(2) {
		h.attributes(p.Attributes())
	}
	p.SetTimestamp(h.time())
	if h.rarely(2) {
		p.SetStartTimestamp(h.time())
	}
	switch h.IntN(8) {
	case 6:
		p.SetFlags(pmetric.DefaultDataPointFlags.WithNoRecordedValue(true))
	case 7:
		p.SetFlags(pmetric.DataPointFlags(h.Uint64()))
	}
}

// time is most often one of a few close timestamps, so that points collide and go back.
func (h hostile) time() pcommon.Timestamp {
	if h.rarely(4) {
		return pick(h, hostileTimes)
	}
	return pcommon.Timestamp(1767225600e9 + int64(h.IntN(8))*500_000) // half milliseconds from 2026-01-01
}

func (h hostile) float() float64 {
	if h.rarely(8) {
		return math.Float64frombits(h.Uint64())
	}
	return pick(h, hostileFloats)
}

func (h hostile) number(dp pmetric.NumberDataPoint) {
	h.point(dp)
	switch h.IntN(5) {
	case 0: // no value
	case 1:
		dp.SetIntValue(pick(h, hostileInts))
	default:
		dp.SetDoubleValue(h.float())
	}
	h.exemplars(dp.Exemplars())
}

// histogram is sound before it is damaged.
func (h hostile) histogram(dp pmetric.HistogramDataPoint) {
	h.point(dp)
	bounds := pick(h, hostileBounds)
	counts := h.buckets(len(bounds) + 1)
	dp.ExplicitBounds().FromRaw(bounds)
	dp.SetCount(total(counts))
	if dp.SetSum(h.float()); h.rarely(4) {
		dp.RemoveSum()
	}
	if h.rarely(4) {
		dp.SetCount(pick(h, hostileCounts))
	}
	if h.rarely(4) {
		counts = h.buckets(h.IntN(6)) // of another length
	}
	dp.BucketCounts().FromRaw(counts)
	if h.rarely(4) {
		dp.SetMin(h.float())
		dp.SetMax(h.float())
	}
	h.exemplars(dp.Exemplars())
}

// exponential is sound before it is damaged.
func (h hostile) exponential(dp pmetric.ExponentialHistogramDataPoint) {
	h.point(dp)
	if dp.SetScale(int32(h.IntN(41) - 20)); h.rarely(10) {
		dp.SetScale(pick(h, hostileOffsets))
	}
	dp.SetZeroCount(uint64(h.IntN(3)))
	if h.rarely(4) {
		dp.SetZeroCount(pick(h, hostileCounts))
	}
	count := dp.ZeroCount()
	for _, side := range []pmetric.ExponentialHistogramDataPointBuckets{dp.Positive(), dp.Negative()} {
		side.SetOffset(pick(h, hostileOffsets))
		counts := h.buckets(pick(h, []int{0, 1, 2, 7, 200}))
		side.BucketCounts().FromRaw(counts)
		count += total(counts)
	}
	if dp.SetCount(count); h.rarely(4) {
		dp.SetCount(pick(h, hostileCounts))
	}
	if dp.SetSum(h.float()); h.rarely(4) {
		dp.RemoveSum()
	}
	if h.rarely(3) {
		dp.SetZeroThreshold(h.float())
	}
	h.exemplars(dp.Exemplars())
}

func (h hostile) summary(dp pmetric.SummaryDataPoint) {
	h.point(dp)
	dp.SetCount(pick(h, hostileCounts))
	dp.SetSum(h.float())
	for range h.IntN(5) {
		v := dp.QuantileValues().AppendEmpty()
		v.SetQuantile(pick(h, hostileQuantiles)) // sometimes the same again
		v.SetValue(h.float())
	}
}

// buckets are mostly small and often empty, so that spans have gaps.
func (h hostile) buckets(n int) []uint64 {
	counts := make([]uint64, n)
	for i := range counts {
		if counts[i] = uint64(max(0, h.IntN(6)-3)); h.rarely(40) {
			counts[i] = pick(h, hostileCounts)
		}
	}
	return counts
}

func total(counts []uint64) uint64 {
	sum := uint64(0)
	for _, c := range counts {
		sum += c // it may overflow
	}
	return sum
}

func (h hostile) exemplars(es pmetric.ExemplarSlice) {
	for range max(0, h.IntN(6)-3) {
		e := es.AppendEmpty()
		e.SetTimestamp(h.time())
		switch h.IntN(3) {
		case 0: // no value
		case 1:
			e.SetIntValue(pick(h, hostileInts))
		case 2:
			e.SetDoubleValue(h.float())
		}
		if h.rarely(2) {
			var id [16]byte
			binary.BigEndian.PutUint64(id[:], h.Uint64())
			e.SetTraceID(id)
			e.SetSpanID(pcommon.SpanID(id[:8]))
		}
		h.attributes(e.FilteredAttributes())
	}
}

func (h hostile) attributes(m pcommon.Map) {
	for range h.IntN(5) {
		key := pick(h, hostileKeys)
		if h.rarely(16) {
			key = h.noise()
		}
		h.value(m.PutEmpty(key), 0)
	}
	if h.rarely(8) {
		key := pick(h, twins)
		h.value(m.PutEmpty(disguise(key)), 0)
		h.value(m.PutEmpty(key), 0)
	}
}

// value is of any type; maps and slices nest to a small depth.
func (h hostile) value(v pcommon.Value, depth int) {
	types := 8
	if depth == 3 {
		types = 6
	}
	switch h.IntN(types) {
	case 0: // pcommon.ValueTypeEmpty
	case 1:
		v.SetStr(pick(h, hostileStrings))
	case 2:
		v.SetInt(pick(h, hostileInts))
	case 3:
		v.SetDouble(h.float())
	case 4:
		v.SetBool(h.rarely(2))
	case 5:
		v.SetEmptyBytes().FromRaw([]byte(h.noise()))
	case 6:
		m := v.SetEmptyMap()
		for range h.IntN(3) {
			h.value(m.PutEmpty(pick(h, hostileKeys)), depth+1)
		}
	case 7:
		s := v.SetEmptySlice()
		for range h.IntN(3) {
			h.value(s.AppendEmpty(), depth+1)
		}
	}
}

// noise is a few random bytes.
func (h hostile) noise() string {
	b := make([]byte, h.IntN(12))
	for i := range b {
		b[i] = byte(h.IntN(256))
	}
	return string(b)
}
