// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/confmap/confmaptest"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/metadata"
)

// documents returns the texts of the pages by their paths.
func documents(t *testing.T) map[string]string {
	t.Helper()
	paths, err := filepath.Glob("docs/*.md")
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	texts := make(map[string]string)
	for _, path := range append(paths, "README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md") {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		texts[path] = string(text)
	}
	return texts
}

// yamlTexts returns the YAML blocks of the documents, and the examples.
func yamlTexts(t *testing.T) map[string]string {
	t.Helper()
	block := regexp.MustCompile("(?s)\n```yaml\n(.*?)\n```\n")
	texts := make(map[string]string)
	for path, text := range documents(t) {
		for i, match := range block.FindAllStringSubmatch(text, -1) {
			texts[fmt.Sprintf("%s, block %d", path, i+1)] = match[1]
		}
	}
	examples, err := filepath.Glob("examples/*.yaml")
	require.NoError(t, err)
	require.NotEmpty(t, examples)
	for _, path := range append(examples, "deploy/collector.yaml") {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		texts[path] = string(text)
	}
	return texts
}

var environment = regexp.MustCompile(`\$\{env:[A-Za-z_][A-Za-z0-9_]*(:-([^}]*))?\}`)

// TestConfigurationsInTheDocumentationAreValid, with the defaults of environment variables.
func TestConfigurationsInTheDocumentationAreValid(t *testing.T) {
	exporters := 0
	for where, text := range yamlTexts(t) {
		t.Run(where, func(t *testing.T) {
			for _, variable := range environment.FindAllStringSubmatch(text, -1) {
				assert.NotEmpty(t, variable[1], "%s has no default", variable[0])
			}
			retrieved, err := confmap.NewRetrievedFromYAML([]byte(environment.ReplaceAllString(text, "$2")))
			require.NoError(t, err)
			conf, err := retrieved.AsConf()
			require.NoError(t, err)
			all, ok := conf.Get("exporters").(map[string]any)
			if !ok {
				return
			}
			for id := range all {
				if typ, _, _ := strings.Cut(id, "/"); typ != metadata.Type.String() {
					continue
				}
				sub, err := conf.Sub("exporters::" + id)
				require.NoError(t, err)
				_, err = load(sub)
				require.NoError(t, err)
				exporters++
			}
			checkPipelines(t, conf)
		})
	}
	assert.Greater(t, exporters, 8)
}

// TestPathsOfBackends: the page has the path that the example writes to.
func TestPathsOfBackends(t *testing.T) {
	cell := regexp.MustCompile("^\\[[^]]*\\]\\(\\.\\./(examples/[^)]*)\\): `([^`]+)`")
	n := 0
	for _, row := range table(t, "docs/backends.md", "| Backend | Example, and the end of the endpoint's path | Reads 2.0 | Tested |") {
		match := cell.FindStringSubmatch(row[1])
		if match == nil {
			continue
		}
		text, err := os.ReadFile(match[1])
		require.NoError(t, err)
		endpoint := regexp.MustCompile(`(?m)^ +endpoint: \$\{env:REMOTE_WRITE_ENDPOINT:-([^}?]*)`).FindSubmatch(text)
		require.NotNil(t, endpoint, match[1])
		assert.True(t, strings.HasSuffix(string(endpoint[1]), match[2]), "%s: %s, and not %s", row[0], endpoint[1], match[2])
		n++
	}
	assert.Equal(t, 8, n)
}

// checkPipelines checks that what a pipeline names is configured, and the other way round.
func checkPipelines(t *testing.T, conf *confmap.Conf) {
	pipelines, ok := conf.Get("service::pipelines").(map[string]any)
	require.True(t, ok, "no pipelines")
	for _, kind := range []string{"receivers", "processors", "exporters"} {
		var used []string
		for _, pipeline := range pipelines {
			names, _ := pipeline.(map[string]any)[kind].([]any)
			for _, name := range names {
				used = append(used, fmt.Sprint(name))
			}
		}
		configured, _ := conf.Get(kind).(map[string]any)
		assert.ElementsMatch(t, used, slices.Collect(maps.Keys(configured)), kind)
	}
}

