// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"context"
	"fmt"
	"maps"
	"math"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/prometheus/prompb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
)

// Everything about order hangs on the busy state of partitions. These tests run with the numbers of partitions at which something
// could change, under faults; `make mutants` shows that each of them fails when the busy state is ignored.

// forEachNumberOfPartitions runs a test with an exporter that sends often, to a receiver that is slow and fails often.
func forEachNumberOfPartitions(t *testing.T, test func(t *testing.T, seed uint64, h *harness, receiver *rwtest.Receiver)) {
	for _, partitions := range []int{1, 2, 32, 256} {
		t.Run(strconv.Itoa(partitions), func(t *testing.T) {
			seed := seed(t)
			synctest.Test(t, func(t *testing.T) {
				receiver := &rwtest.Receiver{
					Faults: rwtest.Faults{
						Seed: seed, ServerError: 80, StoredServerError: 20, TooManyRequests: 20, ResetUnread: 40, DropAnswer: 40,
						MinLatency: time.Millisecond, MaxLatency: 200 * time.Millisecond, MaxRetryAfter: time.Second,
					},
					InFlightKeys: requestPartitions(partitions),
				}
				h := newHarness(t, receiver, func(c *Config) {
					c.Partitions = partitions
					c.ProtobufMessage = []ProtobufMessage{MessageV1, MessageV2}[seed%2]
					c.Batch.MaxSamples = 50
					c.Batch.FlushTimeout = 20 * time.Millisecond
					c.Retry.BackOff.MaxElapsedTime = 0
					c.ShutdownTimeout = time.Hour
				})
				test(t, seed, h, receiver)
			})
		})
	}
}

// produceOften is many payloads of some series.
func produceOften(t *testing.T, seed uint64, h *harness) map[string][]rwtest.Sample {
	return produce(t, h, rwtest.Payloads{
		Seed: seed, Producers: 3, Streams: 300, Points: 40,
		Kinds: []pmetric.MetricType{pmetric.MetricTypeGauge, pmetric.MetricTypeSum},
	})
}

// TestOrderWithPartitions: what is stored first of each series is what was accepted first.
func TestOrderWithPartitions(t *testing.T) {
	forEachNumberOfPartitions(t, func(t *testing.T, seed uint64, h *harness, receiver *rwtest.Receiver) {
		expected := produceOften(t, seed, h)
		h.shutdown()
		assert.Empty(t, receiver.OutOfOrder())
		assert.Empty(t, h.dropped())
		checkDelivered(t, expected, receiver)
	})
}

// TestOneInFlightWithPartitions: no request is sent with samples of a partition of which others have no outcome yet, be they under way
// or waiting for their next attempt.
func TestOneInFlightWithPartitions(t *testing.T) {
	forEachNumberOfPartitions(t, func(t *testing.T, seed uint64, h *harness, receiver *rwtest.Receiver) {
		w := &outcomes{
			rnd: rand.New(rand.NewPCG(seed, 0)), partitions: requestPartitions(h.cfg.Partitions), open: make(map[string]map[string]bool),
		}
		receiver.Script = w.answer
		produceOften(t, seed, h)
		h.shutdown()
		assert.Empty(t, w.problems)
		assert.Empty(t, receiver.Overlaps())
		assert.Empty(t, w.open)
	})
}

// outcomes is a receiver that knows which samples have no outcome yet.
type outcomes struct {
	mu         sync.Mutex
	rnd        *rand.Rand
	partitions func(*prompb.WriteRequest) []string
	// open are the samples without an outcome, by partition.
	open     map[string]map[string]bool
	problems []string
}

func (w *outcomes) answer(r rwtest.Request) rwtest.Answer {
	w.mu.Lock()
	defer w.mu.Unlock()
	samples := make(map[string][]string)
	for i := range r.Message.Timeseries {
		one := &prompb.WriteRequest{Timeseries: r.Message.Timeseries[i : i+1]}
		p := w.partitions(one)[0]
		samples[p] = append(samples[p], one.String())
	}
	fails := w.rnd.IntN(4) == 0
	for p, of := range samples {
		before := w.open[p]
		w.open[p] = make(map[string]bool)
		maps.Copy(w.open[p], before)
		for _, s := range of {
			if before != nil && !before[s] {
				w.problems = append(w.problems, fmt.Sprintf("request %d has %s before what was sent of its partition had its outcome", r.Seq, s))
			}
			if w.open[p][s] = true; !fails {
				delete(w.open[p], s)
			}
		}
		if len(w.open[p]) == 0 {
			delete(w.open, p)
		}
	}
	latency := time.Duration(1+w.rnd.IntN(200)) * time.Millisecond
	if fails {
		return rwtest.Answer{Status: 500, Latency: latency}
	}
	return rwtest.Answer{Latency: latency}
}

// TestIdentityWithPartitions: series that an unkeyed hash would take for one are told apart on the whole way, and each keeps all of
// its samples in their order.
func TestIdentityWithPartitions(t *testing.T) {
	forEachNumberOfPartitions(t, func(t *testing.T, seed uint64, h *harness, receiver *rwtest.Receiver) {
		const pairs, ticks = 20, 150
		rnd := rand.New(rand.NewPCG(seed, 0))
		var all []unkeyed
		for i := range pairs {
			victim := unkeyed{attackedMetric, [][2]string{{"name_of_customer", fmt.Sprintf("customer%08d", i)}}}
			all = append(all, victim, unkeyed{metric: attackedMetric}.withIdentity(rnd, attackerLabel, victim.identity()))
		}
		var expected []rwtest.Sample
		for tick := range ticks {
			at := pcommon.NewTimestampFromTime(time.Now())
			md := pmetric.NewMetrics()
			points := gaugesOf(md, attackedMetric)
			for _, s := range all {
				dp := points.AppendEmpty()
				dp.SetTimestamp(at)
				dp.SetIntValue(int64(tick))
				for _, l := range s.labels {
					dp.Attributes().PutStr(l[0], l[1])
				}
			}
			require.NoError(t, h.ConsumeMetrics(context.Background(), md))
			expected = append(expected, rwtest.Sample{Timestamp: at.AsTime().UnixMilli(), Bits: math.Float64bits(float64(tick))})
			time.Sleep(time.Duration(1+rnd.IntN(50)) * time.Millisecond)
		}
		h.shutdown()
		assert.Empty(t, h.dropped())
		assert.Empty(t, receiver.OutOfOrder())
		delivered := receiver.Delivered()
		assert.Len(t, delivered, 2*pairs)
		for series, samples := range delivered {
			assert.Equal(t, expected, samples, series)
		}
	})
}

// gaugesOf adds a gauge to a payload, and returns its points.
func gaugesOf(md pmetric.Metrics, name string) pmetric.NumberDataPointSlice {
	m := md.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
	m.SetName(name)
	return m.SetEmptyGauge().DataPoints()
}
