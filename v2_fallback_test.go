// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/otlptranslator"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.uber.org/zap"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
)

const (
	fallbackMetric = "otelcol_exporter_ordered_remote_write_fallback"
	fallbackLine   = "The endpoint does not read Remote-Write 2.0: everything is sent as 1.0, and 2.0 is tried again from time to time. To send 1.0 for good, set protobuf_message: prometheus.WriteRequest"
)

// unreadable are the answers to a 2.0 message of endpoints that know 1.0 only.
var unreadable = map[string]rwtest.Answer{
	"415":                 {Status: http.StatusUnsupportedMediaType, Body: "unsupported"},
	"415 in words of 2.0": {Status: http.StatusUnsupportedMediaType, Written: rwtest.WrittenAlways},
	"200 without headers": {Status: http.StatusOK, Written: rwtest.WrittenNever},
	"204 without headers": {Status: http.StatusNoContent, Written: rwtest.WrittenNever},
	"400":                 {Status: http.StatusBadRequest, Written: rwtest.WrittenNever, Body: "cannot parse"},
}

// onlyV1 is a receiver that gives an answer to 2.0 and success to 1.0.
func onlyV1(unread rwtest.Answer) *recorder {
	return record(func(q rwtest.Request) rwtest.Answer {
		if q.Version == 2 {
			return unread
		}
		return rwtest.Answer{Header: writtenHeaders("0", "0", "0")}
	})
}

// TestFallback sends the same data as 1.0, once, and everything after it.
func TestFallback(t *testing.T) {
	for name, unread := range unreadable {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := onlyV1(unread)
				h := newHarness(t, r, onePartition, messageV2)
				assert.Zero(t, h.metric(fallbackMetric))
				for i := range 3 {
					h.consume(everything(time.Now()))
					time.Sleep(time.Minute)
					assert.Equal(t, int64(1), h.metric(fallbackMetric))
					assert.Equal(t, int64((i+1)*samplesOfEverything), h.delivered(), "each sample is counted once")
				}
				h.shutdown()
				assert.Equal(t, []int{2, 1, 1, 1}, r.versions(), "2.0 is not tried again so soon")
				assert.Equal(t, r.requests[0].Series, r.requests[1].Series, "the same data in the same order")
				assert.Equal(t, r.requests[0].Message, r.requests[1].Message)
				assert.Empty(t, h.dropped())
				assert.Empty(t, r.Problems())
				assert.Equal(t, int64(3*samplesOfEverything), h.metric("otelcol_exporter_sent_metric_points"))
				assert.Zero(t, h.metric("otelcol_exporter_send_failed_metric_points"))
				assert.Equal(t, int64(4), h.metric("otelcol_exporter_ordered_remote_write_requests"))
				assert.Zero(t, h.metric("otelcol_exporter_ordered_remote_write_retries"))
				lines := h.logs.FilterMessage(fallbackLine).All()
				require.Len(t, lines, 1)
				assert.Equal(t, int64(unread.Status), lines[0].ContextMap()["status"], "the answer to 2.0")
				assert.Contains(t, lines[0].ContextMap()["answer"], unread.Body)
				assert.Empty(t, h.host.statuses())
			})
		})
	}
}

// TestFallbackWhatIsStoredAgainIsTheSame has an endpoint that stores a 2.0 message, and then says that it cannot read it.
func TestFallbackWhatIsStoredAgainIsTheSame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := onlyV1(rwtest.Answer{Status: 415, Stored: true})
		h := newHarness(t, r, onePartition, messageV2)
		h.consume(everything(time.Now()))
		time.Sleep(time.Minute)
		h.shutdown()
		assert.Equal(t, int64(samplesOfEverything), h.delivered())
		assert.Equal(t, samplesOfEverything, r.Redelivered(), "with the same labels, times, values and buckets")
		assert.Empty(t, r.Problems())
	})
}

