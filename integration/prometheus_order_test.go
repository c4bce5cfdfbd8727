// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"maps"
	"math"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/prometheus/prompb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componentstatus"

	"github.com/orderedremotewrite/orderedremotewriteexporter/integration/internal/promserver"
	"github.com/orderedremotewrite/orderedremotewriteexporter/integration/internal/rig"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
)

// patience is how long a test waits for what must happen.
const patience = 30 * time.Second

// ticks sends a sample of each of n series for each tick, in order.
func ticks(exporter *rig.Exporter, n int, from time.Time, count int) (next time.Time) {
	for range count {
		exporter.Send(gauges(n, allAt(from)).Metrics)
		from = from.Add(time.Second)
	}
	return from
}

// assertTicks asserts that each of n series has a sample for each tick.
func assertTicks(t *testing.T, server *promserver.Server, n int, from time.Time, count int) {
	t.Helper()
	stored := server.Series("value")
	assert.Len(t, stored, n)
	for _, series := range stored {
		if assert.Len(t, series.Samples, count, series.Labels) {
			for i, s := range series.Samples {
				assert.Equal(t, from.Add(time.Duration(i)*time.Second), s.Time)
			}
		}
	}
}

// assertNoRefusal asserts that the server has found nothing wrong with any request.
func assertNoRefusal(t *testing.T, server *promserver.Server) {
	t.Helper()
	for status, n := range server.Statuses() {
		assert.False(t, status >= 400 && status <= 499, "%d requests were answered with %d", n, status)
	}
}

// A server that is away for a while misses nothing, and gets everything in order when it is back.
func TestPrometheusRestartLosesNothing(t *testing.T) {
	inBothVersions(t, func(t *testing.T, v version) {
		const series, count = 50, 20
		for _, partitions := range []string{"partitions: 1", "partitions: 4"} {
			t.Run(partitions, func(t *testing.T) {
				from := start()
				server := promserver.Start(t)
				exporter := rig.Start(t, server.Endpoint(), v.config, partitions)
				next := ticks(exporter, series, from, count)
				server.Stop()
				next = ticks(exporter, series, next, count)
				require.Eventually(t, func() bool { return exporter.Accounts().Requests[0] > 10 }, patience, time.Millisecond,
					"requests without an answer")
				accounts := exporter.Accounts()
				accounts.AssertBalanced(t)
				assert.Positive(t, accounts.Queued+accounts.InFlight)
				server.Restart()
				ticks(exporter, series, next, count)
				require.Eventually(t, func() bool {
					statuses := exporter.Host.Statuses()
					return len(statuses) > 0 && statuses[len(statuses)-1] == componentstatus.StatusOK
				}, patience, time.Millisecond, "a status of its own, which there is none of in a shutdown")

				accounts = exporter.Close()
				assert.Equal(t, int64(3*series*count), accounts.Received)
				assert.Equal(t, accounts.Received, accounts.Delivered)
				assert.Empty(t, accounts.Dropped)
				assertNoRefusal(t, server)
				assertStored(t, server, accounts)
				assertTicks(t, server, series, from, 3*count)

				statuses := exporter.Host.Statuses()
				require.NotEmpty(t, statuses)
				assert.Equal(t, componentstatus.StatusRecoverableError, statuses[0])
				assert.Equal(t, componentstatus.StatusOK, statuses[len(statuses)-1])
			})
		}
	})
}

// While the server is away and the queue is full the callers wait, and nothing is lost by that.
func TestPrometheusRestartWithAFullQueueLosesNothing(t *testing.T) {
	inBothVersions(t, func(t *testing.T, v version) {
		const series, count = 200, 100
		from := start()
		server := promserver.Start(t)
		server.Stop()
		exporter := rig.Start(t, server.Endpoint(), v.config,
			`{partitions: 1, batch: {max_size_bytes: 16384}, queue: {max_size_bytes: 65536, on_full: block}}`)
		var sent atomic.Int64
		var producer sync.WaitGroup
		producer.Go(func() {
			for i := range count {
				at := from.Add(time.Duration(i) * time.Second)
				if !assert.NoError(t, exporter.ConsumeMetrics(context.Background(), gauges(series, allAt(at)).Metrics)) {
					return
				}
				sent.Add(series)
			}
		})
		// The caller is in the midst of a payload as long as the exporter has not taken what it had sent.
		before := int64(-1)
		require.Eventually(t, func() bool {
			now := sent.Load()
			defer func() { before = now }()
			return exporter.Accounts().Requests[0] > 10 && now > 0 && now == before
		}, patience, 50*time.Millisecond)
		assert.Less(t, sent.Load(), int64(series*count), "the caller waits")
		server.Restart()
		producer.Wait()

		accounts := exporter.Close()
		assert.Equal(t, int64(series*count), accounts.Received)
		assert.Equal(t, accounts.Received, accounts.Delivered)
		assert.Zero(t, accounts.Refused)
		assertNoRefusal(t, server)
		assertStored(t, server, accounts)
		assertTicks(t, server, series, from, count)
	})
}

