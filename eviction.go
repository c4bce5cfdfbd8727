// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import "github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"

// eviction makes room in a queue by dropping what waits, and payloads for which there is none.
type eviction struct{ *queue }

// makeRoomLocked makes room for a payload that is accepted whatever the room, by dropping what queue.on_full says.
func (e eviction) makeRoomLocked(pl *payload, need int64) (evicted int) {
	// What the payload itself brings must not crowd out a part of it.
	crowded := e.rooms.crowdedLocked(need)
	for i := range pl.needs {
		n := &pl.needs[i]
		p := e.partitions[n.partition]
		if e.onFull == OnFullDropOldest && !crowded {
			evicted += e.evictLocked(p, n.bytes)
		}
		if free := e.rooms.freeLocked(); n.bytes > free || e.rooms.heldLocked(p.index)+n.bytes > free || crowded {
			s := &pl.segments[n.partition]
			pl.drops.Add(account.ReasonQueueFull, s.received(), s.example)
			n.dropped = true
			e.keep.segment(s, account.ReasonQueueFull)
			continue
		}
		e.rooms.reserveLocked(p.index, n.bytes)
	}
	e.ledger.Evict(evicted, account.ReasonQueueFull)
	return evicted
}

// evictLocked drops the oldest that wait in the partition that holds most until there is room, and only if that makes room. If the
// partition itself holds too much it is the first one that gives, and others must if all that it has is in a request. That stays: it
// is not known whether the endpoint has it.
func (e eviction) evictLocked(p *partition, need int64) (samples int) {
	most := e.rooms.freeLocked()
	for _, o := range e.partitions {
		most += e.evictableLocked(o)
	}
	if need > most || e.rooms.heldLocked(p.index)-e.evictableLocked(p)+need > most {
		return 0
	}
	for {
		free := e.rooms.freeLocked()
		victim := p
		switch {
		case need > free:
			victim = e.largestLocked()
		case e.rooms.heldLocked(p.index)+need <= free:
			return samples
		}
		n := e.evictOldestLocked(victim)
		if n == 0 && victim == p {
			n = e.evictOldestLocked(e.largestLocked())
		}
		if n == 0 {
			return samples
		}
		samples += n
	}
}

// evictableLocked is how many bytes can be evicted from a partition.
func (e eviction) evictableLocked(p *partition) int64 {
	if e.durable != nil {
		return e.durable.evictableLocked(p)
	}
	return p.good.size + p.late.size
}

// evictOldestLocked takes the oldest that waits off a partition, in whichever lane, and returns how many samples that were.
func (e eviction) evictOldestLocked(p *partition) (samples int) {
	if e.durable != nil {
		defer e.durable.evictedLocked(p)
	}
	if !p.waits() {
		if e.durable != nil {
			return e.durable.skipLocked(p)
		}
		return 0
	}
	late := p.oldestIsLate()
	b := p.lane(late).popFront()
	e.resizeLocked(&p.size, -b.leave())
	if e.durable != nil {
		e.durable.forgetLocked(p, late, b.logged)
	}
	e.keep.batch(b, account.ReasonQueueFull)
	return b.Samples
}

// largestLocked is the partition in which most waits.
func (e eviction) largestLocked() *partition {
	largest, most := e.partitions[0], int64(-1)
	for _, p := range e.partitions {
		if held := e.rooms.heldLocked(p.index); (p.waits() || p.kept.reading) && held > most {
			largest, most = p, held
		}
	}
	return largest
}
