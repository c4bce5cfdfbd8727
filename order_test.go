// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"context"
	"flag"
	"maps"
	"math/rand/v2"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
)

var seedFlag = flag.Uint64("seed", 0, "seed of the randomised tests; 0 takes a new one")

// seed returns the seed of a randomised test, and prints how to repeat it.
func seed(t testing.TB) uint64 {
	s := *seedFlag
	for s == 0 {
		s = rand.Uint64()
	}
	t.Logf("repeat with: go test -run '^%s$' -seed %d", t.Name(), s)
	return s
}

// forEachMessage runs a test for Remote-Write 1.0 and for 2.0. The test must apply what it is given to its configuration.
func forEachMessage(t *testing.T, test func(t *testing.T, message func(*Config))) {
	for _, m := range []ProtobufMessage{MessageV1, MessageV2} {
		t.Run(string(m), func(t *testing.T) {
			test(t, func(c *Config) { c.ProtobufMessage = m })
		})
	}
}

// TestOrderUnderFaults is the promise of order: 1,000 series with 100 timestamps each, from several producers that each
// have their own series, through 8 partitions, to a receiver that is slow, refuses, throttles, resets connections and
// drops answers.
func TestOrderUnderFaults(t *testing.T) {
	forEachMessage(t, orderUnderFaults)
}

func orderUnderFaults(t *testing.T, message func(*Config)) {
	seed := seed(t)
	synctest.Test(t, func(t *testing.T) {
		const partitions = 8
		receiver := &rwtest.Receiver{
			Faults: rwtest.Faults{
				Seed:              seed,
				ServerError:       80,
				StoredServerError: 20,
				TooManyRequests:   60,
				ResetUnread:       40,
				DropAnswer:        40,
				CutAnswer:         20,
				CutError:          20,
				HugeBody:          20,
				SlowBody:          20,
				MinLatency:        time.Millisecond,
				MaxLatency:        60 * time.Millisecond,
				MaxRetryAfter:     2 * time.Second,
			},
			InFlightKeys: requestPartitions(partitions),
		}
		h := newHarness(t, receiver, message, func(c *Config) {
			c.Partitions = partitions
			c.Batch.MaxSamples = 200
			c.Retry.BackOff.MaxElapsedTime = 0
			c.Retry.BackOff.RandomizationFactor = 0.5
			c.ShutdownTimeout = time.Hour
		})
		expected := produce(t, h, rwtest.Payloads{
			Seed: seed, Producers: 5, Streams: 1000, Points: 100,
			Kinds: []pmetric.MetricType{pmetric.MetricTypeGauge, pmetric.MetricTypeSum},
		})
		h.shutdown()

		assert.Empty(t, receiver.Problems())
		assert.Empty(t, h.dropped())
		assert.Greater(t, receiver.MaxParallel(), 2, "requests are under way at the same time")
		assert.Equal(t, int64(1000*100), h.delivered())
		assert.Zero(t, h.metric("otelcol_exporter_ordered_remote_write_fallback"))
		checkDelivered(t, expected, receiver)
		t.Logf("%d requests, %d samples redelivered", receiver.Requests(), receiver.Redelivered())
	})
}

// checkDelivered checks that the receiver has got exactly what was expected.
func checkDelivered(t *testing.T, expected map[string][]rwtest.Sample, receiver *rwtest.Receiver) {
	t.Helper()
	delivered := receiver.Delivered()
	assert.Len(t, delivered, len(expected), "series")
	for key, samples := range expected {
		require.Equal(t, samples, delivered[key], "series %s", key)
	}
}

// produce runs the producers, each with a pause now and then, and returns what must be delivered.
func produce(t *testing.T, h *harness, payloads rwtest.Payloads) map[string][]rwtest.Sample {
	var producers sync.WaitGroup
	all := payloads.Split()
	for i, p := range all {
		producers.Go(func() {
			rnd := rand.New(rand.NewPCG(payloads.Seed, uint64(i)))
			for md, ok := p.Next(); ok; md, ok = p.Next() {
				assert.NoError(t, h.ConsumeMetrics(context.Background(), md))
				if rnd.IntN(10) == 0 {
					time.Sleep(time.Duration(rnd.IntN(100)) * time.Millisecond)
				}
				if rnd.IntN(50) == 0 {
					h.checkBalance()
				}
			}
		})
	}
	producers.Wait()
	expected := make(map[string][]rwtest.Sample)
	for _, p := range all {
		maps.Copy(expected, p.Expected())
	}
	return expected
}

// TestOrderWithDrops has every fault at once, limits that make the exporter drop, all kinds of metrics, and a random
// configuration for each round: what is delivered is in order, and what is not is counted.
func TestOrderWithDrops(t *testing.T) {
	forEachMessage(t, func(t *testing.T, message func(*Config)) {
		seed := seed(t)
		for round := range uint64(12) {
			t.Run(strconv.FormatUint(round, 10), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { orderWithDrops(t, message, seed+round) })
			})
		}
	})
}

