// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import "math"

// holds are the series of a partition of which samples that are not late wait in the late lane. What is newer follows them there: in
// its own lane it would overtake them. A series is held until the last one of these samples has its outcome, and no longer: the
// late samples of others, which always may be some, are dangerous company.
type holds struct {
	// last is the number of the last append with such a sample, by series.
	last map[uint64]uint64
	// number is that of the append under way, and unsettled of the one with the first late samples that have no outcome.
	number, unsettled uint64
	// sweepAt is how many series make it worth to look for those that are held no more.
	sweepAt int
}

const (
	// settled is for a lane of which all have their outcome, and unknown for one with samples of which it is not known when they came.
	settled, unknown = math.MaxUint64, 0
	// leastSwept is how few series are not worth to be looked at.
	leastSwept = 1024
)

func (h *holds) empty() bool { return len(h.last) == 0 }

// has says whether a series is held.
func (h *holds) has(identity uint64) bool {
	number, ok := h.last[identity]
	return ok && number >= h.unsettled
}

// hold takes note that a sample of a series comes into the late lane.
func (h *holds) hold(identity uint64) {
	if h.last == nil {
		h.last = make(map[uint64]uint64)
	}
	h.last[identity] = h.number
}

// release lets go of the series whose samples came with appends before unsettled. Not each call looks at all of them.
func (h *holds) release(unsettled uint64) {
	h.unsettled = unsettled
	switch {
	case unsettled == settled:
		clear(h.last)
	case len(h.last) >= max(h.sweepAt, leastSwept):
		for identity, number := range h.last {
			if number < unsettled {
				delete(h.last, identity)
			}
		}
		h.sweepAt = 2 * len(h.last)
	}
}
