// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"slices"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/journal"
)

// keptLane is what must be known of a lane of a partition that is kept in a log, in samples.
type keptLane struct {
	// loaded is how many of all that were ever in the lane are or were in memory.
	loaded uint64
	// stored is how many there ever were, and end how many up to the record processed.
	stored, end uint64
	// recovered is how many there were when the process started.
	recovered uint64
	// skipped is the number of the record before which nothing is left to evict that has not been in memory, and learnTo that of the
	// one before which the log should know what there is.
	skipped, learnTo uint64
	// claimed are in flight.
	claimed int
	// holes are what earlier processes have evicted behind what was in flight.
	holes []journal.Hole
}

// kept is what must be known of a partition whose samples are kept in a log.
type kept struct {
	lanes [2]keptLane
	// unstored is the bytes that were promised or have joined a commit; joining are late samples among them, the first of which came with
	// the append joined or a later one.
	unstored int64
	joining  int
	joined   uint64
	// reading says that what follows is in the log only, from the record cursor on.
	reading bool
	cursor  uint64
	// blocked is the bytes of the next run of the record cursor if memory had no room for it, and else 0.
	blocked int64
}

// lateEntry is the entry of the first late sample that is not in memory yet.
func (k *kept) lateEntry() uint64 {
	switch late := &k.lanes[laneIndex(true)]; {
	case late.loaded < late.stored:
		return unknown
	case k.joining > 0:
		return k.joined
	default:
		return settled
	}
}

// join takes note of late samples that join a commit.
func (k *kept) join(samples int, entry uint64) {
	if k.joining == 0 {
		k.joined = entry
	}
	k.joining += samples
}

// leave takes note of late samples whose commit is done. All others have joined later.
func (k *kept) leave(samples int, entry uint64) {
	k.joining, k.joined = k.joining-samples, entry
}

// lateUnread says that an earlier process has left late samples that are not in memory yet.
func (k *kept) lateUnread() bool {
	late := &k.lanes[laneIndex(true)]
	return late.loaded < late.recovered
}

// learnedAhead is how many records the log should know behind what is evicted: only of these more can be.
const learnedAhead = 256

func laneIndex(late bool) int {
	if late {
		return 1
	}
	return 0
}

// lacks says whether the samples of a run should be in memory, and are not.
func (l *keptLane) lacks(first, end uint64) bool {
	return end > l.loaded && !slices.ContainsFunc(l.holes, func(h journal.Hole) bool { return h.From <= first && end <= h.To })
}

// missing is how many samples up to an end should be in memory, and are not.
func (l *keptLane) missing(end uint64) int {
	n := int64(end) - int64(l.loaded)
	for _, h := range l.holes {
		n -= max(int64(min(h.To, end))-int64(max(h.From, l.loaded)), 0)
	}
	return int(n)
}
