package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"time"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/lastseen"
)

// indexEntry is what the guard must know of an encoded series.
type indexEntry struct {
	identity uint64
	// target is what the target_info series of one job and instance have in common.
	target    uint64
	timestamp int64
	// number is that of the series in its message; start and end are where it stands in the segment's bytes, before they
	// are compressed.
	number     int
	start, end int
	guard      guardKind
	histogram  bool
	exemplars  int
}

// guardKind says how the guard treats a series.
type guardKind uint8

const (
	// unguarded series are sent as they come.
	unguarded guardKind = iota
	// guarded is dropped and counted if it is not newer than the last one of its series.
	guarded
	// receivedTarget is a target_info that was received as a metric. It is guarded like any other series, and what is made
	// for its target must be newer.
	receivedTarget
	// madeTarget is a target_info that the translation made. It is left out, whatever the configuration, if it is not newer
	// than the last one of its target. That is not counted: nothing was received that is lost.
	madeTarget
)

// guard finds the samples of a partition that are not newer than the last one of their series. The partition's lock guards
// it: it must see samples in the order of their acceptance.
type guard struct {
	// series is nil unless out_of_order is drop; targets is for target_info.
	series, targets *lastseen.Table
}

// newGuard returns a guard of target_info, and of all series if all is set. It forgets a series that is idle for so long.
func newGuard(all bool, idle time.Duration) guard {
	g := guard{targets: lastseen.New(idle)}
	if all {
		g.series = lastseen.New(idle)
	}
	return g
}

// renderer renders the series of an index for the log.
type renderer interface {
	exampleOf(e indexEntry) string
}

// refused returns those series of the index that the guard refuses, and counts them. r renders one of them, if it is not
// nil.
func (g *guard) refused(index []indexEntry, r renderer, now time.Time, drops *account.Drops) []indexEntry {
	var refused []indexEntry
	for _, e := range index {
		order := g.advance(&e, now)
		if order == lastseen.Newer {
			continue
		}
		refused = append(refused, e)
		if e.guard == madeTarget {
			continue
		}
		reason := account.ReasonOutOfOrder
		if order == lastseen.Same {
			reason = account.ReasonDuplicate
		}
		var example func() string
		if r != nil && drops[reason].Example == nil {
			example = func() string { return r.exampleOf(e) }
		}
		drops.Add(reason, 1, example)
	}
	return refused
}

// advance compares a sample with the last one, and remembers it if it is newer.
func (g *guard) advance(e *indexEntry, now time.Time) lastseen.Order {
	if e.guard == madeTarget {
		if order := g.targets.Advance(e.target, e.timestamp, now); order != lastseen.Newer {
			return order
		}
	}
	// What is newer than all that its target has is newer than its own series.
	order := lastseen.Newer
	if g.series != nil {
		order = g.series.Advance(e.identity, e.timestamp, now)
	}
	if e.guard == receivedTarget && order == lastseen.Newer {
		g.targets.Advance(e.target, e.timestamp, now)
	}
	return order
}
