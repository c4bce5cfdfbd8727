// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"errors"
	"net/http"
	"time"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/remote"
)

// gate is what the endpoint asks of everybody, or what its silence means for everybody. It is plain data under the queue's
// lock.
type gate struct {
	// asked is until when the endpoint asks to wait, and doubt until when nothing is sent because nothing passes.
	asked, doubt time.Time
	// failures counts answers and time-outs since the last success; since is when the first of them came, and failedAt the last.
	failures        int
	since, failedAt time.Time
	// succeeded is when the last success came.
	succeeded time.Time
	// probedRetry says that the last probe was a retry, so that the next one is something else if there is anything.
	probedRetry bool
	// pause is set while the endpoint's answers judge the sender; paused is how long all pauses before were.
	pause  *pause
	paused time.Duration
}

// pause is a state in which requests would be refused whatever they carry.
type pause struct {
	answer *remote.Answer
	since  time.Time
	// delay is the time until the next probe after one was refused.
	delay time.Duration
}

const (
	// doubtAfter is the failures in a row after which one request at a time is sent.
	doubtAfter = 4
	// firstPauseDelay and longestPauseDelay bound the time between two probes of a paused endpoint.
	firstPauseDelay   = time.Second
	longestPauseDelay = 30 * time.Second
)

// doubtful says that nothing passes, so that one request at a time is sent until one does.
func (g *gate) doubtful() bool {
	return g.failures >= doubtAfter || g.pause != nil
}

// retriesFirst says whether a retry goes before a new request. In doubt the two take turns, so that a request that never passes
// is told from an endpoint that never answers; a paused endpoint is probed with new requests, which are smaller.
func (g *gate) retriesFirst() bool {
	return g.pause == nil && !(g.doubtful() && g.probedRetry)
}

// opens is until when nothing is sent.
func (g *gate) opens() time.Time {
	if g.asked.After(g.doubt) {
		return g.asked
	}
	return g.doubt
}

// ask closes the gate for as long as the endpoint asks for.
func (g *gate) ask(now time.Time, d time.Duration) {
	if until := now.Add(d); until.After(g.asked) {
		g.asked = until
	}
}

// failed takes note of a failure that may pass, of what was sent at a time. In doubt the next request waits the longer, the more
// have failed in a row, whichever they were. Those that were under way together when one failed are no reason to doubt more.
func (g *gate) failed(now, sent time.Time, delay func(failures int) time.Duration) {
	if g.failures >= doubtAfter && !sent.After(g.failedAt) {
		return
	}
	if g.failures == 0 {
		g.since = now
	}
	g.failedAt = now
	if g.failures++; g.failures >= doubtAfter {
		g.doubt = now.Add(delay(g.failures))
	}
}

// pass takes note of a success, and returns how many failures it ended and since when.
func (g *gate) pass(now time.Time) (failures int, since time.Time) {
	failures, since = g.failures, g.since
	g.failures, g.succeeded = 0, now
	g.doubt = time.Time{}
	return failures, since
}

// refused takes note of an answer that judges the sender, to what was sent at a time. It returns whether that is news. Requests
// that were under way when the pause began are no probes: they do not delay the next one.
func (g *gate) refused(now, sent time.Time, a *remote.Answer) (began bool) {
	if began = g.pause == nil; began {
		g.pause = &pause{since: now, delay: firstPauseDelay}
	}
	g.pause.answer = a
	if !began && !sent.After(g.pause.since) {
		return false
	}
	g.doubt = now.Add(g.pause.delay)
	g.pause.delay = min(2*g.pause.delay, longestPauseDelay)
	return began
}

// postpone lets a pause go on after an answer that does not end it.
func (g *gate) postpone(now time.Time) {
	if g.pause != nil {
		g.doubt = now.Add(g.pause.delay)
	}
}

// resume ends a pause, and returns it, or nil if there is none.
func (g *gate) resume(now time.Time) *pause {
	p := g.pause
	if p != nil {
		g.paused = g.pausedFor(now)
		g.pause, g.doubt = nil, time.Time{}
	}
	return p
}

// pausedFor is how long all pauses were together.
func (g *gate) pausedFor(now time.Time) time.Duration {
	if g.pause == nil {
		return g.paused
	}
	return g.paused + now.Sub(g.pause.since)
}

// overloads says whether an answer shows that the endpoint is too slow, or asks to wait.
func overloads(a *remote.Answer) bool {
	var timeout interface{ Timeout() bool }
	switch a.Status {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable:
		return true
	case 0:
		return errors.As(a.Err, &timeout) && timeout.Timeout()
	default:
		return false
	}
}

// asks says whether the endpoint asks everybody to wait.
func asks(a *remote.Answer) bool {
	return a.Status == http.StatusTooManyRequests || a.Status == http.StatusServiceUnavailable ||
		a.RetryAfter != "" && a.Status >= 500
}
