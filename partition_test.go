// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
)

// noise is a gauge whose series do not compress, so that few of them fill a queue.
func noise(ts time.Time, series, n int) pmetric.Metrics {
	md := gauge(ts, n)
	rnd := rand.New(rand.NewPCG(uint64(series), 0))
	for i, dp := range md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0).Gauge().DataPoints().All() {
		dp.Attributes().PutStr("series", strconv.Itoa(series+i))
		value := make([]byte, 1000)
		for j := range value {
			value[j] = byte('!' + rnd.IntN(90))
		}
		dp.Attributes().PutStr("noise", string(value))
	}
	return md
}

// smallQueue has room for about 60 KiB.
func smallQueue(policy OnFull) func(*Config) {
	return func(c *Config) {
		c.Partitions = 1
		c.Batch.MaxSizeBytes = minBatchSize
		c.Batch.MaxSamples = 5
		c.Queue.MaxSizeBytes = 4 * minBatchSize
		c.Queue.OnFull = policy
		c.Queue.BlockTimeout = time.Hour
		c.Retry.BackOff.MaxElapsedTime = 0
		c.ShutdownTimeout = time.Second
	}
}

// unavailable is a receiver that answers 503 until the time has come.
func unavailable(until time.Time) *rwtest.Receiver {
	return &rwtest.Receiver{Script: func(rwtest.Request) rwtest.Answer {
		if time.Now().Before(until) {
			return rwtest.Answer{Status: 503}
		}
		return rwtest.Answer{}
	}}
}

// fill passes payloads of five samples to the exporter until one is not accepted or samples are dropped.
func fill(t *testing.T, h *harness) (accepted int, err error) {
	for accepted < 100 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		err = h.ConsumeMetrics(ctx, noise(time.Now(), accepted*5, 5))
		cancel()
		if err != nil || len(h.dropped()) > 0 {
			return accepted, err
		}
		accepted++
	}
	t.Fatal("the queue does not fill")
	return 0, nil
}

func TestOnFullBlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		receiver := unavailable(time.Now().Add(time.Minute))
		h := newHarness(t, receiver, smallQueue(OnFullBlock))
		accepted, err := fill(t, h)
		require.ErrorIs(t, err, context.DeadlineExceeded, "the caller's deadline bounds the wait")
		assert.False(t, consumererror.IsPermanent(err))
		assert.ErrorContains(t, err, "queue.on_full")
		assert.Equal(t, int64(5*accepted), h.ledger.Snapshot().Received, "nothing of the refused payload is received")
		assert.Equal(t, int64(5), h.metric("otelcol_exporter_ordered_remote_write_refused_samples"))

		start := time.Now()
		require.NoError(t, h.ConsumeMetrics(t.Context(), noise(time.Now(), 1000, 5)), "there is room when the endpoint is back")
		assert.Greater(t, time.Since(start), 30*time.Second)
		h.shutdown()
		assert.Equal(t, int64(5*accepted+5), h.delivered())
		assert.Empty(t, h.dropped())
		assert.Empty(t, receiver.Problems())
	})
}

func TestOnFullBlockIsReleasedByShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, answers(503), smallQueue(OnFullBlock))
		accepted, _ := fill(t, h)
		released := make(chan error)
		go func() { released <- h.ConsumeMetrics(context.Background(), noise(time.Now(), 1000, 5)) }()
		synctest.Wait()
		h.shutdown()
		require.ErrorIs(t, <-released, errClosed)
		assert.Equal(t, int64(5*accepted), h.ledger.Snapshot().Received)
	})
}

// TestOnFullBlockEnds after queue.block_timeout, for a caller that would wait for ever: only then can a collector stop.
func TestOnFullBlockEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, answers(503), smallQueue(OnFullBlock), func(c *Config) { c.Queue.BlockTimeout = 10 * time.Second })
		accepted, _ := fill(t, h)
		start := time.Now()
		err := h.ConsumeMetrics(context.Background(), noise(time.Now(), 1000, 5))
		require.ErrorIs(t, err, errQueueFull)
		assert.False(t, consumererror.IsPermanent(err), "the client may try again")
		assert.Equal(t, 10*time.Second, time.Since(start))
		assert.Equal(t, int64(5*accepted), h.ledger.Snapshot().Received)
		h.shutdown()
	})
}

