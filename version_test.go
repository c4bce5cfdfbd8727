// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.uber.org/zap"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/remote"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// messageInUse is the message that the metric says is in use.
func (h *harness) messageInUse() string {
	h.t.Helper()
	m, err := h.telemetry.GetMetric("otelcol_exporter_ordered_remote_write_protobuf_message")
	require.NoError(h.t, err)
	inUse := ""
	points := m.Data.(metricdata.Gauge[int64]).DataPoints
	require.Len(h.t, points, 2, "one for each message")
	for _, p := range points {
		if name, _ := p.Attributes.Value(attribute.Key(messageKey)); p.Value == 1 {
			require.Empty(h.t, inUse)
			inUse = name.AsString()
		}
	}
	return inUse
}

// TestMessageInUse: what is configured is in use while there is no fallback.
func TestMessageInUse(t *testing.T) {
	for _, message := range []ProtobufMessage{MessageV1, MessageV2} {
		synctest.Test(t, func(t *testing.T) {
			h := newHarness(t, record(nil), onePartition, func(c *Config) { c.ProtobufMessage = message })
			assert.Equal(t, string(message), h.messageInUse())
			assert.Zero(t, h.metric(fallbackMetric))
			h.shutdown()
		})
	}
}

// eachMinute gives a payload a minute to the exporter, with an answer for each request. Those that are left are sound.
func eachMinute(t *testing.T, payloads int, answers []rwtest.Answer, edit ...func(*Config)) (*harness, *recorder) {
	t.Helper()
	r := record(func(q rwtest.Request) rwtest.Answer {
		if q.Seq > len(answers) {
			return rwtest.Answer{}
		}
		return answers[q.Seq-1]
	})
	h := newHarness(t, r, append(edit, onePartition, messageV2)...)
	for range payloads {
		h.consume(mixed(time.Now(), 3, 2))
		time.Sleep(time.Minute)
	}
	h.shutdown()
	assert.Empty(t, r.Problems())
	return h, r
}

// TestStrayAnswersDoNotEnd2 is about an endpoint that has proved that it reads 2.0.
func TestStrayAnswersDoNotEnd2(t *testing.T) {
	bare := rwtest.Answer{Status: 200, Written: rwtest.WrittenNever, Body: "<html>We will be back soon"}
	t.Run("a 415 costs one request, which goes as 1.0", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h, r := eachMinute(t, 3, []rwtest.Answer{{}, {Status: 415}})
			assert.Equal(t, []int{2, 2, 1, 2}, r.versions())
			assert.Equal(t, r.requests[1].Series, r.requests[2].Series)
			assert.Equal(t, int64(15), h.delivered())
			assert.Zero(t, h.metric(fallbackMetric))
			assert.Equal(t, wire.MessageV2, h.messageInUse())
			assert.Empty(t, h.logs.FilterMessage(fallbackLine).All())
		})
	})
	t.Run("a success without Written headers is none: the same request goes again", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h, r := eachMinute(t, 3, []rwtest.Answer{{}, bare, bare})
			assert.Equal(t, []int{2, 2, 2, 2, 2}, r.versions())
			assert.Equal(t, r.requests[1].Body, r.requests[2].Body, "the identical bytes")
			assert.Equal(t, r.requests[1].Body, r.requests[3].Body)
			assert.Equal(t, int64(15), h.delivered(), "once each")
			assert.Empty(t, h.dropped())
			assert.Equal(t, int64(2), h.metric("otelcol_exporter_ordered_remote_write_retries"))
			assert.Equal(t, []componentstatus.Status{statusRecoverable, statusOK}, h.host.statuses())
			lines := h.logs.FilterMessageSnippet("The same request will be sent again").All()
			require.Len(t, lines, 1)
			assert.Contains(t, lines[0].ContextMap()["answer"], "endpoint answered 200 OK with none of the headers that a receiver of 2.0 must send")
		})
	})
	t.Run("it is counted when its retries end", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h, r := eachMinute(t, 3, []rwtest.Answer{{}, bare, bare, bare}, func(c *Config) { c.Retry.MaxRetries = 2 })
			assert.Equal(t, []int{2, 2, 2, 2, 2}, r.versions())
			assert.Equal(t, map[string]int64{"retries_exhausted 200": 5}, h.dropped())
			assert.Equal(t, int64(10), h.delivered())
		})
	})
	t.Run("what needs 2.0 is not lost by it", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h, r := eachMinute(t, 3, []rwtest.Answer{{}, bare}, func(c *Config) { c.ConvertExplicitHistogramsToNHCB = true })
			assert.Equal(t, []int{2, 2, 2, 2}, r.versions())
			assert.Equal(t, int64(15), h.delivered())
		})
	})
}

