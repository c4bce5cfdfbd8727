// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/journal"
)

// errUnstored is for callers whose payload is accepted but not stored when they get their answer: their time is up, or the
// exporter has to end before.
var errUnstored = errors.New("queue.storage: not stored in time")

const (
	// acknowledgeInterval is the longest time until what has its outcome is not kept any more in storage.
	acknowledgeInterval = time.Second
	// maxCommit is about how many bytes go to storage with one write.
	maxCommit = 2 << 20
	// mostEncoded is the capacity from which on the committer's buffer is not kept.
	mostEncoded = 4 << 20
	// firstStorageDelay and longestStorageDelay bound the time between two attempts of a write that fails.
	firstStorageDelay   = 50 * time.Millisecond
	longestStorageDelay = 5 * time.Second
	// hangsAfter is the time after which storage that does not answer fails.
	hangsAfter = 10 * time.Second
	// mostRead is about how many bytes of the log are read at once.
	mostRead = 4 << 20
	// rewriteAfter is the age from which on a record is written again: most are deleted before.
	rewriteAfter = 10 * time.Second
	// rewriteEach is how many bytes are written again in each acknowledgeInterval, besides twice what was written anyway.
	rewriteEach = 4 << 20
	// rewriteFull is that when a write has failed, perhaps because storage is full.
	rewriteFull = 64 << 10
	// leastRewritten and mostRewritten bound what is written again at once; the latter never is.
	leastRewritten, mostRewritten = 4 << 10, 1 << 40
)

// durable keeps what a queue accepts in a log until it has its outcome. What is accepted joins a commit; the committer writes
// one commit after the other, and only what is written may be sent. The places in a commit are given under the locks under
// which the guard sees samples, so that the order in the log is the order of sending.
type durable struct {
	owner
	log *journal.Log
	// capacity is how many bytes the log may keep.
	capacity int64
	observed storageObserver

	// The queue's lock guards what follows. commits wait for being written, the first one first.
	commits []*commit
	// last is the commit that was begun last.
	last *commit
	// unstored is the bytes that were promised or have joined a commit.
	unstored int64
	// processed is the number of the record before which all are in memory, or left to the reader.
	processed uint64
	// handing is the number of the record before which all have been handed to the partitions, or are being.
	handing uint64
	// loading says that the reader has records, or is about to.
	loading bool
	// ended says that nothing joins any more.
	ended bool
	exchange
	// idle is called by the committer when it has nothing to write.
	idle func()

	// unread says that the last read of the log has failed.
	unread atomic.Bool

	// encoded is the committer's own, and so are refused, why it has given a commit up, and rewritten, how many bytes it writes again at
	// once at the most.
	encoded   []byte
	refused   error
	rewritten int64

	// work wakes the committer, and room the reader.
	work, room chan struct{}
	stop, done chan struct{}
	// writing says that the committer waits for storage, and hangs tells if it does so for long.
	writing atomic.Bool
	hangs   *time.Timer
	// deadline ends the last attempts to write.
	deadline context.Context
}

// storageObserver is told what happens to the storage.
type storageObserver interface {
	// wrote is told of each write.
	wrote(took time.Duration, bytes int64, err error)
	// works is told when nothing fails any more.
	works()
	// damaged is told how many samples and records storage has lost.
	damaged(samples, records int)
}

// commit is what goes to storage with one write.
type commit struct {
	runs  []commitRun
	bytes int64
	// stored is closed when all is stored, or never will be: then err says why.
	stored chan struct{}
	err    error
}

// commitRun is a run of a commit.
type commitRun struct {
	run
	partition *partition
	cost      int64
}

// laneOf is the partition of a lane of the log, and whether it is the late one.
func (d *durable) laneOf(lane int) (p *partition, late bool) {
	return d.partitions[lane/2], lane%2 == 1
}

// owner is what a durable has of its queue.
type owner struct {
	mu         *sync.Mutex
	memory     *memory
	partitions []*partition
	limits     *BatchConfig
	ledger     *account.Ledger
	// patience is how long a caller waits for being stored.
	patience time.Duration
	// changedLocked is called when there is more room, or more to send.
	changedLocked func()
	pack          func(*chunk)
	// dropped is the queue's.
	dropped func(samples int, r account.Reason)
	// restsLocked says that nobody waits for room and nothing is under way, and flowsLocked that the endpoint takes what it is sent.
	restsLocked, flowsLocked func() bool
	// hurryLocked makes everything due, or no more.
	hurryLocked func(bool)
	// repartitionLocked gives the queue other partitions.
	repartitionLocked func(int) []*partition
}

