package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"time"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/lastseen"
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

// refused returns those series of the index that the guard refuses, and counts them. s is the segment that they are in,
// if it is at hand for an example.
func (g *guard) refused(index []indexEntry, s *segment, now time.Time, drops *account.Drops) []indexEntry {
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
		r := account.ReasonOutOfOrder
		if order == lastseen.Same {
			r = account.ReasonDuplicate
		}
		var example func() string
		if s != nil && drops[r].Example == nil {
			example = func() string { return s.exampleOf(e) }
		}
		drops.Add(r, 1, example)
	}
	return refused
}
