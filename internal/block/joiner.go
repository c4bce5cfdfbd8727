// SPDX-License-Identifier: Apache-2.0

package block // import "github.com/orderedremotewrite/orderedremotewriteexporter/internal/block"

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

// Joiner joins elements. What was compressed on its own begins with a series of which nothing stands before it, and which
// takes many times the bytes of those that follow. In a row, each first series has the one before it to refer to: a payload
// has a series like it in each partition. The zero value has no elements; a Joiner can be used again after Reset.
type Joiner struct {
	elements []byte
	size     int
	// first is the first series of what was added last, which stands at firstAt.
	first   []byte
	firstAt int
	// plain is the series that is to refer to it, and what more its last element has, a copy from offset before if that is not 0.
	// repeats are what they have in common.
	plain   []byte
	offset  int
	repeats []repeat
}

// repeat says that the length bytes at at are those at from in the series before.
type repeat struct{ at, from, length int }

// maxFirst is how long a series may be to be referred to.
const maxFirst = 8 << 10

// Elements are what was added, and Size is how many bytes they were.
func (j *Joiner) Elements() []byte { return j.elements }

// Size is the bytes that the elements were before compression.
func (j *Joiner) Size() int { return j.size }

// Reset forgets what was added.
func (j *Joiner) Reset() { j.elements, j.size, j.first = j.elements[:0], 0, j.first[:0] }

// AddPlain compresses raw on its own and adds it.
func (j *Joiner) AddPlain(raw []byte) {
	j.elements = AppendElements(j.elements, raw)
	j.size += len(raw)
	j.first = j.first[:0]
}

// Add adds elements, which were size bytes and begin with a series of 1.0.
func (j *Joiner) Add(elements []byte, size int) {
	j.plain = j.plain[:0]
	used, series := j.decodeFirst(elements)
	if offset := j.size - j.firstAt; series > 0 && len(j.first) > 0 && offset < Size {
		j.compare(j.plain[:series], j.first)
		before := len(j.elements)
		j.elements = appendRepeating(j.elements, j.plain[:series], j.repeats, offset)
		j.appendRest(series)
		if len(j.elements)-before < used {
			elements = elements[used:]
		} else {
			j.elements = j.elements[:before]
		}
	}
	j.elements = append(j.elements, elements...)
	j.first, j.firstAt = append(j.first[:0], j.plain[:series]...), j.size
	j.size += size
}

// decodeFirst decodes elements until the series with which they begin is complete. used is how many bytes of elements these
// are, and series the length of the series, 0 if it is too long or there is none.
func (j *Joiner) decodeFirst(elements []byte) (used, series int) {
	for plain := j.plain; len(plain) < maxFirst; {
		offset, n, at := readElement(elements[used:])
		used += at
		switch {
		case n == 0 || offset > len(plain) || offset == 0 && n > len(elements)-used:
			return 0, 0
		case offset == 0:
			plain = append(plain, elements[used:used+n]...)
			used += n
		case offset >= n:
			plain = append(plain, plain[len(plain)-offset:][:n]...)
		default:
			// What is copied is longer than what stands before it.
			for range n {
				plain = append(plain, plain[len(plain)-offset])
			}
		}
		if series == 0 && len(plain) > binary.MaxVarintLen32 {
			size, n := binary.Uvarint(plain[1:])
			if n <= 0 || size > maxFirst {
				return 0, 0
			}
			series = 1 + n + int(size)
		}
		if j.plain, j.offset = plain, offset; series > 0 && len(plain) >= series {
			return used, series
		}
	}
	return 0, 0
}

// appendRest appends what the last element that was decoded has beyond the series.
func (j *Joiner) appendRest(series int) {
	switch n := len(j.plain) - series; {
	case n == 0:
	case j.offset == 0:
		j.elements = appendLiteral(j.elements, j.plain[series:])
	default:
		j.elements = append(j.elements, byte(n-1)<<2|tagCopy2, byte(j.offset), byte(j.offset>>8))
	}
}

// readElement reads the beginning of an element, of size bytes. It stands for the n bytes that stand offset bytes before, or for
// those that follow if offset is 0. n is 0 for an element that golang/snappy and this package do not make of a single block.
func readElement(b []byte) (offset, n, size int) {
	if len(b) < 3 {
		var padded [3]byte
		if offset, n, size = readElement(append(padded[:0], b...)[:3]); size > len(b) {
			return 0, 0, 0
		}
		return offset, n, size
	}
	tag := int(b[0])
	switch tag & 3 {
	case tagLiteral:
		switch n = 1 + tag>>2; n - maxShortLiteral {
		case 1:
			return 0, 1 + int(b[1]), 2
		case 2:
			return 0, 1 + (int(b[1]) | int(b[2])<<8), 3
		case 3, 4:
			return 0, 0, 0
		}
		return 0, n, 1
	case tagCopy1:
		offset, n, size = tag>>5<<8|int(b[1]), minCopy+tag>>2&7, 2
	case tagCopy2:
		offset, n, size = int(b[1])|int(b[2])<<8, 1+tag>>2, 3
	}
	if offset == 0 {
		return 0, 0, 0
	}
	return offset, n, size
}

