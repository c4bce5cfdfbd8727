// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"math"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// attributesOf is a map with n attributes as the wire can have them, in any order and with the same key twice: pcommon has no
// other way to make such a map, nor any of many attributes in linear time.
func attributesOf(n int, attribute func(i int) (key, value string)) pcommon.Map {
	field := func(b []byte, number int, value ...[]byte) []byte {
		joined := slices.Concat(value...)
		b = binary.AppendUvarint(append(b, byte(number<<3|2)), uint64(len(joined)))
		return append(b, joined...)
	}
	var attributes []byte
	for i := range n {
		key, value := attribute(i)
		attributes = field(attributes, 1, field(nil, 1, []byte(key)), field(nil, 2, field(nil, 1, []byte(value))))
	}
	// MetricsData.resource_metrics, ResourceMetrics.resource and Resource.attributes all have the number 1.
	md, err := (&pmetric.ProtoUnmarshaler{}).UnmarshalMetrics(field(nil, 1, field(nil, 1, attributes)))
	if err != nil {
		panic(err)
	}
	return md.ResourceMetrics().At(0).Resource().Attributes()
}

// largePayload is a payload of a gauge, in which a test puts a lot of something.
type largePayload struct {
	md       pmetric.Metrics
	resource pcommon.Map
	scope    pmetric.ScopeMetrics
	metric   pmetric.Metric
	points   pmetric.NumberDataPointSlice
}

func newLargePayload() *largePayload {
	p := &largePayload{md: pmetric.NewMetrics()}
	rm := p.md.ResourceMetrics().AppendEmpty()
	p.resource = rm.Resource().Attributes()
	p.resource.PutStr("service.name", "shop")
	p.scope = rm.ScopeMetrics().AppendEmpty()
	p.metric = p.scope.Metrics().AppendEmpty()
	p.metric.SetName("m")
	p.points = p.metric.SetEmptyGauge().DataPoints()
	return p
}

func (p *largePayload) point() pmetric.NumberDataPoint {
	dp := p.points.AppendEmpty()
	dp.SetTimestamp(pcommon.Timestamp(p.points.Len()) * 1e9)
	dp.SetDoubleValue(1)
	return dp
}

func key(i int) (string, string)       { return fmt.Sprintf("key%06d", i), "value" }
func scopeKey(i int) (string, string)  { return fmt.Sprintf("otel_scope_key%06d", i), "value" }
func oneKey(i int) (string, string)    { return "key", fmt.Sprint("value", i) }
func leKey(i int) (string, string)     { return "le", fmt.Sprint("value", i) }
func emptyKey(i int) (string, string)  { return fmt.Sprintf("key%06d", i), "" }
func hiddenKey(i int) (string, string) { return fmt.Sprintf("key.%017b", i), "value" }

// sameName is keys that all become the label a_b.
func sameName(i int) (string, string) {
	return "a" + strings.NewReplacer("0", ".", "1", "-").Replace(fmt.Sprintf("%017b", i)) + "b", "value"
}

// exported is keys of which each takes the name that the one before would get.
func exported(i int) (string, string) { return strings.Repeat(exportedPrefix, i) + "job", "value" }

func withAttributes(of func(i int) (string, string)) func(n int, p *largePayload) {
	return func(n int, p *largePayload) { attributesOf(n, of).MoveTo(p.point().Attributes()) }
}

func withResource(of func(i int) (string, string)) func(n int, p *largePayload) {
	return func(n int, p *largePayload) {
		attributesOf(n, of).MoveTo(p.resource)
		p.resource.PutStr("service.name", "shop")
		p.point()
	}
}

func withScope(of func(i int) (string, string)) func(n int, p *largePayload) {
	return func(n int, p *largePayload) {
		attributesOf(n, of).MoveTo(p.scope.Scope().Attributes())
		p.point()
	}
}

