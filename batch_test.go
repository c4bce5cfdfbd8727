package orderedremotewriteexporter

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/golang/snappy"
	"github.com/klauspost/compress/s2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/block"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// TestJoinedChunks: chunks that were compressed for themselves, others that were not, and such that lose series become a body
// that every decoder of Snappy reads as their bytes in a row, without those series.
func TestJoinedChunks(t *testing.T) {
	s := seed(t)
	r := rand.New(rand.NewPCG(s, 0))
	series := func() []byte {
		b := bytes.Repeat([]byte(fmt.Sprint(r.IntN(20))), r.IntN(200))
		for range r.IntN(100) {
			b = append(b, byte(r.Uint32()))
		}
		return append(wire.AppendSeriesHeader(nil, len(b)), b...)
	}
	for range 300 {
		b, p := &batch{protocol: wire.V1}, &partition{}
		var want []byte
		for range 1 + r.IntN(10) {
			segment := segment{tally: tally{Counts: account.Counts{Samples: 1}}}
			var excised []indexEntry
			for i := range r.IntN(200 + r.IntN(200)) {
				start := segment.packed + len(segment.plain)
				one := series()
				segment.plain = append(segment.plain, one...)
				if r.IntN(10) == 0 {
					excised = append(excised, indexEntry{number: i, start: start, end: start + len(one)})
				} else {
					want = append(want, one...)
				}
				if len(segment.plain) >= block.Size {
					segment.pack(block.Size)
				}
			}
			segment.finish()
			p.mu.Lock()
			before := b.cost()
			full := b.append(&segment, excised, 0)
			assert.LessOrEqual(t, b.cost()-before, segment.cost(), "what is asked for is enough")
			p.mu.Unlock()
			if full != nil {
				go job{p, b, full}.run()
			}
		}
		if len(want) == 0 {
			continue
		}
		p.mu.Lock()
		cost := b.cost()
		p.mu.Unlock()
		body := b.encoded()
		got, err := snappy.Decode(nil, body)
		require.NoError(t, err)
		assert.True(t, bytes.Equal(want, got), "golang/snappy")
		got, err = s2.Decode(nil, body)
		require.NoError(t, err)
		assert.True(t, bytes.Equal(want, got), "klauspost/compress")
		assert.LessOrEqual(t, int64(len(body)), cost)
		assert.LessOrEqual(t, b.cost(), cost)
	}
}

// TestPackingTakesNoRoom: what is compressed in blocks as it comes takes as many bytes as in one piece, but for the size of
// the last block.
func TestPackingTakesNoRoom(t *testing.T) {
	md := benchGauges(20_000, 20)
	cfg := configOf(func(c *Config) { c.Partitions, c.Batch.MaxSamples, c.Batch.MaxSizeBytes = 1, 1<<20, 1<<30 })
	tr := newTranslator(testTranslation(cfg), newBoundMemory(0), nil)
	for i := range md {
		setTimes(md[i], 1e18)
		require.NoError(t, tr.translate(t.Context(), md[i], wire.V1))
		body := tr.segments[0].body()
		whole := block.Compress(block.Decompress(body))
		assert.Greater(t, tr.segments[0].packed, 10*block.Size)
		assert.InEpsilon(t, len(whole), len(body), 0.01)
		tr.reset()
	}
}