// TestFallbackIsOff drops what the endpoint cannot read.
func TestFallbackIsOff(t *testing.T) {
	for name, unread := range unreadable {
		for _, rejected := range []OnRejected{OnRejectedDiscard, OnRejectedIsolate} {
			t.Run(name+", "+string(rejected), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := onlyV1(unread)
					h := newHarness(t, r, onePartition, messageV2, func(c *Config) {
						c.Fallback = false
						c.OnError.Rejected = rejected
					})
					for range 2 {
						h.consume(mixed(time.Now(), 1, 0))
						time.Sleep(time.Minute)
					}
					h.shutdown()
					assert.Equal(t, []int{2, 2}, r.versions())
					assert.Equal(t, map[string]int64{"rejected " + name[:3]: 2}, h.dropped())
					assert.Zero(t, h.delivered())
					assert.Zero(t, h.metric(fallbackMetric))
					assert.Empty(t, h.logs.FilterMessage(fallbackLine).All())
				})
			})
		}
	}
}

// TestFallbackTrial is about 400, which a receiver of 1.0 may answer to a 2.0 message: it says so only if the endpoint has
// never shown that it reads 2.0, and if it takes 1.0.
func TestFallbackTrial(t *testing.T) {
	run := func(t *testing.T, script func(rwtest.Request) rwtest.Answer, payloads int, edit ...func(*Config)) (*harness, *recorder) {
		r := record(script)
		h := newHarness(t, r, append(edit, onePartition, messageV2)...)
		for range payloads {
			h.consume(mixed(time.Now(), 3, 2))
			time.Sleep(time.Minute)
		}
		h.shutdown()
		assert.Empty(t, r.Problems())
		return h, r
	}
	t.Run("the endpoint has shown that it reads 2.0", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h, r := run(t, func(q rwtest.Request) rwtest.Answer { return []rwtest.Answer{{}, {Status: 400}, {}}[q.Seq-1] }, 3)
			assert.Equal(t, []int{2, 2, 2}, r.versions())
			assert.Equal(t, map[string]int64{"rejected 400": 5}, h.dropped())
			assert.Zero(t, h.metric(fallbackMetric))
		})
	})
	t.Run("the endpoint shows it with the refusal", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h, r := run(t, func(rwtest.Request) rwtest.Answer {
				return rwtest.Answer{Status: 400, Written: rwtest.WrittenAlways}
			}, 2)
			assert.Equal(t, []int{2, 2}, r.versions())
			assert.Equal(t, map[string]int64{"rejected 400": 10}, h.dropped())
		})
	})
	t.Run("the endpoint has shown it with an error", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			_, r := run(t, func(q rwtest.Request) rwtest.Answer {
				return []rwtest.Answer{{Status: 503, Written: rwtest.WrittenAlways}, {Status: 400}}[q.Seq-1]
			}, 1)
			assert.Equal(t, []int{2, 2}, r.versions())
		})
	})
	t.Run("1.0 is refused too: there is no other trial", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h, r := run(t, func(q rwtest.Request) rwtest.Answer {
				if q.Seq <= 4 {
					return rwtest.Answer{Status: 400}
				}
				return rwtest.Answer{}
			}, 4)
			assert.Equal(t, []int{2, 1, 2, 2, 2}, r.versions(), "what is refused later is not sent twice")
			assert.Equal(t, map[string]int64{"rejected 400": 15}, h.dropped(), "once for each sample")
			assert.Equal(t, int64(5), h.delivered())
			assert.Zero(t, h.metric(fallbackMetric))
			assert.Empty(t, h.logs.FilterMessage(fallbackLine).All())
		})
	})
	t.Run("1.0 is refused too, and then nothing is taken for a long time", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h, r := run(t, func(q rwtest.Request) rwtest.Answer {
				if q.Version == 2 || q.Seq == 2 {
					return rwtest.Answer{Status: 400}
				}
				return rwtest.Answer{}
			}, 13)
			assert.Equal(t, slices.Concat([]int{2, 1}, slices.Repeat([]int{2}, 10), []int{1, 1, 1}), r.versions(),
				"one request for each payload for ten minutes, and then a second trial, which is taken")
			assert.Equal(t, int64(3*5), h.delivered())
			assert.Equal(t, map[string]int64{"rejected 400": 10 * 5}, h.dropped())
			assert.Equal(t, int64(1), h.metric(fallbackMetric))
		})
	})
	t.Run("the trial is split, and its parts are one trial", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h, r := run(t, func(q rwtest.Request) rwtest.Answer {
				if q.Version == 2 || q.Seq == 2 || q.Seq == 3 {
					return rwtest.Answer{Status: 400}
				}
				return rwtest.Answer{}
			}, 2, func(c *Config) { c.OnError.Rejected = OnRejectedIsolate })
			// The 1.0 message of 5 is refused, its first half of 2 is refused, and one sample of it is taken.
			assert.Equal(t, []int{2, 1, 1, 1, 1, 1, 1}, r.versions())
			assert.Equal(t, int64(10), h.delivered())
			assert.Equal(t, int64(1), h.metric(fallbackMetric))
		})
	})
	t.Run("the trial is too large", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h, r := run(t, func(q rwtest.Request) rwtest.Answer {
				switch {
				case q.Version == 2:
					return rwtest.Answer{Status: 400}
				case q.Samples() > 3:
					return rwtest.Answer{Status: 413}
				default:
					return rwtest.Answer{}
				}
			}, 1)
			assert.Equal(t, []int{2, 1, 1, 1}, r.versions())
			assert.Equal(t, int64(5), h.delivered())
			assert.Equal(t, int64(1), h.metric(fallbackMetric), "a part of the trial was taken")
		})
	})
	t.Run("all parts of the trial are refused", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h, r := run(t, func(rwtest.Request) rwtest.Answer { return rwtest.Answer{Status: 400} }, 2,
				func(c *Config) { c.OnError.Rejected = OnRejectedIsolate })
			// Isolation takes 9 requests for 5 samples. The next ones of their series are refused together, and then 7 requests try 4.
			assert.Equal(t, slices.Concat([]int{2}, slices.Repeat([]int{1}, 9), slices.Repeat([]int{2}, 1+7)), r.versions())
			assert.Equal(t, map[string]int64{"rejected 400": 5 + 4, "isolation_limit 400": 1}, h.dropped())
			assert.Zero(t, h.metric(fallbackMetric))
		})
	})
	t.Run("1.0 is taken in the end", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h, r := run(t, func(q rwtest.Request) rwtest.Answer {
				return []rwtest.Answer{{Status: 400}, {Status: 503}, {Status: 503}, {}, {}}[q.Seq-1]
			}, 2)
			assert.Equal(t, []int{2, 1, 1, 1, 1}, r.versions())
			assert.Equal(t, int64(10), h.delivered())
			assert.Equal(t, int64(1), h.metric(fallbackMetric))
		})
	})
	t.Run("1.0 is never answered", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h, r := run(t, func(q rwtest.Request) rwtest.Answer {
				if q.Version == 2 {
					return rwtest.Answer{Status: 400}
				}
				return rwtest.Answer{Status: 503}
			}, 1, func(c *Config) { c.Retry.MaxRetries = 2 })
			assert.Equal(t, []int{2, 1, 1, 1}, r.versions())
			assert.Equal(t, map[string]int64{"retries_exhausted 503": 5}, h.dropped())
			assert.Zero(t, h.metric(fallbackMetric))
		})
	})
	t.Run("some samples become too old meanwhile", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			r := record(func(q rwtest.Request) rwtest.Answer {
				switch {
				case q.Version == 2:
					return rwtest.Answer{Status: 400}
				case time.Since(start) < 5*time.Minute:
					return rwtest.Answer{Status: 503}
				default:
					return rwtest.Answer{}
				}
			})
			h := newHarness(t, r, onePartition, messageV2, func(c *Config) {
				c.Queue.MaxAge = 10 * time.Minute
				c.Retry.BackOff.MaxElapsedTime = 0
			})
			md := gauge(start, 3)
			old := gauge(start.Add(-8*time.Minute), 2)
			old.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0).SetName("old")
			old.ResourceMetrics().MoveAndAppendTo(md.ResourceMetrics())
			h.consume(md)
			time.Sleep(10 * time.Minute)
			h.shutdown()
			assert.Equal(t, map[string]int64{"too_old": 2}, h.dropped())
			assert.Equal(t, int64(3), h.delivered())
			assert.Equal(t, int64(1), h.metric(fallbackMetric))
			assert.Empty(t, r.Problems())
		})
	})
	t.Run("other refusals are none", func(t *testing.T) {
		for _, status := range []int{402, 409, 422} {
			synctest.Test(t, func(t *testing.T) {
				h, r := run(t, func(rwtest.Request) rwtest.Answer { return rwtest.Answer{Status: status} }, 2)
				assert.Equal(t, []int{2, 2}, r.versions())
				assert.Zero(t, h.delivered())
			})
		}
	})
}