// TestEndpointIsReplacedByOneThatReads1 has an endpoint that reads 2.0 at first, and then never again.
func TestEndpointIsReplacedByOneThatReads1(t *testing.T) {
	for name, unread := range unreadable {
		if unread.Status == http.StatusBadRequest {
			continue // an endpoint that has proved itself means the data with a 400
		}
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := record(func(q rwtest.Request) rwtest.Answer {
					if q.Version == 2 && q.Seq > 1 {
						return unread
					}
					return rwtest.Answer{}
				})
				h := newHarness(t, r, onePartition, messageV2)
				const payloads = 100
				for i := range payloads {
					h.consume(mixed(time.Now(), 3, 2))
					time.Sleep(2 * time.Second)
					if i == 50 {
						assert.Zero(t, h.metric(fallbackMetric), "not within two minutes")
					}
				}
				assert.Equal(t, int64(1), h.metric(fallbackMetric))
				assert.Equal(t, wire.MessageV1, h.messageInUse())
				h.shutdown()
				assert.Equal(t, int64(payloads*5), h.delivered(), "nothing is lost meanwhile")
				assert.Empty(t, h.dropped())
				assert.Empty(t, r.Problems())
				assert.Len(t, h.logs.FilterMessage(fallbackLine).All(), 1)
				versions := r.versions()
				assert.Equal(t, slices.Repeat([]int{1}, 20), versions[len(versions)-20:])
			})
		})
	}
}

// TestFallbackIsUndone has an endpoint that reads 2.0 from a moment on.
func TestFallbackIsUndone(t *testing.T) {
	for name, unread := range unreadable {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				r := record(func(q rwtest.Request) rwtest.Answer {
					if q.Version == 2 && time.Since(start) < 25*time.Minute {
						return unread
					}
					return rwtest.Answer{}
				})
				h := newHarness(t, r, onePartition, messageV2)
				const payloads = 40
				for i := range payloads {
					h.consume(everything(time.Now()))
					time.Sleep(time.Minute)
					inUse, fallback := wire.MessageV1, int64(1)
					if i >= 32 {
						inUse, fallback = wire.MessageV2, 0
					}
					assert.Equal(t, fallback, h.metric(fallbackMetric), i)
					assert.Equal(t, inUse, h.messageInUse(), i)
				}
				h.shutdown()
				// Probes are due after 10 and after another 20 minutes, when there is data. The first one is not read and goes
				// as 1.0, the second one is.
				require.Equal(t, slices.Concat([]int{2}, slices.Repeat([]int{1}, 11), []int{2}, slices.Repeat([]int{1}, 21), slices.Repeat([]int{2}, 8)), r.versions())
				assert.Equal(t, int64(payloads*samplesOfEverything), h.delivered())
				assert.Empty(t, h.dropped())
				assert.Empty(t, r.Problems())
				probe := r.requests[len(r.requests)-8].MessageV2
				assert.True(t, slices.ContainsFunc(probe.Timeseries, func(ts writev2.TimeSeries) bool { return ts.Metadata.HelpRef != 0 || ts.Metadata.UnitRef != 0 }),
					"a probe has what 2.0 demands: it was never a message of 1.0")
				assert.Len(t, h.logs.FilterMessage(fallbackLine).All(), 1)
				assert.Len(t, h.logs.FilterMessage("The endpoint reads Remote-Write 2.0, which is in use again.").All(), 1)
				assert.Empty(t, h.host.statuses())
			})
		})
	}
}

