// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"context"
	"errors"
	"sync"
	"time"
)

// A log keeps its number of partitions for as long as it holds anything. Another one is in use from a moment on in which it holds
// nothing, and nothing is under way: then it does not matter to the order of a series which partition its next sample joins. While
// clients send all the time there is no such moment of itself. So one is made, as soon as senders keep up: callers are held back
// while what is queued is sent, a second at the most, and if that was not enough, again after a while.

// errExchanged is for a payload whose segments are those of other partitions than the queue has.
var errExchanged = errors.New("the partitions have been exchanged")

const (
	// longestHold is the longest time for which callers are held back.
	longestHold = time.Second
	// firstHoldDelay and longestHoldDelay bound the time until that is tried again.
	firstHoldDelay   = 10 * time.Second
	longestHoldDelay = 10 * time.Minute
)

// exchange is a number of partitions that is to be used once a log holds nothing. The queue's lock guards it.
type exchange struct {
	// wanted is the number, or 0 if it is in use.
	wanted int
	// exchangedLocked is called when it is, and exchanged after that without a lock.
	exchangedLocked, exchanged func()
	// held is closed when callers may go on; it is nil while none are held back. began is when they were, and next when they are
	// again at the earliest, with a delay that grows.
	held  chan struct{}
	began time.Time
	next  time.Time
	delay time.Duration
}

// holdLocked begins to hold callers back.
func (x *exchange) holdLocked(now time.Time) {
	x.held, x.began = make(chan struct{}), now
}

// releaseLocked lets callers go on.
func (x *exchange) releaseLocked(now time.Time) {
	if x.held == nil {
		return
	}
	close(x.held)
	x.held = nil
	x.delay = min(max(2*x.delay, firstHoldDelay), longestHoldDelay)
	x.next = now.Add(x.delay)
}

// heldBack waits as long as callers are held back; mu is the lock of the queue.
func (x *exchange) heldBack(ctx context.Context, mu *sync.Mutex) {
	mu.Lock()
	held := x.held
	mu.Unlock()
	if held == nil {
		return
	}
	// Storage that does not answer must not make it longer.
	timer := time.NewTimer(longestHold)
	defer timer.Stop()
	select {
	case <-held:
	case <-timer.C:
	case <-ctx.Done():
	}
}
