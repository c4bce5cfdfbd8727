// SPDX-License-Identifier: Apache-2.0

package rwtest

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
)

// Request is a request as the Receiver got it.
type Request struct {
	// Seq numbers the requests from 1 in the order of their arrival.
	Seq int
	// Header is the header of the HTTP request.
	Header http.Header
	// Body is the compressed body.
	Body []byte
	// Version is 2 if the Content-Type says that the message is of 2.0, or else 1.
	Version int
	// Message is the decoded body, in the form of 1.0 whatever the version; it is nil if the body could not be decoded.
	Message *prompb.WriteRequest
	// MessageV2 is the decoded body of a 2.0 request.
	MessageV2 *writev2.Request
	// Series are the SeriesKeys of Message.Timeseries.
	Series []string
}

// Samples returns the number of samples and native histograms in the request.
func (r Request) Samples() int {
	n := 0
	if r.Message != nil {
		for i := range r.Message.Timeseries {
			n += len(r.Message.Timeseries[i].Samples) + len(r.Message.Timeseries[i].Histograms)
		}
	}
	return n
}

// Fault is how an exchange goes wrong below HTTP.
type Fault int

const (
	// NoFault lets the answer through.
	NoFault Fault = iota
	// Reset resets the connection before the answer.
	Reset
	// Cut resets the connection in the middle of the answer's body; the client has seen the status. It needs a status
	// that may have a body.
	Cut
	// Hang gives no answer until the request's context ends (on a network: until the client hangs up).
	Hang
)

// Answer is what the Receiver does with a request. The zero Answer stores the request and answers 204, and to a 2.0
// request says how much was written.
type Answer struct {
	// Status is the status; 0 is 204.
	Status int
	// Header is added to the answer's header.
	Header http.Header
	// Body is the beginning of the answer's body.
	Body string
	// BodySize is how long the body is, if longer than Body.
	BodySize int
	// BodyTime is how long the body takes; it comes in 8 parts.
	BodyTime time.Duration
	// Latency is how long the answer, or the fault, takes. The samples are stored before.
	Latency time.Duration
	// Fault is how the exchange goes wrong.
	Fault Fault
	// Stored stores the samples although the client sees an error. With a 2xx that the client gets to see they are
	// stored anyway, unless it is to a 2.0 request and Written is WrittenNever.
	Stored bool
	// Written says whether the answer to a 2.0 request has the Written headers. They are true; what Header has instead
	// need not be.
	Written Written
	// Keep chooses which samples of a 2.0 request are stored, whatever the status. The Written headers say so. With an
	// error it cannot be all of them.
	Keep func(series string, s Sample) bool
}

// Written says whether an answer to a 2.0 request has X-Prometheus-Remote-Write-*-Written headers (Remote-Write 2.0,
// "Required Written Response Headers").
type Written int

const (
	// WrittenOnSuccess is for a 2xx and for partial writes.
	WrittenOnSuccess Written = iota
	// WrittenAlways is for every answer: with an error it says that nothing was written.
	WrittenAlways
	// WrittenNever is what a receiver of 1.0 does. One that does not look at the Content-Type finds a 2.0 request empty
	// and answers with a 2xx.
	WrittenNever
)

// Code is the status that is sent.
func (a Answer) Code() int {
	if a.Status == 0 {
		return http.StatusNoContent
	}
	return a.Status
}

// Seen says whether the client gets to see the status.
func (a Answer) Seen() bool { return a.Fault == NoFault || a.Fault == Cut }

// Success says whether the client gets to see a 2xx.
func (a Answer) Success() bool { return a.Seen() && a.Code()/100 == 2 }

// Count is a number of requests and of the samples in them.
type Count struct{ Requests, Samples int }

// Receiver is a receiver of Remote-Write 1.0 and 2.0 that records what is delivered and misbehaves as it is told. It is an
// http.Handler, and for tests without a network (in a synctest bubble) an http.RoundTripper that answers the requests
// itself. It starts no goroutines, and its methods may be called at any time.
//
// The fields must not change once it is in use. With neither Script nor Faults it stores everything and answers 204.
type Receiver struct {
	// Script decides about each request. It may be called concurrently.
	Script func(Request) Answer
	// Faults decides if Script is nil.
	Faults Faults
	// InFlightKeys names what at most one request may be in flight for, such as the partitions that a request holds series of.
	// If InFlightKeys is nil, no series may be in flight twice.
	InFlightKeys func(*prompb.WriteRequest) []string

	mu          sync.Mutex // guards what follows
	seq         int
	parallel    int
	maxParallel int
	flights     map[string][]*flight
	ledger      ledger
	violations  []string
	overlaps    []string
	answered    map[int]Count
	cut         map[int]Count
	unanswered  Count
	confirmed   int
}

// Violations lists what was wrong with requests by themselves: their method, headers and bodies.
func (r *Receiver) Violations() []string {
	return locked(r, func() []string { return slices.Clone(r.violations) })
}

