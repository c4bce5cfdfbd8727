// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import "slices"

// rooms is what bounds what a queue accepts.
type rooms interface {
	// mostLocked is how many bytes a payload may have.
	mostLocked() int64
	// freeLocked is how many bytes may be accepted, and heldLocked how many are held of a partition.
	freeLocked() int64
	heldLocked(partition int) int64
	// crowdedLocked says that so much more must wait although there is room.
	crowdedLocked(need int64) bool
	// reserveLocked counts bytes that a partition will get, or has got.
	reserveLocked(partition int, n int64)
}

// admission says who gets room. The queue's lock guards it.
type admission struct {
	rooms rooms
	// callers counts those that have waited. total are the ones for whom the queue as a whole has no room, waiting those for
	// whom a partition has none.
	callers uint64
	total   waitingCallers
	waiting []waitingCallers
}

// fullForLocked returns where a caller must wait, or nil. Nobody passes a caller that came before, unless they share no full
// partition and the other does not wait for the queue as a whole. A partition may hold as much as is free: one that is stuck
// ends at half of the queue, two at a third each, and the others always find room.
func (a *admission) fullForLocked(c *caller) *waitingCallers {
	free := a.rooms.freeLocked()
	if c.need > free || passes(c, a.total.first()) || a.rooms.crowdedLocked(c.need) {
		return &a.total
	}
	for _, n := range c.needs {
		w := &a.waiting[n.partition]
		if a.rooms.heldLocked(n.partition)+n.bytes > free || passes(c, w.first()) {
			return w
		}
	}
	return nil
}

// passes says whether c would pass another that came before.
func passes(c, other *caller) bool {
	return other != nil && other != c && (c.number == 0 || other.number < c.number)
}

// waitLocked lets a caller wait.
func (a *admission) waitLocked(c *caller, in *waitingCallers) {
	a.callers++
	c.number, c.admitted = a.callers, make(chan struct{})
	in.put(c)
}

// promiseLocked counts what a caller's payload needs, until it is appended.
func (a *admission) promiseLocked(c *caller) {
	for _, n := range c.needs {
		a.rooms.reserveLocked(n.partition, n.bytes)
	}
}

// grantLocked gives room that is free to those who wait for it, first come, first served.
func (a *admission) grantLocked() {
	for a.grantFirstLocked(&a.total) {
	}
	for i := range a.waiting {
		for a.mayBeNextLocked(a.waiting[i].first()) && a.grantFirstLocked(&a.waiting[i]) {
		}
	}
}

// mayBeNextLocked says whether a caller that waits for a partition came before all that wait for the queue as a whole.
func (a *admission) mayBeNextLocked(c *caller) bool {
	return c != nil && !passes(c, a.total.first())
}

// grantFirstLocked returns false if the first caller must stay where it is.
func (a *admission) grantFirstLocked(w *waitingCallers) bool {
	c := w.first()
	if c == nil {
		return false
	}
	in := a.fullForLocked(c)
	if in == w {
		return false
	}
	c.leave()
	if in != nil {
		in.put(c)
		return true
	}
	a.promiseLocked(c)
	c.granted = true
	close(c.admitted)
	return true
}

// anyLocked says whether anybody waits for room.
func (a *admission) anyLocked() bool {
	return a.total.Len() > 0 || slices.ContainsFunc(a.waiting, func(w waitingCallers) bool { return w.Len() > 0 })
}

// refuseAllLocked refuses those who wait for room.
func (a *admission) refuseAllLocked(err error) {
	refuse := func(w *waitingCallers) {
		for c := w.first(); c != nil; c = w.first() {
			c.leave()
			c.err = err
			close(c.admitted)
		}
	}
	refuse(&a.total)
	for i := range a.waiting {
		refuse(&a.waiting[i])
	}
}