// TestBuilderManifestOfTheREADME has versions that are known to build together.
func TestBuilderManifestOfTheREADME(t *testing.T) {
	tested, err := os.ReadFile("builder-config.yaml")
	require.NoError(t, err)
	n := 0
	for where, text := range yamlTexts(t) {
		if !strings.HasPrefix(where, "README.md") {
			continue
		}
		for _, line := range strings.Split(text, "\n") {
			if strings.Contains(line, "gomod:") {
				assert.Contains(t, string(tested), line+"\n")
				n++
			}
		}
	}
	assert.Equal(t, 7, n)
}

// table returns the rows of the table of a document that has this header, each cell without surrounding space.
func table(t *testing.T, path, header string) [][]string {
	t.Helper()
	_, rest, ok := strings.Cut(documents(t)[path], "\n"+header+"\n")
	require.True(t, ok, "no table %s", header)
	var rows [][]string
	for _, line := range strings.Split(rest, "\n")[1:] {
		if !strings.HasPrefix(line, "|") {
			break
		}
		cells := strings.Split(strings.Trim(line, "|"), "|")
		for i := range cells {
			cells[i] = strings.TrimSpace(cells[i])
		}
		require.Len(t, cells, strings.Count(header, "|")-1, line)
		rows = append(rows, cells)
	}
	require.NotEmpty(t, rows)
	return rows
}

func code(s string) string { return "`" + s + "`" }

// TestTheREADMEIsADoor, and no manual: what does not fit belongs into docs.
func TestTheREADMEIsADoor(t *testing.T) {
	readme := documents(t)["README.md"]
	assert.LessOrEqual(t, len(readme), 9<<10)
	pages, err := filepath.Glob("docs/*.md")
	require.NoError(t, err)
	for _, page := range pages {
		assert.Contains(t, readme, "]("+filepath.ToSlash(page), "nothing in the README leads to %s", page)
	}
	conf, err := confmaptest.LoadConf("metadata.yaml")
	require.NoError(t, err)
	for stability, signals := range conf.Get("status::stability").(map[string]any) {
		assert.Equal(t, []any{"metrics"}, signals)
		assert.Contains(t, readme, "The stability is ["+stability+"]")
	}
}

// TestFiguresOfTheREADME: what make loadtest has measured stands in the page that says how. integration/comparison_test.go
// measures the others.
func TestFiguresOfTheREADME(t *testing.T) {
	rows := table(t, "README.md", "| Next to `prometheus_remote_write` v0.164 | This exporter | `prometheus_remote_write` |")
	require.Len(t, rows, 6)
	performance := documents(t)["docs/performance.md"]
	for _, row := range rows[3:] {
		for _, cell := range row[1:] {
			figure, unit, ok := strings.Cut(cell, " ")
			require.True(t, ok, row)
			assert.Contains(t, []string{"s", "MB"}, unit)
			assert.Contains(t, performance, " "+figure+" (", row)
		}
	}
}

// defaults returns the options with their defaults, as the documentation writes them.
func defaults(t *testing.T) map[string]string {
	want := make(map[string]string)
	for key, value := range optionsOf(createDefaultConfig()) {
		switch value := value.(type) {
		case string:
			if value == "" {
				value = `""`
			}
			want[key] = code(value)
		case *component.ID:
			want[key] = "none"
		case map[string]string:
			want[key] = code("{}")
		case []string:
			want[key] = code("[]")
		case time.Duration:
			want[key] = code(shortDuration(value))
		default:
			want[key] = code(fmt.Sprint(value))
		}
	}
	cfg := createDefaultConfig().(*Config)
	want["http.endpoint"] = "none, required"
	want["http.timeout"] = code(shortDuration(cfg.HTTP.Timeout))
	want["http.headers"] = code("{}")
	want["http.compression"] = code(`""`)
	want["http.keepalive.max_idle_conns_per_host"] = code("max_in_flight")
	want["http.*"] = ""
	cfg.Partitions, cfg.MaxInFlight = 64, 37
	require.Equal(t, 37, cfg.clientConfig().Keepalive.Get().MaxIdleConnsPerHost)
	require.Empty(t, cfg.HTTP.Headers)
	require.Empty(t, cfg.HTTP.Compression)
	return want
}

