// SPDX-License-Identifier: Apache-2.0

// Package block makes and joins the Snappy block format, in which Remote-Write messages travel (Remote-Write 1.0,
// "Protocol").
//
// The format begins with the size of what was compressed. Its elements follow, which refer to nothing before the bytes that
// were compressed together: so elements can be joined, and are what the bytes become in a row (Snappy,
// "format_description.txt", 1 and 2).
package block // import "github.com/orderedremotewrite/orderedremotewriteexporter/internal/block"

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/golang/snappy"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/buffers"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// Size is how many bytes Snappy looks at together: what is compressed in pieces of this size takes as many bytes as
// in one piece.
const Size = 1 << 16

// MaxGrowth is the most bytes that n bytes become longer by compression, as elements.
func MaxGrowth(n int) int {
	return n>>10 + 16
}

// Compress returns the block format of raw, in exactly as many bytes as it takes: it is what the queue holds.
func Compress(raw []byte) []byte {
	encoded := encode(buffers.Take(), raw)
	defer buffers.Give(encoded)
	return slices.Clone(encoded)
}

// Decompress undoes Compress, and panics for what Compress has not made: a body that has not left the process since.
func Decompress(body []byte) []byte {
	raw, err := snappy.Decode(nil, body)
	if err != nil {
		panic(fmt.Sprintf("a body cannot be decompressed: %v", err))
	}
	return raw
}

// DecompressedSize is the bytes that Decompress returns.
func DecompressedSize(body []byte) int {
	n, err := snappy.DecodedLen(body)
	if err != nil {
		panic(fmt.Sprintf("a body cannot be decompressed: %v", err))
	}
	return n
}

// AppendElements compresses raw and appends its elements.
func AppendElements(b, raw []byte) []byte {
	encoded := encode(buffers.Take(), raw)
	defer buffers.Give(encoded)
	return append(b, encoded[wire.UvarintLen(uint64(len(raw))):]...)
}

// WithSize makes the block format of elements, which were size bytes before compression.
func WithSize(elements []byte, size int) []byte {
	b := make([]byte, 0, wire.UvarintLen(uint64(size))+len(elements))
	return append(binary.AppendUvarint(b, uint64(size)), elements...)
}

// encode is snappy.Encode that uses all of a buffer, whatever is in it.
func encode(buf, raw []byte) []byte {
	buf = slices.Grow(buf[:0], snappy.MaxEncodedLen(len(raw)))
	return snappy.Encode(buf[:cap(buf)], raw)
}
