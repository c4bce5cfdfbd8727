// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/otlptranslator"
	"github.com/prometheus/prometheus/prompb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componentstatus"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/remote"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
)

// consumeFor hands over n series each second, for a time.
func (h *harness) consumeFor(d time.Duration, n int) {
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(time.Second) {
		h.consume(gauge(time.Now(), n))
	}
}

// requestTimes takes down when requests come.
type requestTimes struct {
	mu sync.Mutex
	at []time.Time
}

func (r *requestTimes) add() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at = append(r.at, time.Now())
}

// most is the most requests within any time of that length.
func (r *requestTimes) most(within time.Duration) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	most, first := 0, 0
	for i := range r.at {
		for r.at[i].Sub(r.at[first]) > within {
			first++
		}
		most = max(most, i-first+1)
	}
	return most
}

// since are the times of the requests, from one on.
func (r *requestTimes) since(start time.Time) (offsets []time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, at := range r.at {
		offsets = append(offsets, at.Sub(start))
	}
	return offsets
}

// TestDeadEndpointIsLeftAlone: whatever the number of partitions, an endpoint that does not answer for ten minutes gets at most
// 20 requests in any minute, and everything when it is back.
func TestDeadEndpointIsLeftAlone(t *testing.T) {
	minutes := 10
	if raceDetector {
		minutes = 3
	}
	for _, partitions := range []int{8, 32, 256} {
		for name, dead := range map[string]rwtest.Answer{
			"503": {Status: 503}, "500": {Status: 500}, "no connection": {Fault: rwtest.Reset},
		} {
			t.Run(fmt.Sprintf("%d partitions, %s", partitions, name), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					back := time.Now().Add(time.Duration(minutes) * time.Minute)
					var times requestTimes
					receiver := &rwtest.Receiver{InFlightKeys: requestPartitions(partitions), Script: func(rwtest.Request) rwtest.Answer {
						if time.Now().Before(back) {
							times.add()
							return dead
						}
						return rwtest.Answer{}
					}}
					h := newHarness(t, receiver, func(c *Config) {
						c.Partitions = partitions
						c.Retry.BackOff.MaxElapsedTime = 0
						c.Retry.BackOff.RandomizationFactor = 0.5
					})
					h.consumeFor(time.Duration(minutes+1)*time.Minute, 60)
					assert.LessOrEqual(t, times.most(time.Minute), 20)
					assert.Less(t, h.queue.state().size, h.queue.capacity)
					time.Sleep(10 * time.Second)
					assert.Zero(t, h.ledger.Queued(), "everything has been sent")
					h.shutdown()
					assert.Equal(t, int64((minutes+1)*60*60), h.delivered())
					assert.Empty(t, h.dropped())
					assert.Empty(t, receiver.Problems())
					lines := h.logs.FilterMessage("The endpoint answers again.").All()
					require.Len(t, lines, 1)
					assert.Greater(t, lines[0].ContextMap()["waiting_samples"], int64(minutes*2000))
				})
			})
		}
	}
}

// TestRetryAfterHoldsForEverybody: a 429 with Retry-After to one request is a pause for all.
func TestRetryAfterHoldsForEverybody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var times requestTimes
		start := time.Now()
		receiver := &rwtest.Receiver{Script: func(rwtest.Request) rwtest.Answer {
			times.add()
			if since := time.Since(start); since > 10*time.Second && since < 13*time.Second {
				return rwtest.Answer{Status: 429, Header: map[string][]string{"Retry-After": {"20"}}}
			}
			return rwtest.Answer{Latency: 5 * time.Millisecond}
		}}
		h := newHarness(t, receiver)
		h.consumeFor(time.Minute, 1000)
		h.shutdown()
		times.mu.Lock()
		longest := time.Duration(0)
		for i := 1; i < len(times.at); i++ {
			longest = max(longest, times.at[i].Sub(times.at[i-1]))
		}
		times.mu.Unlock()
		assert.GreaterOrEqual(t, longest, 19*time.Second)
		assert.Equal(t, int64(60_000), h.delivered())
		assert.Empty(t, h.dropped())
		assert.Empty(t, receiver.Problems())
	})
}

