package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"sync"
	"time"
)

// boundMemory remembers which buckets or quantiles the last point of each histogram and summary had: a stale point can
// come without them, and the series sent earlier must still end. It is safe for concurrent use.
type boundMemory struct {
	idle   time.Duration
	shards [64]boundShard
}

// boundShard forgets what was not used for a while by turning: what is used moves to the current map, and the previous
// one is dropped at each turn.
type boundShard struct {
	mu                sync.Mutex
	current, previous map[uint64]remembered
	turned            time.Time
}

// remembered is what was sent for a point. Its bounds are shared by all points that have the same.
type remembered struct {
	bounds *boundSet
	hasSum bool
}

func newBoundMemory(idle time.Duration) *boundMemory {
	return &boundMemory{idle: idle}
}

// put remembers what is sent for the point of that key.
func (m *boundMemory) put(key uint64, bounds *boundSet, hasSum bool, now time.Time) {
	s, sent := &m.shards[key%uint64(len(m.shards))], remembered{bounds, hasSum}
	s.mu.Lock()
	s.turn(m.idle, now)
	// Mostly there is nothing new. To look is cheaper than to write.
	if s.current[key] != sent {
		s.current[key] = sent
	}
	s.mu.Unlock()
}

// get returns what was sent for the point, or what the stale point itself has if nothing is remembered. It forgets
// nothing: the payload may be refused and come again.
func (m *boundMemory) get(key uint64, bounds *boundSet, hasSum bool, now time.Time) remembered {
	s := &m.shards[key%uint64(len(m.shards))]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.turn(m.idle, now)
	sent, ok := s.current[key]
	if !ok {
		sent, ok = s.previous[key]
	}
	if !ok {
		return remembered{bounds, hasSum}
	}
	sent.hasSum = sent.hasSum || hasSum
	return sent
}

func (s *boundShard) turn(idle time.Duration, now time.Time) {
	if s.current != nil && now.Sub(s.turned) < idle {
		return
	}
	s.previous = s.current
	s.current = make(map[uint64]remembered)
	s.turned = now
}
