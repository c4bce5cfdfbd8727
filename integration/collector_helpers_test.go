// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/orderedremotewrite/orderedremotewriteexporter/integration/internal/otelcol"
)

// collectorBinary returns the collector of builder-config.yaml: the one that OTELCOL_BINARY names, or else one that is
// built now.
var collectorBinary = sync.OnceValues(func() (string, error) {
	if binary := os.Getenv("OTELCOL_BINARY"); binary != "" {
		return binary, nil
	}
	if out, err := exec.Command("make", "-C", "..", "build").CombinedOutput(); err != nil {
		return "", errors.New(string(out))
	}
	return "../bin/otelcol", nil
})

// startCollector starts the collector with configurations that are merged in their order.
func startCollector(t *testing.T, env []string, configs ...string) *otelcol.Collector {
	t.Helper()
	binary, err := collectorBinary()
	require.NoError(t, err)
	return otelcol.Start(t, binary, env, configs...)
}

// runCollector runs a subcommand of the collector and returns what it prints.
func runCollector(t *testing.T, env []string, args ...string) (string, error) {
	t.Helper()
	binary, err := collectorBinary()
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}
