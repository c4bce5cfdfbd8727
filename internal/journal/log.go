// SPDX-License-Identifier: Apache-2.0

package journal // import "github.com/orderedremotewrite/orderedremotewriteexporter/internal/journal"

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/collector/extension/xextension/storage"
)

// MaxLanes is how many lanes a log can have.
const MaxLanes = 1 << laneBits

// Log is a log in a storage extension. Append, Flush, Rewrite and Close must not be called at the same time; everything else
// may be.
type Log struct {
	client storage.Client

	// mu guards what follows. No call of the client is made under it.
	mu sync.Mutex
	head
	// index has the records that were written or read by this process and are not deleted, by their numbers. Of others, which it
	// has not read or has forgotten, it is not known whether they are there: these are unknown.
	index   map[uint64]*entry
	unknown spans
	// known counts the records that came into the index, and trims how often some were made unknown, which is done when there are
	// more than trimAt.
	known  uint64
	trims  int
	trimAt int
	// live is the bytes of all lanes.
	live int64
	// dirty says that there are acknowledgements which are not stored yet.
	dirty bool
	// sweep is the number of the record with which the search for what can be deleted or rewritten goes on, and relearn that for
	// what is to be read for this search. Useless is how many bytes were not needed when that had been through all.
	sweep, relearn uint64
	useless        int64
	// opened is when the log was opened.
	opened time.Time
	// obsolete are records that can be deleted.
	obsolete []obsolete
	// owner is what is stored for this process, and owned says that it is. It was there for the last time when the log was lookedAt, and
	// looked says that this was since the last Look. Taken is an error if there was another one.
	owner         []byte
	owned, looked bool
	lookedAt      time.Time
	taken         error
}

// obsolete is a record that can be deleted. Its bytes are stored until it is.
type obsolete struct {
	number uint64
	bytes  int64
}

// Sizes are those of a log.
type Sizes struct {
	// Live is about how many bytes must be kept, Stored how many the records take, and Samples how many must be kept.
	Live, Stored int64
	Samples      uint64
	// Known is how many records are in the index.
	Known int
}

// Lane says how far a lane is.
type Lane struct {
	// Acknowledged is how many samples need not be kept any more, End how many there have been.
	Acknowledged, End uint64
	// Open is how many must be kept, and Bytes about how many bytes they take.
	Open  uint64
	Bytes int64
}

var headKeys = [2]string{"head.0", "head.1"}

const recordPrefix = "record."

func recordKey(number uint64) string { return fmt.Sprintf("%s%020d", recordPrefix, number) }

// Open opens the log that a client has, or makes one. The given layout is that of a log without anything to keep; another one
// keeps its own. An error that is ErrNewer says that a newer version has written it. Who had it open before gets ErrTaken from then
// on.
func Open(ctx context.Context, client storage.Client, layout Layout) (*Log, error) {
	if layout.Lanes > MaxLanes {
		return nil, fmt.Errorf("a log has at most %d lanes", MaxLanes)
	}
	l := &Log{client: client, index: make(map[uint64]*entry), opened: time.Now()}
	// What cannot be read is left to who has it.
	if _, err := l.readHead(ctx); err != nil {
		return nil, err
	}
	if err := l.own(ctx); err != nil {
		return nil, err
	}
	// From now on nobody else writes anything that counts.
	l.head = head{}
	found, err := l.readHead(ctx)
	if err == nil && !found {
		err = l.rebuild(ctx)
	}
	if err != nil {
		return nil, err
	}
	l.unknown.add(span{l.first, l.next})
	if err := l.probe(ctx); err != nil {
		return nil, err
	}
	if l.life > 0 {
		l.skip()
	}
	if l.empty() {
		l.restart(layout)
	}
	l.live = 0
	for i := range l.lanes {
		l.live += l.lanes[i].bytes
	}
	l.life++
	l.sweep = l.first
	// The first write shows whether there can be others. Storage that is full must be read to be emptied.
	if err := l.commit(ctx, nil); err != nil && !isFull(err) {
		return nil, err
	}
	return l, nil
}

