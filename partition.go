// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"math"
	"math/bits"
	"time"
)

// partitionOf returns the partition of a key.
func partitionOf(key uint64, partitions int) int {
	hi, _ := bits.Mul64(key, uint64(partitions))
	return int(hi)
}

// partition is the unit of order: all samples of a series go through one, in the order of their acceptance, and at most one
// request in flight carries samples of it. The queue's lock guards it, but for its guard, which has a lock of its own.
type partition struct {
	index int
	guard *guard
	// good are the samples that are newer than all before of their series. late are those that a receiver may refuse
	// together with their whole request; they travel apart.
	good, late lane
	// busy says that a request which carries samples of the partition has no outcome yet. Everything about order hangs on
	// this: a busy partition is never claimed.
	busy bool
	// busyLate says that these samples are late ones, and busyEntry is the entry of the first of them.
	busyLate  bool
	busyEntry uint64
	// lateBefore says that the last request had late samples, so that good ones have the next turn.
	lateBefore bool
	// suspect says that the last request took long while others did not. It travels alone until one is quick.
	suspect bool
	// size is what the partition holds, in flight and promised to admitted callers included, in bytes.
	size int64
	// numbered is the number of the newest good batch.
	numbered uint64
	// kept is what must be known of what a log keeps.
	kept kept
}

// appendRunLocked adds a run, and adds to work what must be packed when the lock is free.
func (p *partition) appendRunLocked(r run, limits *BatchConfig, work []*chunk) []*chunk {
	l := p.lane(r.late)
	if !r.alone {
		return p.appendLocked(l, r.chunk, limits, work)
	}
	work = p.sealLocked(l, work)
	work = p.appendLocked(l, r.chunk, limits, work)
	return p.sealLocked(l, work)
}

// appendLocked adds a chunk to the end of a lane, and adds to work what must be packed when the lock is free.
func (p *partition) appendLocked(l *lane, c *chunk, limits *BatchConfig, work []*chunk) []*chunk {
	if b := l.open; b != nil && (b.protocol != c.protocol || b.life != c.life || !limits.admit(b.Samples, b.sizes, c.Samples, c.sizes)) {
		work = p.sealLocked(l, work)
	}
	if l.open == nil {
		l.open = &batch{protocol: c.protocol, accepted: c.accepted, life: c.life}
		if l == &p.good {
			p.numbered++
			l.open.number = p.numbered
		}
	}
	b := l.open
	if l == &p.late {
		c.after = p.numbered
	}
	// The chunks before the last one stay as they are.
	last := max(len(b.chunks)-1, 0)
	before := chunksCost(b.chunks[last:])
	if full := b.append(c, p.home(l)); full != nil {
		full.packing = make(chan struct{})
		work = append(work, full)
	}
	l.samples += c.Samples
	cost := chunksCost(b.chunks[last:]) - before
	l.size += cost
	p.size += cost
	switch {
	case b.Samples >= limits.MaxSamples:
		work = p.sealLocked(l, work)
	case c.accepted.Sub(b.accepted) <= packAfter:
	case l == &p.late:
		// Packed and still open, it would wait for the good samples before the newest of what is added to it.
		work = p.sealLocked(l, work)
	case b.grown():
		work = p.packLocked(l, b, work)
	}
	return work
}

// packAfter is how long plain series wait before they are packed.
const packAfter = 10 * time.Second

// sealLocked ends the open batch of a lane.
func (p *partition) sealLocked(l *lane, work []*chunk) []*chunk {
	if l.open == nil {
		return work
	}
	return p.packLocked(l, l.seal(), work)
}

// packLocked makes one chunk of a batch of a lane, which is added to work.
func (p *partition) packLocked(l *lane, b *batch, work []*chunk) []*chunk {
	if len(b.chunks) == 1 && b.chunks[0].plain == nil {
		return work
	}
	return append(work, b.whole(p.home(l)))
}

// home is where chunks in one of the lanes are counted.
func (p *partition) home(l *lane) home { return home{partition: &p.size, lane: &l.size} }

func (p *partition) lane(late bool) *lane {
	if late {
		return &p.late
	}
	return &p.good
}

// waits says whether anything waits in the partition.
func (p *partition) waits() bool {
	return !p.good.empty() || !p.late.empty()
}

// oldestIsLate says whether what has waited longest in a partition, in which something waits, is in the late lane.
func (p *partition) oldestIsLate() bool {
	return p.good.empty() || !p.late.empty() && p.late.oldest().Before(p.good.oldest())
}

// lateReady says whether the first late samples of an idle partition may have their turn: the good ones accepted before them
// have their outcome.
func (p *partition) lateReady() bool {
	return !p.late.empty() && p.late.front().chunks[0].after < p.unsettled()
}

// unsettled is the number of the first good batch of an idle partition that has no outcome.
func (p *partition) unsettled() uint64 {
	if b := p.good.front(); b != nil {
		return b.number
	}
	return math.MaxUint64
}

// lateEntry is the entry of the first late sample that has no outcome.
func (p *partition) lateEntry() uint64 {
	switch {
	case p.busyLate:
		return p.busyEntry
	case !p.late.empty():
		return p.late.front().chunks[0].entry
	default:
		return p.kept.lateEntry()
	}
}

// logLane is the number of one of the partition's lanes in a log.
func (p *partition) logLane(late bool) int { return 2*p.index + laneIndex(late) }

// lags says that the senders do not keep up with what comes.
func (p *partition) lags() bool {
	return p.kept.reading || len(p.good.sealed)+len(p.late.sealed) > 1
}
