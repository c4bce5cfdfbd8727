// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/storagetest"
)

// TestBacklogIsNotReadInVain has an endpoint that is down, and a series so large that memory has no room for it beside what is under
// way. It is read when there is room, and not again and again until then.
func TestBacklogIsNotReadInVain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backend
		b.down.Store(true)
		m := newMachine(t, &b, onePartition, func(c *Config) {
			c.Batch.MaxSizeBytes, c.Queue.MaxSizeBytes = minBatchSize, 4*minBatchSize
		})
		var reads atomic.Int64
		m.disk.Before = func(batch storagetest.Batch) storagetest.Fault {
			if !batch.Writes && reads.Add(1) > 10_000 {
				panic("storage is read in vain")
			}
			return storagetest.Fault{}
		}
		h := m.boot()
		now := time.Now()
		h.consume(gauge(now, 1))
		time.Sleep(10 * time.Second)
		large := noise(now, 1, 1)
		var value strings.Builder
		for rnd := rand.New(rand.NewPCG(1, 1)); value.Len() < 50_000; {
			value.WriteByte(byte('!' + rnd.IntN(90)))
		}
		large.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0).Gauge().DataPoints().At(0).Attributes().PutStr("noise", value.String())
		h.consume(large)
		h.consume(gauge(now.Add(time.Second), 1))
		time.Sleep(time.Minute)
		assert.Less(t, reads.Load(), int64(200))
		b.down.Store(false)
		h.settle()
		h.stop()
		assert.Equal(t, int64(3), h.delivered())
		assert.Empty(t, b.Problems())
	})
}
