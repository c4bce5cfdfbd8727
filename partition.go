package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"context"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/collector/consumer/consumererror"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/lastseen"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
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

	// mu guards what follows. It is never held while compressing or waiting.
	mu sync.Mutex
	// closed refuses samples and makes the open batch due.
	closed    bool
	open      message
	openSince time.Time
	// filled is how many bytes the last open batch had at its end. The next one has room for as many from its beginning.
	filled   int
	queue    []*batch
	inFlight *batch
	// size is the bytes of open, queue and inFlight together.
	size int64
	// space is closed when size gets less; it is nil while nobody waits for that.
	space chan struct{}
	// guard is nil unless out_of_order is drop; targets is the guard of target_info.
	guard, targets *lastseen.Table
}

func newPartition(index int, cfg *Config) *partition {
	p := &partition{
		index:    index,
		limits:   cfg.Batch,
		capacity: int64(cfg.Queue.MaxSizeBytes) / int64(cfg.Partitions),
		wake:     make(chan struct{}, 1),
		targets:  lastseen.New(cfg.SeriesIdleTimeout),
	}
	if cfg.OutOfOrder == OutOfOrderDrop {
		p.guard = lastseen.New(cfg.SeriesIdleTimeout)
	}
	return p
}

// encoder is what must be encoded outside the lock, by who has filled it up: a sealed batch or a piece of an open one.
type encoder interface{ encode() }

// sealed is a batch that must be encoded.
type sealed struct {
	partition *partition
	batch     *batch
}

// append adds a segment. It returns how many samples are queued by it, counts the others, and adds to work what must be
// encoded then.
func (p *partition) append(s *segment, now time.Time, drops *account.Drops, work []encoder) (queued int, _ []encoder) {
	if s.dropped {
		return 0, work
	}
	for _, f := range s.full {
		b := f.batch
		b.excised = p.refused(f.index, nil, now, drops)
		if b.without(b.excised); b.empty() {
			continue
		}
		work = p.sealOpen(work)
		b.accepted = now
		if len(b.excised) > 0 {
			b.ready = make(chan struct{})
			work = append(work, sealed{p, b})
		}
		p.queue = append(p.queue, b)
		p.size += b.size()
		queued += b.samples
	}
	excised := p.refused(s.index, s, now, drops)
	counts := s.message
	counts.without(excised)
	if counts.empty() {
		return queued, work
	}
	if !p.open.fits(&p.limits, s.openSizes(), counts.samples) || p.open.protocol != s.protocol {
		work = p.sealOpen(work)
	}
	if p.open.raw == nil {
		p.open.raw = slices.Grow(takeBuffer(), p.filled)
	}
	if p.open.empty() {
		p.openSince = now
		p.open.protocol = s.protocol
	}
	before := p.open.cost()
	s.appendTo(&p.open, excised)
	p.open.sizes = p.open.sizes.plus(s.openSizes())
	p.open.cover(s.oldest, s.newest)
	p.open.samples += counts.samples
	p.open.histograms += counts.histograms
	p.open.exemplars += counts.exemplars
	if s.protocol == protocolV1 {
		if piece := p.open.detach(p); piece != nil {
			work = append(work, piece)
		}
	}
	p.size += p.open.cost() - before
	if p.open.samples >= p.limits.MaxSamples {
		work = p.sealOpen(work)
	}
	return queued + counts.samples, work
}

// without takes series out of the message's counts.
func (m *message) without(excised []indexEntry) {
	m.samples -= len(excised)
	for i := range excised {
		if excised[i].histogram {
			m.histograms--
		}
		m.exemplars -= excised[i].exemplars
	}
}

