// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/orderedremotewrite/orderedremotewriteexporter/integration/internal/rig"
)

// victoriaMetrics returns the binary of VictoriaMetrics that tools/victoriametrics pins, which it builds if need be.
var victoriaMetrics = sync.OnceValues(func() (string, error) {
	if out, err := exec.Command("make", "-C", "..", "build/tools/victoria-metrics").CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return filepath.Abs("../build/tools/victoria-metrics")
})

// startVictoriaMetrics starts a server and returns its URL.
func startVictoriaMetrics(t *testing.T) string {
	t.Helper()
	binary, err := victoriaMetrics()
	require.NoError(t, err)
	free, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	address := free.Addr().String()
	require.NoError(t, free.Close())
	cmd := exec.Command(binary, "-httpListenAddr="+address, "-storageDataPath="+t.TempDir(), "-retentionPeriod=100y", "-loggerLevel=ERROR")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	require.NoError(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	require.Eventually(t, func() bool {
		_, status := get(t, "http://"+address+"/health")
		return status == http.StatusOK
	}, time.Minute, 50*time.Millisecond)
	return "http://" + address
}

// get returns the body and the status of an answer, or 0 for none.
func get(t *testing.T, from string) (string, int) {
	req, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodGet, from, nil)
	require.NoError(t, err)
	req.Close = true // no connection outlives the test
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", 0
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	require.NoError(t, err)
	return string(body), resp.StatusCode
}

// VictoriaMetrics answers 204 to a 2.0 message, without the headers that a 2.0 receiver must send, and stores nothing.
// That is taken for what it is: everything is sent again as 1.0, once.
func TestVictoriaMetricsGetsEverySampleFromASenderOf2(t *testing.T) {
	server := startVictoriaMetrics(t)
	exporter := rig.Start(t, server+"/api/v1/write",
		"{protobuf_message: io.prometheus.write.v2.Request, partitions: 4, batch: {max_samples: 100, flush_timeout: 10ms}, target_info: {enabled: false}}")
	sendRounds(exporter, time.Now().Add(-time.Hour).Truncate(time.Second))
	exporter.Settle()
	accounts := exporter.Close()
	accounts.AssertClosed(t)
	assert.Equal(t, int64(roundSeries*rounds), accounts.Delivered)
	assert.Zero(t, accounts.TotalDropped())
	assert.Equal(t, 1, strings.Count(exporter.LogText(), "does not read Remote-Write 2.0"), "one fallback is logged")

	// What was accepted a moment ago is found only after this.
	_, status := get(t, server+"/internal/force_flush")
	require.Equal(t, http.StatusOK, status)
	body, status := get(t, server+"/api/v1/export?match[]="+url.QueryEscape(`{__name__="orders"}`))
	require.Equal(t, http.StatusOK, status)
	stored := make(map[string][]float64)
	for line := range strings.Lines(body) {
		var s struct {
			Metric map[string]string `json:"metric"`
			Values []float64         `json:"values"`
		}
		require.NoError(t, json.Unmarshal([]byte(line), &s))
		stored[s.Metric["series"]] = append(stored[s.Metric["series"]], s.Values...)
	}
	assertRounds(t, stored)
}

// What another backend gets in its tests: rounds of samples, one of each series.
const roundSeries, rounds = 50, 20

func sendRounds(exporter *rig.Exporter, start time.Time) {
	for round := range rounds {
		payload := rig.NewPayload()
		for i := range roundSeries {
			payload.Gauge("orders", start.Add(time.Duration(round)*time.Second), float64(round*roundSeries+i), "series", fmt.Sprint(i))
		}
		exporter.Send(payload.Metrics)
	}
}

// assertRounds asserts that all rounds are stored, by the label series, in their order.
func assertRounds(t *testing.T, stored map[string][]float64) {
	t.Helper()
	require.Len(t, stored, roundSeries)
	for i := range roundSeries {
		want := make([]float64, rounds)
		for round := range want {
			want[round] = float64(round*roundSeries + i)
		}
		assert.Equal(t, want, stored[fmt.Sprint(i)], "series %d", i)
	}
}
