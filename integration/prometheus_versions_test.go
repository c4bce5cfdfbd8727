// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/metadata"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/orderedremotewrite/orderedremotewriteexporter/integration/internal/promserver"
	"github.com/orderedremotewrite/orderedremotewriteexporter/integration/internal/rig"
)

func nativeHistogram(p *rig.Payload, name string, at time.Time) pmetric.ExponentialHistogramDataPoint {
	h := p.Add(name).SetEmptyExponentialHistogram()
	h.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	dp := h.DataPoints().AppendEmpty()
	dp.SetTimestamp(timestamp(at))
	dp.Positive().BucketCounts().FromRaw([]uint64{1, 2})
	dp.SetCount(3)
	dp.SetSum(5)
	return dp
}

// Prometheus counts what it has written of floats and of histograms apart. It has newer samples of another exporter for some
// series, and this exporter cannot know.
func TestPrometheusV2PartialWriteOfFloatsAndHistogramsIsExact(t *testing.T) {
	now := start()
	payload := func(n int, at time.Time) *rig.Payload {
		p := rig.NewPayload()
		for i := range n {
			name := string(rune('a' + i))
			p.Gauge("float", at, 1, "of", name)
			nativeHistogram(p, "histogram_"+name, at)
		}
		return p
	}
	server := promserver.Start(t)
	exporter := rig.Start(t, server.Endpoint(), versions["2.0"].config, "partitions: 1")
	other := rig.Start(t, server.Endpoint(), versions["2.0"].config, "partitions: 1")
	exporter.SendAndSettle(payload(6, now).Metrics)
	other.Send(payload(2, now.Add(time.Minute)).Metrics)
	before := other.Close()
	assert.Equal(t, int64(4), before.Delivered)
	second := payload(6, now.Add(time.Second))
	nativeHistogram(second, "histogram_new", now.Add(time.Second))
	exporter.SendAndSettle(second.Metrics)
	accounts := exporter.Close()
	assert.Equal(t, map[rig.Drop]int64{rejected: 4}, accounts.Dropped)
	assert.Equal(t, int64(12+13-4), accounts.Delivered)
	assert.Equal(t, map[int]int{http.StatusNoContent: 2, http.StatusBadRequest: 1}, server.Statuses())
	assertStoredBeside(t, server, int(before.Delivered), accounts)
}

// In 2.0 Prometheus answers 400 to a request with an exemplar that is older than the last one of its series, and stores
// all of its samples nevertheless. None of them is lost, and none may be counted as lost.
func TestPrometheusOutOfOrderExemplarCostsNoSample(t *testing.T) {
	inBothVersions(t, func(t *testing.T, v version) {
		now := start()
		counter := func(at time.Time, exemplars ...time.Time) *rig.Payload {
			p := gauges(10, allAt(at))
			sum := p.Add("orders").SetEmptySum()
			sum.SetIsMonotonic(true)
			sum.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
			dp := sum.DataPoints().AppendEmpty()
			dp.SetTimestamp(timestamp(at))
			dp.SetIntValue(3)
			for i, when := range exemplars {
				e := dp.Exemplars().AppendEmpty()
				e.SetTimestamp(timestamp(when))
				e.SetIntValue(1)
				e.SetTraceID(pcommon.TraceID{14: byte(when.Second()), 15: byte(i + 1)})
			}
			return p
		}
		server := promserver.Start(t)
		exporter := rig.Start(t, server.Endpoint(), v.config, "partitions: 1")
		// A reservoir of several exemplars replaces one of them, and still reports the others.
		exporter.SendAndSettle(counter(now.Add(10*time.Second), now.Add(1*time.Second), now.Add(5*time.Second)).Metrics)
		exporter.SendAndSettle(counter(now.Add(20*time.Second), now.Add(1*time.Second), now.Add(15*time.Second)).Metrics)
		accounts := exporter.Close()
		assertStored(t, server, accounts)
		assert.Empty(t, accounts.Dropped)
		assert.Equal(t, int64(22), accounts.Delivered)
	})
}

