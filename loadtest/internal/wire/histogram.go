// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"encoding/binary"
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// The fields of a native histogram, the same in both versions. Integers and floats have fields of their own.
const (
	countInt      = 1
	countFloat    = 2
	histogramSum  = 3
	schemaField   = 4
	zeroInt       = 6
	zeroFloat     = 7
	negativeSpans = 8
	positiveSpans = 11
	histogramTime = 15
	// What comes after the spans of a sign.
	deltasAfter = 1
	countsAfter = 2
)

// Places of buckets that have no index of their own.
const (
	zeroBucket = math.MinInt32
	// negative is added to the index of a bucket of negative values.
	negative = 1 << 40
)

// Bucket is a number that stands for a bucket of positive values with its schema, index and count. An empty one is 0, as if
// it were not there: which of them a histogram has is up to its sender.
func Bucket(schema int32, index int64, count float64) uint64 {
	if count == 0 {
		return 0
	}
	h := math.Float64bits(count)*0x9e3779b97f4a7c15 ^ uint64(index)*0xd1b54a32d192ed03 ^ uint64(uint32(schema))
	h = (h ^ h>>30) * 0xbf58476d1ce4e5b9
	h = (h ^ h>>27) * 0x94d049bb133111eb
	return h ^ h>>31
}

// layout are the buckets of a native histogram while it is read: what it says of them may come in any order.
type layout struct {
	schema int32
	zero   float64
	signs  [2]sign // positive and negative
}

// sign are the buckets of values of a sign. It has deltas or counts.
type sign struct {
	spans  []bucketSpan
	deltas []int64
	counts []float64
}

// bucketSpan are consecutive buckets, and how far they are from those before.
type bucketSpan struct {
	offset int
	length int
}

func (l *layout) reset() {
	l.schema, l.zero = 0, 0
	for i := range l.signs {
		s := &l.signs[i]
		s.spans, s.deltas, s.counts = s.spans[:0], s.deltas[:0], s.counts[:0]
	}
}

// buckets is the sum of Bucket over all buckets.
func (l *layout) buckets() uint64 {
	sum := Bucket(l.schema, zeroBucket, l.zero)
	for i := range l.signs {
		s := &l.signs[i]
		index, at, count := int64(i)*negative, 0, int64(0)
		for _, span := range s.spans {
			index += int64(span.offset)
			for range min(span.length, max(len(s.deltas), len(s.counts))-at) {
				n := 0.0
				if at < len(s.counts) {
					n = s.counts[at]
				} else {
					count += s.deltas[at]
					n = float64(count)
				}
				sum += Bucket(l.schema, index, n)
				index++
				at++
			}
		}
	}
	return sum
}

func (r *Request) parseHistogram(f field) error {
	if f.kind != protowire.BytesType {
		return errKind
	}
	s, n, l := Sample{native: int32(len(r.natives) + 1)}, Native{}, &r.layout
	l.reset()
	for b := f.bytes; len(b) > 0; {
		f, err := next(&b)
		if err != nil {
			return err
		}
		kind := protowire.VarintType
		switch f.number {
		case countInt:
			s.Bits = math.Float64bits(float64(f.number64))
		case countFloat:
			kind, s.Bits = protowire.Fixed64Type, f.number64
		case histogramSum:
			kind, n.Sum = protowire.Fixed64Type, math.Float64frombits(f.number64)
		case schemaField:
			l.schema = int32(protowire.DecodeZigZag(f.number64))
		case zeroInt:
			l.zero = float64(f.number64)
		case zeroFloat:
			kind, l.zero = protowire.Fixed64Type, math.Float64frombits(f.number64)
		case histogramTime:
			s.Time = int64(f.number64)
		case negativeSpans, negativeSpans + deltasAfter, negativeSpans + countsAfter:
			kind, err = f.kind, l.signs[1].parse(f, negativeSpans)
		case positiveSpans, positiveSpans + deltasAfter, positiveSpans + countsAfter:
			kind, err = f.kind, l.signs[0].parse(f, positiveSpans)
		default:
			continue
		}
		if f.kind != kind {
			err = errKind
		}
		if err != nil {
			return err
		}
	}
	n.Buckets = l.buckets()
	r.samples, r.natives = append(r.samples, s), append(r.natives, n)
	return nil
}

// parse reads one of the fields of a sign, the first of which has a number. Numbers may be packed or not.
func (s *sign) parse(f field, first protowire.Number) error {
	switch f.number - first {
	case deltasAfter:
		if f.kind == protowire.VarintType {
			s.deltas = append(s.deltas, protowire.DecodeZigZag(f.number64))
			return nil
		}
		if f.kind != protowire.BytesType {
			return errKind
		}
		for b := f.bytes; len(b) > 0; {
			v, n := binary.Uvarint(b)
			if n <= 0 {
				return errTruncated
			}
			s.deltas, b = append(s.deltas, protowire.DecodeZigZag(v)), b[n:]
		}
	case countsAfter:
		if f.kind == protowire.Fixed64Type {
			s.counts = append(s.counts, math.Float64frombits(f.number64))
			return nil
		}
		if f.kind != protowire.BytesType || len(f.bytes)%8 != 0 {
			return errKind
		}
		for b := f.bytes; len(b) > 0; b = b[8:] {
			s.counts = append(s.counts, math.Float64frombits(binary.LittleEndian.Uint64(b)))
		}
	default:
		return s.parseSpan(f)
	}
	return nil
}

func (s *sign) parseSpan(f field) error {
	if f.kind != protowire.BytesType {
		return errKind
	}
	var span bucketSpan
	for b := f.bytes; len(b) > 0; {
		f, err := next(&b)
		if err != nil {
			return err
		}
		if f.number <= 2 && f.kind != protowire.VarintType {
			return errKind
		}
		switch f.number {
		case 1:
			span.offset = int(int32(protowire.DecodeZigZag(f.number64)))
		case 2:
			span.length = int(min(f.number64, math.MaxInt32))
		}
	}
	s.spans = append(s.spans, span)
	return nil
}
