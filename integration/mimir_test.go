// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/orderedremotewrite/orderedremotewriteexporter/integration/internal/otelcol"
	"github.com/orderedremotewrite/orderedremotewriteexporter/integration/internal/output"
	"github.com/orderedremotewrite/orderedremotewriteexporter/integration/internal/rig"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/process"
)

// mimirConfig is Mimir in one process, with tenants. The verbs are a directory, two ports, and the limits.
const mimirConfig = `
usage_stats: {enabled: false}
activity_tracker: {filepath: ""}
server: {http_listen_address: 127.0.0.1, http_listen_port: %[2]s, grpc_listen_address: 127.0.0.1, grpc_listen_port: %[3]s, log_level: error}
common: {storage: {backend: filesystem, filesystem: {dir: %[1]s/common}}}
blocks_storage: {storage_prefix: blocks, tsdb: {dir: %[1]s/tsdb}, bucket_store: {sync_dir: %[1]s/sync}}
ingester: {ring: {instance_addr: 127.0.0.1, replication_factor: 1, min_ready_duration: 0s, kvstore: {store: inmemory}}}
distributor: {ring: {instance_addr: 127.0.0.1, kvstore: {store: inmemory}}}
store_gateway: {sharding_ring: {instance_addr: 127.0.0.1, replication_factor: 1, kvstore: {store: inmemory}}}
limits: {%[4]s}
`

// startMimir starts a server and returns its URL.
func startMimir(t *testing.T, limits string) string {
	t.Helper()
	binary, err := filepath.Abs("../build/tools/mimir")
	require.NoError(t, err)
	if _, err := os.Stat(binary); err != nil {
		t.Skip("there is no Mimir: make check-mimir builds it, which takes some minutes, and runs this test")
	}
	dir, address, grpc := t.TempDir(), otelcol.FreeAddress(t), otelcol.FreeAddress(t)
	port := func(address string) string { return address[strings.LastIndexByte(address, ':')+1:] }
	config := filepath.Join(dir, "mimir.yaml")
	require.NoError(t, os.WriteFile(config, fmt.Appendf(nil, mimirConfig, dir, port(address), port(grpc), limits), 0o600))
	cmd, log := exec.Command(binary, "-config.file="+config, "-target=distributor,ingester,querier,store-gateway"), &output.Buffer{}
	cmd.Stdout, cmd.Stderr = log, log
	p, err := process.Start(cmd)
	require.NoError(t, err)
	t.Cleanup(func() {
		p.Kill()
		if t.Failed() {
			t.Log(log)
		}
	})
	require.Eventually(t, func() bool {
		require.Nil(t, p.State(), "Mimir has ended: %s", log)
		_, status := get(t, "http://"+address+"/ready")
		return status == http.StatusOK
	}, time.Minute, 50*time.Millisecond)
	return "http://" + address
}

// inMimir returns the values of a tenant's series of the name orders, by their label series, oldest first.
func inMimir(t *testing.T, server, tenant string) map[string][]float64 {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server+"/prometheus/api/v1/query?query="+url.QueryEscape("orders[1d]"), nil)
	require.NoError(t, err)
	req.Header.Set("X-Scope-OrgID", tenant)
	req.Close = true // no connection outlives the test
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	var answer struct {
		Data struct {
			Result []struct {
				Metric map[string]string
				Values [][2]any
			}
		}
	}
	require.NoError(t, json.NewDecoder(resp.Body).Decode(&answer))
	require.Equal(t, http.StatusOK, resp.StatusCode)
	stored := map[string][]float64{}
	for _, s := range answer.Data.Result {
		for _, v := range s.Values {
			value, err := strconv.ParseFloat(v[1].(string), 64)
			require.NoError(t, err)
			stored[s.Metric["series"]] = append(stored[s.Metric["series"]], value)
		}
	}
	return stored
}

const (
	mimirWriter = `{partitions: 1, batch: {max_samples: 100, flush_timeout: 10ms}, target_info: {enabled: false}}`
	asDemo      = `http: {headers: {X-Scope-OrgID: demo}}`
)

