// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"context"
	"fmt"
	"math"
	"runtime"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/extension/xextension/storage"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/block"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/journal"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/storagetest"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// TestStorageThatCannotBeUsed: the exporter does not start with a queue in memory if it is to be in storage.
func TestStorageThatCannotBeUsed(t *testing.T) {
	absent := component.MustNewIDWithName("file_storage", "queue")
	for name, tc := range map[string]struct {
		id   component.ID
		want string
	}{
		"absent":     {absent, `queue.storage: there is no extension "file_storage/queue", it must be in extensions and in service.extensions`},
		"no storage": {receiverID, `queue.storage: the extension "receiver" is no storage extension`},
	} {
		t.Run(name, func(t *testing.T) {
			h := unstarted(t, new(rwtest.Receiver), func(c *Config) { c.Queue.Storage = &tc.id })
			require.EqualError(t, h.Start(t.Context(), h.host), tc.want)
			require.NoError(t, h.Shutdown(context.Background()))
		})
	}
}

// TestStorageHasOneUser: two exporters never share a log.
func TestStorageHasOneUser(t *testing.T) {
	first := unstarted(t, new(rwtest.Receiver), stored)
	require.NoError(t, first.Start(t.Context(), first.host))
	second := unstarted(t, new(rwtest.Receiver), stored)
	second.host.disk = first.host.disk
	require.ErrorContains(t, second.Start(t.Context(), second.host), "queue.storage: ")
	require.NoError(t, second.Shutdown(context.Background()))
	require.NoError(t, first.Shutdown(context.Background()))
}

// TestPayloadWhoseCallerGivesUpIsAccepted: what is being written cannot be taken back. The copy that the client then sends is a
// duplicate.
func TestPayloadWhoseCallerGivesUpIsAccepted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backend
		m := newMachine(t, &b)
		h := m.boot()
		var slow atomic.Bool
		slow.Store(true)
		m.disk.Before = func(batch storagetest.Batch) storagetest.Fault {
			if batch.Writes && slow.Load() {
				time.Sleep(3 * time.Second)
			}
			return storagetest.Fault{}
		}
		md := gauge(time.Now(), 10)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, h.ConsumeMetrics(ctx, md), errUnstored)
		slow.Store(false)
		h.settle()
		h.consume(md)
		h.settle()
		h.stop()
		assert.Equal(t, int64(10), h.delivered())
		assert.Equal(t, map[string]int64{"duplicate": 10}, h.dropped())
	})
}

// TestAnOutageHasNoEndWithStorage: max_elapsed_time counts only while other requests pass.
func TestAnOutageHasNoEndWithStorage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backend
		b.down.Store(true)
		m := newMachine(t, &b, func(c *Config) { c.Retry.BackOff.MaxElapsedTime = time.Minute })
		h := m.boot()
		h.consume(gauge(time.Now(), 100))
		time.Sleep(time.Hour)
		b.down.Store(false)
		h.settle()
		h.stop()
		assert.Equal(t, int64(100), h.delivered())
		assert.Empty(t, h.dropped())
	})
}

// TestPoisonIsGivenUpWithStorage: while other requests pass, one that does not is dropped after max_elapsed_time.
func TestPoisonIsGivenUpWithStorage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backend
		var mended atomic.Bool
		b.Script = func(r rwtest.Request) rwtest.Answer {
			if !mended.Load() && strings.Contains(fmt.Sprint(r.Message), `value:"3"`) {
				return rwtest.Answer{Status: 500}
			}
			return rwtest.Answer{}
		}
		m := newMachine(t, &b, func(c *Config) { c.Retry.BackOff.MaxElapsedTime = time.Minute })
		h := m.boot()
		h.consumeFor(5*time.Minute, 10)
		assert.NotZero(t, h.dropped()["retries_exhausted 500"])
		mended.Store(true)
		h.settle()
		h.stop()
		assert.Empty(t, b.Problems())
	})
}

// TestEachStartTriesPoisonAnew: max_elapsed_time is that of a process. One that ends before has its samples in storage for the next one.
func TestEachStartTriesPoisonAnew(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backend
		var mended atomic.Bool
		b.Script = func(r rwtest.Request) rwtest.Answer {
			if !mended.Load() && strings.Contains(fmt.Sprint(r.Message), `value:"3"`) {
				return rwtest.Answer{Status: 500}
			}
			return rwtest.Answer{}
		}
		m := newMachine(t, &b, func(c *Config) { c.Retry.BackOff.MaxElapsedTime = time.Minute })
		for range 6 {
			h := m.boot()
			h.consumeFor(30*time.Second, 10)
			h.stop()
			m.note(h)
		}
		assert.Empty(t, m.dropped)
		assert.Positive(t, m.recovered)
		mended.Store(true)
		h := m.boot()
		h.settle()
		h.stop()
		assert.Empty(t, h.dropped())
		assert.Empty(t, b.OutOfOrder())
		assert.Empty(t, b.Violations())
	})
}

