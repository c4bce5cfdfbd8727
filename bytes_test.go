// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// TestBytesOnTheWire measures what a sample takes in the compressed bodies of requests, with the default configuration:
// 10,000 gauges with 20 attributes, and 1,000 histograms with 15 bounds, ten times each at intervals of 15 seconds.
func TestBytesOnTheWire(t *testing.T) {
	for _, load := range []struct {
		name     string
		payloads func() []pmetric.Metrics
		goal     float64 // for 2.0
	}{
		{"gauges with 20 labels", func() []pmetric.Metrics { return benchGauges(10_000, 20) }, 30},
		{"histograms with 15 buckets", func() []pmetric.Metrics { return benchHistograms(1_000, 15) }, 12},
	} {
		t.Run(load.name, func(t *testing.T) {
			var perSample [2]float64
			for i, m := range []ProtobufMessage{MessageV1, MessageV2} {
				var requests, samples, size atomic.Int64
				synctest.Test(t, func(t *testing.T) {
					h := newHarness(t, roundTripper(func(r *http.Request) (*http.Response, error) {
						requests.Add(1)
						size.Add(r.ContentLength)
						return &http.Response{StatusCode: http.StatusNoContent, Header: writtenHeaders("1000000", "0", "0"), Body: http.NoBody}, nil
					}), func(c *Config) { c.ProtobufMessage = m })
					payloads := load.payloads()
					rnd := rand.New(rand.NewPCG(1, 0))
					for range 10 {
						for _, md := range payloads {
							progress(md, rnd)
							h.consume(md)
						}
						time.Sleep(15 * time.Second)
					}
					h.shutdown()
					samples.Store(h.delivered())
					assert.Empty(t, h.dropped())
				})
				perSample[i] = float64(size.Load()) / float64(samples.Load())
				t.Logf("%-31s %6.1f bytes for a sample, %d samples for a request", m, perSample[i], samples.Load()/requests.Load())
			}
			assert.LessOrEqual(t, perSample[1], load.goal)
			assert.Less(t, perSample[1], perSample[0])
		})
	}
}

// progress gives all points the time, and values that go on from those before.
func progress(md pmetric.Metrics, rnd *rand.Rand) {
	setTimes(md, pcommon.NewTimestampFromTime(time.Now()))
	m := md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0)
	if m.Type() == pmetric.MetricTypeGauge {
		for _, dp := range m.Gauge().DataPoints().All() {
			dp.SetDoubleValue(float64(rnd.IntN(100_000)) / 100)
		}
		return
	}
	for _, dp := range m.Histogram().DataPoints().All() {
		dp.SetStartTimestamp(pcommon.NewTimestampFromTime(time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)))
		for i := range dp.BucketCounts().Len() {
			n := uint64(rnd.IntN(100))
			dp.BucketCounts().SetAt(i, dp.BucketCounts().At(i)+n)
			dp.SetCount(dp.Count() + n)
			dp.SetSum(dp.Sum() + float64(n)*rnd.Float64())
		}
	}
}
