// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componentstatus"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/remote"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
)

// failOnFatal stops the collector after a fatal answer.
func failOnFatal(c *Config) { c.OnError.Fatal = OnFatalFail }

// TestFlinkScenarios are the scenarios of the Flink connector's tests: one batch of three samples is sent, then another
// one. What "stops" in Flink is a fatal status here, after which nothing is sent.
func TestFlinkScenarios(t *testing.T) {
	retries := func(n int, then OnRetriesExhausted) func(*Config) {
		return func(c *Config) { c.Retry.MaxRetries, c.OnError.RetriesExhausted = n, then }
	}
	for _, tt := range []struct {
		name     string
		status   int
		edit     func(*Config)
		requests int // for the first batch
		stops    bool
		dropped  string
	}{
		{"200: one request", 200, nil, 1, false, ""},
		{"500, two retries, discard: three requests, goes on", 500, retries(2, OnRetriesExhaustedDiscard), 3, false, "retries_exhausted 500"},
		{"500, two retries, fail: three requests, stops", 500, retries(2, OnRetriesExhaustedFail), 3, true, "retries_exhausted 500"},
		{"400: one request, goes on", 400, nil, 1, false, "rejected 400"},
		{"304: one request, stops", 304, nil, 1, true, "unexpected_answer 304"},
		{"403: one request, stops", 403, nil, 1, true, "fatal 403"},
		{"404: one request, stops", 404, nil, 1, true, "fatal 404"},
		{"429, ten retries: eleven requests", 429, retries(10, OnRetriesExhaustedDiscard), 11, false, "retries_exhausted 429"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				receiver := answers(tt.status)
				if tt.edit == nil {
					tt.edit = func(*Config) {}
				}
				h := newHarness(t, receiver, onePartition, failOnFatal, tt.edit)
				h.consume(gauge(time.Now(), 3))
				time.Sleep(time.Minute)
				assert.Equal(t, tt.requests, receiver.Requests())

				if tt.stops {
					require.ErrorIs(t, h.ConsumeMetrics(t.Context(), gauge(time.Now(), 3)), errStopped)
					assert.Equal(t, componentstatus.StatusFatalError, last(h.host.statuses()))
				} else {
					h.consume(gauge(time.Now(), 3))
					time.Sleep(time.Minute)
					assert.Equal(t, 2*tt.requests, receiver.Requests(), "after the second batch")
				}
				h.shutdown()

				want := map[string]int64{}
				if tt.dropped != "" {
					want[tt.dropped] = 6
					if tt.stops {
						want[tt.dropped] = 3
					}
				}
				assert.Equal(t, want, h.dropped())
				assert.Equal(t, int64(receiver.AcknowledgedSamples()), h.delivered())
				assert.Empty(t, receiver.Problems())
			})
		})
	}
}

func last[T any](s []T) (v T) {
	if len(s) > 0 {
		v = s[len(s)-1]
	}
	return v
}

// TestDelaysOfRetries looks at when the requests come: 30, 60, 120, 240 ms and so on, up to 5 s.
func TestDelaysOfRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var at []time.Time
		var bodies []string
		receiver := &rwtest.Receiver{Script: func(r rwtest.Request) rwtest.Answer {
			at, bodies = append(at, time.Now()), append(bodies, string(r.Body))
			if len(at) <= 100 {
				return rwtest.Answer{Status: 503}
			}
			return rwtest.Answer{}
		}}
		h := newHarness(t, receiver, onePartition, func(c *Config) { c.Retry.BackOff.MaxElapsedTime = 0 })
		h.consume(gauge(time.Now(), 3))
		time.Sleep(time.Hour)
		synctest.Wait()
		require.Len(t, at, 101)
		want := 30 * time.Millisecond
		for i := 1; i < len(at); i++ {
			assert.Equal(t, want, at[i].Sub(at[i-1]), "before request %d", i+1)
			assert.Equal(t, bodies[0], bodies[i], "the identical bytes go again")
			want = min(2*want, 5*time.Second)
		}
		h.shutdown()
		assert.Equal(t, int64(3), h.delivered())
		assert.Equal(t, int64(100), h.metric("otelcol_exporter_ordered_remote_write_retries"))
		assert.Equal(t, int64(101), h.metric("otelcol_exporter_ordered_remote_write_requests"))
		assert.Equal(t, int64(101), h.metric("otelcol_exporter_ordered_remote_write_request_duration"))
		assert.Equal(t, []componentstatus.Status{componentstatus.StatusRecoverableError, componentstatus.StatusOK}, h.host.statuses())
	})
}

