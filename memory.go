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
func (m *boundMemory) put(key uint64, bounds *boundSet, hasSum bool) {
	s := &m.shards[key%uint64(len(m.shards))]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.turn(m.idle)
	s.current[key] = remembered{bounds, hasSum}
}

// get returns what was sent for the point, or what the stale point itself has if nothing is remembered. It forgets
// nothing: the payload may be refused and come again.
func (m *boundMemory) get(key uint64, bounds *boundSet, hasSum bool) remembered {
	s := &m.shards[key%uint64(len(m.shards))]
	s.mu.Lock()
	defer s.mu.Unlock()
	s.turn(m.idle)
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

func (s *boundShard) turn(idle time.Duration) {
	now := time.Now()
	if s.current != nil && now.Sub(s.turned) < idle {
		return
	}
	s.previous = s.current
	s.current = make(map[uint64]remembered)
	s.turned = now
}

// seenSet is the series and timestamps of one payload. Metrics or attribute sets that become one series collide there.
type seenSet struct {
	slots []seenSlot
	count int
	round uint32
}

type seenSlot struct {
	hash      uint64
	timestamp int64
	// round is that of the payload which filled the slot, so that a reset need not clear it.
	round uint32
}

const minSeenSlots = 1 << 8

// add returns false if the series already has a sample of that time.
func (s *seenSet) add(hash uint64, timestamp int64) bool {
	if 2*s.count >= len(s.slots) {
		s.grow()
	}
	mask := uint64(len(s.slots) - 1)
	for i := (hash ^ uint64(timestamp)*hashSeed>>32) & mask; ; i = (i + 1) & mask {
		slot := &s.slots[i]
		if slot.round != s.round {
			*slot = seenSlot{hash, timestamp, s.round}
			s.count++
			return true
		}
		if slot.hash == hash && slot.timestamp == timestamp {
			return false
		}
	}
}

func (s *seenSet) grow() {
	old, round := s.slots, s.round
	*s = seenSet{slots: make([]seenSlot, max(minSeenSlots, 2*len(old))), round: 1}
	for i := range old {
		if old[i].round == round {
			s.add(old[i].hash, old[i].timestamp)
		}
	}
}

// maxKeptSlots bounds what a large payload leaves behind.
const maxKeptSlots = 1 << 17

func (s *seenSet) reset() {
	s.count = 0
	if s.round++; s.round == 0 || len(s.slots) > maxKeptSlots {
		*s = seenSet{}
	}
}
