// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// floods are series of payloads in which a client sends ever new strings and numbers, all of about a kilobyte.
var floods = map[string]func(i int) func(pmetric.Metric){
	"names": func(i int) func(pmetric.Metric) { return gaugeOf(kilobyte(i), number(1)) },
	"names of histograms": func(i int) func(pmetric.Metric) {
		return histogramOf(kilobyte(i), buckets([]float64{1}, []uint64{1, 2}))
	},
	"units":  func(i int) func(pmetric.Metric) { return withUnit(kilobyte(i), gaugeOf("m", number(1))) },
	"keys":   func(i int) func(pmetric.Metric) { return gaugeOf("m", number(1, with(kilobyte(i), "value"))) },
	"values": func(i int) func(pmetric.Metric) { return gaugeOf("m", number(1, with("key", kilobyte(i)))) },
	"integers": func(i int) func(pmetric.Metric) {
		return gaugeOf("m", number(1, with("key", i, "other", int64(i)<<20, "third", int64(i)<<40)))
	},
	"descriptions": func(i int) func(pmetric.Metric) {
		return func(m pmetric.Metric) {
			gaugeOf(fmt.Sprint("m", i), number(1))(m)
			m.SetDescription(kilobyte(i))
		}
	},
	"bounds": func(i int) func(pmetric.Metric) {
		bounds, counts := make([]float64, 128), make([]uint64, 129)
		for j := range bounds {
			bounds[j] = float64(i) + float64(j)/128
		}
		return histogramOf("h", buckets(bounds, counts, with("key", i)))
	},
	"series with bounds": func(i int) func(pmetric.Metric) {
		return histogramOf("h", buckets([]float64{1}, []uint64{1, 2}, with("key", kilobyte(i))))
	},
	"quantiles": func(i int) func(pmetric.Metric) {
		return summaryOf("s", quantiles([]float64{float64(i), float64(i) + 0.5}, with("key", i)))
	},
}

// testProtocol is one version and then the other.
func testProtocol(i int) wire.Protocol {
	if i%2 == 0 {
		return wire.V1
	}
	return wire.V2
}

func kilobyte(i int) string { return strings.Repeat("x", 1000) + fmt.Sprintf("%024b", i) }

// smallCaches are the caches of an exporter with a smaller budget.
type smallCaches struct {
	pool     *translatorPool
	memory   *boundMemory
	families *families
	size     int64
}

func newSmallCaches(size int64, edit func(*Config)) *smallCaches {
	c := &smallCaches{memory: newBoundMemory(time.Hour), families: newFamilies(), size: size}
	tr := testTranslation(configOf(edit))
	tr.caches.size, c.memory.budget.size, c.families.budget.size = size/8*translatorShare, size/8*boundShare, size/8*familyShare
	c.pool = newTranslatorPool(tr, c.memory, c.families)
	return c
}

func (c *smallCaches) budgets() []*cacheBudget {
	return []*cacheBudget{c.pool.make().caches, c.memory.budget, c.families.budget}
}

// TestCachesKeepToTheirBudget: whatever a client sends ever new ones of, all caches together hold no more than their budget, in
// their own figures and in those of the runtime.
func TestCachesKeepToTheirBudget(t *testing.T) {
	const size, perPayload, payloads = 8 << 20, 500, 40
	for name, flood := range floods {
		t.Run(name, func(t *testing.T) {
			c := newSmallCaches(size, func(cfg *Config) { cfg.ProtobufMessage = MessageV2 })
			translators := make([]*translator, 3)
			before := heapInUse()
			for p := range payloads {
				md := metricsOf(nil)
				metrics := md.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics()
				for i := range perPayload {
					flood(p*perPayload + i)(metrics.AppendEmpty())
				}
				// As many at once as not all of them are kept of.
				for i := range translators {
					translators[i] = c.pool.take()
				}
				require.NoError(t, translators[p%3].translate(t.Context(), md, testProtocol(p)))
				for _, tr := range translators {
					c.pool.giveBack(tr)
				}
				for _, b := range c.budgets() {
					require.LessOrEqual(t, b.used.Load(), b.size+b.size/entriesPerBudget)
				}
			}
			clear(translators)
			held := heapInUse() - before
			t.Logf("%d bytes of %d", held, size)
			// What is in no budget: buffers, which are not caches, and the last shape of each translator.
			buffers := 2 << 20
			for _, tr := range c.pool.free {
				buffers += tr.scratch()
			}
			assert.LessOrEqual(t, held, int64(size+buffers), "bytes held")
			runtime.KeepAlive(c)
		})
	}
}

