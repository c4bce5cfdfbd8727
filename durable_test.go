// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/prometheus/prompb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/extension/xextension/storage"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/storagetest"
)

// machine is an exporter on a disk, whose process can die.
type machine struct {
	t       *testing.T
	disk    *storagetest.Disk
	backend http.RoundTripper
	edit    []func(*Config)

	mu  sync.Mutex
	now *harness
	// alive is of the process that runs now.
	alive *atomic.Bool
	// recovered and dropped are those of all processes.
	recovered int64
	dropped   map[string]int64
}

func newMachine(t *testing.T, backend http.RoundTripper, edit ...func(*Config)) *machine {
	return &machine{t: t, dropped: make(map[string]int64), disk: new(storagetest.Disk), backend: backend, edit: append([]func(*Config){stored}, edit...)}
}

// cable connects a process with the backend as long as it lives.
type cable struct {
	alive   *atomic.Bool
	backend http.RoundTripper
}

var errDead = errors.New("the process is dead")

func (c cable) RoundTrip(r *http.Request) (*http.Response, error) {
	if !c.alive.Load() {
		return nil, errDead
	}
	answer, err := c.backend.RoundTrip(r)
	if !c.alive.Load() {
		return nil, errDead
	}
	return answer, err
}

// boot starts a process.
func (m *machine) boot() *harness {
	m.t.Helper()
	alive := new(atomic.Bool)
	alive.Store(true)
	var h *harness
	for err := errDead; err != nil; {
		h = unstarted(m.t, cable{alive, m.backend}, m.edit...)
		h.host.disk = m.disk
		if err = h.Start(m.t.Context(), h.host); err != nil {
			require.ErrorIs(m.t, err, storagetest.ErrInjected)
			require.NoError(m.t, h.Shutdown(context.Background()))
		}
	}
	m.mu.Lock()
	m.now, m.alive = h, alive
	m.mu.Unlock()
	m.recovered += h.ledger.Snapshot().Recovered
	return h
}

// kill ends the process where it is. What it has under way at the backend comes to its end.
func (m *machine) kill() {
	m.mu.Lock()
	h := m.now
	m.now = nil
	m.alive.Store(false)
	m.mu.Unlock()
	m.disk.Crash()
	m.note(h)
	over, cancel := context.WithCancel(context.Background())
	cancel()
	require.NoError(m.t, h.Shutdown(over))
	synctest.Wait()
}

// note adds up what a process has dropped.
func (m *machine) note(h *harness) {
	h.checkBalance()
	for reason, n := range h.dropped() {
		m.dropped[reason] += n
	}
}

// process is the one that runs, or nil.
func (m *machine) process() (*harness, *atomic.Bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.now, m.alive
}

