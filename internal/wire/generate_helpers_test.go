// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
)

// random makes points and strings at and between the edges of their types.
type random struct{ *rand.Rand }

func newRandom(seed uint64) random { return random{rand.New(rand.NewPCG(seed, 0))} }

func pick[T any](r random, from ...T) T { return from[r.IntN(len(from))] }

func (r random) int64() int64 {
	return pick(r, 0, 1, -1, 127, 128, 1<<14, math.MaxInt32, math.MinInt32, math.MaxInt64, math.MinInt64, r.Int64(), -r.Int64N(1<<20))
}

func (r random) float() float64 {
	return pick(r, 0, math.Copysign(0, -1), 1, -1.5, math.NaN(), math.Inf(1), math.Inf(-1), math.MaxFloat64, math.SmallestNonzeroFloat64,
		math.Float64frombits(0x7ff0000000000002), r.NormFloat64(), math.Float64frombits(r.Uint64()))
}

func (r random) string() string {
	return pick(r, "", "a", "le", "日本", "\xff\x00", strings.Repeat("x", 127), strings.Repeat("y", 128), strings.Repeat("z", r.IntN(300)), fmt.Sprint(r.IntN(30)))
}

func (r random) labels(n int) []Label {
	labels := make([]Label, r.IntN(n+1))
	for i := range labels {
		labels[i] = Label{r.string(), r.string()}
	}
	return labels
}

func (r random) exemplar() *Exemplar {
	return &Exemplar{Labels: r.labels(4), Value: r.float(), Timestamp: r.int64()}
}

func (r random) histogram() *Histogram {
	h := &Histogram{
		Count: uint64(r.int64()), Sum: r.float(), Schema: int32(r.int64()), ZeroThreshold: r.float(), ZeroCount: uint64(r.int64()),
	}
	side := func() (spans []Span, deltas []int64) {
		for range r.IntN(5) {
			spans = append(spans, Span{int32(r.int64()), uint32(r.int64())})
		}
		for range r.IntN(20) {
			deltas = append(deltas, r.int64())
		}
		return spans, deltas
	}
	h.NegativeSpans, h.NegativeDeltas = side()
	h.PositiveSpans, h.PositiveDeltas = side()
	for range r.IntN(10) {
		h.CustomValues = append(h.CustomValues, r.float())
	}
	return h
}

// series is a series of one point.
type series struct {
	labels           []Label
	timestamp, start int64
	value            float64
	histogram        *Histogram
	exemplars        []*Exemplar
	metadata         MetricType
	help, unit       string
}

func (r random) series() *series {
	s := &series{
		labels: append(r.labels(6), Label{"__name__", "a" + r.string()}), timestamp: r.int64(), start: r.int64(), value: r.float(),
		metadata: MetricType(r.IntN(8)), help: r.string(), unit: r.string(),
	}
	if r.IntN(3) == 0 {
		s.histogram = r.histogram()
	}
	for range r.IntN(3) {
		s.exemplars = append(s.exemplars, r.exemplar())
	}
	return s
}

// appendV1 encodes the series as a frame of a 1.0 message.
func (s *series) appendV1(b []byte) []byte {
	var ts []byte
	for _, l := range s.labels {
		ts = AppendLabel(ts, l.Name, l.Value)
	}
	if s.histogram == nil {
		ts = AppendSample(ts, s.value, s.timestamp)
	} else {
		ts, _ = AppendHistogram(ts, s.histogram, s.timestamp, nil)
	}
	for _, e := range s.exemplars {
		ts = AppendExemplar(ts, e)
	}
	return append(AppendSeriesHeader(b, len(ts)), ts...)
}

// appendV2 encodes the series as one of a 2.0 message with the symbols.
func (s *series) appendV2(b []byte, symbols *Symbols) []byte {
	var refs, rest, scratch []byte
	for _, l := range s.labels {
		refs = AppendRefs(refs, symbols.Ref(l.Name), symbols.Ref(l.Value))
	}
	if s.histogram == nil {
		rest = AppendSampleV2(rest, s.value, s.timestamp, s.start)
	} else {
		rest, scratch = AppendHistogramV2(rest, s.histogram, s.timestamp, s.start, scratch)
	}
	for _, e := range s.exemplars {
		rest, scratch = AppendExemplarV2(rest, e, symbols, scratch)
	}
	rest = AppendMetadata(rest, Metadata{Type: s.metadata, Help: symbols.Ref(s.help), Unit: symbols.Ref(s.unit)})
	return AppendSeriesV2(b, refs, rest)
}

// messageV2 encodes series as a 2.0 message.
func messageV2(all []*series) []byte {
	var symbols Symbols
	var encoded []byte
	for _, s := range all {
		encoded = s.appendV2(encoded, &symbols)
	}
	return append(symbols.AppendTo(nil), encoded...)
}

func (r random) many(n int) []*series {
	all := make([]*series, n)
	for i := range all {
		all[i] = r.series()
	}
	return all
}

// repeat repeats a test with other random numbers each time.
func repeat(t *testing.T, times int, test func(t *testing.T, r random)) {
	t.Helper()
	seed := rand.Uint64()
	for i := range uint64(times) {
		if test(t, newRandom(seed+i)); t.Failed() {
			t.Fatalf("seed %d", seed+i)
		}
	}
}