// TestRetryAfterIsHonoured looks at the delay that the header makes.
func TestRetryAfterIsHonoured(t *testing.T) {
	for header, want := range map[string]time.Duration{
		"7":                    7 * time.Second,
		"date":                 90 * time.Second,
		"past":                 30 * time.Millisecond,
		"rubbish":              30 * time.Millisecond,
		"99999999999999999999": 5 * time.Minute,
	} {
		t.Run(header, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var at []time.Time
				receiver := &rwtest.Receiver{Script: func(rwtest.Request) rwtest.Answer {
					at = append(at, time.Now())
					value := header
					switch header {
					case "date":
						value = time.Now().Add(90 * time.Second).UTC().Format(http.TimeFormat)
					case "past":
						value = time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat)
					}
					return rwtest.Answer{Status: []int{429, 204}[len(at)-1], Header: http.Header{"Retry-After": {value}}}
				}}
				h := newHarness(t, receiver, onePartition, func(c *Config) {
					c.Retry.BackOff.MaxElapsedTime = 0
					c.Retry.MaxRetryAfter = 5 * time.Minute
				})
				h.consume(gauge(time.Now(), 1))
				time.Sleep(time.Hour)
				synctest.Wait()
				require.Len(t, at, 2)
				assert.Equal(t, want, at[1].Sub(at[0]))
				h.shutdown()
			})
		})
	}
}

// TestEndless429EndsByAge shows that a series limit, which waiting does not clear, ends with queue.max_age.
func TestEndless429EndsByAge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		receiver := answers(429)
		h := newHarness(t, receiver, onePartition, func(c *Config) {
			c.Retry.BackOff.MaxElapsedTime = 0
			c.Queue.MaxAge = 10 * time.Minute
		})
		start := time.Now()
		h.consume(gauge(start.Add(-9*time.Minute), 2))
		// Of one batch, some samples become too old before the others.
		md := gauge(start.Add(-9*time.Minute), 2)
		md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0).SetName("earlier")
		gauge(start, 3).ResourceMetrics().MoveAndAppendTo(md.ResourceMetrics())
		md.ResourceMetrics().At(1).ScopeMetrics().At(0).Metrics().At(0).SetName("later")
		h.consume(md)
		h.consume(gauge(start.Add(-11*time.Minute), 4))

		time.Sleep(2 * time.Minute)
		assert.Equal(t, map[string]int64{"too_old": 6}, h.dropped(), "what was 9 and 11 minutes old, but for what is late and has not had its turn")
		time.Sleep(10 * time.Minute)
		assert.Equal(t, map[string]int64{"too_old": 11}, h.dropped())
		n := receiver.Requests()
		time.Sleep(10 * time.Minute)
		assert.Equal(t, n, receiver.Requests(), "nothing is sent any more")
		h.shutdown()
		assert.Empty(t, receiver.Problems())
	})
}

