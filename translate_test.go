// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"math"
	"strings"
	"testing"

	"github.com/prometheus/otlptranslator"
	"github.com/stretchr/testify/assert"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
)

// The tests named TestRule follow a numbered reading of the OpenTelemetry specification, "Prometheus and OpenMetrics
// Compatibility". Each begins with its rule.

type metrics = []func(pmetric.Metric)

func strategy(s otlptranslator.TranslationStrategyOption) func(*Config) {
	return func(c *Config) { c.TranslationStrategy = s }
}

// TestRule01TranslationStrategies: what each of the four strategies makes of a counter foo.bar in bytes, and of the keys
// of its attributes.
func TestRule01TranslationStrategies(t *testing.T) {
	counter := metrics{withUnit("By", sumOf("foo.bar", true, number(1, with("http.method", "GET"))))}
	runTranslations(t, []translationCase{
		{
			name: "default", edit: strategy(createDefaultConfig().(*Config).TranslationStrategy), metrics: counter,
			want: []string{`foo_bar_bytes_total{http_method="GET"} 1 @1000`},
		},
		{
			name: "escaping with suffixes", edit: strategy(otlptranslator.UnderscoreEscapingWithSuffixes), metrics: counter,
			want: []string{`foo_bar_bytes_total{http_method="GET"} 1 @1000`},
		},
		{
			name: "escaping without suffixes", edit: strategy(otlptranslator.UnderscoreEscapingWithoutSuffixes), metrics: counter,
			want: []string{`foo_bar{http_method="GET"} 1 @1000`},
		},
		{
			name: "UTF-8 with suffixes", edit: strategy(otlptranslator.NoUTF8EscapingWithSuffixes), metrics: counter,
			want: []string{`foo.bar_bytes_total{"http.method"="GET"} 1 @1000`},
		},
		{
			name: "UTF-8 as it is", edit: strategy(otlptranslator.NoTranslation), metrics: counter,
			want: []string{`foo.bar{"http.method"="GET"} 1 @1000`},
		},
		{
			name: "parts of a histogram", edit: strategy(otlptranslator.NoTranslation),
			metrics: metrics{histogramOf("foo.bar", buckets(nil, []uint64{3}))},
			want:    []string{`foo.bar_bucket{le="+Inf"} 3 @1000`, `foo.bar_count{} 3 @1000`, `foo.bar_sum{} 100 @1000`},
		},
	})
}

