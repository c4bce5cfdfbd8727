// SPDX-License-Identifier: Apache-2.0

package lastseen // import "github.com/orderedremotewrite/orderedremotewriteexporter/internal/lastseen"

import "math/bits"

const (
	// ageMask selects the bits of slot.key that hold the age of the series.
	ageMask = subTables - 1

	// fresh is the age of a series that has been active since the last sweep of its sub-table.
	fresh = 1

	// oldest is the greatest age that a sweep leaves. Between the sweep that makes a series older than this and its last
	// activity lie at least sweepsPerIdle whole periods, and at most one more.
	oldest = fresh + sweepsPerIdle
)

// slot holds a series, or nothing if key is 0.
type slot struct {
	key uint64 // the hash, spread, without the bits that chose the sub-table; in place of these the age, from fresh up
	ts  int64
}

// subTable is a hash table with open addressing and linear probing, whose slots are in the order of their keys.
//
// The home of a key is in proportion to the key. A series is in its home, or in the first slot after it that series with
// smaller keys leave; so between a series and its home no slot is empty. As a result a search ends at the first greater
// key, and copying to another size or closing the gaps of forgotten series is one pass from left to right.
type subTable struct {
	slots  []slot
	homes  uint64 // how many slots are homes; the others, at the end, take what is pushed over the last home
	n      int
	sweeps int64
}

// find returns where the series with the key (of age 0) is, or where it has to be inserted.
func (s *subTable) find(key uint64) (i int, known bool) {
	slots := s.slots
	for i = home(key, s.homes); i < len(slots); i++ {
		if k := slots[i].key; k >= key || k == 0 {
			return i, k != 0 && k-key <= ageMask
		}
	}
	return i, false
}

// fetch reads the slots in which a search for the key begins and mostly ends.
func (s *subTable) fetch(key uint64) uint64 {
	i := home(key, s.homes)
	if i+fetched >= len(s.slots) {
		return 0
	}
	return s.slots[i].key + s.slots[i+fetched].key
}

// fetched is how many slots after the home the second one is that fetch reads. Between the two are no more than lie in two
// lines of a processor's cache.
const fetched = 4

// home returns the first slot in which the series with the key may be. The age has no part in it: as small as it is, it
// would now and then make the difference.
func home(key, homes uint64) int {
	hi, _ := bits.Mul64(key&^ageMask, homes)
	return int(hi)
}

// insert adds a series that find has not found, at the place that find has returned.
func (s *subTable) insert(i int, e slot) {
	for s.n >= limit(s.homes) || !s.put(i, e) {
		s.grow()
		i, _ = s.find(e.key &^ ageMask)
	}
	s.n++
}

// put shifts the slots from i to the next empty one. It returns false, and does nothing, if there is none.
func (s *subTable) put(i int, e slot) bool {
	for end := i; end < len(s.slots); end++ {
		if s.slots[end].key == 0 {
			copy(s.slots[i+1:end+1], s.slots[i:end])
			s.slots[i] = e
			return true
		}
	}
	return false
}

// limit returns how many series a sub-table holds before it grows: nine tenths of the homes. A search then looks at five
// slots or six, which are neighbours in memory.
func limit(homes uint64) int {
	return int(homes - homes/10)
}

// grow makes room for more series. It adds an eighth only, so that the table is never much larger than it has to be:
// with the allocator's rounding, which is a quarter at the worst (from 32 to 40 KiB), at least 0.72 of it is in use. A new
// series costs the copying of about nine, in one pass over neighbours.
func (s *subTable) grow() {
	if s.n >= limit(s.homes) {
		homes := s.homes + s.homes/8 + 4
		s.resize(homes, spare(homes))
		return
	}
	// Only the end is full.
	s.resize(s.homes, 2*(uint64(len(s.slots))-s.homes))
}

// spare returns how many slots follow the last home. At the highest load 1 in 30 sub-tables needs more than 16.
func spare(homes uint64) uint64 {
	return min(2+homes/8, 16)
}

// resize copies the series into a new array of at least homes and extra slots.
func (s *subTable) resize(homes, extra uint64) {
	for {
		slots := makeSlots(homes + extra)
		homes := uint64(len(slots)) - extra
		if place(slots, homes, s.slots) {
			s.slots, s.homes = slots, homes
			return
		}
		extra *= 2
	}
}

// makeSlots returns at least n slots: as many as the allocator gives for the memory that n of them take.
func makeSlots(n uint64) []slot {
	slots := append([]slot(nil), make([]slot, n)...)
	return slots[:cap(slots)]
}

// place copies all series into empty slots. It returns false if they reach beyond the end.
func place(dst []slot, homes uint64, src []slot) bool {
	next := 0
	for _, e := range src {
		if e.key == 0 {
			continue
		}
		i := max(home(e.key, homes), next)
		if i >= len(dst) {
			return false
		}
		dst[i] = e
		next = i + 1
	}
	return true
}

// age makes all series older by so many sweeps, forgets those that are then too old, and gives back memory that is no
// longer needed.
func (s *subTable) age(sweeps uint64) {
	next := 0
	s.n = 0
	for i, e := range s.slots {
		if e.key == 0 {
			continue
		}
		s.slots[i] = slot{}
		if e.key&ageMask+sweeps > oldest {
			continue
		}
		e.key += sweeps
		to := max(home(e.key, s.homes), next) // which is not after i
		s.slots[to] = e
		next = to + 1
		s.n++
	}
	s.shrink()
}

// shrink moves the series to a smaller array if that spares more than a fifth of the slots, which is more than what the
// allocator's rounding may bring back. So at least 0.68 of them are in use after it, and it is not done again and again.
func (s *subTable) shrink() {
	if s.n == 0 {
		s.slots, s.homes = nil, 0
		return
	}
	homes := uint64(s.n) + uint64(s.n)/6 + 1
	extra := spare(homes)
	if least := homes + extra; uint64(len(s.slots)) > least+least/4+4 {
		s.resize(homes, extra)
	}
}
