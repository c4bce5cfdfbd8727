// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"slices"
	"sync/atomic"
	"time"
)

// scheduler says which request leaves next. It is plain data under the queue's lock, and knows no clock but the times that
// it is given.
//
// A request leaves when a full one's worth waits in idle partitions, when the oldest sample has waited for the flush timeout,
// or at shutdown; first ready, first served. It takes half of the partitions at most, so that no request can stop everything,
// and suspects travel alone.
type scheduler struct {
	partitions []*partition
	limits     *BatchConfig
	// size lowers the bytes of limits to what the endpoint takes.
	size  sizeLimit
	limit limit
	gate  gate
	// inFlight is how many deliveries hold a place, and lateInFlight how many of these carry late samples.
	inFlight, lateInFlight int
	// lateBefore says that the last place went to late samples.
	lateBefore bool
	// retries wait for their next attempt.
	retries []*delivery
	// closing makes everything due.
	closing bool

	candidates []*partition
}

// next returns a delivery that may go on or leave now, which then holds a place, or when to ask again, which is zero if only
// an event can change the answer.
func (s *scheduler) next(now time.Time) (d *delivery, wake time.Time) {
	if opens := s.gate.opens(); now.Before(opens) {
		return nil, opens
	}
	if s.inFlight >= s.places() {
		return nil, time.Time{}
	}
	retry, wakeRetry := s.dueRetry(now)
	if retry != nil && s.gate.retriesFirst() {
		return s.resume(retry), time.Time{}
	}
	d, wake = s.claim(now)
	if d == nil && retry != nil {
		return s.resume(retry), time.Time{}
	}
	if d != nil {
		s.gate.probedRetry = false
		s.place(d)
		return d, time.Time{}
	}
	return nil, earliest(wake, wakeRetry)
}

// places is how many deliveries may be under way.
func (s *scheduler) places() int {
	if s.gate.doubtful() {
		return 1
	}
	return s.limit.places()
}

