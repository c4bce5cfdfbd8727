// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
)

// prompbSeries is what the series must be in prompb's types.
func (s *series) prompbSeries() prompb.TimeSeries {
	labels := func(from []Label) []prompb.Label {
		var to []prompb.Label
		for _, l := range from {
			to = append(to, prompb.Label{Name: l.Name, Value: l.Value})
		}
		return to
	}
	ts := prompb.TimeSeries{Labels: labels(s.labels)}
	if s.histogram == nil {
		ts.Samples = []prompb.Sample{{Value: s.value, Timestamp: s.timestamp}}
	} else {
		h := s.histogram
		spans := func(from []Span) []prompb.BucketSpan {
			var to []prompb.BucketSpan
			for _, span := range from {
				to = append(to, prompb.BucketSpan{Offset: span.Offset, Length: span.Length})
			}
			return to
		}
		ts.Histograms = []prompb.Histogram{{
			Count: &prompb.Histogram_CountInt{CountInt: h.Count}, Sum: h.Sum, Schema: h.Schema, ZeroThreshold: h.ZeroThreshold,
			ZeroCount:     &prompb.Histogram_ZeroCountInt{ZeroCountInt: h.ZeroCount},
			NegativeSpans: spans(h.NegativeSpans), NegativeDeltas: h.NegativeDeltas,
			PositiveSpans: spans(h.PositiveSpans), PositiveDeltas: h.PositiveDeltas,
			CustomValues: h.CustomValues, Timestamp: s.timestamp,
		}}
	}
	for _, e := range s.exemplars {
		ts.Exemplars = append(ts.Exemplars, prompb.Exemplar{Labels: labels(e.Labels), Value: e.Value, Timestamp: e.Timestamp})
	}
	return ts
}

// sameV1 compares messages by their encoding, in which NaNs are equal to themselves.
func sameV1(t *testing.T, want, got prompb.WriteRequest) {
	t.Helper()
	w, err := want.Marshal()
	require.NoError(t, err)
	g, err := got.Marshal()
	require.NoError(t, err)
	assert.Equal(t, w, g)
}

func TestV1IsWhatPrompbReads(t *testing.T) {
	repeat(t, 1000, func(t *testing.T, r random) {
		var raw []byte
		var want, got prompb.WriteRequest
		for _, s := range r.many(1 + r.IntN(4)) {
			raw = s.appendV1(raw)
			want.Timeseries = append(want.Timeseries, s.prompbSeries())
		}
		require.NoError(t, got.Unmarshal(raw))
		sameV1(t, want, got)
	})
}

// TestHistogramsAreWrittenAsPrometheusWritesThem, byte by byte: a span that begins at index 0 has no offset.
func TestHistogramsAreWrittenAsPrometheusWritesThem(t *testing.T) {
	repeat(t, 1000, func(t *testing.T, r random) {
		s := r.many(1)[0]
		s.labels, s.exemplars = nil, nil
		s.histogram = &Histogram{
			Schema: CustomBucketsSchema, Count: 1, CustomValues: []float64{1, 2},
			PositiveSpans: []Span{{Length: 1}, {Offset: r.Int32N(5), Length: r.Uint32N(3)}}, PositiveDeltas: []int64{1, 0},
		}
		ts := s.prompbSeries()
		want, err := ts.Marshal()
		require.NoError(t, err)
		got, _ := AppendHistogram(nil, s.histogram, s.timestamp, nil)
		assert.Equal(t, want, got)
	})
}

// resolved is a series of a 2.0 message with its strings in place of references, so that messages with different tables
// can be compared.
type resolved struct {
	labels     []string
	rest       string
	help, unit string
	exemplars  [][]string
}

func resolve(t *testing.T, r *writev2.Request) []resolved {
	t.Helper()
	strs := func(refs []uint32) []string {
		var s []string
		for _, ref := range refs {
			require.Less(t, int(ref), len(r.Symbols))
			s = append(s, r.Symbols[ref])
		}
		return s
	}
	var all []resolved
	for _, ts := range r.Timeseries {
		s := resolved{labels: strs(ts.LabelsRefs), help: strs([]uint32{ts.Metadata.HelpRef})[0], unit: strs([]uint32{ts.Metadata.UnitRef})[0]}
		ts.LabelsRefs, ts.Metadata.HelpRef, ts.Metadata.UnitRef = nil, 0, 0
		exemplars := append([]writev2.Exemplar(nil), ts.Exemplars...)
		for i := range exemplars {
			s.exemplars = append(s.exemplars, strs(exemplars[i].LabelsRefs))
			exemplars[i].LabelsRefs = nil
		}
		ts.Exemplars = exemplars
		rest, err := ts.Marshal()
		require.NoError(t, err)
		s.rest = string(rest)
		all = append(all, s)
	}
	return all
}

