// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"runtime"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/storagetest"
)

// TestLateSamplesDoNotWaitForNewerOnes: late samples wait for the good ones that were accepted before them, and not for those before
// other late ones that have come since. With payloads in step with the flush timeout they would wait for ever.
func TestLateSamplesDoNotWaitForNewerOnes(t *testing.T) {
	cfg := createDefaultConfig().(*Config)
	cfg.Partitions = 1
	q := newQueue(cfg.queueOptions(), account.NewLedger())
	p := q.partitions[0]
	add := func(l *lane) {
		c := &chunk{tally: tally{Counts: account.Counts{Samples: 1}}, accepted: time.Now(), plain: make([]byte, 100)}
		p.appendLocked(l, c, &q.limits, nil)
	}
	for range 3 {
		add(&p.good)
		add(&p.late)
		assert.False(t, p.lateReady(), "the good sample before it is still there")
		p.good.popFront()
		assert.True(t, p.lateReady())
		add(&p.good)
		add(&p.late)
		assert.True(t, p.lateReady(), "the first late sample does not wait for what has come since")
		taken := p.late.open.take(&q.limits, 0, sizes{}, p.unsettled())
		require.NotNil(t, taken)
		p.late.taken(taken)
		assert.Equal(t, 1, taken.Samples)
		assert.False(t, p.lateReady())
		p.good.popFront()
		p.late.popFront()
	}
}

// TestSteadyLateSamplesHaveRoom: late samples that come all the time, so that there always are some, and leave again. What they
// hold once they are packed is less than what they came with, which must not be taken for what still waits.
func TestSteadyLateSamplesHaveRoom(t *testing.T) {
	forEachMessage(t, func(t *testing.T, message func(*Config)) {
		synctest.Test(t, func(t *testing.T) {
			const steps = 1000
			receiver := &rwtest.Receiver{Script: func(rwtest.Request) rwtest.Answer { return rwtest.Answer{Latency: 20 * time.Millisecond} }}
			h := newHarness(t, receiver, message, onePartition, func(c *Config) {
				c.Queue.MaxSizeBytes = 1 << 20
				c.Batch.MaxSamples = 200
				c.Batch.MaxSizeBytes = 100_000
			})
			start := time.Now()
			for i := range steps {
				h.consume(gauge(time.Now(), 70))
				h.consume(gauge(start.Add(-time.Duration(i+1)*time.Millisecond), 70))
				time.Sleep(50 * time.Millisecond)
			}
			assert.Empty(t, h.dropped())
			h.shutdown()
			assert.Equal(t, int64(2*steps*70), h.delivered())
		})
	})
}

// TestSeriesIsHeldOnlyBehindItsOwnOldSamples: a client sends old samples after an outage of its own, and then good ones. Another one of
// the same partition has late samples all the time, which the receiver refuses with their whole request. They cost the first one's
// samples their request as long as its old ones wait, and not for ever.
func TestSeriesIsHeldOnlyBehindItsOwnOldSamples(t *testing.T) {
	forEachMessage(t, func(t *testing.T, message func(*Config)) {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			receiver := &rwtest.Receiver{Script: func(r rwtest.Request) rwtest.Answer {
				if hasSeries(r, "late") && time.UnixMilli(r.Message.Timeseries[0].Samples[0].Timestamp).Before(start) {
					return rwtest.Answer{Status: 400, Latency: 20 * time.Millisecond}
				}
				return rwtest.Answer{Latency: 20 * time.Millisecond}
			}}
			h := newHarness(t, receiver, message, onePartition)
			named := func(ts time.Time, name string) pmetric.Metrics {
				md := gauge(ts, 1)
				md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0).Gauge().DataPoints().At(0).Attributes().PutStr("series", name)
				return md
			}
			h.consume(named(start, "late"))
			h.consume(named(start.Add(-2*time.Hour), "replayed"))
			for i := range 3000 {
				h.consume(named(start.Add(-time.Duration(i+1)*time.Second), "late"))
				if i%3 == 0 {
					h.consume(named(time.Now(), "good"))
				}
				if i%300 == 0 {
					h.consume(named(time.Now(), "replayed"))
				}
				time.Sleep(17 * time.Millisecond)
			}
			h.shutdown()
			replayed := 0
			for key, samples := range receiver.Delivered() {
				if strings.Contains(key, `"replayed"`) {
					replayed += len(samples)
				}
			}
			assert.GreaterOrEqual(t, replayed, 8, "%v", h.dropped())
			assert.Empty(t, receiver.OutOfOrder())
		})
	})
}