// TestRule02MetricNames: illegal characters, units, suffixes, digits, namespaces.
func TestRule02MetricNames(t *testing.T) {
	const gauge, counter, upDown = "gauge", "counter", "up-down counter"
	for _, c := range []struct{ name, unit, kind, namespace, want string }{
		{"foo", "", gauge, "", "foo"},
		{"a-b..c__d", "", gauge, "", "a_b_c_d"},
		{"a:b", "", gauge, "", "a:b"},
		{"温度.x", "", gauge, "", "x"},
		{"bad\xffutf8", "", gauge, "", "bad_utf8"},
		{"temp", "Cel", gauge, "", "temp_celsius"},
		{"used", "By", gauge, "", "used_bytes"},
		{"speed", "m/s", gauge, "", "speed_meters_per_second"},
		{"requests", "{request}", gauge, "", "requests"},
		{"requests", "{request}/s", gauge, "", "requests_per_second"},
		{"odd", "weird-unit", gauge, "", "odd_weird_unit"},
		{"busy", "s", counter, "", "busy_seconds_total"},
		{"busy_seconds_total", "s", counter, "", "busy_seconds_total"},
		{"busy.seconds", "s", upDown, "", "busy_seconds"},
		{"usage", "1", gauge, "", "usage_ratio"},
		{"usage_ratio", "1", gauge, "", "usage_ratio"},
		{"tries", "1", counter, "", "tries_total"},
		{"level", "1", upDown, "", "level"},
		{"9lives", "", gauge, "", "_9lives"},
		{"foo", "", gauge, "shop", "shop_foo"},
		{"9lives", "", gauge, "shop", "shop_9lives"},
	} {
		t.Run(strings.Join([]string{c.name, c.unit, c.kind, c.namespace}, ","), func(t *testing.T) {
			m := sumOf(c.name, c.kind == counter, number(1))
			if c.kind == gauge {
				m = gaugeOf(c.name, number(1))
			}
			namespace := func(cfg *Config) { cfg.Namespace = c.namespace }
			checkTranslation(t, namespace, []pmetric.Metrics{metricsOf(nil, withUnit(c.unit, m))}, []string{c.want + `{} 1 @1000`}, nil)
		})
	}
	runTranslations(t, []translationCase{
		{
			name: "no name",
			metrics: metrics{
				gaugeOf("", number(1), number(2)), gaugeOf("温度", number(1)), gaugeOf("_", number(1)), histogramOf("-", buckets(nil, nil)),
				exponentialOf(".", exponential(0, 0, nil)), summaryOf("", quantiles(nil)),
			},
			drops: map[account.Reason]int{account.ReasonInvalidName: 7},
		},
		{
			name: "nothing but unit and suffix",
			metrics: metrics{
				sumOf("", true, number(1)), sumOf("温度", true, number(1)), withUnit("By", gaugeOf("_", number(1))),
				withUnit("1", gaugeOf("...", number(1))), sumOf("total", true, number(2)),
			},
			want:  []string{`total{} 2 @1000`},
			drops: map[account.Reason]int{account.ReasonInvalidName: 4},
		},
		{
			name: "nothing but unit and suffix in UTF-8", edit: strategy(otlptranslator.NoUTF8EscapingWithSuffixes),
			metrics: metrics{sumOf("", true, number(1)), withUnit("By", gaugeOf("", number(1))), sumOf("温度", true, number(2))},
			want:    []string{`温度_total{} 2 @1000`},
			drops:   map[account.Reason]int{account.ReasonInvalidName: 2},
		},
		{
			name: "nothing but a namespace", edit: func(c *Config) { c.Namespace = "shop" },
			metrics: metrics{gaugeOf("", number(1)), gaugeOf("_", number(1)), sumOf("-", true, number(1))},
			drops:   map[account.Reason]int{account.ReasonInvalidName: 3},
		},
		{
			name: "no name as it is", edit: strategy(otlptranslator.NoTranslation), metrics: metrics{gaugeOf("", number(1))},
			drops: map[account.Reason]int{account.ReasonInvalidName: 1},
		},
	})
}

// TestRule03LabelNames: what becomes of attribute keys. A name that begins with __ is reserved (Remote-Write 1.0,
// "Labels"), and no key costs its point.
func TestRule03LabelNames(t *testing.T) {
	for _, c := range []struct{ key, escaped, utf8 string }{
		{"host", "host", "host"},
		{"Host", "Host", "Host"},
		{"http.method", "http_method", "http.method"},
		{"a--b__c", "a_b_c", "a--b__c"},
		{"_a", "_a", "_a"},
		{"9a", "key_9a", "9a"},
		{"9", "key_9", "9"},
		{"日本", "_", "日本"},
		{"été", "_t_", "été"},
		{"a\xffb", "a_b", "a\uFFFDb"},
		{"\xff", "_", "\uFFFD"},
		{"_", "_", "_"},
		{"___", "_", "_"},
		{"____", "_", "_"},
		{"__x__", "_x_", "_x__"},
		{"__x", "_x", "_x"},
		{"__é__", "_", "_é__"},
		{"__name__", "_name_", "_name__"},
		{"", "", ""},
		{strings.Repeat("k", 1000), strings.Repeat("k", 1000), strings.Repeat("k", 1000)},
	} {
		for s, want := range map[otlptranslator.TranslationStrategyOption]string{
			otlptranslator.UnderscoreEscapingWithSuffixes: c.escaped, otlptranslator.UnderscoreEscapingWithoutSuffixes: c.escaped,
			otlptranslator.NoUTF8EscapingWithSuffixes: c.utf8, otlptranslator.NoTranslation: c.utf8,
		} {
			assert.Equal(t, want, testNamer(configOf(strategy(s))).labelName(c.key), "key %.20q, %s", c.key, s)
		}
	}
	runTranslations(t, []translationCase{
		{
			name:    "in a series, sorted bytewise",
			metrics: metrics{gaugeOf("x", number(1, with("b", "1", "Z", "2", "_c", "3", "a.b", "4", "", "5", "é", "6")))},
			want:    []string{`x{Z="2",_="6",_c="3",a_b="4",b="1"} 1 @1000`},
		},
		{
			name:    "the name of a metric does not become a label",
			metrics: metrics{gaugeOf("x", number(1, with("__name__", "y")))},
			want:    []string{`x{_name_="y"} 1 @1000`},
		},
	})
}

