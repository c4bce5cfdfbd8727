// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"math"
	"strings"

	"github.com/prometheus/otlptranslator"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// corpusCase is a payload and how it is translated.
type corpusCase struct {
	name    string
	how     translation
	metrics pmetric.Metrics
}

// corpus collects cases.
type corpus struct{ cases []corpusCase }

// add adds a case that is translated by the defaults, or as the edits say. A name begins with its class.
func (c *corpus) add(name string, metrics pmetric.Metrics, edits ...func(*translation)) {
	how := translation{strategy: otlptranslator.UnderscoreEscapingWithSuffixes}
	for _, e := range edits {
		e(&how)
	}
	c.cases = append(c.cases, corpusCase{name, how, metrics})
}

func custom(tr *translation)      { tr.custom = true }
func classicToo(tr *translation)  { tr.custom, tr.classic = true, true }
func noScope(tr *translation)     { tr.noScope = true }
func underscores(tr *translation) { tr.underscores = true }
func untranslated(tr *translation) {
	tr.strategy = otlptranslator.NoTranslation
}

func by(strategy otlptranslator.TranslationStrategyOption) func(*translation) {
	return func(tr *translation) { tr.strategy = strategy }
}

func external(labels map[string]string) func(*translation) {
	return func(tr *translation) { tr.externalLabels = labels }
}

// kinds are a metric of each kind, by what it is.
func kinds(name, unit string, edits ...pointEdit) []struct {
	kind   string
	metric metricOf
} {
	all := []struct {
		kind   string
		metric metricOf
	}{
		{"gauge of integers", gauge(name, number(42, edits...))},
		{"gauge", gauge(name, number(4.25, edits...))},
		{"counter", sum(name, true, number(7, edits...))},
		{"up-down counter", sum(name, false, number(-7.5, edits...))},
		{"histogram", explicit(name, buckets([]float64{0.5, 10}, []uint64{1, 2, 3}, edits...))},
		{"exponential histogram", exponential(name, scaled(2, -1, []uint64{1, 0, 2}, edits...))},
		{"summary", summary(name, quantiles([]float64{0.5, 0.99}, edits...))},
	}
	for i := range all {
		all[i].metric = of(unit, all[i].metric)
	}
	return all
}

var strategies = []otlptranslator.TranslationStrategyOption{
	otlptranslator.UnderscoreEscapingWithSuffixes, otlptranslator.UnderscoreEscapingWithoutSuffixes,
	otlptranslator.NoUTF8EscapingWithSuffixes, otlptranslator.NoTranslation,
}

// shop is a resource with job and instance and nothing else.
var shop = []any{"service.namespace", "eu", "service.name", "shop", "service.instance.id", "i-1"}

// theCorpus is every class of what can be sent.
func theCorpus() []corpusCase {
	var c corpus
	c.types()
	c.names()
	c.labels()
	c.labelValues()
	c.scopes()
	c.resources()
	c.targetInfo()
	c.times()
	c.values()
	c.stale()
	c.classicHistograms()
	c.customBuckets()
	c.nativeHistograms()
	c.exemplars()
	return c.cases
}

func (c *corpus) types() {
	for _, s := range strategies {
		for _, k := range kinds("http.requests", "By", with("http.method", "GET")) {
			c.add("types: "+k.kind+", "+string(s), payload(shop, k.metric), by(s))
		}
	}
	for _, k := range kinds("requests", "") {
		c.add("types: "+k.kind+", with a namespace", payload(shop, k.metric), func(tr *translation) { tr.namespace = "acme" })
	}
	for _, k := range kinds("requests", "")[2:6] {
		c.add("types: "+k.kind+", delta", payload(nil, temporal(pmetric.AggregationTemporalityDelta, k.metric)))
		c.add("types: "+k.kind+", without temporality", payload(nil, temporal(pmetric.AggregationTemporalityUnspecified, k.metric)))
	}
	for _, typ := range []string{"unknown", "info", "stateset", "gauge"} {
		c.add("types: gauge that was "+typ, payload(nil, wasOf(typ, gauge("x", number(1)))))
		c.add("types: up-down counter that was "+typ, payload(nil, wasOf(typ, sum("x", false, number(1)))))
	}
	c.add("types: counter that was unknown", payload(nil, wasOf("unknown", sum("x", true, number(1)))))
	c.add("types: no type", payload(nil, func(m pmetric.Metric) { m.SetName("x") }))
	c.add("types: no points", payload(shop, gauge("x"), sum("y", true), explicit("h"), exponential("e"), summary("s")))
}

