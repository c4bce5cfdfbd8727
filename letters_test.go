// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
)

// TestDeadLetter keeps a refused request on disk, without the password, and sends it again by hand.
func TestDeadLetter(t *testing.T) {
	dir := t.TempDir()
	refuse := true
	receiver := &rwtest.Receiver{Script: func(rwtest.Request) rwtest.Answer {
		if refuse {
			return rwtest.Answer{Status: 400, Body: "out of order sample"}
		}
		return rwtest.Answer{}
	}}
	server := httptest.NewServer(receiver)
	defer server.Close()
	h := newHarness(t, nil, onePartition, func(c *Config) {
		c.HTTP.Endpoint = strings.Replace(server.URL, "http://", "http://user:hunter2@", 1)
		c.HTTP.Middlewares = nil
		c.Batch.FlushTimeout = time.Millisecond
		c.DeadLetter.Directory = dir
	})
	h.consume(gauge(time.Now(), 7))
	require.Eventually(t, func() bool { return h.dropped()["rejected 400"] == 7 }, 10*time.Second, time.Millisecond)
	h.shutdown()

	files, err := filepath.Glob(filepath.Join(dir, "*", "*.json"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	line := h.logs.FilterField(zapReason(account.ReasonRejected)).All()
	require.Len(t, line, 1)
	kept := strings.TrimSuffix(files[0], ".json")
	assert.Contains(t, line[0].ContextMap()["dead_letter"], filepath.Base(kept), "the log names the file")

	info, err := os.ReadFile(files[0])
	require.NoError(t, err)
	assert.NotContains(t, string(info), "hunter2")
	var record map[string]any
	require.NoError(t, json.Unmarshal(info, &record))
	assert.Equal(t, "rejected", record["reason"])
	assert.Equal(t, float64(400), record["status"])
	assert.Equal(t, float64(7), record["samples"])
	assert.Equal(t, "out of order sample", record["answer_body"])
	assert.Equal(t, "ordered_remote_write", record["exporter"])
	assert.Equal(t, int64(1), h.metric("otelcol_exporter_ordered_remote_write_dead_letters"))
	assert.Positive(t, h.metric("otelcol_exporter_ordered_remote_write_dead_letter_size"))

	refuse = false
	body, err := os.Open(kept + ".snappy")
	require.NoError(t, err)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, body)
	require.NoError(t, err)
	for name, value := range record["headers"].(map[string]any) {
		req.Header.Set(name, value.(string))
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	http.DefaultClient.CloseIdleConnections()
	assert.Equal(t, http.StatusNoContent, resp.StatusCode)
	assert.Equal(t, 7, receiver.AcknowledgedSamples())
	assert.Empty(t, receiver.Problems())
}

// TestDeadLetterDirectoryMustBeWritable, or else the exporter does not start.
func TestDeadLetterDirectoryMustBeWritable(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	cfg := createDefaultConfig().(*Config)
	cfg.HTTP.Endpoint = "http://receiver.test"
	cfg.DeadLetter.Directory = file
	e, err := newExporter(t.Context(), nopSettings(), cfg, testSecret)
	require.NoError(t, err)
	require.ErrorContains(t, e.Start(t.Context(), newTestHost(nil)), "dead_letter.directory")
	require.NoError(t, e.Shutdown(t.Context()))
}
