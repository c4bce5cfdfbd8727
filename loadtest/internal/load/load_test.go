// SPDX-License-Identifier: Apache-2.0

//go:build linux

package load

import (
	"context"
	"math"
	"net"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/prompb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/collector"
	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/generate"
	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/receive"
	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/schedule"
)

// What comes makes room at once, and what was dropped makes room after some silence.
func TestWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, err := receive.New(false, receive.Behavior{PoisonStatus: 400})
		require.NoError(t, err)
		w := &window{receiver: r, perRequest: 2, requests: 3}
		began := time.Now()
		for range 3 {
			assert.True(t, w.wait(t.Context()))
		}
		assert.Zero(t, time.Since(began))

		go func() {
			time.Sleep(silence / 2)
			message, err := (&prompb.WriteRequest{Timeseries: []prompb.TimeSeries{{Samples: make([]prompb.Sample, 2)}}}).Marshal()
			assert.NoError(t, err)
			r.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("POST", "/", strings.NewReader(string(snappy.Encode(nil, message)))))
		}()
		assert.True(t, w.wait(t.Context()))
		assert.Equal(t, silence/2, time.Since(began))

		assert.True(t, w.wait(t.Context()))
		assert.Equal(t, silence/2+silence, time.Since(began))
		assert.True(t, w.wait(t.Context()), "there is room again")
		assert.Equal(t, silence/2+silence, time.Since(began))

		ended, end := context.WithCancel(t.Context())
		end()
		assert.False(t, w.wait(ended))
	})
}

func TestUnaccounted(t *testing.T) {
	r := &Result{Samples: 180, Delivered: 100}
	assert.True(t, math.IsNaN(r.Unaccounted()))
	dropped := 46.0
	r.Dropped = &dropped
	// Two of the histograms were delta, and each counted as one.
	r.Generated = generate.Totals{Kinds: map[schedule.Kind]*generate.Points{schedule.Histogram: {Faults: map[string]int{"delta": 2}}}}
	assert.Zero(t, r.Unaccounted())
}

func TestSummary(t *testing.T) {
	assert.Equal(t, "2 (1 to 3)", Summary("%.0f", []float64{3, 1, 2}))
	assert.Equal(t, "1.5 (1.0 to 2.0)", Summary("%.1f", []float64{2, 1}))
	assert.Equal(t, "7", Summary("%.0f", []float64{7, 7}))
	assert.Equal(t, "7", Summary("%.0f", []float64{math.NaN(), 7, math.Inf(1)}))
	assert.Empty(t, Summary("%.0f", nil))
}

// fakeCollector ends once a generator has connected to it.
const fakeCollector = "FAKE_COLLECTOR"

func TestMain(m *testing.M) {
	if os.Getenv(fakeCollector) == "" {
		os.Exit(m.Run())
	}
	l, err := net.Listen("tcp", os.Getenv("OTLP_ENDPOINT"))
	if err != nil {
		panic(err)
	}
	for range 2 { // who waits for it to be ready, and the generator
		if _, err := l.Accept(); err != nil {
			panic(err)
		}
	}
	os.Exit(3)
}

// TestCollectorThatEnds ends the run, and says so.
func TestCollectorThatEnds(t *testing.T) {
	program, err := os.Executable()
	require.NoError(t, err)
	t.Chdir(t.TempDir())
	require.NoError(t, os.MkdirAll(collector.Dir, 0o755))
	require.NoError(t, os.Symlink(program, filepath.Join(collector.Dir, "otelcol")))
	t.Setenv(fakeCollector, "1")
	e, err := Listen(true, receive.Behavior{PoisonStatus: 400})
	require.NoError(t, err)
	defer e.Close()
	c, err := collector.Start(t.Context(), "ordered_remote_write/v1", e.URL, nil)
	require.NoError(t, err)
	_, err = Run(t.Context(), c, e, generate.Options{
		Kinds: []schedule.Kind{schedule.Gauge}, Series: 10, Resources: 1, Attributes: 2, PerRequest: 10, Connections: 1, Samples: 100,
	}, 0)
	assert.EqualError(t, err, "the collector has ended")
	assert.ErrorContains(t, c.Stop(), "exit status 3")
}
