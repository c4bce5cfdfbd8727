// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"context"
	"time"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/journal"
)

// The backlog is what a log keeps and memory does not have: what an earlier process has left, and what had no room. A reader
// brings it into the partitions ahead of the senders. It reads for all partitions together; one that has no room is left
// behind, and read for later, so that a partition that is stuck does not stop the others.

// leastRead is how many bytes of the log are worth reading.
const leastRead = 64 << 10

// hungryPart is the part of the free memory that a partition must have less than for more to be read.
const hungryPart = 8

// backlog reads the log of a durable.
type backlog struct {
	*durable
	cancel context.CancelFunc
	done   chan struct{}
}

// startBacklog begins to read. The first of what an earlier process has left is read before it returns, so that the guard knows
// it when something comes; a large backlog is not waited for.
func startBacklog(d *durable) *backlog {
	b := &backlog{durable: d, done: make(chan struct{})}
	if from, end, ok := b.hungry(); ok {
		_ = b.readFrom(from, end)
		b.loading = false
	}
	var ctx context.Context
	ctx, b.cancel = context.WithCancel(context.Background())
	go b.readAll(ctx)
	return b
}

// stop ends the reading. A read that is under way may last.
func (b *backlog) stop(ctx context.Context) {
	b.cancel()
	select {
	case <-b.done:
	case <-ctx.Done():
	}
}

// readAll is the reader.
func (b *backlog) readAll(ctx context.Context) {
	defer close(b.done)
	delay := time.Duration(0)
	for {
		read, err := b.readNext()
		b.unread.Store(err != nil)
		if !read {
			select {
			case <-b.room:
				continue
			case <-ctx.Done():
				return
			}
		}
		if err == nil {
			delay = 0
		}
		select {
		case <-time.After(delay):
			delay = min(max(2*delay, firstStorageDelay), longestStorageDelay)
		case <-ctx.Done():
			return
		}
	}
}

// readNext reads what some partition has room for, or what must be known to evict something. It says whether there was anything.
func (b *backlog) readNext() (read bool, err error) {
	from, end, ok := b.hungry()
	if ok {
		err = b.readFrom(from, end)
	}
	b.mu.Lock()
	b.loading = false
	b.mu.Unlock()
	if ok {
		return true, err
	}
	return b.learnEvictable()
}

// learnEvictable reads some of what the log should know to evict something. It says whether there was anything.
func (b *backlog) learnEvictable() (read bool, err error) {
	b.mu.Lock()
	partitions := b.partitions
	b.mu.Unlock()
	for _, p := range partitions {
		for i := range p.kept.lanes {
			b.mu.Lock()
			from, to := max(p.kept.cursor, p.kept.lanes[i].skipped), p.kept.lanes[i].learnTo
			b.mu.Unlock()
			began := time.Now()
			if read, err = b.log.LearnTo(context.Background(), from, to, mostRead); err != nil {
				b.observed.wrote(time.Since(began), 0, err)
			}
			if read {
				return true, err
			}
		}
	}
	return false, nil
}

// readFrom reads some records before an end, and brings them into the partitions.
func (b *backlog) readFrom(from, end uint64) error {
	began := time.Now()
	records, next, damaged, err := b.log.Read(context.Background(), from, end, b.readable())
	if err != nil {
		b.observed.wrote(time.Since(began), 0, err)
		return err
	}
	if damaged > 0 {
		b.observed.damaged(0, damaged)
	}
	b.load(records, from, next)
	return nil
}

// readable is how many bytes to read at once: what has no room in memory would be read again.
func (b *backlog) readable() int64 {
	b.mu.Lock()
	defer b.mu.Unlock()
	return min(max(b.memoryLocked(), leastRead), mostRead)
}

// hungry is the number of the record from which on something should be read, and the one before which all can be. If there is one
// the reader is loading from then on.
func (b *backlog) hungry() (from, end uint64, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	free := b.memoryLocked()
	for _, p := range b.partitions {
		k := &p.kept
		if !k.reading || k.cursor >= b.processed {
			continue
		}
		if stored := p.size - k.unstored; stored > 0 && stored > free/hungryPart || k.blocked > 0 && !b.takesLocked(p, k.blocked) {
			continue
		}
		if !ok || k.cursor < from {
			from, ok = k.cursor, true
		}
	}
	b.loading = ok
	return from, b.processed, ok
}

