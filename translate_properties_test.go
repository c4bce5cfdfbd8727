// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"
	"unsafe"
	"weak"

	"github.com/prometheus/otlptranslator"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// place is where a series goes: its partition of 1024, and its hash, by which the guard knows it.
type place struct {
	partition int
	hash      uint64
}

// placing makes the translation put each series in its place.
func placing(c *Config) {
	c.Partitions = 1024
	c.OutOfOrder = OutOfOrderDrop // so that the segments have an index
}

// places translates a payload and returns the place of each series, and the series. A series with two places is an
// error.
func places(t *testing.T, tr *testTranslator, md pmetric.Metrics) (map[string]place, []sentPoint) {
	t.Helper()
	tr.translate(md)
	defer tr.reset()
	sent := sentPoints(t, tr)
	found := make(map[string]place)
	for _, s := range sent {
		key, at := seriesString(s.Labels), place{s.partition, s.hash}
		if before, ok := found[key]; ok {
			assert.Equal(t, before, at, key)
		}
		found[key] = at
	}
	return found, sent
}

// asGauges is a payload of gauges whose attributes are the labels of the series, in random order. Each has a time of its
// own, so that none is a duplicate.
func asGauges(r *rand.Rand, series []sentPoint) pmetric.Metrics {
	var gauges metrics
	for n, s := range series {
		var attributes []any
		name := ""
		for _, i := range r.Perm(len(s.Labels)) {
			if l := s.Labels[i]; l.Name == nameLabel {
				name = l.Value
			} else {
				attributes = append(attributes, l.Name, l.Value)
			}
		}
		gauges = append(gauges, gaugeOf(name, number(1, with(attributes...), at(pcommon.Timestamp(n+1)*1e9))))
	}
	return metricsOf(nil, gauges...)
}

// TestPlaceIsOfTheLabelsAlone: the same series has the same place, no matter which type of metric, resource, scope or
// configuration it comes from, and in which order its attributes are.
func TestPlaceIsOfTheLabelsAlone(t *testing.T) {
	first := seed(t)
	plain := newTestTranslator(configOf(func(c *Config) {
		placing(c)
		c.TranslationStrategy = otlptranslator.UnderscoreEscapingWithoutSuffixes
		c.LabelNamePreserveMultipleUnderscores = true // so that names stay what they are
	}))
	rounds := uint64(1000)
	if raceDetector {
		rounds = 250
	}
	for n := first; n < first+rounds; n++ {
		cfg := variedConfig(n)
		placing(cfg)
		cfg.Namespace = ""                                                      // which decides about what is a target_info
		cfg.TranslationStrategy = otlptranslator.UnderscoreEscapingWithSuffixes // whose names are translated to themselves
		want, sent := places(t, newTestTranslator(cfg), hostilePayload(n))
		got, _ := places(t, plain, asGauges(rand.New(rand.NewPCG(n, 2)), sent))
		if !assert.Equal(t, want, got) || t.Failed() {
			t.Fatalf("payload %d", n)
		}
	}
}

// TestPartitionsArePinned: another process, machine or version that has the same secret chooses the same partition. If this
// test fails, an upgrade reorders series that are in a log. The identity is another one in each process.
func TestPartitionsArePinned(t *testing.T) {
	md := metricsOf(described,
		gaugeOf("up", number(1)),
		gaugeOf("up", number(1, with("A", "before __name__", "b", "between", "m", "after le", "z", "last"))),
		gaugeOf("up", number(1, with("语", "世界", "empty", ""))),
		histogramOf("http.server.request.duration", buckets([]float64{0.5}, []uint64{1, 2}, with("route", "/"))),
		summaryOf("rpc", quantiles([]float64{0.99}, with("route", "/"))),
	)
	found, _ := places(t, newTestTranslator(configOf(placing)), md)
	got := make(map[string]int)
	for series, at := range found {
		got[series] = at.partition
	}
	assert.Equal(t, map[string]int{
		`up{instance="i-1",job="shop"}`: 525,
		`up{A="before __name__",b="between",instance="i-1",job="shop",m="after le",z="last"}`: 993,
		`up{_="世界",instance="i-1",job="shop"}`:                                                541,
		`target_info{host_name="h",instance="i-1",job="shop"}`:                                599,
		`http_server_request_duration_bucket{instance="i-1",job="shop",le="0.5",route="/"}`:   694,
		`http_server_request_duration_bucket{instance="i-1",job="shop",le="+Inf",route="/"}`:  694,
		`http_server_request_duration_count{instance="i-1",job="shop",route="/"}`:             694,
		`http_server_request_duration_sum{instance="i-1",job="shop",route="/"}`:               694,
		`rpc{instance="i-1",job="shop",quantile="0.99",route="/"}`:                            414,
		`rpc_count{instance="i-1",job="shop",route="/"}`:                                      414,
		`rpc_sum{instance="i-1",job="shop",route="/"}`:                                        414,
	}, got)
}

