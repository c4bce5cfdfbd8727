// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configmiddleware"
	"go.opentelemetry.io/collector/exporter/exportertest"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	nooptrace "go.opentelemetry.io/otel/trace/noop"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/metadata"
)

// TestDropsAreCountedFromZero for every reason, so that a query sees the first one as an increase; and not twice.
func TestDropsAreCountedFromZero(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, answers(400), onePartition)
		counters := func() map[string]int64 {
			m, err := h.telemetry.GetMetric("otelcol_exporter_ordered_remote_write_dropped_samples")
			require.NoError(t, err)
			n := make(map[string]int64)
			for _, dp := range m.Data.(metricdata.Sum[int64]).DataPoints {
				reason, _ := dp.Attributes.Value(attribute.Key(reasonKey))
				status, _ := dp.Attributes.Value(attribute.Key(statusCodeKey))
				key := reason.AsString() + " " + status.String()
				require.NotContains(t, n, key)
				n[key] = dp.Value
			}
			return n
		}
		before := counters()
		seen := make(map[string]bool)
		for key, n := range before {
			assert.Zero(t, n, key)
			for _, reason := range reasons() {
				seen[reason] = seen[reason] || len(key) > len(reason) && key[:len(reason)+1] == reason+" "
			}
		}
		for _, reason := range reasons() {
			assert.True(t, seen[reason], reason)
		}
		require.Contains(t, before, "rejected 400")

		h.consume(gauge(time.Now(), 3))
		time.Sleep(time.Minute)
		require.NoError(t, h.Shutdown(context.Background()))
		after := counters()
		assert.Equal(t, int64(3), after["rejected 400"])
		assert.Len(t, after, len(before))
	})
}

// TestEachReaderHasABalanceOfOneMoment: a collector may be scraped and push its metrics at once. What one of them sees adds up,
// TestCountersBeginWithZero: the first value of a series is no increase, so that the first refusal or retry would not be seen.
func TestCountersBeginWithZero(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, answers(204), onePartition)
		for _, name := range []string{
			"ordered_remote_write_refused_samples", "ordered_remote_write_retries", "ordered_remote_write_reordered_payloads", "enqueue_failed_metric_points",
		} {
			m, err := h.telemetry.GetMetric("otelcol_exporter_" + name)
			require.NoError(t, err)
			points := m.Data.(metricdata.Sum[int64]).DataPoints
			require.Len(t, points, 1, name)
			assert.Zero(t, points[0].Value, name)
		}
		h.shutdown()
	})
}

// whatever the other one asks for in between.
func TestEachReaderHasABalanceOfOneMoment(t *testing.T) {
	one, other := sdkmetric.NewManualReader(), sdkmetric.NewManualReader()
	provider := &interrupted{MeterProvider: sdkmetric.NewMeterProvider(sdkmetric.WithReader(one), sdkmetric.WithReader(other)), between: func() {}}
	set := exportertest.NewNopSettings(metadata.Type)
	set.MeterProvider = provider
	cfg := createDefaultConfig().(*Config)
	cfg.HTTP.Endpoint = "http://receiver.test/api/v1/write"
	e, err := newExporter(t.Context(), set, cfg, testSecret)
	require.NoError(t, err)
	check := func(r sdkmetric.Reader) {
		const own = "otelcol_exporter_ordered_remote_write_"
		sums := collected(t, r)
		require.Contains(t, sums, own+"received_samples")
		assert.Equal(t, sums[own+"received_samples"]+sums[own+"recovered_samples"], sums[own+"delivered_samples"]+
			sums[own+"dropped_samples"]+sums[own+"queued_samples"]+sums[own+"in_flight_samples"])
	}
	interrupts := 0
	provider.between = func() {
		interrupts++
		between := provider.between
		provider.between = func() {}
		e.ledger.Admit(8, nil)
		e.ledger.Take(4)
		e.ledger.Deliver(2)
		e.ledger.Drop(1, account.Key{Reason: account.ReasonRejected, Status: 400})
		check(other)
		provider.between = between
	}
	check(one)
	assert.Positive(t, interrupts)
	require.NoError(t, e.Shutdown(context.Background()))
}

// interrupted makes meters that call between after each callback of a collection.
type interrupted struct {
	metric.MeterProvider
	between func()
}

func (p *interrupted) Meter(name string, options ...metric.MeterOption) metric.Meter {
	return interruptedMeter{p.MeterProvider.Meter(name, options...), p}
}

type interruptedMeter struct {
	metric.Meter
	provider *interrupted
}

func (m interruptedMeter) RegisterCallback(f metric.Callback, instruments ...metric.Observable) (metric.Registration, error) {
	return m.Meter.RegisterCallback(func(ctx context.Context, o metric.Observer) error {
		err := f(ctx, o)
		m.provider.between()
		return err
	}, instruments...)
}