// withExemplar is attributes of an exemplar, so short that they would fit one by one.
func withExemplar(of func(i int) (string, string)) func(n int, p *largePayload) {
	return func(n int, p *largePayload) {
		sum := p.metric.SetEmptySum()
		sum.SetIsMonotonic(true)
		sum.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
		p.points = sum.DataPoints()
		ex := p.point().Exemplars().AppendEmpty()
		ex.SetDoubleValue(1)
		attributesOf(n, of).MoveTo(ex.FilteredAttributes())
	}
}

// largePayloads are what a client can send a lot of.
var largePayloads = map[string]func(n int, p *largePayload){
	"attributes of a point":                     withAttributes(key),
	"attributes of a point, empty":              withAttributes(emptyKey),
	"attributes of a point, of one key":         withAttributes(oneKey),
	"attributes of a point, of the key le":      withAttributes(leKey),
	"attributes of a point, becoming one label": withAttributes(sameName),
	"attributes of a point, not classic":        withAttributes(hiddenKey),
	"attributes of the scope":                   withScope(key),
	"attributes of the scope, of one key":       withScope(oneKey),
	"attributes of the scope, becoming one":     withScope(sameName),
	"attributes of the resource":                withResource(key),
	"attributes of the resource, of one key":    withResource(oneKey),
	"attributes of the resource, of the key le": withResource(leKey),
	"attributes of the resource, becoming one":  withResource(sameName),
	"attributes of an exemplar":                 withExemplar(key),
	"attributes of an exemplar, empty":          withExemplar(emptyKey),
	"attributes of an exemplar, of one key":     withExemplar(oneKey),
	"attributes of an exemplar, becoming one":   withExemplar(sameName),
	"attributes that the scope has, too":        func(n int, p *largePayload) { withScope(key)(n, p); withAttributes(scopeKey)(n, p) },
	"attributes that the resource has, too":     func(n int, p *largePayload) { withResource(key)(n, p); withAttributes(key)(n, p) },
	"attributes whose names are taken by others": func(n int, p *largePayload) {
		withAttributes(exported)(int(3*math.Sqrt(float64(n))), p) // ten times as many bytes are three times as many names
	},
	"values of another length than those before": func(n int, p *largePayload) {
		withAttributes(key)(n, p)
		withAttributes(func(i int) (string, string) { k, v := key(i); return k, v + v })(n, p)
	},
	"scopes without points, and a large resource": func(n int, p *largePayload) {
		withResource(key)(n, p)
		for range n {
			p.md.ResourceMetrics().At(0).ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
		}
	},
	"resources": func(n int, p *largePayload) {
		withAttributes(key)(10, p)
		for i := range n {
			rm := p.md.ResourceMetrics().AppendEmpty()
			p.md.ResourceMetrics().At(0).CopyTo(rm)
			rm.Resource().Attributes().PutInt("service.instance.id", int64(i))
		}
	},
	"values in a value": func(n int, p *largePayload) {
		attributesOf(n, key).MoveTo(p.point().Attributes().PutEmptyMap("map"))
	},
	"points": func(n int, p *largePayload) {
		for i := range n {
			p.point().Attributes().PutInt("i", int64(i))
		}
	},
	"exemplars": func(n int, p *largePayload) {
		withExemplar(key)(1, p)
		for range n {
			p.points.At(0).Exemplars().At(0).CopyTo(p.points.At(0).Exemplars().AppendEmpty())
		}
	},
	"buckets": func(n int, p *largePayload) {
		histogramOf("h", buckets(slices.Repeat([]float64{1}, n), make([]uint64, n+1)))(p.metric)
		for i, bounds := 0, p.metric.Histogram().DataPoints().At(0).ExplicitBounds(); i < n; i++ {
			bounds.SetAt(i, float64(i))
		}
	},
	"quantiles": func(n int, p *largePayload) {
		all := make([]float64, n)
		for i := range all {
			all[i] = float64(i)
		}
		summaryOf("s", quantiles(all))(p.metric)
	},
}