// TestFallbackKeepsOrder has 2.0 messages waiting in the queues of 8 partitions when it turns out that the endpoint does
// not read them, and more data coming all the time.
func TestFallbackKeepsOrder(t *testing.T) {
	for name, unread := range unreadable {
		t.Run(name, func(t *testing.T) {
			seed := seed(t)
			synctest.Test(t, func(t *testing.T) {
				const partitions = 8
				start, unreads := time.Now(), 0
				var mu sync.Mutex
				faults := rwtest.Faults{Seed: seed, ServerError: 100, ResetUnread: 50, DropAnswer: 50, MaxLatency: 50 * time.Millisecond}
				r := record(func(q rwtest.Request) rwtest.Answer {
					mu.Lock()
					defer mu.Unlock()
					a := faults.Answer(q.Seq)
					switch {
					case time.Since(start) < 20*time.Second:
						return rwtest.Answer{Status: 503}
					case q.Version == 2 && a.Fault == rwtest.NoFault:
						unreads++
						return unread
					default:
						return a
					}
				})
				r.InFlightKeys = requestPartitions(partitions)
				h := newHarness(t, r, messageV2, func(c *Config) {
					c.Partitions = partitions
					c.Batch.MaxSamples = 50
					c.Retry.BackOff.MaxElapsedTime = 0
					c.ShutdownTimeout = time.Hour
				})
				expected := produce(t, h, rwtest.Payloads{
					Seed: seed, Producers: 4, Streams: 200, Points: 150,
					Kinds: []pmetric.MetricType{pmetric.MetricTypeGauge, pmetric.MetricTypeSum},
				})
				h.shutdown()
				assert.Empty(t, r.Problems())
				assert.Empty(t, h.dropped())
				assert.Equal(t, int64(200*150), h.delivered())
				checkDelivered(t, expected, &r.Receiver)
				assert.Len(t, h.logs.FilterMessage(fallbackLine).All(), 1)
				assert.LessOrEqual(t, unreads, partitions, "each partition finds it out once at most")
			})
		})
	}
}