// Mimir gets every sample of a tenant, in order; another tenant has nothing.
func TestMimirGetsEverySample(t *testing.T) {
	inBothVersions(t, func(t *testing.T, v version) {
		server := startMimir(t, "")
		exporter := rig.Start(t, server+"/api/v1/push", v.config, mimirWriter, asDemo, "partitions: 4")
		sendRounds(exporter, start())
		exporter.Settle()
		accounts := exporter.Close()
		assert.Equal(t, int64(roundSeries*rounds), accounts.Delivered)
		assert.Empty(t, accounts.Dropped)
		assertRounds(t, inMimir(t, server, "demo"))
		assert.Empty(t, inMimir(t, server, "other"))
	})
}

// Without a tenant, Mimir answers 401, which pauses the exporter.
func TestMimirWithoutATenantPausesTheExporter(t *testing.T) {
	server := startMimir(t, "")
	exporter := rig.Start(t, server+"/api/v1/push", mimirWriter)
	exporter.SendAndSettle(orders(1))
	accounts := exporter.Close()
	assert.Equal(t, map[rig.Drop]int64{{Reason: "fatal", Status: http.StatusUnauthorized}: 1}, accounts.Dropped)
	assert.Regexp(t, "Paused: ", exporter.LogText())
}

// Mimir stores the good samples of a request that it refuses for a bad one.
func TestMimirKeepsTheGoodSamplesOfARequestThatItRefuses(t *testing.T) {
	inBothVersions(t, func(t *testing.T, v version) {
		server := startMimir(t, "max_label_names_per_series: 5")
		exporter := rig.Start(t, server+"/api/v1/push", v.config, mimirWriter, asDemo)
		payload := rig.NewPayload()
		for i := range 10 {
			payload.Gauge("orders", start(), float64(i), "series", fmt.Sprint(i))
		}
		payload.Gauge("orders", start(), 10, "series", "10", "a", "1", "b", "1", "c", "1", "d", "1", "e", "1")
		exporter.SendAndSettle(payload.Metrics)
		accounts := exporter.Close()
		// An upper bound: the answer does not say how many were stored, with 2.0 neither.
		assert.Equal(t, map[rig.Drop]int64{{Reason: "rejected", Status: http.StatusBadRequest}: 11}, accounts.Dropped)
		assert.Len(t, inMimir(t, server, "demo"), 10)
	})
}

// A limit on active series answers 400, once, and what the limit leaves room for is stored.
func TestMimirsLimitOnSeries(t *testing.T) {
	server := startMimir(t, "max_global_series_per_user: 10")
	exporter := rig.Start(t, server+"/api/v1/push", mimirWriter, asDemo)
	exporter.SendAndSettle(orders(20))
	accounts := exporter.Close()
	assert.Equal(t, map[rig.Drop]int64{{Reason: "rejected", Status: http.StatusBadRequest}: 20}, accounts.Dropped)
	assert.Contains(t, exporter.LogText(), "err-mimir-max-series-per-user")
	assert.Len(t, inMimir(t, server, "demo"), 10)
}

// A request that is larger than the burst of the rate's limit is answered with 429, which waiting does not clear: the limit of the
// retries ends it.
func TestMimirsLimitOnTheRate(t *testing.T) {
	server := startMimir(t, "ingestion_rate: 10, ingestion_burst_size: 15")
	exporter := rig.Start(t, server+"/api/v1/push", mimirWriter, asDemo, "retry_on_failure: {max_retries: 3}")
	exporter.SendAndSettle(orders(20))
	exporter.SendAndSettle(orders(5))
	accounts := exporter.Close()
	assert.Equal(t, map[rig.Drop]int64{{Reason: "retries_exhausted", Status: http.StatusTooManyRequests}: 20}, accounts.Dropped)
	assert.Equal(t, int64(5), accounts.Delivered)
	assert.Len(t, inMimir(t, server, "demo"), 5)
}

// orders has a sample of each of n series.
func orders(n int) pmetric.Metrics {
	payload := rig.NewPayload()
	for i := range n {
		payload.Gauge("orders", start(), float64(i), "series", fmt.Sprint(i))
	}
	return payload.Metrics
}
