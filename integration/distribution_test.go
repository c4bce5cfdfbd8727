// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/prometheus/storage/remote"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/orderedremotewrite/orderedremotewriteexporter"
	"github.com/orderedremotewrite/orderedremotewriteexporter/integration/internal/otelcol"
)

// credentials are what the examples take from the environment.
var credentials = []string{
	"AWS_ACCESS_KEY_ID=example", "AWS_SECRET_ACCESS_KEY=example",
	"GRAFANA_CLOUD_USER=123456", "GRAFANA_CLOUD_TOKEN=secret",
	"AZURE_CLIENT_ID=writer", "AZURE_CLIENT_SECRET=secret",
}

func TestDistributionHasTheExporter(t *testing.T) {
	out, err := runCollector(t, nil, "components")
	require.NoError(t, err, out)
	assert.Contains(t, out, "name: "+orderedremotewriteexporter.NewFactory().Type().String())
}

// Each example is a complete configuration with which the collector starts, delivers what it gets over OTLP with the
// headers that the backend asks for, and stops.
func TestExamples(t *testing.T) {
	headers := map[string]map[string]string{
		"collector.yaml":                 {},
		"amazon-managed-prometheus.yaml": {"Authorization": "AWS4-HMAC-SHA256 Credential=example/"},
		"azure-monitor.yaml":             {"Authorization": "Bearer writers-token"},
		"demo.yaml":                      {},
		"grafana-cloud.yaml":             {"Authorization": "Basic MTIzNDU2OnNlY3JldA=="},
		"kubernetes-gateway.yaml":        {},
		"mimir.yaml":                     {"X-Scope-OrgID": "demo"},
		"prometheus.yaml":                {},
		"scrape.yaml":                    {},
		"storage.yaml":                   {},
		"thanos.yaml":                    {"THANOS-TENANT": "default-tenant"},
		"victoriametrics.yaml":           {},
	}
	examples, err := filepath.Glob("../examples/*.yaml")
	require.NoError(t, err)
	examples = append(examples, "../deploy/collector.yaml")
	require.Len(t, examples, len(headers))
	tokens := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if name, secret, _ := r.BasicAuth(); name != "writer" || secret != "secret" || r.FormValue("scope") != "https://monitor.azure.com//.default" {
			http.Error(w, `{"error": "invalid_client"}`, http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"access_token": "writers-token", "token_type": "Bearer", "expires_in": 3600}`)
	}))
	t.Cleanup(tokens.Close)

	for _, example := range examples {
		t.Run(filepath.Base(example), func(t *testing.T) {
			t.Parallel()
			expected, ok := headers[filepath.Base(example)]
			require.True(t, ok)

			out, err := runCollector(t, credentials, "validate", "--config="+example)
			require.NoError(t, err, out)

			endpoint := newEndpoint(t, http.StatusNoContent)
			otlp := otelcol.FreeAddress(t)
			env := append([]string{"REMOTE_WRITE_ENDPOINT=" + endpoint.URL + "/write", "STATE_DIRECTORY=" + t.TempDir(), "AZURE_TOKEN_URL=" + tokens.URL}, credentials...)
			c := startCollector(t, env, append([]string{example}, ownPorts(otlp)...)...)
			c.WaitReady(t)
			sendGauge(t, otlp)
			require.Eventually(t, func() bool { return endpoint.has("example_value") }, 30*time.Second, 20*time.Millisecond)
			c.MustStop(t)

			for name, prefix := range expected {
				assert.Truef(t, strings.HasPrefix(endpoint.header().Get(name), prefix), "%s: %q", name, endpoint.header().Get(name))
			}
		})
	}
}

// minimal is the least configuration with the exporter; what a test wants to be different is merged into it.
const minimal = `yaml:
receivers: {otlp: {protocols: {http: {endpoint: "127.0.0.1:0"}}}}
exporters: {ordered_remote_write: {http: {endpoint: "http://127.0.0.1:1/write"}}}
service:
  pipelines: {metrics: {receivers: [otlp], exporters: [ordered_remote_write]}}
  telemetry: {metrics: {level: none}}
`

// A wrong setting stops the collector at the start with a line that names the exporter by its id, the key, and what is
// wrong. Without the exporter's own check of keys, the first ones would start and write without what was meant.
func TestWrongConfiguration(t *testing.T) {
	for _, tc := range []struct {
		setting, message string
	}{
		{`http::header: {X-Scope-OrgID: a}`, "http.header: unknown key, did you mean http.headers?"},
		{`http::tls: {insecure_skip: true}`, "http.tls.insecure_skip: unknown key"},
		{`http::headers: {X-Scope-OrgID: "${env:ORW_UNSET}"}`, `http.headers: the value of "X-Scope-OrgID" is empty`},
		{`http::headers: {Authorization: "Bearer ${env:ORW_UNSET}"}`, `http.headers: the value of "Authorization" has nothing behind its scheme`},
		{`http::endpoint: http://user:${env:ORW_UNSET}@host/`, "http.endpoint: has user information without a name or with an empty password"},
		{`http::endpoint: http://host:99999/write`, "http.endpoint: the port must be from 1 to 65535"},
		{`http::auth: `, "http.auth: is empty"},
		{`partitions: 2.5`, "partitions: must be a whole number, not 2.5"},
		{`fallback: `, "fallback: has no value"},
		{`batch::flush_timeout: 5000000`, "batch.flush_timeout: 5000000 has no unit"},
		{`queue::max_size_bytes: 256M`, "queue.max_size_bytes: must have a unit that is not ambiguous"},
		{`resource_constant_labels: {included: [".*"]}`, `resource_constant_labels.included: ".*" looks like a regular expression`},
		{`remote_write_queue: {num_consumers: 5}`, "remote_write_queue: is of prometheus_remote_write"},
		{`endpoint: http://localhost/`, "endpoint: unknown key, did you mean http.endpoint?"},
		{`http::endpoint: ""`, "http.endpoint"},
		{`http::endpoint: ftp://localhost/write`, "http.endpoint"},
		{`http::endpoint: localhost:9090/api/v1/write`, "http.endpoint"},
		{`http::headers: {content-encoding: gzip}`, "http.headers"},
		{`http::compression: gzip`, "http.compression"},
		{`http::timeout: 0s`, "http.timeout"},
		{`partitions: 0`, "partitions"},
		{`partitions: many`, "partitions"},
		{`batch::max_samples: 0`, "batch.max_samples"},
		{`batch::max_size_bytes: 1`, "batch.max_size_bytes"},
		{`batch::flush_timeout: 0s`, "batch.flush_timeout"},
		{`queue::max_size_bytes: 1`, "queue.max_size_bytes"},
		{`queue::on_full: explode`, "queue.on_full"},
		{`retry_on_failure::max_retries: -1`, "retry_on_failure.max_retries"},
		{`retry_on_failure::multiplier: 0`, "retry_on_failure.multiplier"},
		{`on_error::fatal: ignore`, "on_error.fatal"},
		{`on_error::rejected: ignore`, "on_error.rejected"},
		{`on_error::retries_exhausted: ignore`, "on_error.retries_exhausted"},
		{`out_of_order: sort`, "out_of_order"},
		{`protobuf_message: prometheus.WriteResponse`, "protobuf_message"},
		{`translation_strategy: Shouting`, "translation_strategy"},
		{`external_labels: {__name__: up}`, "external_labels"},
		{`dead_letter::directory: relative`, "dead_letter.directory"},
		{`partition: 8`, "partition: unknown key, did you mean partitions?"},
	} {
		t.Run(tc.setting, func(t *testing.T) {
			t.Parallel()
			c := startCollector(t, nil, minimal, "yaml:exporters::ordered_remote_write::"+tc.setting)
			assert.NotZero(t, c.Wait(t))
			assert.NotContains(t, c.Log(), "Everything is ready")
			assert.NotContains(t, c.Log(), "panic")
			assert.Contains(t, c.Log(), "exporters::ordered_remote_write: "+tc.message)
		})
	}
}

