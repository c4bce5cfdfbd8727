package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"sync"
)

// reason is why samples were dropped. It is a closed enumeration; the README says what to do about each.
type reason uint8

const (
	noReason reason = iota

	// Before the queue: the data cannot be sent as it is.

	// reasonDelta is for delta temporality, which Prometheus does not know.
	reasonDelta
	// reasonNoTemporality is for a sum or histogram whose temporality is unspecified.
	reasonNoTemporality
	reasonNoTimestamp
	reasonNoValue
	reasonInvalidName
	reasonInvalidHistogram
	// reasonScale is for an exponential histogram whose scale is under -4.
	reasonScale
	// reasonNoSum is for an exponential histogram without a sum.
	reasonNoSum
	// reasonNeedsV2 is for a series that Remote-Write 1.0 cannot carry, after a fallback to it.
	reasonNeedsV2
	// reasonDuplicate is for a second sample of a series and time.
	reasonDuplicate
	// reasonOutOfOrder is for a sample that is older than the last one of its series.
	reasonOutOfOrder

	// In the queue.

	reasonQueueFull
	reasonTooOld
	// reasonShutdown is for what was still waiting, or between two tries, when the time for shutting down ended.
	reasonShutdown

	// At the endpoint.

	// reasonShutdownInFlight is for what was on its way when the time for shutting down ended: the endpoint may have it.
	reasonShutdownInFlight
	// reasonRejected is for a request that the endpoint refused. It bounds the loss from above: some receivers keep the
	// good samples of a request that they refuse.
	reasonRejected
	// reasonIsolationLimit is for what was left when on_error.max_isolation_requests was reached.
	reasonIsolationLimit
	// reasonTooLarge is for a single series that the endpoint finds too large.
	reasonTooLarge
	reasonRetriesExhausted
	// reasonFatal is for 401, 403 and 404.
	reasonFatal
	// reasonUnexpected is for an answer that the protocol does not foresee, like a redirect.
	reasonUnexpected

	reasons
)

var reasonNames = [reasons]string{
	noReason:               "",
	reasonDelta:            "delta_temporality",
	reasonNoTemporality:    "unspecified_temporality",
	reasonNoTimestamp:      "no_timestamp",
	reasonNoValue:          "no_value",
	reasonInvalidName:      "invalid_name",
	reasonInvalidHistogram: "invalid_histogram",
	reasonScale:            "scale_too_low",
	reasonNoSum:            "no_sum",
	reasonNeedsV2:          "needs_remote_write_2",
	reasonDuplicate:        "duplicate",
	reasonOutOfOrder:       "out_of_order",
	reasonQueueFull:        "queue_full",
	reasonTooOld:           "too_old",
	reasonShutdown:         "shutdown",
	reasonShutdownInFlight: "shutdown_in_flight",
	reasonRejected:         "rejected",
	reasonIsolationLimit:   "isolation_limit",
	reasonTooLarge:         "too_large",
	reasonRetriesExhausted: "retries_exhausted",
	reasonFatal:            "fatal",
	reasonUnexpected:       "unexpected_answer",
}

func (r reason) String() string {
	return reasonNames[r]
}

// dropCounts are samples dropped before the queue, by reason.
type dropCounts [reasons]struct {
	count int
	// example renders one of them for the log, or is nil. It takes time and may be called while the payload's segments are
	// there, without a lock.
	example func() string
}

func (d *dropCounts) add(r reason, n int, example func() string) {
	if n == 0 {
		return
	}
	d[r].count += n
	if d[r].example == nil {
		d[r].example = example
	}
}

// total is the number of all samples dropped.
func (d *dropCounts) total() int {
	n := 0
	for i := range d {
		n += d[i].count
	}
	return n
}

// dropKey is what dropped samples are counted by. The status is that of the endpoint's last answer, 0 for none.
type dropKey struct {
	reason reason
	status int
}

// ledger accounts for every sample. At every moment
//
//	received = delivered + sum(dropped) + queued + inFlight
//
// because each method moves samples from one place to another under the lock. Nothing else counts samples.
type ledger struct {
	mu sync.Mutex
	balance
}

// balance is a consistent state of a ledger, in samples.
type balance struct {
	received, delivered, queued, inFlight int64
	dropped                               map[dropKey]int64
}

func newLedger() *ledger {
	return &ledger{balance: balance{dropped: make(map[dropKey]int64)}}
}

// snapshot returns the balance of one moment.
func (l *ledger) snapshot() balance {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.balance
	b.dropped = make(map[dropKey]int64, len(l.dropped))
	for k, n := range l.dropped {
		b.dropped[k] = n
	}
	return b
}

// admit receives queued samples and those that were dropped on the way to the queue.
func (l *ledger) admit(queued int, drops *dropCounts) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.received += int64(queued)
	l.queued += int64(queued)
	for r := range drops {
		if n := int64(drops[r].count); n > 0 {
			l.received += n
			l.dropped[dropKey{reason: reason(r)}] += n
		}
	}
}

// evict drops samples from a queue.
func (l *ledger) evict(n int, r reason) {
	if n == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queued -= int64(n)
	l.dropped[dropKey{reason: r}] += int64(n)
}

// take moves samples from a queue into flight.
func (l *ledger) take(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queued -= int64(n)
	l.inFlight += int64(n)
}

// deliver ends the flight of samples that the endpoint has confirmed.
func (l *ledger) deliver(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inFlight -= int64(n)
	l.delivered += int64(n)
}

// drop ends the flight of samples that will not be delivered.
func (l *ledger) drop(n int, key dropKey) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.inFlight -= int64(n)
	l.dropped[key] += int64(n)
}
