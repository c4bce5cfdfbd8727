// SPDX-License-Identifier: Apache-2.0

package journal // import "github.com/orderedremotewrite/orderedremotewriteexporter/internal/journal"

import (
	"context"
	"slices"
	"time"

	"go.opentelemetry.io/collector/extension/xextension/storage"
)

// maxReads bounds how many records one read asks for, and maxUnknown how many of them whose size nothing bounds, which an earlier
// version has written: a few large ones behind many small ones are more than their average tells.
const (
	maxReads   = 1024
	maxUnknown = 32
)

// Read reads records from a number on and before an end, about maxBytes of them but at least one, and returns the number with which to go on.
// Records that are missing or damaged are left out: the runs that follow in their lanes show how many samples they had.
// Damaged is how many could not be read.
func (l *Log) Read(ctx context.Context, from, end uint64, maxBytes int64) (records []Record, next uint64, damaged int, err error) {
	numbers, next, trims := l.toRead(from, end, maxBytes)
	gets := make([]*storage.Operation, len(numbers))
	for i, number := range numbers {
		gets[i] = storage.GetOperation(recordKey(number))
	}
	if len(gets) > 0 {
		if err := l.batch(ctx, gets); err != nil {
			return nil, from, 0, err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	// What was made unknown meanwhile may have been written again or deleted before.
	learns := l.trims == trims
	for i, number := range numbers {
		value := gets[i].Value
		r, of, err := decodeRecord(value)
		ok := err == nil && r.Number == number && l.equal(of)
		switch {
		case ok:
			records = append(records, r)
		case value != nil && (err != nil || r.Number != number):
			// One with another layout is none that is damaged, but one that is not deleted yet.
			damaged++
		}
		if learns && l.unknown.has(number) {
			l.learnLocked(number, &r, value, ok)
		}
	}
	if learns {
		l.unknown.remove(span{from, next})
	}
	return records, next, damaged, nil
}

// Learn reads what is next if nothing is known of it, and nobody has read it for what it has: all before is deleted, and it must
// be known to be deleted too.
func (l *Log) Learn(ctx context.Context, maxBytes int64) error {
	l.mu.Lock()
	of, ok := l.unknown.next(l.first)
	ok = ok && of.from == l.first
	l.mu.Unlock()
	if !ok {
		return nil
	}
	_, _, _, err := l.Read(ctx, of.from, of.to, maxBytes)
	return err
}

// LearnTo reads of the records from a number on and before an end the next of which nothing is known. It says whether there were
// any: what they hold is known then without their data.
func (l *Log) LearnTo(ctx context.Context, from, end uint64, maxBytes int64) (unknown bool, err error) {
	l.mu.Lock()
	of, ok := l.unknown.next(max(from, l.first))
	l.mu.Unlock()
	if !ok || of.from >= end {
		return false, nil
	}
	_, _, _, err = l.Read(ctx, of.from, min(of.to, end), maxBytes)
	return true, err
}

// toRead says which records may be there, and how often some had been made unknown.
func (l *Log) toRead(from, end uint64, maxBytes int64) (numbers []uint64, next uint64, trims int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	average := l.averageLocked()
	bytes, unknown := int64(0), 0
	for next = max(from, l.first); next < min(end, l.next) && bytes < maxBytes && len(numbers) < maxReads && unknown < maxUnknown; next++ {
		e := l.index[next]
		switch {
		case e != nil:
			bytes += e.bytes
		case !l.unknown.has(next) || slices.Contains(l.skipped, next):
			continue
		default:
			most, bounded := l.steps.most(next)
			if !bounded {
				most = average
				unknown++
			}
			bytes += most
		}
		numbers = append(numbers, next)
	}
	return numbers, next, l.trims
}

// learnLocked takes note of what is under the key of a record that an earlier process has written.
func (l *Log) learnLocked(number uint64, r *Record, value []byte, ok bool) {
	switch {
	case ok:
		l.knowLocked(entryOf(r, len(value)))
	case value != nil:
		// It is of no use. Without anything to keep it is deleted when its turn comes.
		l.knowLocked(&entry{number: number, bytes: int64(len(value))})
	}
}

// Rewrite writes records again without what need not be kept, about maxBytes of those written until a time, if more than half of
// all bytes are of no use any more, or records have less room than they take. If none of those that are known is worth it, it reads
// others, about maxBytes of them. It says whether it has done anything.
func (l *Log) Rewrite(ctx context.Context, until time.Time, maxBytes, room int64) (done bool, err error) {
	numbers := l.toRewrite(until.Sub(l.opened), maxBytes, room)
	for left := maxBytes; len(numbers) == 0; numbers = l.toRewrite(until.Sub(l.opened), maxBytes, room) {
		if left <= 0 {
			return false, nil
		}
		read, err := l.relearnNext(ctx, left, room)
		if read == 0 || err != nil {
			return false, err
		}
		left -= read
	}
	gets := make([]*storage.Operation, len(numbers))
	for i, number := range numbers {
		gets[i] = storage.GetOperation(recordKey(number))
	}
	if err := l.batch(ctx, gets); err != nil {
		return false, err
	}
	// What the head says of acknowledgements must be stored before what needs no keeping is left out.
	h, deletes := l.prepare()
	var sets []*storage.Operation
	var again []*entry
	var before []int64
	for i, get := range gets {
		r, of, err := decodeRecord(get.Value)
		if err != nil || r.Number != numbers[i] || !h.equal(of) {
			continue
		}
		bytes, ok := l.keeps(r.Number)
		if !ok {
			continue
		}
		r.Runs = slices.DeleteFunc(r.Runs, func(run Run) bool { return !h.lanes[run.Lane].needsRun(&run) })
		value := r.encode(of)
		h.stored += int64(len(value)) - bytes
		again, before = append(again, entryOf(&r, len(value))), append(before, bytes)
		sets = append(sets, storage.SetOperation(recordKey(r.Number), value))
	}
	ops := append([]*storage.Operation{h.operation()}, sets...)
	err = l.write(ctx, h.generation, deletes, append(ops, deleteOperations(deletes)...), func() {
		for i, e := range again {
			l.rewrittenLocked(e, before[i])
		}
	})
	return err == nil, err
}

// keeps says whether a record must be kept, and as how many bytes it is counted: a write that failed may have made it smaller. Preparing
// a write may have found that it need not be kept.
func (l *Log) keeps(number uint64) (bytes int64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	e := l.index[number]
	if e == nil {
		return 0, false
	}
	return e.bytes, true
}

// rewrittenLocked takes note of a record that was written again, and was counted as so many bytes before.
func (l *Log) rewrittenLocked(e *entry, before int64) {
	l.stored += e.bytes - before
	known := l.index[e.number]
	if known == nil {
		// It was made unknown meanwhile. Who reads it now may have read what it was before.
		l.trims++
		return
	}
	e.written, e.known = known.written, known.known
	l.index[e.number] = e
}

// quartersLocked is how many quarters of a record must not be needed more than for it to be written again, or 0 if none is to be.
func (l *Log) quartersLocked(room int64) int64 {
	switch {
	case l.stored > room:
		return 3
	case l.live > l.stored/2:
		return 0
	}
	return 2
}

// toRewrite chooses records of which at least half is not needed, or a quarter if there is no room. On its way it finds others that
// can be deleted.
func (l *Log) toRewrite(until time.Duration, maxBytes, room int64) (numbers []uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	quarters := l.quartersLocked(room)
	if quarters == 0 {
		return nil
	}
	l.sweepLocked(maxReads, func(e *entry) {
		switch needed, all := e.needed(l.lanes); {
		case needed == 0 && !e.open(l.lanes):
			l.dropLocked(e)
			l.dirty = true
		case maxBytes > 0 && e.written <= until && needed > 0 && 4*needed <= quarters*all:
			numbers = append(numbers, e.number)
			maxBytes -= e.bytes
		}
	})
	return numbers
}

// relearnNext reads some of the records of which nothing is known, with which the search for what to write again goes on then. It
// says how many bytes these are about.
func (l *Log) relearnNext(ctx context.Context, maxBytes, room int64) (bytes int64, err error) {
	of, average, ok := l.toRelearn(room)
	if !ok {
		return 0, nil
	}
	_, next, _, err := l.Read(ctx, of.from, of.to, maxBytes)
	if err != nil {
		return 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sweep, l.relearn = of.from, next
	return int64(next-of.from) * average, nil
}

// toRelearn says what to read for the search, and how many bytes a record has on average. When that has been through all, it begins
// anew only if an eighth more is not needed: some never will be worth it.
func (l *Log) toRelearn(room int64) (of span, average int64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	useless := l.stored - l.live
	l.useless = min(l.useless, useless)
	if l.quartersLocked(room) == 0 || useless < l.useless+l.useless/8 {
		return span{}, 0, false
	}
	if of, ok = l.unknown.next(max(l.relearn, l.first)); !ok {
		l.useless, l.relearn = useless, l.first
	}
	return of, max(l.averageLocked(), 1), ok
}

// averageLocked is how many bytes a record has on average.
func (l *Log) averageLocked() int64 { return l.stored / int64(max(l.next-l.first, 1)) }