// A request whose answer is lost is sent again, byte for byte. Prometheus takes a sample twice if it is its series' last
// one, so that nothing is wrong then.
func TestPrometheusTakesARequestAgainWhoseAnswerWasLost(t *testing.T) {
	inBothVersions(t, func(t *testing.T, v version) {
		const series, count = 50, 10
		from := start()
		server := promserver.Start(t)
		server.Intercept(func(r *promserver.Request) promserver.Fault { return promserver.Fault{LoseAnswer: r.Number%3 == 1} })
		exporter := rig.Start(t, server.Endpoint(), v.config, "partitions: 1")
		for i := range count {
			exporter.SendAndSettle(gauges(series, allAt(from.Add(time.Duration(i)*time.Second))).Metrics)
		}
		accounts := exporter.Close()
		assert.Equal(t, int64(series*count), accounts.Delivered)
		assert.Empty(t, accounts.Dropped)
		assert.Positive(t, accounts.Requests[0])
		assertNoRefusal(t, server)
		assertStored(t, server, accounts)
		assertTicks(t, server, series, from, count)

		requests := server.Requests()
		for i := range requests {
			if requests[i].Number%3 == 1 {
				require.Greater(t, len(requests), i+1)
				assert.Equal(t, requests[i].Body, requests[i+1].Body)
			}
		}
	})
}

// With more than one sample of a series in a request whose answer is lost, Prometheus refuses the second time what it took the
// first time, all but the last sample of each series. In 2.0 it says how much that is; in 1.0 the request is taken apart, whatever
// on_error.rejected says. What is refused is counted as refused_after_unknown although it is stored: a bound from above on what is
// lost.
func TestPrometheusRefusesARequestWithAHistoryWhoseAnswerWasLost(t *testing.T) {
	inBothVersions(t, func(t *testing.T, v version) {
		const series = 10
		from := start()
		server := promserver.Start(t)
		server.Intercept(func(r *promserver.Request) promserver.Fault { return promserver.Fault{LoseAnswer: r.Number == 1} })
		exporter := rig.Start(t, server.Endpoint(), v.config, "{partitions: 1, batch: {flush_timeout: 1h}}")
		ticks(exporter, series, from, 2)
		accounts := exporter.Close()
		assert.Equal(t, map[rig.Drop]int64{{Reason: "refused_after_unknown", Status: http.StatusBadRequest}: series}, accounts.Dropped)
		assert.Equal(t, int64(series), accounts.Delivered)
		assertTicks(t, server, series, from, 2)
	})
}

// overloaded answers some requests as a server does that is slow, overloaded and throttling.
func overloaded(server *promserver.Server) {
	var mu sync.Mutex
	random := rand.New(rand.NewPCG(1, 2))
	server.Intercept(func(*promserver.Request) promserver.Fault {
		mu.Lock()
		defer mu.Unlock()
		fault := promserver.Fault{Delay: time.Duration(random.IntN(3000)) * time.Microsecond}
		switch random.IntN(10) {
		case 0:
			fault.Status = http.StatusServiceUnavailable
		case 1:
			fault.Status = http.StatusInternalServerError
		case 2:
			fault.Status, fault.Header = http.StatusTooManyRequests, map[string]string{"Retry-After": "0"}
		}
		return fault
	})
}

// produce lets many producers send all they have, each its own series in order, and checks at every moment that the
// accounts add up. It returns the samples that their gauges and sums are.
func produce(t *testing.T, exporter *rig.Exporter) map[string][]rwtest.Sample {
	t.Helper()
	producers := rwtest.Payloads{Seed: 1, Producers: 4, Streams: 120, Points: 60, Start: start().Add(-30 * time.Minute)}.Split()
	var producing sync.WaitGroup
	for _, p := range producers {
		producing.Go(func() {
			for md, ok := p.Next(); ok; md, ok = p.Next() {
				if !assert.NoError(t, exporter.ConsumeMetrics(context.Background(), md)) {
					return
				}
			}
		})
	}
	stopped := make(chan struct{})
	go func() {
		producing.Wait()
		exporter.Stop()
		close(stopped)
	}()
	ticker := time.NewTicker(2 * time.Millisecond)
	defer ticker.Stop()
	for checks := 1; ; checks++ {
		accounts := exporter.Accounts()
		accounts.AssertBalanced(t)
		select {
		case <-ticker.C:
		case <-stopped:
			assert.Greater(t, checks, 10)
			expected := map[string][]rwtest.Sample{}
			for _, p := range producers {
				maps.Copy(expected, p.Expected())
			}
			return expected
		}
	}
}

