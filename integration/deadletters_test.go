// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/orderedremotewrite/orderedremotewriteexporter/integration/internal/promserver"
	"github.com/orderedremotewrite/orderedremotewriteexporter/integration/internal/rig"
)

// What an outage and a shutdown have left on disk is sent again by tools/deadletters, to a Prometheus that takes nothing out of
// order: all of it is stored, and repeating the command sends nothing.
func TestDeadLettersAreSentAgainToPrometheus(t *testing.T) {
	tool := filepath.Join(t.TempDir(), "deadletters")
	out, err := exec.Command("go", "build", "-C", "../tools/deadletters", "-o", tool, ".").CombinedOutput()
	require.NoError(t, err, string(out))

	inBothVersions(t, func(t *testing.T, v version) {
		dir := t.TempDir()
		server := promserver.Start(t)
		server.Stop()
		exporter := rig.Start(t, server.Endpoint(), v.config, `{
			fallback: false, shutdown_timeout: 10ms, dead_letter: {directory: `+dir+`, max_size_bytes: 8MiB},
			batch: {max_samples: 50, max_size_bytes: 16KiB}, queue: {max_size_bytes: 64KiB, on_full: drop_oldest}, retry_on_failure: {max_retries: 5}}`)
		at, sent := start(), 0
		for range 100 {
			at = at.Add(time.Second)
			exporter.Send(gauges(200, allAt(at)).Metrics)
			sent += 200
		}
		accounts := exporter.Close()
		lost := int64(0)
		for drop, n := range accounts.Dropped {
			lost += n
			assert.Contains(t, []string{"queue_full", "shutdown", "shutdown_in_flight", "retries_exhausted"}, drop.Reason)
		}
		require.Equal(t, int64(sent), lost)
		assert.Positive(t, accounts.Dropped[rig.Drop{Reason: "queue_full"}])
		assert.Positive(t, accounts.Dropped[rig.Drop{Reason: "shutdown"}])

		server.Restart()
		send := func() string {
			out, err := exec.Command(tool, "send", "-url", server.Endpoint(), dir).CombinedOutput()
			require.NoError(t, err, string(out))
			return string(out)
		}
		assert.Contains(t, send(), "20000 of 20000 samples sent")
		assert.Equal(t, sent, server.Stored())
		assert.Empty(t, server.Missing())
		for _, r := range server.Requests() {
			assert.Equal(t, v.v2, server.Message(&r).V2)
		}
		assert.Contains(t, send(), "0 of 0 samples sent")
	})
}
