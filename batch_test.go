// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/klauspost/compress/s2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/block"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/buffers"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/remote"
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
		requireMessage(t, want, joined)
		q.mu.Lock()
		assert.Equal(t, chunksCost(chunks), p.size, "what the queue counts is what it holds")
		assert.LessOrEqual(t, int64(len(joined)), p.size+10)
		q.mu.Unlock()
	}
}

// requireMessage reads a body with two decoders of Snappy.
func requireMessage(t *testing.T, want, body []byte) {
	t.Helper()
	got, err := snappy.Decode(nil, body)
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, got), "golang/snappy")
	got, err = s2.Decode(nil, body)
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, got), "klauspost/compress")
}

// BenchmarkOpenBatch adds small runs that do not join each other to an open batch, like what is left of payloads with late samples. What
// one takes does not depend on how many there are.
func BenchmarkOpenBatch(b *testing.B) {
	for _, n := range []int{200, 2000} {
		b.Run(strconv.Itoa(n), func(b *testing.B) {
			limits := &BatchConfig{MaxSamples: n, MaxSizeBytes: 1 << 30}
			c := &chunk{tally: tally{Counts: account.Counts{Samples: 1}}, packed: make([]byte, 100)}
			for range b.N {
				p := &partition{}
				for range n {
					p.appendLocked(&p.late, c, limits, nil)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/run")
		})
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

// TestBodiesKeepTheirBytes: what chunks were made of is used again for the next ones, and no request that was composed before has
// any of it.
func TestBodiesKeepTheirBytes(t *testing.T) {
	type sent struct {
		request request
		body    []byte
	}
	for _, version := range []wire.Protocol{wire.V1, wire.V2} {
		for _, partitions := range []int{1, 4, 32} {
			cfg := configOf(func(c *Config) { c.Partitions, c.Batch.MaxSamples = partitions, 400 })
			p := newBenchPipeline(cfg)
			payloads := benchGauges(2_000, 10)
			ts := pcommon.NewTimestampFromTime(time.Now())
			var all []sent
			samples := 0
			for round := range 8 {
				md := payloads[round%len(payloads)]
				ts += 1_000_000
				setTimes(md, ts)
				require.NoError(t, p.t.translate(t.Context(), md, version))
				_, err := p.q.admit(t.Context(), &p.t.payload)
				require.NoError(t, err)
				p.t.reset()
				for d := p.next(); d != nil; d = p.next() {
					d.begun = time.Now()
					p.q.composed(d, d.compose())
					r := *d.next()
					all = append(all, sent{r, slices.Clone(r.body)})
					samples += r.Samples
					p.q.answered(d, &outcome{answer: &remote.Answer{Status: 204}}, 0)
					p.q.finished(d)
				}
			}
			require.Greater(t, samples, 4_000)
			for _, s := range all {
				require.True(t, bytes.Equal(s.body, s.request.body), "version %d, %d partitions", 1+version, partitions)
				require.Equal(t, s.request.Samples, s.request.contents().len())
			}
		}
	}
}

// TestBytesOfABodyAreKept: a packed chunk of 2.0 that is alone is the body, whose bytes are not used again.
func TestBytesOfABodyAreKept(t *testing.T) {
	const n = 5_000
	for range 100 {
		packed := buffers.Copy(bytes.Repeat([]byte{1}, n))
		c := &chunk{protocol: wire.V2, packed: packed}
		made := body(wire.V2, []*chunk{c})
		giveBytes([]*chunk{c}, made)
		other := append(buffers.Sized(n), 2)
		require.NotSame(t, &made[0], &other[0])
	}
}
