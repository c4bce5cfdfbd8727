// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/remote"
)

var (
	errQueueFull = errors.New("queue is full")
	errClosed    = errors.New("exporter is shut down")
)

// queue holds what was accepted until it has its outcome, in partitions, and decides what leaves when. It is safe for
// concurrent use.
type queue struct {
	queueOptions
	ledger     *account.Ledger
	partitions []*partition
	// durable keeps what is accepted in a storage extension; it is nil without one.
	durable *durable

	// mu guards what follows. It is held for moments only: bytes are handed over, never copied or compressed under it, but
	// for runs of a few kilobytes. A partition's guard is locked before it, the ledger after it.
	mu        sync.Mutex
	scheduler scheduler
	memory
	// rooms is where there is room: memory, or storage.
	rooms     rooms
	admission admission
	// closed says that nothing is accepted any more, and refusal why.
	closed  bool
	refusal error
	// gone says that nothing is sent any more: what comes all the same is dropped.
	gone bool
	// deliver starts a delivery; it is nil until the queue is started. underWay are the deliveries without an outcome.
	deliver  func(*delivery)
	underWay map[*delivery]bool
	timer    *time.Timer
	// drained is closed when the queue is closed, and empty.
	drained chan struct{}
}

func newQueue(o queueOptions, l *account.Ledger) *queue {
	q := &queue{queueOptions: o, ledger: l, drained: make(chan struct{}), underWay: make(map[*delivery]bool)}
	q.memory = memory{capacity: o.maxSize}
	q.rooms = inMemory{q}
	q.scheduler = scheduler{limits: &q.limits, size: newSizeLimit(&q.limits), limit: newLimit(o.maxInFlight)}
	q.repartition(o.partitions)
	return q
}

// repartition makes other partitions for a queue that has nothing.
func (q *queue) repartition(n int) {
	q.partitions = nil
	for i := range n {
		q.partitions = append(q.partitions, &partition{index: i, guard: newGuard(q.guard)})
	}
	q.scheduler.partitions = q.partitions
	q.admission = admission{rooms: q.rooms, waiting: make([]waitingCallers, n)}
}

// keepIn makes a queue that has never had anything keep in storage what it accepts.
func (q *queue) keepIn(d *durable) {
	q.durable, q.rooms, q.admission.rooms = d, d, d
	d.owner = owner{
		mu: &q.mu, memory: &q.memory, partitions: q.partitions, limits: &q.limits, ledger: q.ledger, patience: q.blockTimeout,
		changedLocked: func() {
			q.admission.grantLocked()
			q.dispatchLocked()
		},
		pack:        q.pack,
		dropped:     q.dropped,
		restsLocked: func() bool { return len(q.underWay) == 0 && !q.admission.anyLocked() },
		flowsLocked: q.flowsLocked,
		hurryLocked: func(hurry bool) {
			q.scheduler.closing = hurry || q.closed
			q.dispatchLocked()
		},
		repartitionLocked: func(n int) []*partition {
			q.repartition(n)
			return q.partitions
		},
	}
	d.recover()
}

// cuttingShare is the part of the queue that no payload is admitted into. What the guard cuts into lines takes more than the
// payload was measured with.
const cuttingShare = 64

// inMemory is the room of a queue without storage.
type inMemory struct{ *queue }

func (m inMemory) mostLocked() int64              { return m.capacity - m.capacity/cuttingShare }
func (m inMemory) freeLocked() int64              { return m.mostLocked() - m.used }
func (m inMemory) heldLocked(partition int) int64 { return m.partitions[partition].size }
func (inMemory) crowdedLocked(int64) bool         { return false }
func (m inMemory) reserveLocked(partition int, n int64) {
	m.resizeLocked(&m.partitions[partition].size, n)
}

// start lets deliveries begin.
func (q *queue) start(deliver func(*delivery)) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.deliver = deliver
	q.timer = time.AfterFunc(time.Hour, q.dispatch)
	q.dispatchLocked()
}

