// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"time"
)

// lane is a FIFO of batches. Only the last one is open; nothing leaves but at the front.
type lane struct {
	sealed []*batch
	open   *batch
	// samples is how many wait, and size what they cost.
	samples int
	size    int64
	// idleSince is when what left last had its outcome.
	idleSince time.Time
}

func (l *lane) empty() bool {
	return l.samples == 0
}

// front is the batch that must leave first, or nil.
func (l *lane) front() *batch {
	if len(l.sealed) > 0 {
		return l.sealed[0]
	}
	return l.open
}

// oldest is when the front was accepted; the lane must not be empty.
func (l *lane) oldest() time.Time {
	return l.front().accepted
}

// last is the batch that came last, or nil.
func (l *lane) last() *batch {
	if n := len(l.sealed); l.open == nil && n > 0 {
		return l.sealed[n-1]
	}
	return l.open
}

// popFront takes the first batch off.
func (l *lane) popFront() *batch {
	b := l.front()
	if b == l.open {
		l.open = nil
	} else {
		l.sealed[0] = nil
		if l.sealed = l.sealed[1:]; len(l.sealed) == 0 {
			// The backing array starts anew.
			l.sealed = nil
		}
	}
	l.left(b)
	return b
}

// left counts what has left.
func (l *lane) left(b *batch) {
	l.size -= chunksCost(b.chunks)
	l.samples -= b.Samples
}

// seal ends the open batch.
func (l *lane) seal() *batch {
	b := l.open
	if b != nil {
		l.sealed, l.open = append(l.sealed, b), nil
	}
	return b
}

// taken takes off what was taken of the open batch.
func (l *lane) taken(b *batch) {
	l.left(b)
	if l.open.Empty() {
		l.open = nil
	}
}

// lateShare is the part of the queue that late samples may have.
const lateShare = 10
