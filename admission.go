// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"fmt"

	"go.opentelemetry.io/collector/consumer/consumererror"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
)

// reserve makes room for a payload, as queue.on_full says, or returns the caller that must wait for it.
func (q *queue) reserve(pl *payload) (evicted int, _ *caller, _ error) {
	c := newCaller(pl.measure())
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return 0, nil, errClosed
	}
	if q.onFull == OnFullDropOldest || q.onFull == OnFullDropNewest {
		return q.makeRoomLocked(pl), nil, nil
	}
	if most := q.most(); c.need > most {
		return 0, nil, consumererror.NewPermanent(fmt.Errorf("queue.max_size_bytes: the payload needs %d bytes of a queue of %d", c.need, most))
	}
	in := q.fullForLocked(c)
	switch {
	case in == nil:
		q.promiseLocked(c)
		return 0, nil, nil
	case q.scheduler.gate.pause != nil:
		return 0, nil, q.pausedErrorLocked()
	case q.onFull == OnFullReject:
		return 0, nil, fmt.Errorf("queue.on_full: %w", errQueueFull)
	}
	q.callers++
	c.number, c.admitted = q.callers, make(chan struct{})
	in.put(c)
	return 0, c, nil
}

// most is how many bytes a payload may have.
func (q *queue) most() int64 {
	if q.durable != nil {
		return min(q.capacity, q.durable.capacity)
	}
	return q.capacity
}

// pausedErrorLocked is for callers for whom there is no room while the endpoint is paused: waiting would be for nothing.
func (q *queue) pausedErrorLocked() error {
	return fmt.Errorf("queue.on_full: %w, and the endpoint is paused: %w", errQueueFull, q.scheduler.gate.pause.answer)
}

// fullForLocked returns where a caller must wait, or nil. Nobody passes a caller that came before, unless they share no full
// partition and the other does not wait for the queue as a whole. A partition may hold as much as is free: one that is stuck
// ends at half of the queue, two at a third each, and the others always find room.
func (q *queue) fullForLocked(c *caller) *waitingCallers {
	free := q.freeLocked()
	if c.need > free || passes(c, q.total.first()) || q.crowdedLocked(c.need) {
		return &q.total
	}
	for _, n := range c.needs {
		p := q.partitions[n.partition]
		if q.heldLocked(p)+n.bytes > free || passes(c, p.waiting.first()) {
			return &p.waiting
		}
	}
	return nil
}

// passes says whether c would pass another that came before.
func passes(c, other *caller) bool {
	return other != nil && other != c && (c.number == 0 || other.number < c.number)
}

// promiseLocked counts what a caller's payload needs, until it is appended.
func (q *queue) promiseLocked(c *caller) {
	for _, n := range c.needs {
		q.reserveLocked(q.partitions[n.partition], n.bytes)
	}
}

// reserveLocked counts bytes that a partition will get, or has got.
func (q *queue) reserveLocked(p *partition, n int64) {
	q.resizeLocked(&p.size, n)
	if q.durable != nil {
		q.durable.promiseLocked(p, n)
	}
}

// freeLocked is how many bytes may be accepted.
func (q *queue) freeLocked() int64 {
	if q.durable != nil {
		return q.durable.freeLocked()
	}
	return q.capacity - q.used
}

// heldLocked is how many bytes are kept of a partition.
func (q *queue) heldLocked(p *partition) int64 {
	if q.durable != nil {
		return q.durable.heldLocked(p)
	}
	return p.size
}

// crowdedLocked says that so much more must wait because writing does not keep up.
func (q *queue) crowdedLocked(need int64) bool {
	return q.durable != nil && q.durable.crowdedLocked(need)
}

// resizeLocked counts bytes that come or leave in the size of a partition.
func (q *queue) resizeLocked(size *int64, n int64) {
	*size += n
	q.used += n
}

// grantLocked gives room that is free to those who wait for it, first come, first served.
func (q *queue) grantLocked() {
	for q.grantFirstLocked(&q.total) {
	}
	if q.total.Len() > 0 {
		return
	}
	for _, p := range q.partitions {
		for q.grantFirstLocked(&p.waiting) {
		}
		if q.total.Len() > 0 {
			return
		}
	}
}

// grantFirstLocked returns false if the first caller must stay where it is.
func (q *queue) grantFirstLocked(w *waitingCallers) bool {
	c := w.first()
	if c == nil {
		return false
	}
	in := q.fullForLocked(c)
	if in == w {
		return false
	}
	c.leave()
	if in != nil {
		in.put(c)
		return true
	}
	q.promiseLocked(c)
	c.granted = true
	close(c.admitted)
	return true
}

// makeRoomLocked makes room for a payload that is accepted whatever the room, by dropping what queue.on_full says.
func (q *queue) makeRoomLocked(pl *payload) (evicted int) {
	for i := range pl.needs {
		n := &pl.needs[i]
		p := q.partitions[n.partition]
		if q.onFull == OnFullDropOldest {
			evicted += q.evictLocked(p, n.bytes)
		}
		if free := q.freeLocked(); n.bytes > free || q.heldLocked(p)+n.bytes > free || q.crowdedLocked(n.bytes) {
			s := &pl.segments[n.partition]
			pl.drops.Add(account.ReasonQueueFull, s.received(), s.example)
			n.dropped = true
			continue
		}
		q.reserveLocked(p, n.bytes)
	}
	q.ledger.Evict(evicted, account.ReasonQueueFull)
	return evicted
}

// evictLocked drops the oldest that wait in the partition that holds most until there is room, and only if that makes room.
// What is in a request stays: it is not known whether the endpoint has it.
func (q *queue) evictLocked(p *partition, need int64) (samples int) {
	evictable := int64(0)
	for _, o := range q.partitions {
		evictable += q.evictableLocked(o)
	}
	if need > q.freeLocked()+evictable {
		return 0
	}
	for {
		free := q.freeLocked()
		victim := p
		switch {
		case need > free:
			victim = q.largestLocked()
		case q.heldLocked(p)+need <= free:
			return samples
		}
		n := q.evictOldestLocked(victim)
		if n == 0 {
			return samples
		}
		samples += n
	}
}

// evictableLocked is how many bytes can be evicted from a partition.
func (q *queue) evictableLocked(p *partition) int64 {
	if q.durable != nil {
		return q.durable.evictableLocked(p)
	}
	return p.good.size + p.late.size
}

// evictOldestLocked takes the oldest that waits off a partition, and returns how many samples that were.
func (q *queue) evictOldestLocked(p *partition) (samples int) {
	if !p.waits() {
		if q.durable != nil {
			return q.durable.skipLocked(p)
		}
		return 0
	}
	late := p.good.empty()
	b := p.lane(late).popFront()
	q.resizeLocked(&p.size, -b.leave())
	if q.durable != nil {
		q.durable.acknowledgeLocked(p, late, b.logged)
	}
	return b.Samples
}

// largestLocked is the partition in which most waits.
func (q *queue) largestLocked() *partition {
	largest, most := q.partitions[0], int64(-1)
	for _, p := range q.partitions {
		if held := q.heldLocked(p); (p.waits() || p.kept.reading) && held > most {
			largest, most = p, held
		}
	}
	return largest
}
