// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"cmp"
	"net/http"
	"sync"
	"time"
)

// Rules are what the promises leave to an implementation.
type Rules struct {
	// OutOfOrder are the values of out_of_order that it has: send, drop, separate.
	OutOfOrder []string
	// SortsPayloads says that the points that a payload has of one series are put in the order of their time first.
	SortsPayloads bool
	// DropsRepeats says that a sample of the time of the last one of its series is dropped, whatever out_of_order is.
	DropsRepeats bool
	// MaxFuture and MaxPast are how far from now a sample may be before it travels apart, if the configuration does not say it; 0 is any.
	MaxFuture, MaxPast time.Duration
	// Fatal are further statuses that say that the endpoint or the credentials are wrong, besides 401, 403, 404 and all that
	// are neither 2xx, 4xx nor 5xx.
	Fatal []int
	// SplitsRetries says that a request that fails may be taken apart before it is sent again.
	SplitsRetries bool
	// IsolatesUnknown says that a request which is refused is taken apart, whatever on_error.rejected is, if nobody knows whether
	// the receiver has taken its samples before.
	IsolatesUnknown bool
}

// Record is what happened in a round, as anybody could have seen it.
type Record struct {
	Settings *Settings
	Rules    Rules
	// Lossless says that nothing may be lost but what cannot be sent.
	Lossless bool
	// Network says that times are not those of a fake clock, and Unseen that the client may not have seen an answer that the
	// receiver gave.
	Network, Unseen bool
	// Ambiguous says that points were given that cannot be told from others.
	Ambiguous bool

	// Start and Ended are of the round, and Closing when the shutdown began.
	Start, Closing, Ended time.Time
	// ClosingEvent is the number of the event.
	ClosingEvent int64
	// ShutdownLimit is how long the shutdown could take, and ShutdownTook how long it did.
	ShutdownLimit, ShutdownTook time.Duration
	ShutdownErr                 error

	Calls     []*Call
	Exchanges []*Exchange
	// Accounts are the collections, the last one from after the end.
	Accounts []*Accounts
	Logs     []LogLine
	// FatalEvents is how many fatal errors the component has reported, and FatalEvent when the first one was.
	FatalEvents int
	// Receiver is what the receiver found wrong with single requests.
	Receiver []string
	// Stored is what the receiver holds.
	Stored map[string][]Point
	// DeadLetters is how many samples are kept as dead letters.
	DeadLetters int64

	// Lives are what was of each process alone, with storage, and empty without: then the record is that of the only one.
	Lives []*Record
	// Died says that the process has ended without a shutdown, and Written when the last write to storage had begun that it knew
	// to have succeeded.
	Died    bool
	Written time.Time
	// Steady says that storage had no faults.
	Steady bool

	mu    sync.Mutex
	event int64
}

// maxFuture and maxPast are how far from now a sample may be before it travels apart; 0 is any.
func (r *Record) maxFuture() time.Duration { return cmp.Or(r.Settings.MaxFuture, r.Rules.MaxFuture) }
func (r *Record) maxPast() time.Duration   { return cmp.Or(r.Settings.MaxPast, r.Rules.MaxPast) }

// Call is a call of ConsumeMetrics.
type Call struct {
	Producer int
	Payload  *Payload
	// Life is the number of the process, and Vague says that nobody knows whether the payload was accepted: the process had ended
	// before it answered, or could not store the payload in time.
	Life  int
	Vague bool
	// Begin and End number the events before and after the call among all events of the round.
	Begin, End    int64
	Start, Ended  time.Time
	Err           error
	Permanent     bool
	Deadline      time.Duration
	Before, After bool // whether 1.0 was fallen back to
}

// Exchange is a request with what the client saw of its answer.
type Exchange struct {
	Number int
	// Life is the number of the process.
	Life int
	V2   bool
	Body []byte
	// Size is that of the message before compression.
	Size       int
	Points     []Point
	Histograms int
	Exemplars  int
	// Begin and End number the events when the request was read, and before the client could see the end; End is 0 if there
	// was none.
	Begin, End   int64
	Start, Ended time.Time
	// Status is 0 if there was no answer.
	Status int
	Header http.Header
}

// LogLine is a line of the log about dropped samples.
type LogLine struct {
	Reason  string
	Samples int64
}

// next numbers an event.
func (r *Record) next() int64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.event++
	return r.event
}

// add puts something into the record, under its lock.
func (r *Record) add(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
}

// final returns the collection from after the end.
func (r *Record) final() *Accounts { return r.Accounts[len(r.Accounts)-1] }
