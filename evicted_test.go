// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
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
	assert.Len(t, m.disk.Keys(), 2, "nothing is left but heads")
	t.Logf("%d kills, %d missing, dropped %v", kills, missing, m.dropped)
}
