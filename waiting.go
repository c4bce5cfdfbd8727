package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"container/list"
)

// caller is a payload that waits for room, with what it needs.
type caller struct {
	payload *payload
	// number orders callers by arrival.
	number uint64
	// need is the bytes of all segments.
	need int64
	// admitted is closed when the room is the caller's, or the queue refuses it: then err says why.
	admitted chan struct{}
	err      error
	granted  bool
	// at is where the caller waits.
	in *waitingCallers
	at *list.Element
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