// refused returns those series of the index that the guard refuses, and counts them. s is the segment that they are in,
// if it is at hand for an example.
func (p *partition) refused(index []indexEntry, s *segment, now time.Time, drops *account.Drops) []indexEntry {
	var refused []indexEntry
	for _, e := range index {
		table := p.guard
		if e.kind != guardedEntry {
			table = p.targets
		}
		order := table.Advance(e.hash, e.timestamp, now)
		if order == lastseen.Newer {
			continue
		}
		refused = append(refused, e)
		if e.kind == madeTargetEntry {
			continue
		}
		r := account.ReasonOutOfOrder
		if order == lastseen.Same {
			r = account.ReasonDuplicate
		}
		var example func() string
		if s != nil && drops[r].Example == nil {
			example = func() string { return s.exampleOf(e) }
		}
		drops.Add(r, 1, example)
	}
	return refused
}

// sealOpen moves the open batch into the queue.
func (p *partition) sealOpen(work []encoder) []encoder {
	if p.open.empty() {
		return work
	}
	b := &batch{message: p.open, accepted: p.openSince, ready: make(chan struct{})}
	p.filled = len(p.open.raw)
	p.open = message{}
	p.queue = append(p.queue, b)
	return append(work, sealed{p, b})
}

// encode makes the batch's body and lets its message go.
func (w sealed) encode() {
	body := w.batch.encoded()
	p, b := w.partition, w.batch
	p.mu.Lock()
	raw, before := b.raw, b.size()
	b.body, b.raw, b.parts, b.excised = body, nil, nil, nil
	if !b.evicted {
		p.size += b.size() - before
		p.signalSpace()
	}
	p.mu.Unlock()
	close(b.ready)
	giveBuffer(raw)
}

// signalSpace wakes who waits for space. The lock must be held.
func (p *partition) signalSpace() {
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

// evict drops the oldest waiting batches until there is room for size bytes, and returns how many samples that cost. The
// batch in flight stays: it is not known whether the endpoint has it. The lock must be held.
func (p *partition) evict(size int64) (samples int) {
	for p.size+size > p.capacity && len(p.queue) > 0 {
		b := p.pop()
		b.evicted = true
		p.size -= b.size()
		b.forget()
		samples += b.samples
	}
	if p.size+size > p.capacity {
		samples += p.open.samples
		p.size -= p.open.cost()
		p.open.forget()
		p.open = message{raw: p.open.raw[:0]}
	}
	return samples
}

func (p *partition) pop() *batch {
	b := p.queue[0]
	p.queue[0] = nil
	if p.queue = p.queue[1:]; len(p.queue) == 0 {
		// The backing array starts anew.
		p.queue = nil
	}
	return b
}

// take returns the next batch to send, whose samples are then in flight, or else how long the open batch may wait, or 0
// if there is nothing at all. flush makes an open batch due.
func (p *partition) take(l *account.Ledger, now time.Time) (*batch, time.Duration) {
	p.mu.Lock()
	var work []encoder
	if len(p.queue) == 0 && !p.open.empty() {
		if wait := p.openSince.Add(p.limits.FlushTimeout).Sub(now); wait > 0 && !p.closed {
			p.mu.Unlock()
			return nil, wait
		}
		work = p.sealOpen(nil)
	}
	if len(p.queue) == 0 {
		p.mu.Unlock()
		return nil, 0
	}
	b := p.pop()
	p.inFlight = b
	l.Take(b.samples)
	p.mu.Unlock()
	for _, w := range work {
		w.encode()
	}
	return b, 0
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
			if b.ready != nil {
				<-b.ready
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
	p.size -= p.inFlight.size()
	p.inFlight = nil
	p.signalSpace()
}

// close refuses samples from now on and makes the open batch due.
func (p *partition) close() {
	p.mu.Lock()
	p.closed = true
	p.signalSpace()
	p.mu.Unlock()
	p.signal()
}

// discard drops what waits.
func (p *partition) discard(l *account.Ledger, r account.Reason) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := p.open.samples
	for len(p.queue) > 0 {
		b := p.pop()
		b.evicted = true
		b.forget()
		n += b.samples
	}
	p.open.forget()
	p.open = message{}
	p.size = 0
	l.Evict(n, r)
	return n
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
	case !p.open.empty():
		s.oldest = p.openSince
	}
	return s
}

