// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"slices"
	"sync"
	"time"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/lastseen"
)

// guardOptions say what the guard lets through.
type guardOptions struct {
	outOfOrder OutOfOrder
	// maxFuture and maxPast bound how far a good timestamp may be from our clock.
	maxFuture, maxPast time.Duration
	// idle is when the guard forgets a series without samples.
	idle time.Duration
	// partitions is how many there are.
	partitions int
}

// guard tells good samples of a partition from late ones, and drops duplicates. It must see samples in the order of their
// acceptance, so who appends to the partition holds mu from the first look until the queue has the samples; the queue's lock
// comes after it.
type guard struct {
	guardOptions
	mu sync.Mutex
	// series has the last good sample of each series, targets that of all target_info series of a target.
	series, targets *lastseen.Table
	// held are series whose samples follow others of them that wait in the late lane.
	held holds
	// holdAll says that old samples wait in storage, of series that are not known yet.
	holdAll bool
	// fetched is what lastseen's Fetch has returned.
	fetched uint64
	// offenders are series whose samples cost others their request. Their samples travel with the late ones.
	offenders offenders
	// before are the guards from which series have come when the partitions were exchanged, until they are idle; retired says that
	// the guard is one of these, and is only read.
	before    []*guard
	inherited time.Time
	retired   bool
}

func newGuard(o guardOptions) *guard {
	return &guard{
		guardOptions: o, series: lastseen.New(o.idle), targets: lastseen.New(o.idle), offenders: newOffenders(o.idle, max(o.partitions, 1)),
	}
}

// expireLocked forgets series without samples, and those that are held no more: what came with appends from unsettled on may still
// wait. Without it only samples that come make others be forgotten.
func (g *guard) expireLocked(now time.Time, unsettled uint64) {
	if g.retired {
		return
	}
	if !g.held.empty() {
		g.held.release(unsettled)
		g.held.sweep()
	}
	if now.Sub(g.inherited) >= g.idle {
		g.before = nil
	}
	g.series.Expire(now)
	g.targets.Expire(now)
	g.offenders.expire(now)
}

// fate is what the guard says of a sample.
type fate uint8

const (
	// fateGood is newer than all of its series, and near our clock.
	fateGood fate = iota
	// fateLate is older than the last one of its series.
	fateLate
	// fateFuture and fatePast are too far from our clock to travel with good samples.
	fateFuture
	fatePast
	// fateHeldLate is late, to be sent in its turn, and behind old samples of its series.
	fateHeldLate
	// fateOffender is good, but of a series that was refused alone.
	fateOffender
	// fateDuplicate has the time of the last one of its series.
	fateDuplicate
	fates
)

// span is the time in which a timestamp is good, in milliseconds.
type span struct {
	now            time.Time
	oldest, newest int64
}

func (g *guard) span(now time.Time) span {
	ms := now.UnixMilli()
	return span{now: now, oldest: ms - g.maxPast.Milliseconds(), newest: ms + g.maxFuture.Milliseconds()}
}

// fateLocked says what becomes of a sample. What is far ahead does not advance its series: a receiver refuses it, and what
// comes after it must not count as late.
func (g *guard) fateLocked(e *indexEntry, good span) fate {
	if e.timestamp > good.newest {
		return fateFuture
	}
	switch order := g.advanceLocked(e, good.now); {
	case order == lastseen.Same:
		return fateDuplicate
	case order == lastseen.Older:
		return fateLate
	case e.timestamp < good.oldest:
		return fatePast
	default:
		return fateGood
	}
}

// heldLocked keeps the samples of a series in order behind those of it that travel with the late ones: old ones, of which a
// client may send hours after an outage of its own, those of an offender, and such as were ahead of the clock and are not any more.
func (g *guard) heldLocked(e *indexEntry, f fate) fate {
	switch {
	case f == fateGood && g.offenders.has(e.identity):
		g.held.hold(e.identity)
		return fateOffender
	case f == fatePast && e.guard != madeTarget:
		g.held.hold(e.identity)
	case !g.holdAll && (g.held.empty() || !g.held.has(e.identity, e.timestamp)):
	case f == fateGood:
		g.held.hold(e.identity)
		return fatePast
	case f == fateLate && g.outOfOrder == OutOfOrderSend:
		g.held.hold(e.identity)
		return fateHeldLate
	}
	return f
}

// queuedLocked takes note of a run that is in the queue.
func (g *guard) queuedLocked(r *run) {
	if !r.ahead {
		return
	}
	for _, i := range r.at {
		g.held.ahead(r.of.index[i].identity, r.of.index[i].timestamp)
	}
}

// recoverLocked takes note of a sample that an earlier process has accepted, in the order in which it was.
func (g *guard) recoverLocked(e *indexEntry, now time.Time, r *run) {
	if r.ahead {
		g.held.ahead(e.identity, e.timestamp)
	}
	if r.late && !r.holds {
		return
	}
	g.advanceLocked(e, now)
	if r.holds {
		g.held.hold(e.identity)
	}
}

// sorted is what the guard makes of a chunk: the indices of its series by fate. All is set if all are good.
type sorted struct {
	all bool
	by  [fates][]int
}