// TestProbesCostNothing has 8 partitions and an endpoint that never reads 2.0, and says so in one way or another; order and
// completeness are those of any other load.
func TestProbesCostNothing(t *testing.T) {
	answers := map[string]rwtest.Answer{"500": {Status: 500}, "reset": {Fault: rwtest.Reset}, "413": {Status: 413}, "422": {Status: 422}}
	for name, unread := range unreadable {
		answers[name] = unread
	}
	for name, unread := range answers {
		t.Run(name, func(t *testing.T) {
			seed := seed(t)
			synctest.Test(t, func(t *testing.T) {
				const partitions = 8
				start, probes := time.Now(), 0
				var mu sync.Mutex
				faults := rwtest.Faults{Seed: seed, ServerError: 20, DropAnswer: 20, MaxLatency: 50 * time.Millisecond}
				r := record(func(q rwtest.Request) rwtest.Answer {
					mu.Lock()
					defer mu.Unlock()
					switch {
					case q.Version == 1:
						return faults.Answer(q.Seq)
					case time.Since(start) < time.Minute:
						return rwtest.Answer{Status: 415}
					default:
						probes++
						return unread
					}
				})
				r.InFlightKeys = requestPartitions(partitions)
				h := newHarness(t, r, messageV2, func(c *Config) {
					c.Partitions = partitions
					c.Retry.BackOff.MaxElapsedTime = 0
					c.Batch.MaxSamples = 50
					// What comes last may meet many faults in a row.
					c.ShutdownTimeout = time.Hour
				})
				expected := map[string][]rwtest.Sample{}
				total := 0
				p := rwtest.Payloads{Seed: seed, Producers: 1, Streams: 40, Points: 60, Kinds: []pmetric.MetricType{pmetric.MetricTypeGauge, pmetric.MetricTypeSum}}
				producer := p.Split()[0]
				for md, ok := producer.Next(); ok; md, ok = producer.Next() {
					total += md.DataPointCount()
					h.consume(md)
					time.Sleep(30 * time.Second)
				}
				for key, samples := range producer.Expected() {
					expected[key] = samples
				}
				h.shutdown()
				assert.Equal(t, int64(total), h.delivered())
				assert.Empty(t, h.dropped())
				assert.Empty(t, r.Problems())
				checkDelivered(t, expected, &r.Receiver)
				assert.EqualValues(t, createDefaultConfig().(*Config).Batch.MaxSizeBytes, h.queue.mostBytes(), "a probe says nothing of the size that 1.0 may have")
				assert.Positive(t, probes)
				assert.LessOrEqual(t, probes, 1+int(time.Since(start)/(10*time.Minute)))
			})
		})
	}
}

