// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/block"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// sharing makes a payload of n series with a label value of so many bytes that they have in common, which does not compress. A
// message of 2.0 has it once, one of 1.0 n times.
func sharing(ts time.Time, n, size int) pmetric.Metrics {
	r := rand.New(rand.NewPCG(uint64(size), 0))
	var value strings.Builder
	for range size {
		value.WriteByte(byte('!' + r.IntN(90)))
	}
	md := gauge(ts, n)
	scope := md.ResourceMetrics().At(0).ScopeMetrics().At(0).Scope()
	scope.SetName(value.String())
	return md
}

// TestFallbackOfSharedStrings: what 2.0 has once becomes so many bytes of 1.0 that it must be cut before it is made.
func TestFallbackOfSharedStrings(t *testing.T) {
	const series, size = 300, 4000
	for name, unread := range unreadable {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := onlyV1(unread)
				h := newHarness(t, r, onePartition, messageV2, func(c *Config) { c.Batch.MaxSizeBytes = minBatchSize })
				for range 2 {
					h.consume(sharing(time.Now(), series, size))
					time.Sleep(time.Minute)
				}
				h.shutdown()
				assert.Equal(t, int64(2*series), h.delivered())
				assert.Empty(t, h.dropped())
				assert.Empty(t, r.Problems())
				for _, q := range r.requests {
					assert.LessOrEqual(t, block.DecompressedSize(q.Body), minBatchSize, "bytes of a message of %d.0", q.Version)
				}
			})
		})
	}
}

// sharingRequest is a request of 2.0 with n series that have a label value of so many bytes in common.
func sharingRequest(t *testing.T, n, size int) request {
	tr := newTestTranslator(configOf(func(c *Config) {
		c.Partitions, c.ProtobufMessage, c.Batch.MaxSamples = 1, MessageV2, n
	}))
	tr.translate(sharing(time.Now(), n, size))
	s := &tr.segments[0]
	require.Equal(t, n, talliesOf(s).Samples)
	return request{tally: talliesOf(s), protocol: wire.V2, body: bodyOf(s), shares: []int{n}}
}

// TestSharedStringsAreNotMultiplied: whatever is done with a message of 2.0 takes memory for its bytes, not for what all its labels
// would be.
func TestSharedStringsAreNotMultiplied(t *testing.T) {
	const series, size = 2000, 800_000
	r := sharingRequest(t, series, size)
	whole := int(r.size())
	sum := func(requests ...request) (n int) {
		for i := range requests {
			n += requests[i].Samples
		}
		return n
	}
	for name, f := range map[string]func(){
		"sorted by time": func() {
			kept, duplicates := r.sortByTime()
			assert.Equal(t, []int{series, 0}, []int{kept.Samples, duplicates.Samples})
		},
		"cut where a series steps back": func() { assert.Equal(t, series, sum(r.rising()...)) },
		"identified": func() {
			c, seen := r.contents(), make(map[uint64]bool)
			for i := range c.len() {
				seen[c.identity(i)] = true
			}
			assert.Len(t, seen, series)
		},
		"cut for a small limit": func() {
			pieces := r.pieces(minBatchSize)
			assert.Equal(t, series, sum(pieces...))
		},
		"sent as 1.0": func() {
			v1, _, later := r.asV1(r.size())
			assert.Equal(t, series, sum(v1, later))
		},
	} {
		t.Run(name, func(t *testing.T) {
			n := allocated(f)
			t.Logf("%d times the message", n/whole)
			assert.Less(t, n, 60*whole)
		})
	}
}

// TestLongDescriptionIsCountedOnce: all series of a metric share its description, which must not make each a request of its own.
func TestLongDescriptionIsCountedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := record(nil)
		h := newHarness(t, r, onePartition, messageV2, func(c *Config) { c.Batch.MaxSizeBytes = 4 * minBatchSize })
		md := gauge(time.Now(), 100)
		md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0).SetDescription(strings.Repeat("d", 3*minBatchSize))
		h.consume(md)
		time.Sleep(time.Minute)
		h.shutdown()
		assert.Equal(t, int64(100), h.delivered())
		assert.Equal(t, 1, len(r.requests), "requests")
		assert.LessOrEqual(t, block.DecompressedSize(r.requests[0].Body), 4*minBatchSize)
		assert.Empty(t, r.Problems())
	})
}

// TestSymbolTablesAreBounded: the requests of a large payload cost no more for each sample than those of a small one.
func TestSymbolTablesAreBounded(t *testing.T) {
	defer func(n int) { mostSymbols = n }(mostSymbols)
	mostSymbols = 2000
	tr := newTestTranslator(configOf(func(c *Config) { c.ProtobufMessage, c.Batch.MaxSamples = MessageV2, 100 }))
	refs := func(points int) (each int) {
		defer tr.reset()
		md := gauge(time.Now(), points)
		tr.translate(md)
		samples, messages, most := 0, 0, 0
		for i := range tr.segments {
			for _, c := range tr.segments[i].chunks {
				samples += c.Samples
				messages++
				part, _ := nextPart(c.plain)
				for entries := part[16:][:16*binary.LittleEndian.Uint32(part)]; len(entries) > 0; entries = entries[16:] {
					most = max(most, int(binary.LittleEndian.Uint32(entries[8:])))
				}
			}
		}
		assert.Equal(t, points, samples)
		return messages * most / points
	}
	few, many := refs(3000), refs(60_000)
	assert.LessOrEqual(t, many, 2*few, "references that are kept for each sample while requests are made")
}
