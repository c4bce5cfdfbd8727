package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"context"
	"math/bits"
	"sync"
	"time"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/block"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// partitionOf returns the partition of a key.
func partitionOf(key uint64, partitions int) int {
	hi, _ := bits.Mul64(key, uint64(partitions))
	return int(hi)
}

// partition is an open batch, a queue of sealed ones and the batch in flight. All samples of a series go through one
// partition, in the order in which they were accepted.
type partition struct {
	index    int
	limits   BatchConfig
	capacity int64

	// wake holds a token when there may be something to do for the sender.
	wake chan struct{}

	// mu guards what follows. It is never held while compressing or waiting. Who needs several partitions locks them in
	// the order of their index; the ledger's lock comes after it.
	mu sync.Mutex
	// closed refuses samples and makes the open batch due.
	closed bool
	// open is nil while it would be empty.
	open *batch
	// filled is how many plain bytes the last chunk of an open batch had at its end. The next one begins with room for as
	// many.
	filled   int
	queue    []*batch
	inFlight *batch
	// size is the cost of open, queue and inFlight together.
	size int64
	// space is closed when size gets less; it is nil while nobody waits for that.
	space chan struct{}
	guard guard
}

// partitionOptions are those of all partitions together.
type partitionOptions struct {
	partitions int
	limits     BatchConfig
	// capacity is the bytes that all queues may hold.
	capacity int64
	// guard says that samples that are not newer are dropped, and idle when the guard forgets a series.
	guard bool
	idle  time.Duration
}

func newPartitions(o partitionOptions) []*partition {
	partitions := make([]*partition, o.partitions)
	for i := range partitions {
		partitions[i] = &partition{
			index:    i,
			limits:   o.limits,
			capacity: o.capacity / int64(o.partitions),
			wake:     make(chan struct{}, 1),
			guard:    newGuard(o.guard, o.idle),
		}
	}
	return partitions
}

// appendLocked adds a segment. It returns how many samples are queued by it, counts the others, and adds to work what must
// be compressed when the lock is free.
func (p *partition) appendLocked(s *segment, now time.Time, drops *account.Drops, work []job) (queued int, _ []job) {
	if s.dropped {
		return 0, work
	}
	for _, f := range s.full {
		b := f.batch
		b.excised = p.guard.refused(f.index, nil, now, drops)
		if b.without(b.excised); b.Empty() {
			continue
		}
		work = p.sealOpenLocked(work)
		b.accepted = now
		if len(b.excised) > 0 {
			b.sealed = make(chan struct{})
			work = append(work, job{p, b, nil})
		}
		p.queue = append(p.queue, b)
		p.size += b.cost()
		queued += b.Samples
	}
	excised := p.guard.refused(s.index, s, now, drops)
	rest := s.tally
	if rest.without(excised); rest.Empty() {
		return queued, work
	}
	return queued + rest.Samples, p.appendOpenLocked(s, excised, rest, now, work)
}

// appendOpenLocked adds what a segment holds open to the open batch, or to a new one if it would not fit.
func (p *partition) appendOpenLocked(s *segment, excised []indexEntry, added tally, now time.Time, work []job) []job {
	if p.open != nil && (p.open.protocol != s.protocol || !p.limits.admit(p.open.Samples, p.open.sizes, added.Samples, s.openSizes())) {
		work = p.sealOpenLocked(work)
	}
	if p.open == nil {
		p.open = &batch{protocol: s.protocol, accepted: now}
	}
	b, before := p.open, p.open.cost()
	full := b.append(s, excised, p.filled)
	b.sizes = b.sizes.plus(s.openSizes())
	b.add(&added)
	if full != nil {
		work = append(work, job{p, b, full})
	}
	p.size += b.cost() - before
	if b.Samples >= p.limits.MaxSamples {
		work = p.sealOpenLocked(work)
	}
	return work
}

// sealOpenLocked moves the open batch into the queue.
func (p *partition) sealOpenLocked(work []job) []job {
	b := p.open
	if b == nil {
		return work
	}
	p.open = nil
	p.filled = len(b.chunks[len(b.chunks)-1].plain)
	if b.protocol == wire.V1 && len(b.chunks) > 1 {
		p.filled = block.Size
	}
	b.sealed = make(chan struct{})
	p.queue = append(p.queue, b)
	return append(work, job{p, b, nil})
}

