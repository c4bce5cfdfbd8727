// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/orderedremotewrite/orderedremotewriteexporter/integration/internal/promserver"
	"github.com/orderedremotewrite/orderedremotewriteexporter/integration/internal/rig"
)

// spanName is the name of the span of a delivery: a request with its retries.
const spanName = "exporter/ordered_remote_write/metrics"

// The standard metrics of the Collector count a sample as sent if Prometheus has it, and as failed if it was dropped,
// wherever that was.
func TestPrometheusHasWhatTheStandardMetricsCallSent(t *testing.T) {
	inBothVersions(t, func(t *testing.T, v version) {
		now := start()
		server := promserver.Start(t)
		server.Intercept(func(r *promserver.Request) promserver.Fault {
			if r.Number == 2 {
				return promserver.Fault{Status: http.StatusServiceUnavailable}
			}
			return promserver.Fault{}
		})
		exporter := rig.Start(t, server.Endpoint(), v.config, "{partitions: 1, on_error: {rejected: isolate}}")
		exporter.SendAndSettle(gauges(100, allAt(now)).Metrics)
		exporter.SendAndSettle(gauges(100, allAt(now.Add(time.Second))).Metrics) // is retried
		mixed := gauges(100, func(i int) time.Time {
			switch i {
			case 5, 50:
				return now.Add(-time.Second) // is refused by Prometheus
			case 70:
				return time.Unix(0, 0) // is never sent
			default:
				return now.Add(2 * time.Second)
			}
		})
		mixed.Gauge("value", now.Add(2*time.Second), 1, "series", "0") // is a duplicate
		exporter.SendAndSettle(mixed.Metrics)

		accounts := exporter.Close() // which compares the standard metrics with the exporter's own
		assert.Equal(t, int64(301), accounts.Received)
		assert.Equal(t, int64(297), accounts.Sent)
		assert.Equal(t, int64(4), accounts.Failed)
		assert.Equal(t, map[rig.Drop]int64{rejected: 2, {Reason: "no_timestamp"}: 1, {Reason: "duplicate"}: 1}, accounts.Dropped)
		assert.Equal(t, int64(1), accounts.Retries)
		assertStored(t, server, accounts)
		for status, n := range server.Statuses() {
			assert.Equal(t, int64(n), accounts.Requests[status], status)
		}
	})
}

// Each request has one span, with all its retries and the halves of one partition that it is split into, which says what
// became of its samples. A late sample travels apart, and so has a span of its own.
func TestPrometheusWriteOfARequestIsOneSpan(t *testing.T) {
	inBothVersions(t, func(t *testing.T, v version) {
		now := start()
		server := promserver.Start(t)
		server.Intercept(func(r *promserver.Request) promserver.Fault {
			if r.Number <= 2 {
				return promserver.Fault{Status: http.StatusServiceUnavailable}
			}
			return promserver.Fault{}
		})
		exporter := rig.Start(t, server.Endpoint(), v.config, "{partitions: 1, on_error: {rejected: isolate}}")
		exporter.SendAndSettle(gauges(10, allAt(now)).Metrics)                  // is sent three times
		exporter.SendAndSettle(gauges(10, allAt(now.Add(time.Second))).Metrics) // once
		exporter.SendAndSettle(gauges(10, func(i int) time.Time {               // in two requests
			if i == 3 {
				return now.Add(-time.Second)
			}
			return now.Add(2 * time.Second)
		}).Metrics)
		split := len(server.Requests())
		newer := rig.NewPayload().Gauge("value", now.Add(time.Minute), 1, "series", "3")
		other := rig.Start(t, server.Endpoint(), v.config, "partitions: 1")
		other.Send(newer.Metrics)
		other.Close()
		exporter.SendAndSettle(gauges(10, allAt(now.Add(3*time.Second))).Metrics) // is split until only what is refused is dropped
		exporter.Close()

		spans := exporter.Spans(spanName)
		require.Len(t, spans, 5)
		if spans[2].Status().Code == codes.Error { // nothing says whether late samples of a payload go before its good ones
			spans[2], spans[3] = spans[3], spans[2]
		}
		for i, expected := range []struct {
			sent, failed int
			status       codes.Code
		}{{10, 0, codes.Unset}, {10, 0, codes.Unset}, {9, 0, codes.Unset}, {0, 1, codes.Error}, {9, 1, codes.Error}} {
			attributes := attribute.NewSet(spans[i].Attributes()...)
			for key, n := range map[attribute.Key]int{"items.sent": expected.sent, "items.failed": expected.failed} {
				value, ok := attributes.Value(key)
				assert.True(t, ok, key)
				assert.Equal(t, int64(n), value.AsInt64(), key)
			}
			assert.Equal(t, expected.status, spans[i].Status().Code)
		}
		for _, i := range []int{3, 4} {
			assert.Contains(t, spans[i].Status().Description, "out of order sample")
		}

		// What goes over the wire is a span below that of its request, once for each time.
		below := map[string]int{}
		for _, span := range exporter.Telemetry.SpanRecorder.Ended() {
			below[span.Parent().SpanID().String()]++
		}
		parts := len(server.Requests()) - split - 1 // the other exporter has sent one
		if v.v2 {
			assert.Equal(t, 1, parts, "the receiver has said how many samples it has written")
		} else {
			assert.Greater(t, parts, 2)
		}
		for i, requests := range []int{3, 1, 1, 1, parts} {
			assert.Equal(t, requests, below[spans[i].SpanContext().SpanID().String()], i)
		}
	})
}

