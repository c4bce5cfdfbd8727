// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	contribexporter "github.com/open-telemetry/opentelemetry-collector-contrib/exporter/prometheusremotewriteexporter"
	"github.com/prometheus/prometheus/storage/remote"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/exportertest"
	"go.opentelemetry.io/collector/extension/extensionmiddleware"
	"go.opentelemetry.io/collector/featuregate"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/orderedremotewrite/orderedremotewriteexporter"
)

// This file measures what the README says of this exporter next to contrib's prometheus_remote_write: in one process, with the
// defaults of both, on a fake clock.

// comparedEndpoint is a receiver in the place of the network that counts what it is sent. It stores a request when it answers.
type comparedEndpoint struct {
	component.Component
	// took is how long the answer to the n-th request takes, and status what it says.
	took   func(n int) time.Duration
	status func() int

	mu       sync.Mutex
	requests int
	latest   map[string]int64
	// samples were stored; disordered are those of them that are not newer than what their series had.
	samples, disordered int
}

var _ extensionmiddleware.HTTPClient = (*comparedEndpoint)(nil)

func (e *comparedEndpoint) GetExtensions() map[component.ID]component.Component {
	return map[component.ID]component.Component{component.MustNewID("endpoint"): e}
}

func (e *comparedEndpoint) GetHTTPRoundTripper(context.Context) (extensionmiddleware.WrapHTTPRoundTripperFunc, error) {
	return func(context.Context, http.RoundTripper) (http.RoundTripper, error) { return e, nil }, nil
}

// RoundTrip implements http.RoundTripper.
func (e *comparedEndpoint) RoundTrip(req *http.Request) (*http.Response, error) {
	message, err := remote.DecodeWriteRequest(req.Body)
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	n := e.requests
	e.requests++
	e.mu.Unlock()
	time.Sleep(e.took(n))
	e.mu.Lock()
	defer e.mu.Unlock()
	status := e.status()
	if status == http.StatusNoContent {
		for _, series := range message.Timeseries {
			name := fmt.Sprint(series.Labels)
			for _, sample := range series.Samples {
				e.samples++
				if last, ok := e.latest[name]; ok && sample.Timestamp <= last {
					e.disordered++
				}
				e.latest[name] = max(e.latest[name], sample.Timestamp)
			}
		}
	}
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: http.NoBody, Request: req}, nil
}

// startCompared starts an exporter of either kind in front of the endpoint.
func startCompared(t *testing.T, factory exporter.Factory, e *comparedEndpoint, settings string) exporter.Metrics {
	e.latest = make(map[string]int64)
	cfg := factory.CreateDefaultConfig()
	retrieved, err := confmap.NewRetrievedFromYAML([]byte("http: {endpoint: http://receiver.test/, middlewares: [{id: endpoint}]}\n" + settings))
	require.NoError(t, err)
	conf, err := retrieved.AsConf()
	require.NoError(t, err)
	require.NoError(t, conf.Unmarshal(cfg))
	set := exportertest.NewNopSettings(factory.Type())
	m, err := factory.CreateMetrics(t.Context(), set, cfg)
	require.NoError(t, err)
	require.NoError(t, m.Start(t.Context(), e))
	return m
}

// tolerance is how far a figure of the README may be from what is measured.
const tolerance = 0.1

func steadily(int) time.Duration { return 100 * time.Millisecond }

func well() int { return http.StatusNoContent }

// comparedSeries is the number of series of the load, each of which has one sample in a payload.
const comparedSeries = 1000

func comparedPayload(at time.Time) pmetric.Metrics {
	md := pmetric.NewMetrics()
	m := md.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
	m.SetName("load")
	points := m.SetEmptyGauge().DataPoints()
	for i := range comparedSeries {
		dp := points.AppendEmpty()
		dp.SetTimestamp(pcommon.NewTimestampFromTime(at))
		dp.SetDoubleValue(1)
		dp.Attributes().PutInt("series", int64(i))
	}
	return md
}

// backlog sends 100 payloads as fast as they are accepted, and returns how long it takes until all has arrived.
func backlog(t *testing.T, m exporter.Metrics, e *comparedEndpoint) time.Duration {
	begun := time.Now()
	for i := range 100 {
		require.NoError(t, m.ConsumeMetrics(t.Context(), comparedPayload(begun.Add(time.Duration(i)*time.Millisecond))))
	}
	for {
		time.Sleep(10 * time.Millisecond)
		e.mu.Lock()
		all := e.samples == 100*comparedSeries
		e.mu.Unlock()
		if all {
			return time.Since(begun).Round(10 * time.Millisecond)
		}
		require.Less(t, time.Since(begun), time.Minute)
	}
}