// TestPartsShareAPartition: the series of a histogram or summary travel together, whatever it is called.
func TestPartsShareAPartition(t *testing.T) {
	tr := newTestTranslator(configOf(placing))
	bounds, counts := []float64{1, 2, 3}, []uint64{1, 2, 3, 4}
	used := make(map[int]bool)
	for i := range 50 {
		attributes := with("a", i, "quantile", i, "z", "z")
		kinds := metrics{
			histogramOf("h", buckets(bounds, counts, attributes)), histogramOf("h_sum", buckets(bounds, counts, attributes)),
			histogramOf("h_bucket", buckets(bounds, counts, attributes)), histogramOf("h_count_sum", buckets(bounds, counts, attributes)),
			summaryOf("s", quantiles([]float64{0.5, 0.9}, attributes)),
		}
		for _, m := range kinds {
			partitions := make(map[int]bool)
			series, _ := places(t, tr, metricsOf(nil, m))
			for _, at := range series {
				partitions[at.partition] = true
				used[at.partition] = true
			}
			assert.Len(t, partitions, 1)
		}
	}
	assert.Greater(t, len(used), 150, "different ones are spread")
}

// TestHashesAreDistinct: 100,000 series that differ in as little as possible have as many hashes, and are spread evenly.
func TestHashesAreDistinct(t *testing.T) {
	const series, perKind = 100_000, 10_000
	tr := newTestTranslator(configOf(placing))
	hashes, inPartition := make(map[uint64]string), make(map[int]int)
	kinds := []func(i int) func(pmetric.Metric){
		func(i int) func(pmetric.Metric) { return gaugeOf(fmt.Sprint("x", i), number(1)) },
		func(i int) func(pmetric.Metric) { return gaugeOf("x", number(1, with(fmt.Sprint("x", i), "x"))) },
		func(i int) func(pmetric.Metric) { return gaugeOf("x", number(1, with("x", i))) },
		func(i int) func(pmetric.Metric) { return gaugeOf("x", number(1, with("le", i))) },
		func(i int) func(pmetric.Metric) { return gaugeOf("x", number(1, with("quantile", i))) },
		func(i int) func(pmetric.Metric) { return gaugeOf("x", number(1, with("le", i, "quantile", i))) },
		func(i int) func(pmetric.Metric) {
			return gaugeOf("x", number(1, with("a", strings.Repeat("x", i%100), "b", strings.Repeat("x", i/100))))
		},
		func(i int) func(pmetric.Metric) {
			return gaugeOf(strings.Repeat("x", 1+i%100), number(1, with("a", 1, strings.Repeat("y", 1+i/100), "x")))
		},
		func(i int) func(pmetric.Metric) {
			return gaugeOf("target_info", number(1, with("job", i%100, "instance", i/100)))
		},
		func(i int) func(pmetric.Metric) { return sumOf(fmt.Sprint("x", i), true, number(1, with("a", i))) },
	}
	require.Equal(t, series, len(kinds)*perKind)
	for _, kind := range kinds {
		var all metrics
		for i := range perKind {
			all = append(all, kind(i))
		}
		series, _ := places(t, tr, metricsOf(nil, all...))
		for key, at := range series {
			if before, ok := hashes[at.hash]; ok && before != key {
				t.Errorf("%s and %s have the same hash", before, key)
			}
			hashes[at.hash] = key
			inPartition[at.partition]++
		}
	}
	// What le, quantile and the name of a part tell apart is not spread, so a partition may have many.
	assert.Greater(t, len(hashes), series*99/100)
	assert.Len(t, inPartition, 1024)
}

