// SPDX-License-Identifier: Apache-2.0

// Package fleet tests fleets as docs/scaling.md describes them: several collectors with the exporter behind a tier that routes
// to them. Its tests need a collector that "make fleet" builds, which takes minutes, and are skipped without it.
package fleet

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/orderedremotewrite/orderedremotewriteexporter/integration/internal/promserver"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// patience is how long a test waits for what must happen.
const patience = time.Minute

// binary returns the collector with everything that stands between the tiers.
func binary(t *testing.T) string {
	t.Helper()
	path, err := filepath.Abs("../../build/fleet/otelcol")
	require.NoError(t, err)
	if _, err := os.Stat(path); err != nil {
		t.Skip("there is no collector of a fleet: make fleet builds it, which takes some minutes, and runs this test")
	}
	return path
}

// The configurations of docs/scaling.md, in their order.
const (
	firstTier = iota
	secondTier
	kafkaFirstTier
	kafkaSecondTier
	configurations
)

// page returns a file with one of the configurations of docs/scaling.md, without the lines that have one of the texts.
func page(t *testing.T, number int, without ...string) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/scaling.md")
	require.NoError(t, err)
	blocks := regexp.MustCompile("(?s)\n```yaml\n(.*?)\n```\n").FindAllSubmatch(text, -1)
	require.Len(t, blocks, configurations)
	lines := strings.Split(string(blocks[number][1]), "\n")
	for _, line := range without {
		before := len(lines)
		lines = slices.DeleteFunc(lines, func(l string) bool { return strings.Contains(l, line) })
		require.Len(t, lines, before-1, line)
	}
	file := filepath.Join(t.TempDir(), "config.yaml")
	require.NoError(t, os.WriteFile(file, []byte(strings.Join(lines, "\n")), 0o600))
	return file
}

// inV1 makes gateways write Remote-Write 1.0.
const inV1 = "protobuf_message: " + string(promserver.V1)

// eventually waits until something holds.
func eventually(t *testing.T, holds func() bool, what ...string) {
	t.Helper()
	deadline := time.After(patience)
	for !holds() {
		select {
		case <-deadline:
			require.FailNow(t, "it does not come about that "+strings.Join(what, " "))
		case <-time.After(50 * time.Millisecond):
		}
	}
}