// TestRule20RunsOfUnderscores: label names keep them if they are to be as Prometheus and the contrib exporter make them. Even
// then no name begins with two, which is reserved.
func TestRule20RunsOfUnderscores(t *testing.T) {
	preserve := func(c *Config) { c.LabelNamePreserveMultipleUnderscores = true }
	for _, c := range []struct{ key, collapsed, preserved string }{
		{"a..b", "a_b", "a__b"},
		{"a__b", "a_b", "a__b"},
		{"a_.-b", "a_b", "a___b"},
		{"a__", "a_", "a__"},
		{"日本", "_", "_"},
		{"__x__", "_x_", "_x__"},
		{"..x", "_x", "_x"},
		{"9..a", "key_9_a", "key_9__a"},
	} {
		assert.Equal(t, c.collapsed, testNamer(configOf(nil)).labelName(c.key), "key %q", c.key)
		assert.Equal(t, c.preserved, testNamer(configOf(preserve)).labelName(c.key), "key %q", c.key)
	}
	runTranslations(t, []translationCase{
		{
			name: "collapsed", scope: scoped("b..c", "1"), resource: append(described, "d..e", "2"),
			metrics: metrics{gaugeOf("x..y", number(1, with("a..b", "1", "a.b", "2")))},
			want: []string{
				`x_y{a_b="1;2",instance="i-1",job="shop",otel_scope_b_c="1",otel_scope_name="lib"} 1 @1000`,
				`target_info{d_e="2",host_name="h",instance="i-1",job="shop"} 1 @1000`,
			},
		},
		{
			name: "preserved, but not in metric names", edit: preserve, scope: scoped("b..c", "1"), resource: append(described, "d..e", "2"),
			metrics: metrics{gaugeOf("x..y", number(1, with("a..b", "1", "a.b", "2")))},
			want: []string{
				`x_y{a__b="1",a_b="2",instance="i-1",job="shop",otel_scope_b__c="1",otel_scope_name="lib"} 1 @1000`,
				`target_info{d__e="2",host_name="h",instance="i-1",job="shop"} 1 @1000`,
			},
		},
	})
}

// TestRule03CollidingKeys: when keys become one name, their values are joined in the order of the keys.
func TestRule03CollidingKeys(t *testing.T) {
	runTranslations(t, []translationCase{
		{
			name:    "joined in the order of the keys",
			metrics: metrics{gaugeOf("x", number(1, with("a_b", "3", "a.b", "2", "a-b", "1")))},
			want:    []string{`x{a_b="1;2;3"} 1 @1000`},
		},
		{
			name:    "without the empty ones",
			metrics: metrics{gaugeOf("x", number(1, with("a_b", "3", "a.b", "", "a-b", "1", "c.d", "", "c-d", "")))},
			want:    []string{`x{a_b="1;3"} 1 @1000`},
		},
		{
			name: "kept apart in UTF-8", edit: strategy(otlptranslator.NoTranslation),
			metrics: metrics{gaugeOf("x", number(1, with("a_b", "3", "a.b", "2")))},
			want:    []string{`x{"a.b"="2",a_b="3"} 1 @1000`},
		},
	})
}

