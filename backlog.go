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

// readBytes is about how many bytes of the log are read at once.
const readBytes = 4 << 20

// hungryPart is the part of the free memory that a partition must have less than for more to be read.
const hungryPart = 8

// readAll is the reader.
func (d *durable) readAll(ctx context.Context) {
	defer close(d.read)
	delay := time.Duration(0)
	for {
		from, end, ok := d.hungry()
		if !ok {
			select {
			case <-d.room:
				continue
			case <-ctx.Done():
				return
			}
		}
		if err := d.readFrom(from, end); err == nil {
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

// readFrom reads some records before an end, and brings them into the partitions.
func (d *durable) readFrom(from, end uint64) error {
	began := time.Now()
	records, next, damaged, err := d.log.Read(context.Background(), from, end, readBytes)
	if err != nil {
		d.observed.wrote(time.Since(began), 0, err)
		return err
	}
	if damaged > 0 {
		d.observed.damaged(0, damaged)
	}
	d.load(records, from, next)
	return nil
}

// hungry is the number of the record from which on something should be read, and the one before which all can be.
func (d *durable) hungry() (from, end uint64, ok bool) {
	q := d.queue
	q.mu.Lock()
	defer q.mu.Unlock()
	free := d.memoryLocked()
	for _, p := range q.partitions {
		k := &p.kept
		if !k.reading || k.cursor >= d.processed {
			continue
		}
		if stored := p.size - k.unstored; stored > 0 && stored > free/hungryPart {
			continue
		}
		if !ok || k.cursor < from {
			from, ok = k.cursor, true
		}
	}
	return from, d.processed, ok
}

// load brings records into the partitions that have not had them.
func (d *durable) load(records []journal.Record, from, next uint64) {
	q := d.queue
	stopped := make([]bool, len(q.partitions))
	var work []*chunk
	for i := range records {
		work = d.loadRecord(&records[i], from, stopped, work)
	}
	q.mu.Lock()
	for i, p := range q.partitions {
		if p.kept.reading && !stopped[i] && p.kept.cursor >= from {
			p.kept.cursor = max(p.kept.cursor, next)
			work = d.caughtUpLocked(p, work)
		}
	}
	q.grantLocked()
	q.dispatchLocked()
	q.mu.Unlock()
	for _, c := range work {
		q.pack(c)
	}
}

// loadRecord brings a record into the partitions that read and have room.
func (d *durable) loadRecord(r *journal.Record, from uint64, stopped []bool, work []*chunk) []*chunk {
	q := d.queue
	for i := range r.Runs {
		at := &r.Runs[i]
		p, late := q.laneOf(at.Lane)
		if stopped[p.index] || !d.wants(p, late, at, r.Number, from) {
			continue
		}
		read, index, err := d.readRun(r, at)
		if err != nil || read.chunk.Samples != at.Samples {
			// What follows shows that it is missing.
			d.observed.damaged(0, 1)
			continue
		}
		read.late = late
		work = d.loadRun(p, read, at, r.Number, index, stopped, work)
	}
	return work
}

// readRun reads a run, and for one of an earlier process what the guard must know of it.
func (d *durable) readRun(r *journal.Record, at *journal.Run) (read run, index []indexEntry, err error) {
	if r.Life == d.log.Life() {
		read, err = readStored(at.Data)
		return read, nil, err
	}
	if read, index, err = readRecovered(at.Data); err == nil {
		read.chunk.life = r.Life
	}
	return read, index, err
}

// wants says whether a partition has not had a run.
func (d *durable) wants(p *partition, late bool, at *journal.Run, number, from uint64) bool {
	d.queue.mu.Lock()
	defer d.queue.mu.Unlock()
	k := &p.kept
	return k.reading && k.cursor >= from && k.cursor <= number && at.End() > k.lanes[laneIndex(late)].loaded
}

// loadRun puts a run into its partition. What an earlier process has accepted advances the guard.
func (d *durable) loadRun(p *partition, r run, at *journal.Run, number uint64, index []indexEntry, stopped []bool, work []*chunk) []*chunk {
	q := d.queue
	p.guard.mu.Lock()
	defer p.guard.mu.Unlock()
	q.mu.Lock()
	defer q.mu.Unlock()
	of := &p.kept.lanes[laneIndex(r.late)]
	switch {
	case at.End() <= of.loaded:
		// It has been evicted meanwhile.
		return work
	case !d.takesLocked(p, r.chunk.cost()):
		stopped[p.index] = true
		p.kept.cursor = number
		return work
	}
	now := time.Now()
	for i := range index {
		p.guard.recoverLocked(&index[i], now, &r)
	}
	return d.loadLocked(p, r, at, work)
}

// caughtUpLocked lets a partition get from memory what follows, if all that the log has of it is or was in memory. What is
// missing then, storage has lost.
func (d *durable) caughtUpLocked(p *partition, work []*chunk) []*chunk {
	if p.kept.cursor < d.processed {
		return work
	}
	p.kept.reading = false
	for _, late := range []bool{false, true} {
		of := &p.kept.lanes[laneIndex(late)]
		lost := int(of.end - of.loaded)
		if lost <= 0 {
			continue
		}
		of.loaded = of.end
		d.lost(lost)
		if last := p.lane(late).last(); last != nil {
			last.addLogged(lost)
		} else {
			d.acknowledgeLocked(p, late, lost)
		}
	}
	return work
}