// load brings records into the partitions that have not had them.
func (b *backlog) load(records []journal.Record, from, next uint64) {
	stopped := make([]bool, len(b.partitions))
	var work []*chunk
	for i := range records {
		work = b.loadRecord(&records[i], from, stopped, work)
	}
	b.mu.Lock()
	for i, p := range b.partitions {
		if p.kept.reading && !stopped[i] && p.kept.cursor >= from {
			p.kept.cursor, p.kept.blocked = max(p.kept.cursor, next), 0
			work = b.caughtUpLocked(p, work)
		}
	}
	b.changedLocked()
	b.mu.Unlock()
	b.trim()
	for _, c := range work {
		b.pack(c)
	}
}

// loadRecord brings a record into the partitions that read and have room.
func (b *backlog) loadRecord(r *journal.Record, from uint64, stopped []bool, work []*chunk) []*chunk {
	for i := range r.Runs {
		at := &r.Runs[i]
		p, late := b.laneOf(at.Lane)
		if stopped[p.index] || !b.wants(p, late, at, r.Number, from) {
			continue
		}
		read, index, err := b.readRun(r, at)
		if err != nil || read.chunk.Samples != at.Samples {
			// What follows shows that it is missing.
			b.observed.damaged(0, 1)
			continue
		}
		read.late = late
		work = b.loadRun(p, read, at, r.Number, index, stopped, work)
	}
	return work
}

// readRun reads a run, and for one of an earlier process what the guard must know of it.
func (b *backlog) readRun(r *journal.Record, at *journal.Run) (read run, index []indexEntry, err error) {
	if r.Life == b.log.Life() {
		read, err = readStored(at.Data, time.Now())
		return read, nil, err
	}
	if read, index, err = readRecovered(at.Data, time.Now()); err == nil {
		read.chunk.life = r.Life
	}
	return read, index, err
}

// wants says whether a partition has not had a run.
func (b *backlog) wants(p *partition, late bool, at *journal.Run, number, from uint64) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	k := &p.kept
	return k.reading && k.cursor >= from && k.cursor <= number && k.lanes[laneIndex(late)].lacks(at.First, at.End())
}

// loadRun puts a run into its partition. What an earlier process has accepted advances the guard.
func (b *backlog) loadRun(p *partition, r run, at *journal.Run, number uint64, index []indexEntry, stopped []bool, work []*chunk) []*chunk {
	p.guard.mu.Lock()
	defer p.guard.mu.Unlock()
	b.mu.Lock()
	defer b.mu.Unlock()
	of := &p.kept.lanes[laneIndex(r.late)]
	switch {
	case !of.lacks(at.First, at.End()):
		// It has been evicted meanwhile.
		return work
	case !b.takesLocked(p, r.chunk.cost()):
		stopped[p.index] = true
		p.kept.cursor, p.kept.blocked = number, r.chunk.cost()
		return work
	}
	now := time.Now()
	for i := range index {
		p.guard.recoverLocked(&index[i], now, &r)
	}
	return b.loadLocked(p, r, at, work)
}

// caughtUpLocked lets a partition get from memory what follows, if all that the log has of it is or was in memory. What is
// missing then, storage has lost.
func (b *backlog) caughtUpLocked(p *partition, work []*chunk) []*chunk {
	if p.kept.cursor < max(b.processed, b.handing) {
		return work
	}
	p.kept.reading = false
	for _, late := range []bool{false, true} {
		of := &p.kept.lanes[laneIndex(late)]
		lost := of.missing(of.end)
		of.loaded = max(of.loaded, of.end)
		if lost <= 0 {
			continue
		}
		b.lost(lost)
		if last := p.lane(late).last(); last != nil {
			last.addLogged(lost)
		} else {
			b.forgetLocked(p, late, lost)
		}
	}
	return work
}