// writev2Request is what the series must be in the types of Prometheus, encoded by its own symbol table.
func writev2Request(all []*series) *writev2.Request {
	symbols := writev2.NewSymbolTable()
	refs := func(labels []Label) []uint32 {
		var refs []uint32
		for _, l := range labels {
			refs = append(refs, symbols.Symbolize(l.Name), symbols.Symbolize(l.Value))
		}
		return refs
	}
	r := &writev2.Request{}
	for _, s := range all {
		v1 := s.prompbSeries()
		ts := writev2.TimeSeries{LabelsRefs: refs(s.labels)}
		for _, p := range v1.Samples {
			ts.Samples = append(ts.Samples, writev2.Sample{Value: p.Value, Timestamp: p.Timestamp, StartTimestamp: s.start})
		}
		for i := range v1.Histograms {
			encoded, err := v1.Histograms[i].Marshal()
			if err != nil {
				panic(err)
			}
			var h writev2.Histogram
			if err := h.Unmarshal(encoded); err != nil {
				panic(err)
			}
			h.StartTimestamp = s.start
			ts.Histograms = append(ts.Histograms, h)
		}
		for _, e := range s.exemplars {
			ts.Exemplars = append(ts.Exemplars, writev2.Exemplar{LabelsRefs: refs(e.Labels), Value: e.Value, Timestamp: e.Timestamp})
		}
		ts.Metadata = writev2.Metadata{
			Type: writev2.Metadata_MetricType(s.metadata), HelpRef: symbols.Symbolize(s.help), UnitRef: symbols.Symbolize(s.unit),
		}
		r.Timeseries = append(r.Timeseries, ts)
	}
	r.Symbols = symbols.Symbols()
	return r
}

func unmarshalV2(t *testing.T, raw []byte) *writev2.Request {
	t.Helper()
	var r writev2.Request
	require.NoError(t, r.Unmarshal(raw))
	require.NotEmpty(t, r.Symbols)
	assert.Empty(t, r.Symbols[0])
	seen := make(map[string]bool)
	for _, s := range r.Symbols {
		assert.False(t, seen[s], "%q is twice in the table", s)
		seen[s] = true
	}
	return &r
}

func TestV2IsWhatPrometheusReads(t *testing.T) {
	repeat(t, 1000, func(t *testing.T, r random) {
		all := r.many(1 + r.IntN(4))
		got, want := unmarshalV2(t, messageV2(all)), writev2Request(all)
		assert.Equal(t, resolve(t, want), resolve(t, got))
		assert.ElementsMatch(t, want.Symbols, got.Symbols)
	})
}

// TestSymbols compares the table with that of Prometheus, through several resets and with more strings than it has had
// room for.
func TestSymbols(t *testing.T) {
	r := newRandom(1)
	var s Symbols
	for range 20 {
		want := writev2.NewSymbolTable()
		for range 1 << r.IntN(14) {
			symbol := pick(r, r.string(), strings.Repeat("k", r.IntN(2000)))
			ref := s.Ref(symbol)
			assert.Equal(t, want.Symbolize(symbol), ref)
			assert.Equal(t, ref, s.RefBytes([]byte(symbol), Hash(symbol)))
		}
		assert.Equal(t, len(want.Symbols()), s.Len())
		table := s.AppendTo(nil)
		assert.Len(t, table, s.Size())
		var got writev2.Request
		require.NoError(t, got.Unmarshal(table))
		assert.Equal(t, want.Symbols(), got.Symbols)
		generation := s.Generation()
		s.Reset()
		assert.NotEqual(t, generation, s.Generation())
		assert.Equal(t, emptySymbol, s.Size())
		assert.Equal(t, 1, s.Len())
	}
}

