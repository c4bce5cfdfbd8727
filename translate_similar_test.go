// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// similar makes payloads each of which differs in little from the one before, and so do the points in it: that is when a translator
// uses what it has made before.
type similar struct {
	*rand.Rand
	md  pmetric.Metrics
	now pcommon.Timestamp
	// most is about how many points a payload has.
	most int
	// steps says that points of a payload have several times, in any order.
	steps bool
}

func newSimilar(r *rand.Rand) *similar {
	return &similar{r, pmetric.NewMetrics(), 1767225600e9, 2 << r.IntN(5), r.IntN(2) == 0}
}

// rarely is true once in n times.
func (s *similar) rarely(n int) bool { return s.IntN(n) == 0 }

// similarKeys sort before and after __name__, le and quantile, become the same label, or one that is taken.
var similarKeys = []string{
	"A", "Z", "__name__", "__x", "_a", "_x", "a", "a.b", "a-b", "a_b", "a..b", "b", "code", "exported_job", "exported_le", "host.name",
	"http.route", "instance", "job", "k", "l", "ld", "le", "lf", "otel.scope.k", "otel_scope_name", "otel_scope_k", "otel_scope_k.l",
	"q", "quantila", "quantile", "quantilf", "service.name", "z", "9", "é", "日", "\xff", "",
}

func (s *similar) value() string {
	switch s.IntN(24) {
	case 0:
		if s.rarely(40) {
			return strings.Repeat("v", pick(s.Rand, 16_370, 16_383, 16_384))
		}
		return ""
	case 1:
		return pick(s.Rand, "\xff", "ok\xc3", "é", "日本", ";", "a;b")
	case 2:
		// Their lengths are of one or two bytes, as those of the longer ones are of two or three.
		return strings.Repeat("v", pick(s.Rand, 90, 100, 110, 118, 120, 124, 127, 128, 130))
	default:
		return "value-of-a-label"[:1+s.IntN(16)]
	}
}

// change changes a value in little, or gives it another type.
func (s *similar) change(v pcommon.Value) {
	switch text := v.Str(); s.IntN(12) {
	case 0:
		v.SetInt(int64(s.IntN(3)))
	case 1:
		v.SetBool(s.rarely(2))
	case 2:
		v.SetDouble(pick(s.Rand, 1, 0.5, math.Inf(1), math.NaN()))
	case 3:
		v.SetEmptySlice().AppendEmpty().SetStr(s.value())
	case 4:
		v.SetEmptyMap().PutStr("k", s.value())
	case 5:
		v.SetEmptyBytes().FromRaw([]byte{byte(s.IntN(256))})
	case 6:
		pcommon.NewValueEmpty().CopyTo(v)
	case 7:
		v.SetStr(text + s.value())
	case 8:
		v.SetStr(text[:s.IntN(len(text)+1)])
	case 9:
		b := []byte(text + "x")
		b[s.IntN(len(b))] = byte('a' + s.IntN(3))
		v.SetStr(string(b))
	default:
		v.SetStr(s.value())
	}
}

// attributes changes a few attributes, or the order of them.
func (s *similar) attributes(m pcommon.Map) {
	switch n := m.Len(); {
	case n > 0 && s.rarely(3):
		all := pcommon.NewMap()
		m.CopyTo(all)
		keys := make([]string, 0, n)
		for key := range all.All() {
			keys = append(keys, key)
		}
		m.Clear()
		at, to := s.IntN(n), s.IntN(n)
		keys[at], keys[to] = keys[to], keys[at]
		for _, key := range keys {
			v, _ := all.Get(key)
			v.CopyTo(m.PutEmpty(key))
		}
	case n > 0 && s.rarely(4):
		left := s.IntN(n)
		m.RemoveIf(func(string, pcommon.Value) bool {
			left--
			return left == -1
		})
	case n == 0 || s.rarely(3):
		m.PutStr(pick(s.Rand, similarKeys...), s.value())
		if s.rarely(50) {
			for i := range 40 {
				m.PutInt(fmt.Sprint("many.", i), int64(s.IntN(3)))
			}
		}
	default:
		at := s.IntN(n)
		for _, v := range m.All() {
			if at--; at == -1 || s.rarely(20) {
				s.change(v)
			}
		}
	}
}

func (s *similar) time() pcommon.Timestamp {
	if s.steps && s.rarely(6) {
		return s.now + 1e6
	}
	return s.now
}

// similarPoint is what points of all types have in common.
type similarPoint interface {
	dataPoint
	SetStartTimestamp(pcommon.Timestamp)
}