// consume hands over a payload until a process has accepted it while it was alive.
func (m *machine) consume(md pmetric.Metrics) {
	for {
		if h, alive := m.process(); h != nil {
			if err := h.ConsumeMetrics(context.Background(), md); err == nil && alive.Load() {
				return
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// settle waits until nothing waits or is under way.
func (h *harness) settle() {
	h.t.Helper()
	for range 100_000 {
		if b := h.ledger.Snapshot(); b.Queued+b.InFlight == 0 {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	h.t.Fatalf("does not come to an end: %+v", h.ledger.Snapshot())
}

func (h *harness) stop() {
	h.t.Helper()
	require.NoError(h.t, h.Shutdown(context.Background()))
	h.checkBalance()
	h.checkStandard()
	assert.Zero(h.t, h.ledger.Snapshot().InFlight)
}

// TestNothingAcknowledgedIsLostInACrash kills processes at random moments, under load, with a backend that is slow, fails and
// drops answers. Everything acknowledged is delivered in order; a sample that was delivered twice was under way, or without a
// stored acknowledgement, when its process died.
func TestNothingAcknowledgedIsLostInACrash(t *testing.T) {
	for name, c := range map[string]crashing{
		"good": {}, "late": {late: true}, "failing storage": {faults: true}, "late and failing storage": {late: true, faults: true},
	} {
		t.Run(name, func(t *testing.T) {
			seed := seed(t)
			synctest.Test(t, func(t *testing.T) { crashes(t, seed, c) })
		})
	}
}

// crashing says what a test of crashes is about.
type crashing struct {
	// late sends all samples through the late lanes.
	late bool
	// faults fails reads and writes of storage, which are slow besides.
	faults bool
}

func crashes(t *testing.T, seed uint64, what crashing) {
	rnd := rand.New(rand.NewPCG(seed, 0))
	indexAtMost(t, 1+rnd.IntN(200))
	receiver := &rwtest.Receiver{Faults: rwtest.Faults{
		Seed: seed, ServerError: 50, StoredServerError: 20, DropAnswer: 20, ResetUnread: 20,
		MinLatency: time.Millisecond, MaxLatency: 200 * time.Millisecond,
	}}
	m := newMachine(t, receiver, func(c *Config) {
		// Each process may have others.
		c.ProtobufMessage = []ProtobufMessage{MessageV1, MessageV2}[rnd.IntN(2)]
		c.Partitions = 1 + rnd.IntN(16)
		c.Batch.MaxSamples = 20 + rnd.IntN(300)
		c.Batch.MaxSizeBytes = minBatchSize
		c.Queue.MaxSizeBytes = ByteSize(4+rnd.IntN(8)) * minBatchSize
		c.Queue.BlockTimeout = time.Second
		if !what.late {
			c.MaxFuture, c.MaxPast = 800_000*time.Hour, 800_000*time.Hour
		}
	})
	m.edit = append(m.edit, func(c *Config) { c.Queue.MaxDiskBytes = max(c.Queue.MaxDiskBytes, c.Queue.MaxSizeBytes) })
	if what.faults {
		m.disk.Before = flaky(seed)
	}
	producers := rwtest.Payloads{
		Seed: seed, Producers: 4, Streams: 200, Points: 100, StreamsPerPayload: 30, Start: time.Now(),
		Kinds: []pmetric.MetricType{pmetric.MetricTypeGauge, pmetric.MetricTypeSum},
	}.Split()
	m.boot()
	kills := m.killWhile(producers, rnd, seed)
	h, _ := m.process()
	h.settle()
	h.stop()
	m.note(h)

	expected := make(map[string][]rwtest.Sample)
	for _, p := range producers {
		maps.Copy(expected, p.Expected())
	}
	checkArrived(t, expected, receiver.Delivered())
	assert.Empty(t, receiver.Violations())
	assert.Empty(t, receiver.Overlaps())
	assert.Empty(t, receiver.Conflicting())
	if !what.late {
		assert.Empty(t, receiver.OutOfOrder())
	}
	assert.Len(t, m.disk.Keys(), 3, "nothing is left but heads and the owner")
	t.Logf("%d kills, %d recovered, %d redelivered, %d requests, dropped %v", kills, m.recovered, receiver.Redelivered(), receiver.Requests(), m.dropped)
}

// consumeAll has producers hand over what they have, with random pauses. What it returns is closed when they have.
func (m *machine) consumeAll(producers []*rwtest.Producer, seed uint64) (ended chan struct{}) {
	var done sync.WaitGroup
	for i, p := range producers {
		done.Go(func() {
			rnd := rand.New(rand.NewPCG(seed, uint64(i)))
			for md, ok := p.Next(); ok; md, ok = p.Next() {
				m.consume(md)
				time.Sleep(time.Duration(rnd.IntN(50)) * time.Millisecond)
			}
		})
	}
	ended = make(chan struct{})
	go func() { done.Wait(); close(ended) }()
	return ended
}

// killWhile has producers hand over what they have, and ends processes at random moments until they have.
func (m *machine) killWhile(producers []*rwtest.Producer, rnd *rand.Rand, seed uint64) (kills int) {
	ended := m.consumeAll(producers, seed)
	for {
		select {
		case <-ended:
			return kills
		case <-time.After(time.Duration(rnd.IntN(800)) * time.Millisecond):
			m.kill()
			kills++
			time.Sleep(time.Duration(rnd.IntN(300)) * time.Millisecond)
			m.boot()
		}
	}
}

// indexAtMost has logs know few of the records that are read later.
func indexAtMost(t *testing.T, records int) {
	before := mostIndexed
	mostIndexed = records
	t.Cleanup(func() { mostIndexed = before })
}

// flaky fails some of all reads and writes, before or after they are done, and makes others slow.
func flaky(seed uint64) func(storagetest.Batch) storagetest.Fault {
	var mu sync.Mutex
	rnd := rand.New(rand.NewPCG(seed, 1))
	return func(storagetest.Batch) storagetest.Fault {
		mu.Lock()
		wait, fails, applied := time.Duration(rnd.IntN(20))*time.Millisecond, rnd.IntN(10) == 0, rnd.IntN(2) == 0
		mu.Unlock()
		time.Sleep(wait)
		if fails {
			return storagetest.Fault{Err: storagetest.ErrInjected, Applied: applied}
		}
		return storagetest.Fault{}
	}
}

// backend is one that can be switched off.
type backend struct {
	rwtest.Receiver
	down atomic.Bool
}

func (b *backend) RoundTrip(r *http.Request) (*http.Response, error) {
	if b.down.Load() {
		return nil, errors.New("connection refused")
	}
	return b.Receiver.RoundTrip(r)
}

// TestFullStorageIsEmptied fills the storage, which has less room than queue.max_disk_bytes, while the backend is down. Callers are
// refused and nothing is lost; when the backend is back, acknowledgements find room.
func TestFullStorageIsEmptied(t *testing.T) {
	for name, full := range map[string]error{"limit of the extension": storage.ErrStorageFull, "full disk": syscall.ENOSPC} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { fillStorage(t, full) })
		})
	}
}

func fillStorage(t *testing.T, full error) {
	var b backend
	b.down.Store(true)
	m := newMachine(t, &b, func(c *Config) {
		c.Batch.MaxSizeBytes, c.Queue.MaxSizeBytes = minBatchSize, 4*minBatchSize
		c.Queue.BlockTimeout = time.Second
	})
	m.disk.Before = func(batch storagetest.Batch) storagetest.Fault {
		if n := batch.Size(); m.disk.Size()+n > 300_000 && n > 2000 {
			return storagetest.Fault{Err: full}
		}
		return storagetest.Fault{}
	}
	h := m.boot()
	accepted, refused := int64(0), 0
	for at := range 200 {
		switch err := h.ConsumeMetrics(t.Context(), noise(time.Now(), at, 50)); {
		case err == nil:
			accepted += 50
		case errors.Is(err, errUnstored):
			accepted += 50
			refused++
		default:
			require.ErrorIs(t, err, errQueueFull)
			refused++
		}
	}
	require.Positive(t, refused)
	require.Greater(t, m.disk.Size(), 250_000)
	assert.Contains(t, h.host.statuses(), componentstatus.StatusRecoverableError)
	assert.Positive(t, h.metric("otelcol_exporter_ordered_remote_write_storage_errors"))
	h.checkBalance()

	b.down.Store(false)
	h.settle()
	assert.Equal(t, accepted, h.delivered())
	require.NoError(t, h.ConsumeMetrics(t.Context(), noise(time.Now(), 1, 50)), "there is room again")
	h.settle()
	h.stop()
	assert.Empty(t, h.dropped())
	assert.Empty(t, b.Problems())
	assert.Len(t, m.disk.Keys(), 3, "nothing is left but heads and the owner")
}

// TestStoredBacklogIsReadInOrder has a backend that is down for long. Memory stays within its bound, the rest is on disk,
// and all of it arrives in order.
func TestStoredBacklogIsReadInOrder(t *testing.T) {
	forEachMessage(t, func(t *testing.T, message func(*Config)) {
		indexAtMost(t, 100)
		synctest.Test(t, func(t *testing.T) {
			var b backend
			m := newMachine(t, &b, message, func(c *Config) {
				c.Batch.MaxSizeBytes, c.Queue.MaxSizeBytes = minBatchSize, 4*minBatchSize
			})
			h := m.boot()
			most, onDisk := int64(0), 0
			for at := range 900 {
				b.down.Store(at > 60 && at < 800)
				h.consume(gauge(time.Now(), 40))
				most, onDisk = max(most, h.queue.state().size), max(onDisk, m.disk.Size())
				time.Sleep(time.Second)
			}
			h.settle()
			h.stop()
			assert.Equal(t, int64(900*40), h.delivered())
			assert.Empty(t, h.dropped())
			assert.Empty(t, b.Problems())
			assert.LessOrEqual(t, most, int64(8*minBatchSize), "bytes in memory")
			t.Logf("at most %d bytes in memory, %d on disk at most, %d writes", most, onDisk, m.disk.Writes())
		})
	})
}

// TestClosedQueueStaysInStorage shuts an exporter down while its backend is down, and starts it again.
func TestClosedQueueStaysInStorage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backend
		b.down.Store(true)
		m := newMachine(t, &b)
		h := m.boot()
		h.consume(gauge(time.Now(), 100))
		time.Sleep(10 * time.Second)
		h.consume(gauge(time.Now(), 100))
		began := time.Now()
		h.stop()
		assert.LessOrEqual(t, time.Since(began), 6*time.Second)
		assert.Equal(t, int64(200), h.ledger.Snapshot().Queued, "stays")
		assert.Empty(t, h.dropped())

		b.down.Store(false)
		h = m.boot()
		assert.Equal(t, int64(200), h.metric("otelcol_exporter_ordered_remote_write_recovered_samples"))
		h.settle()
		h.stop()
		assert.Equal(t, int64(200), h.delivered())
		assert.Empty(t, b.Problems())
	})
}