func TestOnFullReject(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		receiver := unavailable(start.Add(time.Minute))
		h := newHarness(t, receiver, smallQueue(OnFullReject))
		accepted, err := fill(t, h)
		require.ErrorIs(t, err, errQueueFull)
		assert.False(t, consumererror.IsPermanent(err), "the client may try again")
		assert.Equal(t, start, time.Now(), "nobody waits")
		time.Sleep(2 * time.Minute)
		require.NoError(t, h.ConsumeMetrics(t.Context(), noise(time.Now(), 1000, 5)))
		h.shutdown()
		assert.Equal(t, int64(5*accepted+5), h.delivered())
		assert.Empty(t, h.dropped())
		assert.Empty(t, receiver.Problems())
	})
}

func TestOnFullDropNewest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		receiver := unavailable(time.Now().Add(time.Minute))
		h := newHarness(t, receiver, smallQueue(OnFullDropNewest))
		accepted, err := fill(t, h)
		require.NoError(t, err)
		time.Sleep(2 * time.Minute)
		h.shutdown()
		assert.Equal(t, map[string]int64{"queue_full": 5}, h.dropped())
		assert.Equal(t, int64(5*accepted), h.delivered())
		assert.Empty(t, seriesOf(receiver, 5*accepted), "the newest are missing")
		assert.NotEmpty(t, seriesOf(receiver, 0))
		assert.Equal(t, int64(5), h.metric("otelcol_exporter_send_failed_metric_points"))
	})
}

func TestOnFullDropOldest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		receiver := unavailable(time.Now().Add(time.Minute))
		h := newHarness(t, receiver, smallQueue(OnFullDropOldest))
		h.consume(noise(time.Now(), 10_000, 5))
		synctest.Wait() // the first batch is in flight
		accepted, err := fill(t, h)
		require.NoError(t, err)
		time.Sleep(2 * time.Minute)
		h.shutdown()
		assert.Equal(t, map[string]int64{"queue_full": 5}, h.dropped())
		assert.Equal(t, int64(5*accepted+5), h.delivered())
		assert.NotEmpty(t, seriesOf(receiver, 10_000), "what is in flight is not evicted")
		assert.Empty(t, seriesOf(receiver, 0), "the oldest that wait are missing")
		assert.NotEmpty(t, seriesOf(receiver, 5*accepted), "the newest are there")
		assert.Empty(t, receiver.Problems())
	})
}

// seriesOf returns what was delivered of a series of gauge or noise.
func seriesOf(r *rwtest.Receiver, series int) []rwtest.Sample {
	label := `series="` + strconv.Itoa(series) + `"`
	for key, samples := range r.Delivered() {
		if len(key) > len(label) && key[len(key)-1-len(label):len(key)-1] == label {
			return samples
		}
	}
	return nil
}

// TestAdmissionIsAllOrNothing has one full partition among eight: a payload that touches it is not accepted by any.
func TestAdmissionIsAllOrNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, answers(503), smallQueue(OnFullReject), func(c *Config) {
			c.Partitions = 8
			c.Queue.MaxSizeBytes *= 8
		})
		var err error
		sent := 0
		for err == nil {
			before := h.ledger.Snapshot()
			if err = h.ConsumeMetrics(t.Context(), noise(time.Now(), sent, 40)); err == nil {
				sent += 40
				continue
			}
			require.ErrorIs(t, err, errQueueFull)
			synctest.Wait()
			assert.Equal(t, before.Received, h.ledger.Snapshot().Received)
		}
		assert.Equal(t, int64(sent), h.ledger.Snapshot().Received)
		h.shutdown()
	})
}

// TestPayloadLargerThanAQueue is refused for good: waiting would not help.
func TestPayloadLargerThanAQueue(t *testing.T) {
	for _, policy := range []OnFull{OnFullBlock, OnFullReject, OnFullDropNewest, OnFullDropOldest} {
		t.Run(string(policy), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHarness(t, answers(200), smallQueue(policy))
				err := h.ConsumeMetrics(t.Context(), noise(time.Now(), 0, 100))
				if policy == OnFullBlock || policy == OnFullReject {
					require.ErrorContains(t, err, "queue.max_size_bytes")
					assert.True(t, consumererror.IsPermanent(err))
					assert.Zero(t, h.ledger.Snapshot().Received)
				} else {
					require.NoError(t, err)
					assert.Equal(t, map[string]int64{"queue_full": 100}, h.dropped())
				}
				h.shutdown()
			})
		})
	}
}

