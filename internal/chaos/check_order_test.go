// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// history is a round with one series, written by hand.
type history struct {
	r     Record
	start time.Time
}

// newHistory has a series that is forgotten after ten seconds.
func newHistory() *history {
	h := &history{start: time.UnixMilli(1_000_000_000_000)}
	h.r = Record{
		Settings: &Settings{OutOfOrder: "send", SeriesIdleTimeout: 10 * time.Second, Rejected: discard, RetryEnabled: true, RetryOn429: true},
		Rules:    Rules{SortsPayloads: true, DropsRepeats: true, MaxPast: time.Hour},
		Accounts: []*Accounts{{}},
	}
	return h
}

// points are samples of the series, so many seconds after the start.
func (h *history) points(seconds []int) []Point {
	var points []Point
	for _, s := range seconds {
		points = append(points, Point{"series", floatSample(h.start.UnixMilli()+int64(s)*1000, 1)})
	}
	return points
}

// accept is a call at a second after the start.
func (h *history) accept(at int, seconds ...int) {
	c := &Call{Begin: h.r.next(), Start: h.start.Add(time.Duration(at) * time.Second), Payload: &Payload{}}
	c.Ended, c.End = c.Start, h.r.next()
	c.Payload.Native.Points = h.points(seconds)
	h.r.Calls = append(h.r.Calls, c)
}

func (h *history) send(status int, seconds ...int) {
	h.r.Exchanges = append(h.r.Exchanges, &Exchange{
		Number: len(h.r.Exchanges) + 1, Begin: h.r.next(), Points: h.points(seconds), Status: status,
	})
}

// TestHeldSamplesAreSentInOrderOfTime: behind a sample of two hours ago wait those of 30 and 31; 20 comes when the series is
// forgotten. The request with all of them is in the order of time, and so are its parts. Nothing else may be exchanged.
func TestHeldSamplesAreSentInOrderOfTime(t *testing.T) {
	const old = -2 * 60 * 60
	for name, tt := range map[string]struct {
		send func(h *history)
		says string
	}{
		"at once": {func(h *history) {
			h.send(200, old, 20, 30, 31, 40)
		}, ""},
		"again": {func(h *history) {
			h.send(503, old, 20, 30, 31, 40)
			h.send(413, old, 20, 30, 31, 40)
			h.send(200, old, 20, 30, 31, 40)
		}, ""},
		"in parts": {func(h *history) {
			h.send(413, old, 20, 30, 31, 40)
			h.send(413, old, 20)
			h.send(200, old)
			h.send(503, 20)
			h.send(200, 20)
			h.send(413, 30, 31, 40)
			h.send(200, 30)
			h.send(503, 31, 40)
			h.send(200, 31, 40)
		}, ""},
		"newer first": {func(h *history) {
			h.send(200, old, 20, 31, 30, 40)
		}, "out of order"},
		"newer part first": {func(h *history) {
			h.send(413, old, 20, 30, 31, 40)
			h.send(200, old, 20, 31, 40)
			h.send(200, 30)
		}, "had its outcome before"},
		"newer part first, without an outcome": {func(h *history) {
			h.send(413, old, 20, 30, 31, 40)
			h.send(503, 31, 40)
			h.send(200, old, 20, 30)
		}, "had its outcome before"},
		"newer without the older": {func(h *history) {
			h.send(503, 31)
			h.send(200, 30, 31)
		}, "had its outcome before"},
		"late one again": {func(h *history) {
			h.send(413, old, 20, 30, 31, 40)
			h.send(200, old, 20)
			h.send(200, 20, 30, 31, 40)
		}, "had its outcome before"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHistory()
			h.accept(0, old)
			h.accept(30, 30, 31)
			h.accept(50, 20, 40)
			tt.send(h)
			checkFinds(t, h, tt.says)
		})
	}
}

// TestLateSamplesAreSentInOrderOfAcceptance where nothing old is before them, or the series is known.
func TestLateSamplesAreSentInOrderOfAcceptance(t *testing.T) {
	const old = -2 * 60 * 60
	t.Run("nothing is held", func(t *testing.T) {
		h := newHistory()
		h.accept(30, 30)
		h.accept(50, 20)
		h.send(200, 20, 30)
		checkFinds(t, h, "out of order")
	})
	t.Run("nothing is forgotten", func(t *testing.T) {
		h := newHistory()
		h.accept(25, old)
		h.accept(30, 30)
		h.accept(35, 20)
		h.send(200, old, 20, 30)
		checkFinds(t, h, "out of order")
	})
}

// checkFinds checks that the order is found to be as it must, or broken in one way.
func checkFinds(t *testing.T, h *history, says string) {
	t.Helper()
	c := newChecker(&h.r)
	c.checkOrder()
	if says == "" {
		assert.Empty(t, c.found)
		return
	}
	assert.NotEmpty(t, c.found)
	for _, p := range c.found {
		assert.Contains(t, p, says)
	}
}

// TestFutureSampleThatComesAgain: a sample that was far ahead of the clock waits among the late ones, and is accepted once more in its
// line when it is not any more, behind a late one. What is sent first may be either of the two.
func TestFutureSampleThatComesAgain(t *testing.T) {
	for _, idle := range []time.Duration{10 * time.Second, time.Hour} {
		h := newHistory()
		h.r.Settings.SeriesIdleTimeout, h.r.Rules.MaxFuture = idle, 10*time.Minute
		h.accept(0, 100)
		h.accept(1, 90)
		h.accept(2, 700)
		h.accept(150, 90, 700)
		h.send(200, 100)
		h.send(200, 90)
		h.send(200, 700)
		h.send(200, 90)
		h.accept(151, 701)
		h.send(503, 700, 701)
		h.send(200, 700, 701)
		checkFinds(t, h, "")
	}
}

// TestFutureSampleOfACallThatWaits: its payload has waited for room until the sample was not too far ahead any more, and makes an
// earlier one that comes again late.
func TestFutureSampleOfACallThatWaits(t *testing.T) {
	h := newHistory()
	h.r.Settings.OutOfOrder, h.r.Settings.SeriesIdleTimeout, h.r.Rules.MaxFuture = "separate", time.Hour, 10*time.Minute
	h.accept(0, 100)
	h.accept(1, 605)
	waited := h.r.Calls[1]
	waited.Ended = waited.Start.Add(6 * time.Second)
	h.accept(8, 100)
	h.send(200, 100)
	h.send(200, 605)
	h.send(200, 100)
	checkFinds(t, h, "")
}