// TestNoRetryAfterItsTime: a retry that another request's Retry-After keeps until max_elapsed_time is over is not sent. A request
// whose own delay is within the time is.
func TestNoRetryAfterItsTime(t *testing.T) {
	for limit, delivered := range map[time.Duration]bool{30 * time.Second: false, 2 * time.Minute: true} {
		t.Run(limit.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				first := time.Now().UnixMilli()
				var again atomic.Bool
				receiver := &rwtest.Receiver{Script: func(r rwtest.Request) rwtest.Answer {
					if r.Seq > 1 && slices.ContainsFunc(r.Message.Timeseries, func(ts prompb.TimeSeries) bool {
						return ts.Samples[0].Timestamp == first
					}) {
						again.Store(true)
					}
					switch r.Seq {
					case 1:
						return rwtest.Answer{Status: 500, Latency: 10 * time.Second}
					case 2:
						return rwtest.Answer{Status: 503, Header: map[string][]string{"Retry-After": {"50"}}, Latency: 5 * time.Second}
					}
					return rwtest.Answer{}
				}}
				h := newHarness(t, receiver, func(c *Config) {
					c.Retry.BackOff.MaxElapsedTime = limit
					c.Retry.BackOff.InitialInterval = 5 * time.Second
				})
				h.consume(gauge(time.Now(), 1))
				time.Sleep(6 * time.Second)
				h.consume(gauge(time.Now(), 40))
				time.Sleep(3 * time.Minute)
				h.shutdown()
				assert.Equal(t, delivered, again.Load())
				if delivered {
					assert.Empty(t, h.dropped())
				} else {
					assert.Equal(t, int64(1), h.dropped()["retries_exhausted 500"])
				}
				assert.Empty(t, receiver.Problems())
			})
		})
	}
}

// TestHangingRequestDelaysHalfAtMost: while one request hangs, half of the partitions go on, and all but its own once it is
// known that a part of it passes.
func TestHangingRequestDelaysHalfAtMost(t *testing.T) {
	for _, rate := range []int{1000, 5000} {
		t.Run(fmt.Sprint(rate), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var hung atomic.Bool
				start := time.Now()
				receiver := &rwtest.Receiver{Script: func(rwtest.Request) rwtest.Answer {
					if time.Since(start) > 10500*time.Millisecond && hung.CompareAndSwap(false, true) {
						return rwtest.Answer{Latency: 20 * time.Second}
					}
					return rwtest.Answer{Latency: 10 * time.Millisecond}
				}}
				h := newHarness(t, receiver)
				h.consumeFor(11*time.Second, rate)
				before := h.ledger.Snapshot()
				h.consumeFor(15*time.Second, rate)
				time.Sleep(1500 * time.Millisecond)
				after := h.ledger.Snapshot()
				share := float64(after.Delivered-before.Delivered) / float64(after.Received-before.Received)
				t.Logf("%.0f %% of what was accepted meanwhile has been delivered", 100*share)
				// Partitions have unequal shares of the series, so that half of them may have a little less than half of the samples.
				assert.GreaterOrEqual(t, share, 0.45)
				busy, waiting := 0, 0
				h.queue.mu.Lock()
				for _, p := range h.queue.partitions {
					if p.busy {
						busy++
					} else {
						waiting += p.good.samples
					}
				}
				h.queue.mu.Unlock()
				assert.LessOrEqual(t, busy, len(h.queue.partitions)/2, "partitions of the request that hangs")
				assert.Less(t, waiting, rate, "what the others have goes on")
				time.Sleep(20 * time.Second)
				h.shutdown()
				assert.Equal(t, int64(26*rate), h.delivered())
				assert.Empty(t, receiver.Problems())
			})
		})
	}
}

// TestPoisonDelaysNobody: one series for which the endpoint answers 500 for ever, without a limit of time. All other partitions
// flow again within 10 s.
func TestPoisonDelaysNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const rate = 1000
		poisonous := func(r rwtest.Request) bool {
			return slices.ContainsFunc(r.Series, func(s string) bool { return strings.Contains(s, `series="7"`) })
		}
		start := time.Now()
		var mu sync.Mutex
		late := time.Duration(0)
		receiver := &rwtest.Receiver{Script: func(r rwtest.Request) rwtest.Answer {
			if poisonous(r) {
				return rwtest.Answer{Status: 500}
			}
			mu.Lock()
			defer mu.Unlock()
			for _, ts := range r.Message.Timeseries {
				if at := time.UnixMilli(ts.Samples[0].Timestamp); at.Sub(start) > 10*time.Second {
					late = max(late, time.Since(at))
				}
			}
			return rwtest.Answer{Latency: 5 * time.Millisecond}
		}}
		h := newHarness(t, receiver, func(c *Config) {
			c.Retry.BackOff.MaxElapsedTime = 0
			c.ShutdownTimeout = time.Second
		})
		h.consumeFor(time.Minute, rate)
		b := h.ledger.Snapshot()
		stuck := b.Received - b.Delivered
		t.Logf("oldest sample delivered after the first 10 s: %v; %d of %d samples wait", late, stuck, b.Received)
		mu.Lock()
		assert.Less(t, late, 8*time.Second, "no other partition waits for the poison")
		mu.Unlock()
		assert.Less(t, stuck, int64(60*rate/32*2+2*rate), "only the poison's own partition is stuck")
		h.shutdown()
		assert.Empty(t, receiver.Problems())
	})
}

