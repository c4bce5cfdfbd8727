// SPDX-License-Identifier: Apache-2.0

package journal // import "github.com/orderedremotewrite/orderedremotewriteexporter/internal/journal"

// laneBits is how many bits of an end name its lane.
const laneBits = 16

// laneEnd is a lane, and where the last run of it ends in a record. It is one word, because there is one for each lane of each
// record.
type laneEnd uint64

func newLaneEnd(lane int, end uint64) laneEnd { return laneEnd(end<<laneBits | uint64(lane)) }

func (e laneEnd) lane() int   { return int(e & (1<<laneBits - 1)) }
func (e laneEnd) end() uint64 { return uint64(e >> laneBits) }

// entry is what is known of a record without reading it.
type entry struct {
	number uint64
	bytes  int64
	// written is when this process wrote the record, in seconds since the epoch, or 0.
	written int64
	ends    []laneEnd
}

func entryOf(r *Record, bytes int) *entry {
	e := &entry{number: r.Number, bytes: int64(bytes), ends: make([]laneEnd, 0, len(r.Runs))}
	at := make(map[int]int, len(r.Runs))
	for i := range r.Runs {
		run := &r.Runs[i]
		end := newLaneEnd(run.Lane, run.End())
		if known, ok := at[run.Lane]; ok {
			e.ends[known] = end
			continue
		}
		at[run.Lane] = len(e.ends)
		e.ends = append(e.ends, end)
	}
	return e
}

// open is how many of the entry's lanes must still be kept.
func (e *entry) open(lanes []lane) (n int) {
	for _, end := range e.ends {
		if lanes[end.lane()].needs(e.number, end.end()) {
			n++
		}
	}
	return n
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
