// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
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

// keptSamples are the samples of all dead letters, by reason, and how often each series and time is among them.
func keptSamples(t *testing.T, dir string) (byReason map[string]int64, points map[string]int) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*", "*.json"))
	require.NoError(t, err)
	byReason, points = map[string]int64{}, map[string]int{}
	for _, file := range files {
		info, err := os.ReadFile(file)
		require.NoError(t, err)
		var record struct {
			Reason  string
			Samples int
			Message string `json:"protobuf_message"`
		}
		require.NoError(t, json.Unmarshal(info, &record))
		body, err := os.ReadFile(strings.TrimSuffix(file, ".json") + ".snappy")
		require.NoError(t, err)
		r := request{body: body}
		if record.Message == wire.MessageV2 {
			r.protocol = wire.V2
		}
		c := r.contents()
		require.Equal(t, record.Samples, c.len())
		byReason[record.Reason] += int64(record.Samples)
		for i := range c.len() {
			ts, _ := c.point(i)
			points[fmt.Sprintf("%s %d", wire.LabelsKey(c.labels(i)), ts)]++
		}
	}
	return byReason, points
}

// TestDeadLettersKeepWhatNeverLeftTheQueue: what is evicted, what has no room and what waits at the shutdown is on disk, every
// sample once.
func TestDeadLettersKeepWhatNeverLeftTheQueue(t *testing.T) {
	for _, message := range []ProtobufMessage{MessageV1, MessageV2} {
		for _, onFull := range []OnFull{OnFullBlock, OnFullDropOldest, OnFullDropNewest} {
			t.Run(string(message)+" "+string(onFull), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { keepAll(t, message, onFull) })
			})
		}
	}
}

// keepAll fills a queue whose endpoint is away, shuts down, and looks for everything among the dead letters.
func keepAll(t *testing.T, message ProtobufMessage, onFull OnFull) {
	dir := t.TempDir()
	h := newHarness(t, failing{}, func(c *Config) {
		c.ProtobufMessage = message
		c.Fallback = false
		c.Queue.OnFull = onFull
		c.Queue.MaxSizeBytes = 4 * 1 << 14
		c.Batch.MaxSizeBytes = 1 << 14
		c.Retry.BackOff.MaxElapsedTime = 0
		c.ShutdownTimeout = time.Millisecond
		c.DeadLetter.Directory = dir
	})
	start := time.Now()
	for i := range 100 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		_ = h.ConsumeMetrics(ctx, gauge(start.Add(time.Duration(i)*100*time.Millisecond), 80)) // refused if onFull blocks
		cancel()
	}
	h.shutdown()
	dropped := h.dropped()
	require.Positive(t, dropped["shutdown"])
	if onFull != OnFullBlock {
		require.Positive(t, dropped["queue_full"])
	}
	kept, points := keptSamples(t, dir)
	assert.Equal(t, dropped, kept)
	for point, n := range points {
		assert.Equal(t, 1, n, point)
	}
	assert.Zero(t, h.letters.stats().Skipped)
}

// failing is a transport to an endpoint that is away.
type failing struct{}

// RoundTrip implements http.RoundTripper.
func (failing) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("nobody there")
}
