// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"sync"
	"time"
)

// logInterval is the least time between two log lines about drops of one reason, or about anything else that may happen often.
const logInterval = 10 * time.Second

// throttle lets a line pass once in an interval. It is safe for concurrent use.
type throttle struct {
	// tell writes a line about what did not pass, when the interval is over or at the end. It may be nil.
	tell func(heldBack int)

	mu   sync.Mutex
	last time.Time
	// heldBack is the samples, or whatever the lines count, of those that did not pass.
	heldBack int
	// timer runs while something is held back that must be told.
	timer *time.Timer
}

// pass says whether a line may pass, and what was held back since the last one.
func (t *throttle) pass(n int) (heldBack int, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := time.Now()
	if left := logInterval - now.Sub(t.last); !t.last.IsZero() && left > 0 {
		t.heldBack += n
		if t.tell != nil && t.timer == nil {
			t.timer = time.AfterFunc(left, t.flush)
		}
		return 0, false
	}
	t.last = now
	return t.takeLocked(), true
}

func (t *throttle) takeLocked() int {
	n := t.heldBack
	t.heldBack = 0
	if t.timer != nil {
		t.timer.Stop()
		t.timer = nil
	}
	return n
}

// flush tells what was held back.
func (t *throttle) flush() {
	t.mu.Lock()
	n := t.takeLocked()
	if n > 0 {
		t.last = time.Now()
	}
	t.mu.Unlock()
	if n > 0 {
		t.tell(n)
	}
}