func (c *corpus) names() {
	for _, unit := range []string{"1", "s", "ms", "%", "{request}", "{request}/s", "m/s", "By/m", "1/s", "Cel", "KiBy", "weird", "m/s/s", "/s", "m/", "By ", "{"} {
		c.add("units: counter of "+unit, payload(nil, of(unit, sum("used", true, number(1)))))
		c.add("units: gauge of "+unit, payload(nil, of(unit, gauge("used", number(1)))))
	}
	for _, s := range strategies {
		c.add("units: of no name, "+string(s), payload(nil, of("°C", gauge("x", number(1)))), by(s))
	}
	for _, n := range []struct{ name, unit string }{
		{"a..b", ""},
		{"a__b", ""},
		{"a-b c", ""},
		{"used_total", ""},
		{"used.total", ""},
		{"total", ""},
		{"used_total_total", ""},
		{"used_bytes", "By"},
		{"used.bytes.total", "By"},
		{"bytes", "By"},
		{"used_ratio", "1"},
		{"9lives", ""},
		{"_hidden", ""},
		{"__x__", ""},
		{"a:b", ""},
		{"Upper.Case", ""},
		{"x_bucket", ""},
		{"trailing.", ""},
		{".leading", ""},
		{"été", ""},
		{"温度", ""},
		{"_", ""},
		{"", ""},
		{"a\xffb", ""},
	} {
		c.add(fmt.Sprintf("names: counter %q of %q", n.name, n.unit), payload(nil, of(n.unit, sum(n.name, true, number(1)))))
		c.add(fmt.Sprintf("names: gauge %q of %q", n.name, n.unit), payload(nil, of(n.unit, gauge(n.name, number(1)))))
	}
	for _, name := range []string{"a..b", "温度", "a b", "used.total", "9lives", "", "_"} {
		c.add(fmt.Sprintf("names: untranslated %q", name), payload(nil, of("By", sum(name, true, number(1)))), untranslated)
		c.add(fmt.Sprintf("names: unescaped %q", name), payload(nil, of("By", sum(name, true, number(1)))), by(otlptranslator.NoUTF8EscapingWithSuffixes))
	}
	c.add("names: two metrics of one name", payload(nil, gauge("a.b", number(1)), gauge("a_b", number(2))))
	c.add("names: two metrics of one name and other types", payload(nil, gauge("a.b", number(1)), sum("a_b", false, number(2, with("x", "y")))))
	c.add("names: a description that is not UTF-8", payload(nil, func(m pmetric.Metric) {
		gauge("x", number(1))(m)
		m.SetDescription("a\xffb")
	}))
}

