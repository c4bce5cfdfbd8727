// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"time"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

const (
	// mostOffenders is how many an exporter remembers, in about 40 bytes each, and leastOffenders how many a partition does at
	// least.
	mostOffenders, leastOffenders = 8192, 16
	// tryOffenderAfter is the time after which it is tried again whether an offender is still refused alone.
	tryOffenderAfter = time.Minute
)

// offenders are the series of a partition of which a sample was refused alone. Their samples travel with the late ones, where
// they cost no good sample its request, until one of them is taken. They are known by their identities, which nobody outside of
// the process can compute, and nothing is dropped because of that: it only decides what a sample travels with. The lock of the
// partition's guard guards them.
type offenders struct {
	idle time.Duration
	most int
	// refused is when each was refused alone for the last time, since the first of all was: whatever the clock is set to meanwhile.
	refused map[uint64]time.Duration
	first   time.Time
}

func newOffenders(idle time.Duration, partitions int) offenders {
	return offenders{idle: idle, most: max(mostOffenders/partitions, leastOffenders)}
}

func (o *offenders) has(identity uint64) bool {
	_, ok := o.refused[identity]
	return ok
}

// due says whether an offender is tried again for itself.
func (o *offenders) due(identity uint64, now time.Time) bool {
	at, ok := o.refused[identity]
	return ok && now.Sub(o.first)-at >= tryOffenderAfter
}

// add remembers a series that was refused alone. If there are too many, the one that was refused longest ago is forgotten.
func (o *offenders) add(identity uint64, now time.Time) {
	if o.refused == nil {
		o.refused, o.first = make(map[uint64]time.Duration), now
	}
	o.refused[identity] = now.Sub(o.first)
	if len(o.refused) <= o.most {
		return
	}
	first := identity
	for other, at := range o.refused {
		if at < o.refused[first] {
			first = other
		}
	}
	delete(o.refused, first)
}

// taken forgets a series of which a sample was taken.
func (o *offenders) taken(identity uint64) {
	delete(o.refused, identity)
}

// expire forgets series that have not been refused for so long that the guard forgets series.
func (o *offenders) expire(now time.Time) {
	for identity, at := range o.refused {
		if now.Sub(o.first)-at >= o.idle {
			delete(o.refused, identity)
		}
	}
}

// identityOf is the identity of a series with these labels.
func identityOf(labels []wire.Label) (identity uint64) {
	for _, l := range labels {
		identity += labelHash(nameHash(l.Name), wire.Hash(l.Value))
	}
	return identity
}