// TestPoisonThatIsGivenUpDelaysNobody: a proxy times out on the only series of a partition, of which a sample comes each minute. It
// delays others until the first one has been given up, and not again with each that follows.
func TestPoisonThatIsGivenUpDelaysNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const partitions, poison = 8, "3"
		start := time.Now()
		var mu sync.Mutex
		late := time.Duration(0)
		receiver := &rwtest.Receiver{Script: func(r rwtest.Request) rwtest.Answer {
			if slices.Contains(requestPartitions(partitions)(r.Message), poison) {
				return rwtest.Answer{Status: 504, Latency: 5 * time.Second}
			}
			mu.Lock()
			defer mu.Unlock()
			for _, ts := range r.Message.Timeseries {
				if at := time.UnixMilli(ts.Samples[0].Timestamp); at.Sub(start) > 59*time.Second {
					late = max(late, time.Since(at))
				}
			}
			return rwtest.Answer{Latency: 5 * time.Millisecond}
		}}
		h := newHarness(t, receiver, func(c *Config) {
			c.Partitions = partitions
			c.Retry.BackOff.MaxElapsedTime = 30 * time.Second
			c.ShutdownTimeout = time.Second
		})
		for i := range 300 {
			if i%60 == 0 {
				h.consume(gaugeIn(time.Now(), 1, 3, partitions))
			}
			for n := range partitions {
				if n != 3 {
					h.consume(gaugeIn(time.Now(), 5, n, partitions))
				}
			}
			time.Sleep(time.Second)
		}
		mu.Lock()
		assert.Less(t, late, 3*time.Second, "no other partition waits for what has been found")
		mu.Unlock()
		time.Sleep(40 * time.Second)
		assert.Equal(t, map[string]int64{"retries_exhausted 504": 5}, h.dropped())
		h.shutdown()
		assert.Empty(t, receiver.Problems())
	})
}

// TestTokenThatExpires: the endpoint answers 401 for a minute. What it has refused is not sent again, only probes are lost, and
// the rest is delivered.
func TestTokenThatExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		receiver := &rwtest.Receiver{Script: func(rwtest.Request) rwtest.Answer {
			if since := time.Since(start); since > 10*time.Second && since < 70*time.Second {
				return rwtest.Answer{Status: 401, Body: "token has expired"}
			}
			return rwtest.Answer{Latency: 5 * time.Millisecond}
		}}
		h := newHarness(t, receiver)
		h.consumeFor(30*time.Second, 1000)
		assert.Equal(t, int64(1), h.metric("otelcol_exporter_ordered_remote_write_paused"))
		assert.Equal(t, componentstatus.StatusRecoverableError, last(h.host.statuses()))
		h.consumeFor(2*time.Minute, 1000)
		assert.Equal(t, int64(0), h.metric("otelcol_exporter_ordered_remote_write_paused"))
		assert.Equal(t, componentstatus.StatusOK, last(h.host.statuses()))
		h.shutdown()
		lost := h.dropped()["fatal 401"]
		t.Logf("%d of %d samples were refused, %d requests", lost, 150_000, receiver.Requests())
		assert.Positive(t, lost)
		assert.Less(t, lost, int64(5000), "the requests under way, and small probes")
		assert.Equal(t, int64(150_000), h.delivered()+lost)
		assert.Len(t, h.dropped(), 1)
		assert.Empty(t, receiver.Problems())
		paused := h.logs.FilterMessageSnippet("Paused: ").All()
		require.NotEmpty(t, paused)
		assert.LessOrEqual(t, len(paused), 3, "at once, and then each minute")
		assert.Contains(t, paused[0].ContextMap()["answer"], "token has expired")
		assert.Contains(t, paused[0].Message, "http.auth")
		assert.Len(t, h.logs.FilterMessageSnippet("The pause has ended.").All(), 1)
	})
}