// TestRecoveredIsNeverBesideLive has samples of a series in storage that are newer than what comes after the restart. Both are
// sent, but not in one request, in which a receiver would lose one of them without saying so.
func TestRecoveredIsNeverBesideLive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backend
		b.down.Store(true)
		m := newMachine(t, &b, onePartition)
		h := m.boot()
		now := time.Now()
		h.consume(gauge(now, 10))
		h.stop()
		h = m.boot()
		h.consume(gauge(now.Add(-5*time.Second), 10))
		h.consume(gauge(now, 10))
		b.down.Store(false)
		h.settle()
		h.stop()
		assert.Equal(t, int64(20), h.delivered())
		assert.Equal(t, map[string]int64{"duplicate": 10}, h.dropped(), "what was recovered has advanced the guard")
		assert.Equal(t, 2, b.Requests())
	})
}

// TestRefusedAfterUnknown recovers samples that the endpoint has already, and refuses for that. The others of the same request
// are found and delivered, whatever on_error.rejected says.
func TestRefusedAfterUnknown(t *testing.T) {
	forEachMessage(t, func(t *testing.T, message func(*Config)) {
		synctest.Test(t, func(t *testing.T) {
			var b backend
			b.down.Store(true)
			refused := `{__name__="gauge", series="3"}`
			b.Script = func(r rwtest.Request) rwtest.Answer {
				if strings.Contains(fmt.Sprint(r.Message), `value:"3"`) {
					return rwtest.Answer{Status: 400, Body: "out of order sample: " + refused}
				}
				return rwtest.Answer{}
			}
			m := newMachine(t, &b, onePartition, message)
			h := m.boot()
			h.consume(gauge(time.Now(), 10))
			h.stop()
			b.down.Store(false)
			h = m.boot()
			h.settle()
			h.stop()
			assert.Equal(t, int64(9), h.delivered())
			assert.Equal(t, map[string]int64{"refused_after_unknown 400": 1}, h.dropped())
		})
	})
}

