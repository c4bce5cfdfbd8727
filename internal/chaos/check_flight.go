// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"bytes"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// checkFlights is the promise of one in flight: no request has samples of a series of another one that has no end yet.
func (c *checker) checkFlights() {
	open := make(map[string]*flight)
	for _, x := range c.flights {
		seen := make(map[string]bool)
		for _, pt := range x.Points {
			if seen[pt.Series] {
				continue
			}
			seen[pt.Series] = true
			other := open[pt.Series]
			// A receiver learns late that a client gave up. Ours knows how late.
			abandoned := c.Unseen || c.Network && other != nil && other.Status == 0
			if other != nil && (other.End == 0 || other.End > x.Begin) && !abandoned {
				c.problem("%v was sent while %v was in flight, with samples of %.300s", x, other, pt.Series)
			}
			open[pt.Series] = x
		}
	}
}

// checkAgain checks a request whose samples were sent before.
func (c *checker) checkAgain(x *flight) {
	var before []*flight
	for _, it := range x.items {
		// What an earlier process has accepted was perhaps sent.
		x.unsure = x.unsure || x.Life > 0 && (it.call == nil || it.call.Life < x.Life || it.retold)
		if it.last != nil && it.last != x && !slices.Contains(before, it.last) {
			before = append(before, it.last)
		}
	}
	for _, y := range before {
		if y.Life < x.Life {
			x.unsure = true
			continue
		}
		x.unsure = x.unsure || c.Rules.IsolatesUnknown && (y.unsure || y.unknown())
		same := bytes.Equal(x.Body, y.Body)
		if same {
			x.attempt, x.firstAt = y.attempt+1, y.firstAt
		}
		if c.ambiguous {
			continue
		}
		c.checkContent(y, x, same)
		if same && c.passing(y) {
			c.checkRetry(y, x)
		}
	}
}

// checkContent checks that x, which has samples of y again, has nothing else of their series.
func (c *checker) checkContent(y, x *flight, same bool) {
	if !c.passing(y) || same {
		return
	}
	if c.Settings.MaxAge == 0 && y.V2 == x.V2 && !c.Rules.SplitsRetries {
		c.problem("%v sends again other bytes than %v", x, y)
	}
	of := make(map[string]bool)
	for _, it := range y.items {
		of[it.Series] = true
	}
	for _, it := range x.items {
		if of[it.Series] && it.last != y {
			c.problem("%v has samples of %v again, together with others of their series: %v", x, y, it.Point)
			return
		}
	}
}

// paused says whether answers had the endpoint be left alone for a while, which does not count as time of retries.
func (c *checker) paused() bool {
	return c.Settings.Fatal == pause && c.Record.final().dropped("fatal", "unexpected_answer") > 0
}

// checkRetry checks a request that repeats another one.
func (c *checker) checkRetry(y, x *flight) {
	s := c.Settings
	if wait := askedFor(y); !c.Unseen && x.Start.Before(y.Ended.Add(min(wait, s.MaxRetryAfter))) {
		c.problem("%v was sent %v after %v, which asked for %v", x, x.Start.Sub(y.Ended), y, wait)
	}
	if n := s.MaxRetries; n > 0 && x.attempt > n+1 {
		c.problem("%v is retry %d of %d", x, x.attempt-1, n)
	}
	if limit := s.MaxElapsedTime; limit > 0 && x.Start.Sub(x.firstAt) > limit && !c.Network && !s.Storage && !c.paused() {
		c.problem("%v is a retry after %v", x, x.Start.Sub(x.firstAt))
	}
}

// askedFor is the time in seconds that a Retry-After header asks for.
func askedFor(x *flight) time.Duration {
	if x.Status != http.StatusTooManyRequests && x.Status != http.StatusServiceUnavailable {
		return 0
	}
	seconds, err := strconv.ParseUint(x.Header.Get("Retry-After"), 10, 31)
	if err != nil {
		return 0
	}
	return time.Duration(seconds) * time.Second
}