// admit accepts all of a payload, or nothing of it and returns an error. What the guard drops it adds to the payload's
// drops; it returns how many samples were evicted to make room. It waits for room, if so configured, until ctx is done or
// queue.block_timeout has passed: a collector that stops waits for its receivers, and they for their calls, before it
// shuts the exporter down.
func (q *queue) admit(ctx context.Context, pl *payload) (evicted int, err error) {
	evicted, c, err := q.reserve(pl)
	if err == nil && c != nil {
		err = q.wait(ctx, c)
	}
	if err != nil {
		return 0, err
	}
	return evicted, q.append(ctx, pl)
}

// reserve makes room for a payload, as queue.on_full says, or returns the caller that must wait for it.
func (q *queue) reserve(pl *payload) (evicted int, _ *caller, _ error) {
	c := newCaller(pl.measure())
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case q.closed:
		return 0, nil, q.refusal
	case len(pl.segments) != len(q.partitions):
		return 0, nil, errExchanged
	}
	if q.onFull == OnFullDropOldest || q.onFull == OnFullDropNewest {
		return eviction{q}.makeRoomLocked(pl, c.need), nil, nil
	}
	if most := q.rooms.mostLocked(); c.need > most {
		return 0, nil, errOversized(most)
	}
	in := q.admission.fullForLocked(c)
	switch {
	case in == nil:
		q.admission.promiseLocked(c)
		return 0, nil, nil
	case q.scheduler.gate.pause != nil:
		return 0, nil, q.pausedErrorLocked()
	case q.onFull == OnFullReject:
		return 0, nil, fmt.Errorf("queue.on_full: %w", errQueueFull)
	}
	q.admission.waitLocked(c, in)
	return 0, c, nil
}

// pausedErrorLocked is for callers for whom there is no room while the endpoint is paused: waiting would be for nothing.
func (q *queue) pausedErrorLocked() error {
	return fmt.Errorf("queue.on_full: %w, and the endpoint is paused: %w", errQueueFull, q.scheduler.gate.pause.answer)
}

// wait waits until the caller is admitted.
func (q *queue) wait(ctx context.Context, c *caller) error {
	ctx, cancel := context.WithTimeoutCause(ctx, q.blockTimeout, errQueueFull)
	defer cancel()
	select {
	case <-c.admitted:
		return c.err
	case <-ctx.Done():
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	if c.granted || c.err != nil {
		return c.err
	}
	c.leave()
	q.admission.grantLocked()
	return fmt.Errorf("queue.on_full: waiting for space: %w", context.Cause(ctx))
}

// arrival is what remains to be done for what has come.
type arrival struct {
	// work is to be packed.
	work []*chunk
	// closed says that something came too late to be stored.
	closed bool
	// discarded is how many samples came when nothing is sent any more.
	discarded int
}

// append puts a payload for which room is promised into its partitions, one after the other. With storage it waits until all is
// stored.
func (q *queue) append(ctx context.Context, pl *payload) error {
	now := time.Now()
	var a arrival
	for _, n := range pl.needs {
		if !n.dropped {
			q.appendSegment(&pl.segments[n.partition], n, &pl.drops, now, &a)
		}
	}
	q.ledger.Admit(0, &pl.drops)
	q.mu.Lock()
	q.admission.grantLocked()
	q.dispatchLocked()
	q.mu.Unlock()
	for _, c := range a.work {
		q.pack(c)
	}
	if a.discarded > 0 {
		q.dropped(a.discarded, account.ReasonShutdown)
	}
	switch {
	case a.closed:
		return fmt.Errorf("%w: %w", errUnstored, errClosed)
	case q.durable != nil:
		return q.durable.waitStored(ctx)
	}
	return nil
}

// fewRuns is how many runs of a segment have room on the stack: mostly there is one, of a chunk whose samples are all good.
const fewRuns = 2

// appendSegment puts a segment into its partition, where what it needs is promised. From the first look of the guard until the
// samples are in the queue nobody else appends to the partition, so that the order in which the guard sees samples is the order
// in which they are sent.
func (q *queue) appendSegment(s *segment, n need, drops *account.Drops, now time.Time, a *arrival) {
	p := q.partitions[n.partition]
	p.guard.mu.Lock()
	defer p.guard.mu.Unlock()
	held := &p.guard.held
	if held.number++; !held.empty() || q.durable != nil {
		var unsettled uint64
		unsettled, p.guard.holdAll = q.lateState(p)
		held.release(unsettled)
	}
	var few [fewRuns]run
	runs := few[:0]
	for i := range s.chunks {
		runs = p.guard.runsLocked(&s.chunks[i], now, drops, runs)
	}
	q.appendRuns(p, runs, n, drops, a)
	for i := range runs {
		if !runs[i].dropped {
			p.guard.queuedLocked(&runs[i])
		}
	}
}

// appendRuns puts runs into a partition, and marks those for which there is no room.
func (q *queue) appendRuns(p *partition, runs []run, n need, drops *account.Drops, a *arrival) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.rooms.reserveLocked(p.index, -n.bytes)
	queued := 0
	for i, r := range runs {
		switch {
		case r.late && r.optional && !q.lateRoomLocked(r.chunk):
			runs[i].dropped = true
			drops.Add(r.reason, r.received(), r.chunk.example)
		case q.durable != nil && q.durable.ended:
			a.closed = true
			drops.Add(account.ReasonShutdown, r.chunk.Samples, r.chunk.example)
		default:
			queued += r.chunk.Samples
			q.arriveLocked(p, r, a)
		}
	}
	// Before a sender can see the samples: they must never be in flight without having been queued.
	q.ledger.Admit(queued, nil)
	if q.gone && q.durable == nil {
		a.discarded += q.discardLocked()
	}
}