// newDurable is for a log, in which there may be something already.
func newDurable(log *journal.Log, capacity int64, o storageObserver) *durable {
	_, next := log.Bounds()
	return &durable{
		log: log, capacity: capacity, observed: o, processed: next, idle: func() {}, rewritten: mostRewritten,
		work: make(chan struct{}, 1), room: make(chan struct{}, 1), stop: make(chan struct{}), done: make(chan struct{}),
	}
}

// recover finds out what the log has for the partitions.
func (d *durable) recover() {
	first, _ := d.log.Bounds()
	for _, p := range d.partitions {
		for _, late := range []bool{false, true} {
			l := d.log.Lane(p.logLane(late))
			of := &p.kept.lanes[laneIndex(late)]
			of.loaded, of.stored, of.end, of.recovered = l.Acknowledged, l.End, l.End, l.End
			of.holes = d.log.Holes(p.logLane(late))
			if l.Open > 0 {
				p.kept.reading, p.kept.cursor = true, first
			}
		}
	}
	d.ledger.Recover(int(d.log.Sizes().Samples))
}

// start begins to write.
func (d *durable) start() {
	d.hangs = time.AfterFunc(time.Hour, d.hang)
	go d.writeAll()
}

// errStorageHangs is for storage that does not answer, or has not when the exporter had to end.
var errStorageHangs = errors.New("storage does not answer")

// hang tells that storage does not answer, again and again until it does or the exporter ends.
func (d *durable) hang() {
	if d.writing.Load() {
		d.hangs.Reset(hangsAfter)
		d.observed.wrote(hangsAfter, 0, errStorageHangs)
	}
}

// watch calls something in storage, and tells if that takes long.
func (d *durable) watch(call func() error) (took time.Duration, err error) {
	began := time.Now()
	d.writing.Store(true)
	d.hangs.Reset(hangsAfter)
	err = call()
	d.writing.Store(false)
	d.hangs.Stop()
	return time.Since(began), err
}

// try calls something in storage, and tells if that fails.
func (d *durable) try(call func() error) error {
	took, err := d.watch(call)
	if err != nil {
		d.observed.wrote(took, 0, err)
	}
	return err
}

// close writes what has joined and what was acknowledged, as long as ctx allows, and closes the log. It does not wait for longer:
// a storage client need not look at the context of a call. The log is closed all the same when storage answers.
func (d *durable) close(ctx context.Context) error {
	d.mu.Lock()
	d.ended, d.deadline = true, ctx
	d.releaseLocked(time.Now())
	d.mu.Unlock()
	close(d.stop)
	closed := make(chan error, 1)
	go func() {
		<-d.done
		closed <- d.log.Close(context.WithoutCancel(ctx))
	}()
	select {
	case err := <-closed:
		return err
	case <-ctx.Done():
		d.writing.Store(false)
		return errStorageHangs
	}
}

// wake wakes who waits for a channel of one place.
func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// The methods of rooms.

func (d *durable) mostLocked() int64 { return min(d.memory.capacity, d.capacity) }

func (d *durable) reserveLocked(partition int, n int64) {
	p := d.partitions[partition]
	d.memory.resizeLocked(&p.size, n)
	p.kept.unstored += n
	d.unstored += n
}

// freeLocked is how many bytes the log may still get.
func (d *durable) freeLocked() int64 {
	return d.capacity - d.log.Live() - d.unstored
}

// heldLocked is how many bytes the log keeps of a partition, or will.
func (d *durable) heldLocked(partition int) int64 {
	p := d.partitions[partition]
	n := p.kept.unstored
	for _, late := range []bool{false, true} {
		n += d.log.Lane(p.logLane(late)).Bytes
	}
	return n
}

// crowdedLocked says that writing does not keep up, so that no more may wait for it.
func (d *durable) crowdedLocked(need int64) bool {
	return d.unstored > 0 && d.unstored+need > d.memory.capacity/4
}

// joinLocked adds a run to what goes to storage next. The caller of the queue waits for the commit.
func (d *durable) joinLocked(p *partition, r run) {
	c := *r.chunk
	// The segment is another payload's when the commit is written.
	r.chunk, r.of, r.at = &c, nil, nil
	if c.borrowed {
		c.plain, c.borrowed = slices.Clone(c.plain), false
	}
	cost := c.cost()
	d.reserveLocked(p.index, cost)
	if r.late {
		p.kept.join(c.Samples, c.entry)
	}
	if n := len(d.commits); n == 0 || d.commits[n-1].bytes >= maxCommit {
		d.last = &commit{stored: make(chan struct{})}
		d.commits = append(d.commits, d.last)
	}
	to := d.last
	to.runs = append(to.runs, commitRun{run: r, partition: p, cost: cost})
	to.bytes += cost
	wake(d.work)
}

