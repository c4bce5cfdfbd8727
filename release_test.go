// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestVersionsAgree: what go.mod, the manifests and the pages say of the versions of Go, the Collector and this.
func TestVersionsAgree(t *testing.T) {
	read := func(path string) string {
		text, err := os.ReadFile(path)
		require.NoError(t, err)
		return string(text)
	}
	one := func(path, pattern string) string {
		t.Helper()
		match := regexp.MustCompile(pattern).FindStringSubmatch(read(path))
		require.NotNil(t, match, "%s: %s", path, pattern)
		return match[1]
	}
	stable := one("go.mod", `(?m)^\tgo.opentelemetry.io/collector/component (v\S+)$`)
	unstable := one("go.mod", `(?m)^\tgo.opentelemetry.io/collector/config/confighttp (v\S+)$`)
	core := stable + "/" + unstable
	for _, path := range []string{"README.md", "SECURITY.md", "builder-config.yaml", "loadtest/builder-config.yaml"} {
		assert.Contains(t, read(path), core, path)
		for _, match := range regexp.MustCompile(`(v1\.\d+\.\d+)/(v0\.\d+\.\d+)`).FindAllString(read(path), -1) {
			assert.Equal(t, core, match, path)
		}
	}
	assert.Equal(t, unstable, one("README.md", `cmd/builder@(v\S+)`))
	assert.Equal(t, unstable, one("tools/go.mod", `cmd/builder (v\S+)`))

	language := one("go.mod", `(?m)^go (\d+\.\d+)`)
	assert.Equal(t, language, one("README.md", `with Go (\d+\.\d+)`))
	assert.Equal(t, language, one("SECURITY.md", `(?m)^\| .main. \| \S+ \| (\d+\.\d+) \|$`))

	ours := one("builder-config.yaml", `(?m)^  version: (\S+)$`)
	assert.Equal(t, ours, one("loadtest/builder-config.yaml", `(?m)^  version: (\S+)$`))
	assert.Equal(t, ours, one("deploy/kustomization.yaml", `newTag: (\S+)`))
	assert.Equal(t, ours, one("deploy/operator.yaml", `image: otelcol-ordered:(\S+)`))
	assert.Equal(t, ours, one("deploy/helm-values.yaml", `tag: (\S+)`))
}

// licenceLine is the first line of every file of code.
const licenceLine = "// SPDX-License-Identifier: Apache-2.0\n"

// TestEveryFileHasALicence: those that a person wrote begin with its identifier. REUSE.toml has it for all others.
func TestEveryFileHasALicence(t *testing.T) {
	generated := regexp.MustCompile(`(?m)^// Code generated .* DO NOT EDIT`)
	n := 0
	require.NoError(t, filepath.WalkDir(".", func(path string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (path == "build" || path == "bin" || path == ".git"):
			return fs.SkipDir
		case filepath.Ext(path) != ".go":
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil || generated.Match(text) {
			return err
		}
		n++
		assert.True(t, bytes.HasPrefix(text, []byte(licenceLine)), "%s does not begin with %q: make fmt adds it", path, licenceLine)
		return nil
	}))
	assert.Greater(t, n, 100)
	for _, path := range []string{"LICENSE", "NOTICE", "REUSE.toml"} {
		assert.FileExists(t, path)
	}
}
