// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"slices"
	"time"
)

// exchanger begins to use another number of partitions when that does not matter to the order of any series.
type exchanger struct{ *durable }

// emptyLocked says that neither memory nor the log has anything, and that nobody is about to change that.
func (d exchanger) emptyLocked() bool {
	return d.memory.used == 0 && !d.loading && len(d.commits) == 0 && d.log.Sizes().Samples == 0 && d.restsLocked()
}

// exchangePartitions begins to use another number of partitions if that is wanted and the log is empty, or sees to it that it will
// be. It is called by the committer, because nobody may write meanwhile.
func (d exchanger) exchangePartitions() {
	if !d.mayExchange() || !d.exchangeEmpty() {
		return
	}
	d.flush()
	d.exchanged()
}

// exchangeEmpty exchanges the partitions if the log is still empty.
func (d exchanger) exchangeEmpty() bool {
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
func (d exchanger) mayExchange() bool {
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

func (d exchanger) endHoldLocked() {
	d.releaseLocked(time.Now())
	d.hurryLocked(false)
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
