// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import "math"

// holds are the series of a partition of which samples that are not late wait in the late lane. What is newer follows them there: in
// its own lane it would overtake them. A series is held until the last one of these samples has its outcome, and no longer: the
// late samples of others, which always may be some, are dangerous company.
type holds struct {
	// last is the last append with such a sample, by series.
	last map[uint64]heldSeries
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
	// anyTime is before all times.
	anyTime = math.MinInt64
)

// heldSeries is what is known of a series.
type heldSeries struct {
	// number is that of the last append with samples that are held.
	number uint64
	// ahead is the time of the newest of them if all were too far ahead of the clock, and anyTime otherwise. What is older does not
	// follow: it is good, whatever becomes of a sample of next year.
	ahead int64
}

func (h *holds) empty() bool { return len(h.last) == 0 }

// has says whether a sample of a series that has such a time must follow others.
func (h *holds) has(identity uint64, timestamp int64) bool {
	o, ok := h.last[identity]
	return ok && o.number >= h.unsettled && timestamp > o.ahead
}

// hold takes note that a sample of a series comes into the late lane, which all newer ones follow.
func (h *holds) hold(identity uint64) { h.put(identity, heldSeries{h.number, anyTime}) }

// ahead takes note of a sample that is in the late lane because it is too far ahead of the clock. What is newer and is not too
// far any more follows it. One that was dropped for lack of room holds nothing: any number of these may come.
func (h *holds) ahead(identity uint64, timestamp int64) {
	before, known := h.last[identity]
	switch {
	case !known, before.number < h.unsettled:
	case before.ahead == anyTime:
		timestamp = anyTime
	default:
		timestamp = max(timestamp, before.ahead)
	}
	h.put(identity, heldSeries{h.number, timestamp})
}

func (h *holds) put(identity uint64, o heldSeries) {
	if h.last == nil {
		h.last = make(map[uint64]heldSeries)
	}
	h.last[identity] = o
}

// release lets go of the series whose samples came with appends before unsettled. Not each call looks at all of them.
func (h *holds) release(unsettled uint64) {
	if unsettled == settled {
		// What comes from now on is held by what comes with it.
		h.last, h.unsettled, h.sweepAt = nil, 0, 0
		return
	}
	h.unsettled = unsettled
	if len(h.last) >= max(h.sweepAt, leastSwept) {
		h.sweep()
	}
}

// sweep looks at all series. Those that are held go into another map: one keeps the memory of all that were ever in it.
func (h *holds) sweep() {
	held := 0
	for _, o := range h.last {
		if o.number >= h.unsettled {
			held++
		}
	}
	if h.sweepAt = 2 * held; held == len(h.last) {
		return
	}
	left := make(map[uint64]heldSeries, held)
	for identity, o := range h.last {
		if o.number >= h.unsettled {
			left[identity] = o
		}
	}
	h.last = left
}