// checkArrived compares the first deliveries of each series with what was handed over, and shows where they part.
func checkArrived(t *testing.T, expected, delivered map[string][]rwtest.Sample) {
	t.Helper()
	for key, samples := range expected {
		got := delivered[key]
		for i := range samples {
			if i >= len(got) || got[i] != samples[i] {
				t.Errorf("%s: %d of %d delivered; from %d on %v, not %v", key, len(got), len(samples), i, got[i:min(i+8, len(got))], samples[i:min(i+8, len(samples))])
				break
			}
		}
	}
	assert.Len(t, delivered, len(expected), "series")
}

// TestOneStuckPartition has an endpoint that fails for one series for long. The others are delivered as if nothing was, and the
// log neither keeps what they have delivered, nor knows all of its records.
func TestOneStuckPartition(t *testing.T) {
	const indexed = 30
	indexAtMost(t, indexed)
	synctest.Test(t, func(t *testing.T) {
		var b backend
		var stuck atomic.Bool
		stuck.Store(true)
		b.Script = func(r rwtest.Request) rwtest.Answer {
			if stuck.Load() && strings.Contains(fmt.Sprint(r.Message), `value:"7"`) {
				return rwtest.Answer{Status: 500}
			}
			return rwtest.Answer{Latency: 20 * time.Millisecond}
		}
		m := newMachine(t, &b, func(c *Config) {
			c.Batch.MaxSizeBytes, c.Queue.MaxSizeBytes = minBatchSize, 4*minBatchSize
			c.Retry.BackOff.MaxElapsedTime = 0
		})
		h := m.boot()
		const payloads, series = 3000, 32
		known, trimmed := 0, math.MaxInt
		for i := range payloads {
			h.consume(gauge(time.Now(), series))
			time.Sleep(100 * time.Millisecond)
			now := h.storage.log.Sizes().Known
			if known = max(known, now); i >= payloads-100 {
				trimmed = min(trimmed, now)
			}
		}
		sizes := h.storage.log.Sizes()
		in := 0
		for i := range series {
			labels := []prompb.Label{{Name: nameLabel, Value: "gauge"}, {Name: "series", Value: strconv.Itoa(i)}}
			if seriesPartition(labels, len(h.queue.partitions)) == seriesPartition([]prompb.Label{labels[0], {Name: "series", Value: "7"}}, len(h.queue.partitions)) {
				in++
			}
		}
		assert.GreaterOrEqual(t, h.delivered(), int64((payloads-100)*(series-in)), "of those in other partitions than that of the %d", in)
		assert.LessOrEqual(t, sizes.Stored, 2*sizes.Live+100_000, "bytes of the log")
		inMemory := 0
		for _, p := range h.queue.partitions {
			if p.kept.reading {
				inMemory = int(p.kept.cursor)
			}
		}
		assert.LessOrEqual(t, trimmed, inMemory+indexed*3/2, "records known")
		// Until they are trimmed there are those besides that a search for what to write again has read, which one may do at the end.
		assert.LessOrEqual(t, known, inMemory+indexed*3/2+128, "records known at any time")
		assert.InDelta(t, m.disk.Size(), sizes.Stored, minBatchSize, "bytes of the log")
		t.Logf("%d of %d series wait, %d bytes, in %d stored; at most %d of %d records known, %d in memory", in, series, sizes.Live, sizes.Stored, known, payloads, inMemory)
		stuck.Store(false)
		h.settle()
		h.stop()
		assert.Equal(t, int64(payloads*series), h.delivered())
		assert.Empty(t, b.Problems())
	})
}