// TestQueueIsBoundedInBytes fills queues with all policies and looks at what they hold.
func TestQueueIsBoundedInBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, answers(503), smallQueue(OnFullDropOldest), func(c *Config) {
			c.Partitions = 4
			c.Queue.MaxSizeBytes *= 4
		})
		for i := range 100 {
			h.consume(noise(time.Now(), i*7, 7))
			require.LessOrEqual(t, h.queue.state().size, h.queue.capacity)
		}
		assert.Equal(t, h.queue.state().size, h.metric("otelcol_exporter_ordered_remote_write_queue_size"))
		assert.Equal(t, int64(4*4*minBatchSize), h.metric("otelcol_exporter_ordered_remote_write_queue_capacity"))
		assert.Equal(t, h.ledger.Snapshot().Queued, h.metric("otelcol_exporter_ordered_remote_write_queued_samples"))
		h.shutdown()
	})
}

// TestBatchIsSealed by samples, by bytes and by time.
func TestBatchIsSealed(t *testing.T) {
	sizes := func(t *testing.T, edit func(*Config), payloads ...int) (samples []int) {
		synctest.Test(t, func(t *testing.T) {
			receiver := &rwtest.Receiver{Script: func(r rwtest.Request) rwtest.Answer {
				samples = append(samples, r.Samples())
				return rwtest.Answer{}
			}}
			h := newHarness(t, receiver, onePartition, edit)
			for _, n := range payloads {
				h.consume(gauge(time.Now(), n))
				time.Sleep(300 * time.Millisecond)
			}
			time.Sleep(10 * time.Second)
			h.shutdown()
		})
		return samples
	}
	t.Run("by samples", func(t *testing.T) {
		edit := func(c *Config) { c.Batch.MaxSamples = 10 }
		assert.Equal(t, []int{10, 10, 5}, sizes(t, edit, 25))
		assert.Equal(t, []int{10}, sizes(t, edit, 5, 5))
	})
	t.Run("by bytes", func(t *testing.T) {
		got := sizes(t, func(c *Config) { c.Batch.MaxSizeBytes = minBatchSize }, 1000)
		assert.Greater(t, len(got), 2)
	})
	t.Run("by time", func(t *testing.T) {
		assert.Equal(t, []int{1 + 2 + 3 + 4, 5 + 6}, sizes(t, func(*Config) {}, 1, 2, 3, 4, 5, 6))
	})
}

// TestGuard drops samples that are not newer before they are sent.
func TestGuard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		receiver := &rwtest.Receiver{}
		h := newHarness(t, receiver, onePartition, func(c *Config) {
			c.OutOfOrder = OutOfOrderDrop
			c.Batch.MaxSamples = 50
			c.Queue.OnFull = OnFullReject
			c.LogExamples = true
		})
		start := time.Now()
		h.consume(gauge(start, 120))
		h.consume(gauge(start.Add(-time.Second), 120)) // spread over full batches and the rest
		h.consume(gauge(start, 10))
		// One old series among newer ones of the same payload.
		md := gauge(start.Add(time.Second), 120)
		points := md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0).Gauge().DataPoints()
		points.At(70).SetTimestamp(pcommon.NewTimestampFromTime(start))
		points.At(110).SetTimestamp(pcommon.NewTimestampFromTime(start.Add(-time.Minute)))
		h.consume(md)
		h.shutdown()
		assert.Equal(t, map[string]int64{"out_of_order": 121, "duplicate": 11}, h.dropped())
		assert.Equal(t, int64(120+118), h.delivered())
		assert.Empty(t, receiver.Problems())
		line := h.logs.FilterField(zapReason(account.ReasonOutOfOrder)).All()
		require.NotEmpty(t, line)
		assert.Contains(t, line[0].ContextMap()["example"], `gauge{series="`)
	})
}

