// SPDX-License-Identifier: Apache-2.0

//go:build unix

package integration

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"

	"github.com/orderedremotewrite/orderedremotewriteexporter/integration/internal/otelcol"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
)

// reloaded is the configuration of a collector with two exporters, one of which is in two pipelines.
const reloaded = `
receivers:
  otlp: {protocols: {http: {endpoint: %[1]s}}}
  otlp/second: {protocols: {http: {endpoint: %[2]s}}}
extensions:
  file_storage: {directory: %[3]s}
exporters:
  ordered_remote_write/both:
    http: {endpoint: %[4]s/both}
    partitions: %[6]d
    batch: {flush_timeout: 50ms}
    dead_letter: {directory: %[5]s}
  ordered_remote_write/stored:
    http: {endpoint: %[4]s/stored}
    partitions: %[6]d
    batch: {flush_timeout: 50ms}
    queue: {storage: file_storage}
    dead_letter: {directory: %[5]s}
service:
  extensions: [file_storage]
  telemetry: {metrics: {level: none}}
  pipelines:
    metrics: {receivers: [otlp], exporters: [ordered_remote_write/both, ordered_remote_write/stored]}
    metrics/second: {receivers: [otlp/second], exporters: [ordered_remote_write/both]}
`

// A collector that reads its configuration again (SIGHUP), under load and with other numbers of partitions, loses nothing and
// reorders nothing, with two exporters of the type that share directories, and one exporter in two pipelines.
func TestReloadLosesNothing(t *testing.T) {
	const reloads, producers = 3, 3
	var both, stored rwtest.Receiver
	mux := http.NewServeMux()
	mux.Handle("/both", &both)
	mux.Handle("/stored", &stored)
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	addresses := []string{otelcol.FreeAddress(t), otelcol.FreeAddress(t)}
	storage, letters, file := t.TempDir(), t.TempDir(), filepath.Join(t.TempDir(), "config.yaml")
	configure := func(partitions int) {
		text := fmt.Sprintf(reloaded, addresses[0], addresses[1], storage, server.URL, letters, partitions)
		require.NoError(t, os.WriteFile(file, []byte(text), 0o600))
	}
	configure(8)
	c := startCollector(t, nil, file)
	c.WaitReady(t)

	stop := make(chan struct{})
	sent := make([][]int, len(addresses))
	var producing sync.WaitGroup
	for pipeline, address := range addresses {
		sent[pipeline] = make([]int, producers)
		for producer := range producers {
			producing.Go(func() {
				for n := 0; ; n++ {
					body, err := pmetricotlp.NewExportRequestFromMetrics(produced(pipeline, producer, n)).MarshalProto()
					if !assert.NoError(t, err) {
						return
					}
					for !accepts(address, body) {
						time.Sleep(5 * time.Millisecond)
					}
					sent[pipeline][producer]++
					select {
					case <-stop:
						return
					case <-time.After(2 * time.Millisecond):
					}
				}
			})
		}
	}
	ready := func() int { return strings.Count(c.Log(), "Everything is ready") }
	for i := range reloads {
		time.Sleep(500 * time.Millisecond)
		configure(8 + 8*i)
		require.NoError(t, syscall.Kill(c.Pid(), syscall.SIGHUP))
		require.Eventually(t, func() bool { return ready() == i+2 }, time.Minute, 5*time.Millisecond)
	}
	time.Sleep(500 * time.Millisecond)
	close(stop)
	producing.Wait()
	// With storage, a shutdown does not send what still waits.
	has := func(receiver *rwtest.Receiver, pipelines ...int) bool {
		delivered := receiver.Delivered()
		series := 0
		for _, pipeline := range pipelines {
			for producer, n := range sent[pipeline] {
				if len(delivered[fmt.Sprintf(`{__name__="reload",pipeline="%d",producer="%d"}`, pipeline, producer)]) != n {
					return false
				}
				series++
			}
		}
		return len(delivered) == series
	}
	require.Eventually(t, func() bool { return has(&both, 0, 1) && has(&stored, 0) }, time.Minute, 5*time.Millisecond)
	c.MustStop(t)
	assert.Empty(t, both.Problems())
	assert.Empty(t, stored.Problems())
	assert.NotContains(t, c.Log(), "\terror\t")
	assert.NotContains(t, c.Log(), "Dropped samples.")
	t.Logf("sent: %v", sent)
}

// produced is the payload of that number.
func produced(pipeline, producer, n int) pmetric.Metrics {
	md := pmetric.NewMetrics()
	m := md.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
	m.SetName("reload")
	dp := m.SetEmptyGauge().DataPoints().AppendEmpty()
	dp.SetTimestamp(pcommon.NewTimestampFromTime(time.Now()))
	dp.SetIntValue(int64(n))
	dp.Attributes().PutStr("pipeline", fmt.Sprint(pipeline))
	dp.Attributes().PutStr("producer", fmt.Sprint(producer))
	return md
}
