// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/remote"
)

// roomFor is a payload that needs about so many bytes of each of the partitions.
func roomFor(q *queue, bytes int, identity uint64, partitions ...int) *payload {
	pl := &payload{segments: make([]segment, len(q.partitions)), touched: partitions}
	for _, i := range partitions {
		c := indexedChunk{chunk: chunk{plain: make([]byte, bytes)}, index: []indexEntry{{identity: identity, timestamp: time.Now().UnixMilli()}}}
		c.Samples = 1
		pl.segments[i].chunks = []indexedChunk{c}
	}
	return pl
}

// stuckQueue is a queue of so many bytes that sends nothing.
func stuckQueue(capacity int64) *queue {
	cfg := configOf(nil)
	o := cfg.queueOptions()
	o.maxSize, o.partitions, o.blockTimeout = capacity, 4, time.Hour
	return newQueue(o, account.NewLedger())
}

// TestStuckPartitionLeavesRoom: a partition may hold as much as is free, so that one ends at half of the queue, two at a third
// each, and others find room all the time.
func TestStuckPartitionLeavesRoom(t *testing.T) {
	const capacity = 12 << 20
	for stuck, share := range map[int]float64{1: 1.0 / 2, 2: 1.0 / 3} {
		q := stuckQueue(capacity)
		q.onFull = OnFullReject
		full := make(map[int]bool)
		for n := uint64(1); len(full) < stuck; n++ {
			i := int(n) % stuck
			if _, err := q.admit(t.Context(), roomFor(q, 20_000, n, i)); err != nil {
				require.ErrorIs(t, err, errQueueFull)
				full[i] = true
			}
		}
		for i := range stuck {
			assert.InDelta(t, share, float64(q.partitions[i].size)/capacity, 0.02, "share of partition %d of %d", i, stuck)
		}
		_, err := q.admit(t.Context(), roomFor(q, 20_000, 1<<40, 3))
		require.NoError(t, err, "another partition has room")
	}
}

// TestCallersAreServedInOrder: whoever waits for a full partition, or for the queue as a whole, comes before who comes later;
// callers who share no full partition pass each other.
func TestCallersAreServedInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const capacity = 4 << 20
		q := stuckQueue(capacity)
		var held []*delivery
		q.start(func(d *delivery) { held = append(held, d) })
		for n := uint64(1); ; n++ {
			q.mu.Lock()
			full := q.partitions[0].size+2*40_000 > q.rooms.freeLocked()
			q.mu.Unlock()
			if full {
				break
			}
			_, err := q.admit(t.Context(), roomFor(q, 40_000, n, 0))
			require.NoError(t, err)
		}
		var mu sync.Mutex
		var served []int
		for i := range 20 {
			go func() {
				_, err := q.admit(context.Background(), roomFor(q, 100_000, uint64(1000+i), 0))
				assert.NoError(t, err)
				mu.Lock()
				defer mu.Unlock()
				served = append(served, i)
			}()
			synctest.Wait()
		}
		_, err := q.admit(t.Context(), roomFor(q, 40_000, 1<<40, 1))
		require.NoError(t, err, "who shares no full partition passes")
		assert.Empty(t, served)
		for len(served) < 20 {
			time.Sleep(2 * time.Second)
			q.mu.Lock()
			done := held
			held = nil
			q.mu.Unlock()
			for _, d := range done {
				d.begun = time.Now()
				q.composed(d, d.compose())
				q.answered(d, &outcome{answer: &remote.Answer{Status: 204}}, 0)
				q.finished(d)
			}
			synctest.Wait()
			// Those who are served together come back in any order.
			slices.Sort(served)
			assert.Equal(t, upTo(0, len(served)), served, "the first ones")
		}
		q.discard()
	})
}

// TestCallerIsNotHeldUpByALaterOne: who waits for a partition is served when it has room, although somebody who came later waits for
// more than there is in the queue. Who comes then passes neither.
func TestCallerIsNotHeldUpByALaterOne(t *testing.T) {
	q := stuckQueue(12 << 20)
	admitted := func(c *caller) bool {
		select {
		case <-c.admitted:
			return true
		default:
			return false
		}
	}
	var first *caller
	for n := uint64(1); first == nil; n++ {
		_, c, err := q.reserve(roomFor(q, 20_000, n, 0))
		require.NoError(t, err)
		first = c
	}
	_, large, err := q.reserve(roomFor(q, 10<<20, 1<<40, 1))
	require.NoError(t, err)
	require.NotNil(t, large)
	_, third, err := q.reserve(roomFor(q, 20_000, 1<<41, 2))
	require.NoError(t, err)
	require.NotNil(t, third)
	q.mu.Lock()
	defer q.mu.Unlock()
	q.resizeLocked(&q.partitions[0].size, -1<<20)
	q.admission.grantLocked()
	assert.True(t, admitted(first))
	assert.False(t, admitted(large))
	assert.False(t, admitted(third), "it would pass a caller that waits for the queue")
	q.resizeLocked(&q.partitions[0].size, -q.partitions[0].size)
	q.admission.grantLocked()
	assert.True(t, admitted(large))
	assert.True(t, admitted(third))
}

// BenchmarkWaitingCallers shows what room for one caller costs while many wait: no more with 4,000 than with ten.
func BenchmarkWaitingCallers(b *testing.B) {
	for _, waiting := range []int{10, 4000} {
		b.Run(fmt.Sprintf("waiting=%d", waiting), func(b *testing.B) {
			q := stuckQueue(4 << 20)
			for n := uint64(1); ; n++ {
				if _, c, err := q.reserve(roomFor(q, 40_000, n, 0)); err != nil || c != nil {
					break
				}
			}
			for n := range waiting {
				_, c, err := q.reserve(roomFor(q, 40_000, uint64(n), 0, 1, 2, 3))
				require.NoError(b, err)
				require.NotNil(b, c)
			}
			b.ReportAllocs()
			for b.Loop() {
				// One leaves, and another one comes.
				q.mu.Lock()
				q.resizeLocked(&q.partitions[0].size, -45_000)
				q.admission.grantLocked()
				q.mu.Unlock()
				_, _, err := q.reserve(roomFor(q, 40_000, 1, 0))
				require.NoError(b, err)
				q.mu.Lock()
				for _, p := range q.partitions[1:] {
					q.resizeLocked(&p.size, -min(p.size, 45_000))
				}
				q.mu.Unlock()
			}
		})
	}
}
