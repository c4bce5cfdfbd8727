// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
)

// steps is a payload with one series and samples at the given times from one on.
func steps(from time.Time, offsets ...time.Duration) pmetric.Metrics {
	md := gauge(from, len(offsets))
	points := md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0).Gauge().DataPoints()
	for i, offset := range offsets {
		points.At(i).Attributes().PutStr("series", "0")
		points.At(i).SetTimestamp(pcommon.NewTimestampFromTime(from.Add(offset)))
	}
	return md
}

// offsetsOf are the times of all delivered samples of a series, from one on.
func offsetsOf(r *rwtest.Receiver, from time.Time, name string) (offsets []time.Duration) {
	for key, samples := range r.Delivered() {
		if strings.HasPrefix(key, `{__name__="`+name+`"`) {
			for _, s := range samples {
				offsets = append(offsets, time.UnixMilli(s.Timestamp).Sub(from))
			}
		}
	}
	return offsets
}

// TestSeriesThatStepsBackInAPayloadIsPutInOrder, in both messages, and what comes twice is dropped.
func TestSeriesThatStepsBackInAPayloadIsPutInOrder(t *testing.T) {
	forEachMessage(t, func(t *testing.T, message func(*Config)) {
		synctest.Test(t, func(t *testing.T) {
			receiver := &rwtest.Receiver{}
			h := newHarness(t, receiver, message)
			start := time.Now()
			h.consume(steps(start, 3*time.Second, time.Second, 2*time.Second, time.Second, 3*time.Second))
			h.shutdown()
			assert.Equal(t, []time.Duration{time.Second, 2 * time.Second, 3 * time.Second}, offsetsOf(receiver, start, "gauge"))
			assert.Equal(t, 1, receiver.Requests())
			assert.Equal(t, map[string]int64{"duplicate": 2}, h.dropped())
			assert.Equal(t, int64(1), h.metric("otelcol_exporter_ordered_remote_write_reordered_payloads"))
			assert.Empty(t, receiver.Problems())
		})
	})
}

// TestLateSamples travel apart, are dropped, or have a request of their own, as out_of_order says.
func TestLateSamples(t *testing.T) {
	for _, tt := range []struct {
		mode     OutOfOrder
		want     []time.Duration
		requests int
		dropped  map[string]int64
	}{
		{OutOfOrderSeparate, []time.Duration{10 * time.Second, 11 * time.Second, 4 * time.Second, 5 * time.Second}, 2, map[string]int64{}},
		{OutOfOrderSend, []time.Duration{10 * time.Second, 4 * time.Second, 5 * time.Second, 11 * time.Second}, 3, map[string]int64{}},
		{OutOfOrderDrop, []time.Duration{10 * time.Second, 11 * time.Second}, 1, map[string]int64{"out_of_order": 2}},
	} {
		t.Run(string(tt.mode), func(t *testing.T) {
			forEachMessage(t, func(t *testing.T, message func(*Config)) {
				synctest.Test(t, func(t *testing.T) {
					receiver := &rwtest.Receiver{}
					h := newHarness(t, receiver, message, func(c *Config) { c.OutOfOrder = tt.mode })
					start := time.Now()
					h.consume(steps(start, 10*time.Second))
					h.consume(steps(start, 5*time.Second, 4*time.Second))
					h.consume(steps(start, 11*time.Second))
					h.shutdown()
					assert.Equal(t, tt.want, offsetsOf(receiver, start, "gauge"))
					assert.Equal(t, tt.requests, receiver.Requests())
					assert.Equal(t, tt.dropped, h.dropped())
				})
			})
		})
	}
}

// TestFutureTimestampAdvancesNothing: a sample of next year neither makes good samples late nor keeps target_info from being
// sent, and travels apart.
func TestFutureTimestampAdvancesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		future := 365 * 24 * time.Hour
		receiver := &rwtest.Receiver{Script: func(r rwtest.Request) rwtest.Answer {
			for _, ts := range r.Message.Timeseries {
				if time.Until(time.UnixMilli(ts.Samples[0].Timestamp)) > 10*time.Minute {
					return rwtest.Answer{Status: 400, Body: "too far in the future"}
				}
			}
			return rwtest.Answer{}
		}}
		h := newHarness(t, receiver)
		start := time.Now()
		for i := range 22 {
			md := steps(time.Now(), 0)
			if i == 3 {
				md = steps(time.Now(), 0, future)
			}
			attrs := md.ResourceMetrics().At(0).Resource().Attributes()
			attrs.PutStr("service.name", "shop")
			attrs.PutStr("version", "1")
			h.consume(md)
			time.Sleep(10 * time.Second)
		}
		h.shutdown()
		assert.Len(t, offsetsOf(receiver, start, "gauge"), 22)
		assert.Len(t, offsetsOf(receiver, start, "target_info"), 22, "once in each payload")
		assert.Equal(t, map[string]int64{"rejected 400": 1}, h.dropped(), "the one of next year, alone")
	})
}

