// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/orderedremotewrite/orderedremotewriteexporter/integration/internal/promserver"
	"github.com/orderedremotewrite/orderedremotewriteexporter/integration/internal/rig"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
)

// Two metrics, or two attribute sets, may become one series. Of two samples for one time the first is stored, and the
// other is counted as a duplicate.
func TestPrometheusStoresTheFirstOfCollidingSamples(t *testing.T) {
	inBothVersions(t, func(t *testing.T, v version) {
		now := start()
		for _, tc := range []struct {
			name   string
			add    func(*rig.Payload)
			series string
		}{
			{
				name:   "two metrics of one name",
				add:    func(p *rig.Payload) { p.Gauge("a.b", now, 1).Gauge("a_b", now, 2) },
				series: `{__name__="a_b"}`,
			},
			{
				name: "a counter and a gauge",
				add: func(p *rig.Payload) {
					sum := p.Add("requests").SetEmptySum()
					sum.SetIsMonotonic(true)
					sum.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
					dp := sum.DataPoints().AppendEmpty()
					dp.SetTimestamp(timestamp(now))
					dp.SetIntValue(1)
					p.Gauge("requests_total", now, 2)
				},
				series: `{__name__="requests_total"}`,
			},
			{
				name:   "an empty attribute and none",
				add:    func(p *rig.Payload) { p.Gauge("g", now, 1, "a", "").Gauge("g", now, 2) },
				series: `{__name__="g"}`,
			},
			{
				name:   "attributes of one label name",
				add:    func(p *rig.Payload) { p.Gauge("g", now, 1, "a.b", "x").Gauge("g", now, 2, "a-b", "x") },
				series: `{__name__="g", a_b="x"}`,
			},
			{
				name:   "the same series twice, in another order of attributes",
				add:    func(p *rig.Payload) { p.Gauge("g", now, 1, "a", "1", "b", "2").Gauge("g", now, 2, "b", "2", "a", "1") },
				series: `{__name__="g", a="1", b="2"}`,
			},
			{
				name:   "times that are the same in milliseconds",
				add:    func(p *rig.Payload) { p.Gauge("g", now, 1).Gauge("g", now.Add(999*time.Microsecond), 2) },
				series: `{__name__="g"}`,
			},
		} {
			t.Run(tc.name, func(t *testing.T) {
				server := promserver.Start(t)
				exporter := rig.Start(t, server.Endpoint(), v.config, "")
				p := rig.NewPayload()
				tc.add(p)
				exporter.Send(p.Metrics)
				accounts := exporter.Close()
				assert.Equal(t, map[rig.Drop]int64{{Reason: "duplicate"}: 1}, accounts.Dropped)
				assert.Equal(t, map[int]int{http.StatusNoContent: 1}, server.Statuses())
				assertStored(t, server, accounts)
				assertSeries(t, server, `{__name__!=""}`, tc.series, sample(now, 1))
				lines := droppedLines(exporter, "duplicate")
				require.Len(t, lines, 1)
				assert.NotEmpty(t, lines[0]["example"])
			})
		}
	})
}

// Of samples that collide but come in two payloads the first is stored, too, however late samples are treated.
func TestPrometheusStoresTheFirstOfSamplesThatCollideInTwoPayloads(t *testing.T) {
	inBothVersions(t, func(t *testing.T, v version) {
		now := start()
		for _, outOfOrder := range []string{"separate", "send", "drop"} {
			for values, second := range map[string]float64{"of another value": 2, "of the same value": 1} {
				t.Run(outOfOrder+" "+values, func(t *testing.T) {
					server := promserver.Start(t)
					exporter := rig.Start(t, server.Endpoint(), v.config, "out_of_order: "+outOfOrder)
					exporter.SendAndSettle(rig.NewPayload().Gauge("a.b", now, 1).Metrics)
					exporter.SendAndSettle(rig.NewPayload().Gauge("a_b", now, second).Metrics)
					accounts := exporter.Close()
					assert.Equal(t, map[rig.Drop]int64{{Reason: "duplicate"}: 1}, accounts.Dropped)
					assert.Equal(t, map[int]int{http.StatusNoContent: 1}, server.Statuses())
					assertStored(t, server, accounts)
					assertSeries(t, server, "a_b", `{__name__="a_b"}`, sample(now, 1))
				})
			}
		}
	})
}