var (
	errQueueFull = errors.New("queue is full")
	errClosed    = errors.New("exporter is shut down")
)

// queues is all partitions and the rule for what is done when one of them is full.
type queues struct {
	partitions   []*partition
	onFull       OnFull
	blockTimeout time.Duration
	ledger       *account.Ledger
}

// admit accepts all of what the translator holds, or nothing of it and returns an error. The samples that it drops while
// it accepts the others it adds to the translator's. It waits for space, if so configured, until ctx is done or
// queue.block_timeout has passed: a collector that stops waits for its receivers, and they for their calls, before it
// shuts the exporter down.
func (q *queues) admit(ctx context.Context, t *translator) error {
	waiting := false
	for {
		space, err := q.tryAdmit(t)
		if space == nil {
			return err
		}
		if !waiting {
			waiting = true
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeoutCause(ctx, q.blockTimeout, errQueueFull)
			defer cancel()
		}
		select {
		case <-space:
		case <-ctx.Done():
			return fmt.Errorf("queue.on_full: waiting for space: %w", context.Cause(ctx))
		}
	}
}

// tryAdmit admits unless there is no space that might come; then it returns the channel that is closed when there is
// more.
func (q *queues) tryAdmit(t *translator) (space <-chan struct{}, err error) {
	// Partitions are locked in the order of their index by everybody, so that nobody waits in a circle.
	for _, i := range t.touched {
		q.partitions[i].mu.Lock()
	}
	unlock := func() {
		for _, i := range t.touched {
			q.partitions[i].mu.Unlock()
		}
	}
	if space, err = q.room(t); space != nil || err != nil {
		unlock()
		return space, err
	}
	var work []encoder
	now := time.Now()
	queued := 0
	for _, i := range t.touched {
		var n int
		n, work = q.partitions[i].append(&t.segments[i], now, &t.drops, work)
		queued += n
	}
	// Before the senders can see the samples: they must never be in flight without having been queued.
	q.ledger.Admit(queued, &t.drops)
	unlock()
	for _, i := range t.touched {
		q.partitions[i].signal()
	}
	for _, w := range work {
		w.encode()
	}
	return nil, nil
}

// room makes sure that all segments fit, as queue.on_full says. The locks must be held.
func (q *queues) room(t *translator) (space <-chan struct{}, err error) {
	for _, i := range t.touched {
		p, s := q.partitions[i], &t.segments[i]
		size := s.size()
		switch {
		case p.closed:
			return nil, errClosed
		case p.size+size <= p.capacity:
		case q.onFull == OnFullBlock && size <= p.capacity:
			if p.space == nil {
				p.space = make(chan struct{})
			}
			return p.space, nil
		case q.onFull == OnFullReject && size <= p.capacity:
			return nil, fmt.Errorf("queue.on_full: partition %d: %w", i, errQueueFull)
		case q.onFull == OnFullBlock || q.onFull == OnFullReject:
			return nil, consumererror.NewPermanent(fmt.Errorf("queue.max_size_bytes: the payload needs %d bytes of partition %d, which has %d", size, i, p.capacity))
		}
	}
	// No segment is refused from here on, so that nothing is dropped for a payload that is not accepted.
	for _, i := range t.touched {
		p, s := q.partitions[i], &t.segments[i]
		size := s.size()
		if q.onFull == OnFullDropOldest && size <= p.capacity && p.size+size > p.capacity {
			n := p.evict(size)
			q.ledger.Evict(n, account.ReasonQueueFull)
			t.evicted += n
		}
		if p.size+size > p.capacity {
			t.drops.Add(account.ReasonQueueFull, s.total(), s.example)
			s.dropped = true
		}
	}
	return nil, nil
}
