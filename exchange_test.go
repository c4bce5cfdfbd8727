// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/storagetest"
)

// TestPartitionsChangeWhileRunning configures another number of partitions while there is something in storage. It takes effect when
// that is delivered, whether clients go on to send all the time or not. The order of each series holds, and what was accepted before
// is known after it.
func TestPartitionsChangeWhileRunning(t *testing.T) {
	for _, c := range []struct{ from, to int }{{8, 64}, {64, 8}, {5, 7}} {
		for _, steady := range []bool{false, true} {
			t.Run(fmt.Sprintf("from %d to %d, steady %t", c.from, c.to, steady), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { changePartitions(t, c.from, c.to, steady) })
			})
		}
	}
}

func changePartitions(t *testing.T, from, to int, steady bool) {
	const series = 100
	var b backend
	b.Faults = rwtest.Faults{Seed: seed(t), MinLatency: time.Millisecond, MaxLatency: 100 * time.Millisecond, ServerError: 50, DropAnswer: 20}
	partitions := from
	m := newMachine(t, &b, func(c *Config) { c.Partitions = partitions })
	sent := 0
	var last time.Time
	send := func(h *harness, n int) {
		for range n {
			last = time.Now()
			h.consume(gauge(last, series))
			sent++
			time.Sleep(97 * time.Millisecond)
		}
	}
	inUse := func(h *harness) int64 { return h.metric("otelcol_exporter_ordered_remote_write_partitions") }
	b.down.Store(true)
	h := m.boot()
	send(h, 30)
	h.stop()

	partitions = to
	h = m.boot()
	send(h, 30)
	assert.Equal(t, int64(from), inUse(h), "as long as something is in storage")
	b.down.Store(false)
	if steady {
		longest := time.Duration(0)
		for began := time.Now(); inUse(h) == int64(from); {
			require.Less(t, time.Since(began), 20*time.Minute)
			before := time.Now()
			send(h, 1)
			longest = max(longest, time.Since(before)-97*time.Millisecond)
		}
		t.Logf("after %d payloads, of which one waited %v at most", sent, longest)
		assert.LessOrEqual(t, longest, longestHold)
	} else {
		h.settle()
		time.Sleep(2 * time.Second)
	}
	assert.Equal(t, int64(to), inUse(h))
	assert.Equal(t, 1, h.logs.FilterMessage("The configured number of partitions is in use.").Len())
	again := last
	send(h, 30)
	h.settle()
	h.consume(gauge(last, series))
	h.consume(gauge(again, series))
	h.settle()
	assert.Equal(t, map[string]int64{"duplicate": series}, h.dropped(), "the last one again")
	h.stop()

	h = m.boot()
	assert.Equal(t, int64(to), inUse(h), "at the next start")
	assert.Zero(t, h.ledger.Snapshot().Recovered)
	h.stop()
	assert.Empty(t, b.Violations())
	assert.Empty(t, b.Overlaps())
	assert.Empty(t, b.Conflicting())
	assert.Len(t, m.disk.Keys(), 3, "nothing is left but heads and the owner")
	for key, samples := range b.Delivered() {
		assert.Len(t, samples, sent, key)
	}
}

// TestExchangedGuardKnowsLastTimes has samples of all series right before the partitions are exchanged, and the same again and older
// ones right after it.
func TestExchangedGuardKnowsLastTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backend
		partitions := 3
		m := newMachine(t, &b, func(c *Config) { c.Partitions, c.OutOfOrder = partitions, OutOfOrderDrop })
		b.down.Store(true)
		h := m.boot()
		now := time.Now()
		h.consume(gauge(now, 500))
		h.stop()
		partitions = 256
		h = m.boot()
		h.consume(gauge(now.Add(time.Millisecond), 500))
		b.down.Store(false)
		h.settle()
		time.Sleep(2 * time.Second)
		require.Equal(t, 256, h.queue.state().partitions)
		h.consume(gauge(now.Add(time.Millisecond), 500))
		h.consume(gauge(now, 500))
		h.consume(gauge(now.Add(2*time.Millisecond), 500))
		h.settle()
		assert.Equal(t, map[string]int64{"duplicate": 500, "out_of_order": 500}, h.dropped())
		assert.Equal(t, int64(1500), h.delivered())

		// Once the series would be forgotten anyway, the old guards are.
		time.Sleep(2 * createDefaultConfig().(*Config).SeriesIdleTimeout)
		for _, p := range h.queue.partitions {
			p.guard.mu.Lock()
			assert.Nil(t, p.guard.before)
			p.guard.mu.Unlock()
		}
		h.stop()
		assert.Empty(t, b.Problems())
	})
}

// TestPartitionsStayWhileStorageFails: while something cannot be stored nothing is exchanged, and callers do not wait for longer.
func TestPartitionsStayWhileStorageFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backend
		partitions := 4
		m := newMachine(t, &b, func(c *Config) { c.Partitions, c.Queue.BlockTimeout = partitions, time.Second })
		var failing atomic.Bool
		m.disk.Before = func(batch storagetest.Batch) storagetest.Fault {
			if failing.Load() && batch.Writes {
				return storagetest.Fault{Err: storagetest.ErrInjected}
			}
			return storagetest.Fault{}
		}
		b.down.Store(true)
		h := m.boot()
		h.consume(gauge(time.Now(), 100))
		h.stop()
		time.Sleep(time.Second)
		partitions = 16
		h = m.boot()
		failing.Store(true)
		b.down.Store(false)
		for range 20 {
			began := time.Now()
			require.ErrorIs(t, h.ConsumeMetrics(t.Context(), gauge(began, 100)), errUnstored)
			assert.LessOrEqual(t, time.Since(began), time.Second+longestHold)
		}
		assert.Equal(t, 4, h.queue.state().partitions)
		failing.Store(false)
		h.settle()
		time.Sleep(2 * time.Second)
		assert.Equal(t, 16, h.queue.state().partitions)
		h.consume(gauge(time.Now(), 100))
		h.settle()
		h.stop()
		assert.Empty(t, b.Problems())
	})
}
