// SPDX-License-Identifier: Apache-2.0

package block // import "github.com/orderedremotewrite/orderedremotewriteexporter/internal/block"

import (
	"encoding/binary"
	"slices"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/buffers"
)

// The lower two bits of an element's first byte say what it is (Snappy, "format_description.txt", 2).
const (
	tagLiteral = 0
	tagCopy1   = 1
	tagCopy2   = 2
)

const (
	// maxShortLiteral is the most bytes of a literal whose length is in its tag.
	maxShortLiteral = 60
	// minCopy is the least bytes that are worth an element which copies them, and maxCopy the most that one copies.
	minCopy, maxCopy = 4, 64
	// maxOffset is how far back an element of three bytes can copy from.
	maxOffset = 1<<16 - 1
)

var le = binary.LittleEndian

// Writer appends elements of bytes of which its user knows what they repeat, so that nobody needs to search for that.
type Writer struct {
	b []byte
	// at is how many bytes there are so far, those before the first element included.
	at int
	// literal is where the tag of the literal stands that is not finished, or -1.
	literal int
	// n bytes are copied from offset bytes before by elements that are not written yet.
	offset, n int
}

// Begin starts to append to b elements of the bytes from at on.
func (w *Writer) Begin(b []byte, at int) {
	*w = Writer{b: b, at: at, literal: -1}
}

// End returns b with the elements.
func (w *Writer) End() []byte {
	w.endCopy()
	w.endLiteral()
	return w.b
}

// At is how many bytes there are so far.
func (w *Writer) At() int { return w.at }

// Continues says whether a copy of what stands at from would go on with the one before.
func (w *Writer) Continues(from int) bool { return w.n > 0 && w.at-from == w.offset }

// Literal adds bytes as they are.
func (w *Writer) Literal(p []byte) {
	if len(p) == 0 {
		return
	}
	w.beginLiteral()
	b := append(buffers.Room(&w.b, len(p)), p...)
	w.b = w.b[:len(b)]
	w.at += len(p)
}

// LiteralWord adds the lowest n bytes of a number, the least significant first.
func (w *Writer) LiteralWord(v uint64, n int) {
	w.beginLiteral()
	b := le.AppendUint64(buffers.Room(&w.b, 8), v)
	w.b = w.b[:len(b)-8+n]
	w.at += n
}

func (w *Writer) beginLiteral() {
	if w.literal < 0 {
		w.endCopy()
		w.literal = len(w.b)
		w.b = append(w.b, 0)
	}
}

// Repeat adds bytes that stand at from already, as a copy if that is worth it.
func (w *Writer) Repeat(p []byte, from int) {
	n, offset := len(p), w.at-from
	switch {
	case w.n > 0 && offset == w.offset:
		w.n += n
		w.at += n
	case n < minCopy || offset > maxOffset:
		w.Literal(p)
	default:
		w.beginCopy(offset, n)
	}
}

// Copy is Repeat without the bytes, for n of them that are less than Size back. Fewer than four are not worth it, unless they
// continue the copy before.
func (w *Writer) Copy(from, n int) {
	if offset := w.at - from; w.n == 0 || offset != w.offset {
		w.beginCopy(offset, n)
		return
	}
	w.n += n
	w.at += n
}

// CopyAround is Copy of n bytes from a place where front bytes before them are the same as those that were added last, and behind
// bytes after them the same as what comes next. It takes such bytes into its element if that spares another one or does not take
// one, and returns how many of those behind it has added.
func (w *Writer) CopyAround(from, n, front, behind int) (more int) {
	if r := w.n % maxCopy; r <= min(front, maxCopy-n) {
		w.n, w.at = w.n-r, w.at-r
		from, n = from-r, n+r
	}
	more = min(behind, max(maxCopy-n, 0))
	w.Copy(from, n+more)
	return more
}

func (w *Writer) beginCopy(offset, n int) {
	w.endCopy()
	w.endLiteral()
	w.offset, w.n = offset, n
	w.at += n
}

func (w *Writer) endCopy() {
	if w.n > 0 {
		b := appendCopy(buffers.Room(&w.b, copyRoom(w.n)), w.offset, w.n)
		w.b = w.b[:len(b)]
		w.n = 0
	}
}

func (w *Writer) endLiteral() {
	if w.literal < 0 {
		return
	}
	if n := len(w.b) - w.literal - 1; n <= maxShortLiteral {
		w.b[w.literal] = literalTag(n)
	} else {
		w.b = appendLiteral(w.b[:w.literal], slices.Clone(w.b[w.literal+1:]))
	}
	w.literal = -1
}

// literalTag is the tag of a short literal.
func literalTag(n int) byte { return byte(n-1)<<2 | tagLiteral }

// appendLiteral appends literals of the bytes p.
func appendLiteral(b, p []byte) []byte {
	for len(p) > 0 {
		n := min(len(p), 1<<16)
		switch {
		case n <= maxShortLiteral:
			b = append(b, literalTag(n))
		case n <= 1<<8:
			b = append(b, maxShortLiteral<<2|tagLiteral, byte(n-1))
		default:
			b = append(b, (maxShortLiteral+1)<<2|tagLiteral, byte(n-1), byte((n-1)>>8))
		}
		b, p = append(b, p[:n]...), p[n:]
	}
	return b
}

// copyRoom is the bytes that appendCopy may write.
func copyRoom(n int) int { return 3*(n/maxCopy+2) + 3*8 }

// appendCopy appends elements that copy n bytes from offset bytes before, less than Size.
func appendCopy(b []byte, offset, n int) []byte {
	if 12 <= n && n <= maxCopy {
		return append(b, byte(n-1)<<2|tagCopy2, byte(offset), byte(offset>>8))
	}
	// Elements are written eight at a time, or one in four bytes; what follows overwrites what is too much.
	at := len(b)
	b = slices.Grow(b, copyRoom(n))
	b = b[:cap(b)]
	if n >= maxCopy+minCopy {
		// The last two of the elements have at least four bytes each.
		most := n/maxCopy - 1
		if n%maxCopy == 0 || n%maxCopy >= minCopy {
			most++
		}
		e := uint64(offset)<<8 | (maxCopy-1)<<2 | tagCopy2
		for k := 0; k < most; k += 8 {
			eight := b[at+3*k:]
			le.PutUint64(eight, e|e<<24|e<<48)
			le.PutUint64(eight[8:], e>>16|e<<8|e<<32|e<<56)
			le.PutUint64(eight[16:], e>>8|e<<16|e<<40)
		}
		at += 3 * most
		n -= maxCopy * most
	}
	put := func(n int) {
		le.PutUint32(b[at:], uint32(offset)<<8|uint32(n-1)<<2|tagCopy2)
		at += 3
	}
	if n > maxCopy {
		put(maxCopy - minCopy)
		n -= maxCopy - minCopy
	}
	switch {
	case n == 0:
	case n >= minCopy && n < 12 && offset < 1<<11:
		b[at], b[at+1] = byte(offset>>8)<<5|byte(n-minCopy)<<2|tagCopy1, byte(offset)
		at += 2
	default:
		put(n)
	}
	return b[:at]
}
