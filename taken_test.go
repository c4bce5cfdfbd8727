// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componentstatus"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/journal"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/storagetest"
)

// TestTwoCollectorsWithOneStorage has a second collector open the log of one that runs. It gets what is in the log, and the first one
// neither accepts nor sends anything from then on, and says why, whether it has something to write or to read next or nothing at all.
func TestTwoCollectorsWithOneStorage(t *testing.T) {
	var away atomic.Bool
	for name, next := range map[string]func(first *harness){
		"it writes":  func(first *harness) { refusedAsTaken(first, 10) },
		"it is idle": func(*harness) { time.Sleep(2 * time.Second) },
		"nobody can use it for a while": func(first *harness) {
			away.Store(true)
			time.Sleep(10 * time.Second)
			away.Store(false)
			refusedAsTaken(first, 10)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var b backend
				disk := &storagetest.Disk{Shared: true, Before: func(storagetest.Batch) (f storagetest.Fault) {
					if away.Load() {
						f.Err = storagetest.ErrInjected
					}
					return f
				}}
				boot := func() *harness {
					h := unstarted(t, &b, stored, func(c *Config) { c.Batch.MaxSizeBytes, c.Queue.MaxSizeBytes = 100_000, 400_000 })
					h.host.disk = disk
					require.NoError(t, h.Start(t.Context(), h.host))
					return h
				}
				first := boot()
				first.consume(gauge(time.Now(), 100))
				first.settle()
				time.Sleep(3 * time.Second)
				b.down.Store(true)
				// More than memory has room for.
				for range 20 {
					first.consume(noise(time.Now(), 0, 50))
					time.Sleep(time.Second)
				}
				second := boot()
				assert.EqualValues(t, 1000, second.ledger.Snapshot().Recovered)
				next(first)
				b.down.Store(false)
				assert.Contains(t, first.host.statuses(), componentstatus.StatusPermanentError)
				second.consume(gauge(time.Now(), 100))
				second.settle()
				refusedAsTaken(first, 1)
				time.Sleep(5 * time.Minute)
				assert.EqualValues(t, 1100, second.delivered())
				assert.Empty(t, second.dropped())
				assert.EqualValues(t, 100, first.delivered(), "what is in the log is the other's")
				lines := first.logs.FilterMessageSnippet("Another collector uses the storage of this exporter").Len()
				assert.InDelta(t, 5*time.Minute/logInterval, lines, 3, "lines, of which one comes at once")
				assert.Positive(t, first.metric("otelcol_exporter_ordered_remote_write_storage_errors"))
				first.stop()
				second.stop()
				assert.Empty(t, b.Problems())
				third := boot()
				third.stop()
				assert.Zero(t, third.ledger.Snapshot().Recovered)
			})
		})
	}
}

// refusedAsTaken has payloads refused because the log is another one's.
func refusedAsTaken(h *harness, payloads int) {
	for range payloads {
		require.ErrorIs(h.t, h.ConsumeMetrics(context.Background(), gauge(time.Now(), 10)), journal.ErrTaken)
		time.Sleep(time.Second)
	}
}