// resize changes a batch, and accounts for what that changes if it is still in the queue.
func (p *partition) resize(b *batch, change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := b.cost()
	change()
	if !b.evicted {
		p.size += b.cost() - before
		p.signalSpaceLocked()
	}
}

// signalSpaceLocked wakes who waits for space.
func (p *partition) signalSpaceLocked() {
	if p.space != nil {
		close(p.space)
		p.space = nil
	}
}

// signal wakes the sender.
func (p *partition) signal() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// evictLocked drops the oldest waiting batches until there is room for size bytes, and returns how many samples that cost.
// The batch in flight stays: it is not known whether the endpoint has it.
func (p *partition) evictLocked(size int64) (samples int) {
	for p.size+size > p.capacity && len(p.queue) > 0 {
		samples += p.forgetLocked(p.popLocked())
	}
	if p.size+size > p.capacity && p.open != nil {
		samples += p.forgetLocked(p.open)
		p.open = nil
	}
	return samples
}

// forgetLocked takes the cost of a batch that is dropped off the queue, and returns its samples.
func (p *partition) forgetLocked(b *batch) (samples int) {
	b.evicted = true
	p.size -= b.cost()
	return b.Samples
}

func (p *partition) popLocked() *batch {
	b := p.queue[0]
	p.queue[0] = nil
	if p.queue = p.queue[1:]; len(p.queue) == 0 {
		// The backing array starts anew.
		p.queue = nil
	}
	return b
}

// take returns the next batch to send, whose samples are then in flight, or else how long the open batch may wait, or 0
// if there is nothing at all. A closed partition does not let the open batch wait.
func (p *partition) take(l *account.Ledger, now time.Time) (*batch, time.Duration) {
	b, work, wait := p.claim(l, now)
	for _, w := range work {
		w.run()
	}
	return b, wait
}

func (p *partition) claim(l *account.Ledger, now time.Time) (_ *batch, work []job, wait time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.queue) == 0 && p.open != nil {
		if wait := p.open.accepted.Add(p.limits.FlushTimeout).Sub(now); wait > 0 && !p.closed {
			return nil, nil, wait
		}
		work = p.sealOpenLocked(nil)
	}
	if len(p.queue) == 0 {
		return nil, nil, 0
	}
	p.inFlight = p.popLocked()
	l.Take(p.inFlight.Samples)
	return p.inFlight, work, 0
}

// next waits for the next batch to send. It returns nil when the partition is closed and empty, or ctx is done.
func (p *partition) next(ctx context.Context, l *account.Ledger) *batch {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for ctx.Err() == nil {
		p.mu.Lock()
		closed := p.closed
		p.mu.Unlock()
		b, wait := p.take(l, time.Now())
		if b != nil {
			if b.sealed != nil {
				<-b.sealed
			}
			return b
		}
		if wait == 0 {
			if closed {
				return nil
			}
			wait = time.Hour
		}
		timer.Reset(wait)
		select {
		case <-p.wake:
		case <-timer.C:
		case <-ctx.Done():
		}
	}
	return nil
}

// done ends the flight of the batch.
func (p *partition) done() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.size -= p.inFlight.cost()
	p.inFlight = nil
	p.signalSpaceLocked()
}

// close refuses samples from now on and makes the open batch due.
func (p *partition) close() {
	p.mu.Lock()
	p.closed = true
	p.signalSpaceLocked()
	p.mu.Unlock()
	p.signal()
}

// discard drops what waits.
func (p *partition) discard(l *account.Ledger, r account.Reason) (samples int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(p.queue) > 0 {
		samples += p.forgetLocked(p.popLocked())
	}
	if p.open != nil {
		samples += p.forgetLocked(p.open)
		p.open = nil
	}
	l.Evict(samples, r)
	return samples
}

// partitionState is what the gauges show.
type partitionState struct {
	size int64
	// oldest is when the oldest undelivered sample was accepted, or zero if there is none.
	oldest time.Time
}

func (p *partition) state() partitionState {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := partitionState{size: p.size}
	switch {
	case p.inFlight != nil:
		s.oldest = p.inFlight.accepted
	case len(p.queue) > 0:
		s.oldest = p.queue[0].accepted
	case p.open != nil:
		s.oldest = p.open.accepted
	}
	return s
}