// TestPausedEndpointIsProbed with small requests, after delays that grow to half a minute.
func TestPausedEndpointIsProbed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var times requestTimes
		receiver := &rwtest.Receiver{Script: func(r rwtest.Request) rwtest.Answer {
			times.add()
			if r.Seq > 1 {
				assert.LessOrEqual(t, r.Samples(), 100)
			}
			return rwtest.Answer{Status: 401}
		}}
		h := newHarness(t, receiver, onePartition, func(c *Config) { c.ShutdownTimeout = time.Second })
		h.consume(gauge(time.Now(), 3000))
		time.Sleep(2 * time.Minute)
		var delays []time.Duration
		times.mu.Lock()
		for i, at := range times.at[1:] {
			delays = append(delays, at.Sub(times.at[i]).Round(time.Second))
		}
		times.mu.Unlock()
		const s = time.Second
		assert.Equal(t, []time.Duration{s, 2 * s, 4 * s, 8 * s, 16 * s, 30 * s, 30 * s}, delays)
		h.shutdown()
		assert.Empty(t, receiver.Problems())
	})
}

// TestPauseBeginsWithShortDelays: requests that were under way when the endpoint began to refuse say nothing of how long it will.
func TestPauseBeginsWithShortDelays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var times requestTimes
		receiver := &rwtest.Receiver{Script: func(rwtest.Request) rwtest.Answer {
			times.add()
			if time.Since(start) < 500*time.Millisecond {
				return rwtest.Answer{Status: 401, Latency: 100 * time.Millisecond}
			}
			return rwtest.Answer{}
		}}
		h := newHarness(t, receiver, func(c *Config) { c.Batch.MaxSamples = 20 })
		h.consume(gauge(time.Now(), 2000))
		time.Sleep(3 * time.Second)
		assert.Zero(t, h.ledger.Queued(), "sent %v after the start", times.since(start))
		h.shutdown()
		assert.Equal(t, map[string]int64{"fatal 401": firstLimit * 20}, h.dropped())
	})
}

// TestRefusedProbeEndsAPause: an endpoint that refuses samples, and no longer the sender, is well again.
func TestRefusedProbeEndsAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		receiver := &rwtest.Receiver{Script: func(r rwtest.Request) rwtest.Answer {
			if r.Seq == 1 {
				return rwtest.Answer{Status: 401}
			}
			return rwtest.Answer{Status: 400}
		}}
		h := newHarness(t, receiver, onePartition)
		h.consume(gauge(time.Now(), 10))
		time.Sleep(2 * time.Second)
		assert.Equal(t, componentstatus.StatusRecoverableError, last(h.host.statuses()))
		h.consume(gauge(time.Now(), 10))
		time.Sleep(5 * time.Second)
		assert.Equal(t, int64(0), h.metric("otelcol_exporter_ordered_remote_write_paused"))
		assert.Equal(t, componentstatus.StatusOK, last(h.host.statuses()))
		h.shutdown()
		assert.Equal(t, map[string]int64{"fatal 401": 10, "rejected 400": 10}, h.dropped())
	})
}

// TestPauseHoldsIfNoMessageIsRead: an endpoint that answers 415 to both messages is paused, also where the configuration needs 2.0, so
// that each request begins as 2.0.
func TestPauseHoldsIfNoMessageIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		receiver := answers(415)
		h := newHarness(t, receiver, messageV2, func(c *Config) {
			c.Batch.MaxSamples = 100
			c.TranslationStrategy = otlptranslator.NoTranslation
		})
		h.consume(gauge(time.Now(), 20_000))
		time.Sleep(time.Minute)
		assert.LessOrEqual(t, receiver.Requests(), 2*(firstLimit+8), "those that were under way, and a few probes")
		assert.Less(t, h.dropped()["fatal 415"], int64(2000))
		assert.Len(t, h.logs.FilterMessageSnippet("Paused: ").All(), 1)
		assert.Empty(t, h.logs.FilterMessageSnippet("The pause has ended.").All())
		h.shutdown()
	})
}