// sortLocked looks at all series of a chunk. Made series of target_info that are not good are in no list.
func (g *guard) sortLocked(index []indexEntry, now time.Time) sorted {
	s, good := sorted{all: true}, g.span(now)
	for i := range index {
		if i%fetchAhead == 0 {
			g.fetchLocked(index[i:min(i+fetchAhead, len(index))])
		}
		own := g.fateLocked(&index[i], good)
		f := g.heldLocked(&index[i], own)
		if f == fateGood && s.all {
			continue
		}
		if s.all {
			s.all = false
			for j := range i {
				s.by[fateGood] = append(s.by[fateGood], j)
			}
		}
		if own != fateGood && index[i].guard == madeTarget {
			continue
		}
		s.by[f] = append(s.by[f], i)
	}
	return s
}

// fetchAhead is how many series are fetched before the first of them is looked at: more than a processor can wait for at once,
// and so few that they are still in its cache then.
const fetchAhead = 64

func (g *guard) fetchLocked(index []indexEntry) {
	for i := range index {
		g.fetched += g.series.Fetch(index[i].identity)
	}
}

// reason is why a sample of that fate is dropped, if it is.
func (f fate) reason() account.Reason {
	switch f {
	case fateDuplicate:
		return account.ReasonDuplicate
	case fateFuture:
		return account.ReasonTooNew
	case fateOffender:
		return account.ReasonIsolationLimit
	default:
		return account.ReasonOutOfOrder
	}
}

// run is a part of a chunk that goes into a lane of the queue.
type run struct {
	chunk *chunk
	late  bool
	// holds says that what is newer of the same series follows in the late lane. ahead says that the samples are too far ahead of the
	// clock: what is newer follows once they are queued.
	holds, ahead bool
	// alone says that nothing else may be in the same request.
	alone bool
	// optional runs are dropped for a reason when late samples have no room.
	optional bool
	reason   account.Reason
	dropped  bool
	// of is the chunk that the run is a part of, and at are the places of its series there.
	of *indexedChunk
	at []int
}

// received is how many samples of an optional run were received: a target_info that the translation has made was not.
func (r *run) received() int {
	n := r.chunk.Samples
	for _, i := range r.at {
		if r.of.index[i].guard == madeTarget {
			n--
		}
	}
	return n
}

// runsLocked appends what becomes of a chunk, and counts what is dropped.
func (g *guard) runsLocked(c *indexedChunk, now time.Time, drops *account.Drops, runs []run) []run {
	s := g.sortLocked(c.index, now)
	c.accepted = now
	if s.all {
		return append(runs, run{chunk: &c.chunk})
	}
	var from contents
	part := func(f fate) *chunk {
		of := s.by[f]
		if len(of) == len(c.index) {
			// A client whose clock is wrong sends nothing else.
			return &c.chunk
		}
		if len(of) > 0 && from == nil {
			from = c.contents()
		}
		return c.part(from, of)
	}
	drop := func(f fate) {
		if of := s.by[f]; len(of) > 0 {
			drops.Add(f.reason(), len(of), func() string { return c.exampleOf(of[0]) })
		}
	}
	drop(fateDuplicate)
	switch g.outOfOrder {
	case OutOfOrderDrop:
		drop(fateLate)
	case OutOfOrderSend:
		runs = append(runs, run{chunk: part(fateLate), alone: true})
	default:
		runs = append(runs, run{chunk: part(fateLate), late: true, optional: true, reason: fateLate.reason()})
	}
	runs = append(
		runs,
		run{chunk: part(fateGood)},
		run{chunk: part(fateHeldLate), late: true, holds: true, alone: true},
		run{chunk: part(fatePast), late: true, holds: true},
		run{chunk: part(fateOffender), of: c, at: s.by[fateOffender], late: true, holds: true, optional: true, reason: fateOffender.reason()},
		run{chunk: part(fateFuture), of: c, at: s.by[fateFuture], late: true, ahead: true, optional: true, reason: fateFuture.reason()},
	)
	for i := range runs {
		runs[i].chunk.entry = g.held.number
	}
	return slices.DeleteFunc(runs, func(r run) bool { return r.chunk.Empty() })
}

// advanceLocked compares a sample with the last one, and remembers it if it is newer.
func (g *guard) advanceLocked(e *indexEntry, now time.Time) lastseen.Order {
	if e.guard == madeTarget {
		if order := g.targetLocked(e.target, e.timestamp, now); order != lastseen.Newer {
			return order
		}
	}
	// What is newer than all that its target has is newer than its own series.
	g.inheritLocked(e.identity, now, func(o *guard) *lastseen.Table { return o.series })
	order := g.series.Advance(e.identity, e.timestamp, now)
	if e.guard == receivedTarget && order == lastseen.Newer {
		g.targetLocked(e.target, e.timestamp, now)
	}
	return order
}

func (g *guard) targetLocked(target uint64, timestamp int64, now time.Time) lastseen.Order {
	g.inheritLocked(target, now, func(o *guard) *lastseen.Table { return o.targets })
	return g.targets.Advance(target, timestamp, now)
}

// inherit makes a new guard know what others know of series, whose locks are held.
func (g *guard) inherit(before []*guard) {
	g.before, g.inherited = before, time.Now()
	for _, o := range before {
		o.retired = true
		o.held.release(settled)
	}
}

// inheritLocked brings along what an earlier guard knows of a series that is new to one of the guard's tables.
func (g *guard) inheritLocked(hash uint64, now time.Time, table func(*guard) *lastseen.Table) {
	if g.before == nil {
		return
	}
	of := table(g)
	if _, known := of.Last(hash); known {
		return
	}
	for _, o := range g.before {
		if last, ok := table(o).Last(hash); ok {
			of.Advance(hash, last, now)
		}
	}
}
