// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/prometheus/otlptranslator"
	"github.com/stretchr/testify/assert"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
)

// variedConfig is one of many configurations of the translation; the number decides which.
func variedConfig(n uint64) *Config {
	r := rand.New(rand.NewPCG(n, 0))
	return configOf(func(c *Config) {
		c.TranslationStrategy = pick(r, otlptranslator.UnderscoreEscapingWithSuffixes, otlptranslator.UnderscoreEscapingWithSuffixes,
			otlptranslator.UnderscoreEscapingWithoutSuffixes, otlptranslator.NoUTF8EscapingWithSuffixes, otlptranslator.NoTranslation)
		c.Namespace = pick(r, "", "", "ns", "a:b_")
		c.ExternalLabels = pick(r, nil, map[string]string{"region": "eu"},
			map[string]string{"a": "external", "job": "external", "A": "\xff", "exported_job": "external", "zz": "external"})
		c.ResourceConstantLabels = pick(r, ResourceConstantLabelsConfig{}, ResourceConstantLabelsConfig{Included: []string{"*"}},
			ResourceConstantLabelsConfig{Included: []string{"?", "a*b", "service.*", "otel*", "le", "job"}, Excluded: []string{"A", "*.name"}},
			ResourceConstantLabelsConfig{Excluded: []string{"__*", "??"}})
		c.DisableScopeInfo = r.IntN(3) == 0
		c.TargetInfo.Enabled = r.IntN(5) > 0
		c.Partitions = pick(r, 1, 3, 8)
		c.Batch.MaxSamples = pick(r, 1, 5, 2000)
		c.OutOfOrder = pick(r, OutOfOrderSend, OutOfOrderDrop)
		c.ConvertExplicitHistogramsToNHCB = r.IntN(4) == 0
		c.KeepClassicHistograms = c.ConvertExplicitHistogramsToNHCB && r.IntN(2) == 0
		c.TargetInfo.KeepIdentifyingResourceAttributes = r.IntN(3) == 0
		c.LabelNamePreserveMultipleUnderscores = r.IntN(3) == 0
		// 1.0 is also translated to after a fallback, from a configuration that is not for it.
		c.ProtobufMessage = pick(r, MessageV1, MessageV2)
	})
}

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

// hostilePayload is a hostile payload; the number decides which.
func hostilePayload(n uint64) pmetric.Metrics {
	return rwtest.Hostile(rand.New(rand.NewPCG(n, 1)))
}

// comparison translates payloads one after the other, by one translator and by the reference, which must agree.
type comparison struct {
	cfg        *Config
	translator *testTranslator
	reference  *reference
}

func newComparison(cfg *Config) *comparison {
	return &comparison{cfg, newTestTranslator(cfg), newReference(cfg)}
}

func (c *comparison) check(t testing.TB, md pmetric.Metrics) *translated {
	t.Helper()
	got, want := translatePayload(t, c.translator, md), c.reference.translate(md)
	assert.Equal(t, want.drops, got.drops, "drops")
	for _, series := range different(want.series, got.series) {
		t.Errorf("series %.200s: want %.200q, got %.200q", series, want.series[series], got.series[series])
	}
	for _, series := range different(want.origins, got.origins) {
		t.Errorf("origin of %.200s: want %.200q, got %.200q", series, want.origins[series], got.origins[series])
	}
	return got
}

// replace makes the comparison go on with a new translator, which has nothing in its caches. Only the memory of bounds is
// that of the old one.
func (c *comparison) replace() {
	memory := c.translator.memory
	c.translator = newTestTranslator(c.cfg)
	c.translator.memory = memory
}

// different returns some of the keys whose values differ.
func different(a, b map[string][]string) []string {
	var keys []string
	for _, m := range []map[string][]string{a, b} {
		for key := range m {
			if len(keys) < 5 && !slices.Equal(a[key], b[key]) && !slices.Contains(keys, key) {
				keys = append(keys, key)
			}
		}
	}
	return keys
}

// TestHostilePayloads is that whatever comes, everything is sent in order and valid or is counted as dropped, just as the
// rules say.
func TestHostilePayloads(t *testing.T) {
	configs, payloads := uint64(50), uint64(100)
	if raceDetector {
		configs = 20
	}
	first := seed(t)
	drops := make(map[account.Reason]int)
	for i := range configs {
		c := newComparison(variedConfig(first + i))
		for j := range payloads {
			md := hostilePayload(first + i*payloads + j)
			for why, n := range c.check(t, md).drops {
				drops[why] += n
			}
			if t.Failed() {
				t.Fatalf("configuration %d, payload %d", first+i, first+i*payloads+j)
			}
		}
	}
	for _, why := range []account.Reason{
		account.ReasonDelta, account.ReasonNoTemporality, account.ReasonNoTimestamp, account.ReasonNoValue, account.ReasonInvalidName, account.ReasonInvalidHistogram, account.ReasonScale,
		account.ReasonNoSum, account.ReasonDuplicate,
	} {
		assert.Positive(t, drops[why], "points dropped for %s", why)
	}
}

// TestOrdinaryPayloads is the same for sound metrics, nothing of which may be dropped.
func TestOrdinaryPayloads(t *testing.T) {
	first := seed(t)
	for i := range uint64(20) {
		cfg := variedConfig(first + i)
		if needsV2(cfg) {
			cfg.ProtobufMessage = MessageV2
		}
		c := newComparison(cfg)
		producer := rwtest.Payloads{Seed: first + i, Streams: 50, Points: 20, StreamsPerPayload: 20}.Split()[0]
		for {
			md, more := producer.Next()
			if !more {
				break
			}
			assert.Empty(t, c.check(t, md).drops)
		}
		if t.Failed() {
			t.Fatalf("configuration %d", first+i)
		}
	}
}

// FuzzTranslate checks any payload like TestHostilePayloads, by a translator that is new, used and again new.
func FuzzTranslate(f *testing.F) {
	f.Add([]byte{}, uint64(0))
	r := rand.New(rand.NewPCG(0, 0))
	for n := range uint64(32) {
		data := make([]byte, 64<<(n%5))
		for i := range data {
			data[i] = byte(r.IntN(256))
		}
		f.Add(data, n)
	}
	f.Fuzz(func(t *testing.T, data []byte, config uint64) {
		c := newComparison(variedConfig(config))
		md := rwtest.FromBytes(data)
		c.check(t, md)
		c.check(t, md)
		c.replace()
		c.check(t, md)
	})
}
