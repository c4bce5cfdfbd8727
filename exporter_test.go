// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/prompb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/config/configmiddleware"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/exportertest"
	"go.opentelemetry.io/collector/extension/extensionmiddleware"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/metadata"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/storagetest"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
)

// harness is a started exporter with everything that a test looks at.
type harness struct {
	*orderedExporter
	t         testing.TB
	telemetry *componenttest.Telemetry
	logs      *observer.ObservedLogs
	host      *testHost
}

// newHarness starts an exporter whose requests the receiver answers, without a network, so that it works on the fake
// clock of synctest. The test must shut it down.
func newHarness(t testing.TB, receiver http.RoundTripper, edit ...func(*Config)) *harness {
	t.Helper()
	h := unstarted(t, receiver, edit...)
	require.NoError(t, h.Start(t.Context(), h.host))
	return h
}

// unstarted is an exporter that the test must start.
func unstarted(t testing.TB, receiver http.RoundTripper, edit ...func(*Config)) *harness {
	t.Helper()
	h := &harness{t: t, telemetry: componenttest.NewTelemetry(), host: newTestHost(receiver)}
	t.Cleanup(func() { assert.NoError(t, h.telemetry.Shutdown(context.Background())) })
	core, logs := observer.New(zap.DebugLevel)
	h.logs = logs
	set := exportertest.NewNopSettings(metadata.Type)
	set.ID = component.NewID(metadata.Type)
	set.TelemetrySettings = h.telemetry.NewTelemetrySettings()
	// As the Collector makes it.
	set.Logger = zap.New(core, zap.AddStacktrace(zap.ErrorLevel))

	cfg := createDefaultConfig().(*Config)
	cfg.HTTP.Endpoint = "http://receiver.test/api/v1/write"
	cfg.HTTP.Middlewares = []configmiddleware.Config{{ID: receiverID}}
	cfg.Retry.BackOff.RandomizationFactor = 0
	for _, e := range edit {
		e(cfg)
	}
	require.NoError(t, cfg.Validate())
	var err error
	h.orderedExporter, err = newExporter(t.Context(), set, cfg, testSecret)
	require.NoError(t, err)
	// A test that fails before its own shutdown ends all the same. Otherwise the goroutines that it leaves in a bubble make synctest
	// panic, and nobody sees the failure.
	t.Cleanup(func() {
		over, cancel := context.WithCancel(context.Background())
		cancel()
		assert.NoError(t, h.Shutdown(over))
	})
	return h
}

// shutdown shuts the exporter down, and checks that every sample has its outcome.
func (h *harness) shutdown() {
	h.t.Helper()
	require.NoError(h.t, h.Shutdown(context.Background()))
	b := h.ledger.Snapshot()
	assert.Zero(h.t, b.Queued, "queued after a shutdown")
	assert.Zero(h.t, b.InFlight, "in flight after a shutdown")
	h.checkBalance()
	h.checkStandard()
	assert.Zero(h.t, h.queue.state().size, "bytes in the queue after a shutdown")
	for _, p := range h.queue.partitions {
		assert.Zero(h.t, p.size, "bytes of partition %d after a shutdown", p.index)
		assert.Zero(h.t, p.good.size, "bytes of its good samples")
		assert.Zero(h.t, p.late.size, "bytes of its late ones")
	}
}

// checkBalance checks the accounting identity, and that the metrics tell the same as the ledger.
func (h *harness) checkBalance() {
	h.t.Helper()
	b := h.ledger.Snapshot()
	dropped := int64(0)
	for _, n := range b.Dropped {
		dropped += n
	}
	require.Equal(h.t, b.Received+b.Recovered, b.Delivered+dropped+b.Queued+b.InFlight, "received = delivered + dropped + queued + in flight: %+v", b)
	require.GreaterOrEqual(h.t, b.Queued, int64(0))
	require.GreaterOrEqual(h.t, b.InFlight, int64(0))
}

// checkStandard checks that the metrics which all exporters have tell the same as the ledger.
func (h *harness) checkStandard() {
	h.t.Helper()
	b := h.ledger.Snapshot()
	dropped := int64(0)
	for _, n := range b.Dropped {
		dropped += n
	}
	assert.Equal(h.t, b.Delivered, h.metric("otelcol_exporter_sent_metric_points"), "sent")
	assert.Equal(h.t, dropped, h.metric("otelcol_exporter_send_failed_metric_points"), "failed: %v", b.Dropped)
}

// dropped returns the dropped samples by reason and status, as "rejected 400".
func (h *harness) dropped() map[string]int64 {
	dropped := make(map[string]int64)
	for key, n := range h.ledger.Snapshot().Dropped {
		name := key.Reason.String()
		if key.Status != 0 {
			name += " " + strconv.Itoa(key.Status)
		}
		dropped[name] += n
	}
	return dropped
}

func (h *harness) delivered() int64 { return h.ledger.Snapshot().Delivered }

// metric returns the sum of a metric's data points, of which those of histograms are counts.
func (h *harness) metric(name string) int64 {
	h.t.Helper()
	m, err := h.telemetry.GetMetric(name)
	if err != nil {
		return 0
	}
	sum := int64(0)
	switch data := m.Data.(type) {
	case metricdata.Sum[int64]:
		for _, dp := range data.DataPoints {
			sum += dp.Value
		}
	case metricdata.Gauge[int64]:
		for _, dp := range data.DataPoints {
			sum += dp.Value
		}
	case metricdata.Histogram[int64]:
		for _, dp := range data.DataPoints {
			sum += int64(dp.Count)
		}
	case metricdata.Histogram[float64]:
		for _, dp := range data.DataPoints {
			sum += int64(dp.Count)
		}
	default:
		h.t.Fatalf("metric %s is a %T", name, data)
	}
	return sum
}

