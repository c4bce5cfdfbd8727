// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"math"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/orderedremotewrite/orderedremotewriteexporter/integration/internal/promserver"
	"github.com/orderedremotewrite/orderedremotewriteexporter/integration/internal/rig"
)

// noTargetInfo leaves out what most tests are not about.
const noTargetInfo = "target_info: {enabled: false}"

func TestPrometheusReadsGauges(t *testing.T) {
	inBothVersions(t, func(t *testing.T, v version) {
		now := start()
		p := rig.NewPayload("service.name", "shop", "service.instance.id", "a")
		m := p.Add("room.temperature")
		m.SetUnit("Cel")
		points := m.SetEmptyGauge().DataPoints()
		double := points.AppendEmpty()
		double.SetDoubleValue(-3.25)
		double.SetTimestamp(timestamp(now.Add(123 * time.Millisecond)))
		double.Attributes().PutStr("room", "cellar")
		integer := points.AppendEmpty()
		integer.SetIntValue(21)
		integer.SetTimestamp(timestamp(now))
		integer.Attributes().PutInt("room", 12)
		integer.Attributes().PutBool("heated", true)

		server := write(t, v, noTargetInfo, p)
		assertSeries(t, server, `{room="cellar"}`,
			`{__name__="room_temperature_celsius", instance="a", job="shop", room="cellar"}`,
			sample(now.Add(123*time.Millisecond), -3.25))
		assertSeries(t, server, `{room="12"}`,
			`{__name__="room_temperature_celsius", heated="true", instance="a", job="shop", room="12"}`,
			sample(now, 21))
		assert.InDelta(t, 21, server.Value(`max(room_temperature_celsius)`, now.Add(time.Second)), 0)
	})
}

// Values at the edge of what a float can hold arrive with the same bits. A NaN stays a NaN, and a recorded NaN with the
// bits of a stale marker does not end the series.
func TestPrometheusReadsExtremeValues(t *testing.T) {
	inBothVersions(t, func(t *testing.T, v version) {
		now := start()
		staleBits := math.Float64frombits(0x7ff0000000000002)
		values := map[string]float64{
			"zero": 0, "minus_zero": math.Copysign(0, -1), "infinite": math.Inf(1), "minus_infinite": math.Inf(-1),
			"greatest": math.MaxFloat64, "least": math.SmallestNonzeroFloat64, "nan": math.NaN(), "stale_bits": staleBits,
		}
		p := rig.NewPayload()
		for name, value := range values {
			p.Gauge("extreme", now, value, "is", name)
		}
		integers := p.Add("greatest_integer").SetEmptyGauge().DataPoints().AppendEmpty()
		integers.SetTimestamp(timestamp(now))
		integers.SetIntValue(math.MaxInt64)

		server := write(t, v, "", p)
		stored := server.Query("extreme", now)
		require.Len(t, stored, len(values))
		for _, s := range stored {
			name := s.Metric.Get("is")
			if name == "stale_bits" || name == "nan" {
				assert.True(t, math.IsNaN(s.F), name)
				assert.NotEqual(t, math.Float64bits(staleBits), math.Float64bits(s.F), name)
				continue
			}
			assert.Equal(t, math.Float64bits(values[name]), math.Float64bits(s.F), name)
		}
		assert.InDelta(t, float64(math.MaxInt64), server.Value("greatest_integer", now), 0)
	})
}