// TestEvictionFromStorage has a full log with queue.on_full: drop_oldest and drop_newest. What is dropped is counted, and what is
// left arrives in order.
func TestEvictionFromStorage(t *testing.T) {
	for _, policy := range []OnFull{OnFullDropOldest, OnFullDropNewest} {
		t.Run(string(policy), func(t *testing.T) {
			indexAtMost(t, 20)
			synctest.Test(t, func(t *testing.T) {
				var b backend
				b.down.Store(true)
				m := newMachine(t, &b, func(c *Config) {
					c.Batch.MaxSizeBytes, c.Queue.MaxSizeBytes, c.Queue.MaxDiskBytes = minBatchSize, 4*minBatchSize, 256<<10
					c.Queue.OnFull = policy
				})
				h := m.boot()
				var last time.Time
				for range 600 {
					last = time.Now()
					h.consume(gauge(last, 50))
					time.Sleep(time.Second)
				}
				h.checkBalance()
				dropped := h.dropped()["queue_full"]
				require.Positive(t, dropped)
				assert.LessOrEqual(t, h.queue.state().stored.live, int64(256<<10))
				h.stop()
				b.down.Store(false)
				h = m.boot()
				h.settle()
				h.stop()
				assert.Equal(t, int64(600*50)-dropped, h.delivered())
				assert.Empty(t, b.OutOfOrder())
				newest := false
				for _, samples := range b.Delivered() {
					newest = newest || samples[len(samples)-1].Timestamp == last.UnixMilli()
				}
				assert.Equal(t, policy == OnFullDropOldest, newest, "the newest samples are kept")
			})
		})
	}
}

