// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/prometheus/otlptranslator"
	"github.com/stretchr/testify/assert"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// ordinary makes payloads of which all translators must make the same: no two names become one, and none is reserved.
type ordinary struct{ *rand.Rand }

func oneOf[T any](o ordinary, from ...T) T { return from[o.IntN(len(from))] }

// word is a few characters, the first of which may be a digit.
func (o ordinary) word() string {
	b := make([]byte, 1+o.IntN(5))
	for i := range b {
		b[i] = oneOf(o, []byte("abcdefxyzABZ0123456789")...)
	}
	return string(b)
}

func (o ordinary) name() string {
	name := o.word()
	for range o.IntN(3) {
		name += oneOf(o, ".", "_", "-", "/", " ", ":", "é") + o.word()
	}
	return name
}

// fresh says whether what a name becomes is not taken, and takes it.
func fresh(taken map[string]bool, name string) bool {
	escaped, err := (&otlptranslator.LabelNamer{}).Build(name)
	if err != nil || taken[escaped] {
		return false
	}
	taken[escaped] = true
	return true
}

func (o ordinary) attributes(most int) (pairs []any) {
	taken := make(map[string]bool)
	for range o.IntN(most) {
		if name := o.name(); fresh(taken, name) {
			pairs = append(pairs, name, o.value())
		}
	}
	return pairs
}

func (o ordinary) value() any {
	switch o.IntN(8) {
	case 0:
		return o.IntN(100) - 50
	case 1:
		return o.float()
	case 2:
		return o.IntN(2) == 0
	case 3:
		return []byte(o.word())
	case 4:
		return []any{o.word(), o.IntN(5), true, nil, 1.5, []any{o.word()}}
	case 5:
		return map[string]any{o.word(): o.word(), "b": map[string]any{"c": []any{1.0, 1e21, "é<>&"}}}
	default:
		return o.word()
	}
}

// float is of any order of magnitude.
func (o ordinary) float() float64 { return o.NormFloat64() * math.Pow(10, float64(o.IntN(60)-30)) }

// counts are mostly small and often empty, so that there are gaps.
func (o ordinary) counts(n int) []uint64 {
	counts := make([]uint64, n)
	for i := range counts {
		counts[i] = uint64(max(0, o.IntN(8)-4))
	}
	return counts
}

// metric is of any type. Of a scale over 8 contrib merges the buckets in its own way, and of histograms it has no exemplars: what is
// for both has neither.
func (o ordinary) metric(finest int) metricOf {
	name, edits := o.name(), []pointEdit{with(o.attributes(5)...)}
	value := any(o.float())
	if o.IntN(3) == 0 {
		value = int(o.Int64() >> o.IntN(63))
	}
	kind := o.IntN(6)
	if kind > 1 {
		edits = append(edits, began(second-pcommon.Timestamp(o.IntN(1e9))))
	}
	if finest > 8 && kind > 1 && kind < 5 {
		for example := o.float(); o.IntN(3) > 0; example += math.Abs(example) * (0.1 + o.Float64()) {
			edits = append(edits, exampled(example, traced, filtered("a"+o.word(), o.value())))
		}
	}
	// Whether a stale point without a value has examples of it is nothing that they agree on.
	if len(edits) < 3 && o.IntN(6) == 0 {
		edits = append(edits, stale)
	}
	switch kind {
	case 0:
		return gauge(name, number(value, edits...))
	case 1:
		return sum(name, false, number(value, edits...))
	case 2:
		return sum(name, true, number(value, edits...))
	case 3:
		var bounds []float64
		for bound := o.float(); len(bounds) < o.IntN(12); bound += math.Abs(bound) * (0.1 + o.Float64()) {
			bounds = append(bounds, bound)
		}
		return explicit(name, buckets(bounds, o.counts(len(bounds)+1), edits...))
	case 4:
		scale, offset := int32(o.IntN(finest+5)-4), func() int32 { return int32(o.IntN(20_000) - 10_000) }
		zero, negative, at := uint64(o.IntN(4)), o.counts(o.IntN(10)), offset()
		return exponential(name, changed(scaled(scale, offset(), o.counts(o.IntN(40)), edits...), func(dp pmetric.ExponentialHistogramDataPoint) {
			dp.SetZeroCount(zero)
			dp.Negative().SetOffset(at)
			dp.Negative().BucketCounts().FromRaw(negative)
			dp.SetCount(dp.Count() + zero + total(negative))
		}))
	default:
		var of []float64
		for i := range o.IntN(5) {
			of = append(of, (float64(i)+o.Float64())/5)
		}
		return summary(name, quantiles(of, edits...))
	}
}

// metrics are metrics of which none has the name of another, whatever is added to it.
func (o ordinary) metrics(finest int) (all []metricOf) {
	taken := make(map[string]bool)
	for range 1 + o.IntN(4) {
		metric := pmetric.NewMetric()
		if o.metric(finest)(metric); fresh(taken, strings.ToLower(metric.Name())) {
			unit := oneOf(o, "", "1", "s", "ms", "%", "{x}", "{x}/s", "By", "By/s", "m/s", "1/s", "Cel", "KiBy", "W", "d", "h", "min", "m2", "s/s", "MiBy/h", "{a}b", "Hz")
			all = append(all, of(unit, metric.CopyTo))
		}
	}
	return all
}

// What this exporter makes of ordinary payloads, whatever they are, is what the others make of them.
func TestOrdinaryPayloadsAreTranslatedLikeByOthers(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for n := range uint64(250) {
		o := ordinary{rand.New(rand.NewPCG(seed, n))}
		finest := oneOf(o, 8, 20)
		resource := append([]any{"service.name", o.word(), "service.instance.id", o.word()}, o.attributes(4)...)
		md := scoped(resource, func(sm pmetric.ScopeMetrics) {
			sm.Scope().SetName(o.word())
			sm.Scope().SetVersion(o.word())
			put(sm.Scope().Attributes(), o.attributes(3))
		}, o.metrics(finest)...)
		how := translation{strategy: oneOf(o, strategies...), custom: o.IntN(4) == 0, namespace: oneOf(o, "", "", "ns")}
		how.underscores = how.strategy.ShouldEscape()
		others := map[string][]outcome{byPrometheus: how.prometheus(md)}
		if finest == 8 {
			others[byContrib] = how.contrib(md)
		}
		here := how.here(t, md)
		for name, there := range others {
			for _, d := range differences(here, there) {
				assert.Fail(t, "a difference", "%s in payload %d, %s: %s", name, n, how.strategy, &d)
			}
		}
		if t.Failed() {
			t.Fatalf("%+v", how)
		}
	}
}
