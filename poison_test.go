// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/prometheus/prompb"
	"github.com/stretchr/testify/assert"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
)

// seriesOfPoints are the names of the series of a gauge.
func seriesOfPoints(md pmetric.Metrics) (names []string) {
	for _, dp := range md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0).Gauge().DataPoints().All() {
		names = append(names, dp.Attributes().AsRaw()["series"].(string))
	}
	return names
}

// hasSeries says whether a request has one of these series.
func hasSeries(r rwtest.Request, names ...string) bool {
	return slices.ContainsFunc(r.Message.Timeseries, func(ts prompb.TimeSeries) bool {
		return slices.ContainsFunc(ts.Labels, func(l prompb.Label) bool { return l.Name == "series" && slices.Contains(names, l.Value) })
	})
}

// TestSeveralPoisonsInAPartition: the receiver breaks on two series of a partition. The time that the first one is tried for is not
// that of the good ones behind it.
func TestSeveralPoisonsInAPartition(t *testing.T) {
	forEachMessage(t, func(t *testing.T, message func(*Config)) {
		synctest.Test(t, func(t *testing.T) {
			start := time.Now()
			md := gaugeIn(start, 100, 0, 2)
			names := seriesOfPoints(md)
			poisons := []string{names[20], names[60], names[61], names[90]}
			receiver := &rwtest.Receiver{Script: func(r rwtest.Request) rwtest.Answer {
				if hasSeries(r, poisons...) {
					return rwtest.Answer{Status: 500}
				}
				return rwtest.Answer{}
			}}
			h := newHarness(t, receiver, message, func(c *Config) {
				c.Partitions = 2
				c.Retry.BackOff.MaxElapsedTime = time.Minute
			})
			h.consume(md)
			for time.Since(start) < 3*time.Minute {
				h.consume(gaugeIn(time.Now(), 10, 1, 2))
				time.Sleep(time.Second)
			}
			time.Sleep(5 * time.Second)
			assert.Zero(t, h.ledger.Snapshot().InFlight)
			h.shutdown()
			assert.Equal(t, map[string]int64{"retries_exhausted 500": int64(len(poisons))}, h.dropped())
			assert.Empty(t, receiver.Problems())
			t.Logf("%d requests", receiver.Requests())
		})
	})
}

// TestTimeOfRetriesIsThatOfARequest: to isolate takes longer than max_elapsed_time. A request that fails once then is tried again.
func TestTimeOfRetriesIsThatOfARequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		failed := false
		receiver := &rwtest.Receiver{Script: func(r rwtest.Request) rwtest.Answer {
			bad := slices.ContainsFunc(r.Series, func(s string) bool { return strings.HasSuffix(s, `7"}`) })
			switch {
			case !failed && !bad && time.Since(start) > 70*time.Second:
				failed = true
				return rwtest.Answer{Status: 503}
			case bad:
				return rwtest.Answer{Status: 400, Latency: 2 * time.Second}
			}
			return rwtest.Answer{Latency: 2 * time.Second}
		}}
		h := newHarness(t, receiver, isolating, onePartition, func(c *Config) { c.Retry.BackOff.MaxElapsedTime = time.Minute })
		h.consume(gauge(start, 200))
		time.Sleep(10 * time.Minute)
		h.shutdown()
		assert.True(t, failed)
		assert.Equal(t, map[string]int64{"rejected 400": 20}, h.dropped())
		assert.Empty(t, receiver.Problems())
	})
}
