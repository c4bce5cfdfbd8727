// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/require"

	"github.com/orderedremotewrite/orderedremotewriteexporter/integration/internal/otelcol"
)

// member is a collector of a tier. It has the same addresses, and the same storage, each time it is booted.
type member struct {
	t             *testing.T
	name          string
	binary        string
	otlp, metrics string // addresses
	env, configs  []string

	mu  sync.Mutex
	now *otelcol.Collector
}

// newMember makes a member that runs the configurations, merged in their order, when it is booted.
func newMember(t *testing.T, name string, env []string, configs ...string) *member {
	t.Helper()
	m := &member{t: t, name: name, binary: binary(t), otlp: otelcol.FreeAddress(t), metrics: otelcol.FreeAddress(t)}
	host, port, err := net.SplitHostPort(m.metrics)
	require.NoError(t, err)
	m.env = append([]string{"HOSTNAME=" + name, "STORAGE_DIRECTORY=" + t.TempDir()}, env...)
	m.configs = append(configs,
		"yaml:service::telemetry::metrics::readers: [{pull: {exporter: {prometheus: {host: "+host+", port: "+port+
			", without_type_suffix: true, without_units: true, without_scope_info: true}}}}]")
	return m
}

// boot starts the collector and returns when it is ready.
func (m *member) boot() {
	m.t.Helper()
	c := otelcol.Start(m.t, m.binary, m.env, m.configs...)
	m.mu.Lock()
	m.now = c
	m.mu.Unlock()
	c.WaitReady(m.t)
}

// kill ends the collector with SIGKILL.
func (m *member) kill() { m.now.Kill() }

// stop lets the collector shut down.
func (m *member) stop() {
	m.t.Helper()
	m.now.MustStop(m.t)
}

// reload makes the collector read its configuration again and start anew with it, in the same process.
func (m *member) reload() {
	m.t.Helper()
	ready := strings.Count(m.now.Log(), "Everything is ready")
	require.NoError(m.t, syscall.Kill(m.now.Pid(), syscall.SIGHUP))
	eventually(m.t, func() bool { return strings.Count(m.now.Log(), "Everything is ready") > ready }, m.name, "is reloaded")
}

// accounts is what the metrics of exporters say of the samples. The counters of a process begin when it starts.
type accounts struct {
	received, recovered, delivered, queued, inFlight, refused int
	dropped                                                   map[string]int // by reason
}

// open is how many samples have no outcome yet.
func (a accounts) open() int { return a.queued + a.inFlight }

// drops is how many samples were dropped.
func (a accounts) drops() (n int) {
	for _, dropped := range a.dropped {
		n += dropped
	}
	return n
}

// add adds what another exporter says.
func (a *accounts) add(b accounts) {
	a.received += b.received
	a.recovered += b.recovered
	a.delivered += b.delivered
	a.queued += b.queued
	a.inFlight += b.inFlight
	a.refused += b.refused
	if a.dropped == nil {
		a.dropped = make(map[string]int)
	}
	for reason, n := range b.dropped {
		a.dropped[reason] += n
	}
}

// accounts asks the collector for its metrics.
func (m *member) accounts() accounts {
	m.t.Helper()
	const own = "otelcol_exporter_ordered_remote_write_"
	resp, err := http.Get("http://" + m.metrics + "/metrics")
	require.NoError(m.t, err, m.name)
	defer resp.Body.Close()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(resp.Body)
	require.NoError(m.t, err)
	require.Contains(m.t, families, own+"queued_samples", m.name)
	value := func(name string) (n int) { // a counter that has not counted yet is absent
		for _, metric := range families[own+name].GetMetric() {
			n += int(metric.GetCounter().GetValue() + metric.GetGauge().GetValue() + metric.GetUntyped().GetValue())
		}
		return n
	}
	a := accounts{
		received: value("received_samples"), recovered: value("recovered_samples"), delivered: value("delivered_samples"),
		queued: value("queued_samples"), inFlight: value("in_flight_samples"), refused: value("refused_samples"),
		dropped: make(map[string]int),
	}
	for _, metric := range families[own+"dropped_samples"].GetMetric() {
		for _, label := range metric.GetLabel() {
			if n := int(metric.GetCounter().GetValue() + metric.GetUntyped().GetValue()); label.GetName() == "reason" && n > 0 {
				a.dropped[label.GetValue()] += n
			}
		}
	}
	require.Equal(m.t, a.received+a.recovered, a.delivered+a.drops()+a.open(), "%s: unaccounted samples: %+v", m.name, a)
	return a
}

func name(kind string, number int) string { return kind + "-" + strconv.Itoa(number) }