// readHead finds the newest head that can be read, if there is one.
func (l *Log) readHead(ctx context.Context) (found bool, err error) {
	gets := []*storage.Operation{storage.GetOperation(headKeys[0]), storage.GetOperation(headKeys[1])}
	if err := l.client.Batch(ctx, gets...); err != nil {
		return false, err
	}
	damaged := 0
	for _, get := range gets {
		if get.Value == nil {
			continue
		}
		h, err := decodeHead(get.Value)
		if errors.Is(err, ErrNewer) {
			return false, err
		}
		if err != nil {
			damaged++
			continue
		}
		if !found || h.generation > l.generation {
			found, l.head = true, h
		}
	}
	if _, ok := l.client.(storage.Walker); !ok && !found && damaged > 0 {
		return false, errHeads
	}
	return found, nil
}

// probe finds records that were written after the head: the newest one may have been torn.
func (l *Log) probe(ctx context.Context) error {
	for {
		b, err := l.client.Get(ctx, recordKey(l.next))
		if err != nil {
			return err
		}
		r, of, err := decodeRecord(b)
		if errors.Is(err, ErrNewer) {
			return err
		}
		if err != nil || r.Number != l.next || !l.follows(&r, of) {
			return nil
		}
		l.add(&r, len(b))
	}
}

// restart makes a log without anything to keep one with other lanes.
func (l *Log) restart(layout Layout) {
	l.dropAll()
	l.Layout, l.lanes = layout, make([]lane, layout.Lanes)
}

// dropAll makes all records obsolete, also those of which nothing is known: of the bytes that are left they take the same each.
func (l *Log) dropAll() {
	from, unknown := len(l.obsolete), int64(0)
	left := l.stored - bytesOf(l.obsolete)
	for ; l.first < l.next; l.first++ {
		if e := l.index[l.first]; e != nil {
			l.obsolete = append(l.obsolete, obsolete{e.number, e.bytes})
			left -= e.bytes
		} else if l.unknown.has(l.first) {
			l.obsolete = append(l.obsolete, obsolete{l.first, -1})
			unknown++
		}
	}
	for i := from; i < len(l.obsolete); i++ {
		if o := &l.obsolete[i]; o.bytes < 0 {
			o.bytes = max(left, 0) / unknown
		}
	}
	clear(l.index)
	l.unknown = nil
	l.stored, l.sweep = bytesOf(l.obsolete), l.first
}

func bytesOf(records []obsolete) (n int64) {
	for i := range records {
		n += records[i].bytes
	}
	return n
}

// Restart gives another layout to a log that keeps nothing, and returns false for one that keeps something. The next write stores
// that; none may be under way.
func (l *Log) Restart(layout Layout) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.empty() {
		return false
	}
	l.restart(layout)
	l.live, l.dirty = 0, true
	return true
}

// follows says whether a record is the next one.
func (l *Log) follows(r *Record, of Layout) bool {
	if !l.equal(of) {
		return false
	}
	ends := make(map[int]uint64)
	for i := range r.Runs {
		run := &r.Runs[i]
		end, ok := ends[run.Lane]
		if !ok {
			end = l.lanes[run.Lane].end
		}
		if run.First != end {
			return false
		}
		ends[run.Lane] = run.End()
	}
	return true
}

// add takes note of a record that is stored.
func (l *Log) add(r *Record, bytes int) {
	for i := range r.Runs {
		l.lanes[r.Runs[i].Lane].add(&r.Runs[i])
		l.live += int64(len(r.Runs[i].Data))
	}
	l.stored += int64(bytes)
	l.steps = l.steps.with(r.Number, bytes, l.first)
	l.next = r.Number + 1
	l.knowLocked(entryOf(r, bytes))
}

func (l *Log) knowLocked(e *entry) {
	l.known++
	e.known = l.known
	l.index[e.number] = e
}

// Trim makes records from a number on unknown, like those of an earlier process, if more than so many are known: those that have been
// known for longest, so that half as many stay known. There must be a reader that reads them in their order.
func (l *Log) Trim(from uint64, most int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	// Those before the number may be more. They are not looked at each time.
	l.trimAt = max(most, min(l.trimAt, len(l.index)+most/2))
	if len(l.index) <= l.trimAt {
		return
	}
	var forgotten span
	for _, number := range slices.Sorted(maps.Keys(l.index)) {
		if number < from || l.index[number].known+uint64(most/2) > l.known {
			l.unknown.add(forgotten)
			forgotten = span{}
			continue
		}
		delete(l.index, number)
		if forgotten.empty() {
			forgotten.from = number
		}
		forgotten.to = number + 1
	}
	l.unknown.add(forgotten)
	l.trims++
	l.trimAt = max(most, len(l.index)+most/2)
}