// TestGuardKnowsOnlyWhatWasAccepted: a payload that was refused can come again.
func TestGuardKnowsOnlyWhatWasAccepted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		receiver := unavailable(time.Now().Add(time.Minute))
		h := newHarness(t, receiver, smallQueue(OnFullReject), func(c *Config) { c.OutOfOrder = OutOfOrderDrop })
		accepted, err := fill(t, h)
		require.ErrorIs(t, err, errQueueFull)
		again := noise(time.Now(), accepted*5, 5)
		time.Sleep(2 * time.Minute)
		h.consume(again)
		h.shutdown()
		assert.Empty(t, h.dropped())
		assert.Equal(t, int64(5*accepted+5), h.delivered())
	})
}

// TestMadeTargetInfoWaitsBehindItsSeries: target_info that is good travels apart when samples of its series wait there, and is not
// left out like one that is late.
func TestMadeTargetInfoWaitsBehindItsSeries(t *testing.T) {
	g, now := newGuard(createDefaultConfig().(*Config).queueOptions().guard), time.Now()
	g.held.hold(1)
	index := []indexEntry{
		{identity: 1, target: 9, timestamp: now.UnixMilli(), guard: madeTarget},
		{identity: 2, timestamp: now.UnixMilli()},
	}
	s := g.sortLocked(index, now)
	assert.Equal(t, []int{0}, s.by[fatePast])
	assert.Equal(t, []int{1}, s.by[fateGood])
	// The same once more is late, and made for nothing.
	s = g.sortLocked(index[:1], now)
	assert.False(t, s.all)
	for _, of := range s.by {
		assert.Empty(t, of)
	}
}

// TestTargetInfoNeverGoesBack, whatever the configuration says of other series.
func TestTargetInfoNeverGoesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		receiver := &rwtest.Receiver{}
		h := newHarness(t, receiver)
		payload := func(ts time.Time, version string) pmetric.Metrics {
			md := gauge(ts, 1)
			attrs := md.ResourceMetrics().At(0).Resource().Attributes()
			attrs.PutStr("service.name", "shop")
			attrs.PutStr("service.instance.id", "1")
			attrs.PutStr("version", version)
			return md
		}
		start := time.Now()
		h.consume(payload(start, "a"))
		h.consume(payload(start.Add(-time.Minute), "a")) // an older one
		h.consume(payload(start, "b"))                   // another description of the same target at the same time
		h.consume(payload(start.Add(time.Minute), "b"))
		h.shutdown()
		var times []time.Duration
		for key, samples := range receiver.Delivered() {
			if key[:24] == `{__name__="target_info",` {
				for _, s := range samples {
					times = append(times, time.UnixMilli(s.Timestamp).Sub(start))
				}
			}
		}
		assert.ElementsMatch(t, []time.Duration{0, time.Minute}, times)
		assert.Equal(t, int64(3+2), h.delivered())
		assert.Equal(t, map[string]int64{"duplicate": 1}, h.dropped(), "what was made and is left out was not received")
	})
}

// TestReceivedTargetInfoSeriesAreSeries: those that clients send are told apart by all their labels, in payloads of their own
// too, and what is made for their target is newer or left out.
func TestReceivedTargetInfoSeriesAreSeries(t *testing.T) {
	for _, outOfOrder := range []OutOfOrder{OutOfOrderSend, OutOfOrderDrop} {
		t.Run(string(outOfOrder), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				receiver := &rwtest.Receiver{}
				h := newHarness(t, receiver, func(c *Config) { c.OutOfOrder = outOfOrder })
				start := time.Now()
				received := func(host string, ts time.Time) pmetric.Metrics {
					return metricsOf([]any{"service.name", "shop"}, gaugeOf("target_info", number(1, with("host", host), at(pcommon.NewTimestampFromTime(ts)))))
				}
				made := func(ts time.Time) pmetric.Metrics {
					return metricsOf([]any{"service.name", "shop", "host", "a"}, gaugeOf("x", number(1, at(pcommon.NewTimestampFromTime(ts)))))
				}
				for _, host := range []string{"a", "b", "c", "d", "e"} {
					h.consume(received(host, start))
				}
				h.consume(made(start))                             // not newer than what was received
				h.consume(made(start.Add(2 * time.Second)))        // newer
				h.consume(received("b", start.Add(time.Second)))   // older than what was made, but of another series
				h.consume(made(start.Add(2 * time.Second)))        // not newer, and a repetition
				h.consume(received("a", start.Add(2*time.Second))) // the very same as what was made
				h.shutdown()
				infos := make(map[string]int)
				for key, samples := range receiver.Delivered() {
					if strings.HasPrefix(key, `{__name__="target_info",`) {
						infos[key] = len(samples)
					}
				}
				assert.Equal(t, map[string]int{
					`{__name__="target_info",host="a",job="shop"}`: 2, `{__name__="target_info",host="b",job="shop"}`: 2,
					`{__name__="target_info",host="c",job="shop"}`: 1, `{__name__="target_info",host="d",job="shop"}`: 1, `{__name__="target_info",host="e",job="shop"}`: 1,
				}, infos)
				assert.Equal(t, map[string]int64{"duplicate": 2}, h.dropped(), "the last one, and x")
			})
		})
	}
}