func earliest(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// dueRetry returns the retry that has waited longest since its last attempt, or when the next one is due.
func (s *scheduler) dueRetry(now time.Time) (due *delivery, wake time.Time) {
	mayBeLate := s.lateMayLeave()
	for _, d := range s.retries {
		switch {
		case d.due.After(now):
			wake = earliest(wake, d.due)
		case d.late && !mayBeLate:
		case due == nil || d.attempted.Before(due.attempted):
			due = d
		}
	}
	return due, wake
}

// resume gives a place to a delivery that waits for its next attempt.
func (s *scheduler) resume(d *delivery) *delivery {
	s.retries = slices.DeleteFunc(s.retries, func(o *delivery) bool { return o == d })
	s.gate.probedRetry = true
	s.place(d)
	return d
}

func (s *scheduler) place(d *delivery) {
	s.inFlight++
	if s.lateBefore = d.late; d.late {
		s.lateInFlight++
	}
	d.number = s.limit.begin()
}

// leave gives a place back.
func (s *scheduler) leave(d *delivery) {
	s.inFlight--
	if d.late {
		s.lateInFlight--
	}
	d.number = 0
}

// claim makes a delivery of what is ready, whose partitions are busy from then on, or says when something will be.
func (s *scheduler) claim(now time.Time) (d *delivery, wake time.Time) {
	mayBeLate := s.lateMayLeave()
	if mayBeLate && s.lateBefore && s.places() == 1 {
		// One place is not all theirs.
		if d, _ = s.claimOf(now, false); d != nil {
			return d, time.Time{}
		}
	}
	return s.claimOf(now, mayBeLate)
}

// claimOf is claim, of late samples only if they may leave.
func (s *scheduler) claimOf(now time.Time, mayBeLate bool) (d *delivery, wake time.Time) {
	var first *partition
	var ready time.Time
	var late bool
	var open openBatches
	consider := func(p *partition, at time.Time, isLate bool) {
		switch {
		case at.After(now):
			wake = earliest(wake, at)
		case first == nil || at.Before(ready):
			first, ready, late = p, at, isLate
		}
	}
	for _, p := range s.partitions {
		if p.busy {
			continue
		}
		isLate := mayBeLate && s.lateTurn(p, now)
		if isLate {
			consider(p, s.readyAt(&p.late), true)
		}
		if p.good.empty() {
			continue
		}
		if !isLate || !s.due(&p.late, now) {
			consider(p, s.readyAt(&p.good), false)
		}
		if b := p.good.front(); b == p.good.open && !p.suspect {
			open.add(b)
		}
	}
	if first == nil && open.fill(s.limits, s.most()) {
		first = s.oldestOpen(now)
	}
	if first == nil {
		return nil, wake
	}
	return s.take(first, late, now), time.Time{}
}

// most is how many partitions a request may take: half, so that there are always others to show whether anything passes.
func (s *scheduler) most() int {
	return max(len(s.partitions)/2, 1)
}

// openBatches are those that may be combined.
type openBatches struct {
	batches, samples int
	size             sizes
}

func (o *openBatches) add(b *batch) {
	o.batches++
	o.samples += b.Samples
	o.size = o.size.plus(b.sizes)
}

// fill says whether as many of the batches as a request may take are a full one's worth.
func (o *openBatches) fill(limits *BatchConfig, most int) bool {
	if o.batches == 0 {
		return false
	}
	most = min(most, o.batches)
	return o.samples*most/o.batches >= limits.MaxSamples || o.size.bytes()*int64(most)/int64(o.batches) >= int64(limits.MaxSizeBytes)
}

// readyAt is since when, or from when on, the front of a lane may leave.
func (s *scheduler) readyAt(l *lane) time.Time {
	b := l.front()
	at := b.accepted
	if b == l.open && !s.closing {
		at = at.Add(s.limits.FlushTimeout)
	}
	// A deep backlog must not starve the rest, nor good samples that travel with those of other partitions the late ones of theirs.
	if at.Before(l.idleSince) {
		at = l.idleSince
	}
	return at
}

// due says whether the front of a lane may leave now.
func (s *scheduler) due(l *lane, now time.Time) bool {
	return !l.empty() && !s.readyAt(l).After(now)
}

// lateTurn says whether an idle partition may have late samples in its next request: every second one is for good ones that are due.
func (s *scheduler) lateTurn(p *partition, now time.Time) bool {
	return p.lateReady() && !(p.lateBefore && s.due(&p.good, now))
}

// lateMayLeave says whether late samples may take one more place. While good ones wait, in whatever partition, the late ones of all
// partitions have an eighth of the limit.
func (s *scheduler) lateMayLeave() bool {
	return s.lateInFlight < max(s.places()/8, 1) ||
		!slices.ContainsFunc(s.partitions, func(p *partition) bool { return !p.good.empty() })
}

// oldestOpen is the idle partition, no suspect, whose open batch is the oldest.
func (s *scheduler) oldestOpen(now time.Time) *partition {
	var first *partition
	for _, p := range s.partitions {
		if s.combinable(p, false, now) && (first == nil || p.good.oldest().Before(first.good.oldest())) {
			first = p
		}
	}
	return first
}

// combinable says whether the front of a partition's lane may travel with those of others.
func (s *scheduler) combinable(p *partition, late bool, now time.Time) bool {
	l := p.lane(late)
	if p.busy || p.suspect || l.empty() || l.front() != l.open {
		return false
	}
	return !late || s.lateTurn(p, now)
}

// take claims the front of a partition, and with an open batch as many others as fit.
func (s *scheduler) take(first *partition, late bool, now time.Time) *delivery {
	d := &delivery{late: late, planned: new(atomic.Int32)}
	d.planned.Store(1)
	l := first.lane(late)
	if l.front() != l.open {
		d.claim(first, l.popFront())
		return d
	}
	protocol, recovered := l.open.protocol, l.open.life > 0
	s.candidates = s.candidates[:0]
	for _, p := range s.partitions {
		if p == first || first.suspect || !s.combinable(p, late, now) {
			continue
		}
		if b := p.lane(late).open; b.protocol == protocol && b.life > 0 == recovered {
			s.candidates = append(s.candidates, p)
		}
	}
	slices.SortStableFunc(s.candidates, func(a, b *partition) int {
		return a.lane(late).oldest().Compare(b.lane(late).oldest())
	})
	samples, size := 0, sizes{}
	for i := -1; i < len(s.candidates) && len(d.parts) < s.most(); i++ {
		p := first
		if i >= 0 {
			p = s.candidates[i]
		}
		l := p.lane(late)
		before := l.open
		b := before.take(s.limits, samples, size, p.unsettled())
		if b == nil {
			break
		}
		l.taken(b)
		d.claim(p, b)
		samples, size = samples+b.Samples, size.plus(b.sizes)
		if l.open == before && (!late || p.lateReady()) {
			break // It has been cut: the request is full.
		}
	}
	return d
}

// claim adds a batch, whose partition is busy from now on.
func (d *delivery) claim(p *partition, b *batch) {
	p.busy, p.busyLate, p.lateBefore, p.busyEntry = true, d.late, d.late, b.chunks[0].entry
	d.parts = append(d.parts, part{partition: p, batch: b, samples: b.Samples, logged: b.logged, cost: b.leave()})
	d.recovered = d.recovered || b.life > 0
	p.kept.lanes[laneIndex(d.late)].claimed += b.logged
	if d.accepted.IsZero() || b.accepted.Before(d.accepted) {
		d.accepted = b.accepted
	}
}