// TestFallbackOfWhatIsSplit has a 2.0 message in parts when the endpoint turns out not to read it.
func TestFallbackOfWhatIsSplit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := record(func(q rwtest.Request) rwtest.Answer {
			switch {
			case q.Samples() > 4:
				return rwtest.Answer{Status: 413}
			case q.Version == 2:
				return rwtest.Answer{Status: 415}
			default:
				return rwtest.Answer{}
			}
		})
		h := newHarness(t, r, onePartition, messageV2)
		h.consume(everything(time.Now()))
		h.consume(everything(time.Now().Add(time.Second)))
		time.Sleep(time.Minute)
		h.shutdown()
		assert.Equal(t, int64(2*samplesOfEverything), h.delivered())
		assert.Empty(t, h.dropped())
		assert.Empty(t, r.Problems())
	})
}

// TestNoFallbackWhereTheConfigurationNeedsV2 has names in UTF-8 and custom buckets. What 1.0 can carry goes as 1.0, request by
// request, but 2.0 stays in use.
func TestNoFallbackWhereTheConfigurationNeedsV2(t *testing.T) {
	payload := func(ts time.Time) pmetric.Metrics {
		md := metricsOf(nil,
			gaugeOf("classic", number(1, with("a", "b"))),
			gaugeOf("utf.8", number(2, with("a", "b"))),
			gaugeOf("label", number(3, with("utf.8", "b"))),
			sumOf("exemplar", true, number(4, exampled(1, withTrace, filtered("utf.8", "b", "c", "d")))),
			histogramOf("buckets", buckets([]float64{1, 2}, []uint64{1, 2, 3})),
		)
		retime(md, ts)
		return md
	}
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		r := record(func(q rwtest.Request) rwtest.Answer {
			if q.Version == 2 && time.Since(start) < 2*time.Minute {
				return rwtest.Answer{Status: 415}
			}
			return rwtest.Answer{}
		})
		h := newHarness(t, r, onePartition, messageV2, func(c *Config) {
			c.TranslationStrategy = otlptranslator.NoTranslation
			c.ConvertExplicitHistogramsToNHCB = true
			c.LogExamples = true
		})
		for i := range 3 {
			h.consume(payload(time.Now()))
			time.Sleep(time.Minute)
			assert.Zero(t, h.metric(fallbackMetric))
			refused := int64(min(i+1, 2))
			assert.Equal(t, map[string]int64{"needs_remote_write_2": 3 * refused}, h.dropped())
			assert.Equal(t, int64(5*(i+1))-3*refused, h.delivered())
		}
		h.shutdown()
		assert.Equal(t, []int{2, 1, 2, 1, 2}, r.versions(), "2.0 is tried with each request")
		drops := h.logs.FilterField(zapReason(account.ReasonNeedsV2)).All()
		require.NotEmpty(t, drops)
		assert.Equal(t, `utf.8{a="b"}`, drops[0].ContextMap()["example"])
		lines := h.logs.FilterLevelExact(zap.ErrorLevel).All()
		require.Len(t, lines, 2, "one for each request, but at most one in ten seconds")
		for _, remedy := range []string{"protobuf_message: prometheus.WriteRequest", "translation_strategy", "custom buckets"} {
			assert.Contains(t, lines[0].Message, remedy)
		}
		assert.Equal(t, int64(415), lines[0].ContextMap()["status"])
		assert.Empty(t, h.logs.FilterMessage(fallbackLine).All())
		assert.Empty(t, r.Problems(), "names are those of 1.0, also in exemplars")
		for _, i := range []int{1, 3} {
			for _, ts := range r.requests[i].Message.Timeseries {
				if len(ts.Exemplars) > 0 {
					assert.Equal(t, []string{"c", "span_id", "trace_id"}, namesOf(ts.Exemplars[0].Labels))
				}
			}
		}
	})
}

// TestNoFallbackOfNothing has messages of which 1.0 can carry nothing.
func TestNoFallbackOfNothing(t *testing.T) {
	for name, unread := range unreadable {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := onlyV1(unread)
				h := newHarness(t, r, onePartition, messageV2, func(c *Config) {
					c.TranslationStrategy = otlptranslator.NoTranslation
					c.Queue.MaxAge = time.Hour // nothing has no age
				})
				for range 2 {
					md := metricsOf(nil, gaugeOf("utf.8", number(1), number(2, with("a", "b"))))
					retime(md, time.Now())
					h.consume(md)
					time.Sleep(time.Minute)
				}
				h.shutdown()
				want := "needs_remote_write_2"
				if strings.HasPrefix(name, "400") {
					want = "rejected 400" // 1.0 could not become the version in use, so that there is no trial
				}
				assert.Equal(t, map[string]int64{want: 4}, h.dropped())
				assert.Equal(t, []int{2, 2}, r.versions(), "there is nothing to send as 1.0")
				assert.Zero(t, h.metric(fallbackMetric))
			})
		})
	}
}