// consume passes a payload to the exporter.
func (h *harness) consume(md pmetric.Metrics) {
	h.t.Helper()
	require.NoError(h.t, h.ConsumeMetrics(context.Background(), md))
}

var (
	receiverID = component.MustNewID("receiver")
	storageID  = component.MustNewID("storage")
)

// stored keeps the queue on the host's disk.
func stored(c *Config) { c.Queue.Storage = &storageID }

// testHost is a host whose one extension puts a receiver in the place of the network, and which records status events.
type testHost struct {
	component.Component
	receiver http.RoundTripper
	// disk is the storage extension.
	disk   *storagetest.Disk
	events chan *componentstatus.Event
}

var (
	_ componentstatus.Reporter       = (*testHost)(nil)
	_ extensionmiddleware.HTTPClient = (*testHost)(nil)
)

func newTestHost(receiver http.RoundTripper) *testHost {
	return &testHost{receiver: receiver, disk: new(storagetest.Disk), events: make(chan *componentstatus.Event, 1000)}
}

func (h *testHost) GetExtensions() map[component.ID]component.Component {
	return map[component.ID]component.Component{receiverID: h, storageID: h.disk}
}

func (h *testHost) GetHTTPRoundTripper(context.Context) (extensionmiddleware.WrapHTTPRoundTripperFunc, error) {
	return func(context.Context, http.RoundTripper) (http.RoundTripper, error) { return h.receiver, nil }, nil
}

func (h *testHost) Report(e *componentstatus.Event) { h.events <- e }

// statuses returns the events so far.
func (h *testHost) statuses() []componentstatus.Status {
	var statuses []componentstatus.Status
	for {
		select {
		case e := <-h.events:
			statuses = append(statuses, e.Status())
		default:
			return statuses
		}
	}
}

// gauge makes a payload of one point for each of n series: gauge{series="0"} and so on, without target_info.
func gauge(ts time.Time, n int) pmetric.Metrics {
	md := pmetric.NewMetrics()
	m := md.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
	m.SetName("gauge")
	points := m.SetEmptyGauge().DataPoints()
	for i := range n {
		dp := points.AppendEmpty()
		dp.SetTimestamp(pcommon.NewTimestampFromTime(ts))
		dp.SetDoubleValue(float64(i) + 0.5)
		dp.Attributes().PutStr("series", strconv.Itoa(i))
	}
	return md
}

// gaugeIn is like gauge, with n series of one partition alone.
func gaugeIn(ts time.Time, n, partition, partitions int) pmetric.Metrics {
	md := gauge(ts, n)
	series := 0
	for _, dp := range md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0).Gauge().DataPoints().All() {
		for ; ; series++ {
			labels := []prompb.Label{{Name: nameLabel, Value: "gauge"}, {Name: "series", Value: fmt.Sprint(series)}}
			if seriesPartition(labels, partitions) == partition {
				break
			}
		}
		dp.Attributes().PutStr("series", fmt.Sprint(series))
		series++
	}
	return md
}

// one partition, so that what is sent together is known.
func onePartition(c *Config) { c.Partitions = 1 }

// answers answers all requests with a status.
func answers(status int) *rwtest.Receiver {
	return &rwtest.Receiver{Script: func(rwtest.Request) rwtest.Answer { return rwtest.Answer{Status: status} }}
}

// seriesPartition computes the partition of a series from its labels and the secret alone, as a fresh reader of the design
// would: from the sum over the family and the labels without le and quantile, for a target_info over job and instance.
func seriesPartition(labels []prompb.Label, partitions int) int {
	var key uint64
	add := func(name, value string) { key += testSecret.label(testSecret.name(name), []byte(value)) }
	target := slices.ContainsFunc(labels, func(l prompb.Label) bool { return l.Name == nameLabel && l.Value == "target_info" })
	for _, l := range labels {
		switch {
		case l.Name == nameLabel:
			family := l.Value
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				if f, ok := strings.CutSuffix(family, suffix); ok {
					family = f
					break
				}
			}
			add(nameLabel, family)
		case l.Name == leLabel || l.Name == quantileLabel:
		case !target || l.Name == jobLabel || l.Name == instanceLabel:
			add(l.Name, l.Value)
		}
	}
	return partitionOf(key, partitions)
}

// requestPartitions are the partitions that a request holds series of.
func requestPartitions(partitions int) func(*prompb.WriteRequest) []string {
	return func(r *prompb.WriteRequest) (keys []string) {
		for i := range r.Timeseries {
			if key := strconv.Itoa(seriesPartition(r.Timeseries[i].Labels, partitions)); !slices.Contains(keys, key) {
				keys = append(keys, key)
			}
		}
		return keys
	}
}

// zapReason is the field by which log lines of a reason are found.
func zapReason(r account.Reason) zap.Field { return zap.Stringer("reason", r) }

// nopSettings is for an exporter that a test makes itself.
func nopSettings() exporter.Settings { return exportertest.NewNopSettings(metadata.Type) }

// What the factory makes tells the service that it batches, so that a batch processor in front of it is warned of.
func TestExporterSaysThatItBatches(t *testing.T) {
	factory := NewFactory()
	cfg := factory.CreateDefaultConfig().(*Config)
	cfg.HTTP.Endpoint = "http://receiver.test/api/v1/write"
	e, err := factory.CreateMetrics(t.Context(), exportertest.NewNopSettings(metadata.Type), cfg)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, e.Shutdown(context.Background())) })
	batcher, ok := e.(interface{ ExporterHelperBatchingEnabled() bool })
	require.True(t, ok)
	assert.True(t, batcher.ExporterHelperBatchingEnabled())
}
