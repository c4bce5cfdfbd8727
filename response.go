package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
)

// answer is what came of a request.
type answer struct {
	// status is the HTTP status, or 0 if there was no answer.
	status int
	// err says why there was no answer.
	err error
	// retryAfter is the header of that name.
	retryAfter string
	// body is the beginning of the answer's body, for the log.
	body string
	// written is what the headers say that was written.
	written written
}

// written is the numbers in the X-Prometheus-Remote-Write-*-Written headers of an answer to a 2.0 message (Remote-Write
// 2.0, "Required Written Response Headers").
type written struct {
	// present says that there was at least one of the headers.
	present                        bool
	samples, histograms, exemplars int
}

func readWritten(h http.Header) written {
	var w written
	for name, n := range map[string]*int{"Samples": &w.samples, "Histograms": &w.histograms, "Exemplars": &w.exemplars} {
		values := h.Values("X-Prometheus-Remote-Write-" + name + "-Written")
		if len(values) == 0 {
			continue
		}
		w.present = true
		// Rubbish, which includes a number of more than 64 bits, is as good as a missing header: 0.
		if written, err := strconv.Atoi(strings.TrimSpace(values[0])); err == nil {
			*n = written
		}
	}
	return w
}

// confirmed returns how many of a message's samples the answer proves to be written. It never trusts a header beyond
// what was sent.
func (a *answer) confirmed(m *message) int {
	success := a.status >= 200 && a.status <= 299
	if m.protocol == protocolV1 {
		if success {
			return m.samples
		}
		return 0
	}
	n := min(max(a.written.histograms, 0), m.histograms) + min(max(a.written.samples, 0), m.samples-m.histograms)
	switch {
	case success:
		return n
	case a.status >= 400 && a.status <= 499 && (n < m.samples || a.written.exemplars < m.exemplars):
		// Prometheus refuses a request for an exemplar too, although it has written all samples.
		return n
	default:
		// A refusal that claims to have written everything proves nothing: some receivers count what they received.
		return 0
	}
}

// Error says what the endpoint answered.
func (a *answer) Error() string {
	switch {
	case a.status == 0:
		return fmt.Sprintf("no answer from the endpoint: %v", a.err)
	case a.body == "":
		return fmt.Sprintf("endpoint answered %d %s", a.status, http.StatusText(a.status))
	default:
		return fmt.Sprintf("endpoint answered %d %s: %s", a.status, http.StatusText(a.status), a.body)
	}
}

// Unwrap returns why there was no answer.
func (a *answer) Unwrap() error {
	return a.err
}

// attempt is how often and how long a request has been tried.
type attempt struct {
	// number is 1 for the first try.
	number int
	// elapsed is the time since the first try began.
	elapsed time.Duration
	// random is in [0, 1).
	random float64
	now    time.Time
	// protocol is the version of the message, and proven says that the endpoint has shown that it reads 2.0.
	protocol protocol
	proven   bool
}

// verdict is what is done after an answer.
type verdict uint8

const (
	// verdictDelivered ends the request with success.
	verdictDelivered verdict = iota
	// verdictRetry sends the identical bytes again after a delay.
	verdictRetry
	// verdictSplit sends the request's series in smaller requests.
	verdictSplit
	// verdictFallback sends the same data as 1.0.
	verdictFallback
	// verdictDrop drops the request's samples and goes on.
	verdictDrop
	// verdictFail drops the request's samples and stops the collector.
	verdictFail
)

// decision is a verdict with its delay, for a retry, or its reason, for a drop; a split has the reason for what cannot
// be split.
type decision struct {
	verdict verdict
	delay   time.Duration
	reason  account.Reason
	// permanent says that the endpoint or the credentials are wrong, rather than the data.
	permanent bool
	// trial says that a fallback is not for good unless it succeeds.
	trial bool
}

// policy is the part of the configuration that decisions depend on.
type policy struct {
	retry      RetryConfig
	retryOn429 bool
	onError    OnErrorConfig
	fallback   bool
}

