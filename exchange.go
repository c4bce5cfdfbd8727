// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"context"
	"errors"
	"slices"
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
	longestHold = acknowledgeInterval
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

// emptyLocked says that neither memory nor the log has anything, and that nobody is about to change that.
func (d *durable) emptyLocked() bool {
	return d.memory.used == 0 && !d.loading && len(d.commits) == 0 && d.log.Sizes().Samples == 0 && d.restsLocked()
}

// exchangePartitions begins to use another number of partitions if that is wanted and the log is empty, or sees to it that it will
// be. It is called by the committer, because nobody may write meanwhile.
func (d *durable) exchangePartitions() {
	if !d.mayExchange() || !d.exchangeEmpty() {
		return
	}
	d.flush()
	d.exchanged()
}

// exchangeEmpty exchanges the partitions if the log is still empty.
func (d *durable) exchangeEmpty() bool {
	// Who appends to a partition, or expires what its guard knows, has the guard's lock.
	old := d.partitions
	for _, p := range old {
		p.guard.mu.Lock()
		defer p.guard.mu.Unlock()
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	_, secret := partitionsOf(d.log.InUse())
	if !d.emptyLocked() || !d.log.Restart(layoutOf(d.wanted, secret)) {
		return false
	}
	d.partitions = d.repartitionLocked(d.wanted)
	for _, p := range d.partitions {
		p.guard.inherit(guardsBefore(p.index, len(d.partitions), old))
	}
	d.wanted = 0
	d.endHoldLocked()
	d.exchangedLocked()
	return true
}

// mayExchange says whether the log is empty. If it is not, but could be, callers are held back from now on.
func (d *durable) mayExchange() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	switch {
	case d.wanted == 0 || d.ended:
		return false
	case d.emptyLocked():
		return true
	case d.held != nil && now.Sub(d.began) >= longestHold:
		d.endHoldLocked()
	case d.held == nil && !now.Before(d.next) && !slices.ContainsFunc(d.partitions, (*partition).lags) && d.flowsLocked():
		d.holdLocked(now)
		d.hurryLocked(true)
	}
	return false
}

// lags says that the senders do not keep up with what comes.
func (p *partition) lags() bool {
	return p.kept.reading || len(p.good.sealed)+len(p.late.sealed) > 1
}

func (d *durable) endHoldLocked() {
	d.releaseLocked(time.Now())
	d.hurryLocked(false)
}

// heldBack waits as long as callers are held back.
func (d *durable) heldBack(ctx context.Context) {
	d.mu.Lock()
	held := d.held
	d.mu.Unlock()
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

// guardsBefore are the guards that may know series of a partition, if there were others before. The partition of a key is in
// proportion to it, so that they are neighbours.
func guardsBefore(index, partitions int, old []*partition) (guards []*guard) {
	first := index * len(old) / partitions
	end := ((index+1)*len(old) + partitions - 1) / partitions
	for _, p := range old[first:end] {
		guards = append(guards, p.guard)
	}
	return guards
}
