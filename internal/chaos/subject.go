// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"context"
	"fmt"
	"net/http"
	"sync"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/exportertest"
	"go.opentelemetry.io/collector/extension/extensionmiddleware"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/storagetest"
)

// Subject is what is put to the test.
type Subject struct {
	Factory exporter.Factory
	Rules   Rules
	// Partitions is the number of partitions in every round; 0 is a random one.
	Partitions int
	// Stored says that the queue is in storage in every round, and Unstored that it never is.
	Stored, Unstored bool
}

// running is a started exporter with everything that it shows.
type running struct {
	exporter.Metrics
	host      *host
	telemetry *componenttest.Telemetry
	logs      *observer.ObservedLogs
}

// start starts an exporter. Without an endpoint the receiver stands in for the network. The disk is for queue.storage.
func (s *Subject) start(settings *Settings, endpoint string, receiver http.RoundTripper, disk *storagetest.Disk) (*running, error) {
	keys := settings.Map()
	client := keys["http"].(map[string]any)
	if client["endpoint"] = endpoint; endpoint == "" {
		client["endpoint"] = "http://receiver.test/api/v1/write"
		client["middlewares"] = []any{map[string]any{"id": receiverID.String()}}
	}
	cfg := s.Factory.CreateDefaultConfig()
	if err := confmap.NewFromStringMap(keys).Unmarshal(cfg); err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	if err := confmap.Validate(cfg); err != nil {
		return nil, fmt.Errorf("configuration: %w", err)
	}
	r := &running{host: &host{receiver: receiver, disk: disk}, telemetry: componenttest.NewTelemetry()}
	core, logs := observer.New(zap.DebugLevel)
	r.logs = logs
	set := exportertest.NewNopSettings(s.Factory.Type())
	set.ID = component.NewID(s.Factory.Type())
	set.TelemetrySettings = r.telemetry.NewTelemetrySettings()
	set.Logger = zap.New(core)
	var err error
	if r.Metrics, err = s.Factory.CreateMetrics(context.Background(), set, cfg); err != nil {
		return nil, err
	}
	return r, r.Start(context.Background(), r.host)
}

var (
	receiverID = component.MustNewID("receiver")
	diskID     = component.MustNewID("disk")
)

// host is a collector with two extensions: one puts a receiver in the place of the network, and one is storage.
type host struct {
	component.Component
	receiver http.RoundTripper
	disk     *storagetest.Disk

	mu     sync.Mutex
	events []*componentstatus.Event
}

var (
	_ componentstatus.Reporter       = (*host)(nil)
	_ extensionmiddleware.HTTPClient = (*host)(nil)
)

// GetExtensions implements component.Host.
func (h *host) GetExtensions() map[component.ID]component.Component {
	return map[component.ID]component.Component{receiverID: h, diskID: h.disk}
}

// GetHTTPRoundTripper implements extensionmiddleware.HTTPClient.
func (h *host) GetHTTPRoundTripper(context.Context) (extensionmiddleware.WrapHTTPRoundTripperFunc, error) {
	return func(context.Context, http.RoundTripper) (http.RoundTripper, error) { return h.receiver, nil }, nil
}

// Report implements componentstatus.Reporter.
func (h *host) Report(e *componentstatus.Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, e)
}

// fatal returns how often the component has asked to stop the collector.
func (h *host) fatal() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := 0
	for _, e := range h.events {
		if e.Status() == componentstatus.StatusFatalError {
			n++
		}
	}
	return n
}