// TestStuckPartitionDelaysNoOther answers 500 for a minute to whatever holds samples of one partition.
func TestStuckPartitionDelaysNoOther(t *testing.T) {
	for _, policy := range []OnFull{OnFullBlock, OnFullReject, OnFullDropOldest, OnFullDropNewest} {
		t.Run(string(policy), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const partitions, stuck = 8, "3"
				start := time.Now()
				var mu sync.Mutex
				slowest := time.Duration(0)
				receiver := &rwtest.Receiver{InFlightKeys: requestPartitions(partitions)}
				receiver.Script = func(r rwtest.Request) rwtest.Answer {
					if time.Since(start) < time.Minute && slices.Contains(requestPartitions(partitions)(r.Message), stuck) {
						return rwtest.Answer{Status: 500}
					}
					mu.Lock()
					defer mu.Unlock()
					for _, ts := range r.Message.Timeseries {
						if time.Since(start) > 10*time.Second && seriesPartition(ts.Labels, partitions) != 3 {
							slowest = max(slowest, time.Since(time.UnixMilli(ts.Samples[0].Timestamp)))
						}
					}
					return rwtest.Answer{Latency: 10 * time.Millisecond}
				}
				h := newHarness(t, receiver, func(c *Config) {
					c.Partitions = partitions
					c.Queue.OnFull = policy
					c.Retry.BackOff.MaxElapsedTime = 0
				})
				for range 120 {
					h.consume(gauge(time.Now(), 200))
					time.Sleep(time.Second)
				}
				time.Sleep(10 * time.Second)
				mu.Lock()
				assert.Less(t, slowest, 2200*time.Millisecond, "the other partitions deliver within flush_timeout and a retry")
				mu.Unlock()
				h.shutdown()
				assert.Equal(t, int64(120*200), h.delivered())
				assert.Empty(t, h.dropped())
				assert.Empty(t, receiver.Problems())
			})
		})
	}
}

// TestDropsAreLogged looks at the one line for the first drop, and at the sum of the others.
func TestDropsAreLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		receiver := &rwtest.Receiver{Script: func(rwtest.Request) rwtest.Answer {
			return rwtest.Answer{Status: 400, Body: "out of order sample, " + strings.Repeat("x", 5000)}
		}}
		h := newHarness(t, receiver, onePartition, logExamples)
		for range 9 {
			h.consume(gauge(time.Now(), 2))
			time.Sleep(2 * time.Second)
		}
		lines := h.logs.FilterMessage("Dropped samples.").All()
		require.Len(t, lines, 2, "one in ten seconds")
		first := lines[0].ContextMap()
		assert.Equal(t, "rejected", first["reason"])
		assert.Equal(t, int64(2), first["dropped_samples"])
		assert.Equal(t, int64(400), first["status"])
		assert.Equal(t, `gauge{series="0"}`, first["first_series"])
		assert.Contains(t, first["answer"], "endpoint answered 400 Bad Request: out of order sample, xxx")
		assert.Len(t, first["answer"], len("endpoint answered 400 Bad Request: ")+remote.MaxAnswerBody)
		h.shutdown()

		sum := int64(0)
		for _, line := range h.logs.FilterMessage("Dropped samples.").All() {
			for _, field := range []string{"dropped_samples", "dropped_samples_since_last_line"} {
				if n, ok := line.ContextMap()[field].(int64); ok {
					sum += n
				}
			}
		}
		assert.Equal(t, int64(18), sum, "the numbers in the log add up")
	})
}

