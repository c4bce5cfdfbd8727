// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/prometheus/promql/parser"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
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