// point changes what points of all types have.
func (s *similar) point(p similarPoint) {
	p.SetTimestamp(s.time())
	if s.rarely(4) {
		p.SetStartTimestamp(pick(s.Rand, 0, s.now-1e9, s.now+1e9))
	}
	if s.rarely(3) {
		s.attributes(p.Attributes())
	}
	p.SetFlags(pmetric.DefaultDataPointFlags.WithNoRecordedValue(s.rarely(12)))
}

func (s *similar) float() float64 {
	return pick(s.Rand, 0, 1, 2, 3, math.Copysign(0, -1), 1e300, math.NaN(), wire.StaleNaN, math.Float64frombits(s.Uint64()), s.Float64())
}

func (s *similar) exemplars(es pmetric.ExemplarSlice) {
	es.RemoveIf(func(pmetric.Exemplar) bool { return s.rarely(2) })
	for s.rarely(4) {
		e := es.AppendEmpty()
		e.SetTimestamp(s.time())
		e.SetDoubleValue(s.float())
		if s.attributes(e.FilteredAttributes()); s.rarely(2) {
			e.SetTraceID(pcommon.TraceID{byte(s.IntN(2)), 1})
		}
	}
}

// number changes a number.
func (s *similar) number(dp pmetric.NumberDataPoint) {
	s.point(dp)
	if s.exemplars(dp.Exemplars()); s.rarely(2) {
		dp.SetIntValue(int64(s.IntN(4)))
	} else {
		dp.SetDoubleValue(s.float())
	}
}

func (s *similar) histogram(dp pmetric.HistogramDataPoint) {
	s.point(dp)
	s.exemplars(dp.Exemplars())
	if dp.BucketCounts().Len() == 0 || s.rarely(10) {
		n := s.IntN(1 << s.IntN(6))
		dp.BucketCounts().FromRaw(make([]uint64, n+1))
		dp.ExplicitBounds().FromRaw(nil)
		for i := range n {
			dp.ExplicitBounds().Append(float64(i+1) * pick(s.Rand, 1, 1, 0.1, 1e20))
		}
	}
	for i := range dp.BucketCounts().Len() {
		if !s.rarely(3) {
			dp.BucketCounts().SetAt(i, uint64(s.IntN(1<<s.IntN(20))))
		}
	}
	count := uint64(0)
	for _, n := range dp.BucketCounts().All() {
		count += n
	}
	dp.SetCount(count)
	if dp.SetSum(s.float()); s.rarely(6) {
		dp.RemoveSum()
	}
}

func (s *similar) exponential(dp pmetric.ExponentialHistogramDataPoint) {
	s.point(dp)
	s.exemplars(dp.Exemplars())
	dp.SetScale(int32(s.IntN(12)))
	dp.SetZeroCount(uint64(s.IntN(3)))
	count := dp.ZeroCount()
	for _, side := range []pmetric.ExponentialHistogramDataPointBuckets{dp.Positive(), dp.Negative()} {
		side.SetOffset(int32(s.IntN(9) - 4))
		counts := make([]uint64, s.IntN(20))
		for i := range counts {
			counts[i] = uint64(max(0, s.IntN(6)-3))
			count += counts[i]
		}
		side.BucketCounts().FromRaw(counts)
	}
	dp.SetCount(count)
	dp.SetSum(s.float())
}

func (s *similar) summary(dp pmetric.SummaryDataPoint) {
	s.point(dp)
	if s.rarely(6) {
		dp.QuantileValues().RemoveIf(func(pmetric.SummaryDataPointValueAtQuantile) bool { return s.rarely(2) })
		for range s.IntN(20) {
			dp.QuantileValues().AppendEmpty().SetQuantile(float64(s.IntN(25)) / 10)
		}
	}
	for _, q := range dp.QuantileValues().All() {
		q.SetValue(s.float())
	}
	dp.SetCount(uint64(s.IntN(10)))
	dp.SetSum(s.float())
}

// sliceOf is a slice of pdata.
type sliceOf[T any] interface {
	Len() int
	At(int) T
	AppendEmpty() T
	RemoveIf(func(T) bool)
}

// changePoints changes points, and adds copies of them, or removes some.
func changePoints[T interface{ CopyTo(T) }](s *similar, of sliceOf[T], most int, change func(T)) {
	if of.Len() > most || s.rarely(10) {
		of.RemoveIf(func(T) bool { return s.rarely(2) })
	}
	for i := range of.Len() {
		change(of.At(i))
	}
	for of.Len() == 0 || s.rarely(2) {
		n := of.Len()
		p := of.AppendEmpty()
		if n > 0 && !s.rarely(20) {
			of.At(s.IntN(n)).CopyTo(p)
		}
		change(p)
	}
}