func TestPrometheusReadsSums(t *testing.T) {
	inBothVersions(t, func(t *testing.T, v version) {
		now := start()
		var payloads []*rig.Payload
		for i := range 4 {
			at := now.Add(time.Duration(i) * 15 * time.Second)
			p := rig.NewPayload()
			counter := p.Add("http.server.requests").SetEmptySum()
			counter.SetIsMonotonic(true)
			counter.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
			dp := counter.DataPoints().AppendEmpty()
			dp.SetTimestamp(timestamp(at))
			dp.SetIntValue(int64(100 + 30*i))
			dp.Attributes().PutStr("method", "GET")

			m := p.Add("queue.length")
			m.SetUnit("{item}")
			level := m.SetEmptySum()
			level.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
			dp = level.DataPoints().AppendEmpty()
			dp.SetTimestamp(timestamp(at))
			dp.SetDoubleValue(10 - float64(i))
			payloads = append(payloads, p)
		}
		server := write(t, v, "", payloads...)
		end := now.Add(45 * time.Second)
		assertSeries(t, server, "http_server_requests_total", `{__name__="http_server_requests_total", method="GET"}`,
			sample(now, 100), sample(now.Add(15*time.Second), 130), sample(now.Add(30*time.Second), 160), sample(end, 190))
		assertSeries(t, server, "queue_length", `{__name__="queue_length"}`,
			sample(now, 10), sample(now.Add(15*time.Second), 9), sample(now.Add(30*time.Second), 8), sample(end, 7))
		assert.InDelta(t, 2, server.Value(`rate(http_server_requests_total{method="GET"}[1m])`, end), 1e-9)
	})
}

func classicHistogram(p *rig.Payload, name string, at time.Time) pmetric.HistogramDataPoint {
	m := p.Add(name)
	m.SetUnit("s")
	h := m.SetEmptyHistogram()
	h.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	dp := h.DataPoints().AppendEmpty()
	dp.SetTimestamp(timestamp(at))
	dp.ExplicitBounds().FromRaw([]float64{0.5, 1, 2.5})
	dp.BucketCounts().FromRaw([]uint64{2, 3, 4, 1})
	dp.SetCount(10)
	dp.SetSum(12.5)
	return dp
}

func TestPrometheusReadsClassicHistograms(t *testing.T) {
	inBothVersions(t, func(t *testing.T, v version) {
		now := start()
		p := rig.NewPayload()
		classicHistogram(p, "latency", now).Attributes().PutStr("route", "/")

		server := write(t, v, "", p)
		for le, value := range map[string]float64{"0.5": 2, "1": 5, "2.5": 9, "+Inf": 10} {
			assertSeries(t, server, `{le="`+le+`"}`,
				`{__name__="latency_seconds_bucket", le="`+le+`", route="/"}`, sample(now, value))
		}
		assertSeries(t, server, `latency_seconds_sum`, `{__name__="latency_seconds_sum", route="/"}`, sample(now, 12.5))
		assertSeries(t, server, `latency_seconds_count`, `{__name__="latency_seconds_count", route="/"}`, sample(now, 10))
		// Half of the ten are at most 1, and nine at most 2.5.
		assert.Equal(t, map[string]float64{`{route="/"}`: 1}, server.Values(`histogram_quantile(0.5, latency_seconds_bucket)`, now))
		assert.Equal(t, map[string]float64{`{}`: 2.5}, server.Values(`histogram_quantile(0.9, sum by (le) (latency_seconds_bucket))`, now))
	})
}

func TestPrometheusReadsExponentialHistogramsAsNativeOnes(t *testing.T) {
	inBothVersions(t, func(t *testing.T, v version) {
		now := start()
		p := rig.NewPayload()
		h := p.Add("payload.size").SetEmptyExponentialHistogram()
		h.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
		dp := h.DataPoints().AppendEmpty()
		dp.SetTimestamp(timestamp(now))
		dp.SetScale(0) // bucket i is (2^i, 2^(i+1)]
		dp.Positive().SetOffset(3)
		dp.Positive().BucketCounts().FromRaw([]uint64{10, 0, 0, 20, 5, 2})
		dp.Negative().SetOffset(-1)
		dp.Negative().BucketCounts().FromRaw([]uint64{1})
		dp.SetZeroCount(2)
		dp.SetZeroThreshold(0.25)
		dp.SetCount(40)
		dp.SetSum(1234.5)
		dp.SetMin(-1)
		dp.SetMax(500)
		dp.Attributes().PutStr("route", "/")

		server := write(t, v, "", p)
		series := server.Series("payload_size")
		require.Len(t, series, 1)
		assert.Equal(t, `{__name__="payload_size", route="/"}`, series[0].Labels.String())
		require.Len(t, series[0].Samples, 1)
		stored := series[0].Samples[0]
		assert.Equal(t, now, stored.Time)
		require.NotNil(t, stored.Histogram)
		assert.Equal(t, `{count:40, sum:1234.5, [-1,-0.5):1, [-0.25,0.25]:2, (8,16]:10, (64,128]:20, (128,256]:5, (256,512]:2}`,
			stored.Histogram.String())

		assert.InDelta(t, 40, server.Value("histogram_count(payload_size)", now), 0)
		assert.InDelta(t, 1234.5, server.Value("histogram_sum(payload_size)", now), 0)
		median := server.Value("histogram_quantile(0.5, payload_size)", now)
		assert.Greater(t, median, 64.0)
		assert.LessOrEqual(t, median, 128.0)
		assert.InDelta(t, 27.0/40, server.Value("histogram_fraction(64, 512, payload_size)", now), 1e-9)
	})
}

