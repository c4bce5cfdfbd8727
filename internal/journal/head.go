// SPDX-License-Identifier: Apache-2.0

package journal // import "github.com/orderedremotewrite/orderedremotewriteexporter/internal/journal"

import (
	"cmp"
	"encoding/binary"
	"math"
	"slices"

	"go.opentelemetry.io/collector/extension/xextension/storage"
)

// head says what is in a log.
type head struct {
	// generation counts the heads that were written: the greater one of two is the newer.
	generation uint64
	life       uint64
	Layout
	// first and next are the number of the oldest record that may be there, and that of the next one.
	first, next uint64
	// stored is the bytes of all records.
	stored int64
	// steps bound the bytes of each record. Clones share them, so that they are not changed.
	steps steps
	// skipped are the numbers that owners have left out, the last one last.
	skipped []uint64
	lanes   []lane
}

// lane counts the samples of a lane.
type lane struct {
	// acked is how many need not be kept any more, end how many there have been.
	acked, end uint64
	// holes are others that need not be kept, the first ones first. No two touch. Clones share the slice, so that it is not changed.
	holes []hole
	// bytes is about how many those take that must be kept.
	bytes int64
}

// Hole are samples, from one on and before another, behind some that must be kept.
type Hole struct{ From, To uint64 }

// hole is a hole of which it is known where it begins.
type hole struct {
	Hole
	// record is the one with the last sample before the hole, or a later one if that is not known.
	record uint64
}

// has says whether samples up to an end, of a record, are in the hole.
func (h *hole) has(number, end uint64) bool { return number > h.record && end > h.From && end <= h.To }

// open is how many samples of the lane must be kept.
func (l *lane) open() uint64 {
	n := l.end - l.acked
	for i := range l.holes {
		n -= l.holes[i].To - l.holes[i].From
	}
	return n
}

// needs says whether a record must be kept for samples up to an end.
func (l *lane) needs(number, end uint64) bool {
	return end > l.acked && !slices.ContainsFunc(l.holes, func(h hole) bool { return h.has(number, end) })
}

// needsRun says whether a run must be kept.
func (l *lane) needsRun(r *Run) bool {
	return r.End() > l.acked && !slices.ContainsFunc(l.holes, func(h hole) bool { return r.First >= h.From && r.End() <= h.To })
}

// add takes note of the next run.
func (l *lane) add(r *Run) {
	l.end = r.End()
	l.bytes += int64(len(r.Data))
}

// behind is where the lane goes on behind the first n samples that must be kept, which is in no hole.
func (l *lane) behind(n int) uint64 {
	at := l.acked + uint64(n)
	for i := range l.holes {
		if h := &l.holes[i]; h.From <= at {
			at += h.To - h.From
		}
	}
	return at
}

// acknowledge ends the keeping of n samples from the front.
func (l *lane) acknowledge(n int) {
	n = int(min(uint64(n), l.open()))
	l.shrink(uint64(n))
	l.acked = l.behind(n)
	l.holes = slices.DeleteFunc(slices.Clone(l.holes), func(h hole) bool { return h.To <= l.acked })
}

// forget ends the keeping of n samples behind the first ones. It returns the hole in which they are then.
func (l *lane) forget(behind, n int) *hole {
	made := hole{Hole: Hole{From: l.behind(behind), To: l.behind(behind + n)}, record: math.MaxUint64}
	l.shrink(uint64(n))
	l.holes = slices.DeleteFunc(slices.Clone(l.holes), func(h hole) bool {
		if h.To < made.From || h.From > made.To {
			return false
		}
		if h.From < made.From {
			made.From, made.record = h.From, h.record
		}
		made.To = max(made.To, h.To)
		return true
	})
	at, _ := slices.BinarySearchFunc(l.holes, made.From, func(h hole, from uint64) int { return cmp.Compare(h.From, from) })
	l.holes = slices.Insert(l.holes, at, made)
	return &l.holes[at]
}

