// SPDX-License-Identifier: Apache-2.0

// Package rig runs the exporter as a collector would, with everything that it tells recorded: its metrics, spans, log and
// component status.
package rig

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/exportertest"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/orderedremotewrite/orderedremotewriteexporter"
	"github.com/orderedremotewrite/orderedremotewriteexporter/integration/internal/output"
)

// defaults make for short tests; a test's own configuration is merged over them.
const defaults = `
batch: {flush_timeout: 10ms}
retry_on_failure: {initial_interval: 1ms, max_interval: 20ms}
log_examples: true
`

// patience is how long a test waits for what must happen.
const patience = 30 * time.Second

// Exporter is a running exporter.
type Exporter struct {
	exporter.Metrics
	Host      *Host
	Telemetry *componenttest.Telemetry
	// Logs are the log's entries, of all levels.
	Logs *observer.ObservedLogs

	t    testing.TB
	text *output.Buffer
	stop sync.Once
}

func newExporter(t testing.TB, extensions map[component.ID]component.Component, endpoint string, configs []string) *Exporter {
	t.Helper()
	factory := orderedremotewriteexporter.NewFactory()
	cfg := factory.CreateDefaultConfig()
	conf := confmap.NewFromStringMap(map[string]any{"http": map[string]any{"endpoint": endpoint}})
	for _, yaml := range append([]string{defaults}, configs...) {
		require.NoError(t, conf.Merge(parse(t, yaml)))
	}
	require.NoError(t, conf.Unmarshal(cfg))
	require.NoError(t, confmap.Validate(cfg))

	e := &Exporter{
		Host:      &Host{extensions: extensions},
		Telemetry: componenttest.NewTelemetry(),
		t:         t,
		text:      &output.Buffer{},
	}
	observed, logs := observer.New(zapcore.DebugLevel)
	e.Logs = logs
	encoder := zapcore.NewJSONEncoder(zap.NewProductionEncoderConfig())
	settings := exportertest.NewNopSettings(factory.Type())
	settings.ID = component.NewID(factory.Type())
	settings.TelemetrySettings = e.Telemetry.NewTelemetrySettings()
	settings.Logger = zap.New(zapcore.NewTee(observed, zapcore.NewCore(encoder, e.text, zapcore.DebugLevel)))

	var err error
	e.Metrics, err = factory.CreateMetrics(context.Background(), settings, cfg)
	require.NoError(t, err)
	t.Cleanup(func() {
		e.Stop()
		require.NoError(t, e.Telemetry.Shutdown(context.Background()))
		if t.Failed() {
			t.Log(e.LogText())
		}
	})
	return e
}

// Start starts an exporter that writes to an endpoint. Its configuration is YAML, of which later parts are merged over
// earlier ones. It stops with the test.
func Start(t testing.TB, endpoint string, configs ...string) *Exporter {
	t.Helper()
	return StartWith(t, nil, endpoint, configs...)
}

// StartWith starts an exporter in a collector with extensions.
func StartWith(t testing.TB, extensions map[component.ID]component.Component, endpoint string, configs ...string) *Exporter {
	t.Helper()
	e := newExporter(t, extensions, endpoint, configs)
	require.NoError(t, e.Start(context.Background(), e.Host))
	return e
}

func parse(t testing.TB, yaml string) *confmap.Conf {
	t.Helper()
	retrieved, err := confmap.NewRetrievedFromYAML([]byte(yaml))
	require.NoError(t, err)
	conf, err := retrieved.AsConf()
	require.NoError(t, err)
	return conf
}

// Send gives metrics to the exporter.
func (e *Exporter) Send(metrics pmetric.Metrics) {
	e.t.Helper()
	require.NoError(e.t, e.ConsumeMetrics(context.Background(), metrics))
}

// Settle waits until all that was sent has its outcome.
func (e *Exporter) Settle() {
	e.t.Helper()
	require.Eventually(e.t, func() bool {
		a := e.Accounts()
		return a.Queued == 0 && a.InFlight == 0
	}, patience, 5*time.Millisecond)
}

// SendAndSettle sends metrics and waits for their outcome, so that the next ones travel in another request.
func (e *Exporter) SendAndSettle(metrics pmetric.Metrics) {
	e.t.Helper()
	e.Send(metrics)
	e.Settle()
}

// Stop shuts the exporter down, which delivers what is queued. Its metrics can be read after that.
func (e *Exporter) Stop() {
	e.t.Helper()
	e.stop.Do(func() { require.NoError(e.t, e.Shutdown(context.Background())) })
}

// LogText returns the log as it would be written, each entry with its fields as a line of JSON.
func (e *Exporter) LogText() string {
	return e.text.String()
}

// Host is the collector that the exporter runs in. It remembers the component's status.
type Host struct {
	extensions map[component.ID]component.Component

	mu     sync.Mutex
	events []*componentstatus.Event
}

var (
	_ component.Host           = (*Host)(nil)
	_ componentstatus.Reporter = (*Host)(nil)
)

// GetExtensions returns the extensions that a test offers.
func (h *Host) GetExtensions() map[component.ID]component.Component {
	return h.extensions
}

// Report remembers an event.
func (h *Host) Report(event *componentstatus.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, event)
}

// Events returns the events so far.
func (h *Host) Events() []*componentstatus.Event {
	h.mu.Lock()
	defer h.mu.Unlock()
	return append([]*componentstatus.Event(nil), h.events...)
}

// Statuses returns the statuses of the events so far.
func (h *Host) Statuses() []componentstatus.Status {
	var statuses []componentstatus.Status
	for _, event := range h.Events() {
		statuses = append(statuses, event.Status())
	}
	return statuses
}