// arriveLocked puts a run into its partition, or among what is to be stored before.
func (q *queue) arriveLocked(p *partition, r run, a *arrival) {
	if q.durable != nil {
		q.durable.joinLocked(p, r)
		return
	}
	before := p.size
	a.work = p.appendRunLocked(r, &q.limits, a.work)
	q.used += p.size - before
}

// lateState returns the number of the append with the first late samples of a partition that have no outcome yet, and whether some were
// never read. Who holds the partition's guard can rely on that all before have theirs.
func (q *queue) lateState(p *partition) (unsettled uint64, unread bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return p.lateEntry(), p.kept.lateUnread()
}

func (q *queue) lateRoomLocked(c *chunk) bool {
	if q.durable != nil {
		return q.durable.lateRoomLocked(c.cost())
	}
	n := c.cost()
	for _, p := range q.partitions {
		n += p.late.size
	}
	return n <= q.capacity/lateShare && q.used+c.cost() <= q.capacity
}

// pack packs a chunk, and accounts for what that changes if the chunk is still in the queue.
func (q *queue) pack(c *chunk) {
	packed, size, from := c.packedForm()
	// When the lock is free again, nobody counts what these chunks hold.
	defer giveBytes(from, packed)
	q.mu.Lock()
	defer q.mu.Unlock()
	before := c.cost()
	c.plain, c.pending = nil, nil
	c.packed, c.size = packed, size
	if c.home.partition != nil {
		n := c.cost() - before
		*c.home.lane += n
		q.resizeLocked(c.home.partition, n)
		q.admission.grantLocked()
	}
	close(c.packing)
}

// dispatch starts the deliveries that may leave now.
func (q *queue) dispatch() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.dispatchLocked()
}

func (q *queue) dispatchLocked() {
	if q.deliver == nil || q.gone {
		return
	}
	now := time.Now()
	// With storage what is not sent when the exporter is closed stays for the next process.
	for !q.closed || q.durable == nil {
		d, wake := q.scheduler.next(now)
		if d == nil {
			if !wake.IsZero() {
				q.timer.Reset(max(wake.Sub(now), 0))
			}
			break
		}
		if d.turn != nil {
			close(d.turn)
			d.turn = nil
			continue
		}
		d.claimed = now
		q.ledger.Take(d.samples())
		q.underWay[d] = true
		q.deliver(d)
	}
	q.checkDrainedLocked()
}

