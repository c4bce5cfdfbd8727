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

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"golang.org/x/mod/semver"
)

// module is what a go.mod says.
type module struct {
	// Go is the least version of the language.
	Go      string
	Require []struct{ Path, Version string }
}

func readModule(t *testing.T, file string) module {
	t.Helper()
	out, err := exec.Command("go", "mod", "edit", "-json", file).Output()
	require.NoError(t, err)
	var m module
	require.NoError(t, json.Unmarshal(out, &m))
	return m
}

func (m module) versions() map[string]string {
	versions := map[string]string{}
	for _, r := range m.Require {
		versions[r.Path] = r.Version
	}
	return versions
}

// The exporter asks for no newer Go, Prometheus and Collector than contrib's components that are built on the same
// Prometheus. Prometheus's packages change with each version, and Go builds a collector with the newest that any of its
// components asks for: with a newer one from here, the Prometheus receiver of the same release would not compile.
func TestExporterAsksForNoNewerModulesThanContrib(t *testing.T) {
	manifest, err := os.ReadFile("../builder-config.yaml")
	require.NoError(t, err)
	receiver := regexp.MustCompile(`gomod: (\S+/receiver/prometheusreceiver) (\S+)`).FindStringSubmatch(string(manifest))
	require.NotNil(t, receiver, "the collector has the Prometheus receiver")
	cmd := exec.Command("go", "list", "-mod=mod", "-m", "-f", "{{.GoMod}}", receiver[1]+"@"+receiver[2])
	cmd.Dir = t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(cmd.Dir, "go.mod"), []byte("module none\n"), 0o600))
	out, err := cmd.CombinedOutput()
	require.NoError(t, err, string(out))

	exporter, contrib := readModule(t, "../go.mod"), readModule(t, strings.TrimSpace(string(out)))
	assert.LessOrEqual(t, semver.Compare("v"+exporter.Go, "v"+contrib.Go), 0, "go %s, contrib has %s", exporter.Go, contrib.Go)
	theirs, compared := contrib.versions(), 0
	for path, version := range exporter.versions() {
		if !strings.HasPrefix(path, "github.com/prometheus/") && !strings.HasPrefix(path, "go.opentelemetry.io/collector/") || theirs[path] == "" {
			continue
		}
		compared++
		assert.LessOrEqual(t, semver.Compare(version, theirs[path]), 0, "%s %s, contrib has %s", path, version, theirs[path])
	}
	assert.NotEmpty(t, theirs["github.com/prometheus/prometheus"])
	assert.Greater(t, compared, 20)
}

// The collector of a fleet is the distribution with other components: what both have, they have in the same version.
func TestManifestOfTheFleetAgrees(t *testing.T) {
	version, core := regexp.MustCompile(`(?m)^  version: (\S+)$`), regexp.MustCompile(`v1\.\d+\.\d+/v0\.\d+\.\d+`)
	component := regexp.MustCompile(`gomod: (\S+) (\S+)`)
	read := func(path string) (text string, versions map[string]string) {
		b, err := os.ReadFile(path)
		require.NoError(t, err)
		versions = map[string]string{}
		for _, match := range component.FindAllStringSubmatch(string(b), -1) {
			versions[match[1]] = match[2]
		}
		return string(b), versions
	}
	ours, distribution := read("../builder-config.yaml")
	theirs, fleet := read("fleet/builder-config.yaml")
	assert.Equal(t, version.FindStringSubmatch(ours), version.FindStringSubmatch(theirs))
	assert.Equal(t, core.FindString(ours), core.FindString(theirs))
	shared := 0
	for path, v := range fleet {
		if distribution[path] != "" {
			shared++
			assert.Equal(t, distribution[path], v, path)
		}
	}
	assert.Greater(t, shared, 5)
}
