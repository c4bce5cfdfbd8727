// SPDX-License-Identifier: Apache-2.0

// Package remote is the endpoint as a sender sees it: it posts a body, reads what the endpoint answers, and decides by the
// rules of Remote-Write what that means for the samples of the request.
package remote // import "github.com/orderedremotewrite/orderedremotewriteexporter/internal/remote"

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// Answer is what came of a request. As an error it says what the endpoint answered.
type Answer struct {
	// Status is the HTTP status, or 0 if there was no answer.
	Status int
	// Err says why there was no answer, or why a success is none.
	Err error
	// Unsent says that nothing was sent, because there was no connection.
	Unsent bool
	// RetryAfter is the header of that name.
	RetryAfter string
	// Location is where a redirect leads, redacted, or "".
	Location string
	// Body is the beginning of the answer's body, for the log.
	Body string
	// Written is what the headers say that was written.
	Written Written
}

// Written is the numbers in the X-Prometheus-Remote-Write-*-Written headers of an answer to a 2.0 message (Remote-Write
// 2.0, "Required Written Response Headers").
type Written struct {
	// Present says that there was at least one of the headers.
	Present                        bool
	Samples, Histograms, Exemplars int
}

func readWritten(h http.Header) Written {
	var w Written
	for name, n := range map[string]*int{"Samples": &w.Samples, "Histograms": &w.Histograms, "Exemplars": &w.Exemplars} {
		values := h.Values("X-Prometheus-Remote-Write-" + name + "-Written")
		if len(values) == 0 {
			continue
		}
		w.Present = true
		// Rubbish, which includes a number of more than 64 bits, is as good as a missing header: 0.
		if written, err := strconv.Atoi(strings.TrimSpace(values[0])); err == nil {
			*n = written
		}
	}
	return w
}

// Success says whether the endpoint took the request.
func (a *Answer) Success() bool {
	return a.Status >= 200 && a.Status <= 299
}

// Unknown says whether the endpoint may have taken the request without anybody knowing: there was no answer although there was a
// connection, or a gateway says that it got none, or something has taken a message of 2.0 without saying what was written, or
// an error comes with the number of samples that were written all the same.
func (a *Answer) Unknown() bool {
	switch a.Status {
	case 0:
		return !a.Unsent
	case http.StatusBadGateway, http.StatusGatewayTimeout:
		return true
	default:
		return a.Success() || a.Written.Samples > 0 || a.Written.Histograms > 0
	}
}

// Confirmed returns how many of the samples that were sent the answer proves to be written. It never trusts a header
// beyond what was sent.
func (a *Answer) Confirmed(p wire.Protocol, sent account.Counts) int {
	if p == wire.V1 {
		if a.Success() {
			return sent.Samples
		}
		return 0
	}
	n := min(max(a.Written.Histograms, 0), sent.Histograms) + min(max(a.Written.Samples, 0), sent.Samples-sent.Histograms)
	switch {
	case a.Success():
		return n
	case a.Status >= 400 && a.Status <= 499 && (n < sent.Samples || max(a.Written.Exemplars, 0) < sent.Exemplars):
		// Prometheus refuses a request for an exemplar too, although it has written all samples.
		return n
	default:
		// A refusal that claims to have written everything proves nothing: some receivers count what they received.
		return 0
	}
}

// Error says what the endpoint answered.
func (a *Answer) Error() string {
	switch {
	case a.Status == 0:
		return fmt.Sprintf("no answer from the endpoint: %v", a.Err)
	case a.Err != nil:
		return fmt.Sprintf("endpoint answered %d %s with %v", a.Status, http.StatusText(a.Status), a.Err)
	case a.Location != "":
		return fmt.Sprintf("endpoint answered %d %s, a redirect to %s", a.Status, http.StatusText(a.Status), a.Location)
	case a.Body == "":
		return fmt.Sprintf("endpoint answered %d %s", a.Status, http.StatusText(a.Status))
	default:
		return fmt.Sprintf("endpoint answered %d %s: %s", a.Status, http.StatusText(a.Status), a.Body)
	}
}

// TimeoutError is why there was no answer if http.timeout was over.
type TimeoutError struct {
	Timeout time.Duration
	Err     error
}

// Error names the setting.
func (e *TimeoutError) Error() string {
	return fmt.Sprintf("nothing came within http.timeout (%v)", e.Timeout)
}

// Unwrap returns the error of the HTTP client.
func (e *TimeoutError) Unwrap() error { return e.Err }

// Unwrap returns why there was no answer, or why a success is none.
func (a *Answer) Unwrap() error {
	return a.Err
}

// Unread says whether the answer to a 2.0 message is that of an endpoint that has not read it: a 415, or a success that has
// none of the headers that a 2.0 receiver must send and is to be taken for a 415 (Remote-Write 2.0, "Required Written
// Response Headers").
func (a *Answer) Unread() bool {
	return a.Status == http.StatusUnsupportedMediaType || a.Success() && !a.Written.Present
}

// proves says whether the answer to a 2.0 message shows that the endpoint has read it.
func (a *Answer) proves() bool {
	return a.Written.Present && a.Status != http.StatusUnsupportedMediaType
}

// errNoWritten is the error of a success that is none.
var errNoWritten = errors.New("none of the headers that a receiver of 2.0 must send: no X-Prometheus-Remote-Write-*-Written")

// judgesSender says whether the answer is about the endpoint, the account, the credentials, what every request has in its head,
// or the protocol: any request would be refused.
func (a *Answer) judgesSender() bool {
	switch a.Status {
	case http.StatusUnauthorized, http.StatusPaymentRequired, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed,
		http.StatusProxyAuthRequired, http.StatusGone, http.StatusLengthRequired, http.StatusRequestURITooLong,
		http.StatusUnsupportedMediaType, http.StatusMisdirectedRequest, http.StatusUpgradeRequired,
		http.StatusRequestHeaderFieldsTooLarge, http.StatusUnavailableForLegalReasons:
		return true
	default:
		return false
	}
}

// wantsConnection says whether it may be the connection that is to blame, so that another one is better. It may lead to the wrong
// server (RFC 9110, section 15.5.20). Or it leads nowhere, and nobody says so: TCP tries for a quarter of an hour, and HTTP/2 would
// send everything over it for as long.
func (a *Answer) wantsConnection() bool {
	timeout := new(TimeoutError)
	return a.Status == http.StatusMisdirectedRequest || errors.As(a.Err, &timeout)
}

// refusesData says whether the answer is about what was sent: it neither judges the sender nor asks to wait.
func (a *Answer) refusesData() bool {
	return a.Status >= 400 && a.Status <= 499 && a.Status != http.StatusTooManyRequests && !a.judgesSender()
}

// exact says whether the answer to a refused request tells how much was written: then there is nothing to find out, and
// what was written must not be sent again.
func (a *Answer) exact(p wire.Protocol) bool {
	return p == wire.V2 && a.Written.Present
}