// Prometheus has no finer buckets than those of scale 8.
func TestPrometheusReadsFineExponentialHistogramsScaledDown(t *testing.T) {
	inBothVersions(t, func(t *testing.T, v version) {
		now := start()
		p := rig.NewPayload()
		for _, scale := range []int32{8, 9, 10, 20} {
			h := p.Add("fine").SetEmptyExponentialHistogram()
			h.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
			dp := h.DataPoints().AppendEmpty()
			dp.SetTimestamp(timestamp(now))
			dp.Attributes().PutInt("scale", int64(scale))
			dp.SetScale(scale)
			// From just over 2 on: four values in each bucket of scale 8.
			dp.Positive().SetOffset(1 << scale)
			n := 2 << (scale - 8)
			dp.Positive().BucketCounts().FromRaw(make([]uint64, n))
			dp.Positive().BucketCounts().SetAt(0, 4)
			dp.Positive().BucketCounts().SetAt(n-1, 4)
			dp.SetCount(8)
			dp.SetSum(16.1)
		}
		server := write(t, v, "", p)
		series := server.Series("fine")
		require.Len(t, series, 4)
		for _, s := range series {
			h := s.Samples[0].Histogram
			require.NotNil(t, h, s.Labels)
			assert.Equal(t, int32(8), h.Schema, s.Labels)
			buckets := h.PositiveBucketIterator()
			for _, lower := range []float64{2, 2 * math.Exp2(1.0/256)} {
				require.True(t, buckets.Next(), s.Labels)
				b := buckets.At()
				assert.InDelta(t, lower, b.Lower, 1e-12, s.Labels)
				assert.InDelta(t, 4, b.Count, 0, s.Labels)
			}
			assert.False(t, buckets.Next(), s.Labels)
		}
		for labels, count := range server.Values("histogram_count(fine)", now) {
			assert.InDelta(t, 8, count, 0, labels)
		}
	})
}

func TestPrometheusReadsSummaries(t *testing.T) {
	inBothVersions(t, func(t *testing.T, v version) {
		now := start()
		p := rig.NewPayload()
		m := p.Add("gc.pause")
		m.SetUnit("ms")
		dp := m.SetEmptySummary().DataPoints().AppendEmpty()
		dp.SetTimestamp(timestamp(now))
		dp.SetCount(7)
		dp.SetSum(70)
		for quantile, value := range map[float64]float64{0: 1, 0.5: 8, 0.99: 30, 1: 31} {
			q := dp.QuantileValues().AppendEmpty()
			q.SetQuantile(quantile)
			q.SetValue(value)
		}
		server := write(t, v, "", p)
		for quantile, value := range map[string]float64{"0": 1, "0.5": 8, "0.99": 30, "1": 31} {
			assertSeries(t, server, `{quantile="`+quantile+`"}`,
				`{__name__="gc_pause_milliseconds", quantile="`+quantile+`"}`, sample(now, value))
		}
		assertSeries(t, server, `gc_pause_milliseconds_sum`, `{__name__="gc_pause_milliseconds_sum"}`, sample(now, 70))
		assertSeries(t, server, `gc_pause_milliseconds_count`, `{__name__="gc_pause_milliseconds_count"}`, sample(now, 7))
	})
}