// TestHoldsAreBounded: series that are held once each, while late samples wait all the time.
func TestHoldsAreBounded(t *testing.T) {
	var h holds
	for i := range uint64(100_000) {
		h.number = i
		h.release(max(i, 10) - 10)
		h.hold(i)
		require.LessOrEqual(t, len(h.last), 2*leastSwept)
	}
	assert.True(t, h.has(99_999, 0))
	assert.True(t, h.has(99_990, 0))
	assert.False(t, h.has(99_900, 0))
	h.release(settled)
	assert.True(t, h.empty())
}

// TestSamplesAheadAreNotOvertaken: the clock of a client is as far ahead as max_future, give or take a second, so that some samples of a
// series travel with the late ones and some do not. After an outage all are sent in their order.
func TestSamplesAheadAreNotOvertaken(t *testing.T) {
	forEachMessage(t, func(t *testing.T, message func(*Config)) {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			prometheus := likePrometheus{newest: make(map[string]int64)}
			receiver := &rwtest.Receiver{Script: func(r rwtest.Request) rwtest.Answer {
				if time.Since(start) < 3*time.Minute {
					return rwtest.Answer{Status: 503}
				}
				return prometheus.answer(r)
			}}
			h := newHarness(t, receiver, message, onePartition)
			for i := range 20 {
				h.consume(gauge(time.Now().Add(h.cfg.MaxFuture+time.Second-time.Duration(i%2)*2*time.Second), 5000))
				time.Sleep(15 * time.Second)
			}
			h.shutdown()
			assert.Empty(t, h.dropped())
			assert.Empty(t, receiver.OutOfOrder())
		})
	})
}

// TestFarSampleHoldsNothing: what a series has until then does not follow a sample of next year, which is refused with all that travels
// with it.
func TestFarSampleHoldsNothing(t *testing.T) {
	g, now := newGuard(createDefaultConfig().(*Config).queueOptions().guard), time.Now()
	ahead := func(d time.Duration) fate {
		g.held.number++
		c := &indexedChunk{index: []indexEntry{{identity: 1, timestamp: now.Add(d).UnixMilli()}}}
		s := g.sortLocked(c.index, now)
		for f, of := range s.by {
			if len(of) > 0 {
				g.queuedLocked(&run{of: c, at: of, ahead: fate(f) == fateFuture})
				return fate(f)
			}
		}
		return fateGood
	}
	assert.Equal(t, fateFuture, ahead(20*time.Minute))
	assert.Equal(t, fateFuture, ahead(365*24*time.Hour))
	assert.Equal(t, fateGood, ahead(0))
	now = now.Add(15 * time.Minute)
	assert.Equal(t, fateGood, ahead(0))
	now = now.Add(365 * 24 * time.Hour)
	assert.Equal(t, fatePast, ahead(0), "the far one may be good by now, and waits before it")
}

