// SPDX-License-Identifier: Apache-2.0

//go:build linux

package load

import (
	"context"
	"math"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/prompb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

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