// TestOldestSampleAge looks at the gauge while the endpoint is away.
func TestOldestSampleAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, unavailable(time.Now().Add(time.Minute)), onePartition)
		h.consume(gauge(time.Now(), 1))
		time.Sleep(30 * time.Second)
		h.consume(gauge(time.Now(), 1))
		assert.Equal(t, 30*time.Second, time.Since(h.queue.state().oldest))
		time.Sleep(2 * time.Minute)
		assert.True(t, h.queue.state().oldest.IsZero())
		h.shutdown()
	})
}

// TestExamplesAreRenderedAfterAdmission: what is dropped under the locks of the partitions can be rendered for the log when
// they are free, and it is the right series.
func TestExamplesAreRenderedAfterAdmission(t *testing.T) {
	for name, edit := range map[string]func(*Config){
		"out of order": func(c *Config) { c.OutOfOrder = OutOfOrderDrop },
		"no room":      func(c *Config) { c.Queue.OnFull = OnFullDropNewest },
	} {
		for _, version := range []wire.Protocol{wire.V1, wire.V2} {
			t.Run(fmt.Sprintf("%s, %v", name, version.Message()), func(t *testing.T) {
				cfg := configOf(func(c *Config) { onePartition(c); edit(c) })
				p := newBenchPipeline(cfg)
				p.protocol = version
				md := gauge(time.Now(), 3)
				for range 2 {
					require.NoError(t, p.t.translate(t.Context(), md, version))
					_, err := p.q.admit(t.Context(), &p.t.payload)
					require.NoError(t, err)
					for r := range p.t.drops {
						if d := p.t.drops[r]; d.Count > 0 {
							assert.Equal(t, 3, d.Count)
							assert.Contains(t, d.Example(), `series="0"`)
						}
					}
					total := p.t.drops.Total()
					p.t.reset()
					if total > 0 {
						return
					}
					if cfg.Queue.OnFull == OnFullDropNewest {
						p.q.capacity = p.q.used
					}
				}
				t.Fatal("nothing was dropped")
			})
		}
	}
}

// TestOpenBatchIsPackedNowAndThen: what waits for long is packed, and not once more for each few samples that come. What has come since
// is not much.
func TestOpenBatchIsPackedNowAndThen(t *testing.T) {
	q := newQueue(configOf(onePartition).queueOptions(), account.NewLedger())
	p, now := q.partitions[0], time.Now()
	packed, most := 0, int64(0)
	for range 1000 {
		now = now.Add(100 * time.Millisecond)
		c := &chunk{tally: tally{Counts: account.Counts{Samples: 1}}, plain: bytes.Repeat([]byte{1}, 100), accepted: now}
		q.mu.Lock()
		before := p.size
		work := p.appendLocked(&p.good, c, &q.limits, nil)
		q.used += p.size - before
		q.mu.Unlock()
		for _, c := range work {
			packed += c.Samples
			q.pack(c)
		}
		most = max(most, p.size)
	}
	assert.Less(t, most, int64(2*(1000/packedGrowth*100+20*chunkOverhead)), "what has come since, and little besides")
	assert.NotZero(t, packed)
	assert.LessOrEqual(t, packed, 2*packedGrowth*1000, "samples that were packed, again ones included")
}