// TestReplayAfterAnOutageOfTheClient: samples of the last hours come in a row, from a client that was away. All of them arrive.
func TestReplayAfterAnOutageOfTheClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		receiver := &rwtest.Receiver{}
		h := newHarness(t, receiver)
		start := time.Now()
		for ago := 6 * time.Hour; ago > 0; ago -= time.Minute {
			h.consume(gauge(start.Add(-ago), 20))
		}
		time.Sleep(10 * time.Second)
		h.consume(gauge(start, 20))
		h.shutdown()
		assert.Equal(t, int64(361*20), h.delivered())
		assert.Empty(t, h.dropped())
		assert.Empty(t, receiver.Problems())
	})
}

// TestLateSamplesHaveATenthOfTheQueue: a client that sends nothing but late samples to a dead endpoint does not take the room
// of others.
func TestLateSamplesHaveATenthOfTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, answers(503), smallQueue(OnFullReject), func(c *Config) {
			c.Queue.MaxSizeBytes = 256 << 10
			c.Batch.MaxSamples = 2000
		})
		h.consume(noise(time.Now(), 0, 10))
		for i := range 100 {
			h.consume(noise(time.Now().Add(-time.Duration(i+1)*time.Second), 0, 10))
		}
		assert.Greater(t, h.dropped()["out_of_order"], int64(500))
		assert.Less(t, h.queue.state().size, int64(64<<10))
		h.shutdown()
	})
}

// TestIdleSeriesGiveTheirMemoryBack though no sample comes any more.
func TestIdleSeriesGiveTheirMemoryBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, &rwtest.Receiver{}, func(c *Config) { c.SeriesIdleTimeout = time.Hour })
		for i := range 20 {
			h.consume(gauge(time.Now().Add(time.Duration(i)*time.Millisecond), 2000))
		}
		held := func() (bytes int64) {
			for _, p := range h.queue.partitions {
				p.guard.mu.Lock()
				bytes += p.guard.series.Bytes()
				p.guard.mu.Unlock()
			}
			return bytes
		}
		before := held()
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		assert.Less(t, held(), before-2000*16)
		h.shutdown()
	})
}

// TestForgottenSeriesIsInOrderInsideRequests: the guard has forgotten a series while a sample of it waits. An older one is taken
// for good then, and has a request of its own.
func TestForgottenSeriesIsInOrderInsideRequests(t *testing.T) {
	forEachMessage(t, func(t *testing.T, message func(*Config)) {
		synctest.Test(t, func(t *testing.T) {
			receiver := &rwtest.Receiver{}
			h := newHarness(t, receiver, message, func(c *Config) {
				c.SeriesIdleTimeout = time.Second
				c.Batch.FlushTimeout = 10 * time.Second
			})
			start := time.Now()
			h.consume(steps(start, 20*time.Second))
			time.Sleep(3 * time.Second)
			h.consume(steps(start, 15*time.Second, 16*time.Second))
			h.shutdown()
			assert.Equal(t, []time.Duration{20 * time.Second, 15 * time.Second, 16 * time.Second}, offsetsOf(receiver, start, "gauge"))
			assert.Equal(t, 2, receiver.Requests())
			assert.Equal(t, int64(3), h.delivered())
		})
	})
}

// TestForgottenSeriesBehindOldSamplesIsInOrderOfTime: newer samples wait behind old ones of their series when the guard has
// forgotten it, and older ones come. All are sent in the order of time, also where the request must be split.
func TestForgottenSeriesBehindOldSamplesIsInOrderOfTime(t *testing.T) {
	forEachMessage(t, func(t *testing.T, message func(*Config)) {
		synctest.Test(t, func(t *testing.T) {
			receiver := &rwtest.Receiver{Script: func(r rwtest.Request) rwtest.Answer {
				if len(r.Message.Timeseries) > 1 {
					return rwtest.Answer{Status: 413}
				}
				return rwtest.Answer{}
			}}
			h := newHarness(t, receiver, message, func(c *Config) {
				c.OutOfOrder = OutOfOrderSend
				c.SeriesIdleTimeout = time.Second
				c.Batch.FlushTimeout = 10 * time.Second
			})
			start := time.Now()
			h.consume(steps(start, -2*time.Hour))
			h.consume(steps(start, 20*time.Second, 21*time.Second))
			time.Sleep(3 * time.Second)
			h.consume(steps(start, 15*time.Second))
			h.shutdown()
			assert.Equal(t, []time.Duration{-2 * time.Hour, 15 * time.Second, 20 * time.Second, 21 * time.Second}, offsetsOf(receiver, start, "gauge"))
			assert.Equal(t, int64(4), h.delivered())
			assert.Empty(t, receiver.Problems())
		})
	})
}
