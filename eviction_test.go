// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/storagetest"
)

// TestEvictionMakesRoom or does not happen: what waits is not dropped for a payload that then finds no room all the same. Small
// queues, of which requests that hang hold a large part.
func TestEvictionMakesRoom(t *testing.T) {
	first := seed(t)
	rounds := uint64(40)
	if raceDetector {
		rounds = 12
	}
	for round := range rounds {
		rnd := rand.New(rand.NewPCG(first, round))
		partitions := 1 + rnd.IntN(4)
		synctest.Test(t, func(t *testing.T) {
			receiver := &rwtest.Receiver{Script: func(r rwtest.Request) rwtest.Answer {
				latencies := rand.New(rand.NewPCG(first+round, uint64(r.Seq)))
				return rwtest.Answer{Latency: time.Duration(1+latencies.IntN(20)) * time.Second}
			}}
			h := newHarness(t, receiver, smallQueue(OnFullDropOldest), func(c *Config) {
				c.Partitions = partitions
				c.Batch.MaxSamples = 1 + rnd.IntN(40)
			})
			for i := range 200 {
				tr := h.translators.Load().take()
				md := noise(time.Now(), 1000*i, 1+rnd.IntN(2)*rnd.IntN(20))
				require.NoError(t, tr.translate(t.Context(), md, h.version.protocol()))
				evicted, _, err := h.queue.reserve(&tr.payload)
				require.NoError(t, err)
				room := false
				for _, n := range tr.needs {
					room = room || !n.dropped
				}
				if evicted > 0 && !assert.True(t, room, "round %d: %d samples were dropped for a payload that is dropped as well", round, evicted) {
					break
				}
				require.NoError(t, h.queue.append(t.Context(), &tr.payload))
				h.translators.Load().giveBack(tr)
				time.Sleep(time.Duration(rnd.IntN(2000)) * time.Millisecond)
			}
			require.NoError(t, h.Shutdown(t.Context()))
			h.checkBalance()
		})
		if t.Failed() {
			return
		}
	}
}

// TestNothingIsEvictedForACrowd: storage does not keep up, so that what comes is dropped whatever the room. Nothing is dropped for it
// from a full log besides.
func TestNothingIsEvictedForACrowd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, answers(503), smallQueue(OnFullDropOldest), stored, func(c *Config) { c.Queue.MaxDiskBytes = c.Queue.MaxSizeBytes })
		for i := 0; len(h.dropped()) == 0; i += 5 {
			h.consume(noise(time.Now(), i, 5))
		}
		hangs := make(chan struct{})
		h.host.disk.Before = func(storagetest.Batch) storagetest.Fault {
			<-hangs
			return storagetest.Fault{}
		}
		var callers sync.WaitGroup
		for i := range 10 {
			before := h.dropped()["queue_full"]
			callers.Go(func() { h.consume(noise(time.Now(), 1000*(i+1), 5)) })
			synctest.Wait()
			dropped := h.dropped()["queue_full"] - before
			assert.LessOrEqual(t, dropped, int64(5), "what came, or as much as makes room for it")
		}
		assert.NotZero(t, h.dropped()["queue_full"])
		close(hangs)
		callers.Wait()
		require.NoError(t, h.Shutdown(t.Context()))
		h.checkBalance()
	})
}

// TestOldestIsEvictedOfBothLanes: with drop_oldest a client that sends what is old, after an outage of its own, loses it for lack of
// room, and not another one what comes later.
func TestOldestIsEvictedOfBothLanes(t *testing.T) {
	for _, storage := range []bool{false, true} {
		t.Run(fmt.Sprintf("storage %v", storage), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var b backend
				b.down.Store(true)
				h := newHarness(t, &b, smallQueue(OnFullDropOldest), func(c *Config) {
					c.ShutdownTimeout = time.Hour
					if storage {
						stored(c)
						c.Queue.MaxDiskBytes = c.Queue.MaxSizeBytes
					}
				})
				h.consume(noise(time.Now(), 0, 5))
				time.Sleep(5 * time.Second)
				for i := range 4 {
					h.consume(noise(time.Now().Add(-2*time.Hour), 1000*(i+1), 5))
				}
				require.Empty(t, h.dropped())
				time.Sleep(time.Second)
				start := time.Now()
				for i := range 4 {
					h.consume(noise(time.Now(), 100_000+1000*i, 5))
				}
				require.NotEmpty(t, h.dropped())
				b.down.Store(false)
				h.settle()
				fresh := 0
				for _, samples := range b.Delivered() {
					for _, s := range samples {
						if s.Timestamp >= start.UnixMilli() {
							fresh++
						}
					}
				}
				assert.Equal(t, 20, fresh, "%v", h.dropped())
				h.shutdown()
			})
		})
	}
}