// shrink counts the bytes of n samples that need not be kept.
func (l *lane) shrink(n uint64) {
	if open := l.open(); n >= open {
		l.bytes = 0
	} else {
		l.bytes -= int64(float64(l.bytes) * float64(n) / float64(open))
	}
}

func (h *head) empty() bool {
	return !slices.ContainsFunc(h.lanes, func(l lane) bool { return l.open() > 0 })
}

func (h *head) clone() head {
	c := *h
	c.lanes = slices.Clone(h.lanes)
	return c
}

// operation stores the head where the one before does not stand.
func (h *head) operation() *storage.Operation {
	return storage.SetOperation(headKeys[h.generation%2], h.encode())
}

func (h *head) encode() []byte {
	b := binary.AppendUvarint(nil, h.generation)
	b = binary.AppendUvarint(b, h.life)
	b = h.Layout.append(b)
	b = binary.AppendUvarint(b, h.first)
	b = binary.AppendUvarint(b, h.next)
	b = binary.AppendUvarint(b, uint64(h.stored))
	b = binary.AppendUvarint(b, uint64(len(h.steps)))
	for _, s := range h.steps {
		b = binary.AppendUvarint(b, s.from)
		b = append(b, byte(s.bits))
	}
	b = binary.AppendUvarint(b, uint64(len(h.skipped)))
	for _, number := range h.skipped {
		b = binary.AppendUvarint(b, number)
	}
	for i := range h.lanes {
		l := &h.lanes[i]
		b = binary.AppendUvarint(b, l.acked)
		b = binary.AppendUvarint(b, l.end-l.acked)
		b = binary.AppendUvarint(b, uint64(len(l.holes)))
		for at, i := l.acked, 0; i < len(l.holes); i++ {
			h := &l.holes[i]
			b = binary.AppendUvarint(b, h.From-at)
			b = binary.AppendUvarint(b, h.To-h.From)
			at = h.To
		}
		b = binary.AppendUvarint(b, uint64(l.bytes))
	}
	return sealed(b)
}

func decodeHead(b []byte) (head, error) {
	body, err := unseal(b)
	if err != nil {
		return head{}, err
	}
	d := decoder{b: body}
	h := head{generation: d.uvarint(), life: d.uvarint(), Layout: d.layout()}
	h.first, h.next, h.stored = d.uvarint(), d.uvarint(), int64(d.uvarint())
	if b[0] > unbounded {
		h.steps = d.steps()
		for range d.count() {
			h.skipped = append(h.skipped, d.uvarint())
		}
	}
	for range h.Lanes {
		if d.failed {
			break
		}
		l := lane{acked: d.uvarint()}
		l.end = l.acked + d.uvarint()
		if b[0] <= oneHole {
			l.holes = d.oldHole()
		} else {
			l.holes = d.holes(l.acked)
		}
		l.bytes = int64(d.uvarint())
		h.lanes = append(h.lanes, l)
	}
	if d.failed || len(d.b) > 0 {
		return head{}, errDamaged
	}
	return h, nil
}

// steps reads the bounds of records.
func (d *decoder) steps() (s steps) {
	for range d.count() {
		of := step{from: d.uvarint()}
		if b := d.bytes(1); b != nil {
			of.bits = int(min(b[0], 62))
		}
		s = append(s, of)
	}
	return s
}

// holes reads the holes of a lane, behind the samples that were acknowledged.
func (d *decoder) holes(acked uint64) (holes []hole) {
	at := acked
	for range d.count() {
		h := hole{record: math.MaxUint64}
		h.From = at + d.uvarint()
		h.To = h.From + d.uvarint()
		holes, at = append(holes, h), h.To
	}
	return holes
}

// oldHole reads what was the only hole of a lane.
func (d *decoder) oldHole() []hole {
	length, from := d.uvarint(), d.uvarint()
	if length == 0 {
		return nil
	}
	return []hole{{Hole: Hole{From: from, To: from + length}, record: math.MaxUint64}}
}