// unlimited is a configuration in which everything is a label of everything.
func unlimited(c *Config) {
	c.MaxLabels = 0
	c.ResourceConstantLabels.Included = []string{"*e*y*?", "*le*", "a*"}
	c.Batch = BatchConfig{MaxSamples: 1 << 20, MaxSizeBytes: 1 << 30}
}

// TestTranslationIsLinear: one payload with ten times as much of anything takes as long as ten payloads or little longer,
// whatever a client sends a lot of. Quadratic work takes ten times as long.
func TestTranslationIsLinear(t *testing.T) {
	const times = 10
	few := 4_000
	if raceDetector {
		few = 1_000
	}
	for _, name := range slices.Sorted(maps.Keys(largePayloads)) {
		small, large := newLargePayload(), newLargePayload()
		largePayloads[name](few, small)
		largePayloads[name](few*times, large)
		for _, version := range []wire.Protocol{wire.V1, wire.V2} {
			t.Run(fmt.Sprintf("%s/message=%d", name, 1+version), func(t *testing.T) {
				took := func(p *largePayload, n int) time.Duration {
					start := time.Now()
					for range n {
						tr := newTranslator(testTranslation(configOf(unlimited)), newBoundMemory(time.Hour), nil)
						require.NoError(t, tr.translate(t.Context(), p.md, version))
					}
					return time.Since(start)
				}
				// Both are as long on the whole, so that what else the machine does disturbs them alike. The best of some counts.
				several, one := took(small, times), took(large, 1)
				for range 20 {
					if one < 4*several {
						return
					}
					several, one = min(several, took(small, times)), min(one, took(large, 1))
				}
				assert.Less(t, one, 4*several, "%d of %d took %v, 1 of %d took %v", times, few, several, few*times, one)
			})
		}
	}
}

// TestExemplarThatDoesNotFitIsNotJoined: what a client sends as many long values of one label takes no more memory than it is long,
// as no exemplar may be so long.
func TestExemplarThatDoesNotFitIsNotJoined(t *testing.T) {
	const attributes, long = 64, 50_000
	p := newLargePayload()
	withExemplar(func(i int) (string, string) {
		key, _ := sameName(i)
		return key, strings.Repeat("v", long)
	})(attributes, p)
	tr := newTestTranslator(configOf(nil))
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	tr.translate(p.md)
	runtime.ReadMemStats(&after)
	assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(attributes*long), "bytes allocated")
	got := sentPoints(t, tr)
	require.Len(t, got, 1)
	require.Len(t, got[0].Exemplars, 1)
	assert.Empty(t, got[0].Exemplars[0].Labels)
}

// TestTooManyLabels: a point with more labels than max_labels is dropped and counted, wherever they come from, and the others
// are sent.
func TestTooManyLabels(t *testing.T) {
	for name, c := range map[string]struct {
		payload func(n int, p *largePayload)
		// more is how many labels there are besides.
		more int
	}{
		"point":             {withAttributes(key), 2},      // job and the name
		"point, one label":  {withAttributes(sameName), 2}, // what becomes of them does not count
		"scope":             {withScope(key), 2},           //
		"promoted resource": {withResource(key), 2},        //
		"external labels":   {withAttributes(key), 3},      // region
		"histogram": {func(n int, p *largePayload) {
			histogramOf("h", buckets([]float64{1}, []uint64{1, 2}))(p.metric)
			attributesOf(n, key).MoveTo(p.metric.Histogram().DataPoints().At(0).Attributes())
		}, 2},
	} {
		t.Run(name, func(t *testing.T) {
			const most = 100
			tr := newTestTranslator(configOf(func(cfg *Config) {
				cfg.MaxLabels, cfg.ResourceConstantLabels.Included = most, []string{"key*"}
				if name == "external labels" {
					cfg.ExternalLabels = map[string]string{"region": "eu"}
				}
			}))
			translated := func(n int) *translated {
				p := newLargePayload()
				c.payload(n, p)
				other := p.md.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
				gaugeOf("other", number(1))(other)
				return translatePayload(t, tr, p.md)
			}
			got := translated(most - c.more)
			assert.Empty(t, got.drops)
			got = translated(most - c.more + 1)
			assert.Equal(t, map[account.Reason]int{account.ReasonTooManyLabels: 1}, got.drops)
			assert.Len(t, got.series, 1, "the other one is sent")
		})
	}
}