func TestPrometheusV2StoresHistogramsWithCustomBuckets(t *testing.T) {
	now := start()
	later := now.Add(15 * time.Second)
	for config, classic := range map[string]int{
		"convert_explicit_histograms_to_nhcb: true":                                  0,
		"{convert_explicit_histograms_to_nhcb: true, keep_classic_histograms: true}": 6,
	} {
		p := rig.NewPayload()
		classicHistogram(p, "latency", now).Attributes().PutStr("route", "/")
		stale := rig.NewPayload()
		dp := classicHistogram(stale, "latency", later)
		dp.Attributes().PutStr("route", "/")
		dp.SetFlags(pmetric.DefaultDataPointFlags.WithNoRecordedValue(true))
		dp.ExplicitBounds().FromRaw(nil)
		dp.BucketCounts().FromRaw(nil)

		server := write(t, versions["2.0"], config, p, stale)
		series := server.Series("latency_seconds")
		require.Len(t, series, 1)
		require.Len(t, series[0].Samples, 2)
		stored := series[0].Samples[0]
		require.NotNil(t, stored.Histogram)
		assert.Equal(t, int32(-53), stored.Histogram.Schema)
		assert.Equal(t, `{count:10, sum:12.5, [-Inf,0.5]:2, (0.5,1]:3, (1,2.5]:4, (2.5,+Inf]:1}`, stored.Histogram.String())
		assert.Equal(t, map[string]float64{`{route="/"}`: 1}, server.Values(`histogram_quantile(0.5, latency_seconds)`, now))
		assert.Equal(t, map[string]float64{`{route="/"}`: 10}, server.Values(`histogram_count(latency_seconds)`, now))
		assert.Len(t, server.Series(`{__name__=~"latency_seconds_.*"}`), classic)
		assert.Empty(t, server.Values(`{__name__!=""}`, later))
	}
}

// 2.0 carries any name. Prometheus keeps it as it is.
func TestPrometheusV2KeepsNamesThatAreNotTranslated(t *testing.T) {
	now := start()
	p := rig.NewPayload("service.name", "shop").Gauge("größe.in.metern", now, 1, "k8s.pod.name", "p", "über", "x")
	p.Scope().Scope().SetName("meter")
	server := write(t, versions["2.0"], "{translation_strategy: NoTranslation, target_info: {enabled: false}}", p)
	assertSeries(t, server, `{"größe.in.metern"}`,
		`{__name__="größe.in.metern", job="shop", "k8s.pod.name"="p", otel_scope_name="meter", "über"="x"}`, sample(now, 1))
	assert.InDelta(t, 1, server.Value(`sum by ("k8s.pod.name") ({"größe.in.metern"})`, now), 0)
}