// TestTrialIsOneForAllPartitions has two requests, each of half of the partitions, that are refused with 400 at the same time.
func TestTrialIsOneForAllPartitions(t *testing.T) {
	run := func(t *testing.T, v1 rwtest.Answer, edit ...func(*Config)) (*harness, *recorder) {
		r := record(func(q rwtest.Request) rwtest.Answer {
			if q.Version == 2 {
				return rwtest.Answer{Status: 400, Latency: time.Second}
			}
			return v1
		})
		h := newHarness(t, r, append(edit, messageV2)...)
		h.consume(gauge(time.Now(), 200))
		time.Sleep(time.Minute)
		synctest.Wait()
		assert.Equal(t, []int{2, 2}, r.versions()[:2])
		return h, r
	}
	t.Run("refused", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h, r := run(t, rwtest.Answer{Status: 400, Latency: 3 * time.Second})
			h.shutdown()
			assert.Equal(t, []int{1}, r.versions()[2:])
			assert.Equal(t, map[string]int64{"rejected 400": 200}, h.dropped())
		})
	})
	t.Run("taken", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h, r := run(t, rwtest.Answer{Latency: 3 * time.Second})
			h.shutdown()
			assert.Equal(t, []int{1, 1}, r.versions()[2:])
			assert.Equal(t, int64(200), h.delivered(), "what was refused as 2.0 has waited")
		})
	})
	t.Run("not answered until the shutdown", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h, r := run(t, rwtest.Answer{Fault: rwtest.Hang}, func(c *Config) { c.HTTP.Timeout = time.Hour })
			start := time.Now()
			h.shutdown()
			assertEndsBy(t, h.cfg.ShutdownTimeout, time.Since(start))
			assert.Len(t, r.requests, 3)
			onTrial := int64(r.requests[2].Samples())
			assert.Equal(t, map[string]int64{"shutdown_in_flight": onTrial, "shutdown 400": 200 - onTrial}, h.dropped())
		})
	})
	t.Run("without an answer that says anything: another one follows", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			h, r := run(t, rwtest.Answer{Status: 503}, func(c *Config) { c.Retry.MaxRetries = 1 })
			h.shutdown()
			assert.Equal(t, []int{1, 1, 1, 1}, r.versions()[2:], "one after the other")
			assert.Equal(t, 2, r.MaxParallel())
			assert.Equal(t, map[string]int64{"retries_exhausted 503": 200}, h.dropped())
		})
	})
}

// TestTrialBeginsOnce has many that would begin one at the same time, in several turns.
func TestTrialBeginsOnce(t *testing.T) {
	for range 200 {
		v := &version{configured: wire.V2, logger: zap.NewNop()}
		var begun atomic.Int64
		var judges sync.WaitGroup
		for range 8 {
			judges.Go(func() {
				for v.standing() == remote.StandingUnproven {
					trial, decided := v.try(&remote.Answer{Status: 400})
					if trial != nil {
						begun.Add(1)
						v.tried(trial, &outcome{verdict: remote.VerdictDrop, reason: account.ReasonRejected})
						return
					}
					<-decided
				}
			})
		}
		judges.Wait()
		require.Equal(t, int64(1), begun.Load())
	}
}

// TestProbeOf2WhilePaused: that the endpoint was paused when 2.0 was due to be tried again does not end the trials.
func TestProbeOf2WhilePaused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		receiver := &rwtest.Receiver{Script: func(r rwtest.Request) rwtest.Answer {
			switch since := time.Since(start); {
			case since > 9*time.Minute+50*time.Second && since < 11*time.Minute:
				return rwtest.Answer{Status: 401}
			case r.Version == 2 && since < 9*time.Minute:
				return rwtest.Answer{Status: 415}
			}
			return rwtest.Answer{}
		}}
		h := newHarness(t, receiver, messageV2, onePartition)
		for time.Since(start) < 9*time.Minute+55*time.Second {
			h.consume(gauge(time.Now(), 500))
			time.Sleep(15 * time.Second)
		}
		for time.Since(start) < time.Hour {
			h.consume(gauge(time.Now(), 500))
			time.Sleep(7 * time.Second)
		}
		assert.Equal(t, wire.V2, h.version.inUse())
		h.shutdown()
		assert.Empty(t, receiver.Problems())
	})
}