// InUse is the layout in use.
func (l *Log) InUse() Layout { return l.Layout }

// Life counts how often the log has been opened.
func (l *Log) Life() uint64 { return l.life }

// Bounds are the numbers of the oldest record that may be there, and of the next one.
func (l *Log) Bounds() (first, next uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.first, l.next
}

// Lane says how far a lane is.
func (l *Log) Lane(i int) Lane {
	l.mu.Lock()
	defer l.mu.Unlock()
	of := &l.lanes[i]
	return Lane{Acknowledged: of.acked, End: of.end, Open: of.open(), Bytes: of.bytes}
}

// Holes are others than the first samples of a lane that need not be kept.
func (l *Log) Holes(lane int) (holes []Hole) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, h := range l.lanes[lane].holes {
		holes = append(holes, h.Hole)
	}
	return holes
}

// Sizes are the log's.
func (l *Log) Sizes() Sizes {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.sizesLocked()
}

func (l *Log) sizesLocked() Sizes {
	s := Sizes{Live: l.live, Stored: l.stored, Known: len(l.index)}
	for i := range l.lanes {
		s.Samples += l.lanes[i].open()
	}
	return s
}

// Append stores runs, in the order of each lane, together with all acknowledgements so far, and returns the number of the
// record. After an error nothing of it counts as stored; the same runs may be appended again.
func (l *Log) Append(ctx context.Context, runs []Run) (number uint64, err error) {
	l.mu.Lock()
	r := &Record{Number: l.next, Life: l.life, Runs: runs}
	ends := make(map[int]uint64)
	for i := range runs {
		run := &runs[i]
		end, ok := ends[run.Lane]
		if !ok {
			end = l.lanes[run.Lane].end
		}
		run.First = end
		ends[run.Lane] = run.End()
	}
	l.mu.Unlock()
	return r.Number, l.commit(ctx, r)
}

// Acknowledge ends the keeping of the first n samples of a lane. The next write stores that.
func (l *Log) Acknowledge(lane, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	of := &l.lanes[lane]
	before := of.bytes
	of.acknowledge(n)
	l.live += of.bytes - before
	l.dirty = true
}

// Forget ends the keeping of n samples of a lane that come behind its first ones, which must be kept.
func (l *Log) Forget(lane, behind, n int) {
	if behind == 0 {
		l.Acknowledge(lane, n)
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	of := &l.lanes[lane]
	before := of.bytes
	if h := of.forget(behind, n); h.record == math.MaxUint64 {
		h.record = l.reachingLocked(lane, h.From)
	}
	l.live += of.bytes - before
	l.dirty = true
}

// reachingLocked is the number of the first record in which a lane reaches an end, or more than any if that is not known.
func (l *Log) reachingLocked(lane int, end uint64) uint64 {
	for number := l.first; number < l.next; number++ {
		e := l.index[number]
		if e == nil && l.unknown.has(number) {
			break
		}
		if e != nil && e.reaches(lane, end) {
			return number
		}
	}
	return math.MaxUint64
}

// Live is about how many bytes must be kept.
func (l *Log) Live() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.live
}

// NextEnd finds the first record from a number on in which a lane reaches further than it is known to, and says how far. If there
// is none, the number is that of the first record of which it is not known.
func (l *Log) NextEnd(lane int, from, known uint64) (number, end uint64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for number = max(from, l.first); number < l.next; number++ {
		e := l.index[number]
		if e == nil {
			if l.unknown.has(number) {
				return number, 0, false
			}
			continue
		}
		for _, of := range e.ends {
			if of.lane() == lane && of.end() > known {
				return number, of.end(), true
			}
		}
	}
	return number, 0, false
}

// Flush stores acknowledgements, if there are any that are not.
func (l *Log) Flush(ctx context.Context) error {
	l.mu.Lock()
	dirty := l.dirty
	l.mu.Unlock()
	for dirty {
		if err := l.commit(ctx, nil); err != nil {
			return err
		}
		// One write deletes some of what need not be kept.
		l.mu.Lock()
		dirty = len(l.obsolete) > 0
		l.mu.Unlock()
	}
	return nil
}