// readmeRow returns the figures of a row of the README's comparison.
func readmeRow(t *testing.T, title string) (ours, theirs float64) {
	t.Helper()
	readme, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	row := regexp.MustCompile(`(?m)^\| ` + regexp.QuoteMeta(title) + `[^|]*\| (?:under )?([0-9.,]+)[^|]*\| ([0-9.,]+)[^|]*\|$`).FindSubmatch(readme)
	require.NotNil(t, row, "the README has no row %q", title)
	figure := func(text []byte) float64 {
		n, err := strconv.ParseFloat(strings.ReplaceAll(string(text), ",", ""), 64)
		require.NoError(t, err)
		return n
	}
	return figure(row[1]), figure(row[2])
}

// withWorkers gives contrib's exporter as many workers as its configuration says, for which it has a feature gate.
func withWorkers(t *testing.T) {
	const gate = "exporter.prometheusremotewritexporter.EnableMultipleWorkers"
	require.NoError(t, featuregate.GlobalRegistry().Set(gate, true))
	t.Cleanup(func() { assert.NoError(t, featuregate.GlobalRegistry().Set(gate, false)) })
}

// The README says how long a backlog takes with the defaults of both, which keep the order.
func TestComparisonOfABacklog(t *testing.T) {
	measure := func(factory exporter.Factory) (took float64) {
		synctest.Test(t, func(t *testing.T) {
			e := &comparedEndpoint{took: steadily, status: well}
			m := startCompared(t, factory, e, "")
			took = backlog(t, m, e).Seconds()
			require.NoError(t, m.Shutdown(context.Background()))
			assert.Zero(t, e.disordered)
		})
		return took
	}
	ours, theirs := readmeRow(t, "100,000 samples, while an answer takes 100 ms")
	assert.InEpsilon(t, measure(orderedremotewriteexporter.NewFactory()), ours, tolerance)
	assert.InEpsilon(t, measure(contribexporter.NewFactory()), theirs, tolerance)
}

// The README says how many samples come out of order if both have requests in flight at once, and answers take 50 to 150 ms.
func TestComparisonOfOrder(t *testing.T) {
	withWorkers(t)
	measure := func(factory exporter.Factory, settings string) (disordered int) {
		synctest.Test(t, func(t *testing.T) {
			e := &comparedEndpoint{status: well, took: func(n int) time.Duration {
				return time.Duration(50+n*37%100) * time.Millisecond
			}}
			m := startCompared(t, factory, e, settings)
			backlog(t, m, e)
			require.NoError(t, m.Shutdown(context.Background()))
			disordered = e.disordered
		})
		return disordered
	}
	ours, theirs := readmeRow(t, "Samples out of order in it, with several requests in flight")
	assert.EqualValues(t, ours, measure(orderedremotewriteexporter.NewFactory(), ""))
	assert.InEpsilon(t, measure(contribexporter.NewFactory(), "remote_write_queue: {num_consumers: 10}"), theirs, tolerance)
}

// The README says how many samples a minute costs in which the endpoint refuses the credentials.
func TestComparisonOfRefusedCredentials(t *testing.T) {
	measure := func(factory exporter.Factory) (lost int) {
		synctest.Test(t, func(t *testing.T) {
			begun := time.Now()
			e := &comparedEndpoint{took: steadily, status: func() int {
				if time.Since(begun) < time.Minute {
					return http.StatusUnauthorized
				}
				return http.StatusNoContent
			}}
			m := startCompared(t, factory, e, "")
			for range 120 {
				require.NoError(t, m.ConsumeMetrics(t.Context(), comparedPayload(time.Now())))
				time.Sleep(time.Second)
			}
			time.Sleep(time.Minute)
			require.NoError(t, m.Shutdown(context.Background()))
			lost = 120*comparedSeries - e.samples
		})
		return lost
	}
	ours, theirs := readmeRow(t, "Samples lost in a minute of 401")
	// What is under way when the endpoint pauses depends on how the series fall into partitions, which differs with each exporter.
	assert.Less(t, float64(measure(orderedremotewriteexporter.NewFactory())), ours)
	assert.InEpsilon(t, measure(contribexporter.NewFactory()), theirs, tolerance)
}
