// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

// timeline is the last time of each series of one payload. Metrics or attribute sets that become one series meet there. Its
// time goes into waiting for memory, so it holds nothing but an identity and a time for each.
type timeline struct {
	// slots is a hash table, 0 for an identity where there is none.
	slots []timelineSlot
	count int
	// steppedBack says that a series had a sample that is older than one before.
	steppedBack bool
}

type timelineSlot struct {
	identity  uint64
	timestamp int64
}

const minTimelineSlots = 1 << 8

// add returns false if the time is that of the last sample of the series. Of the samples of a series that steps back, the guard
// finds out which have the same time.
func (t *timeline) add(identity uint64, timestamp int64) bool {
	if 2*t.count >= len(t.slots) {
		t.resize(max(minTimelineSlots, 2*len(t.slots)))
	}
	s := t.find(max(identity, 1))
	if s.identity == 0 {
		*s = timelineSlot{max(identity, 1), timestamp}
		t.count++
		return true
	}
	if timestamp == s.timestamp {
		return false
	}
	t.steppedBack = t.steppedBack || timestamp < s.timestamp
	s.timestamp = max(timestamp, s.timestamp)
	return true
}

// find returns the slot of a series, or the empty one where it must be put.
func (t *timeline) find(identity uint64) *timelineSlot {
	mask := uint64(len(t.slots) - 1)
	for i := identity & mask; ; i = (i + 1) & mask {
		if s := &t.slots[i]; s.identity == 0 || s.identity == identity {
			return s
		}
	}
}

func (t *timeline) resize(size int) {
	old := t.slots
	t.slots = make([]timelineSlot, size)
	for _, s := range old {
		if s.identity != 0 {
			*t.find(s.identity) = s
		}
	}
}

// reset empties the timeline. What a large payload leaves behind shrinks with each small one that follows.
func (t *timeline) reset() {
	n, count := len(t.slots), t.count
	t.count, t.steppedBack = 0, false
	if clear(t.slots); n > minTimelineSlots && count < n/16 {
		t.slots = make([]timelineSlot, n/2)
	}
}