// TestRule03LabelValues: values that are no strings follow the rules for AnyValue to string; empty ones are left out;
// what is not UTF-8 is repaired.
func TestRule03LabelValues(t *testing.T) {
	for _, c := range []struct {
		value any
		want  string
	}{
		{"plain", `"plain"`},
		{"", ""},
		{nil, ""},
		{"a\x00\n\"é🎉", `"a\x00\n\"é🎉"`},
		{"a\xff\xfe\xed\xa0\x80b", `"a�b"`},
		{"\xff", `"�"`},
		{true, `"true"`},
		{false, `"false"`},
		{-42, `"-42"`},
		{int64(math.MaxInt64), `"9223372036854775807"`},
		{2.5, `"2.5"`},
		{1e21, `"1e+21"`},
		{math.NaN(), `"NaN"`},
		{math.Inf(1), `"Infinity"`},
		{math.Inf(-1), `"-Infinity"`},
		{[]byte("hello world"), `"aGVsbG8gd29ybGQ="`},
		{[]byte{}, ""},
		{[]any{}, `"[]"`},
		{[]any{1, math.Inf(-1), "<a\xff>", true, map[string]any{"nested": []byte("hello world")}, nil}, `"[1,\"-Infinity\",\"<a\\ufffd>\",true,{\"nested\":\"aGVsbG8gd29ybGQ=\"},null]"`},
		{map[string]any{}, `"{}"`},
		{map[string]any{"b": 2, "a": math.NaN(), "c": []any{3, math.Inf(1)}}, `"{\"a\":\"NaN\",\"b\":2,\"c\":[3,\"Infinity\"]}"`},
	} {
		want := "{}"
		if c.want != "" {
			want = "{a=" + c.want + "}"
		}
		checkTranslation(t, nil, []pmetric.Metrics{metricsOf(nil, gaugeOf("x", number(1, with("a", c.value))))}, []string{"x" + want + " 1 @1000"}, nil)
		// le is encoded apart from the other labels.
		want = strings.Replace(want, "{a=", "{le=", 1)
		checkTranslation(t, nil, []pmetric.Metrics{metricsOf(nil, gaugeOf("x", number(1, with("le", c.value))))}, []string{"x" + want + " 1 @1000"}, nil)
	}
}

// TestRule04JobAndInstance: they come from the resource, each only if it has a value.
func TestRule04JobAndInstance(t *testing.T) {
	x := metrics{gaugeOf("x", number(1))}
	runTranslations(t, []translationCase{
		{name: "neither", metrics: x, want: []string{`x{} 1 @1000`}},
		{name: "name", resource: []any{"service.name", "shop"}, metrics: x, want: []string{`x{job="shop"} 1 @1000`}},
		{
			name: "namespace and name", resource: []any{"service.namespace", "eu", "service.name", "shop"}, metrics: x,
			want: []string{`x{job="eu/shop"} 1 @1000`},
		},
		{
			name: "empty namespace", resource: []any{"service.namespace", "", "service.name", "shop"}, metrics: x,
			want: []string{`x{job="shop"} 1 @1000`},
		},
		{name: "namespace without name", resource: []any{"service.namespace", "eu"}, metrics: x, want: []string{`x{} 1 @1000`}},
		{name: "empty name", resource: []any{"service.namespace", "eu", "service.name", ""}, metrics: x, want: []string{`x{} 1 @1000`}},
		{name: "instance", resource: []any{"service.instance.id", "i-1"}, metrics: x, want: []string{`x{instance="i-1"} 1 @1000`}},
		{name: "empty instance", resource: []any{"service.instance.id", ""}, metrics: x, want: []string{`x{} 1 @1000`}},
		{
			name: "values that are no strings", resource: []any{"service.namespace", 1, "service.name", true, "service.instance.id", []any{2}}, metrics: x,
			want: []string{`x{instance="[2]",job="1/true"} 1 @1000`},
		},
		{
			name: "not UTF-8", resource: []any{"service.name", "sh\xffop"}, metrics: x,
			want: []string{`x{job="sh�op"} 1 @1000`},
		},
	})
}