// Every series has the metadata of its metric, and the time at which its counting began.
func TestPrometheusV2GetsMetadataAndStartTimestamps(t *testing.T) {
	now := start()
	began := now.Add(-time.Hour)
	p := rig.NewPayload("service.name", "shop", "region", "north")
	gauge := p.Add("temperature")
	gauge.SetUnit("Cel")
	gauge.SetDescription("How warm it is.")
	dp := gauge.SetEmptyGauge().DataPoints().AppendEmpty()
	dp.SetTimestamp(timestamp(now))
	dp.SetDoubleValue(1)

	counter := p.Add("orders")
	counter.SetDescription("Orders so far.")
	counter.SetEmptySum().SetIsMonotonic(true)
	counter.Sum().SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	dp = counter.Sum().DataPoints().AppendEmpty()
	dp.SetTimestamp(timestamp(now))
	dp.SetStartTimestamp(timestamp(began))
	dp.SetIntValue(1)

	classicHistogram(p, "latency", now).SetStartTimestamp(timestamp(began))
	nativeHistogram(p, "size", now).SetStartTimestamp(timestamp(began))
	summary := p.Add("pause").SetEmptySummary().DataPoints().AppendEmpty()
	summary.SetTimestamp(timestamp(now))
	summary.SetStartTimestamp(timestamp(began))

	server := write(t, versions["2.0"], "partitions: 1", p)
	got := map[string]metadata.Metadata{}
	started := map[string]bool{}
	for _, r := range server.Requests() {
		for _, series := range server.Message(&r).Series {
			name := series.Name[strings.Index(series.Name, `"`)+1:]
			name = name[:strings.Index(name, `"`)]
			got[name] = series.Metadata
			for _, s := range series.Samples {
				started[name] = s.Start.Equal(began)
			}
		}
	}
	assert.Equal(t, map[string]metadata.Metadata{
		"temperature_celsius":    {Type: model.MetricTypeGauge, Unit: "celsius", Help: "How warm it is."},
		"orders_total":           {Type: model.MetricTypeCounter, Help: "Orders so far."},
		"latency_seconds_bucket": {Type: model.MetricTypeHistogram, Unit: "seconds"},
		"latency_seconds_sum":    {Type: model.MetricTypeHistogram, Unit: "seconds"},
		"latency_seconds_count":  {Type: model.MetricTypeHistogram, Unit: "seconds"},
		"size":                   {Type: model.MetricTypeHistogram},
		"pause_sum":              {Type: model.MetricTypeSummary},
		"pause_count":            {Type: model.MetricTypeSummary},
		"target_info":            {Type: model.MetricTypeGauge, Help: got["target_info"].Help},
	}, got)
	assert.Equal(t, map[string]bool{
		"temperature_celsius": false, "orders_total": true,
		"latency_seconds_bucket": true, "latency_seconds_sum": true, "latency_seconds_count": true,
		"size": true, "pause_sum": true, "pause_count": true, "target_info": false,
	}, started)
}

// In 1.0 metadata has requests of its own, which Prometheus accepts, and which are no samples.
func TestPrometheusV1GetsMetadata(t *testing.T) {
	now := start()
	server := promserver.Start(t)
	exporter := rig.Start(t, server.Endpoint(), "{send_metadata: true, metadata_interval: 20ms, partitions: 1}")
	p := rig.NewPayload()
	m := p.Add("temperature")
	m.SetUnit("Cel")
	m.SetDescription("How warm it is.")
	dp := m.SetEmptyGauge().DataPoints().AppendEmpty()
	dp.SetTimestamp(timestamp(now))
	dp.SetDoubleValue(1)
	exporter.Send(p.Metrics)
	families := func() map[string]metadata.Metadata {
		got := map[string]metadata.Metadata{}
		for _, r := range server.Requests() {
			for family, m := range server.Message(&r).Metadata {
				got[family] = m
			}
		}
		return got
	}
	// A shutdown does not wait for metadata, so the answer must be there before it.
	require.Eventually(t, func() bool { return len(families()) > 0 && server.Statuses()[0] == 0 }, patience, 5*time.Millisecond)
	assert.Equal(t, map[string]metadata.Metadata{
		"temperature_celsius": {Type: model.MetricTypeGauge, Unit: "celsius", Help: "How warm it is."},
	}, families())
	accounts := exporter.Close()
	assert.Equal(t, map[int]int{http.StatusNoContent: len(server.Requests())}, server.Statuses())
	assert.Equal(t, int64(1), accounts.Delivered)
	assertStored(t, server, accounts)
}

