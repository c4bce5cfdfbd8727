// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/klauspost/compress/s2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/block"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// TestJoinedChunks: chunks that were compressed for themselves, plain ones, small ones that were copied together and such that
// a job packs meanwhile become a body that every decoder of Snappy reads as their bytes in a row.
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
	limits := BatchConfig{MaxSamples: 1 << 20, MaxSizeBytes: 1 << 30}
	for range 300 {
		q := newQueue(queueOptions{partitions: 1}, account.NewLedger())
		p := q.partitions[0]
		var want []byte
		for range 1 + r.IntN(10) {
			c := &chunk{tally: tally{Counts: account.Counts{Samples: 1}}, accepted: time.Now()}
			for range r.IntN(200 + r.IntN(200)) {
				c.plain = append(c.plain, series()...)
			}
			want = append(want, c.plain...)
			if c.borrowed = len(c.plain) < minPacked; !c.borrowed && r.IntN(2) == 0 {
				c.pack()
			}
			asked := c.cost()
			q.mu.Lock()
			before := p.size
			work := p.appendLocked(&p.good, c, &limits, nil)
			q.used += p.size - before
			assert.LessOrEqual(t, p.size-before, asked, "what is asked for is enough")
			q.mu.Unlock()
			for _, c := range work {
				go q.pack(c)
			}
		}
		q.mu.Lock()
		chunks := p.good.open.chunks
		q.mu.Unlock()
		if len(want) == 0 {
			continue
		}
		joined := body(wire.V1, chunks)
		got, err := snappy.Decode(nil, joined)
		require.NoError(t, err)
		assert.True(t, bytes.Equal(want, got), "golang/snappy")
		got, err = s2.Decode(nil, joined)
		require.NoError(t, err)
		assert.True(t, bytes.Equal(want, got), "klauspost/compress")
		q.mu.Lock()
		assert.Equal(t, chunksCost(chunks), p.size, "what the queue counts is what it holds")
		assert.LessOrEqual(t, int64(len(joined)), p.size+10)
		q.mu.Unlock()
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
		body := bodyOf(&tr.segments[0])
		whole := block.Compress(block.Decompress(body))
		assert.Greater(t, tr.segments[0].chunks[0].size, 10*block.Size)
		assert.InEpsilon(t, len(whole), len(body), 0.01)
		tr.reset()
	}
}
