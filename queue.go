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

	"go.opentelemetry.io/collector/consumer/consumererror"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/remote"
)

var (
	errQueueFull = errors.New("queue is full")
	errClosed    = errors.New("exporter is shut down")
)

// queueOptions are the rules of a queue.
type queueOptions struct {
	partitions int
	limits     BatchConfig
	// capacity is the bytes that the queue may hold.
	capacity     int64
	onFull       OnFull
	blockTimeout time.Duration
	// maxInFlight is the most requests under way.
	maxInFlight int
	// doubt is the delay before the next request after so many failures in a row.
	doubt func(failures int) time.Duration
	// asked is how long an answer asks to wait.
	asked func(*remote.Answer) time.Duration
	guard guardOptions
	// keep gets what is dropped while it waits, or for lack of room. The queue is locked.
	keep keeper
}

// queue holds what was accepted until it has its outcome, in partitions, and decides what leaves when. It is safe for
// concurrent use.
type queue struct {
	queueOptions
	ledger     *account.Ledger
	partitions []*partition

	// mu guards what follows. It is held for moments only: bytes are handed over, never copied or compressed under it, but
	// for runs of a few kilobytes. A partition's guard is locked before it, the ledger after it.
	mu        sync.Mutex
	scheduler scheduler
	// used is the bytes of all partitions.
	used int64
	// callers counts those that have waited; total are the ones for whom the queue as a whole has no room.
	callers uint64
	total   waitingCallers
	closed  bool
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
	for i := range o.partitions {
		q.partitions = append(q.partitions, &partition{index: i, guard: newGuard(o.guard)})
	}
	q.scheduler = scheduler{partitions: q.partitions, limits: &q.limits, limit: newLimit(o.maxInFlight)}
	return q
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
	q.append(pl)
	return evicted, nil
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
	q.grantLocked()
	return fmt.Errorf("queue.on_full: waiting for space: %w", context.Cause(ctx))
}

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
	if c.need > q.capacity {
		return 0, nil, consumererror.NewPermanent(fmt.Errorf("queue.max_size_bytes: the payload needs %d bytes of a queue of %d", c.need, q.capacity))
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

// pausedErrorLocked is for callers for whom there is no room while the endpoint is paused: waiting would be for nothing.
func (q *queue) pausedErrorLocked() error {
	return fmt.Errorf("queue.on_full: %w, and the endpoint is paused: %w", errQueueFull, q.scheduler.gate.pause.answer)
}

// fullForLocked returns where a caller must wait, or nil. Nobody passes a caller that came before, unless they share no full
// partition and the other does not wait for the queue as a whole. A partition may hold as much as is free: one that is stuck
// ends at half of the queue, two at a third each, and the others always find room.
func (q *queue) fullForLocked(c *caller) *waitingCallers {
	free := q.capacity - q.used
	if c.need > free || passes(c, q.total.first()) {
		return &q.total
	}
	for _, n := range c.needs {
		p := q.partitions[n.partition]
		if p.size+n.bytes > free || passes(c, p.waiting.first()) {
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
		q.resizeLocked(&q.partitions[n.partition].size, n.bytes)
	}
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
		if free := q.capacity - q.used; n.bytes > free || p.size+n.bytes > free {
			s := &pl.segments[n.partition]
			pl.drops.Add(account.ReasonQueueFull, s.received(), s.example)
			n.dropped = true
			q.keep.segment(s, account.ReasonQueueFull)
			continue
		}
		q.resizeLocked(&p.size, n.bytes)
	}
	q.ledger.Evict(evicted, account.ReasonQueueFull)
	return evicted
}

// evictLocked drops the oldest that wait in the partition that holds most until there is room, and only if that makes room.
// What is in a request stays: it is not known whether the endpoint has it.
func (q *queue) evictLocked(p *partition, need int64) (samples int) {
	evictable := int64(0)
	for _, o := range q.partitions {
		evictable += o.good.size + o.late.size
	}
	if need > q.capacity-q.used+evictable {
		return 0
	}
	for {
		free := q.capacity - q.used
		victim := p
		switch {
		case need > free:
			victim = q.largestLocked()
		case p.size+need <= free:
			return samples
		}
		l := &victim.good
		if l.empty() {
			l = &victim.late
		}
		if l.empty() {
			return samples
		}
		b := l.popFront()
		samples += b.Samples
		q.resizeLocked(&victim.size, -b.leave())
		q.keep.batch(b, account.ReasonQueueFull)
	}
}

// largestLocked is the partition in which most waits.
func (q *queue) largestLocked() *partition {
	largest, most := q.partitions[0], int64(-1)
	for _, p := range q.partitions {
		if p.waits() && p.size > most {
			largest, most = p, p.size
		}
	}
	return largest
}

// append puts a payload for which room is promised into its partitions, one after the other.
func (q *queue) append(pl *payload) {
	now := time.Now()
	var work []*chunk
	for _, n := range pl.needs {
		if !n.dropped {
			work = q.appendSegment(&pl.segments[n.partition], n, &pl.drops, now, work)
		}
	}
	q.ledger.Admit(0, &pl.drops)
	q.mu.Lock()
	q.grantLocked()
	q.dispatchLocked()
	q.mu.Unlock()
	for _, c := range work {
		q.pack(c)
	}
}

// appendSegment puts a segment into its partition, where what it needs is promised. From the first look of the guard until the
// samples are in the queue nobody else appends to the partition, so that the order in which the guard sees samples is the order
// in which they are sent.
func (q *queue) appendSegment(s *segment, n need, drops *account.Drops, now time.Time, work []*chunk) []*chunk {
	p := q.partitions[n.partition]
	p.guard.mu.Lock()
	defer p.guard.mu.Unlock()
	if len(p.guard.held) > 0 && !q.lateWaits(p) {
		clear(p.guard.held)
	}
	var runs []run
	for i := range s.chunks {
		runs = p.guard.runsLocked(&s.chunks[i], now, drops, runs)
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.resizeLocked(&p.size, -n.bytes)
	queued := 0
	for _, r := range runs {
		if r.late && r.optional && !q.lateRoomLocked(r.chunk) {
			drops.Add(r.reason, r.chunk.Samples, r.chunk.example)
			continue
		}
		queued += r.chunk.Samples
		before := p.size
		work = p.appendRunLocked(r, &q.limits, work)
		q.used += p.size - before
	}
	// Before a sender can see the samples: they must never be in flight without having been queued.
	q.ledger.Admit(queued, nil)
	if q.gone {
		q.discardLocked()
	}
	return work
}

// lateWaits says whether late samples of a partition have no outcome yet. Who holds the partition's guard can rely on a no.
func (q *queue) lateWaits(p *partition) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return !p.late.empty() || p.busyLate
}

// lateShare is the part of the queue that late samples may have.
const lateShare = 10

func (q *queue) lateRoomLocked(c *chunk) bool {
	n := c.cost()
	for _, p := range q.partitions {
		n += p.late.size
	}
	return n <= q.capacity/lateShare && q.used+c.cost() <= q.capacity
}

// pack packs a chunk, and accounts for what that changes if the chunk is still in the queue.
func (q *queue) pack(c *chunk) {
	packed, size := c.packedForm()
	q.mu.Lock()
	defer q.mu.Unlock()
	before := c.cost()
	c.plain, c.pending = nil, nil
	c.packed, c.size = packed, size
	if c.home != nil {
		q.resizeLocked(c.home, c.cost()-before)
		q.grantLocked()
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
	for {
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
	if !q.closed || len(q.underWay) > 0 || q.used > 0 {
		return
	}
	select {
	case <-q.drained:
	default:
		close(q.drained)
	}
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
	q.grantLocked()
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
		p.busy, p.busyLate, p.suspect, p.idleSince = false, false, d.slow, now
		q.resizeLocked(&p.size, -d.parts[i].cost)
	}
	q.scheduler.retries = slices.DeleteFunc(q.scheduler.retries, func(o *delivery) bool { return o == d })
	q.grantLocked()
	q.dispatchLocked()
}

// close refuses payloads from now on, and makes everything due.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.closed {
		return
	}
	q.closed, q.scheduler.closing = true, true
	q.refuseAllLocked(errClosed)
	q.dispatchLocked()
	q.checkDrainedLocked()
}