// TestRule06Scope: the labels of a scope.
func TestRule06Scope(t *testing.T) {
	x := metrics{gaugeOf("x", number(1))}
	full := func(sm pmetric.ScopeMetrics) {
		sm.Scope().SetName("lib")
		sm.Scope().SetVersion("1.2")
		sm.SetSchemaUrl("https://schema")
		putAll(sm.Scope().Attributes(), []any{"b.c", 5, "a", "x", "b-c", 4, "none", ""})
	}
	runTranslations(t, []translationCase{
		{
			name: "all", scope: full, metrics: x,
			want: []string{`x{otel_scope_a="x",otel_scope_b_c="4;5",otel_scope_name="lib",otel_scope_schema_url="https://schema",otel_scope_version="1.2"} 1 @1000`},
		},
		{name: "disabled", edit: func(c *Config) { c.DisableScopeInfo = true }, scope: full, metrics: x, want: []string{`x{} 1 @1000`}},
		{
			name: "attributes of the names of the others", metrics: x,
			scope: func(sm pmetric.ScopeMetrics) {
				sm.Scope().SetName("lib\xff")
				putAll(sm.Scope().Attributes(), []any{"name", "n", "version", "v", "schema_url", "s", "", "e", "9", "nine"})
			},
			want: []string{`x{otel_scope_9="nine",otel_scope_name="lib�"} 1 @1000`},
		},
		{
			name: "UTF-8", edit: strategy(otlptranslator.NoTranslation), scope: full, metrics: x,
			want: []string{`x{otel_scope_a="x","otel_scope_b-c"="4","otel_scope_b.c"="5",otel_scope_name="lib",otel_scope_schema_url="https://schema",otel_scope_version="1.2"} 1 @1000`},
		},
		{
			name: "before promoted resource attributes", scope: func(sm pmetric.ScopeMetrics) { sm.Scope().SetName("lib") },
			edit:     func(c *Config) { c.ResourceConstantLabels.Included = []string{"otel*"} },
			resource: []any{"otel.scope.name", "resource", "otel.scope.version", "resource"},
			metrics:  x,
			want:     []string{`x{otel_scope_name="lib",otel_scope_version="resource"} 1 @1000`},
		},
	})
	t.Run("each its own", func(t *testing.T) {
		md := together(metricsOf([]any{"service.name", "a"}, x...), metricsOf([]any{"service.name", "b"}, x...))
		second := md.ResourceMetrics().At(1).ScopeMetrics()
		second.At(0).Scope().SetName("one")
		second.At(0).CopyTo(second.AppendEmpty())
		second.At(1).Scope().SetName("two")
		// In one partition all share a symbol table.
		checkTranslation(t, onePartition, []pmetric.Metrics{md}, []string{
			`x{job="a"} 1 @1000`, `x{job="b",otel_scope_name="one"} 1 @1000`, `x{job="b",otel_scope_name="two"} 1 @1000`,
		}, nil)
	})
}

// TestRule07TypesAndTemporality: which sums are counters, and that only cumulative values are sent.
func TestRule07TypesAndTemporality(t *testing.T) {
	temporal := func(at pmetric.AggregationTemporality, metric func(pmetric.Metric)) func(pmetric.Metric) {
		return func(m pmetric.Metric) {
			metric(m)
			switch m.Type() {
			case pmetric.MetricTypeSum:
				m.Sum().SetAggregationTemporality(at)
			case pmetric.MetricTypeHistogram:
				m.Histogram().SetAggregationTemporality(at)
			case pmetric.MetricTypeExponentialHistogram:
				m.ExponentialHistogram().SetAggregationTemporality(at)
			}
		}
	}
	all := func(at pmetric.AggregationTemporality) metrics {
		return metrics{
			temporal(at, sumOf("a", true, number(1), number(2))), temporal(at, sumOf("b", false, number(1))),
			temporal(at, histogramOf("c", buckets([]float64{1}, []uint64{1, 2}))), temporal(at, exponentialOf("d", exponential(0, 0, nil))),
			temporal(at, histogramOf("no points")),
		}
	}
	runTranslations(t, []translationCase{
		{
			name: "cumulative",
			metrics: metrics{
				gaugeOf("a", number(1.5), number(-2, with("k", "v"))), sumOf("b", true, number(7)), sumOf("c", false, number(-3)),
				gaugeOf("d", number(int64(math.MaxInt64))), gaugeOf("e", number(math.Inf(-1))), gaugeOf("f", number(math.Copysign(0, -1))), gaugeOf("g", number(0.0)),
			},
			want: []string{
				`a{} 1.5 @1000`, `a{k="v"} -2 @1000`, `b_total{} 7 @1000`, `c{} -3 @1000`, `d{} 9.223372036854776e+18 @1000`, `e{} -Inf @1000`,
				`f{} -0 @1000`, `g{} 0 @1000`,
			},
		},
		{name: "delta", metrics: all(pmetric.AggregationTemporalityDelta), drops: map[account.Reason]int{account.ReasonDelta: 5}},
		{name: "unspecified", metrics: all(pmetric.AggregationTemporalityUnspecified), drops: map[account.Reason]int{account.ReasonNoTemporality: 5}},
		{name: "unknown", metrics: all(7), drops: map[account.Reason]int{account.ReasonNoTemporality: 5}},
		{name: "no type", metrics: metrics{func(m pmetric.Metric) { m.SetName("x") }}},
		{
			name: "no value", metrics: metrics{gaugeOf("a", number(nil), number(1)), sumOf("b", true, number(nil))},
			want: []string{`a{} 1 @1000`}, drops: map[account.Reason]int{account.ReasonNoValue: 2},
		},
	})
}

