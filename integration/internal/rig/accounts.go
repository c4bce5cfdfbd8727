// SPDX-License-Identifier: Apache-2.0

package rig

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// Names of the exporter's metrics, and of those that every exporter of the Collector has.
const (
	own      = "otelcol_exporter_ordered_remote_write_"
	standard = "otelcol_exporter_"
)

// Accounts is what the metrics of one collection say of the samples. Counters that have not counted yet are 0.
type Accounts struct {
	Received, Recovered, Delivered, Queued, InFlight, Refused int64
	Dropped                                                   map[Drop]int64
	// Requests are counted by status, 0 for no answer.
	Requests map[int]int64
	Retries  int64
	// Fallback is 1 if 2.0 is configured and 1.0 is sent.
	Fallback int64

	// Sent, Failed and InFlightRequests are the Collector's standard metrics.
	Sent, Failed, InFlightRequests int64
}

// Drop is why samples were dropped. Status is that of the endpoint's answer, 0 for none.
type Drop struct {
	Reason string
	Status int
}

// Accounts collects the metrics.
func (e *Exporter) Accounts() Accounts {
	e.t.Helper()
	var collected metricdata.ResourceMetrics
	require.NoError(e.t, e.Telemetry.Reader.Collect(context.Background(), &collected))
	a := Accounts{Dropped: map[Drop]int64{}, Requests: map[int]int64{}}
	single := map[string]*int64{
		own + "received_samples":        &a.Received,
		own + "recovered_samples":       &a.Recovered,
		own + "delivered_samples":       &a.Delivered,
		own + "queued_samples":          &a.Queued,
		own + "in_flight_samples":       &a.InFlight,
		own + "refused_samples":         &a.Refused,
		own + "retries":                 &a.Retries,
		own + "fallback":                &a.Fallback,
		standard + "sent_metric_points": &a.Sent,
		standard + "in_flight_requests": &a.InFlightRequests,
	}
	for _, scope := range collected.ScopeMetrics {
		for _, metric := range scope.Metrics {
			for _, point := range points(metric.Data) {
				status := 0
				if v, ok := point.Attributes.Value("http.response.status_code"); ok {
					status = int(v.AsInt64())
				}
				switch metric.Name {
				case own + "dropped_samples":
					reason, _ := point.Attributes.Value("reason")
					if point.Value == 0 {
						break // Counters of what may happen start at 0.
					}
					a.Dropped[Drop{reason.AsString(), status}] += point.Value
				case own + "requests":
					a.Requests[status] += point.Value
				case standard + "send_failed_metric_points":
					a.Failed += point.Value
				default:
					if n, ok := single[metric.Name]; ok {
						*n += point.Value
					}
				}
			}
		}
	}
	return a
}

func points(data metricdata.Aggregation) []metricdata.DataPoint[int64] {
	switch d := data.(type) {
	case metricdata.Sum[int64]:
		return d.DataPoints
	case metricdata.Gauge[int64]:
		return d.DataPoints
	default:
		return nil
	}
}

// TotalDropped is the sum over all reasons.
func (a *Accounts) TotalDropped() int64 {
	var n int64
	for _, dropped := range a.Dropped {
		n += dropped
	}
	return n
}

// AssertBalanced asserts that every received or recovered sample is in exactly one place.
func (a *Accounts) AssertBalanced(t assert.TestingT) bool {
	return assert.Equalf(t, a.Received+a.Recovered, a.Delivered+a.TotalDropped()+a.Queued+a.InFlight,
		"received + recovered = delivered + sum(dropped) + queued + in flight: %+v", *a)
}

// AssertClosed asserts that every received sample has its outcome, and that the Collector's standard metrics say the same
// as the exporter's own.
func (a *Accounts) AssertClosed(t testing.TB) {
	t.Helper()
	a.AssertBalanced(t)
	assert.Zero(t, a.Queued, "queued")
	assert.Zero(t, a.InFlight, "in flight")
	assert.Equal(t, a.Delivered, a.Sent, "otelcol_exporter_sent_metric_points")
	assert.Equal(t, a.TotalDropped(), a.Failed, "otelcol_exporter_send_failed_metric_points")
	assert.Zero(t, a.InFlightRequests, "otelcol_exporter_in_flight_requests")
}

// Close stops the exporter and returns its accounts, which are closed.
func (e *Exporter) Close() Accounts {
	e.t.Helper()
	e.Stop()
	a := e.Accounts()
	a.AssertClosed(e.t)
	return a
}

// Spans returns the spans with a name that have ended.
func (e *Exporter) Spans(name string) []sdktrace.ReadOnlySpan {
	var spans []sdktrace.ReadOnlySpan
	for _, span := range e.Telemetry.SpanRecorder.Ended() {
		if span.Name() == name {
			spans = append(spans, span)
		}
	}
	return spans
}
