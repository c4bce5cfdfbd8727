// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import "github.com/orderedremotewrite/orderedremotewriteexporter/internal/remote"

// poisonAfter is how often a request must have failed before it is cut to find out whether a part of it passes.
const poisonAfter = 3

// poisonous says whether a request that failed must be cut, or given up if it cannot be: once after it has failed for a while with
// answers that may be its own fault, and then again whenever something else has passed since.
func (q *queue) poisonous(d *delivery, a *remote.Answer) bool {
	switch {
	case asks(a), d.attempts < poisonAfter:
		return false
	case d.cut.IsZero() && d.shared():
		return true
	}
	since := d.cut
	if since.IsZero() {
		since = d.tried
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.scheduler.gate.succeeded.After(since)
}
