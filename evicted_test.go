// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
)

// TestEvictedInACrashIsCounted kills processes at random moments whose log is full, so that they drop the oldest behind what is in
// flight. What does not arrive was counted by one of them, and none takes anything for evicted that an earlier one has not.
func TestEvictedInACrashIsCounted(t *testing.T) {
	for name, faults := range map[string]bool{"good storage": false, "failing storage": true} {
		t.Run(name, func(t *testing.T) {
			seed := seed(t)
			for round := range uint64(6) {
				synctest.Test(t, func(t *testing.T) { evictsAndCrashes(t, seed+round, faults) })
			}
		})
	}
}

func evictsAndCrashes(t *testing.T, seed uint64, faults bool) {
	rnd := rand.New(rand.NewPCG(seed, 2))
	indexAtMost(t, 1+rnd.IntN(200))
	var b backend
	b.Faults = rwtest.Faults{Seed: seed, StoredServerError: 20, DropAnswer: 20, MinLatency: time.Millisecond, MaxLatency: 200 * time.Millisecond}
	m := newMachine(t, &b, func(c *Config) {
		b.down.Store(rnd.IntN(4) == 0)
		c.Partitions = []int{1, 2, 5, 16}[rnd.IntN(4)]
		c.Batch.MaxSamples = 20 + rnd.IntN(300)
		c.Batch.MaxSizeBytes = minBatchSize
		c.Queue.MaxSizeBytes = 4 * minBatchSize
		c.Queue.MaxDiskBytes = c.Queue.MaxSizeBytes
		c.Queue.OnFull = []OnFull{OnFullDropOldest, OnFullDropOldest, OnFullDropNewest, OnFullReject}[rnd.IntN(4)]
		c.Retry.BackOff.MaxElapsedTime = 0
		c.MaxFuture, c.MaxPast = 800_000*time.Hour, 800_000*time.Hour
	})
	if faults {
		m.disk.Before = flaky(seed)
	}
	producers := rwtest.Payloads{
		Seed: seed, Producers: 4, Streams: 200, Points: 50, StreamsPerPayload: 30, Start: time.Now(),
		Kinds: []pmetric.MetricType{pmetric.MetricTypeGauge, pmetric.MetricTypeSum},
	}.Split()
	m.boot()
	kills := m.killWhile(producers, rnd, seed)
	b.down.Store(false)
	h, _ := m.process()
	h.settle()
	h.stop()
	m.note(h)

	missing, delivered := int64(0), b.Delivered()
	for _, p := range producers {
		for key, samples := range p.Expected() {
			arrived := make(map[rwtest.Sample]bool)
			for _, s := range delivered[key] {
				arrived[s] = true
			}
			for _, s := range samples {
				if !arrived[s] {
					missing++
				}
			}
		}
	}
	// What was evicted right before a crash may be there again.
	assert.LessOrEqual(t, missing, m.dropped["queue_full"], "lost without being counted")
	assert.Zero(t, m.dropped["storage_corrupt"])
	assert.Empty(t, b.Violations())
	assert.Empty(t, b.Overlaps())
	assert.Len(t, m.disk.Keys(), 3, "nothing is left but heads and the owner")
	t.Logf("%d kills, %d missing, dropped %v", kills, missing, m.dropped)
}

// TestOldestIsEvictedAfterARestart has a full log of which the process knows little, while the backend is down. What comes makes it
// drop the oldest, as before the restart, and the records of these do not stay.
func TestOldestIsEvictedAfterARestart(t *testing.T) {
	for _, partitions := range []int{1, 4} {
		t.Run(fmt.Sprintf("%d partitions", partitions), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { evictAfterRestart(t, partitions) })
		})
	}
}

func evictAfterRestart(t *testing.T, partitions int) {
	const capacity = 2 << 20
	var b backend
	b.down.Store(true)
	m := newMachine(t, &b, func(c *Config) {
		c.Partitions = partitions
		c.Batch.MaxSizeBytes, c.Queue.MaxSizeBytes, c.Queue.MaxDiskBytes = minBatchSize, 4*minBatchSize, capacity
		c.Queue.OnFull = OnFullDropOldest
	})
	most := int64(0)
	var times []int64
	send := func(h *harness) {
		for range 200 {
			times = append(times, time.Now().UnixMilli())
			h.consume(noise(time.Now(), 0, 20))
			time.Sleep(time.Second)
			most = max(most, h.storage.log.Sizes().Stored)
		}
	}
	h := m.boot()
	send(h)
	h.stop()
	h = m.boot()
	send(h)
	b.down.Store(false)
	h.settle()
	h.stop()
	arrived := make(map[int64]int)
	for _, samples := range b.Delivered() {
		for _, s := range samples {
			arrived[s.Timestamp]++
		}
	}
	for _, newest := range times[len(times)-40:] {
		assert.Equal(t, 20, arrived[newest], "of the newest")
	}
	assert.LessOrEqual(t, most, int64(capacity+capacity/3), "bytes of all records")
	assert.Empty(t, b.Problems())
	assert.Len(t, m.disk.Keys(), 3, "nothing is left but heads and the owner")
}