// Overlaps lists the requests that were sent while another one that has one of its InFlightKeys was in flight. A request that
// its client has given up is no longer in flight.
func (r *Receiver) Overlaps() []string {
	return locked(r, func() []string { return slices.Clone(r.overlaps) })
}

// OutOfOrder lists the samples whose first delivery came after a later sample of the same series had been stored
// (Remote-Write 1.0, "Ordering").
func (r *Receiver) OutOfOrder() []string {
	return locked(r, func() []string { return slices.Clone(r.ledger.outOfOrder) })
}

// Conflicting lists the samples that came with a series and a timestamp already stored but with another value.
func (r *Receiver) Conflicting() []string {
	return locked(r, func() []string { return slices.Clone(r.ledger.conflicting) })
}

// ResentAfterSuccess lists the samples that were sent again after a complete 2xx answer to them (Remote-Write 1.0,
// "Retries & Backoff": only failures are retried). On a network, a client that times out in the instant of the answer
// appears here too.
func (r *Receiver) ResentAfterSuccess() []string {
	return locked(r, func() []string { return slices.Clone(r.ledger.resent) })
}

// Problems is Violations, Overlaps, OutOfOrder, Conflicting and ResentAfterSuccess together: it is empty after a test in
// which the sender did nothing wrong.
func (r *Receiver) Problems() []string {
	return slices.Concat(r.Violations(), r.Overlaps(), r.OutOfOrder(), r.Conflicting(), r.ResentAfterSuccess())
}

// Delivered returns the samples of each series, by SeriesKey, in the order in which they were first stored.
func (r *Receiver) Delivered() map[string][]Sample {
	return locked(r, func() map[string][]Sample {
		delivered := make(map[string][]Sample, len(r.ledger.series))
		for key, h := range r.ledger.series {
			delivered[key] = slices.Clone(h.samples)
		}
		return delivered
	})
}

// Redelivered returns how many samples were stored more than once: the same series, timestamp and value.
func (r *Receiver) Redelivered() int { return locked(r, func() int { return r.ledger.redelivered }) }

// MaxParallel returns the largest number of requests that were in flight at the same time.
func (r *Receiver) MaxParallel() int { return locked(r, func() int { return r.maxParallel }) }

// Requests returns the number of requests that have arrived.
func (r *Receiver) Requests() int { return locked(r, func() int { return r.seq }) }

// Answered counts by status the requests whose answers were sent completely. On a network that is to say: written
// without an error to a client that had not hung up.
func (r *Receiver) Answered() map[int]Count {
	return locked(r, func() map[int]Count { return maps.Clone(r.answered) })
}

// CutAnswers counts by status the requests whose clients saw the status of an answer but not all of its body.
func (r *Receiver) CutAnswers() map[int]Count {
	return locked(r, func() map[int]Count { return maps.Clone(r.cut) })
}

// Unanswered counts the requests whose clients saw no status. The samples of a request that was not read are unknown.
func (r *Receiver) Unanswered() Count { return locked(r, func() Count { return r.unanswered }) }

// AcknowledgedSamples returns the number of samples in the requests that were answered completely by a 2xx. A sender
// that believes a status whatever becomes of the body counts those of the 2xx in CutAnswers as well.
func (r *Receiver) AcknowledgedSamples() int {
	n := 0
	for status, c := range r.Answered() {
		if status/100 == 2 {
			n += c.Samples
		}
	}
	return n
}

// ConfirmedSamples returns the number of samples that answers have confirmed, for a sender that does not look at their
// bodies: all of a 1.0 request with a 2xx; of a 2.0 request what the Written headers of a 2xx, or of a 4xx that is final,
// state within reason. A refusal that claims to have written all samples and exemplars proves nothing.
func (r *Receiver) ConfirmedSamples() int { return locked(r, func() int { return r.confirmed }) }

func locked[T any](r *Receiver, get func() T) T {
	r.mu.Lock()
	defer r.mu.Unlock()
	return get()
}

// exchange is one request and what is done with it.
type exchange struct {
	request Request
	answer  Answer
	samples []sampleOf
	stored  []sampleOf
	flight  flight
}

// exchange takes a request up to where its answer is due. The exchange is no longer in flight then: what a client sends
// once it has seen the answer cannot overlap with it. The caller answers, and says in settle how that went.
func (r *Receiver) exchange(req *http.Request, grace time.Duration) *exchange {
	x := r.arrive(req)
	defer r.leave(x, grace)
	if req.Method != http.MethodPost || req.URL.Path == redirectPath {
		// A followed redirect; Go's client makes a GET of the POST. The answer is the success that misleads a sender.
		r.violation(x, fmt.Errorf("%s of %s, not a POST of the endpoint (Remote-Write 1.0, \"Protocol\")", req.Method, req.URL.Path))
		x.answer = Answer{Status: http.StatusOK}
		return x
	}
	if r.Script == nil {
		x.answer = r.Faults.draw(x.request.Seq)
	}
	if x.answer.Fault != Reset || x.answer.Stored { // else: the connection is reset before the request is read
		if err := r.read(x, req); err != nil {
			x.answer = Answer{Fault: Reset}
			return x
		}
	}
	x.answer.Wait(req.Context())
	return x
}

