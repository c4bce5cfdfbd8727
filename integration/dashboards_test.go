package integration

import (
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/promql/promqltest"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// alerts loads the alert rules as Prometheus does, their templates included.
func alerts(t *testing.T) []rulefmt.Rule {
	groups, errs := rulefmt.ParseFile("../dashboards/alerts.yaml", false, model.UTF8Validation,
		parser.NewParser(parser.Options{}), slog.New(slog.DiscardHandler))
	require.Empty(t, errs)
	require.Len(t, groups.Groups, 1)
	return groups.Groups[0].Rules
}

// Each alert is raised by its situation, and by no other, and none by an exporter that is well.
func TestAlerts(t *testing.T) {
	const well = `load 1m
		received_samples 0+1000x60
		delivered_samples 0+1000x60
		queued_samples 10x60
		refused_samples 0x60
		queue_size 100x60
		queue_capacity 1000x60
		largest_partition 100x60
		oldest_sample_age 1x60
		paused 0x60
		gate_closed 0x60
		requests{http_response_status_code="204"} 0+100x60
		retries 0+1x60
		fallback 0x60
		dead_letters{outcome="failed"} 0x60
		dead_letters{outcome="removed"} 0x60
		dead_letters{outcome="skipped"} 0x60
		dead_letters{outcome="written"} 0x60
	`
	// In each situation these series are added, or take the place of those of the same name. They end after an hour.
	for _, tc := range []struct {
		name, series string
		alerts       []string
	}{
		{"all is well", "", nil},
		{"an old drop", `dropped_samples{reason="queue_full"} 7x60`, nil},
		{"the first drop", `dropped_samples{reason="queue_full"} _x55 7x5`, []string{"OrderedRemoteWriteLosesSamples"}},
		{"more drops", `dropped_samples{reason="shutdown"} 7x55 9x5`, []string{"OrderedRemoteWriteLosesSamples"}},
		{"403", `dropped_samples{reason="fatal",http_response_status_code="403"} _x55 7x5`, []string{"OrderedRemoteWriteEndpointIsWrong"}},
		{"400", `dropped_samples{reason="rejected",http_response_status_code="400"} _x55 7x5`, []string{"OrderedRemoteWriteIsRejected"}},
		{"delta", `dropped_samples{reason="delta_temporality"} 0+1x60`, []string{"OrderedRemoteWriteCannotTranslate"}},
		{"late samples", `dropped_samples{reason="out_of_order"} 0+1x60`, []string{"OrderedRemoteWriteSeesDisorder"}},
		{"future samples", `dropped_samples{reason="too_new"} 0+1x60`, []string{"OrderedRemoteWriteSeesDisorder"}},
		{"a pause", `paused 1x60`, []string{"OrderedRemoteWriteIsPaused"}},
		{"the end", `received_samples 0+1x54`, []string{"OrderedRemoteWriteIsGone"}},
		{"a refused payload", `refused_samples 0x58 100x2`, []string{"OrderedRemoteWriteRefusesPayloads"}},
		{"a full queue", `queue_size 900x60`, []string{"OrderedRemoteWriteQueueIsNearlyFull"}},
		{"a stuck partition", `largest_partition 450x60`, []string{"OrderedRemoteWriteQueueIsNearlyFull"}},
		{"an old sample", `oldest_sample_age 0+60x60`, []string{"OrderedRemoteWriteIsLate"}},
		{"retries", `retries 0+90x60`, []string{"OrderedRemoteWriteRetries"}},
		{"a full disk", `dead_letters{outcome="failed"} 0x55 1x5`, []string{"OrderedRemoteWriteDeadLettersFail"}},
		{"old letters", `dead_letters{outcome="removed"} 0x55 1x5`, []string{"OrderedRemoteWriteDeadLettersAreRemoved"}},
		{"a 1.0 endpoint", `fallback 1x60`, []string{"OrderedRemoteWriteFallsBack"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var lines []string
			replaced, _, _ := strings.Cut(tc.series, " ")
			for _, line := range strings.Split(well+tc.series, "\n") {
				line = strings.TrimSpace(line)
				if name, values, ok := strings.Cut(line, " "); ok && name != "load" {
					if name == replaced && line != tc.series {
						continue
					}
					name, labels, _ := strings.Cut(name, "{")
					line = `otelcol_exporter_ordered_remote_write_` + name + `{job="c", instance="c", exporter="e", ` +
						strings.TrimSuffix(labels, "}") + "} " + values
				}
				lines = append(lines, line)
			}
			storage := promqltest.LoadedStorage(t, strings.Join(lines, "\n"))
			engine := promqltest.NewTestEngine(t, false, 0, promqltest.DefaultMaxSamplesPerQuery)
			var raised []string
			for _, rule := range alerts(t) {
				query, err := engine.NewInstantQuery(t.Context(), storage, nil, rule.Expr, time.Unix(3600, 0))
				require.NoError(t, err)
				defer query.Close()
				result := query.Exec(t.Context())
				require.NoError(t, result.Err)
				vector, err := result.Vector()
				require.NoError(t, err)
				if len(vector) > 0 {
					raised = append(raised, rule.Alert)
				}
			}
			assert.Equal(t, tc.alerts, raised)
		})
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