func TestPrometheusStoresExemplars(t *testing.T) {
	inBothVersions(t, func(t *testing.T, v version) {
		now := start()
		exemplarOf := func(exemplars pmetric.ExemplarSlice, id byte, value float64) {
			e := exemplars.AppendEmpty()
			e.SetTimestamp(timestamp(now.Add(-time.Second)))
			e.SetDoubleValue(value)
			e.SetTraceID(pcommon.TraceID{15: id})
			e.SetSpanID(pcommon.SpanID{7: id})
			e.FilteredAttributes().PutStr("user.id", "u")
		}
		p := rig.NewPayload()
		sum := p.Add("orders").SetEmptySum()
		sum.SetIsMonotonic(true)
		sum.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
		counter := sum.DataPoints().AppendEmpty()
		counter.SetTimestamp(timestamp(now))
		counter.SetIntValue(3)
		exemplarOf(counter.Exemplars(), 1, 1)

		classic := classicHistogram(p, "latency", now)
		exemplarOf(classic.Exemplars(), 2, 0.75)
		exemplarOf(classic.Exemplars(), 3, 99)

		native := p.Add("size").SetEmptyExponentialHistogram()
		native.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
		point := native.DataPoints().AppendEmpty()
		point.SetTimestamp(timestamp(now))
		point.Positive().BucketCounts().FromRaw([]uint64{1})
		point.SetCount(1)
		point.SetSum(1.5)
		exemplarOf(point.Exemplars(), 4, 1.5)

		server := write(t, v, "", p)
		stored := map[string]string{}
		for _, result := range server.Exemplars(`{__name__!=""}`) {
			require.Len(t, result.Exemplars, 1, result.SeriesLabels)
			e := result.Exemplars[0]
			assert.Equal(t, now.Add(-time.Second).UnixMilli(), e.Ts)
			stored[result.SeriesLabels.String()] = e.Labels.String()
			if e.Labels.Get("span_id") == "0000000000000003" {
				assert.InDelta(t, 99, e.Value, 0)
			}
		}
		assert.Equal(t, map[string]string{
			`{__name__="orders_total"}`:                      `{span_id="0000000000000001", trace_id="00000000000000000000000000000001", user_id="u"}`,
			`{__name__="latency_seconds_bucket", le="1"}`:    `{span_id="0000000000000002", trace_id="00000000000000000000000000000002", user_id="u"}`,
			`{__name__="latency_seconds_bucket", le="+Inf"}`: `{span_id="0000000000000003", trace_id="00000000000000000000000000000003", user_id="u"}`,
			`{__name__="size"}`:                              `{span_id="0000000000000004", trace_id="00000000000000000000000000000004", user_id="u"}`,
		}, stored)
	})
}