func orderWithDrops(t *testing.T, message func(*Config), seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 0))
	partitions := 1 + rnd.IntN(9)
	faults := rwtest.Faults{
		Seed:              seed,
		ServerError:       rnd.IntN(120),
		StoredServerError: rnd.IntN(50),
		TooManyRequests:   rnd.IntN(120),
		ClientError:       rnd.IntN(100),
		ClientStatuses:    []int{400, 409, 413, 422},
		PartialWrite:      rnd.IntN(100),
		Redirect:          rnd.IntN(50),
		ResetUnread:       rnd.IntN(60),
		DropAnswer:        rnd.IntN(60),
		CutAnswer:         rnd.IntN(40),
		CutError:          rnd.IntN(40),
		Hang:              rnd.IntN(30),
		StoredHang:        rnd.IntN(30),
		HugeBody:          50, SlowBody: 50, LyingHeader: 100,
		MaxLatency:    time.Duration(rnd.IntN(200)) * time.Millisecond,
		MaxRetryAfter: 10 * time.Second,
	}
	receiver := &rwtest.Receiver{Script: forgetful(faults, rnd), InFlightKeys: requestPartitions(partitions)}
	h := newHarness(t, receiver, message, func(c *Config) {
		c.Partitions = partitions
		c.Batch.MaxSamples = 1 + rnd.IntN(300)
		c.Batch.MaxSizeBytes = minBatchSize
		c.Queue.MaxSizeBytes = ByteSize(partitions) * 4 * minBatchSize
		c.Queue.BlockTimeout = time.Hour
		c.Queue.OnFull = []OnFull{OnFullBlock, OnFullDropNewest, OnFullDropOldest}[rnd.IntN(3)]
		c.HTTP.Timeout = 5 * time.Second
		c.Retry.MaxRetries = rnd.IntN(4)
		c.Retry.BackOff.Enabled = rnd.IntN(5) > 0
		c.OnError.Fatal = OnFatalDiscard
		c.OnError.Rejected = []OnRejected{OnRejectedDiscard, OnRejectedIsolate}[rnd.IntN(2)]
		c.OnError.MaxIsolationRequests = 2 + rnd.IntN(30)
		c.OutOfOrder = []OutOfOrder{OutOfOrderSeparate, OutOfOrderSend, OutOfOrderDrop}[rnd.IntN(3)]
		c.ShutdownTimeout = time.Duration(1+rnd.IntN(20)) * time.Second
	})
	produce(t, h, rwtest.Payloads{Seed: seed, Producers: 3, Streams: 120, Points: 20})
	h.shutdown()

	assert.Empty(t, receiver.Problems())
	assert.Equal(t, int64(receiver.ConfirmedSamples()), h.delivered(), "delivered is what was confirmed")
	b := h.ledger.Snapshot()
	assert.Equal(t, b.Received, h.metric("otelcol_exporter_ordered_remote_write_received_samples"))
	assert.Equal(t, b.Delivered, h.metric("otelcol_exporter_ordered_remote_write_delivered_samples"))
	assert.Equal(t, b.Received-b.Delivered, h.metric("otelcol_exporter_ordered_remote_write_dropped_samples"))
	assert.Equal(t, b.Delivered, h.metric("otelcol_exporter_sent_metric_points"))
	assert.Equal(t, b.Received-b.Delivered, h.metric("otelcol_exporter_send_failed_metric_points"))
	t.Logf("received %d, delivered %d, dropped %v, %d requests, fallback %v",
		b.Received, b.Delivered, h.dropped(), receiver.Requests(), h.version.fellBack())
}

// forgetful is a receiver with faults that does not read 2.0 any more from some request on, or never has, or that always
// does.
func forgetful(faults rwtest.Faults, rnd *rand.Rand) func(rwtest.Request) rwtest.Answer {
	unread := pick(rnd,
		rwtest.Answer{Status: 415},
		rwtest.Answer{Status: 200, Written: rwtest.WrittenNever},
		rwtest.Answer{Status: 400, Written: rwtest.WrittenNever},
	)
	from := pick(rnd, 1, 1+rnd.IntN(50), 1<<30)
	if unread.Status == 400 {
		from = pick(rnd, 1, 1<<30)
	}
	return func(r rwtest.Request) rwtest.Answer {
		if a := faults.Answer(r.Seq); r.Version == 1 || r.Seq < from || a.Fault != rwtest.NoFault {
			return a
		}
		return unread
	}
}

// TestOrderOverTheNetwork is the same promise through a real HTTP server and client.
func TestOrderOverTheNetwork(t *testing.T) {
	forEachMessage(t, orderOverTheNetwork)
}

func orderOverTheNetwork(t *testing.T, message func(*Config)) {
	const partitions = 4
	seed := seed(t)
	receiver := &rwtest.Receiver{
		Faults: rwtest.Faults{
			Seed: seed, ServerError: 50, ResetUnread: 30, DropAnswer: 30, CutAnswer: 20, Redirect: 20,
			MaxLatency: 5 * time.Millisecond,
		},
		InFlightKeys: requestPartitions(partitions),
	}
	server := httptest.NewServer(receiver)
	defer server.Close()
	h := newHarness(t, receiver, message, func(c *Config) {
		c.Partitions = partitions
		c.HTTP.Endpoint = server.URL
		c.HTTP.Middlewares = nil
		c.Batch.MaxSamples = 100
		c.Batch.FlushTimeout = 10 * time.Millisecond
		c.Retry.BackOff.InitialInterval = time.Millisecond
		c.Retry.BackOff.MaxInterval = 10 * time.Millisecond
		c.Retry.BackOff.MaxElapsedTime = 0
		c.Retry.MaxRetryAfter = 10 * time.Millisecond
		c.OnError.Fatal = OnFatalRetry
	})
	expected := produce(t, h, rwtest.Payloads{
		Seed: seed, Producers: 3, Streams: 100, Points: 50,
		Kinds: []pmetric.MetricType{pmetric.MetricTypeGauge, pmetric.MetricTypeSum},
	})
	h.shutdown()
	assert.Empty(t, receiver.Problems())
	assert.Empty(t, h.dropped())
	checkDelivered(t, expected, receiver)
	require.LessOrEqual(t, receiver.MaxParallel(), partitions)
}
