// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"container/list"
)

// need is the room that a payload needs in a partition.
type need struct {
	partition int
	bytes     int64
	// dropped says that there is none, and queue.on_full drops what the partition would get.
	dropped bool
}

// caller waits for room for all that its payload needs.
type caller struct {
	needs []need
	// need is the bytes of all.
	need int64
	// number orders callers by arrival.
	number uint64
	// admitted is closed when the room is the caller's, or the queue refuses it: then err says why.
	admitted chan struct{}
	err      error
	granted  bool
	// at is where the caller waits.
	in *waitingCallers
	at *list.Element
}

func newCaller(needs []need) *caller {
	c := &caller{needs: needs}
	for i := range needs {
		c.need += needs[i].bytes
	}
	return c
}

// waitingCallers are callers in the order of their arrival. The zero value is empty. The queue's lock guards it.
type waitingCallers struct{ list.List }

func (w *waitingCallers) first() *caller {
	if e := w.Front(); e != nil {
		return e.Value.(*caller)
	}
	return nil
}

// put adds a caller at the place that its arrival gives it. Mostly that is the end.
func (w *waitingCallers) put(c *caller) {
	after := w.Back()
	for after != nil && after.Value.(*caller).number > c.number {
		after = after.Prev()
	}
	c.in = w
	if after == nil {
		c.at = w.PushFront(c)
		return
	}
	c.at = w.InsertAfter(c, after)
}

// leave takes the caller out of where it waits.
func (c *caller) leave() {
	if c.in != nil {
		c.in.Remove(c.at)
		c.in, c.at = nil, nil
	}
}
