// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/confmap/confmaptest"
)

var metricName = regexp.MustCompile(`otelcol_[a-z0-9_]+`)

// TestMetricsInQueriesExist, in alerts, dashboard and documentation.
func TestMetricsInQueriesExist(t *testing.T) {
	known := map[string]bool{}
	for name, metric := range ownMetrics(t) {
		known[name] = true
		if metric["histogram"] != nil {
			known[name+"_bucket"], known[name+"_sum"], known[name+"_count"] = true, true, true
		}
	}
	for name := range standardMetrics {
		known[name] = true
	}
	texts := documents(t)
	dashboards, err := filepath.Glob("dashboards/*")
	require.NoError(t, err)
	require.Len(t, dashboards, 3)
	for _, path := range dashboards {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		texts[path] = string(text)
	}
	shown := map[string]bool{}
	for path, text := range texts {
		for _, name := range metricName.FindAllString(text, -1) {
			assert.True(t, known[name], "%s: there is no metric %s", path, name)
			if strings.HasSuffix(path, ".json") {
				shown[name] = true
			}
		}
	}
	for name, metric := range ownMetrics(t) {
		if metric["histogram"] != nil {
			name += "_bucket"
		}
		assert.True(t, shown[name], "the dashboard does not show %s", name)
	}
}

// TestLabelsInQueriesExist, in alerts, dashboard and documentation: what is grouped by is a label that the metrics have.
func TestLabelsInQueriesExist(t *testing.T) {
	known := []string{"job", "instance", "le", code("http.response.status_code")}
	for _, metric := range ownMetrics(t) {
		for _, attribute := range metric["attributes"].([]any) {
			if label := strings.ReplaceAll(attribute.(string), ".", "_"); !slices.Contains(known, label) {
				known = append(known, label)
			}
		}
	}
	queries := map[string]string{}
	block := regexp.MustCompile("(?s)\n```promql\n(.*?)\n```\n")
	for path, text := range documents(t) {
		for i, match := range block.FindAllStringSubmatch(text, -1) {
			queries[fmt.Sprintf("%s, query %d", path, i+1)] = match[1]
		}
	}
	for _, path := range []string{"dashboards/alerts.yaml", "dashboards/ordered_remote_write.json"} {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		queries[path] = string(text)
	}
	grouping := regexp.MustCompile(`\b(?:by|without) \(([^)]*)\)`)
	variable := regexp.MustCompile(`\{\{ *(?:\$labels\.)?([a-z_]+) *\}\}`)
	n := 0
	for where, query := range queries {
		var used []string
		for _, match := range grouping.FindAllStringSubmatch(query, -1) {
			used = append(used, strings.Split(match[1], ", ")...)
		}
		for _, match := range variable.FindAllStringSubmatch(query, -1) {
			used = append(used, match[1])
		}
		for _, label := range used {
			if quoted := strings.Trim(label, `"`); quoted != label {
				label = code(quoted)
			}
			assert.Contains(t, known, label, where)
			n++
		}
	}
	assert.Greater(t, n, 50)
}

// TestAlertsCoverAllReasons: each reason raises one alert, and the documentation says what to do about each alert.
func TestAlertsCoverAllReasons(t *testing.T) {
	conf, err := confmaptest.LoadConf("dashboards/alerts.yaml")
	require.NoError(t, err)
	operations := documents(t)["docs/operations.md"]
	selected := regexp.MustCompile(`reason=~"([^"]*)"`)
	covered := map[string]string{}
	groups := conf.Get("groups").([]any)
	require.Len(t, groups, 1)
	for _, r := range groups[0].(map[string]any)["rules"].([]any) {
		rule := r.(map[string]any)
		name := rule["alert"].(string)
		_, section, ok := strings.Cut(operations, "\n### "+name+"\n")
		assert.True(t, ok, "docs/operations.md does not say what to do about %s", name)
		section, _, _ = strings.Cut(section, "\n#")
		assert.NotEmpty(t, strings.TrimSpace(section), name)
		assert.Contains(t, rule["annotations"].(map[string]any)["runbook_url"], "docs/operations.md#"+strings.ToLower(name))
		for i, match := range selected.FindAllStringSubmatch(rule["expr"].(string), -1) {
			if i > 0 {
				assert.Equal(t, selected.FindString(rule["expr"].(string)), match[0], name)
			}
			for _, reason := range strings.Split(match[1], "|") {
				other := covered[reason]
				assert.True(t, other == "" || other == name, "%s raises %s and %s", reason, other, name)
				covered[reason] = name
			}
		}
	}
	assert.ElementsMatch(t, reasons(), slices.Collect(maps.Keys(covered)))
}

