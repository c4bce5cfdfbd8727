// SPDX-License-Identifier: Apache-2.0

package rwtest

import (
	"math"
	"math/rand/v2"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// TestHostileIsNasty checks that the generator reaches each kind of unpleasantness, with and without a fuzzer.
func TestHostileIsNasty(t *testing.T) {
	for name, generate := range map[string]func(*rand.Rand) pmetric.Metrics{
		"Hostile": Hostile,
		"FromBytes": func(r *rand.Rand) pmetric.Metrics {
			data := make([]byte, 4096)
			for i := range data {
				data[i] = byte(r.IntN(255)) // but for the mark of an OTLP message
			}
			return FromBytes(data)
		},
	} {
		t.Run(name, func(t *testing.T) {
			seen := make(map[string]bool)
			for seed := range uint64(1000) {
				observe(generate(rand.New(rand.NewPCG(seed, 0))), seen)
			}
			for _, feature := range []string{
				"Empty", "Gauge", "Sum", "Histogram", "ExponentialHistogram", "Summary", // metric types
				"attribute Empty", "attribute Str", "attribute Bool", "attribute Int", "attribute Double", "attribute Map", "attribute Slice", "attribute Bytes",
				"empty name", "name not UTF-8", "empty key", "key not UTF-8", "value not UTF-8", "huge value",
				"key le", "key quantile", "key job", "key __name__", "key 9a", "key 日本", "keys a.b and a-b", "key twice", "service.name twice",
				"time 0", "time beyond int64", "no recorded value", "other flags", "delta", "unspecified temporality", "unknown temporality",
				"stale bits", "infinity", "no number", "lengths differ", "unsorted bounds", "NaN bound", "+Inf bound", "no sum",
				"scale -20", "scale 20", "offset MaxInt32", "offset MinInt32", "bucket beyond int64", "zero threshold", "quantile twice", "NaN quantile",
				"exemplar Empty", "exemplar Int", "exemplar Double", "exemplar with a trace", "long exemplar", "scope attributes", "same service",
			} {
				assert.True(t, seen[feature], feature)
			}
		})
	}
}

// observe records the features of the metrics.
func observe(md pmetric.Metrics, seen map[string]bool) {
	mark := func(feature string, is bool) { seen[feature] = seen[feature] || is }
	attributes := func(m pcommon.Map) {
		keys := make(map[string]int)
		for key, v := range m.All() {
			keys[key]++
			mark("key "+key, true)
			mark("attribute "+v.Type().String(), true)
			mark("empty key", key == "")
			mark("key not UTF-8", !utf8.ValidString(key))
			mark("value not UTF-8", v.Type() == pcommon.ValueTypeStr && !utf8.ValidString(v.Str()))
			mark("huge value", v.Type() == pcommon.ValueTypeStr && len(v.Str()) > 32<<10)
			mark("key twice", keys[key] > 1)
			mark("service.name twice", keys["service.name"] > 1)
		}
		mark("keys a.b and a-b", keys["a.b"] > 0 && keys["a-b"] > 0)
	}
	float := func(v float64) {
		mark("stale bits", isStale(v))
		mark("infinity", math.IsInf(v, 0))
	}
	temporality := func(at pmetric.AggregationTemporality) {
		mark("delta", at == pmetric.AggregationTemporalityDelta)
		mark("unspecified temporality", at == pmetric.AggregationTemporalityUnspecified)
		mark("unknown temporality", at > pmetric.AggregationTemporalityCumulative)
	}
	exemplars := func(es pmetric.ExemplarSlice) {
		for _, e := range es.All() {
			mark("exemplar "+e.ValueType().String(), true)
			mark("exemplar with a trace", !e.TraceID().IsEmpty())
			for _, v := range e.FilteredAttributes().All() {
				mark("long exemplar", len(v.AsString()) > 128)
			}
			attributes(e.FilteredAttributes())
		}
	}
	services := make(map[string]int)
	for _, rm := range md.ResourceMetrics().All() {
		attributes(rm.Resource().Attributes())
		if v, ok := rm.Resource().Attributes().Get("service.name"); ok {
			services[v.AsString()]++
			mark("same service", services[v.AsString()] > 1)
		}
		for _, sm := range rm.ScopeMetrics().All() {
			mark("scope attributes", sm.Scope().Attributes().Len() > 0)
			attributes(sm.Scope().Attributes())
			for _, m := range sm.Metrics().All() {
				mark(m.Type().String(), true)
				mark("empty name", m.Name() == "")
				mark("name not UTF-8", !utf8.ValidString(m.Name()))
				switch m.Type() {
				case pmetric.MetricTypeSum:
					temporality(m.Sum().AggregationTemporality())
				case pmetric.MetricTypeHistogram:
					temporality(m.Histogram().AggregationTemporality())
				}
			}
		}
	}
	EachPoint(md, func(_ pmetric.Metric, p Point) {
		attributes(p.Attributes())
		mark("time 0", p.Timestamp() == 0)
		mark("time beyond int64", p.Timestamp() > math.MaxInt64)
		mark("no recorded value", p.Flags().NoRecordedValue())
		mark("other flags", p.Flags() > 1)
		switch dp := p.(type) {
		case pmetric.NumberDataPoint:
			mark("no number", dp.ValueType() == pmetric.NumberDataPointValueTypeEmpty)
			float(dp.DoubleValue())
			exemplars(dp.Exemplars())
		case pmetric.HistogramDataPoint:
			mark("lengths differ", dp.BucketCounts().Len() != dp.ExplicitBounds().Len()+1)
			mark("no sum", !dp.HasSum())
			for i, bound := range dp.ExplicitBounds().All() {
				mark("unsorted bounds", i > 0 && bound < dp.ExplicitBounds().At(i-1))
				mark("NaN bound", math.IsNaN(bound))
				mark("+Inf bound", math.IsInf(bound, 1))
			}
			exemplars(dp.Exemplars())
		case pmetric.ExponentialHistogramDataPoint:
			mark("scale -20", dp.Scale() == -20)
			mark("scale 20", dp.Scale() == 20)
			mark("offset MaxInt32", dp.Positive().Offset() == math.MaxInt32)
			mark("offset MinInt32", dp.Positive().Offset() == math.MinInt32)
			mark("zero threshold", dp.ZeroThreshold() != 0)
			for _, n := range dp.Positive().BucketCounts().All() {
				mark("bucket beyond int64", n > math.MaxInt64)
			}
		case pmetric.SummaryDataPoint:
			quantiles := make(map[float64]bool)
			for _, v := range dp.QuantileValues().All() {
				mark("quantile twice", quantiles[v.Quantile()])
				mark("NaN quantile", math.IsNaN(v.Quantile()))
				quantiles[v.Quantile()] = true
			}
		}
	})
}

func TestHostileIsDeterministic(t *testing.T) {
	for seed := range uint64(100) {
		a, b := Hostile(rand.New(rand.NewPCG(seed, 1))), Hostile(rand.New(rand.NewPCG(seed, 1)))
		assert.Equal(t, bytesOf(a), bytesOf(b))
	}
}

func TestFromBytes(t *testing.T) {
	assert.Zero(t, FromBytes(nil).ResourceMetrics().Len())
	want := Hostile(rand.New(rand.NewPCG(3, 1)))
	assert.Equal(t, bytesOf(want), bytesOf(FromBytes(append([]byte{0xff}, bytesOf(want)...))), "an OTLP message")
	assert.NotPanics(t, func() { FromBytes([]byte{0xff, 0xff}) }, "almost an OTLP message")
}

func FuzzFromBytes(f *testing.F) {
	f.Add([]byte{1, 2, 3})
	f.Add([]byte("\xff"))
	f.Fuzz(func(_ *testing.T, data []byte) { _ = bytesOf(FromBytes(data)) })
}

func BenchmarkHostile(b *testing.B) {
	r := rand.New(rand.NewPCG(1, 1))
	for b.Loop() {
		Hostile(r)
	}
}