// A point without a recorded value ends its series at once: a query does not look back beyond it.
func TestPrometheusEndsStaleSeries(t *testing.T) {
	inBothVersions(t, func(t *testing.T, v version) {
		noValue := pmetric.DefaultDataPointFlags.WithNoRecordedValue(true)
		now := start()
		later := now.Add(15 * time.Second)

		before, stale := rig.NewPayload(), rig.NewPayload()
		before.Gauge("gauge", now, 1)
		dp := stale.Add("gauge").SetEmptyGauge().DataPoints().AppendEmpty()
		dp.SetTimestamp(timestamp(later))
		dp.SetFlags(noValue)

		for p, at := range map[*rig.Payload]time.Time{before: now, stale: later} {
			sum := p.Add("sum").SetEmptySum()
			sum.SetIsMonotonic(true)
			sum.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
			dp := sum.DataPoints().AppendEmpty()
			dp.SetTimestamp(timestamp(at))

			// Stale with its bounds, and without.
			full := classicHistogram(p, "full", at)
			bare := classicHistogram(p, "bare", at)

			native := p.Add("native").SetEmptyExponentialHistogram()
			native.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
			np := native.DataPoints().AppendEmpty()
			np.SetTimestamp(timestamp(at))

			sp := p.Add("summary").SetEmptySummary().DataPoints().AppendEmpty()
			sp.SetTimestamp(timestamp(at))
			if p == stale {
				dp.SetFlags(noValue)
				full.SetFlags(noValue)
				bare.SetFlags(noValue)
				bare.ExplicitBounds().FromRaw(nil)
				bare.BucketCounts().FromRaw(nil)
				bare.SetCount(0)
				bare.RemoveSum()
				np.SetFlags(noValue)
				sp.SetFlags(noValue)
				continue
			}
			dp.SetIntValue(1)
			np.Positive().BucketCounts().FromRaw([]uint64{1})
			np.SetCount(1)
			np.SetSum(1.5)
			sp.SetCount(1)
			q := sp.QuantileValues().AppendEmpty()
			q.SetQuantile(0.5)
			q.SetValue(1)
		}

		server := write(t, v, "", before, stale)
		assert.Len(t, server.Query(`{__name__!=""}`, now.Add(14*time.Second)), 1+1+6+6+1+3)
		assert.Empty(t, server.Values(`{__name__!=""}`, later))
		assert.Empty(t, server.Values(`{__name__!=""}`, later.Add(time.Minute)))
		for _, series := range server.Series(`{__name__!=""}`) {
			require.Len(t, series.Samples, 2, series.Labels)
			assert.True(t, series.Samples[1].Stale(), series.Labels)
			assert.Equal(t, later, series.Samples[1].Time)
		}
	})
}

// A series that was stale goes on when it has a value again.
func TestPrometheusContinuesSeriesAfterStaleMarkers(t *testing.T) {
	inBothVersions(t, func(t *testing.T, v version) {
		now := start()
		stale := rig.NewPayload()
		dp := stale.Add("gauge").SetEmptyGauge().DataPoints().AppendEmpty()
		dp.SetTimestamp(timestamp(now.Add(time.Second)))
		dp.SetFlags(pmetric.DefaultDataPointFlags.WithNoRecordedValue(true))
		server := write(t, v, "",
			rig.NewPayload().Gauge("gauge", now, 1), stale, rig.NewPayload().Gauge("gauge", now.Add(2*time.Second), 2))
		assert.Empty(t, server.Values("gauge", now.Add(time.Second)))
		assert.InDelta(t, 2, server.Value("gauge", now.Add(2*time.Second)), 0)
	})
}

// target_info lets a query add any attribute of the resource to the resource's series.
func TestPrometheusJoinsTargetInfo(t *testing.T) {
	inBothVersions(t, func(t *testing.T, v version) {
		now := start()
		p := rig.NewPayload("service.name", "checkout", "service.namespace", "shop", "service.instance.id", "pod-1",
			"k8s.cluster.name", "eu", "empty", "")
		p.Gauge("carts", now.Add(-time.Second), 3)
		p.Gauge("carts", now, 4)

		server := write(t, v, "", p)
		assertSeries(t, server, "target_info",
			`{__name__="target_info", instance="pod-1", job="shop/checkout", k8s_cluster_name="eu"}`, sample(now, 1))
		assert.Equal(t, map[string]float64{`{instance="pod-1", job="shop/checkout", k8s_cluster_name="eu"}`: 4},
			server.Values(`carts * on (job, instance) group_left (k8s_cluster_name) target_info`, now))
	})
}

func TestPrometheusReadsScopeLabels(t *testing.T) {
	inBothVersions(t, func(t *testing.T, v version) {
		now := start()
		p := rig.NewPayload()
		p.Scope().Scope().SetName("meter")
		p.Scope().Scope().SetVersion("1.2")
		p.Scope().SetSchemaUrl("https://example.com/schema")
		p.Scope().Scope().Attributes().PutStr("lib.flavour", "x")
		p.Gauge("g", now, 1)
		assertSeries(t, write(t, v, "", p), "g", `{__name__="g", otel_scope_lib_flavour="x", otel_scope_name="meter", `+
			`otel_scope_schema_url="https://example.com/schema", otel_scope_version="1.2"}`, sample(now, 1))
		assertSeries(t, write(t, v, "disable_scope_info: true", p), "g", `{__name__="g"}`, sample(now, 1))
	})
}