// TestDashboardCanBeRead without the source: each panel has a description, a unit and a legend, and no two have one place.
func TestDashboardCanBeRead(t *testing.T) {
	ids := map[int]bool{}
	for _, panel := range dashboardPanels(t) {
		assert.False(t, ids[panel.ID], "two panels %d", panel.ID)
		ids[panel.ID] = true
		assert.NotEmpty(t, panel.Title)
		assert.LessOrEqual(t, panel.GridPos.X+panel.GridPos.W, 24, panel.Title)
		if panel.Type == "row" {
			continue
		}
		assert.NotEmpty(t, panel.Description, panel.Title)
		assert.NotEmpty(t, panel.FieldConfig.Defaults.Unit, panel.Title)
		for _, target := range panel.Targets {
			assert.NotEmpty(t, target.LegendFormat, panel.Title)
		}
	}
}

// TestThresholdsOfTheDashboard are those of the alerts.
func TestThresholdsOfTheDashboard(t *testing.T) {
	conf, err := confmaptest.LoadConf("dashboards/alerts.yaml")
	require.NoError(t, err)
	thresholds := map[string][]float64{}
	for _, r := range conf.Get("groups").([]any)[0].(map[string]any)["rules"].([]any) {
		rule := r.(map[string]any)
		for _, match := range regexp.MustCompile(`(?m)^(2 \* )?.* (?:>|==) ([0-9.]+)$`).FindAllStringSubmatch(rule["expr"].(string), -1) {
			value, err := strconv.ParseFloat(match[2], 64)
			require.NoError(t, err)
			if match[1] != "" {
				value /= 2
			}
			name := strings.TrimPrefix(rule["alert"].(string), "OrderedRemoteWrite")
			thresholds[name] = append(thresholds[name], value)
		}
	}
	alert := map[string]string{
		"Fill of the queue": "QueueIsNearlyFull", "Oldest sample": "IsLate", "Retries": "Retries", "Gate and pause": "IsPaused",
	}
	for _, panel := range dashboardPanels(t) {
		name, ok := alert[panel.Title]
		if !ok {
			continue
		}
		delete(alert, panel.Title)
		var steps []float64
		for _, step := range panel.FieldConfig.Defaults.Thresholds.Steps {
			if step.Value != nil {
				steps = append(steps, *step.Value)
			}
		}
		assert.ElementsMatch(t, thresholds[name], steps, panel.Title)
	}
	assert.Empty(t, alert, "no such panels")
}

// dashboardPanel is what the tests look at.
type dashboardPanel struct {
	ID                       int
	Type, Title, Description string
	GridPos                  struct{ H, W, X, Y int }
	Targets                  []struct{ LegendFormat string }
	FieldConfig              struct {
		Defaults struct {
			Unit       string
			Thresholds struct{ Steps []struct{ Value *float64 } }
		}
	}
}

func dashboardPanels(t *testing.T) []dashboardPanel {
	t.Helper()
	text, err := os.ReadFile("dashboards/ordered_remote_write.json")
	require.NoError(t, err)
	var dashboard struct{ Panels []dashboardPanel }
	require.NoError(t, json.Unmarshal(text, &dashboard))
	require.NotEmpty(t, dashboard.Panels)
	return dashboard.Panels
}

// TestEveryAlertIsTested: alerts_test.yaml raises each of them. promtool runs it (integration/dashboards_test.go).
func TestEveryAlertIsTested(t *testing.T) {
	rules, err := confmaptest.LoadConf("dashboards/alerts.yaml")
	require.NoError(t, err)
	tests, err := confmaptest.LoadConf("dashboards/alerts_test.yaml")
	require.NoError(t, err)
	raised := map[any]bool{}
	for _, test := range tests.Get("tests").([]any) {
		test := test.(map[string]any)
		assert.NotEmpty(t, test["promql_expr_test"], "%s: what else is raised?", test["name"])
		expected, _ := test["alert_rule_test"].([]any)
		for _, e := range expected {
			if e := e.(map[string]any); len(e["exp_alerts"].([]any)) > 0 {
				raised[e["alertname"]] = true
			}
		}
	}
	for _, r := range rules.Get("groups").([]any)[0].(map[string]any)["rules"].([]any) {
		name := r.(map[string]any)["alert"]
		assert.True(t, raised[name], "no test raises %s", name)
	}
}