// A server that reads 1.0 only gets 1.0, and misses nothing of what was already encoded as 2.0.
func TestPrometheusV1GetsEverySampleFromASenderOf2(t *testing.T) {
	for name, unread := range map[string]promserver.Interceptor{
		// Prometheus answers 415.
		"415": func(*promserver.Request) promserver.Fault { return promserver.Fault{} },
		// Others accept what they cannot read, and store nothing of it.
		"204 without the numbers": func(r *promserver.Request) promserver.Fault {
			if r.Header.Get("X-Prometheus-Remote-Write-Version") == "2.0.0" {
				return promserver.Fault{Status: http.StatusNoContent}
			}
			return promserver.Fault{}
		},
		// And others find fault with the message.
		"400": func(r *promserver.Request) promserver.Fault {
			if r.Header.Get("X-Prometheus-Remote-Write-Version") == "2.0.0" {
				return promserver.Fault{Status: http.StatusBadRequest, Body: "snappy: corrupt input"}
			}
			return promserver.Fault{}
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := promserver.Start(t, promserver.WithMessages(promserver.V1))
			server.Intercept(unread)
			exporter := rig.Start(t, server.Endpoint(), versions["2.0"].config, "{partitions: 8, batch: {max_samples: 200}}")
			expected := produce(t, exporter)
			accounts := exporter.Close()
			assert.Equal(t, accounts.Received, accounts.Delivered)
			assert.Empty(t, accounts.Dropped)
			assert.Equal(t, int64(1), accounts.Fallback)
			assert.Len(t, exporter.Logs.FilterMessageSnippet("does not read Remote-Write 2.0").All(), 1)
			unreadable := 0
			for _, r := range server.Requests() {
				if server.Message(&r).V2 {
					unreadable++
				} else {
					assert.Equal(t, http.StatusNoContent, r.Status, r.Answer)
				}
			}
			assert.Positive(t, unreadable)
			assert.LessOrEqual(t, unreadable, 8, "one of each partition")
			assertSamples(t, server, expected)
			stored := server.Stored()
			assert.Equal(t, int(accounts.Delivered), stored)
		})
	}
}

// Where names need 2.0, what 1.0 cannot carry is dropped with that reason, and costs nothing else.
func TestPrometheusV1IsNotSentNamesThatOnlyV2CanCarry(t *testing.T) {
	now := start()
	server := promserver.Start(t, promserver.WithMessages(promserver.V1))
	exporter := rig.Start(t, server.Endpoint(), versions["2.0"].config, "{partitions: 1, translation_strategy: NoTranslation}")
	for i := range 3 {
		p := rig.NewPayload()
		at := now.Add(time.Duration(i) * time.Second)
		p.Gauge("classic", at, 1)
		p.Gauge("not.classic", at, 1)
		p.Gauge("classic", at, 1, "not.classic", "x")
		nativeHistogram(p, "native", at)
		exporter.SendAndSettle(p.Metrics)
	}
	accounts := exporter.Close()
	var needV2 int64
	for drop, n := range accounts.Dropped {
		assert.Equal(t, "needs_remote_write_2", drop.Reason)
		needV2 += n
	}
	assert.Equal(t, int64(6), needV2)
	assert.Equal(t, int64(6), accounts.Delivered)
	assert.ElementsMatch(t, []string{`{__name__="classic"}`, `{__name__="native"}`}, server.Names())
}

// Histograms with custom buckets need 2.0, so that there is no fallback; the classic series beside them go as 1.0.
func TestPrometheusV1GetsTheClassicSeriesBesideCustomBuckets(t *testing.T) {
	now := start()
	server := promserver.Start(t, promserver.WithMessages(promserver.V1))
	exporter := rig.Start(t, server.Endpoint(), versions["2.0"].config,
		"{partitions: 1, convert_explicit_histograms_to_nhcb: true, keep_classic_histograms: true}")
	for i := range 3 {
		p := rig.NewPayload()
		classicHistogram(p, "latency", now.Add(time.Duration(i)*time.Second))
		exporter.SendAndSettle(p.Metrics)
	}
	accounts := exporter.Close()
	assert.Equal(t, map[rig.Drop]int64{{Reason: "needs_remote_write_2"}: 3}, accounts.Dropped)
	assert.Equal(t, int64(3*6), accounts.Delivered)
	assert.Zero(t, accounts.Fallback)
	assertStored(t, server, accounts)
	assert.Equal(t, map[string]float64{`{}`: 1}, server.Values(`histogram_quantile(0.5, latency_seconds_bucket)`, now.Add(2*time.Second)))
}