// TestTrialOf1ThatDoesNotEndHoldsUpNobody: requests that wait for the trial of another one go on when the endpoint has shown
// otherwise that it reads 2.0.
func TestTrialOf1ThatDoesNotEndHoldsUpNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const partitions = 4
		start := time.Now()
		receiver := &rwtest.Receiver{Script: func(r rwtest.Request) rwtest.Answer {
			p := requestPartitions(partitions)(r.Message)
			switch {
			case r.Version == 1:
				return rwtest.Answer{Status: 500}
			case time.Since(start) < time.Second && !slices.Contains(p, "2"):
				return rwtest.Answer{Status: 400, Written: rwtest.WrittenNever, Latency: 100 * time.Millisecond}
			}
			return rwtest.Answer{Latency: 200 * time.Millisecond}
		}}
		h := newHarness(t, receiver, messageV2, func(c *Config) {
			c.Partitions = partitions
			c.Batch.MaxSamples = 20
			c.Retry.BackOff.MaxElapsedTime = 0
			c.ShutdownTimeout = time.Second
		})
		for p := range 3 {
			h.consume(gaugeIn(time.Now(), 20, p, partitions))
		}
		time.Sleep(10 * time.Second)
		assert.Equal(t, int64(20), h.delivered())
		for p := range 3 {
			h.consume(gaugeIn(time.Now(), 20, p, partitions))
		}
		time.Sleep(10 * time.Second)
		assert.Equal(t, int64(60), h.delivered(), "only the partition of the trial waits")
		h.shutdown()
	})
}

// TestTrialOf1DoesNotOutweighAProof: an endpoint that reads both messages refuses one series in 2.0 and takes it in 1.0. By then it has
// shown that it reads 2.0, which stays in use.
func TestTrialOf1DoesNotOutweighAProof(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const partitions = 2
		receiver := &rwtest.Receiver{Script: func(r rwtest.Request) rwtest.Answer {
			switch {
			case r.Version == 1:
				return rwtest.Answer{Latency: time.Second}
			case slices.Contains(requestPartitions(partitions)(r.Message), "0"):
				return rwtest.Answer{Status: 400, Written: rwtest.WrittenNever}
			}
			return rwtest.Answer{Latency: 200 * time.Millisecond}
		}}
		h := newHarness(t, receiver, messageV2, func(c *Config) {
			c.Partitions = partitions
			c.Batch.MaxSamples = 20
		})
		for p := range partitions {
			h.consume(gaugeIn(time.Now(), 20, p, partitions))
		}
		time.Sleep(10 * time.Second)
		assert.Equal(t, int64(40), h.delivered())
		assert.Equal(t, wire.V2, h.version.inUse())
		h.shutdown()
	})
}

// TestTrialOf1ThatBreaksTheReceiverHoldsUpNobody: a receiver that reads 1.0 alone breaks on a series of the request that 1.0 is tried
// with. Those that wait for the outcome go on, whether the rest of that request passes or it has nothing else that could.
func TestTrialOf1ThatBreaksTheReceiverHoldsUpNobody(t *testing.T) {
	for name, most := range map[string]int{"a request of one partition": 20, "of several": 2000} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const partitions = 8
				first := gaugeIn(time.Now(), 20, 0, partitions)
				poison := seriesOfPoints(first)[10]
				receiver := &rwtest.Receiver{Script: func(r rwtest.Request) rwtest.Answer {
					bad := hasSeries(r, poison)
					switch {
					case r.Version == 2 && bad:
						return rwtest.Answer{Status: 400, Latency: 50 * time.Millisecond}
					case r.Version == 2:
						return rwtest.Answer{Status: 400, Latency: 100 * time.Millisecond}
					case bad:
						return rwtest.Answer{Status: 500}
					}
					return rwtest.Answer{Latency: 200 * time.Millisecond}
				}}
				h := newHarness(t, receiver, messageV2, func(c *Config) {
					c.Partitions = partitions
					c.Batch.MaxSamples = most
					c.Retry.BackOff.MaxElapsedTime = 0
					c.ShutdownTimeout = time.Second
				})
				h.consume(first)
				for p := range partitions - 1 {
					h.consume(gaugeIn(time.Now(), 20, p+1, partitions))
				}
				time.Sleep(time.Minute)
				assert.Equal(t, int64(20*partitions-10), h.delivered(), "all but the series, and what is behind it in its request")
				assert.Equal(t, wire.V1, h.version.inUse())
				h.shutdown()
				assert.Empty(t, receiver.Problems())
			})
		})
	}
}