// waitStored waits until everything is stored that has joined until now. A payload that is dropped as a duplicate waits for what
// it repeats.
func (d *durable) waitStored(ctx context.Context) error {
	d.mu.Lock()
	c := d.last
	d.mu.Unlock()
	if c == nil {
		return nil
	}
	ctx, cancel := context.WithTimeoutCause(ctx, d.patience, errUnstored)
	defer cancel()
	select {
	case <-c.stored:
		return c.err
	case <-ctx.Done():
		return fmt.Errorf("%w: %w", errUnstored, context.Cause(ctx))
	}
}

// writeAll is the committer.
func (d *durable) writeAll() {
	defer close(d.done)
	ticker := time.NewTicker(acknowledgeInterval)
	defer ticker.Stop()
	for {
		if c := d.nextCommit(); c != nil {
			d.write(c)
			continue
		}
		select {
		case <-d.work:
			d.idle()
		case <-ticker.C:
			d.tend()
			d.idle()
		case <-d.stop:
			for c := d.nextCommit(); c != nil; c = d.nextCommit() {
				d.write(c)
			}
			for !d.flush() && d.pause(firstStorageDelay) {
			}
			return
		}
	}
}

// tend stores acknowledgements and keeps the log small. If all of it succeeds, no write waits for its next attempt.
func (d *durable) tend() {
	stored, learned, rewritten, looked := d.flush(), d.learn(), d.rewrite(rewriteEach, rewriteAfter), d.look()
	if stored && learned && rewritten && looked && !d.unread.Load() {
		d.observed.works()
	}
}

// nextCommit takes the first commit that waits.
func (d *durable) nextCommit() *commit {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.commits) == 0 {
		return nil
	}
	c := d.commits[0]
	if d.commits = d.commits[1:]; len(d.commits) == 0 {
		d.commits = nil
	}
	return c
}

// write stores a commit, as often as it takes, and hands over what is stored. If nothing is kept that could make room by leaving, half
// as much is tried after a failure: storage that is filled up has none for records to be written again in. Nothing is stored behind what
// was given up: a caller waits for the last commit of its payload.
func (d *durable) write(c *commit) {
	if d.refused != nil {
		d.giveUp(c, d.refused)
		return
	}
	runs := d.encode(c)
	most, delay := len(runs), firstStorageDelay
	for {
		part := runs[:min(most, len(runs))]
		number, bytes, err := d.append(part)
		if err == nil {
			d.stored(c, part, number)
			d.rewrite(2*bytes, rewriteAfter)
			if runs = runs[len(part):]; len(runs) == 0 {
				return
			}
			most, delay = len(runs), firstStorageDelay
			continue
		}
		// What is acknowledged can make room, whatever error says that there is none, and so can what is of no use.
		d.learn()
		d.flush()
		d.rewrite(rewriteFull, 0)
		if errors.Is(err, journal.ErrTaken) || !d.pause(delay) {
			d.giveUp(c, err)
			return
		}
		delay = min(2*delay, longestStorageDelay)
		if d.log.Live() == 0 {
			most = max(len(part)/2, 1)
		}
	}
}

// encode makes the stored forms of a commit's runs, which last until the next commit.
func (d *durable) encode(c *commit) (runs []journal.Run) {
	runs = make([]journal.Run, len(c.runs))
	ends := make([]int, len(c.runs))
	if cap(d.encoded) > mostEncoded {
		d.encoded = nil
	}
	d.encoded = d.encoded[:0]
	for i := range c.runs {
		d.encoded = appendStored(d.encoded, &c.runs[i].run)
		ends[i] = len(d.encoded)
	}
	start := 0
	for i := range c.runs {
		j := &c.runs[i]
		runs[i] = journal.Run{Lane: j.partition.logLane(j.late), Samples: j.chunk.Samples, Data: d.encoded[start:ends[i]]}
		start = ends[i]
	}
	return runs
}

func (d *durable) append(runs []journal.Run) (number uint64, bytes int64, err error) {
	for i := range runs {
		bytes += int64(len(runs[i].Data))
	}
	took, err := d.watch(func() (err error) {
		number, err = d.log.Append(context.Background(), runs)
		return err
	})
	d.observed.wrote(took, bytes, err)
	return number, bytes, err
}