func (q *queue) checkDrainedLocked() {
	if !q.closed || !q.idleLocked() {
		return
	}
	select {
	case <-q.drained:
	default:
		close(q.drained)
	}
}

// idleLocked says that nothing is worth to be waited for: with storage only answers are.
func (q *queue) idleLocked() bool {
	if q.durable != nil {
		return q.scheduler.inFlight == 0 && q.durable.unstored == 0
	}
	return len(q.underWay) == 0 && q.used == 0
}

// composed replaces what a delivery's chunks cost by what its body does.
func (q *queue) composed(d *delivery, size int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	all := int64(d.samples())
	for i := range d.parts {
		p := &d.parts[i]
		cost := int64(size)*int64(p.samples)/all + chunkOverhead
		q.resizeLocked(&p.partition.size, cost-p.cost)
		p.cost = cost
	}
	q.admission.grantLocked()
}

// fork takes note of a delivery of some parts of another one. It waits for its turn as one that is due.
func (q *queue) fork(other *delivery) (turn <-chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.underWay[other] = true
	other.due = time.Now()
	return q.waitLocked(other)
}

// waitLocked puts a delivery among those that wait for their next attempt.
func (q *queue) waitLocked(d *delivery) (turn <-chan struct{}) {
	d.turn = make(chan struct{})
	turn = d.turn
	q.scheduler.retries = append(q.scheduler.retries, d)
	q.dispatchLocked()
	return turn
}

// retry gives a delivery's place back until its next attempt may be made.
func (q *queue) retry(d *delivery, delay time.Duration) (turn <-chan struct{}) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.leaveLocked(d)
	d.due = time.Now().Add(delay)
	return q.waitLocked(d)
}

// park gives the place back of a delivery that waits for something else than its turn.
func (q *queue) park(d *delivery) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.leaveLocked(d)
	q.dispatchLocked()
}

// leaveLocked gives the place back that a delivery has, if it has one.
func (q *queue) leaveLocked(d *delivery) {
	if d.number != 0 {
		q.scheduler.leave(d)
	}
}

// finished frees the partitions of a delivery, all of which has its outcome.
func (q *queue) finished(d *delivery) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.leaveLocked(d)
	delete(q.underWay, d)
	now := time.Now()
	for i := range d.parts {
		p := d.parts[i].partition
		p.busy, p.busyLate, p.suspect, p.lane(d.late).idleSince = false, false, d.slow, now
		q.resizeLocked(&p.size, -d.parts[i].cost)
		if q.durable != nil && !d.kept {
			q.durable.settledLocked(p, d.late, d.parts[i].logged)
		}
	}
	if q.durable != nil && q.durable.held != nil {
		wake(q.durable.work)
	}
	q.scheduler.retries = slices.DeleteFunc(q.scheduler.retries, func(o *delivery) bool { return o == d })
	q.admission.grantLocked()
	q.dispatchLocked()
}

// close refuses payloads from now on, and makes everything due.
func (q *queue) close() { q.refuse(errClosed) }

// refuse closes the queue for a reason.
func (q *queue) refuse(refusal error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	q.closed, q.refusal, q.scheduler.closing = true, refusal, true
	q.admission.refuseAllLocked(refusal)
	q.dispatchLocked()
	q.checkDrainedLocked()
}

// discard drops what waits, and what comes from now on. It returns how many samples wait no more. With storage all stays there.
func (q *queue) discard() (samples int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.gone = true
	if q.timer != nil {
		q.timer.Stop()
	}
	if q.durable != nil {
		return 0
	}
	return q.discardLocked()
}

func (q *queue) discardLocked() (samples int) {
	for _, p := range q.partitions {
		for p.waits() {
			l := &p.good
			if l.empty() {
				l = &p.late
			}
			b := l.popFront()
			samples += b.Samples
			q.resizeLocked(&p.size, -b.leave())
			q.keep.batch(b, account.ReasonShutdown)
		}
	}
	q.ledger.Evict(samples, account.ReasonShutdown)
	return samples
}

