// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var updateDifferences = flag.Bool("update-differences", false, "write testdata/differences.txt anew")

// recordedDifferences are all differences, each with its class.
const recordedDifferences = "testdata/differences.txt"

// The other translators, as they are called in the list of differences.
const (
	byContrib    = "contrib"
	byPrometheus = "Prometheus"
)

// What this exporter sends is compared with what contrib's translator and Prometheus's own make of the same, case by case.
// Each difference must be one of a known class, which docs/translation.md explains, and the very one that is recorded. What
// changes here, or in a new version of the others, shows up.
func TestDifferencesFromOtherTranslators(t *testing.T) {
	cases := theCorpus()
	names := make(map[string]bool)
	var lines []string
	identical := 0
	counts := map[string]map[string]int{byContrib: {}, byPrometheus: {}}
	for _, c := range cases {
		require.False(t, names[c.name], "two cases are named %s", c.name)
		names[c.name] = true
		here := c.how.here(t, c.metrics)
		same := true
		for _, other := range []struct {
			name   string
			result []outcome
		}{{byContrib, c.how.contrib(c.metrics)}, {byPrometheus, c.how.prometheus(c.metrics)}} {
			classes := make(map[string]bool)
			for _, d := range differences(here, other.result) {
				same = false
				class := classOf(c.name, &d)
				if class == "" {
					t.Errorf("%s: a difference from %s of no known class: %s", c.name, other.name, &d)
				}
				classes[class] = true
				lines = append(lines, fmt.Sprintf("%s | %s | %s | %s", c.name, other.name, class, &d))
			}
			for class := range classes {
				counts[other.name][class]++
			}
		}
		if same {
			identical++
		}
	}
	assert.GreaterOrEqual(t, len(cases), 150)
	t.Logf("%d cases, %d identical in all three", len(cases), identical)
	assert.Contains(t, translationPage(t), fmt.Sprintf("a corpus of %d payloads by all three: %d of them come out identical", len(cases), identical))
	for _, c := range differenceClasses {
		t.Logf("%s: in %d cases from contrib, in %d from Prometheus", c.name, counts[byContrib][c.name], counts[byPrometheus][c.name])
		assert.Equal(t, c.contrib, counts[byContrib][c.name] > 0, "%s: whether contrib differs", c.name)
		assert.Equal(t, c.prometheus, counts[byPrometheus][c.name] > 0, "%s: whether Prometheus differs", c.name)
	}
	compareRecorded(t, lines)
}

// classOf is the class of a difference in a case, or "".
func classOf(name string, d *difference) string {
	for i := range differenceClasses {
		if differenceClasses[i].matches(name, d) {
			return differenceClasses[i].name
		}
	}
	return ""
}

func compareRecorded(t *testing.T, lines []string) {
	t.Helper()
	if *updateDifferences {
		require.NoError(t, os.WriteFile(recordedDifferences, []byte(strings.Join(lines, "\n")+"\n"), 0o644))
	}
	recorded, err := os.ReadFile(recordedDifferences)
	require.NoError(t, err)
	known, found := make(map[string]bool), make(map[string]bool)
	for _, line := range strings.Split(strings.TrimSuffix(string(recorded), "\n"), "\n") {
		known[line] = true
	}
	for _, line := range lines {
		if found[line] = true; !known[line] {
			t.Errorf("not recorded (run with -update-differences if it is right): %s", line)
		}
	}
	for _, line := range slices.Sorted(maps.Keys(known)) {
		if !found[line] {
			t.Errorf("recorded, but no longer so: %s", line)
		}
	}
}

func translationPage(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../docs/translation.md")
	require.NoError(t, err)
	return string(page)
}

// The page of the documentation has a row for each class, and says of who is right what the classes say.
func TestDifferencesAreDocumented(t *testing.T) {
	page := translationPage(t)
	modules, err := os.ReadFile("go.mod")
	require.NoError(t, err)
	for _, module := range []string{"prometheus/prometheus", "pkg/translator/prometheusremotewrite"} {
		version := regexp.MustCompile(module + ` (v\S+)`).FindSubmatch(modules)
		require.NotNil(t, version, module)
		assert.Contains(t, page, string(version[1]), "the version of %s that is compared", module)
	}
	rows := make(map[string][]string)
	for _, line := range strings.Split(page, "\n") {
		cells := strings.Split(strings.Trim(line, "| "), " | ")
		if len(cells) == 5 && !strings.HasPrefix(cells[0], "---") && cells[0] != "Difference" {
			rows[cells[0]] = cells
		}
	}
	var undocumented []string
	for _, c := range differenceClasses {
		row, ok := rows[c.name]
		if !ok {
			undocumented = append(undocumented, c.name)
			continue
		}
		delete(rows, c.name)
		assert.NotEmpty(t, row[1], c.name)
		for i, differs := range []bool{c.contrib, c.prometheus} {
			assert.Equal(t, !differs, row[2+i] == "as here", "%s: %q", c.name, row[2+i])
		}
		assert.True(t, strings.HasPrefix(row[4], c.who+" ("+c.source+")"), "%s: %q does not begin with %s (%s)", c.name, row[4], c.who, c.source)
		if c.who == exception {
			assert.Contains(t, row[4], "): ", "%s: an exception has a reason", c.name)
		}
	}
	assert.Empty(t, undocumented, "classes that the page does not have")
	assert.Empty(t, rows, "rows of the page that are no class")
}