// TestLateSampleInLineHoldsToo: with out_of_order: send, a late sample of a held series waits in the late lane. What comes after it must
// wait behind it, although the sample that the series was held for has its outcome.
func TestLateSampleInLineHoldsToo(t *testing.T) {
	options := createDefaultConfig().(*Config).queueOptions().guard
	options.outOfOrder = OutOfOrderSend
	g, now := newGuard(options), time.Now()
	fateAt := func(ago time.Duration) fate {
		g.held.number++
		s := g.sortLocked([]indexEntry{{identity: 1, timestamp: now.Add(-ago).UnixMilli()}}, now)
		for f, of := range s.by {
			if len(of) > 0 {
				return fate(f)
			}
		}
		return fateGood
	}
	assert.Equal(t, fatePast, fateAt(2*time.Hour))
	assert.Equal(t, fateHeldLate, fateAt(3*time.Hour))
	g.held.release(2)
	assert.Equal(t, fatePast, fateAt(time.Minute), "behind the late one")
	g.held.release(4)
	assert.Equal(t, fateGood, fateAt(0))
}

// TestSeriesIsHeldInsideAPayload: a payload has an old sample of a series and a new one, which must not overtake it. That does not
// depend on what was held before.
func TestSeriesIsHeldInsideAPayload(t *testing.T) {
	forEachMessage(t, func(t *testing.T, message func(*Config)) {
		synctest.Test(t, func(t *testing.T) {
			receiver := &rwtest.Receiver{}
			h := newHarness(t, receiver, message, onePartition)
			start := time.Now()
			for i := range 3 {
				at := time.Duration(i) * time.Minute
				h.consume(steps(start, at-2*time.Hour+time.Duration(i)*10*time.Minute))
				time.Sleep(5 * time.Second)
			}
			h.consume(steps(start, -time.Hour, 0))
			h.shutdown()
			assert.Empty(t, receiver.OutOfOrder())
			assert.Empty(t, h.dropped())
		})
	})
}

// TestHoldsGiveTheirMemoryBack when what was held has its outcome.
func TestHoldsGiveTheirMemoryBack(t *testing.T) {
	var h holds
	heap := func() uint64 {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := heap()
	for i := range uint64(1_000_000) {
		h.hold(i)
	}
	h.number++
	h.hold(0)
	assert.Greater(t, heap(), before+10_000_000)
	assert.Less(t, heap(), before+60_000_000)
	h.release(1)
	assert.Less(t, heap(), before+1<<20, "one is held")
	h.release(settled)
	assert.Less(t, heap(), before+1<<20)
	assert.True(t, h.empty())
}

// TestRecoveredSamplesAheadAreNotOvertaken: a restart, while samples wait that were ahead of the clock, lets no newer ones overtake them.
func TestRecoveredSamplesAheadAreNotOvertaken(t *testing.T) {
	forEachMessage(t, func(t *testing.T, message func(*Config)) {
		synctest.Test(t, func(t *testing.T) {
			var b backend
			b.down.Store(true)
			m := newMachine(t, &b, message, onePartition, func(c *Config) { c.Batch.MaxSamples = 1 })
			h := m.boot()
			h.consume(gauge(time.Now().Add(h.cfg.MaxFuture+time.Second), 3))
			h.stop()
			time.Sleep(15 * time.Second)
			h = m.boot()
			newer := gauge(time.Now().Add(h.cfg.MaxFuture-time.Second), 1)
			newer.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0).Gauge().DataPoints().At(0).Attributes().PutStr("series", "2")
			h.consume(newer)
			b.down.Store(false)
			h.settle()
			h.stop()
			assert.Equal(t, int64(4), h.delivered())
			assert.Empty(t, b.OutOfOrder())
		})
	})
}