// flush stores acknowledgements. It returns false if it must be tried again.
func (d *durable) flush() (ok bool) {
	err := d.try(func() error { return d.log.Flush(context.Background()) })
	return err == nil || errors.Is(err, journal.ErrTaken)
}

// learn sees to it that the log knows the first of its records, if the reader need not.
func (d *durable) learn() (ok bool) {
	return d.try(func() error { return d.log.Learn(context.Background(), mostRead) }) == nil
}

// look notices that another process has the log, also if nothing is to be written or read.
func (d *durable) look() (ok bool) {
	return d.try(func() error { return d.log.Look(context.Background()) }) == nil
}

// rewrite makes the log smaller if most of it is of no use, by records of an age. Most of those that are younger than rewriteAfter are
// deleted soon anyway.
func (d *durable) rewrite(bytes int64, age time.Duration) (ok bool) {
	bytes = min(bytes, d.rewritten)
	err := d.try(func() error {
		_, err := d.log.Rewrite(context.Background(), time.Now().Add(-age), bytes, d.capacity)
		return err
	})
	d.trim()
	if err != nil {
		// Storage may have room for less.
		d.rewritten = max(bytes/4, leastRewritten)
		return false
	}
	d.rewritten = min(2*d.rewritten, mostRewritten)
	return true
}

// pause waits before another attempt. It returns false if there is no time for one.
func (d *durable) pause(delay time.Duration) bool {
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-d.stop:
	}
	select {
	case <-timer.C:
		return d.deadline.Err() == nil
	case <-d.deadline.Done():
		return false
	}
}

// giveUp drops what could not be stored before the exporter had to end.
func (d *durable) giveUp(c *commit, err error) {
	d.refused = err
	d.mu.Lock()
	samples := 0
	for i := range c.runs {
		j := &c.runs[i]
		samples += j.chunk.Samples
		d.leaveLocked(j)
	}
	d.ledger.Evict(samples, account.ReasonShutdown)
	d.mu.Unlock()
	d.dropped(samples, account.ReasonShutdown)
	c.err = fmt.Errorf("%w: %w", errUnstored, err)
	close(c.stored)
}

// leaveLocked ends the waiting of a run for being stored.
func (d *durable) leaveLocked(j *commitRun) {
	d.reserveLocked(j.partition.index, -j.cost)
	if j.late {
		j.partition.kept.leave(j.chunk.Samples, j.chunk.entry)
	}
}

// handedTogether is how many runs are put into partitions while the lock is held.
const handedTogether = 64

// stored puts the first runs of a commit, which are stored, into the partitions, as far as there is room in memory. The rest is read from the log later.
func (d *durable) stored(c *commit, runs []journal.Run, number uint64) {
	var work []*chunk
	for from := 0; from < len(runs); from += handedTogether {
		d.mu.Lock()
		d.handing = number + 1
		for i := from; i < min(from+handedTogether, len(runs)); i++ {
			j := &c.runs[i]
			d.leaveLocked(j)
			j.partition.kept.lanes[laneIndex(j.late)].stored = runs[i].End()
			work = d.handLocked(j.partition, j.run, &runs[i], number, work)
		}
		d.mu.Unlock()
	}
	if c.runs = c.runs[len(runs):]; len(c.runs) == 0 {
		c.runs = nil
		close(c.stored)
	}
	d.mu.Lock()
	d.processed = number + 1
	for i := range runs {
		p, late := d.laneOf(runs[i].Lane)
		p.kept.lanes[laneIndex(late)].end = runs[i].End()
	}
	d.changedLocked()
	d.mu.Unlock()
	wake(d.room)
	for _, c := range work {
		d.pack(c)
	}
}

// mostIndexed is how many records the log knows that are behind what is read, in up to 700 bytes each. Tests have it smaller.
var mostIndexed = 1 << 15

// trim bounds what the log knows of records that are read later.
func (d *durable) trim() {
	d.mu.Lock()
	from, reading := uint64(math.MaxUint64), false
	for _, p := range d.partitions {
		if p.kept.reading {
			from, reading = min(from, p.kept.cursor), true
		}
	}
	d.mu.Unlock()
	if reading {
		d.log.Trim(from, mostIndexed)
	}
}