// TestRule13Timestamps: they are cut to milliseconds, and a point without one is dropped.
func TestRule13Timestamps(t *testing.T) {
	runTranslations(t, []translationCase{
		{
			name: "set",
			metrics: metrics{gaugeOf("x",
				number(1, at(1_999_999)), number(2, at(1_000_000)), number(3, at(1767225600_123_456_789)), number(4, at(math.MaxUint64)))},
			want:  []string{`x{} 1 @1`, `x{} 3 @1767225600123`, `x{} 4 @18446744073709`},
			drops: map[account.Reason]int{account.ReasonDuplicate: 1},
		},
		{
			name: "unset",
			metrics: metrics{
				gaugeOf("a", number(1, at(0)), number(1, at(999_999))), sumOf("b", true, number(1, at(0), noRecordedValue)), histogramOf("c", buckets(nil, nil, at(0))),
				exponentialOf("d", exponential(0, 0, nil, at(0))), summaryOf("e", quantiles(nil, at(0), noRecordedValue)),
			},
			drops: map[account.Reason]int{account.ReasonNoTimestamp: 6},
		},
	})
}

// TestRule13StartTimestamps: 2.0 has the start of counters, histograms and summaries, and the type, unit and help of every
// series.
func TestRule13StartTimestamps(t *testing.T) {
	started := func(p dataPoint) {
		p.(interface{ SetStartTimestamp(pcommon.Timestamp) }).SetStartTimestamp(500_999_999)
	}
	late := func(p dataPoint) {
		p.(interface{ SetStartTimestamp(pcommon.Timestamp) }).SetStartTimestamp(1_000_000_001)
	}
	helpful := func(metric func(pmetric.Metric)) func(pmetric.Metric) {
		return func(m pmetric.Metric) {
			metric(m)
			m.SetDescription("Help\xff.")
		}
	}
	cfg := configOf(func(c *Config) { c.ProtobufMessage = MessageV2 })
	got := newComparison(cfg).check(t, metricsOf(described,
		withUnit("By", helpful(sumOf("a", true, number(1, started), number(1, with("late", true), late), number(1, with("unset", true))))),
		gaugeOf("b", number(1, started)), sumOf("c", false, number(1, started)), withUnit("m/s", histogramOf("d", buckets(nil, nil, started, noRecordedValue))),
		exponentialOf("e", exponential(0, 0, nil, started)), summaryOf("f", quantiles([]float64{1}, started)),
	))
	const target = `instance="i-1",job="shop"`
	assert.Equal(t, []string{
		`a_bytes_total{` + target + `,late="true"} counter unit="bytes" help="Help�." start=0`,
		`a_bytes_total{` + target + `,unset="true"} counter unit="bytes" help="Help�." start=0`,
		`a_bytes_total{` + target + `} counter unit="bytes" help="Help�." start=500`,
		`b{` + target + `} gauge unit="" help="" start=0`,
		`c{` + target + `} gauge unit="" help="" start=0`,
		`d_meters_per_second_bucket{` + target + `,le="+Inf"} histogram unit="meters_per_second" help="" start=500`,
		`d_meters_per_second_count{` + target + `} histogram unit="meters_per_second" help="" start=500`,
		`d_meters_per_second_sum{` + target + `} histogram unit="meters_per_second" help="" start=500`,
		`e{` + target + `} histogram unit="" help="" start=500`,
		`f_count{` + target + `} summary unit="" help="" start=500`,
		`f_sum{` + target + `} summary unit="" help="" start=500`,
		`f{` + target + `,quantile="1"} summary unit="" help="" start=500`,
		`target_info{host_name="h",` + target + `} gauge unit="" help="Target metadata" start=0`,
	}, flattened(got.origins))
}

