// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"archive/tar"
	"compress/gzip"
	"debug/elf"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// imageConfig is what is read of an image's configuration.
type imageConfig struct {
	OS           string `json:"os"`
	Architecture string `json:"architecture"`
	Config       struct {
		User         string
		Env          []string
		Entrypoint   []string
		Cmd          []string
		Volumes      map[string]any
		ExposedPorts map[string]any
	} `json:"config"`
}

// The image that is made without a container engine is that of the Containerfile, and its collector runs with nothing else.
func TestImage(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("an image is made of a collector for Linux")
	}
	out, err := exec.Command("make", "-C", "..", "image").CombinedOutput()
	require.NoError(t, err, string(out))
	archive, _ := filesOfArchive(t, "../build/image.tar", t.TempDir())
	var manifest []struct {
		Config           string
		RepoTags, Layers []string
	}
	require.NoError(t, json.Unmarshal(readFile(t, archive, "manifest.json"), &manifest))
	require.Len(t, manifest, 1)
	require.Len(t, manifest[0].Layers, 1)
	assert.Regexp(t, `^otelcol-ordered:\d+\.\d+\.\d+$`, manifest[0].RepoTags[0])
	var image imageConfig
	require.NoError(t, json.Unmarshal(readFile(t, archive, manifest[0].Config), &image))
	assert.Equal(t, "linux/"+runtime.GOARCH, image.OS+"/"+image.Architecture)
	assert.Equal(t, "10001:10001", image.Config.User)
	assert.Equal(t, []string{"GOGC=200", "GOMEMLIMIT=800MiB"}, image.Config.Env)
	assert.Equal(t, []string{"/otelcol"}, image.Config.Entrypoint)
	assert.Equal(t, []string{"--config=/etc/otelcol/config.yaml"}, image.Config.Cmd)
	assert.Contains(t, image.Config.Volumes, "/var/lib/otelcol")
	assert.Contains(t, image.Config.ExposedPorts, "4317/tcp")

	root, owners := filesOfArchive(t, filepath.Join(archive, manifest[0].Layers[0]), t.TempDir())
	assert.Equal(t, map[[2]int]bool{{10001, 10001}: true}, owners)
	for _, file := range []string{"LICENSE", "NOTICE", "licences.txt", "sbom.cdx.json"} {
		assert.FileExists(t, filepath.Join(root, file))
	}
	assert.Contains(t, string(readFile(t, root, "etc/ssl/certs/ca-certificates.crt")), "BEGIN CERTIFICATE")
	deployed, err := os.ReadFile("../deploy/collector.yaml")
	require.NoError(t, err)
	assert.Equal(t, string(deployed), string(readFile(t, root, "etc/otelcol/config.yaml")))
	requireStatic(t, filepath.Join(root, "otelcol"))

	// There is no /proc in it, from which percentages of the memory are taken.
	command := append(image.Config.Entrypoint, "validate", image.Config.Cmd[0], "--config=yaml:processors::memory_limiter::limit_mib: 800")
	out, err = inRoot(t, root, command).CombinedOutput()
	require.NoError(t, err, string(out))
}

func readFile(t *testing.T, dir, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(dir, name))
	require.NoError(t, err)
	return content
}

// filesOfArchive extracts a tar archive, which may be compressed, and returns where, and whose the files are.
func filesOfArchive(t *testing.T, path, to string) (dir string, owners map[[2]int]bool) {
	t.Helper()
	file, err := os.Open(path)
	require.NoError(t, err)
	defer file.Close()
	from := io.Reader(file)
	if regexp.MustCompile(`\.gz$`).MatchString(path) {
		from, err = gzip.NewReader(file)
		require.NoError(t, err)
	}
	owners = make(map[[2]int]bool)
	for r := tar.NewReader(from); ; {
		header, err := r.Next()
		if err == io.EOF {
			return to, owners
		}
		require.NoError(t, err)
		owners[[2]int{header.Uid, header.Gid}] = true
		require.True(t, filepath.IsLocal(header.Name), header.Name)
		if header.Typeflag == tar.TypeDir {
			require.NoError(t, os.MkdirAll(filepath.Join(to, header.Name), 0o755))
			continue
		}
		content, err := io.ReadAll(r)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(filepath.Join(to, header.Name), content, header.FileInfo().Mode().Perm()))
	}
}

// requireStatic checks that a binary needs nothing of a system, so that it runs in an image with nothing else in it.
func requireStatic(t *testing.T, binary string) {
	if runtime.GOOS != "linux" {
		return // Only Linux has static binaries, and images.
	}
	file, err := elf.Open(binary)
	require.NoError(t, err)
	defer file.Close()
	for _, segment := range file.Progs {
		assert.NotEqual(t, elf.PT_INTERP, segment.Type, "it asks for a dynamic linker")
	}
	libraries, err := file.ImportedLibraries()
	require.NoError(t, err)
	assert.Empty(t, libraries)
}