// TestRecoveredLateSamplesInLineAreNotOvertaken: with out_of_order: send, late samples of a held series wait in the late lane when the
// process ends, and the one that the series was held for has its outcome. What comes after the restart waits behind them.
func TestRecoveredLateSamplesInLineAreNotOvertaken(t *testing.T) {
	forEachMessage(t, func(t *testing.T, message func(*Config)) {
		synctest.Test(t, func(t *testing.T) {
			var b backend
			b.Script = func(r rwtest.Request) rwtest.Answer {
				if r.Seq == 2 {
					b.down.Store(true)
					return rwtest.Answer{Status: 500}
				}
				return rwtest.Answer{}
			}
			m := newMachine(t, &b, message, onePartition, func(c *Config) { c.OutOfOrder = OutOfOrderSend })
			h, start := m.boot(), time.Now()
			accepted := []time.Duration{-2 * time.Hour, -3 * time.Hour, -4 * time.Hour, 0}
			for _, at := range accepted[:3] {
				h.consume(steps(start, at))
			}
			time.Sleep(5 * time.Second)
			h.stop()
			h = m.boot()
			h.consume(steps(start, accepted[3]))
			time.Sleep(15 * time.Second)
			b.down.Store(false)
			h.settle()
			h.stop()
			assert.Equal(t, accepted, offsetsOf(&b.Receiver, start, "gauge"))
		})
	})
}

// TestHeldSeriesAreForgotten: what is known of the series that a client sent old samples of is forgotten when these have their outcome,
// although nothing comes any more, or other late samples of the partition wait for as long as the endpoint does not take them.
func TestHeldSeriesAreForgotten(t *testing.T) {
	for name, stuck := range map[string]int{"nothing comes": 0, "others wait": 1} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				receiver := &rwtest.Receiver{Script: func(r rwtest.Request) rwtest.Answer {
					if len(r.Series) == 1 {
						return rwtest.Answer{Status: 500}
					}
					return rwtest.Answer{}
				}}
				h := newHarness(t, receiver, onePartition, func(c *Config) { c.Batch.MaxSamples = 5000 })
				held := func() int {
					g := h.queue.partitions[0].guard
					g.mu.Lock()
					defer g.mu.Unlock()
					return len(g.held.last)
				}
				h.consume(gauge(time.Now().Add(-2*time.Hour), 5000))
				if stuck > 0 {
					h.consume(gauge(time.Now().Add(-2*time.Hour).Add(time.Second), stuck))
				}
				assert.Equal(t, 5000, held())
				time.Sleep(h.cfg.SeriesIdleTimeout/16 + time.Second)
				assert.Equal(t, stuck, held())
				h.shutdown()
			})
		})
	}
}

// TestSeriesIsNotHeldBehindWhatIsBeingStored: with storage, late samples of others are being written at every moment. A series is held
// behind its own all the same, and no longer.
func TestSeriesIsNotHeldBehindWhatIsBeingStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var b backend
		m := newMachine(t, &b, onePartition, func(c *Config) { c.Batch.FlushTimeout = time.Millisecond })
		m.disk.Before = func(storagetest.Batch) storagetest.Fault {
			time.Sleep(15 * time.Millisecond)
			return storagetest.Fault{}
		}
		h := m.boot()
		p := h.queue.partitions[0]
		held := func() bool {
			p.guard.mu.Lock()
			defer p.guard.mu.Unlock()
			unsettled, _ := h.queue.lateState(p)
			require.NotEqual(t, uint64(settled), unsettled)
			p.guard.held.release(unsettled)
			require.Len(t, p.guard.held.last, 1)
			for identity := range p.guard.held.last {
				return p.guard.held.has(identity, start.UnixMilli())
			}
			return false
		}
		h.consume(steps(start, 0))
		others := func(i int) pmetric.Metrics {
			md := steps(start, -time.Duration(i)*time.Second)
			md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0).SetName("others")
			return md
		}
		h.consume(others(0))
		var calls sync.WaitGroup
		for i := range 100 {
			calls.Go(func() { h.consume(others(i + 1)) })
			time.Sleep(5 * time.Millisecond)
			if i == 10 {
				old := steps(start, -2*time.Hour)
				old.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0).SetName("old")
				calls.Go(func() { h.consume(old) })
				time.Sleep(5 * time.Millisecond)
				assert.True(t, held())
			}
		}
		assert.False(t, held())
		calls.Wait()
		h.settle()
		h.stop()
		assert.Equal(t, int64(103), h.delivered())
	})
}