// What is on its way is told while it is on its way.
func TestPrometheusWriteInProgressIsInFlight(t *testing.T) {
	inBothVersions(t, func(t *testing.T, v version) {
		server := promserver.Start(t)
		hold := make(chan struct{})
		server.Intercept(func(*promserver.Request) promserver.Fault { return promserver.Fault{Until: hold} })
		exporter := rig.Start(t, server.Endpoint(), v.config, "partitions: 1")
		exporter.Send(gauges(10, allAt(start())).Metrics)
		require.Eventually(t, func() bool { return len(server.Requests()) == 1 }, patience, time.Millisecond)
		exporter.Send(gauges(7, allAt(start().Add(time.Second))).Metrics)
		accounts := exporter.Accounts()
		accounts.AssertBalanced(t)
		assert.Equal(t, int64(10), accounts.InFlight)
		assert.Equal(t, int64(7), accounts.Queued)
		assert.Equal(t, int64(1), accounts.InFlightRequests)
		assert.Zero(t, accounts.Delivered)
		assert.Zero(t, server.Stored())
		close(hold)
		accounts = exporter.Close()
		assertStored(t, server, accounts)
	})
}

// The metrics of requests describe those that Prometheus got.
func TestPrometheusRequestsAreMeasured(t *testing.T) {
	inBothVersions(t, func(t *testing.T, v version) {
		now := start()
		server := promserver.Start(t)
		exporter := rig.Start(t, server.Endpoint(), v.config, "partitions: 4")
		for i := range 5 {
			exporter.SendAndSettle(gauges(100, allAt(now.Add(time.Duration(i)*time.Second))).Metrics)
		}
		exporter.Close()
		requests := server.Requests()
		size := 0
		for _, r := range requests {
			size += len(r.Body)
		}
		metric, err := exporter.Telemetry.GetMetric("otelcol_exporter_ordered_remote_write_request_size")
		require.NoError(t, err)
		sizes := metric.Data.(metricdata.Histogram[int64]).DataPoints
		require.Len(t, sizes, 1)
		assert.Equal(t, uint64(len(requests)), sizes[0].Count)
		assert.Equal(t, int64(size), sizes[0].Sum)
		metric, err = exporter.Telemetry.GetMetric("otelcol_exporter_ordered_remote_write_request_duration")
		require.NoError(t, err)
		durations := metric.Data.(metricdata.Histogram[float64]).DataPoints
		require.Len(t, durations, 1)
		assert.Equal(t, uint64(len(requests)), durations[0].Count)
		assert.Positive(t, durations[0].Sum)
		for _, name := range []string{"queue_size", "oldest_sample_age"} {
			metric, err = exporter.Telemetry.GetMetric("otelcol_exporter_ordered_remote_write_" + name)
			require.NoError(t, err)
			switch gauge := metric.Data.(type) {
			case metricdata.Gauge[int64]:
				assert.Len(t, gauge.DataPoints, 1)
				for _, point := range gauge.DataPoints {
					assert.Zero(t, point.Value, name)
				}
			case metricdata.Gauge[float64]:
				assert.Len(t, gauge.DataPoints, 1)
				for _, point := range gauge.DataPoints {
					assert.Zero(t, point.Value, name)
				}
			}
		}
	})
}