// newEntries is the payload in which all that caches hold is new: resources and scopes, names, units and descriptions of
// metrics, keys and values of attributes, bounds or quantiles, and the series that these are remembered for. n tells it apart.
func newEntries(n, each int) pmetric.Metrics {
	md := pmetric.NewMetrics()
	for i := n; i < n+each; i++ {
		rm := md.ResourceMetrics().AppendEmpty()
		rm.Resource().Attributes().PutStr("service.instance.id", fmt.Sprint("instance-", i))
		rm.Resource().Attributes().PutStr(fmt.Sprint("host.", i), "value")
		sm := rm.ScopeMetrics().AppendEmpty()
		sm.Scope().SetName(fmt.Sprint("scope-", i))
		sm.Scope().Attributes().PutStr(fmt.Sprint("scope.key.", i), "value")
		m := sm.Metrics().AppendEmpty()
		own := with(fmt.Sprint("key.", i), i)
		if i%2 == 0 {
			histogramOf(fmt.Sprint("histogram.", i), buckets([]float64{float64(i), float64(i) + 0.5}, []uint64{1, 2, 3}, own))(m)
		} else {
			summaryOf(fmt.Sprint("summary.", i), quantiles([]float64{float64(i), float64(i) + 0.5}, own))(m)
		}
		m.SetUnit(fmt.Sprint("unit.", i))
		m.SetDescription(fmt.Sprint("description ", i))
	}
	return md
}

// flood sends ever new entries to all caches, and returns the most bytes of heap that they held, without the buffers of
// translators.
func (c *smallCaches) flood(tb testing.TB, entries int) (most int64) {
	const each = 500
	before := heapInUse()
	for n := 0; n < entries; n += each {
		tr := c.pool.take()
		require.NoError(tb, tr.translate(tb.Context(), newEntries(n, each), testProtocol(n/each)))
		c.pool.giveBack(tr)
		if (n/each)%(entries/each/10) > 0 {
			continue
		}
		held := heapInUse() - before
		for _, tr := range c.pool.free {
			held -= int64(tr.scratch())
		}
		most = max(most, held)
		for _, b := range c.budgets() {
			require.LessOrEqual(tb, b.used.Load(), b.size+b.size/entriesPerBudget)
		}
	}
	return most
}

// beside is what is held besides caches and buffers: the last shape of each translator, and empty maps.
const beside = 256 << 10

// promoteHosts makes labels of what tells resources apart.
func promoteHosts(c *Config) { c.ResourceConstantLabels.Included = []string{"host.*"} }

// TestCachesKeepToTheirBudgetTogether: when a client sends ever new ones of everything at once.
func TestCachesKeepToTheirBudgetTogether(t *testing.T) {
	const size = 16 << 20
	c := newSmallCaches(size, promoteHosts)
	held := c.flood(t, 50_000)
	t.Logf("%d bytes of %d", held, size)
	assert.LessOrEqual(t, held, int64(size+beside))
}

// BenchmarkCachesInFlood is a million new entries for each cache, with the budget of the exporter on such a machine.
func BenchmarkCachesInFlood(b *testing.B) {
	const entries = 1_000_000
	for range b.N {
		size := max(minCacheSize, int64(runtime.GOMAXPROCS(0))*cacheSizePerCPU)
		c := newSmallCaches(size, promoteHosts)
		held := c.flood(b, entries)
		b.ReportMetric(float64(held)/(1<<20), "held-MiB")
		b.ReportMetric(float64(size)/(1<<20), "budget-MiB")
		require.LessOrEqual(b, held, size+beside)
	}
}

// TestBudgetIsGivenBack: what is forgotten does not count any more.
func TestBudgetIsGivenBack(t *testing.T) {
	c := newSmallCaches(8<<20, nil)
	now := time.Now()
	for _, flood := range floods {
		tr := c.pool.take()
		for i := range 1000 {
			md := pmetric.NewMetrics()
			flood(i)(md.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics().AppendEmpty())
			require.NoError(t, tr.translate(t.Context(), md, testProtocol(i)))
			tr.reset()
		}
		c.pool.giveBack(tr)
	}
	for _, b := range c.budgets() {
		require.Positive(t, b.used.Load())
	}
	c.pool.reclaim()
	c.families.take()
	c.memory.expire(now)
	assert.Positive(t, c.memory.budget.used.Load(), "what is in use is remembered")
	c.memory.expire(now.Add(2 * time.Hour))
	c.memory.expire(now.Add(4 * time.Hour))
	for _, b := range c.budgets() {
		assert.Zero(t, b.used.Load())
	}
}

