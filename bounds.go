// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"encoding/binary"
	"math"
	"slices"
	"sync/atomic"
	"unsafe"

	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// boundSet is the bounds of a classic histogram, +Inf included in labels only, or the quantiles of a summary. It never
// changes.
type boundSet struct {
	values []float64
	labels []extraLabel
	// size is the bytes of the set, and kept says that it is in a cache.
	size int
	kept bool
	// sent is the set as what was sent for a point, without a sum and with one, and remembers how many points have either.
	sent       [2]remembered
	remembered atomic.Int64
}

// remembered is what was sent for a point. It is shared by all points for which the same was sent.
type remembered struct {
	bounds *boundSet
	hasSum bool
}

func newBoundSet(name string, values []float64) *boundSet {
	s := &boundSet{values: slices.Clone(values), labels: make([]extraLabel, 0, len(values)+1)}
	for _, v := range values {
		s.labels = append(s.labels, newExtraLabel(name, v))
	}
	if name == leLabel {
		s.labels = append(s.labels, newExtraLabel(name, math.Inf(1)))
	}
	s.sent = [2]remembered{{s, false}, {s, true}}
	s.size = s.cost()
	return s
}

// cost is the bytes of the set.
func (s *boundSet) cost() int {
	cost := mapSlots*4*8 + 8 + int(unsafe.Sizeof(*s)) + 8*cap(s.values) + cap(s.labels)*int(unsafe.Sizeof(extraLabel{})) + 3*allocation
	for i := range s.labels {
		cost += len(s.labels[i].value) + cap(s.labels[i].label) + 2*allocation
	}
	return cost
}

// boundCache makes boundSets and keeps them.
type boundCache struct {
	account *cacheAccount
	sets    map[uint64][]*boundSet
	last    *boundSet
	scratch []float64
	bytes   []byte
}

// bucketBounds returns the bounds of a point's buckets; ok is false if they are not increasing or do not fit the
// buckets. Without any there is the +Inf bucket alone.
func (c *boundCache) bucketBounds(dp pmetric.HistogramDataPoint) (set *boundSet, ok bool) {
	bounds := dp.ExplicitBounds()
	n := bounds.Len()
	if buckets := dp.BucketCounts().Len(); buckets == 0 {
		n = 0
	} else if buckets != n+1 {
		return c.get(leLabel, nil), false
	}
	c.scratch = c.scratch[:0]
	for i := range n {
		b := bounds.At(i)
		if b != b || i > 0 && b <= bounds.At(i-1) {
			return c.get(leLabel, nil), false
		}
		// An explicit last bound of +Inf is the one that every histogram has.
		if !math.IsInf(b, 1) {
			c.scratch = append(c.scratch, b)
		}
	}
	return c.get(leLabel, c.scratch), true
}

// quantiles returns the quantiles of a summary's point.
func (c *boundCache) quantiles(dp pmetric.SummaryDataPoint) *boundSet {
	c.scratch = c.scratch[:0]
	for _, q := range dp.QuantileValues().All() {
		c.scratch = append(c.scratch, q.Quantile())
	}
	return c.get(quantileLabel, c.scratch)
}

func (c *boundCache) get(name string, values []float64) *boundSet {
	if c.last != nil && c.last.is(name, values) {
		return c.last
	}
	c.bytes = append(c.bytes[:0], name...)
	for _, v := range values {
		c.bytes = binary.LittleEndian.AppendUint64(c.bytes, math.Float64bits(v))
	}
	hash := wire.HashBytes(c.bytes)
	for _, s := range c.sets[hash] {
		if s.is(name, values) {
			c.last = s
			return s
		}
	}
	s := newBoundSet(name, values)
	if s.kept = c.account.take(s.size); s.kept {
		c.sets[hash] = append(c.sets[hash], s)
	}
	c.last = s
	return s
}

// forget empties the cache.
func (c *boundCache) forget() {
	c.sets = make(map[uint64][]*boundSet)
}

// forgetLarge lets go of what was too large to be kept.
func (c *boundCache) forgetLarge() {
	if c.last != nil && !c.last.kept {
		c.last = nil
	}
	c.scratch, c.bytes = emptied(c.scratch), emptied(c.bytes)
}

func (s *boundSet) is(name string, values []float64) bool {
	return (name == leLabel) == (len(s.labels) > len(s.values)) &&
		slices.EqualFunc(s.values, values, func(a, b float64) bool { return math.Float64bits(a) == math.Float64bits(b) })
}