// TestDamagedStorageIsCounted changes records under a process that is down. What they had is counted, and the rest arrives.
func TestDamagedStorageIsCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backend
		b.down.Store(true)
		m := newMachine(t, &b)
		h := m.boot()
		for range 10 {
			h.consume(gauge(time.Now(), 20))
			time.Sleep(time.Second)
		}
		h.stop()
		keys := m.disk.Keys()
		m.disk.Change(keys[4], func(v []byte) []byte { v[len(v)/2]++; return v })
		m.disk.Change(keys[7], func([]byte) []byte { return nil })
		m.disk.Change(keys[len(keys)-1], func(v []byte) []byte { return v[:len(v)/2] })
		b.down.Store(false)
		h = m.boot()
		h.settle()
		h.stop()
		// A payload may be in two records.
		lost := h.dropped()["storage_corrupt"]
		logged := int64(0)
		for _, line := range h.logs.FilterMessageSnippet("Storage has lost").All() {
			fields := line.ContextMap()
			logged += fields["lost_samples_since_last_line"].(int64)
			if now, ok := fields["lost_samples"].(int64); ok {
				logged += now
			}
		}
		assert.Equal(t, lost, logged)
		assert.GreaterOrEqual(t, lost, int64(3))
		assert.LessOrEqual(t, lost, int64(60))
		assert.Equal(t, 200-lost, h.delivered())
		assert.Empty(t, b.Problems())
		assert.Len(t, m.disk.Keys(), 3, "nothing is left but heads and the owner")
	})
}

// TestLostCommits sets the storage back to an earlier state when a process dies, as a power cut can. What was accepted since is
// lost, unless it had been sent; nothing else is, and no series goes back in time.
func TestLostCommits(t *testing.T) {
	seed := seed(t)
	synctest.Test(t, func(t *testing.T) {
		rnd := rand.New(rand.NewPCG(seed, 0))
		var b backend
		m := newMachine(t, &b)
		accepted := make(map[int64]bool)
		h := m.boot()
		for range 20 {
			b.down.Store(rnd.IntN(2) == 0)
			var lost []int64
			restore := func() {}
			for step := range 30 {
				if step == 20 {
					restore = m.disk.Snapshot()
				}
				now := time.Now()
				h.consume(gauge(now, 10))
				accepted[now.UnixMilli()] = true
				if step >= 20 {
					lost = append(lost, now.UnixMilli())
				}
				time.Sleep(time.Duration(1+rnd.IntN(300)) * time.Millisecond)
			}
			m.kill()
			if rnd.IntN(2) == 0 {
				restore()
				for _, ts := range lost {
					delete(accepted, ts)
				}
			}
			time.Sleep(time.Second)
			h = m.boot()
		}
		b.down.Store(false)
		h.settle()
		h.stop()
		for key, samples := range b.Delivered() {
			got := make(map[int64]bool)
			for _, s := range samples {
				got[s.Timestamp] = true
			}
			for ts := range accepted {
				require.True(t, got[ts], "%s at %d", key, ts)
			}
		}
		assert.Empty(t, b.OutOfOrder())
		assert.Empty(t, h.dropped())
	})
}

// TestShutdownWithStorageThatHangs has a storage that does not come back from a write. Callers get an error in their time, and the
// shutdown ends in its own.
func TestShutdownWithStorageThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backend
		m := newMachine(t, &b, func(c *Config) { c.ShutdownTimeout = 10 * time.Second })
		disk := newHold(t)
		var hangs atomic.Bool
		m.disk.Before = func(storagetest.Batch) storagetest.Fault {
			if hangs.Load() {
				disk.wait()
			}
			return storagetest.Fault{}
		}
		h := m.boot()
		hangs.Store(true)
		began := time.Now()
		require.ErrorIs(t, h.ConsumeMetrics(t.Context(), gauge(time.Now(), 10)), errUnstored)
		assert.Equal(t, h.queue.blockTimeout, time.Since(began))
		began = time.Now()
		require.NoError(t, h.Shutdown(context.Background()))
		assert.LessOrEqual(t, time.Since(began), 20*time.Second)
		h.checkBalance()
		assert.Zero(t, b.Requests())
		hangs.Store(false)
		disk.letGo()
		synctest.Wait()
		m.boot().stop()
	})
}