// refuseAllLocked refuses those who wait for room.
func (q *queue) refuseAllLocked(err error) {
	refuse := func(w *waitingCallers) {
		for c := w.first(); c != nil; c = w.first() {
			c.leave()
			c.err = err
			close(c.admitted)
		}
	}
	refuse(&q.total)
	for _, p := range q.partitions {
		refuse(&p.waiting)
	}
}

// discard drops what waits, and what comes from now on. It returns how many samples wait no more.
func (q *queue) discard() (samples int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.gone = true
	if q.timer != nil {
		q.timer.Stop()
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

// overloads says whether an answer shows that the endpoint is too slow, or asks to wait.
func overloads(a *remote.Answer) bool {
	var timeout interface{ Timeout() bool }
	switch a.Status {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return true
	case 0:
		return errors.As(a.Err, &timeout) && timeout.Timeout()
	default:
		return false
	}
}

// asks says whether the endpoint asks everybody to wait.
func asks(a *remote.Answer) bool {
	return a.Status == http.StatusTooManyRequests || a.Status == http.StatusServiceUnavailable ||
		a.RetryAfter != "" && a.Status >= 500
}

// answered takes note of what an answer says about the endpoint.
func (q *queue) answered(d *delivery, a *remote.Answer, verdict remote.Verdict, delay time.Duration) event {
	q.mu.Lock()
	defer q.mu.Unlock()
	s, now := &q.scheduler, time.Now()
	if overloads(a) {
		s.limit.overloaded(d.number)
	}
	if asks(a) {
		s.gate.ask(now, max(delay, q.asked(a)))
	}
	switch verdict {
	case remote.VerdictRetry:
		s.gate.failed(now, q.doubt)
		return event{}
	case remote.VerdictPause:
		began := s.gate.refused(now, a)
		q.refuseAllLocked(q.pausedErrorLocked())
		return event{paused: a, began: began, since: s.gate.pause.since, waiting: q.ledger.Queued()}
	}
	if a.Status == 0 || a.Status >= 500 || a.Status == http.StatusTooManyRequests {
		s.gate.failed(now, q.doubt)
		return event{}
	}
	d.slow = now.Sub(d.begun) > q.limits.FlushTimeout && s.gate.succeeded.After(d.begun)
	if a.Success() {
		s.limit.succeeded(s.inFlight)
	}
	p := s.gate.resume()
	failures, since := s.gate.pass(now)
	switch {
	case p != nil:
		return event{resumed: true, since: p.since, waiting: q.ledger.Queued()}
	case failures >= doubtAfter:
		return event{recovered: failures, since: since, waiting: q.ledger.Queued()}
	}
	return event{}
}

// open says whether the endpoint may be sent anything now that is not in the queue.
func (q *queue) open() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	g := &q.scheduler.gate
	return !g.doubtful() && !time.Now().Before(g.opens())
}

// paused says whether the endpoint is.
func (q *queue) paused() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.scheduler.gate.pause != nil
}