func (c *corpus) labels() {
	for _, l := range []struct {
		name  string
		pairs []any
	}{
		{"a plain one", []any{"host", "a"}},
		{"dots", []any{"http.request.method", "GET", "k8s.pod.name", "p"}},
		{"sorted", []any{"b", "1", "A", "2", "_c", "3", "a.b", "4"}},
		{"two that collide", []any{"a_b", "2", "a.b", "1"}},
		{"three that collide", []any{"a_b", "3", "a/b", "2", "a-b", "1"}},
		{"two that collide, of one value", []any{"a_b", "1", "a.b", "1"}},
		{"two that collide, one empty", []any{"a_b", "", "a.b", "1"}},
		{"runs of underscores", []any{"a__b", "1", "c..d", "2"}},
		{"runs that would collide", []any{"a__b", "1", "a_b", "2"}},
		{"a leading digit", []any{"9a", "1"}},
		{"a leading underscore", []any{"_a", "1"}},
		{"two leading underscores", []any{"__a", "1"}},
		{"reserved", []any{"__a__", "1"}},
		{"the name of a metric", []any{"__name__", "y"}},
		{"an empty key", []any{"", "1", "a", "2"}},
		{"an empty value", []any{"a", "", "b", "2"}},
		{"other scripts", []any{"été", "1", "日本", "2"}},
		{"nothing but underscores", []any{"___", "1"}},
		{"nothing but illegal characters", []any{"...", "1"}},
		{"a key that is not UTF-8", []any{"a\xff", "1"}},
		{"trace_id", []any{"trace_id", "1"}},
		{"many", manyLabels()},
	} {
		c.add("labels: "+l.name, payload(nil, gauge("x", number(1, with(l.pairs...)))))
		c.add("labels: untranslated, "+l.name, payload(nil, gauge("x", number(1, with(l.pairs...)))), untranslated)
	}
	c.add("labels: runs of underscores that are kept", payload(nil, gauge("x", number(1, with("a__b", "1", "c..d", "2", "a_b", "3")))), underscores)
	for _, name := range []string{"job", "instance", "le", "quantile"} {
		for _, k := range kinds("x", "", with(name, "mine")) {
			if k.kind != "gauge of integers" && k.kind != "up-down counter" {
				c.add("labels: "+name+" on a "+k.kind, payload(shop, k.metric))
			}
		}
	}
	c.add("labels: job and instance without a resource", payload(nil, gauge("x", number(1, with("job", "mine", "instance", "mine")))))
	c.add("labels: le on custom buckets", payload(nil, explicit("x", buckets([]float64{1}, []uint64{1, 2}, with("le", "mine")))), custom)
	c.add("external labels: plain", payload(shop, gauge("x", number(1, with("a", "b")))), external(map[string]string{"region": "eu"}))
	c.add("external labels: that an attribute has", payload(shop, gauge("x", number(1, with("region", "mine")))), external(map[string]string{"region": "eu"}))
	c.add("external labels: that an attribute has after conversion", payload(shop, gauge("x", number(1, with("a.b", "mine")))), external(map[string]string{"a_b": "eu"}))
	c.add("external labels: job", payload(shop, gauge("x", number(1))), external(map[string]string{"job": "mine"}))
}

func manyLabels() (pairs []any) {
	for i := range 40 {
		pairs = append(pairs, "key."+strings.Repeat("k", i), i)
	}
	return pairs
}

func (c *corpus) labelValues() {
	for _, v := range []struct {
		name  string
		value any
	}{
		{"integer", 42},
		{"double", 2.5},
		{"large double", 1e21},
		{"NaN", math.NaN()},
		{"infinity", math.Inf(1)},
		{"boolean", true},
		{"bytes", []byte("hello")},
		{"array", []any{1, "two", true, nil}},
		{"map", map[string]any{"b": 1, "a": []any{2.5}}},
		{"map with a NaN", map[string]any{"a": math.NaN()}},
		{"HTML", map[string]any{"a": "<b>&"}},
		{"nothing", nil},
		{"other scripts", "日本\n\"\\"},
		{"not UTF-8", "a\xffb"},
		{"long", strings.Repeat("v", 5000)},
	} {
		c.add("label values: "+v.name, payload(nil, gauge("x", number(1, with("a", v.value)))))
	}
}

func (c *corpus) scopes() {
	x := gauge("x", number(1, with("a", "b")))
	full := func(sm pmetric.ScopeMetrics) {
		sm.Scope().SetName("lib")
		sm.Scope().SetVersion("1.2")
	}
	attributes := func(pairs ...any) func(pmetric.ScopeMetrics) {
		return func(sm pmetric.ScopeMetrics) {
			full(sm)
			put(sm.Scope().Attributes(), pairs)
		}
	}
	c.add("scopes: name and version", scoped(shop, full, x))
	c.add("scopes: name and version, left out", scoped(shop, full, x), noScope)
	c.add("scopes: name and version, untranslated", scoped(shop, full, x), untranslated)
	for _, k := range kinds("x", "") {
		c.add("scopes: on a "+k.kind, scoped(shop, full, k.metric))
	}
	c.add("scopes: schema URL", scoped(shop, func(sm pmetric.ScopeMetrics) {
		full(sm)
		sm.SetSchemaUrl("https://schema")
	}, x))
	c.add("scopes: attributes", scoped(shop, attributes("c.d", 5, "e", "f"), x))
	c.add("scopes: attributes, untranslated", scoped(shop, attributes("c.d", 5, "e", "f"), x), untranslated)
	c.add("scopes: attributes that collide", scoped(shop, attributes("c.d", "2", "c-d", "1"), x))
	c.add("scopes: attributes named as what it has", scoped(shop, attributes("name", "1", "version", "2", "schema_url", "3"), x))
	c.add("scopes: attributes named so after conversion", scoped(shop, attributes(".name", "1", "schema.url", "2"), x))
	c.add("scopes: an empty attribute", scoped(shop, attributes("c", ""), x))
	c.add("scopes: a name that is not UTF-8", scoped(shop, func(sm pmetric.ScopeMetrics) { sm.Scope().SetName("a\xff") }, x))
	c.add("scopes: an attribute of the point of the same name", scoped(shop, full, gauge("x", number(1, with("otel_scope_name", "mine")))))
	c.add("scopes: an attribute of the point as an attribute", scoped(shop, attributes("c.d", "1"), gauge("x", number(1, with("otel.scope.c.d", "2")))))
	c.add("scopes: an attribute of the point, left out", scoped(shop, full, gauge("x", number(1, with("otel_scope_name", "mine")))), noScope)
	c.add("scopes: two of one resource", func() pmetric.Metrics {
		md := scoped(shop, full, x)
		sm := md.ResourceMetrics().At(0).ScopeMetrics().AppendEmpty()
		sm.Scope().SetName("other")
		x(sm.Metrics().AppendEmpty())
		return md
	}())
}