// TestOptionsInTheREADME have the defaults that they have in the code.
func TestOptionsInTheREADME(t *testing.T) {
	want := defaults(t)
	rows := table(t, "README.md", "| Option | Default | What for |")
	for _, row := range rows {
		if !strings.Contains(row[0], ",") {
			assert.Equal(t, want[strings.Trim(row[0], "`")], row[1], row[0])
		}
	}
	assert.LessOrEqual(t, len(rows), 15)
}

// TestOptionsInTheDocumentation: the table names every option with its default.
func TestOptionsInTheDocumentation(t *testing.T) {
	want := defaults(t)
	got := make(map[string]string)
	for _, row := range table(t, "docs/configuration.md", "| Option | Default | Meaning |") {
		key := strings.Trim(row[0], "`")
		assert.NotContains(t, got, key)
		got[key] = row[1]
		assert.NotEmpty(t, row[2], key)
	}
	assert.Equal(t, want, got)
}

// shortDuration is how a person writes a duration: 1h rather than 1h0m0s.
func shortDuration(d time.Duration) string {
	s := strings.TrimSuffix(d.String(), "m0s")
	if s != d.String() {
		s += "m"
	}
	return strings.TrimSuffix(s, "h0m") + map[bool]string{true: "h"}[strings.HasSuffix(s, "h0m")]
}

// ownMetrics returns the metrics of metadata.yaml by the names that they are emitted with.
func ownMetrics(t *testing.T) map[string]map[string]any {
	t.Helper()
	conf, err := confmaptest.LoadConf("metadata.yaml")
	require.NoError(t, err)
	metrics := make(map[string]map[string]any)
	for name, metric := range conf.Get("telemetry::metrics").(map[string]any) {
		metrics["otelcol_"+name] = metric.(map[string]any)
	}
	return metrics
}

// standardMetrics are those of every exporter of the Collector that this one has.
var standardMetrics = map[string]string{
	"otelcol_exporter_sent_metric_points":        "counter",
	"otelcol_exporter_send_failed_metric_points": "counter",
	"otelcol_exporter_in_flight_requests":        "gauge",
}

// TestMetricsInTheDocumentation: the table names every metric with its type and attributes.
func TestMetricsInTheDocumentation(t *testing.T) {
	want := map[string]string{}
	for name, metric := range ownMetrics(t) {
		typ := "counter"
		for _, kind := range []string{"gauge", "histogram"} {
			if metric[kind] != nil {
				typ = kind
			}
		}
		switch metric["unit"] {
		case "By":
			typ += ", bytes"
		case "s":
			typ += ", seconds"
		}
		var attributes []string
		for _, attribute := range metric["attributes"].([]any) {
			attributes = append(attributes, code(attribute.(string)))
		}
		want[name] = typ + ": " + strings.Join(attributes, ", ")
	}
	for name, typ := range standardMetrics {
		want[name] = typ + ": `exporter`"
	}
	want["otelcol_exporter_in_flight_requests"] += ", `data_type`"

	got := map[string]string{}
	for _, row := range table(t, "docs/metrics.md", "| Metric | Type | Attributes | Meaning |") {
		got[strings.Trim(row[0], "`")] = row[1] + ": " + row[2]
		assert.NotEmpty(t, row[3], row[0])
	}
	assert.Equal(t, want, got)
}

// TestMetricsAreNoRatios: a gauge of the unit 1 would get _ratio behind its name from whatever makes Prometheus's names of it,
// like this exporter, and queries would not find it.
func TestMetricsAreNoRatios(t *testing.T) {
	for name, metric := range ownMetrics(t) {
		require.Contains(t, metric, "unit", name)
		assert.NotEqual(t, "1", metric["unit"], name)
	}
}

// reasons are the names of all reasons, in the order of the way of a sample.
func reasons() (names []string) {
	for r := account.NoReason + 1; r < account.Reasons; r++ {
		names = append(names, r.String())
	}
	return names
}