// poisonAfter is how often a request must have failed before it is cut to find out whether a part of it passes.
const poisonAfter = 3

// poisonous says whether a request that failed must be cut: once after it has failed for a while with answers that may be
// its own fault, and then again whenever something else has passed since.
func (q *queue) poisonous(d *delivery, a *remote.Answer) bool {
	switch {
	case asks(a), d.attempts < poisonAfter:
		return false
	case d.cut.IsZero() && d.shared():
		return true
	}
	since := d.cut
	if since.IsZero() {
		since = d.begun
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.scheduler.gate.succeeded.After(since)
}

// queueState is what the gauges show.
type queueState struct {
	// size is the bytes that the queue holds, and largest those of the partition that holds most.
	size, largest int64
	// oldest is when the oldest sample without an outcome was accepted, or zero if there is none.
	oldest time.Time
	// inFlight is the requests under way, and limit how many may be.
	inFlight, limit int
	// closed says that the gate is, and paused that the endpoint is.
	closed, paused bool
}

func (q *queue) state() queueState {
	q.mu.Lock()
	defer q.mu.Unlock()
	g := &q.scheduler.gate
	s := queueState{
		size: q.used, inFlight: q.scheduler.inFlight, limit: q.scheduler.places(),
		closed: time.Now().Before(g.opens()), paused: g.pause != nil,
	}
	for d := range q.underWay {
		s.oldest = earliest(s.oldest, d.accepted)
	}
	for _, p := range q.partitions {
		s.largest = max(s.largest, p.size)
		for _, l := range []*lane{&p.good, &p.late} {
			if !l.empty() {
				s.oldest = earliest(s.oldest, l.oldest())
			}
		}
	}
	return s
}
