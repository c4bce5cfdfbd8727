// SPDX-License-Identifier: Apache-2.0

package rwtest

import (
	"hash/fnv"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

// Faults is a random misbehaviour. The number of a request and the seed decide what becomes of it, whatever else goes on,
// so a test that sends its requests in the same order meets the same faults.
//
// Each probability is per mille. At most one of the outcomes happens to a request; what is left of 1,000 is success.
type Faults struct {
	Seed uint64

	ServerError       int // 500, 502, 503 or 504
	StoredServerError int // the same, though the samples are stored
	TooManyRequests   int // 429
	ClientError       int // one of ClientStatuses
	PartialWrite      int // 400; to a 2.0 request after storing some of its samples, with headers that say how many
	Redirect          int // 301, 302, 303, 304, 307 or 308, to redirectPath
	ResetUnread       int // the connection is reset before the request is read
	DropAnswer        int // the samples are stored, then the connection is reset
	CutAnswer         int // 200, and the connection is reset in the middle of the body
	CutError          int // 500, and the connection is reset in the middle of the body
	Hang              int // no answer, and nothing is stored
	StoredHang        int // no answer, though the samples are stored

	// The following happen besides, to any answer.

	HugeBody    int // a body of 4 MiB, if the answer is an error
	SlowBody    int // a body that takes MaxLatency
	LyingHeader int // X-Prometheus-Remote-Write-*-Written headers that are not true

	// ClientStatuses are the statuses of ClientError; none are 400, 409 and 422.
	ClientStatuses []int
	// MinLatency and MaxLatency bound the latency, which is uniform between them.
	MinLatency, MaxLatency time.Duration
	// MaxRetryAfter is the longest time that a sound Retry-After header asks for, in whole seconds.
	MaxRetryAfter time.Duration
}

// redirectPath is where redirects lead to.
const redirectPath = "/redirected"

// Answer returns what becomes of the request of a number, for a Script that wants to be different sometimes.
func (f Faults) Answer(seq int) Answer { return f.draw(seq) }

// draw decides about the request of the number.
func (f Faults) draw(seq int) Answer {
	rnd := rand.New(rand.NewPCG(f.Seed, uint64(seq)))
	a := Answer{Latency: f.MinLatency, Header: http.Header{}}
	if spread := f.MaxLatency - f.MinLatency; spread > 0 {
		a.Latency += time.Duration(rnd.Int64N(int64(spread) + 1))
	}
	fail := func(statuses ...int) {
		a.Status = statuses[rnd.IntN(len(statuses))]
		a.Body = "rwtest: " + http.StatusText(a.Status)
	}
	serverError := func() {
		if fail(500, 502, 503, 504); a.Status == 503 {
			f.retryAfter(rnd, a.Header)
		}
	}
	outcomes := []struct {
		permille int
		happens  func()
	}{
		{f.ServerError, serverError},
		{f.StoredServerError, func() { serverError(); a.Stored = true }},
		{f.TooManyRequests, func() { fail(429); f.retryAfter(rnd, a.Header) }},
		{f.ClientError, func() {
			if len(f.ClientStatuses) > 0 {
				fail(f.ClientStatuses...)
			} else {
				fail(400, 409, 422)
			}
		}},
		{f.PartialWrite, func() { fail(400); a.Keep = f.some }},
		{f.Redirect, func() { fail(301, 302, 303, 304, 307, 308); a.Header.Set("Location", redirectPath) }},
		{f.ResetUnread, func() { a.Fault = Reset }},
		{f.DropAnswer, func() { a.Fault, a.Stored = Reset, true }},
		{f.CutAnswer, func() { fail(200); a.Fault = Cut }},
		{f.CutError, func() { fail(500); a.Fault = Cut }},
		{f.Hang, func() { a.Fault = Hang }},
		{f.StoredHang, func() { a.Fault, a.Stored = Hang, true }},
	}
	dice := rnd.IntN(1000)
	for _, o := range outcomes {
		if dice < o.permille {
			o.happens()
			break
		}
		dice -= o.permille
	}
	if rnd.IntN(1000) < f.HugeBody && a.Status >= 300 {
		a.BodySize = 4 << 20
	}
	if rnd.IntN(1000) < f.SlowBody {
		if a.Status == 0 {
			fail(200)
		}
		a.BodyTime = f.MaxLatency
	}
	// What a sender makes of the headers of a 413 or a 429 depends on whether it goes on after that.
	if rnd.IntN(1000) < f.LyingHeader && a.Status != 413 && a.Status != 429 {
		for _, name := range writtenHeaders {
			a.Header.Set(name, pick(rnd, []string{"0", "1", "1000000", "-1", "all", "99999999999999999999"}))
		}
	}
	return a
}

// some chooses about half of the samples.
func (f Faults) some(series string, s Sample) bool {
	h := fnv.New64a()
	_, _ = h.Write([]byte(series))
	return (h.Sum64()^uint64(s.Timestamp)^f.Seed)%2 == 0
}

// retryAfter sets a Retry-After header (RFC 9110, section 10.2.3) of any kind: seconds, a date, rubbish, or none.
func (f Faults) retryAfter(rnd *rand.Rand, h http.Header) {
	seconds := rnd.IntN(int(f.MaxRetryAfter/time.Second) + 1)
	date := time.Now().Add(time.Duration(seconds) * time.Second).UTC()
	if value := pick(rnd, []string{
		strconv.Itoa(seconds),
		date.Format(http.TimeFormat),
		date.Add(-time.Hour).Format(http.TimeFormat),
		date.Format(time.RFC3339), // not an HTTP-date
		"soon", "-1", "1.5", "99999999999999999999999", "",
	}); value != "" {
		h.Set("Retry-After", value)
	}
}