// TestReasonsInTheDocumentation: the table names every reason, in the order of the way of a sample.
func TestReasonsInTheDocumentation(t *testing.T) {
	var want, got []string
	for _, name := range reasons() {
		want = append(want, code(name))
	}
	for _, row := range table(t, "docs/metrics.md", "| Reason | What it means | What to do | Number |") {
		got = append(got, row[0])
		assert.NotContains(t, row, "", "an empty cell for %s", row[0])
	}
	assert.Equal(t, want, got)
}

// TestHintsInTheDocumentation: what the table advises begins with what the log says.
func TestHintsInTheDocumentation(t *testing.T) {
	for i, row := range table(t, "docs/metrics.md", "| Reason | What it means | What to do | Number |") {
		hint := account.Reason(i + 1).Hint()
		require.NotEmpty(t, hint, row[0])
		assert.True(t, strings.HasPrefix(strings.ReplaceAll(row[2], "`", ""), hint), "%s: the hint is %q, the table has %q", row[0], hint, row[2])
	}
}

// TestLogLinesInTheDocumentation: the code writes each line of the table, at its level.
func TestLogLinesInTheDocumentation(t *testing.T) {
	sources, err := filepath.Glob("*.go")
	require.NoError(t, err)
	call := regexp.MustCompile(`\.(?:(Info|Warn|Error)\(|Check\(zap\.(Debug)Level, )"([^"]+)"`)
	written := map[string][]string{}
	for _, path := range sources {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		for _, match := range call.FindAllStringSubmatch(string(text), -1) {
			level := strings.ToLower(match[1] + match[2])
			written[level] = append(written[level], match[3])
		}
	}
	for _, row := range table(t, "docs/metrics.md", "| Line | Level | What it says |") {
		line := strings.Trim(row[0], "`")
		found := slices.ContainsFunc(written[row[1]], func(message string) bool { return strings.Contains(message, line) })
		assert.True(t, found, "nothing writes %q at the level %s", line, row[1])
	}
}

// TestPagesOfTheLog: where log lines send their reader, there is something to read.
func TestPagesOfTheLog(t *testing.T) {
	texts := documents(t)
	for _, page := range []string{pageReasons, pageAnswers, pagePause, pageQueue} {
		path, anchor, ok := strings.Cut(strings.TrimPrefix(page, pages), "#")
		require.True(t, ok, page)
		assert.Contains(t, anchorsOf(texts["docs/"+path]), anchor, page)
	}
}

var (
	link    = regexp.MustCompile(`\]\(([^)]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	noWord  = regexp.MustCompile(`[^a-z0-9 _-]`)
)

// anchorsOf returns those of a page's headings.
func anchorsOf(text string) (anchors []string) {
	for _, match := range heading.FindAllStringSubmatch(text, -1) {
		anchors = append(anchors, strings.ReplaceAll(noWord.ReplaceAllString(strings.ToLower(match[1]), ""), " ", "-"))
	}
	return anchors
}

// TestLinksInTheDocumentation that stay in the repository lead to files and headings that exist.
func TestLinksInTheDocumentation(t *testing.T) {
	texts := documents(t)
	for path, text := range texts {
		for _, match := range link.FindAllStringSubmatch(text, -1) {
			target, anchor, hasAnchor := strings.Cut(match[1], "#")
			if strings.Contains(target, "://") {
				continue
			}
			if target == "" {
				target = path
			} else {
				target = filepath.ToSlash(filepath.Join(filepath.Dir(path), target))
			}
			_, err := os.Stat(target)
			require.NoError(t, err, "%s: %s", path, match[1])
			if hasAnchor {
				assert.Contains(t, anchorsOf(texts[target]), anchor, "%s: %s", path, match[1])
			}
		}
	}
}

// TestWordsOfThePackage: doc.go teaches the words of the project, each with the file in which its type stands.
func TestWordsOfThePackage(t *testing.T) {
	text, err := os.ReadFile("doc.go")
	require.NoError(t, err)
	words := regexp.MustCompile(`(?m)^//\t(\w+) +(\S+\.go) +\S`).FindAllStringSubmatch(string(text), -1)
	require.Len(t, words, 10)
	for _, word := range words {
		file, err := os.ReadFile(word[2])
		require.NoError(t, err, word[1])
		assert.Regexp(t, `(?mi)^type `+word[1]+` `, string(file), word[2])
	}
}