// TestRule14CollidingPoints: of several points of a series and time the first is kept, the others are counted.
func TestRule14CollidingPoints(t *testing.T) {
	runTranslations(t, []translationCase{
		{
			name: "two points", metrics: metrics{gaugeOf("x", number(1), number(2), number(3, at(1_000_999_999)), number(4, at(2e9)))},
			want: []string{`x{} 1 @1000`, `x{} 4 @2000`}, drops: map[account.Reason]int{account.ReasonDuplicate: 2},
		},
		{
			name: "two metrics", metrics: metrics{gaugeOf("a.b", number(1)), gaugeOf("a_b", number(2)), sumOf("a-b", false, number(3))},
			want: []string{`a_b{} 1 @1000`}, drops: map[account.Reason]int{account.ReasonDuplicate: 2},
		},
		{
			name:    "two attribute sets",
			metrics: metrics{gaugeOf("x", number(1, with("a", "1")), number(2, with("a", "1", "b", "")), number(3, with("a", 1)))},
			want:    []string{`x{a="1"} 1 @1000`}, drops: map[account.Reason]int{account.ReasonDuplicate: 2},
		},
		{
			name:    "a gauge and the sum of a histogram",
			metrics: metrics{gaugeOf("foo_sum", number(5)), histogramOf("foo", buckets([]float64{1}, []uint64{1, 2}))},
			want:    []string{`foo_sum{} 5 @1000`, `foo_bucket{le="1"} 1 @1000`, `foo_bucket{le="+Inf"} 3 @1000`, `foo_count{} 3 @1000`},
			drops:   map[account.Reason]int{account.ReasonDuplicate: 1},
		},
		{
			name: "gauges and the buckets of a histogram",
			metrics: metrics{
				histogramOf("foo", buckets([]float64{1}, []uint64{1, 2})), gaugeOf("foo_bucket", number(7, with("le", 1)), number(8, with("le", "2"))),
			},
			want: []string{
				`foo_sum{} 100 @1000`, `foo_bucket{le="1"} 1 @1000`, `foo_bucket{le="+Inf"} 3 @1000`, `foo_count{} 3 @1000`, `foo_bucket{le="2"} 8 @1000`,
			},
			drops: map[account.Reason]int{account.ReasonDuplicate: 1},
		},
		{
			name: "a gauge and a native histogram", metrics: metrics{gaugeOf("x", number(1)), exponentialOf("x", exponential(0, 0, []uint64{1}))},
			want: []string{`x{} 1 @1000`}, drops: map[account.Reason]int{account.ReasonDuplicate: 1},
		},
		{
			name: "a gauge and a quantile", metrics: metrics{gaugeOf("x", number(1, with("quantile", 0.5))), summaryOf("x", quantiles([]float64{0.5}))},
			want: []string{`x{quantile="0.5"} 1 @1000`, `x_sum{} 100 @1000`, `x_count{} 10 @1000`}, drops: map[account.Reason]int{account.ReasonDuplicate: 1},
		},
		{
			name: "two quantiles", metrics: metrics{summaryOf("x", quantiles([]float64{math.NaN(), math.Float64frombits(0x7ff8000000000005)}))},
			want: []string{`x{quantile="NaN"} NaN @1000`, `x_sum{} 100 @1000`, `x_count{} 10 @1000`}, drops: map[account.Reason]int{account.ReasonDuplicate: 1},
		},
	})
	t.Run("two resources", func(t *testing.T) {
		x := gaugeOf("x", number(1))
		md := together(metricsOf(nil, x), metricsOf([]any{"host.name", "h"}, x))
		checkTranslation(t, nil, []pmetric.Metrics{md}, []string{`x{} 1 @1000`}, map[account.Reason]int{account.ReasonDuplicate: 1})
	})
	t.Run("not across payloads", func(t *testing.T) {
		// The guard of out_of_order is for that.
		md := metricsOf(nil, gaugeOf("x", number(1)))
		checkTranslation(t, nil, []pmetric.Metrics{md, md}, []string{`x{} 1 @1000`}, nil)
	})
}