func (c *corpus) resources() {
	x := gauge("x", number(1))
	for _, r := range []struct {
		name  string
		pairs []any
	}{
		{"nothing", nil},
		{"name", []any{"service.name", "shop"}},
		{"namespace and name", []any{"service.namespace", "eu", "service.name", "shop"}},
		{"empty namespace", []any{"service.namespace", "", "service.name", "shop"}},
		{"namespace alone", []any{"service.namespace", "eu"}},
		{"empty name", []any{"service.name", "", "service.namespace", "eu"}},
		{"instance", []any{"service.instance.id", "i-1"}},
		{"empty instance", []any{"service.name", "shop", "service.instance.id", ""}},
		{"values that are no strings", []any{"service.namespace", 1, "service.name", true, "service.instance.id", []any{2}}},
		{"not UTF-8", []any{"service.name", "a\xff"}},
	} {
		c.add("resources: "+r.name, payload(r.pairs, x))
		c.add("resources: "+r.name+", described", payload(append(append([]any{}, r.pairs...), "host.name", "h"), x))
	}
}

func (c *corpus) targetInfo() {
	x := func(after pcommon.Timestamp) metricOf { return gauge("x", number(1, at(after))) }
	described := append(append([]any{}, shop...), "host.name", "h", "cloud.region", "eu")
	c.add("target_info: with a namespace", payload(described, x(0)), func(tr *translation) { tr.namespace = "acme" })
	c.add("target_info: untranslated", payload(described, x(0)), untranslated)
	c.add("target_info: left out", payload(described, x(0)), func(tr *translation) { tr.noTargetInfo = true })
	c.add("target_info: external labels", payload(described, x(0)), external(map[string]string{"region": "x", "host_name": "y"}))
	c.add("target_info: with a scope", scoped(described, func(sm pmetric.ScopeMetrics) { sm.Scope().SetName("lib") }, x(0)))
	c.add("target_info: attributes that collide", payload(append(append([]any{}, shop...), "a_b", "2", "a.b", "1"), x(0)))
	c.add("target_info: runs of underscores", payload(append(append([]any{}, shop...), "a..b", "1"), x(0)))
	c.add("target_info: job and instance among the attributes", payload(append(append([]any{}, described...), "job", "j", "instance", "i"), x(0)))
	c.add("target_info: empty attributes", payload(append(append([]any{}, shop...), "a", "", "b", nil), x(0)))
	c.add("target_info: identifying attributes kept", payload(described, x(0)), func(tr *translation) { tr.identity = true })
	c.add("target_info: points of several times", payload(described, gauge("x", number(1), number(2, at(2e9)), number(3, at(1e9)))))
	c.add("target_info: points over many minutes", payload(described, gauge("x", number(1), number(2, at(600e9)))))
	c.add("target_info: a newer point that cannot be sent", payload(described, gauge("x", number(1), number(nil, at(5e9)))))
	c.add("target_info: two resources of one description", joined(payload(described, x(0)), payload(described, gauge("y", number(1)))))
	c.add("target_info: two resources of one target", joined(payload(described, x(0)), payload(append(append([]any{}, shop...), "host.name", "other"), gauge("y", number(1)))))
	c.add("target_info: two targets", joined(payload(described, x(0)), payload([]any{"service.name", "bank", "host.name", "h"}, x(0))))
	c.add("target_info: received", payload(shop, gauge("target_info", number(1, with("host", "a")), number(1, with("host", "b")), number(1, with("host", "c")))))
	c.add("target_info: received and made", payload(described, gauge("target_info", number(1, with("host", "a")))))
}

