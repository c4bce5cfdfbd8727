// SPDX-License-Identifier: Apache-2.0

// Package receive is a Remote-Write endpoint, of 1.0 and 2.0, that counts what it gets or verifies it, and answers as it
// is told.
package receive

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/s2"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/schedule"
	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/verify"
	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/wire"
)

// Receiver is an http.Handler.
type Receiver struct {
	// verifier is nil if the receiver only counts.
	verifier *verify.Verifier
	pool     sync.Pool
	number   atomic.Int64 // of the last request

	mu       sync.Mutex // guards what follows
	changed  *sync.Cond // is told of each request
	behavior Behavior
	counts   Counts
}

// Counts are what a receiver has got and answered.
type Counts struct {
	Requests   int `json:"requests"`
	Samples    int `json:"samples"`    // of all requests that were read, native histograms included
	Stored     int `json:"stored"`     // samples of requests that were stored, each time that they were
	Exemplars  int `json:"exemplars"`  // of requests that were read
	Bytes      int `json:"bytes"`      // compressed
	Inflated   int `json:"inflated"`   // bytes
	Unreadable int `json:"unreadable"` // requests that are no Remote-Write messages
	// Answers are requests by status, Unanswered those without an answer: resets, lost answers and hangs.
	Answers     map[int]int `json:"answers"`
	Unanswered  int         `json:"unanswered"`
	InFlight    int         `json:"in_flight"`
	MaxInFlight int         `json:"max_in_flight"`
	// First and Last are when the first and the last request came, in milliseconds.
	First int64 `json:"first_unix_ms"`
	Last  int64 `json:"last_unix_ms"`
}

// New makes a receiver that verifies, or only counts, and behaves like that.
func New(verifies bool, b Behavior) (*Receiver, error) {
	r := &Receiver{behavior: b}
	r.changed = sync.NewCond(&r.mu)
	r.pool.New = func() any { return &exchange{} }
	if verifies {
		r.verifier = verify.New()
	}
	r.counts.Answers = make(map[int]int)
	return r, r.SetBehavior(b)
}

// Behavior returns how the receiver answers.
func (r *Receiver) Behavior() Behavior {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.behavior
}