// failFor has the endpoint answer with 500 to all that has series of some partitions of 32, until the switch is off.
func (b *backend) failFor(which func(partition int) bool) (stuck *atomic.Bool) {
	stuck = new(atomic.Bool)
	stuck.Store(true)
	b.Script = func(r rwtest.Request) rwtest.Answer {
		for i := range r.Message.Timeseries {
			if stuck.Load() && which(seriesPartition(r.Message.Timeseries[i].Labels, 32)) {
				return rwtest.Answer{Status: 500}
			}
		}
		return rwtest.Answer{Latency: 20 * time.Millisecond}
	}
	return stuck
}

// TestStuckPartitionsLeaveRoom has an endpoint that fails for half of the partitions. Their samples fill the log, and what the others
// have delivered takes a third of its capacity at most.
func TestStuckPartitionsLeaveRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const capacity = 256 << 10
		var b backend
		stuck := b.failFor(func(partition int) bool { return partition < 16 })
		m := newMachine(t, &b, func(c *Config) {
			c.Batch.MaxSizeBytes, c.Queue.MaxSizeBytes, c.Queue.MaxDiskBytes = minBatchSize, 8*minBatchSize, capacity
			c.Retry.BackOff.MaxElapsedTime = 0
			c.Queue.OnFull = OnFullReject
		})
		h := m.boot()
		accepted, refused, most := int64(0), 0, 0
		for range 900 {
			if h.ConsumeMetrics(t.Context(), gauge(time.Now(), 200)) == nil {
				accepted += 200
			} else {
				refused++
			}
			time.Sleep(time.Second)
			most = max(most, m.disk.Size())
		}
		require.Positive(t, refused, "the log fills")
		assert.LessOrEqual(t, most, capacity*3/2, "bytes of the log")
		t.Logf("at most %d bytes on disk of %d, %d payloads were refused", most, capacity, refused)
		stuck.Store(false)
		h.settle()
		h.stop()
		assert.Equal(t, accepted, h.delivered())
		assert.Empty(t, b.Problems())
	})
}

// TestBacklogBesideOtherPartitions has a backlog of two series in storage, and then one of other series. Who is read first does not make
// the other be forgotten.
func TestBacklogBesideOtherPartitions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backend
		b.down.Store(true)
		m := newMachine(t, &b, func(c *Config) { c.Batch.MaxSizeBytes, c.Queue.MaxSizeBytes = minBatchSize, 4*minBatchSize })
		fill := func(h *harness, payloads, from, to int) {
			for range payloads {
				md := gauge(time.Now(), to)
				points := md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0).Gauge().DataPoints()
				i := 0
				points.RemoveIf(func(pmetric.NumberDataPoint) bool { i++; return i <= from })
				h.consume(md)
				time.Sleep(10 * time.Millisecond)
			}
		}
		h := m.boot()
		fill(h, 1200, 0, 2)
		h.stop()
		h = m.boot()
		fill(h, 200, 2, 50)
		b.down.Store(false)
		h.settle()
		h.stop()
		assert.Empty(t, h.dropped())
		assert.Equal(t, int64(1200*2+200*48), h.delivered())
		assert.Empty(t, b.Problems())
		assert.Len(t, m.disk.Keys(), 3, "nothing is left but heads and the owner")
	})
}