func (c *corpus) times() {
	for _, k := range kinds("x", "", began(second-60e9)) {
		c.add("start times: "+k.kind, payload(nil, k.metric))
	}
	for _, k := range kinds("x", "", began(second+60e9)) {
		if k.kind != "gauge of integers" {
			c.add("start times: after the point, "+k.kind, payload(nil, k.metric))
		}
	}
	c.add("start times: the time of the point", payload(nil, sum("x", true, number(1, began(second)))))
	c.add("times: cut to milliseconds", payload(nil, gauge("x", number(1, at(1_999_999)))))
	c.add("times: none", payload(nil, gauge("x", number(1, timeless), number(2))))
	c.add("times: none on a histogram", payload(nil, explicit("x", buckets([]float64{1}, []uint64{1, 2}, timeless))))
	c.add("times: several points of a series", payload(nil, gauge("x", number(1), number(2, at(1e9)), number(3, at(2e9)))))
	c.add("times: points out of order", payload(nil, gauge("x", number(3, at(2e9)), number(1), number(2, at(1e9)))))
	c.add("times: two points of one time", payload(nil, gauge("x", number(1), number(2))))
	c.add("times: two points of one millisecond", payload(nil, gauge("x", number(1), number(2, at(999_999)))))
	c.add("times: two histograms of one time", payload(nil, explicit("x", buckets([]float64{1}, []uint64{1, 2}), buckets([]float64{1}, []uint64{3, 4}))))
}

func (c *corpus) values() {
	for _, v := range []struct {
		name  string
		value any
	}{
		{"none", nil},
		{"zero", 0},
		{"-0", math.Copysign(0, -1)},
		{"NaN", math.NaN()},
		{"the bits of a stale marker", staleBits},
		{"infinity", math.Inf(1)},
		{"greatest integer", math.MaxInt64},
		{"least", math.SmallestNonzeroFloat64},
	} {
		c.add("values: gauge of "+v.name, payload(nil, gauge("x", number(v.value))))
		c.add("values: counter of "+v.name, payload(nil, sum("x", true, number(v.value))))
	}
	c.add("values: a negative counter", payload(nil, sum("x", true, number(-3))))
	c.add("values: summary without quantiles", payload(nil, summary("x", quantiles(nil))))
	c.add("values: summary with quantiles twice", payload(nil, summary("x", quantiles([]float64{0.5, 0.5}))))
	c.add("values: summary with a quantile of NaN", payload(nil, summary("x", quantiles([]float64{math.NaN()}))))
	c.add("values: summary with a negative sum", payload(nil, summary("x", changed(quantiles([]float64{0.5}), func(dp pmetric.SummaryDataPoint) { dp.SetSum(-1) }))))
	c.add("values: sum of a histogram with the bits of a stale marker", payload(nil, explicit("x", changed(buckets([]float64{1}, []uint64{1, 2}), func(dp pmetric.HistogramDataPoint) { dp.SetSum(staleBits) }))))
}

func (c *corpus) stale() {
	for _, k := range kinds("x", "", stale, with("a", "b")) {
		c.add("stale: "+k.kind, payload(shop, k.metric))
	}
	c.add("stale: no value", payload(shop, gauge("x", number(nil, stale))))
	c.add("stale: histogram without bounds", payload(nil, explicit("x", buckets(nil, nil, stale))))
	c.add("stale: histogram without a sum", payload(nil, explicit("x", changed(buckets([]float64{1}, []uint64{1, 2}, stale), func(dp pmetric.HistogramDataPoint) { dp.RemoveSum() }))))
	c.add("stale: exponential histogram without a sum", payload(nil, exponential("x", changed(scaled(0, 0, nil, stale), pmetric.ExponentialHistogramDataPoint.RemoveSum))))
	c.add("stale: exponential histogram of a scale under -4", payload(nil, exponential("x", scaled(-5, 0, nil, stale))))
	c.add("stale: custom buckets", payload(nil, explicit("x", buckets([]float64{1}, []uint64{1, 2}, stale))), custom)
	c.add("stale: summary without quantiles", payload(nil, summary("x", quantiles(nil, stale))))
}