// Each mistake is told on a line with the id of its exporter.
func TestAllMistakesAreToldWithTheirExporter(t *testing.T) {
	const config = `yaml:
receivers: {otlp: {protocols: {http: {endpoint: "127.0.0.1:0"}}}}
exporters:
  ordered_remote_write/first: {http: {header: {a: b}}, partitions: 2.5}
  ordered_remote_write/second: {http: {endpoint: "http://localhost:0/", timeout: 0s}, partitions: 0, retry_on_failure: {max_elapsed_time: 1s, multiplier: 0}}
service:
  pipelines: {metrics: {receivers: [otlp], exporters: [ordered_remote_write/first, ordered_remote_write/second]}}
`
	out, err := runCollector(t, nil, "validate", "--config="+config)
	require.Error(t, err)
	lines := strings.Split(strings.TrimSpace(strings.TrimPrefix(out, "Error: ")), "\n")
	assert.ElementsMatch(t, []string{
		"exporters::ordered_remote_write/first: http.header: unknown key, did you mean http.headers?; partitions: must be a whole number, not 2.5",
		"exporters::ordered_remote_write/second: http.endpoint: the port must be from 1 to 65535; http.timeout: must be at least 1ms, not 0s; partitions: must be at least 1, not 0; " +
			"retry_on_failure.max_elapsed_time: must be 0 or at least retry_on_failure.max_interval 5s, not 1s; retry_on_failure.multiplier: must be at least 1, not 0",
	}, lines)
}

