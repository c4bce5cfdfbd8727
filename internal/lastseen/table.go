// SPDX-License-Identifier: Apache-2.0

// Package lastseen remembers the last accepted timestamp of every series in about 20 bytes for each, so that a sample
// that is not newer than the last one of its series can be recognised before it is sent.
//
// A series is known by a 64-bit hash alone. Two series with the same hash are treated as one: a sample of either is then
// compared with the last one of both, so that where both have a sample of the same timestamp the second one is found to
// be Same, and the caller drops and counts it as it does any other; nothing is lost silently. The probability that any two
// of n series share a hash is about n²/2⁶⁵: 2.7e-6 for 10,000,000 series, 2.7e-8 for 1,000,000.
//
// The hashes must be made with a secret (hash/maphash). Somebody who can compute them can choose series that are treated as
// one, or that all have one place, where a search takes as long as they are many.
package lastseen // import "github.com/orderedremotewrite/orderedremotewriteexporter/internal/lastseen"

import (
	"time"
	"unsafe"
)

// Order is how a timestamp compares with the last one of its series.
type Order uint8

const (
	// Newer is a timestamp that is after the last one of its series, or the first one of an unknown series.
	Newer Order = iota
	// Same is a timestamp that equals the last one of its series.
	Same
	// Older is a timestamp that is before the last one of its series.
	Older
)

const (
	// subTables is small enough for an empty table to be 3 KiB, and large enough for the copying and the sweeping of
	// one sub-table of a table of 1,000,000 series to take well under a millisecond.
	subBits   = 6
	subTables = 1 << subBits

	// sweepsPerIdle is how often each sub-table is swept in the time after which an idle series is forgotten.
	sweepsPerIdle = 4

	// minIdle keeps the time between two sweeps well above the resolution of a clock.
	minIdle = time.Millisecond

	// spread makes the high bits of a hash, which choose its place, depend on all of its bits: a caller may have used
	// the high ones to choose the table. It is odd, so that the product is as unique as the hash. It keeps no secret: the
	// hash does.
	spread = 0x9e3779b97f4a7c15
)

// Table holds the last timestamp of every series, for any int64 timestamp. It is not safe for concurrent use; the owner
// holds its partition's lock.
//
// The table consists of sub-tables that grow, shrink and forget one at a time, so that no call has to touch all series.
// Each is swept sweepsPerIdle times in the idle time, in turn and at regular distances.
type Table struct {
	subs [subTables]subTable

	start time.Time     // of the first call; the clock counts from here
	next  time.Duration // when the clock ticks next
	every time.Duration // between two ticks; one sub-table is due at each
	tick  int64         // the ticks so far
	swept int64         // the tick up to which all sub-tables that were due have been swept
}

// New returns an empty table. A series without activity for idle is forgotten: never earlier than idle after its last
// activity, and at most 1.5 times idle after it. An idle of less than a millisecond counts as a millisecond.
//
// As soon as 1.25 times idle has passed, Advance takes the series for unknown. Its memory is given back by the first 64
// calls of Advance, or the first of Expire, that follow; so the limit of 1.5 times idle holds for the memory if these come
// within a quarter of idle.
func New(idle time.Duration) *Table {
	return &Table{every: max(idle, minIdle) / (sweepsPerIdle * subTables)}
}

// Advance compares ts with the last timestamp of the series, and stores it if the answer is Newer. An unknown series is
// Newer. Whatever the answer, the series has been active at now. A now before that of an earlier call counts as that one.
//
// It sweeps at most two of the sub-tables, and grows at most one.
func (t *Table) Advance(hash uint64, ts int64, now time.Time) Order {
	if since := now.Sub(t.start); since >= t.next {
		t.setClock(now)
	}
	key := hash * spread
	sub := key >> (64 - subBits)
	if t.swept != t.tick {
		t.sweepNext()
		t.sweep(sub)
	}
	// The bits that chose the sub-table are the same for all of its keys; without them there is room for an age.
	key <<= subBits
	s := &t.subs[sub]
	i, known := s.find(key)
	if !known {
		s.insert(i, slot{key: key | fresh, ts: ts})
		return Newer
	}
	last := &s.slots[i]
	last.key = key | fresh
	if ts > last.ts {
		last.ts = ts
		return Newer
	}
	if ts == last.ts {
		return Same
	}
	return Older
}

// Fetch reads where the series is, or would be, and changes nothing. Most of the time of Advance goes into waiting for memory.
// What Advance waits for, one series after the other, a row of calls of Fetch gets at the same time: nothing that they do
// depends on what they have read. The result is of no use but to keep the reading from being optimized away.
func (t *Table) Fetch(hash uint64) uint64 {
	key := hash * spread
	return t.subs[key>>(64-subBits)].fetch(key << subBits)
}

// Last returns the last timestamp of the series, and whether the series is known. It changes nothing, and does not count
// as activity.
func (t *Table) Last(hash uint64) (ts int64, ok bool) {
	key := hash * spread
	s := &t.subs[key>>(64-subBits)]
	i, known := s.find(key << subBits)
	if !known {
		return 0, false
	}
	return s.slots[i].ts, true
}

// Expire forgets the series that are due at now. Only a table that gets few calls of Advance needs it. It sweeps one of 64
// sub-tables for each 1/256 of idle that has passed since the last call of Advance or Expire, and each at most once.
func (t *Table) Expire(now time.Time) {
	if since := now.Sub(t.start); since >= t.next {
		t.setClock(now)
	}
	for t.swept != t.tick {
		t.sweepNext()
	}
}

// Len returns the number of series in the table, those included that are due to be forgotten and have not been yet.
func (t *Table) Len() int {
	n := 0
	for i := range t.subs {
		n += t.subs[i].n
	}
	return n
}

// Bytes returns the memory that the table holds, in bytes.
func (t *Table) Bytes() int64 {
	n := int64(unsafe.Sizeof(*t))
	for i := range t.subs {
		n += int64(len(t.subs[i].slots)) * int64(unsafe.Sizeof(slot{}))
	}
	return n
}

// setClock is called when the clock has to tick; the first call starts it.
func (t *Table) setClock(now time.Time) {
	if t.start.IsZero() {
		t.start = now
	}
	t.tick = int64(now.Sub(t.start) / t.every)
	t.next = time.Duration(t.tick+1) * t.every
	// After a long pause every sub-table is due, and sweeping each once is enough.
	t.swept = max(t.swept, t.tick-subTables)
}

// sweepNext sweeps the sub-table that has been due for longest.
func (t *Table) sweepNext() {
	t.swept++
	t.sweep(uint64(-t.swept) % subTables)
}

// sweep makes up for all the sweeps of a sub-table that are due.
func (t *Table) sweep(sub uint64) {
	// At each tick this grows by one for one sub-table.
	due := (t.tick + int64(sub)) / subTables
	s := &t.subs[sub]
	if missed := due - s.sweeps; missed > 0 {
		s.sweeps = due
		s.age(uint64(min(missed, oldest)))
	}
}
