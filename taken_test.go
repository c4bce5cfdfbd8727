// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"context"
	"maps"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/journal"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
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

// TestNothingAcceptedIsLostBetweenCollectors has one collector after the other take over the log of one that runs, under load and with
// a backend that is slow and fails. What any of them has accepted is delivered.
func TestNothingAcceptedIsLostBetweenCollectors(t *testing.T) {
	for name, faults := range map[string]bool{"good": false, "failing storage": true} {
		t.Run(name, func(t *testing.T) {
			seed := seed(t)
			synctest.Test(t, func(t *testing.T) { takeOver(t, seed, faults) })
		})
	}
}

func takeOver(t *testing.T, seed uint64, faults bool) {
	rnd := rand.New(rand.NewPCG(seed, 0))
	receiver := &rwtest.Receiver{Faults: rwtest.Faults{Seed: seed, ServerError: 50, MinLatency: time.Millisecond, MaxLatency: 200 * time.Millisecond}}
	m := newMachine(t, receiver, func(c *Config) {
		c.Partitions = 1 + rnd.IntN(16)
		c.Batch.MaxSizeBytes, c.Queue.MaxSizeBytes = minBatchSize, ByteSize(4+rnd.IntN(8))*minBatchSize
		c.Queue.BlockTimeout = time.Second
		c.MaxFuture, c.MaxPast = 800_000*time.Hour, 800_000*time.Hour
	})
	m.disk.Shared = true
	if faults {
		m.disk.Before = flaky(seed)
	}
	producers := rwtest.Payloads{
		Seed: seed, Producers: 4, Streams: 200, Points: 100, StreamsPerPayload: 30, Start: time.Now(),
		Kinds: []pmetric.MetricType{pmetric.MetricTypeGauge, pmetric.MetricTypeSum},
	}.Split()
	m.boot()
	var stopping sync.WaitGroup
	ended := m.consumeAll(producers, seed)
	for over := false; !over; {
		select {
		case <-ended:
			over = true
		case <-time.After(1500*time.Millisecond + time.Duration(rnd.IntN(2000))*time.Millisecond):
			before, _ := m.process()
			m.boot()
			grace := time.Duration(rnd.IntN(5000)) * time.Millisecond
			stopping.Go(func() {
				time.Sleep(grace)
				before.stop()
				m.mu.Lock()
				defer m.mu.Unlock()
				m.note(before)
			})
		}
	}
	stopping.Wait()
	h, _ := m.process()
	h.settle()
	h.stop()
	m.note(h)
	// What could not be withdrawn is deleted by the next one.
	m.disk.Before = nil
	m.boot().stop()
	expected := make(map[string][]rwtest.Sample)
	for _, p := range producers {
		maps.Copy(expected, p.Expected())
	}
	checkArrived(t, expected, receiver.Delivered())
	assert.Empty(t, receiver.Violations())
	assert.Empty(t, receiver.Conflicting())
	assert.Len(t, m.disk.Keys(), 3, "nothing is left but heads and the owner")
	t.Logf("%d recovered, %d redelivered, %d requests, dropped %v", m.recovered, receiver.Redelivered(), receiver.Requests(), m.dropped)
}