// TestIsolation counts what finding the bad series costs, and what is left of the others.
func TestIsolation(t *testing.T) {
	for _, tt := range []struct {
		name     string
		series   int
		bad      []int
		limit    int
		rejected int64
		dropped  map[string]int64
		requests int
	}{
		{"one bad of 1,000", 1000, []int{617}, 250, 1, map[string]int64{"rejected 400": 1}, 21},
		{"ten bad of 1,000", 1000, []int{0, 99, 201, 305, 402, 555, 600, 777, 888, 999}, 250, 10, map[string]int64{"rejected 400": 10}, 150},
		{"all bad of 8", 8, []int{0, 1, 2, 3, 4, 5, 6, 7}, 250, 8, map[string]int64{"rejected 400": 8}, 15},
		{"one bad of one", 1, []int{0}, 250, 1, map[string]int64{"rejected 400": 1}, 1},
		{"the greatest bound", 1000, []int{617}, math.MaxInt, 1, map[string]int64{"rejected 400": 1}, 21},
		{"the bound is reached", 1000, []int{0, 99, 201, 305, 402, 555, 600, 777, 888, 999}, 20, 0, nil, 20},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				bad := make(map[string]bool)
				for _, i := range tt.bad {
					bad[fmt.Sprint(i)] = true
				}
				seen := make(map[string]bool)
				receiver := &rwtest.Receiver{Script: func(r rwtest.Request) rwtest.Answer {
					assert.False(t, seen[string(r.Body)], "the same bytes twice")
					seen[string(r.Body)] = true
					for _, ts := range r.Message.Timeseries {
						for _, l := range ts.Labels {
							if l.Name == "series" && bad[l.Value] {
								return rwtest.Answer{Status: 400, Body: "bad series " + l.Value}
							}
						}
					}
					return rwtest.Answer{}
				}}
				h := newHarness(t, receiver, onePartition, func(c *Config) {
					c.OnError.Rejected = OnRejectedIsolate
					c.OnError.MaxIsolationRequests = tt.limit
				})
				h.consume(gauge(time.Now(), tt.series))
				time.Sleep(time.Minute)
				h.shutdown()
				t.Logf("%d requests", receiver.Requests())
				assert.LessOrEqual(t, receiver.Requests(), tt.requests)
				if tt.dropped != nil {
					assert.Equal(t, tt.dropped, h.dropped())
					assert.Equal(t, int64(tt.series)-tt.rejected, h.delivered())
				} else {
					d := h.dropped()
					assert.Positive(t, d["isolation_limit 400"])
					assert.Equal(t, int64(tt.series), h.delivered()+d["isolation_limit 400"]+d["rejected 400"])
				}
				assert.Equal(t, int64(receiver.AcknowledgedSamples()), h.delivered())
				assert.Empty(t, receiver.Problems())
			})
		})
	}
}

// TestTooLargeIsSplit answers 413 to requests of more than some samples, whatever on_error.rejected is.
func TestTooLargeIsSplit(t *testing.T) {
	for _, most := range []int{300, 1, 0} {
		t.Run(fmt.Sprintf("at most %d", most), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				receiver := &rwtest.Receiver{Script: func(r rwtest.Request) rwtest.Answer {
					if r.Samples() > most {
						return rwtest.Answer{Status: http.StatusRequestEntityTooLarge}
					}
					return rwtest.Answer{}
				}}
				h := newHarness(t, receiver, onePartition)
				n := 1000
				if most < 2 {
					n = 10
				}
				// Several samples of each series, which must stay in order.
				h.consume(gauge(time.Now(), n))
				h.consume(gauge(time.Now().Add(time.Second), n))
				time.Sleep(time.Minute)
				h.shutdown()
				if most == 0 {
					assert.Equal(t, map[string]int64{"too_large 413": int64(2 * n)}, h.dropped())
				} else {
					assert.Equal(t, int64(2*n), h.delivered())
				}
				assert.Empty(t, receiver.Problems())
			})
		})
	}
}

// TestShutdownWithHungBackend has 8 partitions with 100 samples each and a deadline of 2 s.
func TestShutdownWithHungBackend(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		receiver := &rwtest.Receiver{Script: func(rwtest.Request) rwtest.Answer { return rwtest.Answer{Fault: rwtest.Hang} }}
		h := newHarness(t, receiver, func(c *Config) {
			c.Batch.MaxSamples = 20
			c.ShutdownTimeout = time.Hour
			c.HTTP.Timeout = time.Hour
		})
		h.consume(gauge(time.Now(), 800))
		synctest.Wait()
		inFlight := h.ledger.Snapshot().InFlight
		assert.Equal(t, int64(firstLimit*20), inFlight, "as many requests as the limit begins with")

		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		start := time.Now()
		require.NoError(t, h.Shutdown(ctx))
		assertEndsBy(t, 2*time.Second, time.Since(start))
		assert.Equal(t, map[string]int64{"shutdown": 800 - inFlight, "shutdown_in_flight": inFlight}, h.dropped())
		assert.Equal(t, firstLimit, receiver.Requests())
		h.checkBalance()
		require.ErrorIs(t, h.ConsumeMetrics(context.Background(), gauge(time.Now(), 1)), errClosed)
		assert.Empty(t, receiver.Problems())
	})
}