// Whether Prometheus can be written to is the component's status. Nothing could follow a permanent error, so that whatever can
// be mended while a collector runs is a recoverable one.
func TestPrometheusTroubleIsTheComponentsStatus(t *testing.T) {
	inBothVersions(t, func(t *testing.T, v version) {
		for _, tc := range []struct {
			name     string
			config   string
			statuses []int
			expected []componentstatus.Status
			dropped  map[rig.Drop]int64
		}{
			{name: "all is well", statuses: []int{0}},
			{name: "retry", statuses: []int{503, 503, 0}, expected: []componentstatus.Status{
				componentstatus.StatusRecoverableError, componentstatus.StatusOK,
			}},
			{
				name: "refused", statuses: []int{400},
				dropped: map[rig.Drop]int64{rejected: 5},
			},
			{
				name: "a pause", statuses: []int{404},
				expected: []componentstatus.Status{componentstatus.StatusRecoverableError},
				dropped:  map[rig.Drop]int64{{Reason: "fatal", Status: 404}: 5},
			},
			{
				// The answer says that the endpoint is wrong, and the configuration that the collector must stop then.
				name: "fatal", config: "on_error: {fatal: fail}", statuses: []int{404},
				expected: []componentstatus.Status{componentstatus.StatusFatalError},
				dropped:  map[rig.Drop]int64{{Reason: "fatal", Status: 404}: 5},
			},
			{
				name: "fatal but discarded", config: "on_error: {fatal: discard}", statuses: []int{404},
				expected: []componentstatus.Status{componentstatus.StatusRecoverableError},
				dropped:  map[rig.Drop]int64{{Reason: "fatal", Status: 404}: 5},
			},
			{
				name: "fatal but retried", config: "on_error: {fatal: retry}", statuses: []int{404, 0},
				expected: []componentstatus.Status{componentstatus.StatusRecoverableError, componentstatus.StatusOK},
			},
			{
				name: "a redirect", config: "on_error: {fatal: discard}", statuses: []int{302},
				expected: []componentstatus.Status{componentstatus.StatusRecoverableError},
				dropped:  map[rig.Drop]int64{{Reason: "unexpected_answer", Status: 302}: 5},
			},
		} {
			t.Run(tc.name, func(t *testing.T) {
				server := promserver.Start(t)
				server.Intercept(func(r *promserver.Request) promserver.Fault {
					if r.Number > len(tc.statuses) {
						return promserver.Fault{}
					}
					return promserver.Fault{
						Status: tc.statuses[r.Number-1], Body: "no reason",
						Header: map[string]string{"Location": server.Endpoint(), "X-Prometheus-Remote-Write-Samples-Written": "0"},
					}
				})
				config := "{partitions: 1}"
				if tc.config != "" {
					config = "{partitions: 1, " + tc.config + "}"
				}
				exporter := rig.Start(t, server.Endpoint(), v.config, config)
				exporter.SendAndSettle(gauges(5, allAt(start())).Metrics)
				// The last event is reported after the samples' outcome.
				require.Eventually(t, func() bool { return len(exporter.Host.Statuses()) >= len(tc.expected) }, patience, time.Millisecond)
				accounts := exporter.Close()
				if tc.dropped == nil {
					tc.dropped = map[rig.Drop]int64{}
				}
				assert.Equal(t, tc.expected, exporter.Host.Statuses())
				assert.Equal(t, tc.dropped, accounts.Dropped)
				assertStored(t, server, accounts)
				assert.Equal(t, len(tc.statuses), len(server.Requests()))
				for _, event := range exporter.Host.Events() {
					if event.Status() != componentstatus.StatusOK {
						assert.ErrorContains(t, event.Err(), "no reason")
					}
				}
			})
		}
	})
}

// An answer is an answer, even if it redirects to what is no URL: it must not be sent again as if there had been none.
func TestPrometheusRedirectToWhatIsNoURLIsAnUnexpectedAnswer(t *testing.T) {
	server := promserver.Start(t)
	server.Intercept(func(r *promserver.Request) promserver.Fault {
		if r.Number > 1 {
			return promserver.Fault{}
		}
		return promserver.Fault{Status: http.StatusFound, Header: map[string]string{"Location": "http://["}}
	})
	exporter := rig.Start(t, server.Endpoint(), "{partitions: 1, on_error: {fatal: discard}}")
	exporter.SendAndSettle(gauges(5, allAt(start())).Metrics)
	accounts := exporter.Close()
	assert.Equal(t, map[rig.Drop]int64{{Reason: "unexpected_answer", Status: http.StatusFound}: 5}, accounts.Dropped)
	assert.Equal(t, map[int]int{http.StatusFound: 1}, server.Statuses())
}
