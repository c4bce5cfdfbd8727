// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
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

func withLeastPayload(t *testing.T, n int64) {
	before := leastPayload
	leastPayload = n
	t.Cleanup(func() { leastPayload = before })
}

// TestPayloadThatOutgrowsTheQueueIsRefused as soon as it has, and not after it has been translated, whatever the queue does when it
// is full. 1.0 makes of a label and the buckets of a histogram the product of their bytes.
func TestPayloadThatOutgrowsTheQueueIsRefused(t *testing.T) {
	const size = 1 << 20
	withLeastPayload(t, size)
	for _, onFull := range []OnFull{OnFullBlock, OnFullReject, OnFullDropOldest, OnFullDropNewest} {
		t.Run(string(onFull), func(t *testing.T) {
			receiver := &rwtest.Receiver{}
			h := newHarness(t, receiver, func(c *Config) {
				c.Batch.MaxSizeBytes, c.Queue.MaxSizeBytes, c.Queue.OnFull = size/4, size, onFull
			})
			p := labelTimesBuckets(10, 100_000, 1000)
			bytes := allocated(func() {
				err := h.ConsumeMetrics(t.Context(), p.md)
				assert.ErrorContains(t, err, "queue.max_size_bytes: ")
				assert.True(t, consumererror.IsPermanent(err))
			})
			assert.Less(t, bytes, 20*4*size, "bytes allocated")
			h.consume(gauge(time.Now(), 3))
			h.shutdown()
			assert.Equal(t, int64(3), h.delivered())
			assert.Empty(t, h.dropped())
		})
	}
}

// TestTooMuchToPutInOrderIsLate: what takes more bytes than the queue has, before it is compressed, is not laid out to be sorted. The
// older of its samples travel with the late ones.
func TestTooMuchToPutInOrderIsLate(t *testing.T) {
	withLeastPayload(t, 1<<20)
	synctest.Test(t, func(t *testing.T) {
		const bounds = 100
		receiver := &rwtest.Receiver{}
		h := newHarness(t, receiver, func(c *Config) { c.Batch.MaxSizeBytes, c.Queue.MaxSizeBytes = 256<<10, 1<<20 })
		p := labelTimesBuckets(2, 10_000, bounds)
		points := p.metric.Histogram().DataPoints()
		for i := range points.Len() {
			points.At(i).SetTimestamp(pcommon.NewTimestampFromTime(time.Now().Add(-time.Duration(i) * time.Second)))
		}
		h.consume(p.md)
		h.shutdown()
		assert.Greater(t, h.delivered(), int64(bounds+2))
		assert.Equal(t, map[string]int64{"out_of_order": 2*(bounds+2) - h.delivered()}, h.dropped())
	})
}

// TestDeeplyNestedValue: the receiver can read a message with very many arrays in each other, and the exporter must survive it.
func TestDeeplyNestedValue(t *testing.T) {
	const depth = 300_000
	// The message is written from its end: its innermost value, and around it an AnyValue with an ArrayValue at each level.
	message := []byte("x\x01\x0a") // reversed
	wrap := func(tag byte) {
		size := binary.AppendUvarint(nil, uint64(len(message)))
		slices.Reverse(size)
		message = append(append(message, size...), tag)
	}
	for range depth {
		wrap(1<<3 | 2) // ArrayValue.values
		wrap(5<<3 | 2) // AnyValue.array_value
	}
	wrap(2<<3 | 2)                            // KeyValue.value
	message = append(message, 'k', 1, 1<<3|2) // KeyValue.key
	for range 3 {
		wrap(1<<3 | 2) // Resource.attributes, ResourceMetrics.resource, MetricsData.resource_metrics
	}
	slices.Reverse(message)
	md, err := (&pmetric.ProtoUnmarshaler{}).UnmarshalMetrics(message)
	require.NoError(t, err)
	attributes := md.ResourceMetrics().At(0).Resource().Attributes()
	value, _ := attributes.Get("k")
	assert.Equal(t, strings.Repeat("[", maxNesting)+"null"+strings.Repeat("]", maxNesting), anyString(value))
	p := newLargePayload()
	attributes.MoveTo(p.point().Attributes())
	assert.Len(t, translatePayload(t, newTestTranslator(configOf(nil)), p.md).series, 1)
}