// assertEndsBy checks that a shutdown uses the time that it has, but for what a transport may need to end, and no more.
func assertEndsBy(t *testing.T, limit, took time.Duration) {
	t.Helper()
	assert.LessOrEqual(t, took, limit)
	assert.GreaterOrEqual(t, took, limit-remote.AbandonGrace)
}

// TestShutdownFlushesAndDrains shows that a shutdown sends what waits, retries included.
func TestShutdownFlushesAndDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		receiver := &rwtest.Receiver{Script: func(r rwtest.Request) rwtest.Answer {
			if r.Seq <= 3 {
				return rwtest.Answer{Status: 503}
			}
			return rwtest.Answer{Latency: 100 * time.Millisecond}
		}}
		h := newHarness(t, receiver, func(c *Config) { c.Batch.FlushTimeout = time.Hour })
		h.consume(gauge(time.Now(), 500))
		start := time.Now()
		h.shutdown()
		assert.Less(t, time.Since(start), time.Second)
		assert.Equal(t, int64(500), h.delivered())
		assert.Empty(t, receiver.Problems())
	})
}

// TestShutdownInBackOffIsNotInFlight tells what waits for a retry from what is on its way.
func TestShutdownInBackOffIsNotInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, answers(503), onePartition, func(c *Config) { c.ShutdownTimeout = 2 * time.Second })
		h.consume(gauge(time.Now(), 5))
		time.Sleep(time.Minute)
		start := time.Now()
		h.shutdown()
		assertEndsBy(t, 2*time.Second, time.Since(start))
		assert.Equal(t, map[string]int64{"shutdown 503": 5}, h.dropped())
	})
}

// TestStatusAloneDecides has answers whose bodies are huge, slow or cut off.
func TestStatusAloneDecides(t *testing.T) {
	for name, answer := range map[string]rwtest.Answer{
		"huge": {Status: 200, BodySize: 64 << 20},
		"slow": {Status: 200, BodySize: 1 << 10, BodyTime: time.Hour},
		"cut":  {Status: 200, Fault: rwtest.Cut},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				receiver := &rwtest.Receiver{Script: func(rwtest.Request) rwtest.Answer { return answer }}
				h := newHarness(t, receiver, onePartition)
				start := time.Now()
				h.consume(gauge(time.Now(), 5))
				time.Sleep(time.Second)
				h.shutdown()
				assert.LessOrEqual(t, time.Since(start), 3*time.Second)
				assert.Equal(t, int64(5), h.delivered())
				assert.Equal(t, 1, receiver.Requests())
			})
		})
	}
}

// roundTripper is a function in the place of the network.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestHeaders looks at what the protocol demands of a request (Remote-Write 1.0, "Protocol").
func TestHeaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var header http.Header
		h := newHarness(t, roundTripper(func(r *http.Request) (*http.Response, error) {
			header = r.Header.Clone()
			assert.Equal(t, http.MethodPost, r.Method)
			return &http.Response{StatusCode: 200, Body: io.NopCloser(strings.NewReader(""))}, nil
		}), onePartition)
		h.consume(gauge(time.Now(), 1))
		time.Sleep(2 * time.Second)
		h.shutdown()
		require.NoError(t, rwtest.ValidateHeadersV1(header))
		assert.True(t, strings.HasPrefix(header.Get("User-Agent"), "ordered_remote_write/"))
	})
}
