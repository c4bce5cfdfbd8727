// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"fmt"
	"math"
	"math/bits"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
)

// These tests attack the translation as it was once, when a series was known by an unkeyed hash: they make values whose
// old hashes are alike. The values must have no power over the hashes of today.

// unkeyed is the old hash of a series: sums of combined XXH64. All of its strings have rwtest.UnkeyedLen bytes.
type unkeyed struct {
	metric string
	labels [][2]string
}

func (s unkeyed) sum() uint64 {
	sum := uint64(0)
	for _, l := range s.labels {
		sum += combine(combine(hashSeed, rwtest.Unkeyed(l[0])), rwtest.Unkeyed(l[1]))
	}
	return sum
}

// identity is by what the guard, the timeline and remembered bounds knew the series, and partitionKey what chose its partition.
func (s unkeyed) identity() uint64 {
	return combine(combine(combine(s.sum(), rwtest.Unkeyed(s.metric)), 0), 0)
}

func (s unkeyed) partitionKey() uint64 { return combine(s.sum(), rwtest.Unkeyed(s.metric)) }

// withSum appends a label with a value that makes the sum what it must be.
func (s unkeyed) withSum(r *rand.Rand, name string, sum uint64) unkeyed {
	value := uncombineSecond(combine(hashSeed, rwtest.Unkeyed(name)), sum-s.sum())
	s.labels = append(slices.Clip(s.labels), [2]string{name, rwtest.Forge(r, value)})
	return s
}

// withIdentity is withSum for the identity.
func (s unkeyed) withIdentity(r *rand.Rand, name string, identity uint64) unkeyed {
	return s.withSum(r, name, uncombineFirst(uncombineFirst(uncombineFirst(identity, 0), 0), rwtest.Unkeyed(s.metric)))
}

// uncombineFirst returns a for combine(a, b) = h, and uncombineSecond b.
func uncombineFirst(h, b uint64) uint64 {
	h ^= h >> 33
	h *= rwtest.Inverse(0xc4ceb9fe1a85ec53)
	h ^= h >> 33
	h *= rwtest.Inverse(0xff51afd7ed558ccd)
	h ^= h >> 33
	return h ^ bits.RotateLeft64(b*hashSeed, 31)
}

func uncombineSecond(a, h uint64) uint64 {
	return bits.RotateLeft64(uncombineFirst(h, 0)^a, -31) * rwtest.Inverse(hashSeed)
}

func (s unkeyed) gauge() func(pmetric.Metric) {
	var attributes []any
	for _, l := range s.labels {
		attributes = append(attributes, l[0], l[1])
	}
	return gaugeOf(s.metric, number(1, with(attributes...)))
}

const (
	attackedMetric = "requests_of_shop"
	attackerLabel  = "attacker_s_label"
	unkeyedLe      = 0x9920649d4e123860 // XXH64 of "le"
)

// TestForgedSeriesIsNoDuplicate: a client that chooses one value cannot make the sample of another a duplicate, in one
// payload or in two.
func TestForgedSeriesIsNoDuplicate(t *testing.T) {
	r := rand.New(rand.NewPCG(seed(t), 0))
	tr := newTestTranslator(configOf(placing))
	for range 100 {
		victim := unkeyed{attackedMetric, [][2]string{{"name_of_customer", fmt.Sprintf("customer%08d", r.IntN(1e8))}}}
		forged := unkeyed{metric: attackedMetric}.withIdentity(r, attackerLabel, victim.identity())
		require.Equal(t, victim.identity(), forged.identity(), "the attack on the unkeyed hash")

		tr.translate(metricsOf(nil, forged.gauge(), victim.gauge()))
		assert.Zero(t, tr.drops.Total(), "samples dropped")
		sent := sentPoints(t, tr)
		if assert.Len(t, sent, 2) {
			assert.NotEqual(t, sent[0].hash, sent[1].hash, "what the guard knows them by")
		}
		tr.reset()
	}
}

// TestSwappedValuesAreOtherSeries: series with the same strings in other places are told apart, whatever the seed.
func TestSwappedValuesAreOtherSeries(t *testing.T) {
	tr := newTestTranslator(configOf(placing))
	strings := []string{"a", "b", "c", "d"}
	var all metrics
	series := make(map[string]bool)
	for n := range 256 {
		at := func(i int) string { return strings[n>>(2*i)&3] }
		if at(1) != at(3) {
			all = append(all, gaugeOf(at(0), number(1, with(at(1), at(2), at(3), at(0)))))
			series[fmt.Sprint(at(0), at(1), at(2), at(3))] = true
		}
	}
	found, sent := places(t, tr, metricsOf(nil, all...))
	hashes := make(map[uint64]bool)
	for _, p := range found {
		hashes[p.hash] = true
	}
	assert.Len(t, hashes, len(found))
	assert.Len(t, sent, len(found), "each is sent once, and none is taken for another")
}