// TestBounds has the sizes that the encoders promise not to exceed.
func TestBounds(t *testing.T) {
	repeat(t, 1000, func(t *testing.T, r random) {
		s := r.series()
		assert.LessOrEqual(t, len(AppendSample(nil, s.value, s.timestamp)), MaxSampleLen)
		assert.LessOrEqual(t, len(AppendSampleV2(nil, s.value, s.timestamp, s.start)), MaxSampleLen)
		h := r.histogram()
		v1, _ := AppendHistogram(nil, h, s.timestamp, nil)
		assert.LessOrEqual(t, len(v1), h.MaxLen())
		v2, _ := AppendHistogramV2(nil, h, s.timestamp, s.start, nil)
		assert.LessOrEqual(t, len(v2), h.MaxLen())
		e := r.exemplar()
		assert.LessOrEqual(t, len(AppendExemplar(nil, e)), e.MaxLen())
		assert.LessOrEqual(t, len(AppendSeriesHeader(nil, math.MaxInt32)), MaxSeriesHeaderLen)

		// A label, an exemplar and metadata whose strings are all new, with the longest references.
		var symbols Symbols
		const longest = 5
		for _, l := range s.labels {
			inV1 := len(AppendLabel(nil, l.Name, l.Value))
			assert.LessOrEqual(t, inV1, len(l.Name)+len(l.Value)+2*MaxLabelOverhead)
			if l.Name == "" || l.Value == "" || l.Name == l.Value {
				continue
			}
			symbols.Reset()
			before := symbols.Size()
			symbols.Ref(l.Name)
			symbols.Ref(l.Value)
			assert.LessOrEqual(t, symbols.Size()-before+2*longest, 2*inV1, "%q", l)
		}
		symbols.Reset()
		before := symbols.Size()
		encoded, _ := AppendExemplarV2(nil, e, &symbols, nil)
		assert.LessOrEqual(t, len(encoded)+symbols.Size()-before, e.MaxLen())
		symbols.Reset()
		m := Metadata{Type: s.metadata, Help: symbols.Ref(s.help), Unit: symbols.Ref(s.unit)}
		assert.LessOrEqual(t, len(AppendMetadata(nil, m))+symbols.Size()-before, len(s.help)+len(s.unit)+MaxMetadataLen)
		m.Help, m.Unit = math.MaxUint32, math.MaxUint32
		assert.LessOrEqual(t, len(AppendMetadata(nil, m)), 4+2*(1+longest))
	})
}

func TestUvarintLen(t *testing.T) {
	for shift := range 64 {
		for _, v := range []uint64{1<<shift - 1, 1 << shift, 1<<shift + 1} {
			assert.Len(t, appendUint(nil, 1, max(v, 1)), 1+UvarintLen(max(v, 1)))
		}
	}
	assert.Equal(t, 1, UvarintLen(0))
}

// TestNextSeries takes a 1.0 message apart.
func TestNextSeries(t *testing.T) {
	repeat(t, 500, func(t *testing.T, r random) {
		all := r.many(1 + r.IntN(5))
		var raw []byte
		for _, s := range all {
			raw = s.appendV1(raw)
		}
		whole := raw
		var frames []byte
		for _, s := range all {
			frame, encoded, rest, err := NextSeries(raw)
			require.NoError(t, err)
			frames = append(frames, frame...)
			var got prompb.TimeSeries
			require.NoError(t, got.Unmarshal(encoded))
			sameV1(t, prompb.WriteRequest{Timeseries: []prompb.TimeSeries{s.prompbSeries()}}, prompb.WriteRequest{Timeseries: []prompb.TimeSeries{got}})
			checkPoint(t, s, encoded, SeriesPoint)
			labels, err := SeriesLabels(nil, encoded)
			require.NoError(t, err)
			assert.Equal(t, s.labels, labels)
			for _, l := range labels {
				value, ok := FindLabel(encoded, l.Name)
				assert.True(t, ok)
				first := labels[slices.IndexFunc(labels, func(other Label) bool { return other.Name == l.Name })]
				assert.Equal(t, first.Value, string(value))
			}
			_, ok := FindLabel(encoded, "of no label")
			assert.False(t, ok)
			raw = rest
		}
		assert.Empty(t, raw)
		assert.Equal(t, whole, frames)
	})
}

func checkPoint(t *testing.T, s *series, encoded []byte, read func([]byte) (int64, bool, error)) {
	t.Helper()
	timestamp, histogram, err := read(encoded)
	require.NoError(t, err)
	assert.Equal(t, s.timestamp, timestamp)
	assert.Equal(t, s.histogram != nil, histogram)
}

// TestParseV2 takes a 2.0 message apart.
func TestParseV2(t *testing.T) {
	var again ParsedV2
	repeat(t, 500, func(t *testing.T, r random) {
		all := r.many(1 + r.IntN(5))
		raw := messageV2(all)
		p, err := ParseV2(raw)
		require.NoError(t, err)
		require.Len(t, p.Series, len(all))
		for i, s := range all {
			checkPoint(t, s, p.Series[i], SeriesPointV2)
			labels, err := p.Labels(p.Series[i])
			require.NoError(t, err)
			assert.Equal(t, s.labels, labels)
			n, err := CountExemplarsV2(p.Series[i])
			require.NoError(t, err)
			assert.Equal(t, len(s.exemplars), n)
		}
		require.NoError(t, again.Parse(raw))
		assert.Equal(t, p, again)
	})
}

