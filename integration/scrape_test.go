// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/orderedremotewrite/orderedremotewriteexporter/integration/internal/otelcol"
	"github.com/orderedremotewrite/orderedremotewriteexporter/integration/internal/promserver"
)

// target exposes metrics to be scraped. Each scrape finds the counter one higher.
type target struct {
	*httptest.Server

	mu      sync.Mutex
	scrapes int
	gone    bool // the gauge is no longer exposed
}

func newTarget(t *testing.T) *target {
	s := &target{}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *target) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scrapes++
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	fmt.Fprintf(w, `# TYPE shop_orders_total counter
shop_orders_total{item="tea"} %[1]d
# TYPE shop_latency_seconds histogram
shop_latency_seconds_bucket{le="0.1"} %[1]d
shop_latency_seconds_bucket{le="+Inf"} %[2]d
shop_latency_seconds_sum %[1]d.5
shop_latency_seconds_count %[2]d
`, s.scrapes, 2*s.scrapes)
	if !s.gone {
		fmt.Fprint(w, "# TYPE shop_open gauge\nshop_open 1\n")
	}
}

// stopExposing ends the series of the gauge.
func (s *target) stopExposing() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone = true
}

// What the collector's Prometheus receiver scrapes is in Prometheus, in the order of the scrapes, with the labels and the stale
// marker that Prometheus itself would have given it.
func TestScrapedSamplesArriveInOrder(t *testing.T) {
	const tea = `shop_orders_total{item="tea"}`
	server, scraped := promserver.Start(t), newTarget(t)
	instance := strings.TrimPrefix(scraped.URL, "http://")
	c := startCollector(t, []string{
		"REMOTE_WRITE_ENDPOINT=" + server.Endpoint(), "SCRAPE_TARGET=" + instance, "SCRAPE_INTERVAL=300ms",
	}, append([]string{"../examples/scrape.yaml"}, ownPorts(otelcol.FreeAddress(t))...)...)
	c.WaitReady(t)

	stored := func(selector string) []promserver.Sample {
		series := server.Series(selector)
		if len(series) == 0 {
			return nil
		}
		return series[0].Samples
	}
	require.Eventually(t, func() bool { return len(stored(tea)) >= 5 }, time.Minute, 20*time.Millisecond)
	scraped.stopExposing()
	require.Eventually(t, func() bool {
		samples := stored("shop_open")
		return len(samples) > 0 && samples[len(samples)-1].Stale()
	}, time.Minute, 20*time.Millisecond, "the series ends with a stale marker")
	c.MustStop(t)

	for selector, further := range map[string][]string{
		"up":                                     nil,
		"shop_open":                              nil,
		"shop_latency_seconds_count":             nil,
		tea:                                      {"item", "tea"},
		`shop_latency_seconds_bucket{le="0.1"}`:  {"le", "0.1"},
		`shop_latency_seconds_bucket{le="+Inf"}`: {"le", "+Inf"},
	} {
		name, _, _ := strings.Cut(selector, "{")
		expected := labels.FromStrings(append([]string{"__name__", name, "job", "collector", "instance", instance}, further...)...)
		series := server.Series(selector)
		if assert.Len(t, series, 1, selector) {
			assert.Equal(t, expected.String(), series[0].Labels.String())
		}
	}
	last := promserver.Sample{}
	for _, s := range stored(tea) {
		assert.Greater(t, s.Time, last.Time)
		// A scrape that takes too long under load ends the series for once, as the end of the collector does.
		if !s.Stale() {
			assert.Greater(t, s.Value, last.Value)
			last = s
		}
	}
	assert.Empty(t, server.Missing(), "samples that Prometheus confirmed and does not have")
}