// arrive numbers a request.
func (r *Receiver) arrive(req *http.Request) *exchange {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seq++
	r.parallel++
	r.maxParallel = max(r.maxParallel, r.parallel)
	version := 1
	if req.Header.Get("Content-Type") == contentTypeV2 {
		version = 2
	}
	return &exchange{
		request: Request{Seq: r.seq, Version: version, Header: req.Header.Clone()},
		flight:  flight{ctx: req.Context()},
	}
}

// read reads a request, checks it, takes the decision if it is not taken yet, and stores the samples.
func (r *Receiver) read(x *exchange, req *http.Request) error {
	if req.Body != nil {
		var err error
		if x.request.Body, err = io.ReadAll(req.Body); err != nil {
			return err
		}
	}
	r.decode(x)
	x.samples = samplesOf(x.request.Message, x.request.Series)
	r.takeOff(x)
	if r.Script != nil {
		x.answer = r.Script(x.request)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	x.choose()
	r.ledger.store(x.request.Seq, x.stored)
	x.stateWritten()
	return nil
}

// decode checks and decodes a request.
func (r *Receiver) decode(x *exchange) {
	q := &x.request
	var err error
	if q.Version == 1 {
		r.violation(x, ValidateHeadersV1(q.Header))
		q.Message, q.Series, err = decodeV1(q.Body)
	} else {
		r.violation(x, ValidateHeadersV2(q.Header))
		var converted *request
		if q.MessageV2, converted, err = decodeV2(q.Body); converted != nil {
			q.Message, q.Series = converted.WriteRequest, converted.keys
		}
	}
	r.violation(x, err)
}

// settle records how the answer went: complete says that nothing kept it from reaching the client.
func (r *Receiver) settle(x *exchange, complete bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.answered == nil {
		r.answered, r.cut = make(map[int]Count), make(map[int]Count)
	}
	add := func(c Count) Count { return Count{c.Requests + 1, c.Samples + len(x.samples)} }
	switch status := x.answer.Code(); {
	case !x.answer.Seen():
		r.unanswered = add(r.unanswered)
	case !complete:
		r.cut[status] = add(r.cut[status])
	default:
		r.answered[status] = add(r.answered[status])
		r.ledger.acknowledge(x.acknowledged())
	}
	if x.answer.Seen() {
		r.confirmed += x.confirmed()
	}
}

// violation records each of the errors that are joined in err.
func (r *Receiver) violation(x *exchange, err error) {
	if err == nil {
		return
	}
	errs := []error{err}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		errs = joined.Unwrap()
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, err := range errs {
		r.violations = append(r.violations, fmt.Sprintf("request %d: %v", x.request.Seq, err))
	}
}

// flight is the time of a request between its arrival and its answer.
type flight struct {
	ctx       context.Context
	keys      []string
	overtaken []overtake
}

// overtake is the arrival of another request with the same key.
type overtake struct {
	seq int
	key string
	at  time.Time
}

// takeOff registers a request as in flight, and the requests that it overlaps with as overtaken. Samples that have
// been acknowledged must not take off again.
func (r *Receiver) takeOff(x *exchange) {
	f := &x.flight
	if r.InFlightKeys == nil {
		f.keys = x.request.Series
	} else if x.request.Message != nil {
		f.keys = r.InFlightKeys(x.request.Message)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ledger.takeOff(x.request.Seq, x.samples)
	if r.flights == nil {
		r.flights = make(map[string][]*flight)
	}
	for _, key := range f.keys {
		for _, other := range r.flights[key] {
			n := len(other.overtaken)
			if other.ctx.Err() == nil && (n == 0 || other.overtaken[n-1].seq != x.request.Seq) {
				other.overtaken = append(other.overtaken, overtake{x.request.Seq, key, time.Now()})
			}
		}
	}
	for _, key := range f.keys {
		r.flights[key] = append(r.flights[key], f)
	}
}

// leave ends a flight. A server learns late that a client has given up, so a request that was given up is no overlap
// with one that came up to grace before that was noticed.
func (r *Receiver) leave(x *exchange, grace time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.parallel--
	f := &x.flight
	for _, key := range f.keys {
		r.flights[key] = slices.DeleteFunc(r.flights[key], func(other *flight) bool { return other == f })
		if len(r.flights[key]) == 0 {
			delete(r.flights, key)
		}
	}
	for _, o := range f.overtaken {
		if f.ctx.Err() == nil || time.Since(o.at) > grace || grace == 0 {
			r.overlaps = append(r.overlaps, fmt.Sprintf("request %d was sent while request %d was in flight for %s", o.seq, x.request.Seq, o.key))
		}
	}
}

// sleep waits for d or until the context ends.
func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
