// SPDX-License-Identifier: Apache-2.0

package block

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/golang/snappy"
	"github.com/klauspost/compress/s2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// decoded reads the block format with two decoders that must agree.
func decoded(t testing.TB, body []byte) []byte {
	got, err := snappy.Decode(nil, body)
	require.NoError(t, err)
	other, err := s2.Decode(nil, body)
	require.NoError(t, err)
	require.Equal(t, got, other)
	return got
}

// randomSeries is a series of which some labels are those of others, some have another value or another length, and some are
// missing.
func randomSeries(r *rand.Rand, longest int) []byte {
	var labels []byte
	for i := range 1 + r.IntN(12) {
		name := fmt.Sprintf("label_%02d", i)
		switch r.IntN(8) {
		case 0:
		case 1:
			labels = wire.AppendLabel(labels, name, fmt.Sprint(r.Uint64()>>r.IntN(64)))
		case 2:
			labels = wire.AppendLabel(labels, name, strings.Repeat("long ", r.IntN(longest))+fmt.Sprint(r.IntN(10)))
		case 3:
			labels = wire.AppendLabel(labels, strings.Repeat(name, 1+r.IntN(20)), "value")
		default:
			labels = wire.AppendLabel(labels, name, "the same value of a label")
		}
	}
	labels = wire.AppendSample(labels, float64(r.IntN(5)), int64(1+r.IntN(3)))
	return append(wire.AppendSeriesHeader(nil, len(labels)), labels...)
}

// TestJoinerKeepsBytes: whatever is joined, decoders read the bytes in a row.
func TestJoinerKeepsBytes(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	var j Joiner
	for range 400 {
		j.Reset()
		var want []byte
		apart, longest := 0, 1+r.IntN(60)
		if r.IntN(10) == 0 {
			longest = 20_000
		}
		for range 1 + r.IntN(12) {
			var run []byte
			for range 1 + r.IntN(1+r.IntN(60)) {
				run = append(run, randomSeries(r, longest)...)
			}
			want = append(want, run...)
			elements := AppendElements(nil, run)
			apart += len(elements)
			switch r.IntN(8) {
			case 0:
				j.AddPlain(run)
			case 1:
				// What was joined is joined again.
				var inner Joiner
				inner.Add(elements, len(run))
				inner.Add(elements, len(run))
				want = append(want, run...)
				apart += len(elements)
				j.Add(inner.Elements(), inner.Size())
			default:
				j.Add(elements, len(run))
			}
		}
		require.Equal(t, len(want), j.Size())
		require.True(t, bytes.Equal(want, decoded(t, WithSize(j.Elements(), j.Size()))))
		require.LessOrEqual(t, len(j.Elements()), apart)
	}
}

// TestJoinerTakesAnything: elements need not be of series.
func TestJoinerTakesAnything(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 0))
	var j Joiner
	for range 2000 {
		j.Reset()
		var want []byte
		for range 1 + r.IntN(4) {
			run := []byte{10, byte(r.Uint32()), 10, byte(r.Uint32())}
			for range r.IntN(300) {
				run = append(run, byte(r.Uint32()>>r.IntN(32)))
			}
			want = append(want, run...)
			j.Add(AppendElements(nil, run), len(run))
		}
		require.True(t, bytes.Equal(want, decoded(t, WithSize(j.Elements(), j.Size()))))
	}
}

// TestJoinedFirstSeriesAreSmall: the first series of what was compressed on its own takes little more in a row than the
// others, unless the one before is out of reach.
func TestJoinedFirstSeriesAreSmall(t *testing.T) {
	series := func(i int) []byte {
		var b []byte
		for l := range 20 {
			b = wire.AppendLabel(b, fmt.Sprintf("attribute_name_%02d", l), fmt.Sprintf("value-%02d-%d", l, i/(1+l)))
		}
		b = wire.AppendSample(b, float64(i), 1_700_000_000_000)
		return append(wire.AppendSeriesHeader(nil, len(b)), b...)
	}
	joinedRuns := func(each int) (joined, apart int) {
		var j Joiner
		for i := range 8 {
			var run []byte
			for k := range each {
				run = append(run, series(1000+i+100*k)...)
			}
			elements := AppendElements(nil, run)
			apart += len(elements)
			j.Add(elements, len(run))
		}
		return len(j.Elements()), apart
	}
	joined, apart := joinedRuns(10)
	assert.Greater(t, apart-joined, 7*200, "of %d bytes", apart)
	joined, apart = joinedRuns(100)
	assert.Equal(t, apart, joined, "a copy reaches back less than %d bytes", Size)
}

// TestCopies: elements copy any number of bytes from any distance.
func TestCopies(t *testing.T) {
	raw := make([]byte, 1<<17)
	for i := range raw {
		raw[i] = byte(rand.Uint32())
	}
	for _, offset := range []int{200, 2047, 2048, 65535} {
		for n := 4; n < 200; n++ {
			body := appendLiteral(nil, raw[:offset])
			body = appendCopy(body, offset, n)
			assert.Equal(t, raw[:n], decoded(t, WithSize(body, offset+n))[offset:])
		}
	}
}