// TestNothingIsStoredBehindWhatWasGivenUp: a payload that needs several writes, the first of which fails until the exporter has to
// end, is not acknowledged because the last one is written.
func TestNothingIsStoredBehindWhatWasGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backend
		m := newMachine(t, &b, func(c *Config) { c.Queue.BlockTimeout, c.ShutdownTimeout = time.Hour, 10*time.Second })
		h := m.boot()
		m.disk.Before = func(batch storagetest.Batch) storagetest.Fault {
			if batch.Writes && h.dropped()["shutdown"] == 0 {
				return storagetest.Fault{Err: storagetest.ErrInjected}
			}
			return storagetest.Fault{}
		}
		ended := make(chan error, 1)
		payload := noise(time.Now(), 0, 4000)
		untimed := payload.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().AppendEmpty()
		untimed.SetName("untimed")
		untimed.SetEmptyGauge().DataPoints().AppendEmpty().SetIntValue(1)
		go func() { ended <- h.ConsumeMetrics(context.Background(), payload) }()
		time.Sleep(time.Minute)
		h.queue.mu.Lock()
		require.NotEmpty(t, h.storage.durable.commits, "behind the one that is being written")
		h.queue.mu.Unlock()
		require.NoError(t, h.Shutdown(context.Background()))
		require.ErrorIs(t, <-ended, storagetest.ErrInjected)
		assert.Equal(t, map[string]int64{"shutdown": 4000, "no_timestamp": 1}, h.dropped())
		h.checkBalance()
		h.checkStandard()
		assert.Zero(t, h.metric("otelcol_exporter_ordered_remote_write_refused_samples"), "it was received")
	})
}

// TestMuchCanBeEvicted has as many samples as take a large disk.
func TestMuchCanBeEvicted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const samples, bytes = math.MaxInt >> 20, 1 << 22
		h := newHarness(t, new(rwtest.Receiver), stored, onePartition)
		_, err := h.storage.log.Append(t.Context(), []journal.Run{{Samples: samples, Data: make([]byte, bytes)}})
		require.NoError(t, err)
		assert.EqualValues(t, bytes, h.storage.durable.evictableLocked(h.queue.partitions[0]))
		require.NoError(t, h.Shutdown(context.Background()))
	})
}

// TestLargePayloadIsNotItsOwnCrowd has payloads of more than a quarter of the memory, and much room in storage.
func TestLargePayloadIsNotItsOwnCrowd(t *testing.T) {
	for _, policy := range []OnFull{OnFullDropOldest, OnFullDropNewest, OnFullReject} {
		synctest.Test(t, func(t *testing.T) {
			var b backend
			m := newMachine(t, &b, func(c *Config) {
				c.Batch.MaxSizeBytes, c.Queue.MaxSizeBytes, c.Queue.OnFull = minBatchSize, 4*minBatchSize, policy
			})
			h := m.boot()
			for range 10 {
				h.consume(noise(time.Now(), 0, 30))
				time.Sleep(time.Second)
			}
			h.settle()
			h.stop()
			assert.Empty(t, h.dropped(), policy)
			assert.Equal(t, int64(300), h.delivered())
		})
	}
}

// TestRecoveredSamplesKeepToTheOptionsOfNow has runs in storage that are larger than what the next process may send.
func TestRecoveredSamplesKeepToTheOptionsOfNow(t *testing.T) {
	forEachMessage(t, func(t *testing.T, message func(*Config)) {
		synctest.Test(t, func(t *testing.T) {
			var b backend
			b.down.Store(true)
			most := 500
			b.Script = func(r rwtest.Request) rwtest.Answer {
				assert.LessOrEqual(t, r.Samples(), most)
				return rwtest.Answer{}
			}
			m := newMachine(t, &b, message, onePartition, func(c *Config) { c.Batch.MaxSamples = most })
			h := m.boot()
			began := time.Now()
			for i := range 3 {
				h.consume(gauge(began.Add(time.Duration(i)*time.Second), 200))
			}
			h.stop()
			most = 30
			b.down.Store(false)
			h = m.boot()
			h.settle()
			h.stop()
			assert.Equal(t, int64(600), h.delivered())
			assert.Empty(t, b.Problems())
		})
	})
}

// TestCuttingRecoveredSamplesIsLinear: what an earlier process has stored for large requests is cut into requests of one sample each.
func TestCuttingRecoveredSamplesIsLinear(t *testing.T) {
	allocated := func(samples int) uint64 {
		var message []byte
		r := request{protocol: wire.V1, shares: []int{samples}}
		for i := range samples {
			series := wire.AppendSample(nil, 1, int64(i))
			message = append(wire.AppendSeriesHeader(message, len(series)), series...)
			r.count(int64(i), false, 0)
		}
		r.body = block.Compress(message)
		v := voyage{sender: &sender{version: new(version)}, delivery: &delivery{requests: []request{r}}}
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range samples {
			v.cutLong(1)
			require.Equal(t, 1, v.next().Samples)
			v.settled()
		}
		runtime.ReadMemStats(&after)
		assert.Empty(t, v.requests)
		return after.TotalAlloc - before.TotalAlloc
	}
	few, many := allocated(500), allocated(4000)
	t.Log(few, many)
	assert.Less(t, many, 16*few)
}