// answered takes note of what an answer, and what is done after it, says about the endpoint.
func (q *queue) answered(d *delivery, o *outcome, delay time.Duration) event {
	q.mu.Lock()
	defer q.mu.Unlock()
	s, a, now := &q.scheduler, o.answer, time.Now()
	d.slow = now.Sub(d.begun) > q.limits.FlushTimeout && s.gate.succeeded.After(d.begun)
	if overloads(a) {
		s.limit.overloaded(d.number)
	}
	if o.verdict != remote.VerdictFallback {
		// What is held against a message of 2.0 says nothing of one of 1.0.
		s.size.answered(a, d.size, now)
	}
	if asks(a) {
		s.gate.ask(now, max(delay, q.asked(a)))
	}
	switch {
	case o.verdict == remote.VerdictRetry, o.reason == account.ReasonRetriesExhausted:
		s.gate.failed(now, d.attempted, q.doubt)
		return event{}
	case o.verdict == remote.VerdictPause:
		began := s.gate.refused(now, d.attempted, a)
		q.admission.refuseAllLocked(q.pausedErrorLocked())
		return event{paused: a, began: began, since: s.gate.pause.since, waiting: q.ledger.Queued()}
	}
	if a.Status == 0 || a.Status >= 500 || a.Status == http.StatusTooManyRequests {
		s.gate.failed(now, d.attempted, q.doubt)
		return event{}
	}
	if o.verdict == remote.VerdictFallback {
		// Whether the endpoint takes requests is what it answers to the same data as 1.0. There may be nothing that 1.0 can carry.
		s.gate.postpone(now)
		return event{}
	}
	if a.Success() {
		s.limit.succeeded(s.inFlight)
	}
	p := s.gate.resume(now)
	failures, since := s.gate.pass(now)
	if p == nil && failures < doubtAfter {
		return event{}
	}
	e := event{recovered: failures, since: since, waiting: q.ledger.Queued()}
	if p != nil {
		e.resumed, e.since = true, p.since
	}
	// The delivery may have more to send, and nothing else waits for that.
	q.dispatchLocked()
	return e
}

// open says whether the endpoint may be sent anything now that is not in the queue.
func (q *queue) open() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	g := &q.scheduler.gate
	return !g.doubtful() && !time.Now().Before(g.opens())
}

// askedToWait takes note of an answer that asks everybody to wait, to something that is not in the queue.
func (q *queue) askedToWait(a *remote.Answer) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.scheduler.gate.ask(time.Now(), max(q.asked(a), q.doubt(1)))
}

// passesSince says whether the endpoint has taken something since a time, and is not in doubt now.
func (q *queue) passesSince(t time.Time) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	g := &q.scheduler.gate
	return g.succeeded.After(t) && !g.doubtful()
}

// flowsLocked says whether what is queued leaves and passes.
func (q *queue) flowsLocked() bool {
	g := &q.scheduler.gate
	return q.deliver != nil && !q.closed && !g.doubtful() && g.pause == nil && len(q.scheduler.retries) == 0 && !time.Now().Before(g.opens())
}

// expire has the guards of all partitions forget what they need not know any more.
func (q *queue) expire(now time.Time) {
	q.mu.Lock()
	partitions := q.partitions
	q.mu.Unlock()
	for _, p := range partitions {
		p.guard.mu.Lock()
		unsettled, _ := q.lateState(p)
		p.guard.expireLocked(now, unsettled)
		p.guard.mu.Unlock()
	}
}

// paused says whether the endpoint is.
func (q *queue) paused() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.scheduler.gate.pause != nil
}

// pausedFor is how long the endpoint was paused in all.
func (q *queue) pausedFor(now time.Time) time.Duration {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.scheduler.gate.pausedFor(now)
}

// mostBytes is how many the message of a request may have.
func (q *queue) mostBytes() int64 {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.scheduler.size.bytes()
}