func TestSeriesWithoutAPoint(t *testing.T) {
	for _, read := range []func([]byte) (int64, bool, error){SeriesPoint, SeriesPointV2} {
		_, _, err := read(AppendLabel(nil, "a", "b"))
		assert.ErrorIs(t, err, ErrMalformed)
		_, _, err = read(nil)
		assert.ErrorIs(t, err, ErrMalformed)
	}
	labels, err := new(ParsedV2).Labels(nil)
	require.NoError(t, err)
	assert.Empty(t, labels)
}

// TestMerger makes a message of parts of several, with the symbols that it uses and no others.
func TestMerger(t *testing.T) {
	var m Merger
	repeat(t, 500, func(t *testing.T, r random) {
		m.Reset()
		var kept []*series
		for range 1 + r.IntN(4) {
			part := r.many(1 + r.IntN(5))
			p, err := ParseV2(messageV2(part))
			require.NoError(t, err)
			var chosen [][]byte
			for i, s := range part {
				if r.IntN(3) > 0 {
					chosen = append(chosen, p.Series[i])
					kept = append(kept, s)
				}
			}
			require.NoError(t, m.Add(&p, chosen))
		}
		got, want := unmarshalV2(t, m.Message(nil)), writev2Request(kept)
		assert.Equal(t, resolve(t, want), resolve(t, got))
		assert.ElementsMatch(t, want.Symbols, got.Symbols)
	})
}

// TestMergerOfManySymbols has references of one, two and three bytes.
func TestMergerOfManySymbols(t *testing.T) {
	r := newRandom(3)
	var m Merger
	var all []*series
	for part := range 5 {
		several := r.many(200)
		for i, s := range several {
			for j := range 20 {
				s.labels = append(s.labels, Label{strings.Repeat("n", 1+j), strings.Repeat("v", part+1) + string(rune(i)) + string(rune(j))})
			}
		}
		all = append(all, several...)
		p, err := ParseV2(messageV2(several))
		require.NoError(t, err)
		require.NoError(t, m.Add(&p, p.Series))
	}
	got := unmarshalV2(t, m.Message(nil))
	assert.Greater(t, len(got.Symbols), 1<<14)
	assert.Equal(t, resolve(t, writev2Request(all)), resolve(t, got))
}

func TestAppendSeriesAsV1(t *testing.T) {
	accept := func(labels []Label) bool {
		for _, l := range labels {
			if l.Name == "refused" {
				return false
			}
		}
		return true
	}
	repeat(t, 1000, func(t *testing.T, r random) {
		all := r.many(5)
		var want prompb.WriteRequest
		var expected []bool
		for _, s := range all {
			switch r.IntN(6) {
			case 0:
				s.labels = append(s.labels, Label{"refused", "x"})
			case 1:
				s.histogram = r.histogram()
				s.histogram.Schema = CustomBucketsSchema
			case 2:
				s.exemplars = append(s.exemplars, &Exemplar{Labels: []Label{{"refused", "x"}, {"taken", "y"}}, Value: 1})
			}
			ok := accept(s.labels) && (s.histogram == nil || s.histogram.Schema != CustomBucketsSchema)
			expected = append(expected, ok)
			if !ok {
				continue
			}
			ts := s.prompbSeries()
			for i := range ts.Exemplars {
				e := &ts.Exemplars[i]
				if n := len(e.Labels); n > 0 && e.Labels[0].Name == "refused" {
					e.Labels = e.Labels[1:]
				}
			}
			want.Timeseries = append(want.Timeseries, ts)
		}
		p, err := ParseV2(messageV2(all))
		require.NoError(t, err)
		var raw []byte
		for i := range p.Series {
			before := len(raw)
			var ok bool
			raw, ok, err = p.AppendSeriesAsV1(raw, p.Series[i], accept)
			require.NoError(t, err)
			assert.Equal(t, expected[i], ok)
			assert.Equal(t, ok, len(raw) > before)
		}
		var got prompb.WriteRequest
		require.NoError(t, got.Unmarshal(raw))
		sameV1(t, want, got)
	})
}

// TestChosenSymbolsAreFoundQuickly: strings whose unkeyed hashes begin in the same slot are as quick to find as others.
func TestChosenSymbolsAreFoundQuickly(t *testing.T) {
	const n = 10_000
	r := rand.New(rand.NewPCG(1, 2))
	var s Symbols
	for range n {
		s.Ref(rwtest.Forge(r, r.Uint64()<<20))
	}
	steps := 0
	for at, slot := range s.slots {
		if slot.ref != 0 {
			steps += (at - int(s.spans[slot.ref-1].hash)) & (len(s.slots) - 1)
		}
	}
	assert.Less(t, steps/n, 10, "steps of a search on average")
}
