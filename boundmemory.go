// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"sync"
	"time"
)

// boundMemory remembers which buckets or quantiles the last point of each histogram and summary had: a stale point can
// come without them, and the series sent earlier must still end. It is safe for concurrent use.
type boundMemory struct {
	idle   time.Duration
	budget *cacheBudget
	shards [64]boundShard
}

// boundShard forgets what was not used for a while by turning: what is used moves to the current map, and the previous
// one is dropped at each turn.
type boundShard struct {
	mu                sync.Mutex
	current, previous map[uint64]*remembered
	turned            time.Time
}

// rememberedSize is what a point takes, in bytes, besides what it shares.
const rememberedSize = mapSlots*(8+8) + 8

func newBoundMemory(idle time.Duration) *boundMemory {
	return &boundMemory{idle: idle, budget: newCacheBudget(boundShare)}
}

func (m *boundMemory) shard(key uint64) *boundShard { return &m.shards[key%uint64(len(m.shards))] }

// put remembers what is sent for the point of that key.
func (m *boundMemory) put(key uint64, bounds *boundSet, hasSum bool, now time.Time) {
	sent := &bounds.sent[0]
	if hasSum {
		sent = &bounds.sent[1]
	}
	s := m.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	m.turn(s, now)
	// Mostly there is nothing new. To look is cheaper than to write.
	if last := s.current[key]; last != sent && m.hold(s, sent, last) {
		s.current[key] = sent
	}
}

// hold takes what it costs to remember something instead of the last, which may be nil. It returns false if the budget has no
// room for it, although the shard forgets what it would next. The shard's lock must be held.
func (m *boundMemory) hold(s *boundShard, sent, last *remembered) bool {
	if m.budget.tooLarge(sent.bounds.size) {
		return false
	}
	if last == nil && !m.budget.take(rememberedSize) {
		m.forget(s)
		if !m.budget.take(rememberedSize) {
			return false
		}
	}
	// The bounds may exceed the budget by themselves. The next entry pays for it.
	if sent.bounds.remembered.Add(1) == 1 {
		m.budget.used.Add(int64(sent.bounds.size))
	}
	if last != nil {
		m.release(last)
	}
	return true
}

// release says that a point does not need the bounds any more.
func (m *boundMemory) release(r *remembered) {
	if r.bounds.remembered.Add(-1) == 0 {
		m.budget.giveBack(int64(r.bounds.size))
	}
}

// get returns what was sent for the point, or what the stale point itself has if nothing is remembered. It forgets
// nothing: the payload may be refused and come again.
func (m *boundMemory) get(key uint64, bounds *boundSet, hasSum bool, now time.Time) remembered {
	s := m.shard(key)
	s.mu.Lock()
	defer s.mu.Unlock()
	m.turn(s, now)
	sent, ok := s.current[key]
	if !ok {
		sent, ok = s.previous[key]
	}
	if !ok {
		return remembered{bounds, hasSum}
	}
	return remembered{sent.bounds, sent.hasSum || hasSum}
}

// expire forgets what has not been used for long. Without it only points that come make others be forgotten.
func (m *boundMemory) expire(now time.Time) {
	for i := range m.shards {
		s := &m.shards[i]
		s.mu.Lock()
		if s.current != nil {
			m.turn(s, now)
		}
		s.mu.Unlock()
	}
}

// turn forgets when it is time to. The shard's lock must be held.
func (m *boundMemory) turn(s *boundShard, now time.Time) {
	if s.current != nil && now.Sub(s.turned) < m.idle {
		return
	}
	m.forget(s)
	s.turned = now
}

// forget drops what has not been used since the last turn. The shard's lock must be held.
func (m *boundMemory) forget(s *boundShard) {
	for _, r := range s.previous {
		m.release(r)
	}
	m.budget.giveBack(int64(len(s.previous)) * rememberedSize)
	s.previous, s.current = s.current, make(map[uint64]*remembered)
}