// TestIdleTranslatorsMakeRoom: one that is not in use forgets what it holds for one that is.
func TestIdleTranslatorsMakeRoom(t *testing.T) {
	c := newSmallCaches(1<<20, nil)
	idle, busy := c.pool.take(), c.pool.take()
	size := idle.caches.size
	for !idle.caches.tooLarge(1) && idle.caches.used.Load() < size*9/10 {
		idle.namer.labelName(kilobyte(len(idle.namer.labels)))
	}
	c.pool.giveBack(idle)
	for i := range 200 {
		busy.namer.labelName(kilobyte(i))
	}
	assert.Empty(t, idle.namer.labels)
	assert.Len(t, busy.namer.labels, 200, "and does not forget its own")
	c.pool.giveBack(busy)
}

// TestTranslatorsAreFew: no more of them are kept than can be at work at once, and none with large buffers.
func TestTranslatorsAreFew(t *testing.T) {
	c := newSmallCaches(1<<20, nil)
	var all []*translator
	for range 10 + runtime.GOMAXPROCS(0) {
		all = append(all, c.pool.take())
		all[len(all)-1].namer.labelName("key")
	}
	var wg sync.WaitGroup
	for _, tr := range all {
		wg.Go(func() { c.pool.giveBack(tr) })
	}
	wg.Wait()
	assert.Len(t, c.pool.free, runtime.GOMAXPROCS(0))
	held := int64(0)
	for _, tr := range c.pool.free {
		held += tr.account.used
	}
	assert.Equal(t, held, all[0].caches.used.Load())

	tr := c.pool.take()
	tr.labeler.set.buf = make([]byte, maxScratch+1)
	c.pool.giveBack(tr)
	assert.Len(t, c.pool.free, runtime.GOMAXPROCS(0)-1)
}

// TestLargeEntryIsNotKept: one that would take a large part of the budget, nor what it is for, once the payload is done.
func TestLargeEntryIsNotKept(t *testing.T) {
	for name, payload := range largePayloads {
		tr := newTestTranslator(configOf(unlimited))
		tr.caches.size = 1 << 20
		p := newLargePayload()
		payload(10_000, p)
		before := heapInUse()
		require.NoError(t, tr.translator.translate(t.Context(), p.md, tr.protocol))
		tr.reset()
		for i := range tr.segments {
			tr.segments[i] = segment{limits: &tr.limits}
		}
		tr.labeler.set, tr.seen = labelSet{}, timeline{}
		assert.LessOrEqual(t, heapInUse()-before, int64(3<<20), "%s: bytes held after it", name)
		runtime.KeepAlive(tr)
		runtime.KeepAlive(p)
	}
}

// TestNamesOfVeryManyAreNotKept: they do not take the place of the names that others use.
func TestNamesOfVeryManyAreNotKept(t *testing.T) {
	tr := newTestTranslator(configOf(unlimited))
	small := newLargePayload()
	withAttributes(key)(10, small)
	require.NoError(t, tr.translator.translate(t.Context(), small.md, tr.protocol))
	kept := len(tr.namer.labels)
	require.GreaterOrEqual(t, kept, 10)
	for _, of := range []func(func(int) (string, string)) func(int, *largePayload){withAttributes, withScope, withResource} {
		p := newLargePayload()
		of(func(i int) (string, string) { k, v := key(i); return "many." + k, v })(maxKept+2, p)
		require.NoError(t, tr.translator.translate(t.Context(), p.md, tr.protocol))
		tr.reset()
	}
	// Those of a scope and of a resource without many attributes may be there.
	assert.LessOrEqual(t, len(tr.namer.labels), kept+3)
}

// TestBoundsAreRememberedWithinTheBudget: those that were used last.
func TestBoundsAreRememberedWithinTheBudget(t *testing.T) {
	m := newBoundMemory(time.Hour)
	m.budget.size = 1 << 20
	bounds, other := newBoundSet(leLabel, []float64{1}), newBoundSet(leLabel, nil)
	now := time.Now()
	const n = 100_000
	for key := range uint64(n) {
		m.put(key, bounds, true, now)
		require.LessOrEqual(t, m.budget.used.Load(), m.budget.size+int64(bounds.size))
	}
	remembers := func(key uint64) bool { return m.get(key, other, false, now).bounds == bounds }
	assert.True(t, remembers(n-1))
	assert.False(t, remembers(0))
	last := 0
	for key := range uint64(n) {
		if remembers(key) {
			last++
		}
	}
	assert.Greater(t, last, 1<<20/rememberedSize/3, "bounds that are remembered")
}