// TestStoredMessages: what was stored for 1.0 is sent as 1.0, and what was stored for 2.0 as what is configured.
func TestStoredMessages(t *testing.T) {
	for _, c := range []struct {
		before, now ProtobufMessage
		versions    []int
	}{{MessageV1, MessageV2, []int{1, 2}}, {MessageV2, MessageV1, []int{1, 1}}, {MessageV2, MessageV2, []int{2, 2}}} {
		synctest.Test(t, func(t *testing.T) {
			var b backend
			var versions []int
			b.Script = func(r rwtest.Request) rwtest.Answer {
				versions = append(versions, r.Version)
				return rwtest.Answer{}
			}
			b.down.Store(true)
			message := c.before
			m := newMachine(t, &b, onePartition, func(c *Config) { c.ProtobufMessage = message })
			h := m.boot()
			h.consume(gauge(time.Now(), 10))
			h.stop()
			message = c.now
			b.down.Store(false)
			h = m.boot()
			h.settle()
			h.consume(gauge(time.Now(), 10))
			h.settle()
			h.stop()
			assert.Equal(t, c.versions, versions)
			assert.Equal(t, int64(20), h.delivered())
		})
	}
}

// TestShutdownWithStorageThatDoesNotClose has an extension that writes its file anew, which lasts, before it is closed.
func TestShutdownWithStorageThatDoesNotClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backend
		m := newMachine(t, &b, func(c *Config) { c.ShutdownTimeout = 10 * time.Second })
		closing := newHold(t)
		m.disk.Closing = closing.wait
		h := m.boot()
		h.consume(gauge(time.Now(), 10))
		h.settle()
		began := time.Now()
		require.NoError(t, h.Shutdown(context.Background()))
		assert.LessOrEqual(t, time.Since(began), 20*time.Second)
		assert.Equal(t, 1, h.logs.FilterMessageSnippet("Closing storage failed").Len())
		assert.Equal(t, int64(10), h.delivered())
		closing.letGo()
	})
}

// TestCommitThatHasNoRoomIsStoredInParts has storage with less room than one payload takes, in which each part of it is sent before there is
// room for the next one.
func TestCommitThatHasNoRoomIsStoredInParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backend
		m := newMachine(t, &b)
		m.disk.Before = func(batch storagetest.Batch) (f storagetest.Fault) {
			if n := batch.Size(); m.disk.Size()+n > 200_000 && n > 2000 {
				f.Err = syscall.ENOSPC
			}
			return f
		}
		h := m.boot()
		const samples = 1000
		payload := noise(time.Now(), 0, samples)
		if err := h.ConsumeMetrics(t.Context(), payload); err != nil {
			require.ErrorIs(t, err, errUnstored)
		}
		h.settle()
		h.consume(payload)
		h.settle()
		h.stop()
		assert.Equal(t, int64(samples), h.delivered())
		assert.Equal(t, map[string]int64{"duplicate": samples}, h.dropped())
		assert.Empty(t, b.Problems())
	})
}

// TestFullStorageIsWrittenAgainInParts has an endpoint that fails for one partition, and storage with less room than
// queue.max_disk_bytes. What the others have delivered does not stay in it because all of it together has no room to be written again.
func TestFullStorageIsWrittenAgainInParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const room = 1 << 20
		var b backend
		stuck := b.failFor(func(partition int) bool { return partition == 8 })
		m := newMachine(t, &b, func(c *Config) { c.Retry.BackOff.MaxElapsedTime, c.Queue.OnFull = 0, OnFullReject })
		m.disk.Before = func(batch storagetest.Batch) (f storagetest.Fault) {
			if n := batch.Size(); m.disk.Size()+n > room && n > 2000 {
				f.Err = storage.ErrStorageFull
			}
			return f
		}
		h := m.boot()
		for refused := 0; refused < 3; time.Sleep(100 * time.Millisecond) {
			if h.ConsumeMetrics(t.Context(), noise(time.Now(), 0, 40)) != nil {
				refused++
			}
		}
		time.Sleep(5 * time.Minute)
		sizes := h.storage.log.Sizes()
		t.Logf("%d of %d bytes must be kept, of %d", sizes.Live, sizes.Stored, room)
		assert.LessOrEqual(t, sizes.Stored, 2*sizes.Live+10_000)
		stuck.Store(false)
		h.settle()
		h.stop()
		assert.Empty(t, b.Problems())
	})
}
