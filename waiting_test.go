// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestManyCallersGiveUp: thousands wait for room in a small queue of a dead endpoint, and most of them not for long. Who gives up has
// left nothing behind, and nobody waits in vain behind it.
func TestManyCallersGiveUp(t *testing.T) {
	first := seed(t)
	for _, partitions := range []int{1, 8} {
		synctest.Test(t, func(t *testing.T) {
			const callers = 2000
			start := time.Now()
			receiver := unavailable(start.Add(20 * time.Second))
			h := newHarness(t, receiver, smallQueue(OnFullBlock), func(c *Config) {
				c.Partitions = partitions
				c.Batch.MaxSamples = 200
				c.Queue.BlockTimeout = 40 * time.Second
				c.ShutdownTimeout = time.Hour
			})
			var accepted, patient, refused atomic.Int64
			var all sync.WaitGroup
			for i := range callers {
				rnd := rand.New(rand.NewPCG(first, uint64(i)))
				all.Go(func() {
					time.Sleep(time.Duration(rnd.IntN(10_000)) * time.Millisecond)
					wait := time.Duration(rnd.IntN(5_000)) * time.Millisecond
					lasts := rnd.IntN(20) == 0
					if lasts {
						wait = time.Hour
					}
					ctx, cancel := context.WithTimeout(context.Background(), wait)
					defer cancel()
					n := 1 + rnd.IntN(5)
					switch err := h.ConsumeMetrics(ctx, noise(time.Now(), 10*i, n)); {
					case err == nil:
						accepted.Add(int64(n))
					case lasts:
						patient.Add(1)
					default:
						refused.Add(1)
					}
				})
			}
			all.Wait()
			t.Logf("%d samples of %d callers accepted, %d callers gave up", accepted.Load(), callers, refused.Load())
			assert.Zero(t, patient.Load(), "who waits for long enough is served: there are few of them")
			assert.Greater(t, refused.Load(), int64(callers/2))
			h.queue.mu.Lock()
			assert.False(t, h.queue.admission.anyLocked(), "nobody waits any more")
			h.queue.mu.Unlock()
			h.shutdown()
			assert.Equal(t, accepted.Load(), h.ledger.Snapshot().Received)
			assert.Equal(t, accepted.Load(), h.delivered())
			require.Empty(t, receiver.Problems())
		})
	}
}
