// SPDX-License-Identifier: Apache-2.0

package nativehist // import "github.com/orderedremotewrite/orderedremotewriteexporter/internal/nativehist"

import (
	"math"

	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// maxGap is the longest run of empty buckets that is written as such; a longer one costs more than a new span.
const maxGap = 1

// side collects the positive or the negative buckets of a native histogram, in the order of their indices.
type side struct {
	spans  []wire.Span
	deltas []int64
	// next is the index after the last bucket, last its count, total the count of all.
	next  int64
	last  int64
	total uint64
}

// add adds dense buckets, 2^scaleDown of them merged into one. OpenTelemetry's bucket i is (base^i, base^(i+1)],
// Prometheus's is (base^(i-1), base^i]. It returns false if an index or a count does not fit.
func (s *side) add(b pmetric.ExponentialHistogramDataPointBuckets, scaleDown int64) bool {
	counts := b.BucketCounts()
	offset := int64(b.Offset())
	for i := 0; i < counts.Len(); {
		index := shiftRight(offset+int64(i), scaleDown)
		count := uint64(0)
		for ; i < counts.Len() && shiftRight(offset+int64(i), scaleDown) == index; i++ {
			if count += counts.At(i); count > math.MaxInt64 || counts.At(i) > math.MaxInt64 {
				return false
			}
		}
		if !s.put(index+1, count) {
			return false
		}
	}
	return true
}

// shiftRight is floor(v / 2^n).
func shiftRight(v, n int64) int64 {
	return v >> min(n, 63)
}

// put adds to the bucket of an index, which is the last one or one after it. An empty bucket needs no place. It returns false
// if the index or a count does not fit.
func (s *side) put(index int64, count uint64) bool {
	if count == 0 {
		return true
	}
	total := s.total + count
	if count > math.MaxInt64 || total > math.MaxInt64 || index > math.MaxInt32 || index < math.MinInt32 {
		return false
	}
	s.total = total
	if len(s.spans) > 0 && index == s.next-1 {
		s.deltas[len(s.deltas)-1] += int64(count)
		s.last += int64(count)
		return true
	}
	s.append(index, int64(count))
	return true
}

func (s *side) append(index, count int64) {
	gap := index - s.next
	switch {
	case len(s.spans) == 0:
		s.spans = append(s.spans, wire.Span{Offset: int32(index)})
	case gap > maxGap:
		s.spans = append(s.spans, wire.Span{Offset: int32(gap)})
	default:
		for range gap {
			s.appendDelta(0)
		}
	}
	s.appendDelta(count)
	s.next = index + 1
}

func (s *side) appendDelta(count int64) {
	s.spans[len(s.spans)-1].Length++
	s.deltas = append(s.deltas, count-s.last)
	s.last = count
}
