// SPDX-License-Identifier: Apache-2.0

package journal // import "github.com/orderedremotewrite/orderedremotewriteexporter/internal/journal"

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/collector/extension/xextension/storage"
)

// maxReads bounds how many records one read asks for, and maxUnknown how many of them whose size is not known: a few large ones
// behind many small ones are more than their average tells.
const (
	maxReads   = 1024
	maxUnknown = 32
)

// Read reads records from a number on and before an end, about maxBytes of them but at least one, and returns the number with which to go on.
// Records that are missing or damaged are left out: the runs that follow in their lanes show how many samples they had.
// Damaged is how many could not be read.
func (l *Log) Read(ctx context.Context, from, end uint64, maxBytes int64) (records []Record, next uint64, damaged int, err error) {
	numbers, next := l.toRead(from, end, maxBytes)
	gets := make([]*storage.Operation, len(numbers))
	for i, number := range numbers {
		gets[i] = storage.GetOperation(recordKey(number))
	}
	if len(gets) > 0 {
		if err := l.client.Batch(ctx, gets...); err != nil {
			return nil, from, 0, err
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
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
		if number >= l.unread && number < l.own {
			l.learnLocked(number, &r, value, ok)
		}
	}
	if from <= l.unread {
		// Who reads further ahead, which this process has written perhaps, knows nothing of what is between.
		l.unread = max(l.unread, min(next, l.own))
	}
	return records, next, damaged, nil
}

// Learn reads what is next if nothing is known of it, and nobody has read it for what it has: all before is deleted, and it must
// be known to be deleted too.
func (l *Log) Learn(ctx context.Context, maxBytes int64) error {
	l.mu.Lock()
	unknown, from, end := l.unread < l.own && l.first >= l.unread, l.first, l.own
	l.mu.Unlock()
	if !unknown {
		return nil
	}
	_, _, _, err := l.Read(ctx, from, end, maxBytes)
	return err
}

// LearnTo reads of the records before one the next of which nothing is known. It says whether there were any: what they hold is known
// then without their data.
func (l *Log) LearnTo(ctx context.Context, number uint64, maxBytes int64) (unknown bool, err error) {
	l.mu.Lock()
	from, end := l.unread, min(number, l.own)
	l.mu.Unlock()
	if from >= end {
		return false, nil
	}
	_, _, _, err = l.Read(ctx, from, end, maxBytes)
	return true, err
}

// toRead says which records may be there.
func (l *Log) toRead(from, end uint64, maxBytes int64) (numbers []uint64, next uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	average := l.stored / int64(max(l.next-l.first, 1))
	bytes, unknown := int64(0), 0
	for next = max(from, l.first); next < min(end, l.next) && bytes < maxBytes && len(numbers) < maxReads && unknown < maxUnknown; next++ {
		e := l.index[next]
		switch {
		case e != nil:
			bytes += e.bytes
		case l.knownLocked(next):
			continue
		default:
			bytes += average
			unknown++
		}
		numbers = append(numbers, next)
	}
	return numbers, next
}

// learnLocked takes note of what is under the key of a record that an earlier process has written.
func (l *Log) learnLocked(number uint64, r *Record, value []byte, ok bool) {
	switch {
	case ok:
		l.index[number] = entryOf(r, len(value))
	case value != nil:
		// It is of no use. Without anything to keep it is deleted when its turn comes.
		l.index[number] = &entry{number: number, bytes: int64(len(value))}
	}
}

// Rewrite writes records again without what need not be kept, about maxBytes of those written until a time, if more than half of
// all bytes are of no use any more, or records have less room than they take. It says whether it has done anything.
func (l *Log) Rewrite(ctx context.Context, until time.Time, maxBytes, room int64) (done bool, err error) {
	numbers := l.toRewrite(until.Unix(), maxBytes, room)
	if len(numbers) == 0 {
		return false, nil
	}
	gets := make([]*storage.Operation, len(numbers))
	for i, number := range numbers {
		gets[i] = storage.GetOperation(recordKey(number))
	}
	if err := l.client.Batch(ctx, gets...); err != nil {
		return false, err
	}
	// What the head says of acknowledgements must be stored before what needs no keeping is left out.
	h, deletes := l.prepare()
	var sets []*storage.Operation
	var again []*entry
	for i, get := range gets {
		r, of, err := decodeRecord(get.Value)
		if err != nil || r.Number != numbers[i] || !h.equal(of) || !l.keeps(r.Number) {
			continue
		}
		r.Runs = slices.DeleteFunc(r.Runs, func(run Run) bool { return !h.lanes[run.Lane].needsRun(&run) })
		value := r.encode(of)
		h.stored += int64(len(value) - len(get.Value))
		again = append(again, entryOf(&r, len(value)))
		sets = append(sets, storage.SetOperation(recordKey(r.Number), value))
	}
	ops := append([]*storage.Operation{h.operation()}, sets...)
	err = l.write(ctx, h.generation, deletes, append(ops, deleteOperations(deletes)...), func() {
		for _, e := range again {
			l.rewrittenLocked(e)
		}
	})
	return err == nil, err
}

// keeps says whether a record must be kept. Preparing a write may have found that it need not.
func (l *Log) keeps(number uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.index[number] != nil
}

// rewrittenLocked takes note of a record that was written again.
func (l *Log) rewrittenLocked(e *entry) {
	known := l.index[e.number]
	l.stored += e.bytes - known.bytes
	e.written = known.written
	l.index[e.number] = e
}

// toRewrite chooses records of which at least half is not needed, or a quarter if there is no room.
func (l *Log) toRewrite(until, maxBytes, room int64) (numbers []uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	quarters := int64(2)
	switch {
	case l.stored > room:
		quarters = 3
	case l.live > l.stored/2:
		return nil
	}
	l.sweepLocked(maxReads, func(e *entry) {
		if maxBytes <= 0 || e.written > until {
			return
		}
		if needed, all := e.needed(l.lanes); needed > 0 && 4*needed <= quarters*all {
			numbers = append(numbers, e.number)
			maxBytes -= e.bytes
		}
	})
	return numbers
}

// errHeads says that the heads of a log cannot be read, and records cannot be found without them.
var errHeads = errors.New("both heads of the log are damaged, and the storage extension cannot list its keys: remove the stored log to begin anew, which loses what it holds")

// rebuild makes a head from the records. What was acknowledged is not known then, and is sent again.
func (l *Log) rebuild(ctx context.Context) error {
	walker, ok := l.client.(storage.Walker)
	if !ok {
		return errHeads
	}
	var records []Record
	var layouts []Layout
	err := walker.Walk(ctx, func(key string, value []byte) ([]*storage.Operation, error) {
		if !strings.HasPrefix(key, recordPrefix) {
			return nil, nil
		}
		r, of, err := decodeRecord(value)
		if err != nil {
			return nil, nil
		}
		for i := range r.Runs {
			// The bytes are gone when this function returns; their number is all that is needed.
			r.Runs[i].Data = make([]byte, 0, len(r.Runs[i].Data))
		}
		l.stored += int64(len(value))
		of.Secret = slices.Clone(of.Secret)
		records, layouts = append(records, r), append(layouts, of)
		return nil, nil
	})
	if err != nil || len(records) == 0 {
		return err
	}
	newest := 0
	for i := range records {
		if records[i].Number > records[newest].Number {
			newest = i
		}
	}
	l.Layout, l.life = layouts[newest], records[newest].Life
	l.first, l.next = records[newest].Number, records[newest].Number+1
	l.lanes = make([]lane, l.Lanes)
	seen := make([]bool, l.Lanes)
	for i := range records {
		if !l.equal(layouts[i]) {
			continue
		}
		l.first = min(l.first, records[i].Number)
		for _, run := range records[i].Runs {
			of := &l.lanes[run.Lane]
			if !seen[run.Lane] {
				seen[run.Lane], of.acked = true, run.First
			}
			of.acked, of.end = min(of.acked, run.First), max(of.end, run.End())
			of.bytes += int64(cap(run.Data))
		}
	}
	return nil
}
