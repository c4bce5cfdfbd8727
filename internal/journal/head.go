// SPDX-License-Identifier: Apache-2.0

package journal // import "github.com/orderedremotewrite/orderedremotewriteexporter/internal/journal"

import (
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
	lanes  []lane
}

// lane counts the samples of a lane.
type lane struct {
	// acked is how many need not be kept any more, end how many there have been.
	acked, end uint64
	// hole are others that need not be kept.
	hole hole
	// bytes is about how many those take that must be kept.
	bytes int64
}

// hole are samples behind some that must be kept. It is empty if its bounds are the same.
type hole struct {
	from, to uint64
	// record is the one with the last sample before the hole, or a later one if that is not known.
	record uint64
}

// has says whether samples up to an end, of a record, are in the hole.
func (h *hole) has(number, end uint64) bool { return number > h.record && end > h.from && end <= h.to }

// open is how many samples of the lane must be kept.
func (l *lane) open() uint64 { return l.end - l.acked - (l.hole.to - l.hole.from) }

// needs says whether a record must be kept for samples up to an end.
func (l *lane) needs(number, end uint64) bool { return end > l.acked && !l.hole.has(number, end) }

// add takes note of the next run.
func (l *lane) add(r *Run) {
	l.end = r.End()
	l.bytes += int64(len(r.Data))
}

// acknowledge ends the keeping of n samples from the front.
func (l *lane) acknowledge(n int) {
	take := min(uint64(n), l.open())
	l.shrink(take)
	l.acked += take
	if l.acked >= l.hole.from && l.hole.to > 0 {
		l.acked = max(l.acked, l.hole.to)
		l.hole = hole{}
	}
}

// forget ends the keeping of n samples behind the first ones.
func (l *lane) forget(behind, n int) {
	l.shrink(uint64(n))
	if l.hole.to > 0 {
		l.hole.to += uint64(n)
		return
	}
	from := l.acked + uint64(behind)
	l.hole = hole{from: from, to: from + uint64(n), record: math.MaxUint64}
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
	for i := range h.lanes {
		l := &h.lanes[i]
		b = binary.AppendUvarint(b, l.acked)
		b = binary.AppendUvarint(b, l.end-l.acked)
		b = binary.AppendUvarint(b, l.hole.to-l.hole.from)
		b = binary.AppendUvarint(b, l.hole.from)
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
	for range h.Lanes {
		if d.failed {
			break
		}
		l := lane{acked: d.uvarint()}
		l.end = l.acked + d.uvarint()
		if length := d.uvarint(); length > 0 {
			from := d.uvarint()
			l.hole = hole{from: from, to: from + length, record: math.MaxUint64}
		} else {
			d.uvarint()
		}
		l.bytes = int64(d.uvarint())
		h.lanes = append(h.lanes, l)
	}
	if d.failed || len(d.b) > 0 {
		return head{}, errDamaged
	}
	return h, nil
}
