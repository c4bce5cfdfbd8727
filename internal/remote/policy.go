package remote // import "github.com/orderedremotewrite/orderedremotewriteexporter/internal/remote"

import (
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/collector/config/configretry"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// Policy is what the rules of Remote-Write leave to the configuration.
type Policy struct {
	// BackOff grows the delay between two attempts, and bounds the time of all.
	BackOff configretry.BackOffConfig
	// MaxRetries is the most retries of a request; 0 is no limit.
	MaxRetries int
	// MaxRetryAfter is the longest delay that a Retry-After header can ask for; a longer one is cut to it.
	MaxRetryAfter time.Duration
	// RetryOn429 says whether a 429 is retried, or else rejected.
	RetryOn429 bool
	// Exhausted is the verdict when the retries have reached a limit: VerdictDrop or VerdictFail.
	Exhausted Verdict
	// Fatal is the verdict on an answer that says that the endpoint or the credentials are wrong: VerdictRetry, VerdictDrop
	// or VerdictFail.
	Fatal Verdict
	// Isolate says whether a refused request is split until only what is refused is dropped.
	Isolate bool
	// Fallback says whether a 2.0 message that the endpoint cannot read is sent as 1.0.
	Fallback bool
}

// Attempt is how often and how long a request has been tried.
type Attempt struct {
	// Number is 1 for the first try.
	Number int
	// Elapsed is the time since the first try began.
	Elapsed time.Duration
	// Random is in [0, 1).
	Random float64
	Now    time.Time
	// Protocol is the version of the message, and Proven says that the endpoint has shown that it reads 2.0.
	Protocol wire.Protocol
	Proven   bool
}

// Verdict is what is done after an answer.
type Verdict uint8

// The verdicts.
const (
	// VerdictDelivered ends the request with success.
	VerdictDelivered Verdict = iota
	// VerdictRetry sends the identical bytes again after a delay.
	VerdictRetry
	// VerdictSplit sends the request's series in smaller requests.
	VerdictSplit
	// VerdictFallback sends the same data as 1.0.
	VerdictFallback
	// VerdictDrop drops the request's samples and goes on.
	VerdictDrop
	// VerdictFail drops the request's samples and stops the collector.
	VerdictFail
)

// Decision is a verdict with its delay, for a retry, or its reason, for a drop; a split has the reason for what cannot
// be split.
type Decision struct {
	Verdict Verdict
	Delay   time.Duration
	Reason  account.Reason
	// Permanent says that the endpoint or the credentials are wrong, rather than the data.
	Permanent bool
	// Trial says that a fallback is not for good unless it succeeds.
	Trial bool
}

// Decide is the one place where it is decided what is done after an answer. It depends on its arguments alone. The rules
// are those of Remote-Write 1.0 and 2.0, "Retries & Backoff"; what they leave open is in the README.
func (p *Policy) Decide(a *Answer, at Attempt) Decision {
	if at.Protocol == wire.V2 {
		if d, ok := p.unread(a, at); ok {
			return d
		}
	}
	switch s := a.Status; {
	case a.Success():
		return Decision{Verdict: VerdictDelivered}
	case s == 0, s >= 500 && s <= 599, s == http.StatusTooManyRequests && p.RetryOn429:
		return p.again(a, at)
	case s == http.StatusUnauthorized, s == http.StatusForbidden, s == http.StatusNotFound:
		return p.fatal(a, at, account.ReasonFatal)
	case s == http.StatusRequestEntityTooLarge:
		return Decision{Verdict: VerdictSplit, Reason: account.ReasonTooLarge}
	case s >= 400 && s <= 499 && s != http.StatusTooManyRequests && p.Isolate && a.refusesContent() && !a.exact(at.Protocol):
		return Decision{Verdict: VerdictSplit, Reason: account.ReasonRejected}
	case s >= 400 && s <= 499:
		return Decision{Verdict: VerdictDrop, Reason: account.ReasonRejected}
	default:
		return p.fatal(a, at, account.ReasonUnexpected)
	}
}

// unread decides about answers of endpoints that cannot read 2.0: a 415, or a success that has none of the headers that
// a 2.0 receiver must send (Remote-Write 2.0, "Required Written Response Headers"); or, as long as the endpoint has not
// sent any of them ever, a 400, which some 1.0 receivers answer.
func (p *Policy) unread(a *Answer, at Attempt) (Decision, bool) {
	refusal := a.Status == http.StatusBadRequest && !at.Proven
	switch {
	case a.Status == http.StatusUnsupportedMediaType, a.Success() && !a.Written.Present:
		if p.Fallback {
			return Decision{Verdict: VerdictFallback}, true
		}
		return Decision{Verdict: VerdictDrop, Reason: account.ReasonRejected}, true
	case refusal && !a.Written.Present && p.Fallback:
		return Decision{Verdict: VerdictFallback, Trial: true}, true
	}
	return Decision{}, false
}

func (p *Policy) fatal(a *Answer, at Attempt, r account.Reason) Decision {
	if p.Fatal == VerdictRetry {
		return p.again(a, at)
	}
	return Decision{Verdict: p.Fatal, Reason: r, Permanent: true}
}

// again retries within the limits.
func (p *Policy) again(a *Answer, at Attempt) Decision {
	exhausted := Decision{Verdict: p.Exhausted, Reason: account.ReasonRetriesExhausted}
	if !p.BackOff.Enabled || p.MaxRetries > 0 && at.Number > p.MaxRetries {
		return exhausted
	}
	delay := max(p.backOff(at), p.retryAfter(a.RetryAfter, at.Now))
	if limit := p.BackOff.MaxElapsedTime; limit > 0 && at.Elapsed+delay > limit {
		return exhausted
	}
	return Decision{Verdict: VerdictRetry, Delay: delay}
}

// backOff is the delay before the retry that follows an attempt: it grows by the multiplier from the initial interval to
// the longest one, which the random part never exceeds.
func (p *Policy) backOff(at Attempt) time.Duration {
	b := p.BackOff
	longest := float64(b.MaxInterval)
	// In floating point the power may become infinite, but never negative.
	interval := min(float64(b.InitialInterval)*math.Pow(b.Multiplier, float64(at.Number-1)), longest)
	interval *= 1 + b.RandomizationFactor*(2*at.Random-1)
	return time.Duration(min(interval, longest))
}

// retryAfter is the delay that a Retry-After header asks for (RFC 9110, section 10.2.3), in seconds or as a date. One that
// has passed or cannot be read is 0; a longer one than is allowed is cut.
func (p *Policy) retryAfter(header string, now time.Time) time.Duration {
	header = strings.TrimSpace(header)
	limit := p.MaxRetryAfter
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