// maxDeletes bounds how many records one write deletes.
const maxDeletes = 256

// commit stores a record, if there is one, and the head, and deletes what need not be kept.
func (l *Log) commit(ctx context.Context, r *Record) error {
	if err := l.lookAgain(ctx); err != nil {
		return err
	}
	h, deletes := l.prepare()
	var ops []*storage.Operation
	var record []byte
	if r != nil {
		record = r.encode(h.Layout)
		ops = append(ops, storage.SetOperation(recordKey(r.Number), record))
		h.next = r.Number + 1
		h.stored += int64(len(record))
		h.steps = h.steps.with(r.Number, len(record), h.first)
		for i := range r.Runs {
			h.lanes[r.Runs[i].Lane].add(&r.Runs[i])
		}
	}
	ops = append(ops, h.operation())
	ops = append(ops, deleteOperations(deletes)...)
	err := l.write(ctx, h.generation, deletes, ops, func() {
		if r != nil {
			l.add(r, len(record))
			l.index[r.Number].written = time.Since(l.opened)
		}
	})
	if r != nil && errors.Is(err, ErrTaken) {
		l.withdraw(ctx, r.Number)
	}
	return err
}

func deleteOperations(records []obsolete) []*storage.Operation {
	ops := make([]*storage.Operation, len(records))
	for i := range records {
		ops[i] = storage.DeleteOperation(recordKey(records[i].number))
	}
	return ops
}

// prepare returns the head that is to be written next, and what must be deleted together with it: it does not tell of that any more.
func (l *Log) prepare() (h head, deletes []obsolete) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.collectLocked()
	deletes = slices.Clone(l.obsolete[:min(len(l.obsolete), maxDeletes)])
	h = l.head.clone()
	h.generation++
	h.stored -= bytesOf(deletes)
	for _, o := range l.obsolete[len(deletes):] {
		// A process that starts after this one must find what is not deleted yet.
		h.first = min(h.first, o.number)
	}
	l.dirty = false
	return h, deletes
}

// write writes a batch in which there is a head, and takes note of its success.
func (l *Log) write(ctx context.Context, generation uint64, deletes []obsolete, ops []*storage.Operation, done func()) error {
	if !l.owned {
		ops = append(ops, storage.SetOperation(ownerKey, l.owner))
	}
	err := l.batch(ctx, ops)
	l.mu.Lock()
	defer l.mu.Unlock()
	if err != nil {
		l.dirty = true
		return err
	}
	l.owned = true
	l.generation = generation
	l.obsolete = l.obsolete[len(deletes):]
	l.stored -= bytesOf(deletes)
	l.dirty = l.dirty || len(l.obsolete) > 0
	done()
	return nil
}

// collectLocked finds records that need not be kept: those at the front, and some of the others.
func (l *Log) collectLocked() {
	if l.empty() {
		l.dropAll()
		return
	}
	for l.first < l.next {
		e := l.index[l.first]
		if e == nil && l.unknown.has(l.first) || e != nil && e.open(l.lanes) {
			break
		}
		l.dropLocked(e)
		l.first++
	}
	l.sweepLocked(64, func(e *entry) {
		if !e.open(l.lanes) {
			l.dropLocked(e)
		}
	})
}

func (l *Log) dropLocked(e *entry) {
	if e == nil {
		return
	}
	delete(l.index, e.number)
	l.obsolete = append(l.obsolete, obsolete{e.number, e.bytes})
}

// sweepLocked visits the next n records of those that are known, none of them twice, and begins anew after the last one.
func (l *Log) sweepLocked(n int, visit func(*entry)) {
	for left := l.next - l.first; n > 0 && left > 0; n-- {
		if l.sweep < l.first || l.sweep >= l.next {
			l.sweep = l.first
		}
		if of, ok := l.unknown.next(l.sweep); ok && of.from == l.sweep {
			left -= min(of.to-of.from, left)
			l.sweep = of.to
			continue
		}
		if e := l.index[l.sweep]; e != nil {
			visit(e)
		}
		l.sweep++
		left--
	}
}

// Close closes the client.
func (l *Log) Close(ctx context.Context) error {
	return l.client.Close(ctx)
}