// TestPauseHoldsIfNothingCanBeSentAs1: samples that only 2.0 can carry are probes too, and are not tried one request after the other.
func TestPauseHoldsIfNothingCanBeSentAs1(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		receiver := answers(415)
		h := newHarness(t, receiver, messageV2, func(c *Config) {
			c.Batch.MaxSamples = 100
			c.TranslationStrategy = otlptranslator.NoTranslation
		})
		h.consume(gauge(time.Now(), 20))
		time.Sleep(2 * time.Second)
		md := gauge(time.Now(), 20_000)
		md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0).SetName("a name with spaces")
		h.consume(md)
		before := receiver.Requests()
		time.Sleep(time.Minute)
		assert.LessOrEqual(t, receiver.Requests()-before, 60)
		assert.Less(t, h.dropped()["needs_remote_write_2 415"]+h.dropped()["needs_remote_write_2"], int64(6000))
		h.shutdown()
	})
}

// TestExhaustedRetriesAreNoSuccess: with on_error.fatal retry, an endpoint that refuses everything gets as few requests as one that
// is down, also when what it has refused is given up.
func TestExhaustedRetriesAreNoSuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var times requestTimes
		receiver := &rwtest.Receiver{Script: func(rwtest.Request) rwtest.Answer {
			times.add()
			return rwtest.Answer{Status: 401}
		}}
		h := newHarness(t, receiver, func(c *Config) {
			c.OnError.Fatal = OnFatalRetry
			c.Retry.BackOff.MaxElapsedTime = time.Minute
		})
		h.consumeFor(10*time.Minute, 60)
		assert.LessOrEqual(t, times.most(time.Minute), 20)
		assert.Empty(t, h.logs.FilterMessageSnippet("The endpoint answers again.").All())
		h.shutdown()
		assert.Zero(t, h.delivered())
	})
}

// TestOutageEndsForAllAtOnce: the first answer after an outage lets all go on, not only the delivery that it is to.
func TestOutageEndsForAllAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		back := time.Now().Add(time.Minute)
		var mu sync.Mutex
		first := make(map[string]time.Time)
		receiver := &rwtest.Receiver{Script: func(r rwtest.Request) rwtest.Answer {
			if time.Now().Before(back) {
				return rwtest.Answer{Status: 500}
			}
			mu.Lock()
			defer mu.Unlock()
			began := len(first) > 0
			for _, p := range requestPartitions(2)(r.Message) {
				if first[p].IsZero() {
					first[p] = time.Now()
				}
			}
			if !began {
				return rwtest.Answer{Status: 413}
			}
			return rwtest.Answer{Latency: 5 * time.Second}
		}}
		h := newHarness(t, receiver, func(c *Config) {
			c.Partitions = 2
			c.Retry.BackOff.MaxElapsedTime = 0
		})
		h.consume(gauge(time.Now(), 200))
		time.Sleep(2 * time.Minute)
		h.shutdown()
		assert.Equal(t, int64(200), h.delivered())
		assert.Less(t, first["1"].Sub(first["0"]).Abs(), time.Second)
		assert.Empty(t, receiver.Problems())
	})
}

// TestBlipIsOver at once: many requests that fail in the same moment are one reason to doubt, not many.
func TestBlipIsOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var failed, times requestTimes
		receiver := &rwtest.Receiver{Script: func(rwtest.Request) rwtest.Answer {
			switch left := 20*time.Second - time.Since(start); {
			case left > time.Second:
				return rwtest.Answer{Latency: time.Second}
			case left > 0:
				failed.add()
				return rwtest.Answer{Fault: rwtest.Reset, Latency: left}
			}
			times.add()
			return rwtest.Answer{}
		}}
		h := newHarness(t, receiver, func(c *Config) { c.Batch.MaxSamples = 20 })
		h.consumeFor(40*time.Second, 1000)
		require.Greater(t, len(failed.since(start)), 16)
		assert.Less(t, times.since(start)[0], 21*time.Second)
		h.shutdown()
		assert.Empty(t, receiver.Problems())
	})
}

// TestPauseIsNoTimeOfRetries: what was to be sent again when the endpoint began to refuse everything is sent when it does not any more.
func TestPauseIsNoTimeOfRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		receiver := &rwtest.Receiver{Script: func(r rwtest.Request) rwtest.Answer {
			switch {
			case time.Since(start) > 10*time.Minute:
				return rwtest.Answer{}
			case slices.Contains(requestPartitions(2)(r.Message), "0"):
				return rwtest.Answer{Fault: rwtest.Reset}
			}
			return rwtest.Answer{Status: 401, Latency: 10 * time.Millisecond}
		}}
		h := newHarness(t, receiver, func(c *Config) { c.Partitions = 2 })
		h.consume(gaugeIn(time.Now(), 20, 0, 2))
		for time.Since(start) < 12*time.Minute {
			h.consume(gaugeIn(time.Now(), 1, 1, 2))
			time.Sleep(time.Second)
		}
		assert.Zero(t, h.dropped()["retries_exhausted 0"]+h.dropped()["retries_exhausted"])
		h.shutdown()
		assert.Empty(t, receiver.Problems())
	})
}