// collected returns the sum of the data points of each metric that a reader has now.
func collected(t *testing.T, r sdkmetric.Reader) map[string]int64 {
	var all metricdata.ResourceMetrics
	assert.NoError(t, r.Collect(context.Background(), &all))
	sums := make(map[string]int64)
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			switch data := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, dp := range data.DataPoints {
					sums[m.Name] += dp.Value
				}
			case metricdata.Gauge[int64]:
				for _, dp := range data.DataPoints {
					sums[m.Name] += dp.Value
				}
			}
		}
	}
	return sums
}

// TestViewsThatDropAttributes: what is left of the attributes has the sums of all.
func TestViewsThatDropAttributes(t *testing.T) {
	reader := sdkmetric.NewManualReader()
	provider := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader), sdkmetric.WithView(sdkmetric.NewView(
		sdkmetric.Instrument{Name: "*"}, sdkmetric.Stream{AttributeFilter: attribute.NewDenyKeysFilter(reasonKey, statusCodeKey, exporterKey, outcomeKey)})))
	set := nopSettings()
	set.MeterProvider = provider
	cfg := createDefaultConfig().(*Config)
	cfg.HTTP.Endpoint = "http://receiver.test/api/v1/write"
	e, err := newExporter(t.Context(), set, cfg, testSecret)
	require.NoError(t, err)
	e.ledger.Admit(100, nil)
	e.ledger.Take(60)
	e.ledger.Deliver(20)
	for i, r := range []account.Reason{account.ReasonRejected, account.ReasonRejected, account.ReasonFatal, account.ReasonQueueFull} {
		e.ledger.Drop(i+1, account.Key{Reason: r, Status: 400 + i})
	}
	for range 2 {
		const own = "otelcol_exporter_ordered_remote_write_"
		sums := collected(t, reader)
		assert.Equal(t, []int64{100, 20, 10, 40, 30}, []int64{
			sums[own+"received_samples"], sums[own+"delivered_samples"], sums[own+"dropped_samples"], sums[own+"queued_samples"], sums[own+"in_flight_samples"],
		})
	}
	require.NoError(t, e.Shutdown(context.Background()))
}

// TestTwoExportersOfOneProvider have series of their own, which the end of one does not touch.
func TestTwoExportersOfOneProvider(t *testing.T) {
	reader := sdkmetric.NewManualReader()
	provider := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
	cfg := createDefaultConfig().(*Config)
	cfg.HTTP.Endpoint = "http://receiver.test/api/v1/write"
	received := func() map[string]int64 {
		var all metricdata.ResourceMetrics
		require.NoError(t, reader.Collect(t.Context(), &all))
		of := make(map[string]int64)
		for _, scope := range all.ScopeMetrics {
			for _, m := range scope.Metrics {
				if m.Name != "otelcol_exporter_ordered_remote_write_received_samples" {
					continue
				}
				for _, dp := range m.Data.(metricdata.Sum[int64]).DataPoints {
					id, _ := dp.Attributes.Value(exporterKey)
					of[id.AsString()] += dp.Value
				}
			}
		}
		return of
	}
	var exporters []*orderedExporter
	for i, name := range []string{"a", "b"} {
		set := nopSettings()
		set.ID = component.NewIDWithName(metadata.Type, name)
		set.MeterProvider = provider
		e, err := newExporter(t.Context(), set, cfg, testSecret)
		require.NoError(t, err)
		require.NoError(t, e.ConsumeMetrics(t.Context(), gauge(time.Now(), 10*(i+1))))
		exporters = append(exporters, e)
	}
	want := map[string]int64{"ordered_remote_write/a": 10, "ordered_remote_write/b": 20}
	assert.Equal(t, want, received())
	require.NoError(t, exporters[0].Shutdown(context.Background()))
	assert.Equal(t, want, received())
	require.NoError(t, exporters[1].Shutdown(context.Background()))
}

// TestWithoutMetrics: a collector need not have any of its own (level none), nor traces.
func TestWithoutMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cfg := createDefaultConfig().(*Config)
		cfg.HTTP.Endpoint = "http://receiver.test/api/v1/write"
		cfg.HTTP.Middlewares = []configmiddleware.Config{{ID: receiverID}}
		set := nopSettings()
		set.MeterProvider, set.TracerProvider = noop.NewMeterProvider(), nooptrace.NewTracerProvider()
		e, err := newExporter(t.Context(), set, cfg, testSecret)
		require.NoError(t, err)
		require.NoError(t, e.Start(t.Context(), newTestHost(answers(204))))
		require.NoError(t, e.ConsumeMetrics(t.Context(), gauge(time.Now(), 10)))
		time.Sleep(time.Minute)
		require.NoError(t, e.Shutdown(context.Background()))
		assert.Equal(t, int64(10), e.ledger.Snapshot().Delivered)
	})
}
