package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"time"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/lastseen"
)

// indexEntry is what the guard must know of an encoded series.
type indexEntry struct {
	identity  uint64
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
	// guardedTarget is a target_info that was received as a metric: guarded whatever the configuration.
	guardedTarget
	// madeTarget is a target_info that the translation made. It is left out without being counted: nothing was
	// received that is lost.
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
		table := g.series
		if e.guard != guarded {
			table = g.targets
		}
		order := table.Advance(e.identity, e.timestamp, now)
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