// TestFullQueueOfAPausedEndpoint refuses at once, and says why, instead of letting callers wait for nothing.
func TestFullQueueOfAPausedEndpoint(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		receiver := &rwtest.Receiver{Script: func(rwtest.Request) rwtest.Answer { return rwtest.Answer{Status: 403, Body: "who are you"} }}
		h := newHarness(t, receiver, smallQueue(OnFullBlock), func(c *Config) { c.OnError.Fatal = OnFatalPause })
		var err error
		for i := 0; err == nil && i < 200; i++ {
			before := time.Now()
			err = h.ConsumeMetrics(t.Context(), noise(time.Now(), i*5, 5))
			assert.Equal(t, before, time.Now(), "nobody waits")
		}
		require.ErrorIs(t, err, errQueueFull)
		require.ErrorContains(t, err, "who are you")
		h.shutdown()
	})
}

// TestDeepBacklogStarvesNobody: 1,000 full batches of one partition, at a limit of one. No other partition waits longer than
// flush_timeout and two round trips.
func TestDeepBacklogStarvesNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const answer = 100 * time.Millisecond
		s := newSimulation(func(c *Config) { c.MaxInFlight, c.Batch.MaxSamples = 1, 10 }, answersIn(answer))
		s.q.mu.Lock()
		p := s.q.partitions[0]
		for range 1000 {
			c := &chunk{accepted: time.Now(), plain: make([]byte, 10)}
			c.Samples = 10
			before := p.size
			for _, w := range p.appendLocked(&p.good, c, &s.q.limits, nil) {
				go s.q.pack(w)
			}
			s.q.used += p.size - before
			s.q.ledger.Admit(10, nil)
		}
		s.q.mu.Unlock()
		slowest := time.Duration(0)
		for range 20 {
			pl := &payload{segments: make([]segment, len(s.q.partitions)), touched: []int{1}}
			c := indexedChunk{chunk: chunk{plain: []byte{1}}, index: []indexEntry{{identity: 1, timestamp: time.Now().UnixMilli()}}}
			c.Samples = 1
			pl.segments[1].chunks = []indexedChunk{c}
			start := time.Now()
			_, err := s.q.admit(t.Context(), pl)
			require.NoError(t, err)
			for s.held(1) > 0 {
				time.Sleep(10 * time.Millisecond)
			}
			slowest = max(slowest, time.Since(start))
		}
		assert.LessOrEqual(t, slowest, time.Second+2*answer+20*time.Millisecond)
		assert.Positive(t, s.q.ledger.Queued(), "the backlog is still there")
		s.stop()
	})
}

// TestStepOfLatency: answers take 1 ms, then 200 ms, then 1 ms again. The queue keeps up all the time, but for the moments in
// which the limit follows.
func TestStepOfLatency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var answer atomic.Int64
		answer.Store(int64(time.Millisecond))
		s := newSimulation(nil, func(*delivery) (time.Duration, *remote.Answer) {
			return time.Duration(answer.Load()), &remote.Answer{Status: 204}
		})
		most := func(d time.Duration) (samples int64) {
			for range int(d / (100 * time.Millisecond)) {
				s.feed(t, 200_000, 100*time.Millisecond)
				samples = max(samples, s.q.ledger.Queued())
			}
			return samples
		}
		before := most(5 * time.Second)
		answer.Store(int64(200 * time.Millisecond))
		during := most(5 * time.Second)
		settled := most(5 * time.Second)
		answer.Store(int64(time.Millisecond))
		after := most(5 * time.Second)
		t.Logf("most samples that wait: %d before, %d when answers slow down, %d then, %d after", before, during, settled, after)
		assert.Less(t, during, int64(200_000), "a second's worth at the most")
		assert.Less(t, settled, int64(60_000))
		assert.Less(t, math.Abs(float64(after-before)), 60_000.0)
		s.stop()
	})
}
