// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import "time"

// queueState is what the gauges show.
type queueState struct {
	// size is the bytes that the queue holds in memory, and largest those that are held of a partition at most, in memory or storage.
	size, largest int64
	// oldest is when the oldest sample without an outcome was accepted, or zero if there is none.
	oldest time.Time
	// inFlight is the requests under way, and limit how many may be.
	inFlight, limit int
	// partitions is how many there are.
	partitions int
	// stored is set with storage.
	stored *storedState
	// closed says that the gate is, and paused that the endpoint is.
	closed, paused bool
}

// accepted is how much of the queue is in use, and how much can be.
func (q *queue) accepted() (size, capacity int64) {
	s := q.state()
	if s.stored != nil {
		return s.stored.live, s.stored.capacity
	}
	return s.size, q.capacity
}

func (q *queue) state() queueState {
	q.mu.Lock()
	defer q.mu.Unlock()
	g := &q.scheduler.gate
	s := queueState{
		size: q.used, inFlight: q.scheduler.inFlight, limit: q.scheduler.places(),
		partitions: len(q.partitions),
		closed:     time.Now().Before(g.opens()), paused: g.pause != nil,
	}
	if q.durable != nil {
		s.stored = q.durable.stateLocked()
	}
	for d := range q.underWay {
		s.oldest = earliest(s.oldest, d.accepted)
	}
	for _, p := range q.partitions {
		s.largest = max(s.largest, q.rooms.heldLocked(p.index))
		for _, l := range []*lane{&p.good, &p.late} {
			if !l.empty() {
				s.oldest = earliest(s.oldest, l.oldest())
			}
		}
	}
	return s
}
