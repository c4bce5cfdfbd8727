// SPDX-License-Identifier: Apache-2.0

// Package wire encodes and takes apart Prometheus Remote-Write messages, byte by byte and without an intermediate
// object for each series. It knows the protocol buffer schemas and nothing of OpenTelemetry or of the exporter.
//
// The schemas are those of prometheus.WriteRequest (Remote-Write 1.0, "Protocol") as published in Prometheus's
// prompb/types.proto, which adds exemplars and native histograms to the text of the specification.
package wire // import "github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
)

// Protocol buffer wire types.
const (
	wireVarint = 0
	wireI64    = 1
	wireLen    = 2
	wireI32    = 5
)

// ErrMalformed is returned for bytes that are not the message they are taken for.
var ErrMalformed = errors.New("malformed message")

// UvarintLen returns the number of bytes of v as a varint.
func UvarintLen(v uint64) int {
	return (bits.Len64(v|1) + 6) / 7
}

func zigzag(v int64) uint64 {
	return uint64(v<<1) ^ uint64(v>>63)
}

func appendTag(b []byte, field, wireType int) []byte {
	return binary.AppendUvarint(b, uint64(field<<3|wireType))
}

// appendDouble leaves out +0 as proto3 does, but keeps -0, which is another value.
func appendDouble(b []byte, field int, v float64) []byte {
	if math.Float64bits(v) == 0 {
		return b
	}
	return binary.LittleEndian.AppendUint64(appendTag(b, field, wireI64), math.Float64bits(v))
}

func appendUint(b []byte, field int, v uint64) []byte {
	if v == 0 {
		return b
	}
	return binary.AppendUvarint(appendTag(b, field, wireVarint), v)
}

func appendBytes[T ~string | ~[]byte](b []byte, field int, v T) []byte {
	b = binary.AppendUvarint(appendTag(b, field, wireLen), uint64(len(v)))
	return append(b, v...)
}

// field is one field of a message: its number, and its value as bytes or as a number according to its wire type.
type field struct {
	number   int
	wireType int
	bytes    []byte
	value    uint64
}

// nextField takes the first field off b.
func nextField(b []byte) (field, []byte, error) {
	tag, n := binary.Uvarint(b)
	if n <= 0 || tag>>3 == 0 || tag>>3 > math.MaxInt32 {
		return field{}, nil, fmt.Errorf("%w: bad field tag", ErrMalformed)
	}
	f := field{number: int(tag >> 3), wireType: int(tag & 7)}
	b = b[n:]
	switch f.wireType {
	case wireVarint:
		if f.value, n = binary.Uvarint(b); n <= 0 {
			return field{}, nil, fmt.Errorf("%w: bad varint in field %d", ErrMalformed, f.number)
		}
	case wireI64:
		if n = 8; len(b) < n {
			return field{}, nil, fmt.Errorf("%w: field %d is cut off", ErrMalformed, f.number)
		}
		f.value = binary.LittleEndian.Uint64(b)
	case wireI32:
		if n = 4; len(b) < n {
			return field{}, nil, fmt.Errorf("%w: field %d is cut off", ErrMalformed, f.number)
		}
		f.value = uint64(binary.LittleEndian.Uint32(b))
	case wireLen:
		size, m := binary.Uvarint(b)
		if m <= 0 || size > uint64(len(b)-m) {
			return field{}, nil, fmt.Errorf("%w: field %d is cut off", ErrMalformed, f.number)
		}
		f.bytes = b[m : m+int(size)]
		n = m + int(size)
	default:
		return field{}, nil, fmt.Errorf("%w: wire type %d in field %d", ErrMalformed, f.wireType, f.number)
	}
	return f, b[n:], nil
}