// No exporter can know of the samples of another one. Prometheus stores the first, and refuses the second.
func TestPrometheusStoresTheFirstOfSamplesThatCollideOfTwoExporters(t *testing.T) {
	inBothVersions(t, func(t *testing.T, v version) {
		now := start()
		server := promserver.Start(t)
		first := rig.Start(t, server.Endpoint(), v.config)
		second := rig.Start(t, server.Endpoint(), v.config)
		first.SendAndSettle(rig.NewPayload().Gauge("a.b", now, 1).Metrics)
		second.SendAndSettle(rig.NewPayload().Gauge("a_b", now, 2).Metrics)
		assert.Equal(t, map[rig.Drop]int64{rejected: 1}, second.Close().Dropped)
		assertStored(t, server, first.Close())
		assertSeries(t, server, "a_b", `{__name__="a_b"}`, sample(now, 1))
	})
}

// What becomes of each kind of attribute, down to the label that Prometheus has in the end.
func TestPrometheusReadsAttributesAsLabels(t *testing.T) {
	inBothVersions(t, func(t *testing.T, v version) {
		now := start()
		for _, tc := range []struct {
			name       string
			resource   []string
			attributes []string
			labels     string
		}{
			{"values of one label name are joined in the order of their keys", nil, []string{"a.b", "2", "a-b", "1"}, `a_b="1;2"`},
			{"an empty value adds nothing to a joined one", nil, []string{"a.b", "2", "a-b", ""}, `a_b="2"`},
			{"an empty value is no label", nil, []string{"a", "", "b", "x"}, `b="x"`},
			{"an empty key is no label", nil, []string{"", "x", "b", "x"}, `b="x"`},
			{"an upper case name sorts before the metric's", nil, []string{"DeviceID", "7", "Zone", "z", "a", "1"}, `DeviceID="7", Zone="z", a="1"`},
			{"a name in another script", nil, []string{"größe", "1"}, `gr_e="1"`},
			{"a leading digit", nil, []string{"9lives", "1"}, `key_9lives="1"`},
			{"le is no label of a gauge's own", nil, []string{"le", "1"}, `le="1"`},
			{"quantile is no label of a gauge's own", nil, []string{"quantile", "0.5"}, `quantile="0.5"`},
			{"__name__ does not name the metric", nil, []string{"__name__", "x"}, `_name_="x"`},
			{"a reserved name is none any more", nil, []string{"__tenant_id__", "x"}, `_tenant_id_="x"`},
			{"job without a service", nil, []string{"job", "x", "instance", "y"}, `instance="y", job="x"`},
			{
				"job with a service",
				[]string{"service.name", "shop", "service.instance.id", "1"},
				[]string{"job", "x", "instance", "y"},
				`exported_instance="y", exported_job="x", instance="1", job="shop"`,
			},
			{
				"job with a service, and exported_job",
				[]string{"service.name", "shop"},
				[]string{"job", "x", "exported_job", "y"},
				`exported_exported_job="x", exported_job="y", job="shop"`,
			},
			{"an external label's name", nil, []string{"cluster", "own"}, `cluster="own"`},
			{"bytes that are no text", nil, []string{"a", "ok\xff\xfe"}, "a=\"ok\uFFFD\""},
			{"characters that need escapes", nil, []string{"a", "1\n2\"3\\4"}, `a="1\n2\"3\\4"`},
			{"a long value", nil, []string{"a", strings.Repeat("é", 5000)}, `a="` + strings.Repeat("é", 5000) + `"`},
		} {
			t.Run(tc.name, func(t *testing.T) {
				p := rig.NewPayload(tc.resource...).Gauge("metric", now, 1, tc.attributes...)
				config := noTargetInfo
				if slices.Contains(tc.attributes, "cluster") {
					config = "external_labels: {cluster: eu}"
				}
				server := write(t, v, config, p)
				stored := server.Series("metric")
				require.Len(t, stored, 1)
				var names []string
				for _, l := range strings.Split(strings.Trim(stored[0].Labels.String(), "{}"), ", ") {
					if !strings.HasPrefix(l, "__name__=") {
						names = append(names, l)
					}
				}
				assert.Equal(t, tc.labels, strings.Join(names, ", "))

				// The labels were sent in the order of their names' bytes.
				request := server.Requests()[0]
				message := server.Message(&request)
				require.Len(t, message.Series, 1)
				sent := message.Series[0].Labels
				assert.True(t, slices.IsSortedFunc(sent, func(a, b labels.Label) int { return strings.Compare(a.Name, b.Name) }), sent)
			})
		}
	})
}