// What was accepted is delivered before the process ends, even if its batch was still open.
func TestStopDeliversOpenBatches(t *testing.T) {
	endpoint := newEndpoint(t, http.StatusNoContent)
	otlp := otelcol.FreeAddress(t)
	c := startCollector(t, nil, append([]string{
		minimal,
		"yaml:exporters::ordered_remote_write::http::endpoint: " + endpoint.URL,
		"yaml:exporters::ordered_remote_write::batch::flush_timeout: 1h",
	}, ownPorts(otlp)...)...)
	c.WaitReady(t)
	sendGauge(t, otlp)
	assert.False(t, endpoint.has("example_value"))
	c.MustStop(t)
	assert.True(t, endpoint.has("example_value"))
}

// By default, an endpoint that says that it is the wrong one pauses the exporter, which names itself and the answer. The
// collector goes on.
func TestFatalAnswerPausesTheExporter(t *testing.T) {
	endpoint := newEndpoint(t, http.StatusNotFound)
	otlp := otelcol.FreeAddress(t)
	c := startCollector(t, nil, append([]string{
		minimal,
		"yaml:exporters::ordered_remote_write::http::endpoint: " + endpoint.URL,
	}, ownPorts(otlp)...)...)
	c.WaitReady(t)
	sendGauge(t, otlp)
	paused := regexp.MustCompile(`(?m)^.*\terror\t.*Paused: .*"ordered_remote_write".*"status": 404.*$`)
	require.Eventually(t, func() bool { return paused.MatchString(c.Log()) }, time.Minute, 20*time.Millisecond)
	sendGauge(t, otlp)
	c.MustStop(t)
}

// With on_error.fatal: fail, such an endpoint stops the collector, which names the exporter and the answer.
func TestFatalAnswerStopsTheCollector(t *testing.T) {
	endpoint := newEndpoint(t, http.StatusNotFound)
	otlp := otelcol.FreeAddress(t)
	c := startCollector(t, nil, append([]string{
		minimal,
		"yaml:exporters::ordered_remote_write::http::endpoint: " + endpoint.URL,
		"yaml:exporters::ordered_remote_write::on_error::fatal: fail",
	}, ownPorts(otlp)...)...)
	c.WaitReady(t)
	sendGauge(t, otlp)
	// The status is not the exporter's to decide: the collector ends with 0 when a component stops it.
	assert.Zero(t, c.Wait(t))
	assert.Contains(t, c.Log(), "ordered_remote_write")
	assert.Contains(t, c.Log(), "404")
}

// ownPorts are configurations with which collectors on one machine do not get into each other's way.
func ownPorts(otlp string) []string {
	return []string{
		"yaml:receivers::otlp::protocols::grpc::endpoint: 127.0.0.1:0",
		"yaml:receivers::otlp::protocols::http::endpoint: " + otlp,
		"yaml:extensions::health_check::endpoint: 127.0.0.1:0",
		"yaml:service::telemetry::metrics::level: none",
	}
}

// sendGauge sends one sample of example.value over OTLP.
func sendGauge(t *testing.T, otlp string) {
	t.Helper()
	resp, err := http.Post("http://"+otlp+"/v1/metrics", "application/json", strings.NewReader(fmt.Sprintf(
		`{"resourceMetrics": [{"scopeMetrics": [{"metrics": [
			{"name": "example.value", "gauge": {"dataPoints": [{"timeUnixNano": "%d", "asInt": "1"}]}}
		]}]}]}`, time.Now().UnixNano())))
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusOK, resp.StatusCode)
}

// endpoint is a Remote-Write endpoint that remembers what it got.
type endpoint struct {
	*httptest.Server
	status int

	mu     sync.Mutex
	names  map[string]bool
	latest http.Header
}

func newEndpoint(t *testing.T, status int) *endpoint {
	e := &endpoint{status: status, names: map[string]bool{}}
	e.Server = httptest.NewServer(e)
	t.Cleanup(e.Close)
	return e
}

func (e *endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	message, err := remote.DecodeWriteRequest(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, series := range message.Timeseries {
		for _, label := range series.Labels {
			if label.Name == "__name__" {
				e.names[label.Value] = true
			}
		}
	}
	e.latest = r.Header
	w.WriteHeader(e.status)
}

// has says whether a series of this name has arrived.
func (e *endpoint) has(name string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.names[name]
}

func (e *endpoint) header() http.Header {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.latest
}
