// SPDX-License-Identifier: Apache-2.0

package block // import "github.com/orderedremotewrite/orderedremotewriteexporter/internal/block"

import (
	"sort"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/buffers"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// Inserts are runs of elements that stand between plain bytes, which are not compressed yet. Its Writer appends to the last run.
type Inserts struct {
	Writer
	runs []insert
	// open says that the last run is not closed, and begins at start in the elements and at from in all bytes.
	open        bool
	start, from int
	// places are where runs were put.
	places []place
}

// insert is a run of elements.
type insert struct {
	// at is how many plain bytes come before it, size how many bytes the elements are of, and length how many they are.
	at, size, length int
}

// Reset forgets the runs.
func (in *Inserts) Reset() {
	in.b, in.runs, in.open = in.b[:0], in.runs[:0], false
}

// Open begins a run, unless one is open. at is how many bytes there are before it, plain ones and those of elements.
func (in *Inserts) Open(at int) {
	if !in.open {
		in.open, in.start, in.from = true, len(in.b), at
		in.Begin(in.b, at)
	}
}

// Close ends the run, if one is open, behind so many plain bytes.
func (in *Inserts) Close(plain int) {
	if in.open {
		in.open, in.b = false, in.End()
		in.runs = append(in.runs, insert{plain, in.At() - in.from, len(in.b) - in.start})
	}
}

// Empty says that there is no run.
func (in *Inserts) Empty() bool { return len(in.runs) == 0 && !in.open }

// Len is the number of bytes of the elements so far, besides those that are still pending.
func (in *Inserts) Len() int { return len(in.b) }

// Capacity is the bytes of the buffers.
func (in *Inserts) Capacity() int {
	return cap(in.b) + cap(in.runs)*insertSize + cap(in.places)*placeSize
}

// insertSize is the bytes of an insert in memory, and placeSize those of a place.
const (
	insertSize = 3 * 8
	placeSize  = 2 * 8
)

// AppendElements compresses plain bytes and appends their elements, and those of the runs between them, which are closed. Plain
// bytes are compressed together, whatever is between them: then what their elements copy is farther away than it was.
func (in *Inserts) AppendElements(b, plain []byte) []byte {
	from := 0
	for runs, elements := in.runs, in.b; len(runs) > 0; {
		to := near(runs, from, len(plain))
		s := splicer{b: b, plain: plain[from:to], from: from, elements: elements, places: append(in.places[:0], place{})}
		for len(s.runs) < len(runs) && runs[len(s.runs)].at <= to {
			s.runs = runs[:len(s.runs)+1]
		}
		runs = runs[len(s.runs):]
		b, elements = s.splice()
		from, in.places = to, s.places
	}
	if from < len(plain) {
		b = AppendElements(b, plain[from:])
	}
	return b
}

// near is up to where plain bytes from from on can copy from each other, with what stands between them.
func near(runs []insert, from, plain int) int {
	at, left := from, maxOffset
	for i := range runs {
		run := &runs[i]
		if run.at-at > left {
			break
		}
		if left, at = left-(run.at-at)-run.size, run.at; left <= 0 {
			return at
		}
	}
	return min(plain, at+left)
}

// splicer appends the elements of plain bytes with the runs between them.
type splicer struct {
	b, plain []byte
	// runs are those that are not put yet, with their elements. Their places count from so many bytes in front of the plain ones.
	runs     []insert
	elements []byte
	from     int
	// at is how many plain bytes are passed. Those from literal on are not written yet.
	at, literal int
	// places are the beginning, and where runs were put.
	places []place
}

// place is how many bytes of elements stand before the plain bytes from at on.
type place struct{ at, shift int }

// splice appends all, and returns the elements that are left.
func (s *splicer) splice() (b, rest []byte) {
	encoded := encode(buffers.Take(), s.plain)
	defer buffers.Give(encoded)
	start, runs, elements := len(s.b), s.runs, s.elements
	s.compressed(encoded[wire.UvarintLen(uint64(len(s.plain))):])
	put := len(elements) - len(s.elements)
	if len(s.b)-start <= len(s.plain)+MaxGrowth(len(s.plain))+put+insertSize*len(runs) {
		return s.b, s.elements
	}
	// What was worth to be copied is not if it is taken to pieces.
	*s = splicer{b: s.b[:start], plain: s.plain, runs: runs, elements: elements, from: s.from, places: s.places[:1]}
	s.pass(len(s.plain))
	s.finish()
	return s.b, s.elements
}

// compressed appends the elements of the plain bytes.
func (s *splicer) compressed(elements []byte) {
	for elements = s.keep(elements); len(elements) > 0; {
		offset, n, size := readElement(elements)
		if offset == 0 {
			s.pass(n)
			elements = elements[size+n:]
			continue
		}
		// A long copy is of many elements.
		for elements = elements[size:]; len(elements) > 0 && elements[0]&3 == tagCopy2; {
			other, more, size := readElement(elements)
			if other != offset {
				break
			}
			elements, n = elements[size:], n+more
		}
		s.copy(offset, n)
	}
	s.finish()
}

// keep appends the elements of the plain bytes in front of the first run as they are, and returns the others.
func (s *splicer) keep(elements []byte) (others []byte) {
	others = elements
	for len(others) > 0 {
		offset, n, size := readElement(others)
		if s.at+n > s.next() {
			break
		}
		if offset == 0 {
			size += n
		}
		s.at, others = s.at+n, others[size:]
	}
	s.literal = s.at
	s.b = append(s.b, elements[:len(elements)-len(others)]...)
	return others
}

// next is how many plain bytes come before the next run.
func (s *splicer) next() int {
	if len(s.runs) == 0 {
		return len(s.plain) + 1
	}
	return s.runs[0].at - s.from
}

// put appends the next run.
func (s *splicer) put() {
	s.endLiteral()
	run := s.runs[0]
	s.places = append(s.places, place{s.next(), s.places[len(s.places)-1].shift + run.size})
	s.b = append(s.b, s.elements[:run.length]...)
	s.runs, s.elements = s.runs[1:], s.elements[run.length:]
}

// pass passes n plain bytes, which are literal.
func (s *splicer) pass(n int) {
	end := s.at + n
	for s.next() < end {
		s.at = s.next()
		s.put()
	}
	s.at = end
}

func (s *splicer) endLiteral() {
	s.b = appendLiteral(s.b, s.plain[s.literal:s.at])
	s.literal = s.at
}

// copy copies n bytes, from offset bytes before among the plain ones.
func (s *splicer) copy(offset, n int) {
	for n > 0 {
		for s.next() <= s.at {
			s.put()
		}
		from := s.at - offset
		i := len(s.places) - 1
		if s.places[i].at > from {
			i--
			if s.places[i].at > from {
				i = sort.Search(i, func(k int) bool { return s.places[k].at > from }) - 1
			}
		}
		// What has a run between its bytes, or between those that it copies, goes on as another copy.
		k := min(n, s.next()-s.at)
		if i+1 < len(s.places) {
			k = min(k, s.places[i+1].at-from)
		}
		back := offset + s.places[len(s.places)-1].shift - s.places[i].shift
		if k >= minCopy {
			s.endLiteral()
			s.b = appendCopy(s.b, back, k)
			s.literal = s.at + k
		}
		s.at += k
		n -= k
	}
}

// finish appends what is left.
func (s *splicer) finish() {
	for len(s.runs) > 0 {
		s.put()
	}
	s.endLiteral()
}
