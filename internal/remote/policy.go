// SPDX-License-Identifier: Apache-2.0

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
	// Fatal is the verdict on an answer that judges the sender, not the samples: VerdictPause, VerdictRetry, VerdictDrop or
	// VerdictFail.
	Fatal Verdict
	// Isolate says whether a refused request is split until only what is refused is dropped.
	Isolate bool
	// Fallback says whether a 2.0 message that the endpoint cannot read is sent as 1.0.
	Fallback bool
	// NeedsV2 says that there is data that 1.0 cannot carry: then 2.0 stays in use.
	NeedsV2 bool
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
	// Protocol is the version of the message.
	Protocol wire.Protocol
	// Unsure says that the endpoint may have the samples already, so that it refuses them for that.
	Unsure bool
	// Standing is what is known of the endpoint if that is 2.0.
	Standing Standing
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
	// VerdictFallback sends the same data as 1.0, after a delay if there is one.
	VerdictFallback
	// VerdictDrop drops the request's samples and goes on.
	VerdictDrop
	// VerdictFail drops the request's samples and stops the collector.
	VerdictFail
	// VerdictPause drops the request's samples and pauses the endpoint: it would refuse any other as well.
	VerdictPause
)

// String is the verdict as the log shows it.
func (v Verdict) String() string {
	return [...]string{"delivered", "retry", "split", "fallback", "drop", "fail", "pause"}[v]
}

// Reach is what a fallback is for.
type Reach uint8

const (
	// ReachRequest is for the request alone.
	ReachRequest Reach = iota
	// ReachAll is for everything that follows: the endpoint does not read 2.0.
	ReachAll
	// ReachTrial is for the request, and for everything that follows if the endpoint takes it.
	ReachTrial
)

// Decision is a verdict with its delay, for a retry, or its reason, for a drop; a split has the reason for what cannot
// be split.
type Decision struct {
	Verdict Verdict
	Delay   time.Duration
	Reason  account.Reason
	// Permanent says that the endpoint or the credentials are wrong, rather than the data.
	Permanent bool
	// Reach is that of a fallback.
	Reach Reach
}

// Decide is the one place where it is decided what is done after an answer. It depends on its arguments alone. The rules
// are those of Remote-Write 1.0 and 2.0, "Retries & Backoff"; what they leave open is in docs/delivery.md.
func (p *Policy) Decide(a *Answer, at Attempt) Decision {
	if at.Protocol == wire.V2 {
		if d, ok := p.unread(a, at); ok {
			return d
		}
	}
	switch s := a.Status; {
	case a.Success():
		return Decision{Verdict: VerdictDelivered}
	case p.passes(a):
		return p.again(a, at)
	case a.judgesSender():
		return p.fatal(a, at, account.ReasonFatal)
	case s == http.StatusRequestEntityTooLarge:
		return Decision{Verdict: VerdictSplit, Reason: account.ReasonTooLarge}
	case s >= 400 && s <= 499 && s != http.StatusTooManyRequests && at.Unsure && !a.exact(at.Protocol):
		return Decision{Verdict: VerdictSplit, Reason: account.ReasonRefusedAfterUnknown}
	case s >= 400 && s <= 499 && s != http.StatusTooManyRequests && p.Isolate && !a.exact(at.Protocol):
		return Decision{Verdict: VerdictSplit, Reason: account.ReasonRejected}
	case s >= 400 && s <= 499 && s != http.StatusTooManyRequests && at.Unsure:
		return Decision{Verdict: VerdictDrop, Reason: account.ReasonRefusedAfterUnknown}
	case s >= 400 && s <= 499:
		return Decision{Verdict: VerdictDrop, Reason: account.ReasonRejected}
	default:
		return p.fatal(a, at, account.ReasonUnexpected)
	}
}

// unread decides about the answers of endpoints that do not read 2.0.
func (p *Policy) unread(a *Answer, at Attempt) (Decision, bool) {
	// Some receivers of 1.0 answer 400 to what they cannot read, and so do those of 2.0 to bad data, with Written headers or
	// without.
	doubtful := a.Status == http.StatusBadRequest && !a.Written.Present
	switch {
	case at.Standing == StandingFallen && (a.Unread() || a.refusesData() && !a.Written.Present):
		// Whatever an endpoint holds against a message of 2.0 that it has not shown to have read, it may take the samples as 1.0.
		return Decision{Verdict: VerdictFallback}, true
	case at.Standing == StandingFallen && p.passes(a):
		// The message must not cost its samples: an endpoint that chokes on 2.0 may answer 500 each time.
		d := p.again(a, at)
		if d.Verdict == VerdictRetry {
			d.Verdict = VerdictFallback
		}
		return d, true
	case a.Unread() && a.Success() && at.Standing == StandingProven:
		// Something between here and an endpoint that reads 2.0 has answered. As 1.0 the same answer would look like a success.
		return p.again(a, at), true
	case a.Unread() && !p.Fallback:
		return Decision{Verdict: VerdictDrop, Reason: account.ReasonRejected}, true
	case a.Unread() && (p.NeedsV2 || at.Standing == StandingProven):
		return Decision{Verdict: VerdictFallback}, true
	case a.Unread():
		return Decision{Verdict: VerdictFallback, Reach: ReachAll}, true
	case doubtful && at.Standing == StandingUnproven && p.Fallback && !p.NeedsV2:
		return Decision{Verdict: VerdictFallback, Reach: ReachTrial}, true
	}
	return Decision{}, false
}

// passes says whether an answer is of the kind that may pass.
func (p *Policy) passes(a *Answer) bool {
	return a.Status == 0 || a.Status >= 500 && a.Status <= 599 || a.Status == http.StatusTooManyRequests && p.RetryOn429
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
	if p.Expired(at.Elapsed + delay) {
		return exhausted
	}
	return Decision{Verdict: VerdictRetry, Delay: delay}
}

// Expired says whether a request that was first sent so long ago must not be sent again.
func (p *Policy) Expired(elapsed time.Duration) bool {
	return p.BackOff.MaxElapsedTime > 0 && elapsed > p.BackOff.MaxElapsedTime
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

// Asked is how long an answer asks to wait.
func (p *Policy) Asked(a *Answer, now time.Time) time.Duration {
	return p.retryAfter(a.RetryAfter, now)
}

// Doubt is the delay before the next request to an endpoint that has failed so many times in a row, whatever was sent. Its
// random part only makes it longer, so that an endpoint that is away is left alone.
func (p *Policy) Doubt(failures int, random float64) time.Duration {
	interval := float64(p.backOff(Attempt{Number: failures, Random: 0.5}))
	return time.Duration(interval * (1 + p.BackOff.RandomizationFactor*random))
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
