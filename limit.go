// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

// firstLimit is where the limit starts.
const firstLimit = 4

// limit is how many requests may be in flight. It doubles with each round trip until its first decrease, and grows by one
// for each round trip from then on, as long as it is used fully; it halves when the endpoint is too slow or asks to wait,
// once for all requests that were begun before the last decrease. It is plain data under the queue's lock.
type limit struct {
	ceiling int
	current float64
	// careful says that there has been a decrease.
	careful bool
	// begun counts requests, and decreased is the count at the last decrease.
	begun, decreased uint64
}

func newLimit(ceiling int) limit {
	return limit{ceiling: ceiling, current: float64(min(firstLimit, ceiling))}
}

// places is how many requests may be in flight.
func (l *limit) places() int {
	return int(l.current)
}

// begin counts a request, and returns its number.
func (l *limit) begin() uint64 {
	l.begun++
	return l.begun
}

// succeeded takes note of a success while so many requests were in flight, itself included.
func (l *limit) succeeded(inFlight int) {
	if inFlight < l.places() {
		return
	}
	step := 1.0
	if l.careful {
		step = 1 / l.current
	}
	l.current = min(l.current+step, float64(l.ceiling))
}

// overloaded takes note of an answer that shows an overload, to the request of that number.
func (l *limit) overloaded(number uint64) {
	if number <= l.decreased {
		return
	}
	l.careful, l.decreased = true, l.begun
	l.current = max(l.current/2, 1)
}