func (s *similar) metric(m pmetric.Metric) {
	if m.Name() == "" || s.rarely(10) {
		m.SetName(pick(s.Rand, "x", "x.y", "x_y", "x_total", "x_count", "x_bucket", "target_info", "requests", "9", "é", "http.server.request.duration"))
		m.SetUnit(pick(s.Rand, "", "s", "By", "1"))
		m.SetDescription(pick(s.Rand, "", "help", "other help", "\xff"))
	}
	if m.Type() == pmetric.MetricTypeEmpty || s.rarely(20) {
		switch s.IntN(5) {
		case 0:
			m.SetEmptyGauge()
		case 1:
			m.SetEmptySum().SetIsMonotonic(!s.rarely(3))
			m.Sum().SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
		case 2:
			m.SetEmptyHistogram().SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
		case 3:
			m.SetEmptyExponentialHistogram().SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
		case 4:
			m.SetEmptySummary()
		}
	}
	switch m.Type() {
	case pmetric.MetricTypeGauge:
		changePoints(s, m.Gauge().DataPoints(), s.most, s.number)
	case pmetric.MetricTypeSum:
		changePoints(s, m.Sum().DataPoints(), s.most, s.number)
	case pmetric.MetricTypeHistogram:
		changePoints(s, m.Histogram().DataPoints(), s.most, s.histogram)
	case pmetric.MetricTypeExponentialHistogram:
		changePoints(s, m.ExponentialHistogram().DataPoints(), s.most, s.exponential)
	case pmetric.MetricTypeSummary:
		changePoints(s, m.Summary().DataPoints(), s.most, s.summary)
	}
}

// next is the next payload. Half of them have their strings where no payload before had them.
func (s *similar) next() pmetric.Metrics {
	s.now += pcommon.Timestamp(s.IntN(3)) * 1e6
	changePoints(s, s.md.ResourceMetrics(), 3, func(rm pmetric.ResourceMetrics) {
		if s.rarely(3) {
			s.attributes(rm.Resource().Attributes())
		}
		if s.rarely(8) {
			rm.Resource().Attributes().PutStr(pick(s.Rand, "service.name", "service.namespace", "service.instance.id"), s.value())
		}
		changePoints(s, rm.ScopeMetrics(), 2, func(sm pmetric.ScopeMetrics) {
			if s.rarely(6) {
				s.attributes(sm.Scope().Attributes())
			}
			if s.rarely(8) {
				sm.Scope().SetName(s.value())
			}
			changePoints(s, sm.Metrics(), 4, s.metric)
		})
	})
	md := pmetric.NewMetrics()
	s.md.CopyTo(md)
	if s.rarely(2) {
		return md
	}
	encoded, err := new(pmetric.ProtoMarshaler).MarshalMetrics(md)
	if err != nil {
		panic(err)
	}
	if md, err = new(pmetric.ProtoUnmarshaler).UnmarshalMetrics(encoded); err != nil {
		panic(err)
	}
	return md
}

// sentChunk is a chunk with all that is known of it.
type sentChunk struct {
	partition int
	tally     tally
	sizes     sizes
	index     []indexEntry
	body      []byte
}

// chunksOf translates a payload. Its chunks join those that wait.
func chunksOf(tr *testTranslator, md pmetric.Metrics, waiting *batch) (chunks []sentChunk, drops [account.Reasons]int) {
	tr.translate(md)
	defer tr.reset()
	for _, i := range tr.touched {
		for j := range tr.segments[i].chunks {
			c := &tr.segments[i].chunks[j]
			chunks = append(chunks, sentChunk{i, c.tally, c.sizes, slices.Clone(c.index), body(tr.protocol, []*chunk{&c.chunk})})
			if full := waiting.append(&c.chunk, home{}); full != nil {
				full.pack()
			}
		}
	}
	for r := range tr.drops {
		drops[r] = tr.drops[r].Count
	}
	return chunks, drops
}

