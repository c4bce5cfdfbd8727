// SPDX-License-Identifier: Apache-2.0

package journal // import "github.com/orderedremotewrite/orderedremotewriteexporter/internal/journal"

import (
	"math"
	"math/bits"
	"slices"
	"time"
)

// laneBits is how many bits of an end name its lane.
const laneBits = 16

// laneEnd is a lane, and where the last run of it ends in a record. It is one word, because there is one for each lane of each
// record.
type laneEnd uint64

func newLaneEnd(lane int, end uint64) laneEnd { return laneEnd(end<<laneBits | uint64(lane)) }

func (e laneEnd) lane() int   { return int(e & (1<<laneBits - 1)) }
func (e laneEnd) end() uint64 { return uint64(e >> laneBits) }

// roughSize is about how many bytes something takes, to an eighth: a floating-point number with three bits after the first.
type roughSize uint8

func newRoughSize(n int) roughSize {
	if n < 16 {
		return roughSize(n)
	}
	exponent := bits.Len64(uint64(n)) - 4
	return roughSize(min(exponent<<3+n>>exponent, math.MaxUint8))
}

func (s roughSize) bytes() int64 {
	if s < 16 {
		return int64(s)
	}
	return int64(s&7+8) << (s>>3 - 1)
}

// entry is what is known of a record without reading it.
type entry struct {
	number uint64
	bytes  int64
	// written is when this process wrote the record, since the log was opened, or 0: no clock that is set changes the age.
	written time.Duration
	// known is how many records were known before or with this one.
	known uint64
	// ends are of its lanes, and sizes what these take.
	ends  []laneEnd
	sizes []roughSize
}

func entryOf(r *Record, bytes int) *entry {
	e := &entry{number: r.Number, bytes: int64(bytes), ends: make([]laneEnd, 0, len(r.Runs))}
	at := make(map[int]int, len(r.Runs))
	sizes := make([]int, 0, len(r.Runs))
	for i := range r.Runs {
		run := &r.Runs[i]
		known, ok := at[run.Lane]
		if !ok {
			known = len(e.ends)
			at[run.Lane], e.ends, sizes = known, append(e.ends, 0), append(sizes, 0)
		}
		e.ends[known] = newLaneEnd(run.Lane, run.End())
		sizes[known] += len(run.Data)
	}
	e.sizes = make([]roughSize, len(sizes))
	for i, n := range sizes {
		e.sizes[i] = newRoughSize(n)
	}
	return e
}

// open says whether any of the entry's lanes must still be kept.
func (e *entry) open(lanes []lane) bool {
	return slices.ContainsFunc(e.ends, func(end laneEnd) bool { return lanes[end.lane()].needs(e.number, end.end()) })
}

// needed is about how many bytes of the entry's lanes must still be kept, and all how many there are.
func (e *entry) needed(lanes []lane) (needed, all int64) {
	for i, end := range e.ends {
		n := e.sizes[i].bytes()
		all += n
		if lanes[end.lane()].needs(e.number, end.end()) {
			needed += n
		}
	}
	return needed, all
}

// reaches says whether a lane reaches an end in the record.
func (e *entry) reaches(lane int, end uint64) bool {
	for _, of := range e.ends {
		if of.lane() == lane && of.end() >= end {
			return true
		}
	}
	return false
}