// TestTooManyLabelsOfAHistogramInTwoForms: the point counts once.
func TestTooManyLabelsOfAHistogramInTwoForms(t *testing.T) {
	p := newLargePayload()
	histogramOf("h", buckets([]float64{1}, []uint64{1, 2}))(p.metric)
	attributesOf(1000, key).MoveTo(p.metric.Histogram().DataPoints().At(0).Attributes())
	tr := newTestTranslator(configOf(func(cfg *Config) {
		cfg.ProtobufMessage, cfg.ConvertExplicitHistogramsToNHCB, cfg.KeepClassicHistograms = MessageV2, true, true
	}))
	assert.Equal(t, map[account.Reason]int{account.ReasonTooManyLabels: 1}, translatePayload(t, tr, p.md).drops)
}

// TestScopeWithTooManyLabelsCostsItsOwnPoints: not those of the resource's next scope.
func TestScopeWithTooManyLabelsCostsItsOwnPoints(t *testing.T) {
	p := newLargePayload()
	withScope(key)(1000, p)
	gaugeOf("other", number(1))(p.md.ResourceMetrics().At(0).ScopeMetrics().AppendEmpty().Metrics().AppendEmpty())
	got := translatePayload(t, newTestTranslator(configOf(nil)), p.md)
	assert.Equal(t, []string{`other{job="shop"} 1 @1000`}, got.lines())
	assert.Equal(t, map[account.Reason]int{account.ReasonTooManyLabels: 1}, got.drops)
}

// TestTargetInfoWithTooManyLabelsIsLeftOut: nothing was received that is lost, and the resource's points are sent.
func TestTargetInfoWithTooManyLabelsIsLeftOut(t *testing.T) {
	p := newLargePayload()
	withResource(key)(1000, p)
	got := translatePayload(t, newTestTranslator(configOf(nil)), p.md)
	assert.Equal(t, []string{`m{job="shop"} 1 @1000`}, got.lines())
	assert.Empty(t, got.drops)
}

// lookedAt is a context that ends when it has been looked at a number of times.
type lookedAt struct {
	context.Context
	looks int
}

func (c *lookedAt) Err() error {
	if c.looks--; c.looks < 0 {
		return context.Canceled
	}
	return nil
}

// TestTranslationEndsWithItsContext: soon after the caller is gone, wherever the translation is then, and it leaves nothing
// behind.
func TestTranslationEndsWithItsContext(t *testing.T) {
	tr := newTestTranslator(configOf(unlimited))
	for name, payload := range largePayloads {
		p := newLargePayload()
		payload(20_000, p)
		more := newLargePayload()
		payload(1, more)
		more.md.ResourceMetrics().MoveAndAppendTo(p.md.ResourceMetrics())
		looks := &lookedAt{Context: t.Context(), looks: 1 << 30}
		require.NoError(t, tr.translator.translate(looks, p.md, tr.protocol))
		tr.reset()
		all := 1<<30 - looks.looks
		if !assert.Positive(t, all, "%s: looks at the context", name) {
			continue
		}
		for _, n := range []int{0, all / 2, all - 1} {
			err := tr.translator.translate(&lookedAt{Context: t.Context(), looks: n}, p.md, tr.protocol)
			assert.ErrorIs(t, err, context.Canceled, "%s: after %d of %d looks", name, n, all)
			tr.reset()
		}
		got := translatePayload(t, tr, metricsOf(nil, gaugeOf("after", number(1))))
		assert.Equal(t, []string{"after{} 1 @1000"}, got.lines(), name)
	}
}