// An external label does not take the place of an attribute.
func TestPrometheusReadsExternalLabels(t *testing.T) {
	inBothVersions(t, func(t *testing.T, v version) {
		now := start()
		p := rig.NewPayload("service.name", "shop", "region", "north")
		p.Gauge("g", now, 1)
		p.Gauge("g", now, 2, "cluster", "own")
		server := write(t, v, "external_labels: {cluster: eu, Zone: a}", p)
		assert.ElementsMatch(t, []string{
			`{Zone="a", __name__="g", cluster="eu", job="shop"}`,
			`{Zone="a", __name__="g", cluster="own", job="shop"}`,
			`{Zone="a", __name__="target_info", cluster="eu", job="shop", region="north"}`,
		}, server.Names())
	})
}

func TestPrometheusReadsTheNamespace(t *testing.T) {
	inBothVersions(t, func(t *testing.T, v version) {
		now := start()
		p := rig.NewPayload("service.name", "shop", "region", "north")
		p.Gauge("g", now, 1)
		classicHistogram(p, "latency", now)
		server := write(t, v, "namespace: acme", p)
		assert.ElementsMatch(t, []string{
			`{__name__="acme_g", job="shop"}`,
			`{__name__="acme_latency_seconds_bucket", job="shop", le="0.5"}`,
			`{__name__="acme_latency_seconds_bucket", job="shop", le="1"}`,
			`{__name__="acme_latency_seconds_bucket", job="shop", le="2.5"}`,
			`{__name__="acme_latency_seconds_bucket", job="shop", le="+Inf"}`,
			`{__name__="acme_latency_seconds_sum", job="shop"}`,
			`{__name__="acme_latency_seconds_count", job="shop"}`,
			`{__name__="acme_target_info", job="shop", region="north"}`,
		}, server.Names())
	})
}

func TestPrometheusReadsPromotedResourceAttributes(t *testing.T) {
	inBothVersions(t, func(t *testing.T, v version) {
		now := start()
		p := rig.NewPayload("service.name", "shop", "k8s.pod.name", "p", "k8s.node.name", "n", "host.name", "h")
		p.Gauge("g", now, 1)
		server := write(t, v, `{target_info: {enabled: false}, resource_constant_labels: {included: ["k8s.*"], excluded: ["*.node.*"]}}`, p)
		assertSeries(t, server, "g", `{__name__="g", job="shop", k8s_pod_name="p"}`, sample(now, 1))
	})
}

// What Prometheus cannot take is dropped with its reason before it is sent.
func TestPrometheusIsNotSentWhatItCannotTake(t *testing.T) {
	inBothVersions(t, func(t *testing.T, v version) {
		now := start()
		p := rig.NewPayload()
		p.Gauge("good", now, 1)
		p.Gauge("no.timestamp", time.Unix(0, 0), 1)
		delta := p.Add("delta").SetEmptySum()
		delta.SetAggregationTemporality(pmetric.AggregationTemporalityDelta)
		for range 3 {
			delta.DataPoints().AppendEmpty().SetTimestamp(timestamp(now))
		}
		coarse := p.Add("coarse").SetEmptyExponentialHistogram()
		coarse.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
		dp := coarse.DataPoints().AppendEmpty()
		dp.SetTimestamp(timestamp(now))
		dp.SetScale(-5)
		dp.SetSum(0)

		server := promserver.Start(t)
		exporter := rig.Start(t, server.Endpoint(), v.config, "")
		exporter.Send(p.Metrics)
		accounts := exporter.Close()
		assert.Equal(t, map[rig.Drop]int64{
			{Reason: "no_timestamp"}: 1, {Reason: "delta_temporality"}: 3, {Reason: "scale_too_low"}: 1,
		}, accounts.Dropped)
		assertStored(t, server, accounts)
		assert.Equal(t, []string{`{__name__="good"}`}, server.Names())
	})
}
