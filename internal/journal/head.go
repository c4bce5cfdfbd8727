// SPDX-License-Identifier: Apache-2.0

package journal // import "github.com/orderedremotewrite/orderedremotewriteexporter/internal/journal"

import (
	"encoding/binary"
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
	// bytes is about how many those take that must be kept.
	bytes int64
}

// open is how many samples of the lane must be kept.
func (l *lane) open() uint64 { return l.end - l.acked }

// add takes note of the next run.
func (l *lane) add(r *Run) {
	l.end = r.End()
	l.bytes += int64(len(r.Data))
}

// acknowledge ends the keeping of n samples from the front.
func (l *lane) acknowledge(n int) {
	open := l.open()
	take := min(uint64(n), open)
	if take == open {
		l.bytes = 0
	} else {
		l.bytes -= int64(float64(l.bytes) * float64(take) / float64(open))
	}
	l.acked += take
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
		b = binary.AppendUvarint(b, l.open())
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
		l.bytes = int64(d.uvarint())
		h.lanes = append(h.lanes, l)
	}
	if d.failed || len(d.b) > 0 {
		return head{}, errDamaged
	}
	return h, nil
}
