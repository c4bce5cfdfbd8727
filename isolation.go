// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"sync"
	"time"
)

const (
	// isolationWindow is the time, in seconds, over which the budget of isolation holds.
	isolationWindow = 60
	// leastIsolation is the requests of a window that isolation may send however few the others are.
	leastIsolation = 300
)

// isolation is the budget of the requests that find out which samples an endpoint refuses: as many as there were others in the
// last minute, and at least leastIsolation. Half of it at most is for offenders, which were found before, so that they cannot
// keep new ones from being found. It knows no clock but the times that it is given.
type isolation struct {
	mu sync.Mutex
	// seconds is a ring of the last minute.
	seconds [isolationWindow]isolationSecond
}

// isolationSecond is what was sent in one second.
type isolationSecond struct {
	unix int64
	// requests are those that isolate nothing, spent those that do, and onOffenders the ones among these that are for offenders.
	requests, spent, onOffenders int
}

// request counts a request that isolates nothing.
func (i *isolation) request(now time.Time) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.secondLocked(now).requests++
}

// spend takes n requests off the budget, or returns false if there are not as many left.
func (i *isolation) spend(now time.Time, n int, onOffenders bool) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	requests, spent, known := 0, 0, 0
	for _, s := range i.seconds {
		if s.unix > now.Unix()-isolationWindow && s.unix <= now.Unix() {
			requests, spent, known = requests+s.requests, spent+s.spent, known+s.onOffenders
		}
	}
	most := max(requests, leastIsolation)
	if spent+n > most || onOffenders && known+n > most/2 {
		return false
	}
	s := i.secondLocked(now)
	s.spent += n
	if onOffenders {
		s.onOffenders += n
	}
	return true
}

// secondLocked is where what happens now is counted.
func (i *isolation) secondLocked(now time.Time) *isolationSecond {
	unix := now.Unix()
	s := &i.seconds[uint64(unix)%isolationWindow]
	if s.unix != unix {
		*s = isolationSecond{unix: unix}
	}
	return s
}
