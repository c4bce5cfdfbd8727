// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"runtime"
	"sync/atomic"
	"unsafe"
)

// minCacheSize and cacheSizePerCPU bound what all caches of an exporter hold together, in bytes: the former, or the latter for
// each processor if that is more. There are as many translators with caches as processors.
const (
	minCacheSize    = 64 << 20
	cacheSizePerCPU = 16 << 20
)

// The shares of the caches in their bound, in eighths. They are apart, so that a flood of metric names does not make
// histograms forget their bounds.
const (
	translatorShare = 4
	boundShare      = 3
	familyShare     = 1
)

// entriesPerBudget is how many entries of caches a budget has room for at least. What is larger is not kept.
const entriesPerBudget = 64

// cacheBudget is the bytes that some caches may hold together. It is safe for concurrent use.
type cacheBudget struct {
	size int64
	used atomic.Int64
	// reclaim makes caches that are not in use forget what they hold, or is nil.
	reclaim func()
}

// newCacheBudget is the budget of a share of all caches.
func newCacheBudget(eighths int64) *cacheBudget {
	size := max(minCacheSize, int64(runtime.GOMAXPROCS(0))*cacheSizePerCPU)
	return &cacheBudget{size: size / 8 * eighths}
}

// tooLarge says whether an entry is too large to be kept.
func (b *cacheBudget) tooLarge(entry int) bool { return int64(entry) > b.size/entriesPerBudget }

// take takes bytes for an entry, or returns false and takes none if the entry is too large or there are not so many left.
func (b *cacheBudget) take(entry int) bool {
	if b.tooLarge(entry) {
		return false
	}
	if b.used.Add(int64(entry)) > b.size {
		b.used.Add(-int64(entry))
		return false
	}
	return true
}

func (b *cacheBudget) giveBack(n int64) { b.used.Add(-n) }

// cacheAccount is what the caches of one translator hold of a budget. When the budget is used up they forget everything,
// rather than search for what to evict: they fill again in as many look-ups. It is not safe for concurrent use.
type cacheAccount struct {
	budget *cacheBudget
	used   int64
	// clear empties the caches.
	clear func()
}

// take takes bytes for an entry. If it returns false, the entry must not be kept, and the caches may be empty.
func (a *cacheAccount) take(entry int) bool {
	if a.budget.tooLarge(entry) {
		return false
	}
	ok := a.budget.take(entry)
	if !ok && a.budget.reclaim != nil {
		a.budget.reclaim()
		ok = a.budget.take(entry)
	}
	if !ok {
		a.forget()
		ok = a.budget.take(entry)
	}
	if ok {
		a.used += int64(entry)
	}
	return ok
}

// forget empties the caches and gives back what they hold.
func (a *cacheAccount) forget() {
	a.clear()
	a.budget.giveBack(a.used)
	a.used = 0
}

// mapSlots is about how many slots a map has for each of its elements at the worst, and allocation about what the allocator adds
// to a small piece of memory.
const (
	mapSlots   = 2
	allocation = 16
)

// stringSize is the bytes of a string besides its own.
const stringSize = int(unsafe.Sizeof(""))