// decide is the one place where it is decided what is done after an answer. It depends on its arguments alone. The rules
// are those of Remote-Write 1.0 and 2.0, "Retries & Backoff"; what they leave open is in the README.
func (p *policy) decide(a *answer, at attempt) decision {
	if at.protocol == protocolV2 {
		if d, ok := p.unread(a, at); ok {
			return d
		}
	}
	switch s := a.status; {
	case s >= 200 && s <= 299:
		return decision{verdict: verdictDelivered}
	case s == 0, s >= 500 && s <= 599, s == http.StatusTooManyRequests && p.retryOn429:
		return p.again(a, at)
	case s == http.StatusUnauthorized, s == http.StatusForbidden, s == http.StatusNotFound:
		return p.fatal(a, at, account.ReasonFatal)
	case s == http.StatusRequestEntityTooLarge:
		return decision{verdict: verdictSplit, reason: account.ReasonTooLarge}
	case s >= 400 && s <= 499 && s != http.StatusTooManyRequests && p.onError.Rejected == OnRejectedIsolate && a.refusesContent() && !a.exact(at):
		return decision{verdict: verdictSplit, reason: account.ReasonRejected}
	case s >= 400 && s <= 499:
		return decision{verdict: verdictDrop, reason: account.ReasonRejected}
	default:
		return p.fatal(a, at, account.ReasonUnexpected)
	}
}

// refusesContent says whether a smaller request might be taken: these statuses refuse any.
func (a *answer) refusesContent() bool {
	switch a.status {
	case http.StatusMethodNotAllowed, http.StatusProxyAuthRequired, http.StatusLengthRequired,
		http.StatusUnsupportedMediaType, http.StatusUpgradeRequired:
		return false
	default:
		return true
	}
}

// exact says whether the answer to a refused request tells how much was written: then there is nothing to find out, and
// what was written must not be sent again.
func (a *answer) exact(at attempt) bool {
	return at.protocol == protocolV2 && a.written.present
}

// unread decides about answers of endpoints that cannot read 2.0: a 415, or a success that has none of the headers that
// a 2.0 receiver must send (Remote-Write 2.0, "Required Written Response Headers"); or, as long as the endpoint has not
// sent any of them ever, a 400, which some 1.0 receivers answer.
func (p *policy) unread(a *answer, at attempt) (decision, bool) {
	success := a.status >= 200 && a.status <= 299
	refusal := a.status == http.StatusBadRequest && !at.proven
	switch {
	case a.status == http.StatusUnsupportedMediaType, success && !a.written.present:
		if p.fallback {
			return decision{verdict: verdictFallback}, true
		}
		return decision{verdict: verdictDrop, reason: account.ReasonRejected}, true
	case refusal && !a.written.present && p.fallback:
		return decision{verdict: verdictFallback, trial: true}, true
	}
	return decision{}, false
}

func (p *policy) fatal(a *answer, at attempt, r account.Reason) decision {
	switch p.onError.Fatal {
	case OnFatalRetry:
		return p.again(a, at)
	case OnFatalDiscard:
		return decision{verdict: verdictDrop, reason: r, permanent: true}
	default:
		return decision{verdict: verdictFail, reason: r, permanent: true}
	}
}

// again retries within the limits.
func (p *policy) again(a *answer, at attempt) decision {
	exhausted := decision{verdict: verdictDrop, reason: account.ReasonRetriesExhausted}
	if p.onError.RetriesExhausted == OnRetriesExhaustedFail {
		exhausted.verdict = verdictFail
	}
	if !p.retry.BackOff.Enabled || p.retry.MaxRetries > 0 && at.number > p.retry.MaxRetries {
		return exhausted
	}
	delay := max(p.backOff(at), p.retryAfter(a.retryAfter, at.now))
	if limit := p.retry.BackOff.MaxElapsedTime; limit > 0 && at.elapsed+delay > limit {
		return exhausted
	}
	return decision{verdict: verdictRetry, delay: delay}
}

// backOff is the delay before the retry that follows an attempt: it grows by the multiplier from the initial interval to
// the longest one, which the random part never exceeds.
func (p *policy) backOff(at attempt) time.Duration {
	b := p.retry.BackOff
	longest := float64(b.MaxInterval)
	// In floating point the power may become infinite, but never negative.
	interval := min(float64(b.InitialInterval)*math.Pow(b.Multiplier, float64(at.number-1)), longest)
	interval *= 1 + b.RandomizationFactor*(2*at.random-1)
	return time.Duration(min(interval, longest))
}

// retryAfter is the delay that a Retry-After header asks for (RFC 9110, section 10.2.3), in seconds or as a date. One that
// has passed or cannot be read is 0; a longer one than is allowed is cut.
func (p *policy) retryAfter(header string, now time.Time) time.Duration {
	header = strings.TrimSpace(header)
	limit := p.retry.MaxRetryAfter
	if seconds, err := strconv.ParseUint(header, 10, 64); err == nil {
		if seconds > uint64(limit/time.Second) {
			return limit
		}
		return time.Duration(seconds) * time.Second
	}
	if isDigits(header) {
		// More seconds than fit into 64 bits.
		return limit
	}
	date, err := http.ParseTime(header)
	if err != nil {
		return 0
	}
	return min(max(date.Sub(now), 0), limit)
}

func isDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}