// TestRule15ReservedLabels: an attribute of a name that the translation needs is prefixed until its name is free, as
// Prometheus does with scraped labels.
func TestRule15ReservedLabels(t *testing.T) {
	shop := []any{"service.name", "shop", "service.instance.id", "i-1"}
	all := with("le", "1", "quantile", "2", "job", "3", "instance", "4", "__name__", "5")
	runTranslations(t, []translationCase{
		{
			name: "gauge", resource: shop, metrics: metrics{gaugeOf("x", number(1, all))},
			want: []string{`x{_name_="5",exported_instance="4",exported_job="3",instance="i-1",job="shop",le="1",quantile="2"} 1 @1000`},
		},
		{
			name: "histogram", resource: shop, metrics: metrics{histogramOf("x", buckets(nil, []uint64{1}, all))},
			want: []string{
				`x_bucket{_name_="5",exported_instance="4",exported_job="3",exported_le="1",instance="i-1",job="shop",le="+Inf",quantile="2"} 1 @1000`,
				`x_count{_name_="5",exported_instance="4",exported_job="3",exported_le="1",instance="i-1",job="shop",quantile="2"} 1 @1000`,
				`x_sum{_name_="5",exported_instance="4",exported_job="3",exported_le="1",instance="i-1",job="shop",quantile="2"} 100 @1000`,
			},
		},
		{
			name: "summary", resource: shop, metrics: metrics{summaryOf("x", quantiles([]float64{0.5}, all))},
			want: []string{
				`x{_name_="5",exported_instance="4",exported_job="3",exported_quantile="2",instance="i-1",job="shop",le="1",quantile="0.5"} 5 @1000`,
				`x_count{_name_="5",exported_instance="4",exported_job="3",exported_quantile="2",instance="i-1",job="shop",le="1"} 10 @1000`,
				`x_sum{_name_="5",exported_instance="4",exported_job="3",exported_quantile="2",instance="i-1",job="shop",le="1"} 100 @1000`,
			},
		},
		{
			name: "native histogram", resource: shop, metrics: metrics{exponentialOf("x", exponential(0, 0, nil, all))},
			want: []string{`x{_name_="5",exported_instance="4",exported_job="3",instance="i-1",job="shop",le="1",quantile="2"} ` +
				`schema=0 count=0 sum=100 zero=0<=1e-128 +map[] -map[] @1000`},
		},
		{
			name: "free", metrics: metrics{gaugeOf("x", number(1, with("job", "3", "instance", "4")))},
			want: []string{`x{instance="4",job="3"} 1 @1000`},
		},
		{
			name: "the prefixed name is taken", resource: shop,
			metrics: metrics{gaugeOf("x", number(1, with("job", "1", "exported_job", "2", "exported.job", "0", "exported_exported_job", "3")))},
			want:    []string{`x{exported_exported_exported_job="1",exported_exported_job="3",exported_job="0;2",instance="i-1",job="shop"} 1 @1000`},
		},
		{
			name: "empty", resource: shop, metrics: metrics{gaugeOf("x", number(1, with("job", "", "le", "", "quantile", "")))},
			want: []string{`x{instance="i-1",job="shop"} 1 @1000`},
		},
	})
}

// TestRule16TypesFromMetadata: a gauge and a sum that is not monotonic have the type that the metric had in Prometheus, where
// OpenTelemetry has no such type. The names of the series do not depend on it.
func TestRule16TypesFromMetadata(t *testing.T) {
	hinted := func(hint any, metric func(pmetric.Metric)) func(pmetric.Metric) {
		return func(m pmetric.Metric) {
			metric(withHint(m, hint))
		}
	}
	cfg := configOf(func(c *Config) { c.ProtobufMessage = MessageV2 })
	got := newComparison(cfg).check(t, metricsOf(nil,
		hinted("unknown", gaugeOf("a", number(1))), hinted("info", gaugeOf("b", number(1))), hinted("stateset", gaugeOf("c", number(1))),
		hinted("unknown", sumOf("d", false, number(1))), hinted("info", sumOf("e", false, number(1))), hinted("stateset", sumOf("f", false, number(1))),
		hinted("gauge", gaugeOf("g", number(1))), hinted("counter", gaugeOf("h", number(1))), hinted(1, gaugeOf("i", number(1))), hinted("", gaugeOf("j", number(1))),
		hinted("unknown", sumOf("k", true, number(1))), hinted("info", summaryOf("l", quantiles(nil))), hinted("unknown", exponentialOf("m", exponential(0, 0, nil))),
	))
	const rest = ` unit="" help="" start=0`
	assert.Equal(t, []string{
		`a{} unspecified` + rest, `b{} info` + rest, `c{} stateset` + rest,
		`d{} unspecified` + rest, `e{} info` + rest, `f{} stateset` + rest,
		`g{} gauge` + rest, `h{} gauge` + rest, `i{} gauge` + rest, `j{} gauge` + rest,
		`k_total{} counter` + rest, `l_count{} summary` + rest, `l_sum{} summary` + rest, `m{} histogram` + rest,
	}, flattened(got.origins))
}

// withHint gives a metric the type that it had in Prometheus.
func withHint(m pmetric.Metric, hint any) pmetric.Metric {
	putAll(m.Metadata(), []any{"prometheus.type", hint, "another", "info"})
	return m
}