// assertSamples asserts that the storage holds the samples of gauges and sums that producers have produced, in order.
func assertSamples(t *testing.T, server *promserver.Server, expected map[string][]rwtest.Sample) {
	t.Helper()
	stored := map[string][]rwtest.Sample{}
	for _, series := range server.Series(`{__name__=~"rwtest_(gauge|sum)_.*"}`) {
		key := rwtest.SeriesKey(prompb.FromLabels(series.Labels, nil))
		for _, s := range series.Samples {
			stored[key] = append(stored[key], rwtest.Sample{Timestamp: s.Time.UnixMilli(), Bits: math.Float64bits(s.Value)})
		}
	}
	assert.Len(t, stored, len(expected))
	for key, samples := range expected {
		assert.Equal(t, samples, stored[key], key)
	}
}

// Many producers, each with series of its own and in order, many partitions, and a server that is slow, overloaded and
// throttling: every sample arrives, in order, and at every moment the accounts add up.
func TestPrometheusGetsEverySampleOfManyProducersInOrder(t *testing.T) {
	inBothVersions(t, func(t *testing.T, v version) {
		server := promserver.Start(t)
		overloaded(server)
		exporter := rig.Start(t, server.Endpoint(), v.config, "{partitions: 8, batch: {max_samples: 200}}")
		expected := produce(t, exporter)
		accounts := exporter.Close()
		assert.Equal(t, accounts.Received, accounts.Delivered)
		assert.Empty(t, accounts.Dropped)
		assert.Positive(t, accounts.Retries)
		for status := range server.Statuses() {
			assert.False(t, status >= 400 && status <= 499 && status != http.StatusTooManyRequests, status)
		}
		assertStored(t, server, accounts)
		assertSamples(t, server, expected)
		t.Logf("%d samples in %d requests, %d retries", accounts.Delivered, len(server.Requests()), accounts.Retries)
	})
}

// When the time for shutting down ends, what the server does not have is dropped, and what it may have is told apart.
func TestPrometheusOutOfReachAtShutdownIsAccountedFor(t *testing.T) {
	inBothVersions(t, func(t *testing.T, v version) {
		const series, count = 10, 20
		server := promserver.Start(t)
		hold := make(chan struct{})
		server.Intercept(func(r *promserver.Request) promserver.Fault {
			if r.Number < 3 {
				return promserver.Fault{}
			}
			return promserver.Fault{Until: hold} // the server takes the request when the client has gone
		})
		exporter := rig.Start(t, server.Endpoint(), v.config, "{partitions: 1, batch: {max_samples: 10}, shutdown_timeout: 200ms}")
		ticks(exporter, series, start(), count)
		require.Eventually(t, func() bool { return len(server.Requests()) == 3 }, patience, time.Millisecond)
		accounts := exporter.Close()
		assert.Equal(t, int64(2*series), accounts.Delivered)
		assert.Equal(t, map[rig.Drop]int64{
			{Reason: "shutdown_in_flight"}: series, {Reason: "shutdown"}: (count - 3) * series,
		}, accounts.Dropped)
		require.Eventually(t, func() bool { return server.Stored() == 3*series }, patience, time.Millisecond,
			"the server has what was in flight")
		close(hold)
	})
}

// target_info never goes back in time, although payloads with points of different ages follow each other.
func TestPrometheusGetsTargetInfoInOrder(t *testing.T) {
	inBothVersions(t, func(t *testing.T, v version) {
		now := start()
		server := promserver.Start(t)
		exporter := rig.Start(t, server.Endpoint(), v.config)
		for i, offset := range []int{10, 0, 20, 20, 5, 30} {
			p := rig.NewPayload("service.name", "shop", "region", "r"+strconv.Itoa(i%2))
			p.Gauge("metric", now.Add(time.Duration(offset)*time.Second), 1, "payload", strconv.Itoa(i))
			exporter.SendAndSettle(p.Metrics)
		}
		accounts := exporter.Close()
		assert.Empty(t, accounts.Dropped)
		assertNoRefusal(t, server)
		assertStored(t, server, accounts)
		assertSeries(t, server, `target_info{region="r0"}`, `{__name__="target_info", job="shop", region="r0"}`,
			sample(now.Add(10*time.Second), 1), sample(now.Add(20*time.Second), 1))
		assertSeries(t, server, `target_info{region="r1"}`, `{__name__="target_info", job="shop", region="r1"}`,
			sample(now.Add(30*time.Second), 1))
	})
}