// SetBehavior changes how the receiver answers from now on.
func (r *Receiver) SetBehavior(b Behavior) error {
	if err := b.check(); err != nil {
		return err
	}
	if b.Poison > 0 && r.verifier == nil {
		return errors.New("poison: a receiver that only counts does not know series")
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.behavior = b
	return nil
}

// Reset forgets everything.
func (r *Receiver) Reset() {
	if r.verifier != nil {
		r.verifier.Reset()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.counts = Counts{Answers: make(map[int]int), InFlight: r.counts.InFlight, MaxInFlight: r.counts.InFlight}
}

// Counts returns what the receiver has got until now.
func (r *Receiver) Counts() Counts {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := r.counts
	c.Answers = make(map[int]int, len(r.counts.Answers))
	for status, n := range r.counts.Answers {
		c.Answers[status] = n
	}
	return c
}

// SetSchedules says what is sent. A receiver that only counts does not need to know.
func (r *Receiver) SetSchedules(schedules []schedule.Schedule) error {
	if r.verifier == nil {
		return nil
	}
	return r.verifier.SetSchedules(schedules)
}

// Delivered is how many samples were stored, once each if the receiver verifies.
func (r *Receiver) Delivered() int {
	if r.verifier != nil {
		return r.verifier.Delivered()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.counts.Stored
}

// WaitUntil calls f with the counts, now and after each request, until it returns true.
func (r *Receiver) WaitUntil(f func(c *Counts) bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for !f(&r.counts) {
		r.changed.Wait()
	}
}

// Wake makes WaitUntil call its function again.
func (r *Receiver) Wake() {
	// Under the lock, so that it does not come between a call and the wait after it.
	r.mu.Lock()
	defer r.mu.Unlock()
	r.changed.Broadcast()
}

// exchange is a request and its answer, with buffers that are used for one after the other.
type exchange struct {
	version       int
	body, message []byte
	request       wire.Request
	flight        verify.Flight
	answer        rwtest.Answer
	floats        int
	histograms    int
	exemplars     int
	stored        int // samples
	read          bool
}

// ServeHTTP implements http.Handler.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	x := r.pool.Get().(*exchange)
	defer r.pool.Put(x)
	behavior := r.arrive()
	x.version, x.floats, x.histograms, x.stored, x.read = versionOf(req), 0, 0, 0, false
	x.answer = behavior.answer(int(r.number.Add(1)))
	// Without an answer and without storing anything, the request is not even read.
	if x.answer.Fault != rwtest.Reset || x.answer.Stored {
		if err := r.readAndCheck(x, req); err != nil {
			x.answer = rwtest.Answer{Status: http.StatusBadRequest, Body: err.Error()}
		}
	}
	if x.read && r.verifier != nil {
		r.verifier.Arrive(req.Context(), &x.flight, &x.request)
		if behavior.poisonous(x.flight.Dice) && x.answer.Seen() {
			x.answer.Status, x.answer.Stored, x.answer.Body = behavior.PoisonStatus, false, "a series is poison"
			x.answer.Keep = nil
		}
	}
	if x.read {
		r.store(x)
	}
	x.answer.Wait(req.Context())
	if x.read && r.verifier != nil {
		r.verifier.Land(&x.flight)
	}
	x.answer.Respond(w, req, func(complete bool) { r.settle(x, complete) })
}

// store stores what the answer says, and has it say how much if the request is of 2.0.
func (r *Receiver) store(x *exchange) {
	switch {
	case x.answer.Stored || x.answer.Success():
		x.stored = x.floats + x.histograms
		if r.verifier != nil {
			r.verifier.Store(&x.flight)
		}
		if x.version == 2 && x.answer.Success() {
			x.answer.SetWritten(x.floats, x.histograms, x.exemplars)
		}
	case x.answer.Keep != nil && x.version == 2 && x.answer.Code() == http.StatusBadRequest:
		floats, histograms := x.floats/2, x.histograms/2
		if r.verifier != nil {
			floats, histograms = r.verifier.StoreHalf(&x.flight)
		}
		x.stored = floats + histograms
		x.answer.SetWritten(floats, histograms, 0)
	}
}

func (r *Receiver) arrive() Behavior {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := &r.counts
	c.Requests++
	c.InFlight++
	c.MaxInFlight = max(c.MaxInFlight, c.InFlight)
	c.Last = time.Now().UnixMilli()
	if c.First == 0 {
		c.First = c.Last
	}
	return r.behavior
}

// settle counts a request that has its answer.
func (r *Receiver) settle(x *exchange, complete bool) {
	if x.read && r.verifier != nil {
		r.verifier.Settle(&x.flight, complete && x.answer.Success())
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	c := &r.counts
	c.InFlight--
	if complete {
		c.Answers[x.answer.Code()]++
	} else {
		c.Unanswered++
	}
	if x.read {
		c.Bytes += len(x.body)
		c.Inflated += len(x.message)
		c.Samples += x.floats + x.histograms
		c.Exemplars += x.exemplars
	}
	c.Stored += x.stored
	r.changed.Broadcast()
}

// The types of content, and what they say in full.
const (
	contentTypeV1 = "application/x-protobuf"
	contentTypeV2 = contentTypeV1 + ";proto=" + messageV2
	messageV1     = "prometheus.WriteRequest"
	messageV2     = "io.prometheus.write.v2.Request"
)

func versionOf(req *http.Request) int {
	if strings.Contains(req.Header.Get("Content-Type"), messageV2) {
		return 2
	}
	return 1
}

// canonical are headers with the type of content as the specification has it first. There are other ways to write the same
// type (RFC 9110, section 8.3.1), and one of 1.0 that names its message (Remote-Write 2.0, "Protocol").
func canonical(h http.Header) http.Header {
	given := h.Get("Content-Type")
	if given == contentTypeV1 || given == contentTypeV2 {
		return h
	}
	kind, parameters, err := mime.ParseMediaType(given)
	if err != nil || kind != contentTypeV1 || len(parameters) != 1 {
		return h
	}
	h = h.Clone()
	switch parameters["proto"] {
	case messageV1:
		h.Set("Content-Type", contentTypeV1)
	case messageV2:
		h.Set("Content-Type", contentTypeV2)
	}
	return h
}

// readAndCheck reads a request, and counts it as unreadable if it is not one.
func (r *Receiver) readAndCheck(x *exchange, req *http.Request) error {
	if r.verifier != nil {
		validate := rwtest.ValidateHeadersV1
		if x.version == 2 {
			validate = rwtest.ValidateHeadersV2
		}
		if err := validate(canonical(req.Header)); err != nil {
			r.verifier.Malformed(err)
		}
	}
	err := x.readBody(req)
	if err != nil && req.Context().Err() != nil {
		return err // the client has given up
	}
	if err == nil {
		err = x.parse(r.verifier != nil)
	}
	if err != nil {
		r.mu.Lock()
		r.counts.Unreadable++
		r.mu.Unlock()
		if r.verifier != nil {
			r.verifier.Malformed(err)
		}
		return err
	}
	x.read = true
	return nil
}

// maxBody is the largest request that is read.
const maxBody = 256 << 20

func (x *exchange) readBody(req *http.Request) error {
	n := req.ContentLength
	if n > maxBody {
		return fmt.Errorf("a Content-Length of %d", n)
	}
	if n < 0 {
		b := bytes.NewBuffer(x.body[:0])
		read, err := b.ReadFrom(io.LimitReader(req.Body, maxBody+1))
		if x.body = b.Bytes(); err == nil && read > maxBody {
			err = fmt.Errorf("a body of more than %d bytes", maxBody)
		}
		return err
	}
	if int64(cap(x.body)) < n {
		x.body = make([]byte, n)
	}
	x.body = x.body[:n]
	_, err := io.ReadFull(req.Body, x.body)
	return err
}

// parse decompresses and reads the body: all of it, or only the numbers of its samples.
func (x *exchange) parse(all bool) (err error) {
	n, err := s2.DecodedLen(x.body)
	if err == nil && int64(n) > 8*maxBody {
		err = fmt.Errorf("it says that it has %d bytes", n)
	}
	if err != nil {
		return fmt.Errorf("not a Snappy block: %w", err)
	}
	if x.message, err = s2.Decode(x.message[:cap(x.message)], x.body); err != nil {
		return fmt.Errorf("not a Snappy block: %w", err)
	}
	if !all {
		x.floats, x.histograms, x.exemplars, err = wire.Count(x.version, x.message)
		return err
	}
	if err := x.request.Parse(x.version, x.message); err != nil {
		return err
	}
	x.floats, x.histograms, x.exemplars = x.request.Floats, x.request.Histograms, x.request.Exemplars
	return nil
}
