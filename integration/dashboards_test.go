// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql/parser"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/orderedremotewrite/orderedremotewriteexporter/integration/internal/otelcol"
	"github.com/orderedremotewrite/orderedremotewriteexporter/integration/internal/promserver"
)

// promtool checks the alert rules, templates included, and runs their tests: each alert is raised by its situation and by no
// other, and none by an exporter that is well.
func TestAlerts(t *testing.T) {
	out, err := exec.Command("make", "-C", "..", "build/tools/promtool").CombinedOutput()
	require.NoError(t, err, string(out))
	promtool, err := filepath.Abs("../build/tools/promtool")
	require.NoError(t, err)
	for _, args := range [][]string{{"check", "rules", "--lint-fatal", "alerts.yaml"}, {"test", "rules", "alerts_test.yaml"}} {
		cmd := exec.Command(promtool, args...)
		cmd.Dir = "../dashboards"
		out, err := cmd.CombinedOutput()
		t.Logf("promtool %s\n%s", strings.Join(args, " "), out)
		assert.NoError(t, err)
	}
}

// Prometheus can read every query of the dashboard.
func TestPrometheusReadsTheDashboard(t *testing.T) {
	text, err := os.ReadFile("../dashboards/ordered_remote_write.json")
	require.NoError(t, err)
	var dashboard struct {
		Panels []struct {
			Type    string
			Title   string
			Targets []struct{ Expr string }
		}
	}
	require.NoError(t, json.Unmarshal(text, &dashboard))
	variables := strings.NewReplacer("$__rate_interval", "1m", "$__range", "1h", "$job", ".+", "$instance", ".+", "$exporter", ".+")
	for _, panel := range dashboard.Panels {
		assert.Equal(t, panel.Type == "row", len(panel.Targets) == 0, panel.Title)
		for _, target := range panel.Targets {
			_, err := parser.NewParser(parser.Options{}).ParseExpr(variables.Replace(target.Expr))
			assert.NoError(t, err, "%s: %s", panel.Title, target.Expr)
		}
	}
}

// Every query of the dashboard shows something of a collector that runs and has met errors, with the labels that its legend
// names. Those that count what has not happened begin with 0.
func TestDashboardShowsARunningCollector(t *testing.T) {
	server := promserver.Start(t)
	server.Intercept(func(r *promserver.Request) promserver.Fault {
		switch r.Number {
		case 2:
			return promserver.Fault{Status: http.StatusInternalServerError}
		case 4:
			return promserver.Fault{Status: http.StatusBadRequest}
		default:
			return promserver.Fault{}
		}
	})
	otlp, telemetry := otelcol.FreeAddress(t), otelcol.FreeAddress(t)
	state := t.TempDir()
	c := startCollector(t, []string{"REMOTE_WRITE_ENDPOINT=" + server.Endpoint(), "STATE_DIRECTORY=" + state}, append(append(
		[]string{"../examples/storage.yaml"}, ownPorts(otlp)...),
		"yaml:exporters::ordered_remote_write: {protobuf_message: io.prometheus.write.v2.Request, batch: {flush_timeout: 10ms}, dead_letter: {directory: "+state+"/letters}}",
		"yaml:service::telemetry::metrics: {level: normal, readers: [{pull: {exporter: {prometheus: {host: 127.0.0.1, port: "+
			telemetry[strings.LastIndexByte(telemetry, ':')+1:]+", without_type_suffix: true, without_units: true, without_scope_info: true}}}}]}")...)
	c.WaitReady(t)

	metrics := promserver.Start(t)
	begun := time.Now().Add(-time.Hour)
	const rounds = 6
	for round := range rounds {
		var page string
		require.Eventually(t, func() bool {
			page, _ = get(t, "http://"+telemetry+"/metrics")
			return settled(page, 2*round)
		}, time.Minute, 20*time.Millisecond, "round %d", round)
		metrics.Store(page, begun.Add(time.Duration(round)*15*time.Second), "collectors", "a:8888")
		sendBackwards(t, otlp)
	}
	c.MustStop(t)

	text, err := os.ReadFile("../dashboards/ordered_remote_write.json")
	require.NoError(t, err)
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr, LegendFormat string }
		}
	}
	require.NoError(t, json.Unmarshal(text, &dashboard))
	variables := strings.NewReplacer("$__rate_interval", "1m", "$__range", "1h", "$job", ".+", "$instance", ".+", "$exporter", ".+")
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			vector := metrics.Query(variables.Replace(target.Expr), begun.Add((rounds-1)*15*time.Second))
			assert.NotEmpty(t, vector, "%s: %s", panel.Title, target.Expr)
			for _, sample := range vector {
				assert.False(t, math.IsNaN(sample.F), "%s: %s", panel.Title, target.Expr)
				for _, label := range regexp.MustCompile(`\{\{ *(\w+) *\}\}`).FindAllStringSubmatch(target.LegendFormat, -1) {
					assert.NotEmpty(t, sample.Metric.Get(label[1]), "%s: %s", panel.Title, target.LegendFormat)
				}
			}
		}
	}
}

// settled says whether as many samples were received as a page of metrics must have, and all of them have their outcome.
func settled(page string, received int) bool {
	sum := func(name string) (n float64) {
		for _, match := range regexp.MustCompile(`(?m)^otelcol_exporter_ordered_remote_write_`+name+`_samples\{[^}]*\} (\S+)$`).FindAllStringSubmatch(page, -1) {
			v, err := strconv.ParseFloat(match[1], 64)
			if err != nil {
				return math.NaN()
			}
			n += v
		}
		return n
	}
	return sum("received") == float64(received) && sum("delivered")+sum("dropped") == float64(received)
}

// sendBackwards sends two samples of a series, the newer one first.
func sendBackwards(t *testing.T, otlp string) {
	t.Helper()
	now := time.Now()
	resp, err := http.Post("http://"+otlp+"/v1/metrics", "application/json", strings.NewReader(fmt.Sprintf(
		`{"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": "example.value", "gauge": {"dataPoints": [
			{"timeUnixNano": "%d", "asInt": "2"}, {"timeUnixNano": "%d", "asInt": "1"}]}}]}]}]}`,
		now.UnixNano(), now.Add(-5*time.Millisecond).UnixNano())))
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusOK, resp.StatusCode)
}

// Prometheus can read every query in the documentation.
func TestPrometheusReadsTheQueriesInTheDocumentation(t *testing.T) {
	files, err := filepath.Glob("../docs/*.md")
	require.NoError(t, err)
	n := 0
	for _, file := range append(files, "../README.md") {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, block := range regexp.MustCompile("(?s)```promql\n(.*?)```").FindAllStringSubmatch(string(text), -1) {
			_, err := parser.NewParser(parser.Options{}).ParseExpr(block[1])
			assert.NoError(t, err, "%s: %s", file, block[1])
			n++
		}
	}
	assert.Positive(t, n)
}