// TestChosenSeriesCostNoMoreThanOthers: 40,000 samples whose old hashes begin in the same slots are found as quickly as others
// in the set of seen samples.
func TestChosenSeriesCostNoMoreThanOthers(t *testing.T) {
	const n, timestamp = 40_000, 1000
	r := rand.New(rand.NewPCG(seed(t), 0))
	var all metrics
	for range n {
		slot := r.Uint64() << 20
		s := unkeyed{metric: attackedMetric}.withIdentity(r, attackerLabel, uncombineFirst(slot, timestamp))
		all = append(all, s.gauge())
	}
	tr := newTestTranslator(configOf(nil))
	tr.translate(metricsOf(nil, all...))
	require.Zero(t, tr.drops.Total())
	slots := tr.seen.slots
	steps := 0
	for at, slot := range slots {
		if slot.identity != 0 {
			steps += (at - int(slot.identity)) & (len(slots) - 1)
		}
	}
	assert.Less(t, steps/n, 10, "steps of a search on average")
	tr.reset()
}

// TestTimesOfASeriesTakeOnePlace: a client that chooses the times of a series cannot make a payload's look-ups longer.
func TestTimesOfASeriesTakeOnePlace(t *testing.T) {
	var s timeline
	for i := range int64(40_000) {
		require.True(t, s.add(12345, i))
		require.False(t, s.add(12345, i))
	}
	assert.Equal(t, 1, s.count)
	assert.False(t, s.steppedBack)
}

// TestChosenSeriesAreSpread: series that an unkeyed hash gives to one partition go to all of them, and for each secret to
// others.
func TestChosenSeriesAreSpread(t *testing.T) {
	const n, partitions = 1000, 8
	r := rand.New(rand.NewPCG(seed(t), 0))
	var all metrics
	for range n {
		key := r.Uint64() >> 3
		s := unkeyed{metric: attackedMetric}
		s = s.withSum(r, attackerLabel, uncombineFirst(key, rwtest.Unkeyed(s.metric)))
		require.Zero(t, partitionOf(s.partitionKey(), partitions), "the attack on the unkeyed hash")
		all = append(all, s.gauge())
	}
	cfg := configOf(func(c *Config) { c.Partitions = partitions })
	partitionsOf := func(secret partitionSecret) []int {
		tr := &testTranslator{translator: newTranslator(newTranslation(cfg, secret), newBoundMemory(0), nil)}
		tr.translate(metricsOf(nil, all...))
		defer tr.reset()
		var found []int
		for i := range tr.segments {
			found = append(found, talliesOf(&tr.segments[i]).Samples)
		}
		return found
	}
	first, second := partitionsOf(newPartitionSecret()), partitionsOf(newPartitionSecret())
	assert.Less(t, slices.Max(first), 2*n/partitions, "series of a partition")
	assert.NotEqual(t, first, second, "another secret gives other partitions")
	assert.Equal(t, partitionsOf(testSecret), partitionsOf(testSecret), "the same secret gives the same partitions")
}

// TestChosenKeysAndBoundsAreFoundQuickly: the caches of shapes and of bounds stay tables when everything in them had the same
// unkeyed hash.
func TestChosenKeysAndBoundsAreFoundQuickly(t *testing.T) {
	const n = 1000
	r := rand.New(rand.NewPCG(seed(t), 0))
	hash := r.Uint64()
	var all metrics
	for range n {
		all = append(all, gaugeOf("x", number(1, with(rwtest.Forge(r, hash), "x"))))
	}
	for len(all) < 2*n {
		// The first bound is free, and the second one is what makes the hash the same.
		low := r.Float64()
		high := math.Float64frombits(uncombineSecond(combine(unkeyedLe, math.Float64bits(low)), hash))
		if high > low && !math.IsInf(high, 1) {
			all = append(all, histogramOf("h", buckets([]float64{low, high}, []uint64{1, 1, 1}, with("bounds", len(all)))))
		}
	}
	tr := newTestTranslator(configOf(nil))
	tr.translate(metricsOf(nil, all...))
	for _, shapes := range tr.labeler.shapes {
		assert.LessOrEqual(t, len(shapes), 2)
	}
	for _, sets := range tr.bounds.sets {
		assert.LessOrEqual(t, len(sets), 2)
	}
	tr.reset()
}