// handLocked puts a run of a record into its partition if that has everything before it in memory, and room.
func (d *durable) handLocked(p *partition, r run, at *journal.Run, number uint64, work []*chunk) []*chunk {
	if p.kept.reading {
		return work
	}
	if !d.takesLocked(p, r.chunk.cost()) {
		p.kept.reading, p.kept.cursor, p.kept.blocked = true, number, r.chunk.cost()
		return work
	}
	return d.loadLocked(p, r, at, work)
}

// loadLocked puts a run into its partition, with the count of what storage has lost before it.
func (d *durable) loadLocked(p *partition, r run, at *journal.Run, work []*chunk) []*chunk {
	of := &p.kept.lanes[laneIndex(r.late)]
	r.chunk.logged = of.missing(at.End())
	of.loaded, p.kept.blocked = at.End(), 0
	if lost := r.chunk.logged - r.chunk.Samples; lost > 0 {
		d.lost(lost)
	}
	before := p.size
	work = p.appendRunLocked(r, d.limits, work)
	d.memory.used += p.size - before
	return work
}

// lost counts what storage should have and has not.
func (d *durable) lost(samples int) {
	d.ledger.Evict(samples, account.ReasonStorageCorrupt)
	d.observed.damaged(samples, 0)
}

// takesLocked says whether a partition may have so much more in memory. It may have as much as is free beside it, of three
// quarters of the queue: the rest is for what waits for being stored. One that has nothing gets something.
func (d *durable) takesLocked(p *partition, cost int64) bool {
	free := d.memoryLocked()
	return p.size == p.kept.unstored || p.size+cost <= free && cost <= free
}

// memoryLocked is how many bytes of memory are free for what is stored.
func (d *durable) memoryLocked() int64 {
	return d.memory.capacity/4*3 - (d.memory.used - d.unstored)
}

// forgetLocked ends the keeping of samples at the front of what a lane has besides what is in flight.
func (d *durable) forgetLocked(p *partition, late bool, n int) {
	d.log.Forget(p.logLane(late), p.kept.lanes[laneIndex(late)].claimed, n)
}

// settledLocked ends the keeping of what a delivery had of a partition.
func (d *durable) settledLocked(p *partition, late bool, n int) {
	of := &p.kept.lanes[laneIndex(late)]
	d.log.Acknowledge(p.logLane(late), n)
	of.claimed = 0
	if p.kept.reading {
		wake(d.room)
	}
}

// evictableLocked is about how many bytes of a partition can be evicted.
func (d *durable) evictableLocked(p *partition) (bytes int64) {
	for _, late := range []bool{false, true} {
		l, of := d.log.Lane(p.logLane(late)), &p.kept.lanes[laneIndex(late)]
		if open := int64(l.Open); open > 0 {
			bytes += int64(float64(l.Bytes) * float64(open-int64(of.claimed)) / float64(open))
		}
	}
	return bytes
}

// skipLocked evicts what a record has of a partition of which nothing waits in memory.
func (d *durable) skipLocked(p *partition) (samples int) {
	if !p.kept.reading {
		return 0
	}
	for _, late := range []bool{false, true} {
		of := &p.kept.lanes[laneIndex(late)]
		for {
			number, end, ok := d.log.NextEnd(p.logLane(late), max(p.kept.cursor, of.skipped), of.loaded)
			of.skipped = number
			if !ok {
				break
			}
			samples, of.loaded = of.missing(end), end
			if samples > 0 {
				d.forgetLocked(p, late, samples)
				return samples
			}
		}
	}
	return 0
}

// evictedLocked has the reader go on for a partition of which something was evicted.
func (d *durable) evictedLocked(p *partition) {
	if !p.kept.reading {
		return
	}
	p.kept.blocked = 0
	for i := range p.kept.lanes {
		of := &p.kept.lanes[i]
		of.learnTo = max(p.kept.cursor, of.skipped) + learnedAhead
	}
	wake(d.room)
}

// lateRoomLocked says whether late samples may have so much more of the log.
func (d *durable) lateRoomLocked(cost int64) bool {
	if cost > d.freeLocked() {
		return false
	}
	for _, p := range d.partitions {
		cost += d.log.Lane(p.logLane(true)).Bytes
	}
	return cost <= d.capacity/lateShare
}

// storedState is what the gauges show of a log.
type storedState struct {
	// live is the bytes that are kept or will be, records what their records take, and capacity how many may be kept.
	live, records, capacity int64
}

func (d *durable) stateLocked() *storedState {
	sizes := d.log.Sizes()
	return &storedState{live: sizes.Live + d.unstored, records: sizes.Stored, capacity: d.capacity}
}