// Attributes that are called like the labels that a histogram or a summary needs for itself get another name.
func TestPrometheusReadsHistogramsAndSummariesWithAttributesNamedLikeTheirLabels(t *testing.T) {
	inBothVersions(t, func(t *testing.T, v version) {
		now := start()
		p := rig.NewPayload()
		h := classicHistogram(p, "h", now)
		rig.Attributes(h.Attributes(), "le", "x", "quantile", "y")
		s := p.Add("s").SetEmptySummary().DataPoints().AppendEmpty()
		s.SetTimestamp(timestamp(now))
		rig.Attributes(s.Attributes(), "le", "x", "quantile", "y")
		q := s.QuantileValues().AppendEmpty()
		q.SetQuantile(0.5)

		server := write(t, v, "", p)
		assert.ElementsMatch(t, []string{
			`{__name__="h_seconds_bucket", exported_le="x", le="0.5", quantile="y"}`,
			`{__name__="h_seconds_bucket", exported_le="x", le="1", quantile="y"}`,
			`{__name__="h_seconds_bucket", exported_le="x", le="2.5", quantile="y"}`,
			`{__name__="h_seconds_bucket", exported_le="x", le="+Inf", quantile="y"}`,
			`{__name__="h_seconds_sum", exported_le="x", quantile="y"}`,
			`{__name__="h_seconds_count", exported_le="x", quantile="y"}`,
			`{__name__="s", exported_quantile="y", le="x", quantile="0.5"}`,
			`{__name__="s_sum", exported_quantile="y", le="x"}`,
			`{__name__="s_count", exported_quantile="y", le="x"}`,
		}, server.Names())
		assert.Equal(t, map[string]float64{`{exported_le="x", quantile="y"}`: 1},
			server.Values(`histogram_quantile(0.5, h_seconds_bucket)`, now))
	})
}

// isTimeFault says whether Prometheus finds fault with the time of a sample or an exemplar, and nothing else.
func isTimeFault(complaint string) bool {
	complaint, _, _ = strings.Cut(complaint, " for series {")
	switch complaint {
	case "out of bounds", "out of bounds: timestamp is too far in the future", "out of order exemplar":
		return true
	default:
		return false
	}
}

// Whatever comes over OTLP, Prometheus never finds fault with it but for its time, and never fails because of it, which
// would make the sender try again for ever. What is delivered is stored. That holds whatever the configuration adds to
// the labels.
func TestPrometheusTakesHostileMetrics(t *testing.T) {
	inBothVersions(t, func(t *testing.T, v version) {
		configs := map[string]string{
			"as they are": "{}",
			"with labels of all kinds": `{namespace: ns, external_labels: {job: x, instance: y, a: z, exported_job: w, otel_scope_name: v, A: u},
				resource_constant_labels: {included: ["*"]}}`,
		}
		if v.v2 {
			configs["not translated"] = "{translation_strategy: NoTranslation, convert_explicit_histograms_to_nhcb: true, keep_classic_histograms: true}"
		}
		for name, config := range configs {
			t.Run(name, func(t *testing.T) { takesHostileMetrics(t, v, config) })
		}
	})
}

func takesHostileMetrics(t *testing.T, v version, config string) {
	t.Helper()
	// In 1.0 each sample that is refused is found by itself.
	payloads := pick[uint64](v, 60, 150)
	server := promserver.Start(t)
	exporter := rig.Start(t, server.Endpoint(), v.config, config, "{partitions: 2, batch: {max_size_bytes: 1000000}}",
		"{out_of_order: drop, on_error: {rejected: isolate, max_isolation_requests: 100000}}",
		// Hostile metrics have fixed times, which are old by now: the guard must judge them like those of today.
		"max_past: 876000h")
	// The storage takes nothing that is more than an hour older than this, and hostile metrics have such times.
	first := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	exporter.SendAndSettle(rig.NewPayload().Gauge("first", first, 1).Metrics)
	for seed := range payloads {
		exporter.Send(rwtest.Hostile(rand.New(rand.NewPCG(1, seed))))
	}
	exporter.Settle()
	accounts := exporter.Close()

	for _, r := range server.Requests() {
		if r.Status == http.StatusNoContent {
			continue
		}
		assert.Equal(t, http.StatusBadRequest, r.Status)
		for line := range strings.Lines(r.Answer) {
			line = strings.TrimSpace(line)
			assert.True(t, isTimeFault(line), line)
		}
	}
	assert.Greater(t, accounts.Delivered, int64(payloads))
	assert.Zero(t, server.InvalidLabels())
	// A series here may be a histogram at one time and a float at another. If it ends as a float and goes on in the
	// same request, Prometheus takes the stale marker for that of the histogram, and loses it.
	missing := server.Missing()
	assert.Empty(t, slices.DeleteFunc(slices.Clone(missing), func(s promserver.Missing) bool { return s.Stale }))
	// What is delivered is stored, and what is rejected is no less than what is not.
	stored := int64(server.Stored() + len(missing))
	assert.GreaterOrEqual(t, stored, accounts.Delivered)
	assert.LessOrEqual(t, stored, accounts.Delivered+accounts.Dropped[rejected])
	t.Logf("%d samples delivered in %d requests, dropped %v", accounts.Delivered, len(server.Requests()), accounts.Dropped)
}