// similarPayloads makes payloads for a translator that checks what becomes of each. Its caches have room for all, for some or for
// nothing, and it goes from one version of the protocol to the other.
func similarPayloads(t *testing.T, n uint64, payloads int, checked func(*testing.T, *Config) (*testTranslator, func(pmetric.Metrics))) {
	r := rand.New(rand.NewPCG(n, 3))
	defer func(siblings, symbols int) { minSiblings, mostSymbols = siblings, symbols }(minSiblings, mostSymbols)
	minSiblings, mostSymbols = pick(r, 2, 3, minSiblings), pick(r, 20, 200, mostSymbols)
	cfg, s := variedConfig(n), newSimilar(r)
	// While points step back in time, it is not known which of them are duplicates, and so which are the last of a resource.
	cfg.TargetInfo.Enabled = cfg.TargetInfo.Enabled && !s.steps
	tr, check := checked(t, cfg)
	room := []int64{tr.caches.size, tr.caches.size, 0, 100 << 10, 500 << 10}
	for i := range payloads {
		if i == 0 || s.rarely(8) {
			tr.caches.size = pick(r, room...)
		}
		if s.rarely(16) {
			cfg.ProtobufMessage = pick(r, MessageV1, MessageV2)
			tr.protocol = newTestTranslator(cfg).protocol
		}
		if check(s.next()); t.Failed() {
			t.Fatalf("round %d, payload %d", n, i)
		}
	}
}

// byTheRules compares with the reference, which takes many times as long as likeNew.
func byTheRules(t *testing.T, cfg *Config) (*testTranslator, func(pmetric.Metrics)) {
	c := newComparison(cfg)
	return c.translator, func(md pmetric.Metrics) { c.check(t, md) }
}

// likeNew compares with a new translator, which has nothing but a memory of the bounds that were sent. What several payloads are
// together in a request is compared with what each is in its own.
func likeNew(t *testing.T, cfg *Config) (*testTranslator, func(pmetric.Metrics)) {
	tr, memory := newTestTranslator(cfg), newBoundMemory(time.Hour)
	var waiting batch
	var apart []string
	payloads, composed := 0, tr.protocol
	return tr, func(md pmetric.Metrics) {
		// To read requests takes most of the time, so most payloads are in none.
		if payloads++; payloads%10 == 3 || tr.protocol != composed {
			if len(apart) > 0 {
				require.Equal(t, apart, meaning(t, composed, body(composed, waiting.chunks)), "a request of several payloads")
			}
			waiting, apart, composed = batch{}, nil, tr.protocol
		}
		fresh := newTestTranslator(cfg)
		fresh.memory = memory
		want, wantDrops := chunksOf(fresh, md, &batch{})
		got, gotDrops := chunksOf(tr, md, &waiting)
		assert.Equal(t, wantDrops, gotDrops, "drops")
		requireSameChunks(t, tr.protocol, want, got)
		if payloads%10 >= 3 {
			waiting = batch{}
			return
		}
		for i := range want {
			apart = append(apart, meaning(t, tr.protocol, want[i].body)...)
		}
	}
}

// requireSameChunks compares what is known of chunks, and what they mean if their bytes are not the same.
func requireSameChunks(t *testing.T, p wire.Protocol, want, got []sentChunk) {
	t.Helper()
	require.Len(t, got, len(want), "chunks")
	for i := range want {
		w, g := want[i], got[i]
		if !bytes.Equal(w.body, g.body) {
			require.Equal(t, meaning(t, p, w.body), meaning(t, p, g.body))
			g.body = w.body
		}
		require.Equal(t, w, g)
	}
}

// meaning is all that a message says, in its order.
func meaning(t *testing.T, p wire.Protocol, body []byte) (lines []string) {
	for _, s := range decodeMessage(t, p, body) {
		lines = append(lines, fmt.Sprint(seriesString(s.Labels), " ", pointString(t, s.TimeSeries), " ", s.origin))
	}
	return lines
}

// TestSimilarPayloads: a translator that has translated many payloads makes of one that differs in little exactly what a new one
// does, and what the rules say.
func TestSimilarPayloads(t *testing.T) {
	first, rounds, payloads := seed(t), uint64(40), 15
	if raceDetector {
		rounds = 4
	}
	for i := range rounds {
		similarPayloads(t, first+i, payloads, likeNew)
		if i%10 == 0 {
			similarPayloads(t, first+i, payloads, byTheRules)
		}
	}
}

// FuzzSimilarPayloads is the same for as long as it is run. An input that takes ten seconds, on any machine, is one that hangs.
func FuzzSimilarPayloads(f *testing.F) {
	f.Add(uint64(0))
	f.Fuzz(func(t *testing.T, n uint64) {
		similarPayloads(t, n, 10, likeNew)
		similarPayloads(t, n, 3, byTheRules)
	})
}