// compare finds what two series have in common. Their fields are in the same order, labels by name, so that it takes one walk
// over both.
func (j *Joiner) compare(series, before []byte) {
	j.repeats = j.repeats[:0]
	at, from := headerLen(series), headerLen(before)
	j.same(series, before, 0, 0, min(at, from))
	for at < len(series) && from < len(before) {
		n, m := fieldLen(series[at:]), fieldLen(before[from:])
		field, other := series[at:at+n], before[from:from+m]
		if bytes.Equal(field, other) {
			j.found(at, from, n)
		} else if order := compareFields(field, other); order < 0 {
			from -= m
		} else if order > 0 {
			at -= n
		} else {
			j.compareField(series, before, at, from, n, m)
		}
		at, from = at+n, from+m
	}
}

// compareField finds what two labels of one name have in common, or two samples.
func (j *Joiner) compareField(series, before []byte, at, from, n, m int) {
	end, other := at+n, from+m
	at, from = at+headerLen(series[at:]), from+headerLen(before[from:])
	if headerLen(series[end-n:]) == headerLen(before[other-m:]) {
		j.same(series, before, end-n, other-m, at-(end-n))
	}
	// The lengths of values stand between their names and what may be the same of them.
	k := j.same(series, before, at, from, min(end-at, other-from))
	if at, from = at+k+1, from+k+1; at < end && from < other {
		k = j.same(series, before, at, from, min(end-at, other-from))
		at, from = at+k, from+k
	}
	k = 0
	for end-k > at && other-k > from && series[end-k-1] == before[other-k-1] {
		k++
	}
	j.found(end-k, other-k, k)
}

// same takes what the two have in common from there on, of at most n bytes, and returns how much it is.
func (j *Joiner) same(series, before []byte, at, from, n int) int {
	k := CommonStart(series[at:at+n], before[from:from+n])
	j.found(at, from, k)
	return k
}

// found takes note of a repeat, which may go on where the last one ends.
func (j *Joiner) found(at, from, n int) {
	if n == 0 {
		return
	}
	if last := len(j.repeats) - 1; last >= 0 {
		if r := &j.repeats[last]; r.at+r.length == at && r.from+r.length == from {
			r.length += n
			return
		}
	}
	j.repeats = append(j.repeats, repeat{at, from, n})
}

// CommonStart is how many bytes two slices begin with that are the same.
func CommonStart(a, b []byte) int {
	n, k := min(len(a), len(b)), 0
	for ; k+8 <= n; k += 8 {
		if x := le.Uint64(a[k:]) ^ le.Uint64(b[k:]); x != 0 {
			return k + bits.TrailingZeros64(x)/8
		}
	}
	for k < n && a[k] == b[k] {
		k++
	}
	return k
}

// headerLen is the length of the tag and the size of a field, and fieldLen that of the whole field; both are at most that of b.
func headerLen(b []byte) int {
	_, n := binary.Uvarint(b[1:])
	return 1 + max(n, 0)
}

func fieldLen(b []byte) int {
	size, n := binary.Uvarint(b[1:])
	return min(1+max(n, 0)+int(min(size, uint64(len(b)))), len(b))
}

// compareFields compares two fields of a series by their tags and, of labels, by their names.
func compareFields(a, b []byte) int {
	if a[0] != b[0] || a[0] != labelTag {
		return int(a[0]) - int(b[0])
	}
	a, b = a[headerLen(a):], b[headerLen(b):]
	if len(a) < 2 || len(b) < 2 {
		return len(a) - len(b)
	}
	return bytes.Compare(a[headerLen(a):fieldLen(a)], b[headerLen(b):fieldLen(b)])
}

// labelTag is the tag of a label in a series (Remote-Write 1.0, "Protocol": TimeSeries).
const labelTag = 1<<3 | 2

// minRepeat is the least bytes that are worth an element of their own.
const minRepeat = 6

// appendRepeating appends the elements of raw, of which parts repeat what stands offset bytes before the place of the same
// number.
func appendRepeating(b, raw []byte, repeats []repeat, offset int) []byte {
	at := 0
	for i := range repeats {
		r := &repeats[i]
		back := offset + r.at - r.from
		if r.length < minRepeat || back >= Size {
			continue
		}
		b = appendLiteral(b, raw[at:r.at])
		b = appendCopy(b, back, r.length)
		at = r.at + r.length
	}
	return appendLiteral(b, raw[at:])
}