// TestCachesAreRight: a translator answers like a new one also after it has seen more names, keys, shapes, bounds and
// integers than it remembers, and when it sees the first ones again.
func TestCachesAreRight(t *testing.T) {
	const perPayload, most = 250, 5000
	r := rand.New(rand.NewPCG(seed(t), 0))
	c := newComparison(configOf(nil))
	payload := func(i int) pmetric.Metrics {
		var all metrics
		for range perPayload {
			n := i
			if r.IntN(3) == 0 {
				n = r.IntN(i + 1) // one seen before
			}
			name, key := fmt.Sprint("metric.", n), fmt.Sprint("key.", n)
			all = append(all, gaugeOf(name, number(1, with(key, n, "other", -n, "first", "x"))), summaryOf(name+".s", quantiles([]float64{float64(n)}, with(key+".s", "z"))),
				histogramOf(name+".h", buckets([]float64{float64(n)}, []uint64{1, 2}, with("other", n, key+".h", "y"))))
			i++
		}
		return metricsOf([]any{"service.name", i}, all...)
	}
	// With the smallest budget nothing is kept, with the others what fits.
	sizes := []int64{0, 64 << 10, 1 << 20, 4 << 20}
	forgotten := 0
	for i := 0; i < most; i += perPayload {
		budget := c.translator.caches
		budget.size = sizes[i/perPayload*len(sizes)*perPayload/most]
		before := budget.used.Load()
		c.check(t, payload(i))
		require.False(t, t.Failed())
		if after := budget.used.Load(); after < before {
			forgotten++
		}
		require.LessOrEqual(t, budget.used.Load(), budget.size)
		require.Equal(t, c.translator.account.used, budget.used.Load())
	}
	assert.Positive(t, forgotten, "times that the caches were emptied")
}

// TestNothingOfAPayloadIsKept: when a translator is reset, it holds no string of the payload.
func TestNothingOfAPayloadIsKept(t *testing.T) {
	for _, message := range []ProtobufMessage{MessageV1, MessageV2} {
		tr := newTestTranslator(configOf(func(c *Config) {
			c.ProtobufMessage = message
			c.ResourceConstantLabels.Included = []string{"*"}
			c.TargetInfo.Enabled = message == MessageV1 // what it says of itself would hide what is held of the metric before
		}))
		held := translateHeld(t, tr)
		runtime.GC()
		for s, p := range held {
			assert.Nil(t, p.Value(), "%s: %s", message, s)
		}
		runtime.KeepAlive(tr)
	}
}

// translateHeld translates a payload whose strings can be watched.
func translateHeld(t *testing.T, tr *testTranslator) map[string]weak.Pointer[byte] {
	held := make(map[string]weak.Pointer[byte])
	own := func(s string) string {
		b := []byte(s + strings.Repeat("_", 64))
		held[s] = weak.Make(&b[0])
		return unsafe.String(&b[0], len(b))
	}
	attributes := func(of string) []any { return []any{own("key of " + of), own("value of " + of)} }
	exemplar := exampled(1, func(e pmetric.Exemplar) { putAll(e.FilteredAttributes(), attributes("exemplar")) })
	md := metricsOf(append(attributes("resource"), "service.name", own("job")),
		gaugeOf(own("gauge"), number(1, with(attributes("gauge")...)), number(1, with(attributes("duplicate")...), with("le", own("le")))),
		gaugeOf(own("joined with the scope"), number(1, with("otel_scope_name", own("a scope's name")))),
		gaugeOf(own("dropped"), number(nil)),
		withUnit(own("unit"), sumOf(own("sum"), true, number(1, exemplar))),
		histogramOf(own("histogram"), buckets([]float64{1}, []uint64{1, 2}, with(attributes("histogram")...))),
		summaryOf(own("summary"), quantiles([]float64{1}, with(attributes("summary")...))),
		exponentialOf(own("exponential"), exponential(0, 0, nil, with(attributes("exponential")...))),
	)
	sm := md.ResourceMetrics().At(0).ScopeMetrics().At(0)
	sm.Scope().SetName(own("scope"))
	putAll(sm.Scope().Attributes(), attributes("scope"))
	for _, m := range sm.Metrics().All() {
		m.SetDescription(own("description of " + m.Type().String()))
	}
	tr.translate(md)
	require.GreaterOrEqual(t, len(sentPoints(t, tr)), 11)
	tr.reset()
	return held
}
