// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// labelTimesBuckets is a histogram of which each point has a label of so many bytes, which 1.0 has on the series of each bucket. Each
// point is a second older than the one before.
func labelTimesBuckets(points, label, bounds int) *largePayload {
	random := rand.New(rand.NewPCG(1, 2))
	text := make([]byte, label)
	for i := range text {
		text[i] = byte('a' + random.IntN(26))
	}
	p := newLargePayload()
	h := p.metric.SetEmptyHistogram()
	h.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	for i := range points {
		dp := h.DataPoints().AppendEmpty()
		dp.SetTimestamp(pcommon.Timestamp(1000-i) * 1e9)
		dp.Attributes().PutStr("label", string(text))
		dp.ExplicitBounds().EnsureCapacity(bounds)
		for j := range bounds {
			dp.ExplicitBounds().Append(float64(j))
		}
		dp.BucketCounts().FromRaw(make([]uint64, bounds+1))
	}
	return p
}

// allocated is the bytes that are allocated meanwhile.
func allocated(f func()) int {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f()
	runtime.ReadMemStats(&after)
	return int(after.TotalAlloc - before.TotalAlloc)
}

// TestLargeSeriesArePutInOrder in a time that is in proportion to their bytes, of which few series fill a chunk.
func TestLargeSeriesArePutInOrder(t *testing.T) {
	const label, bounds, most = 20_000, 500, 64 << 10
	p := labelTimesBuckets(2, label, bounds)
	tr := newTestTranslator(configOf(func(c *Config) { c.Batch.MaxSizeBytes = most }))
	bytes := allocated(func() { tr.translate(p.md) })
	assert.True(t, tr.reordered)
	assert.Equal(t, 2*(bounds+2), tr.points)
	assert.Less(t, bytes, 100*2*bounds*label, "bytes allocated")
	last := int64(0)
	for i := range tr.segments {
		for _, c := range tr.segments[i].chunks {
			assert.LessOrEqual(t, c.sizes.bytes(), int64(most))
			for _, e := range c.index {
				assert.GreaterOrEqual(t, e.timestamp, last)
				last = e.timestamp
			}
		}
		last = 0
	}
}
