// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// restarts is a history of two processes, of which the first died after a minute. Its last write to storage had begun ten seconds
// before.
func restarts() *history {
	h := newHistory()
	h.r.Lives = []*Record{
		{Settings: h.r.Settings, Died: true, Ended: h.start.Add(time.Minute), Written: h.start.Add(50 * time.Second)},
		{Settings: h.r.Settings, Start: h.start.Add(time.Minute)},
	}
	return h
}

// answer sends a request that was answered at a second after the start.
func (h *history) answer(life, at, status int, seconds ...int) {
	h.send(status, seconds...)
	x := h.r.Exchanges[len(h.r.Exchanges)-1]
	x.Life, x.Start, x.Ended = life, h.start.Add(time.Duration(at)*time.Second), h.start.Add(time.Duration(at)*time.Second)
	x.End = h.r.next()
}

// acceptIn is accept by a process.
func (h *history) acceptIn(life, at int, seconds ...int) {
	h.accept(at, seconds...)
	h.r.Calls[len(h.r.Calls)-1].Life = life
}

// TestSentAgainAfterACrash: what had no outcome when a process died, or one that was not stored, may be sent again, in its order and
// apart from what comes then.
func TestSentAgainAfterACrash(t *testing.T) {
	for name, tt := range map[string]struct {
		send func(h *history)
		says string
	}{
		"what was under way": {func(h *history) {
			h.answer(0, 20, 200, 1, 2)
			h.answer(0, 60, 0, 3, 4)
			h.answer(1, 70, 200, 3)
			h.answer(1, 71, 200, 4)
		}, ""},
		"what was not stored": {func(h *history) {
			h.answer(0, 20, 200, 1, 2)
			h.answer(0, 55, 200, 3)
			h.answer(1, 70, 200, 3, 4)
		}, ""},
		"a part of what was not stored": {func(h *history) {
			h.answer(0, 20, 413, 1, 2)
			h.answer(0, 21, 200, 1)
			h.answer(0, 60, 0, 2)
			h.answer(1, 70, 200, 1, 2)
			h.answer(1, 71, 200, 3, 4)
		}, ""},
		"what was stored": {func(h *history) {
			h.answer(0, 20, 200, 1, 2)
			h.answer(0, 21, 200, 3)
			h.answer(1, 70, 200, 2, 3, 4)
		}, "had its outcome before"},
		"what was stored, later than something else": {func(h *history) {
			h.answer(0, 20, 200, 1, 2)
			h.answer(0, 55, 200, 3)
			h.answer(1, 70, 200, 2)
		}, "had its outcome before"},
		"out of order": {func(h *history) {
			h.answer(0, 60, 0, 1, 2)
			h.answer(1, 70, 200, 2)
			h.answer(1, 71, 200, 1)
		}, "had its outcome before"},
		"with what comes then": {func(h *history) {
			h.answer(0, 20, 200, 1, 2)
			h.acceptIn(1, 65, 5)
			h.answer(1, 70, 200, 3, 4, 5)
		}, "was recovered, together with"},
	} {
		t.Run(name, func(t *testing.T) {
			h := restarts()
			h.acceptIn(0, 10, 1, 2)
			h.acceptIn(0, 11, 3, 4)
			tt.send(h)
			checkFinds(t, h, tt.says)
		})
	}
}

// TestSentAgainAfterAStop: what a process has ended itself, because an answer to another request was to stop it, has no outcome. Without
// retries, what the network ends has one.
func TestSentAgainAfterAStop(t *testing.T) {
	for name, tt := range map[string]struct {
		fatal int
		after int
		says  string
	}{
		"ended by itself": {1, 20, ""}, "ended by the network": {0, 20, "had its outcome before"}, "ended before it stopped": {1, 40, "had its outcome before"},
	} {
		t.Run(name, func(t *testing.T) {
			h := restarts()
			h.r.Settings.RetryEnabled = false
			h.r.Lives[0].FatalEvents, h.r.Lives[0].Closing = tt.fatal, h.r.Lives[0].Ended
			h.acceptIn(0, 10, 1, 2)
			h.acceptIn(0, 11, 3, 4)
			h.answer(0, 30, 0, 1, 2)
			h.answer(0, tt.after, 200, 3)
			h.answer(1, 70, 200, 1, 2, 4)
			checkFinds(t, h, tt.says)
		})
	}
}

// TestAcceptedTwice: a payload that a process could not store in time, or of which it did not say so before it died, may have been
// accepted, and is when another process says so.
func TestAcceptedTwice(t *testing.T) {
	vague := func(h *history) {
		h.acceptIn(0, 10, 1, 2)
		c := h.r.Calls[0]
		c.Vague = true
		again := *c
		again.Life, again.Vague, again.Begin, again.End = 1, false, h.r.next(), h.r.next()
		h.r.Calls = append(h.r.Calls, &again)
	}
	h := restarts()
	vague(h)
	h.answer(1, 70, 200, 1, 2)
	checkFinds(t, h, "")

	h = restarts()
	vague(h)
	m := newModel(&h.r)
	assert.Equal(t, [2]int{2, 4}, m.received)
	for _, it := range m.series["series"].line.items[:2] {
		assert.False(t, it.optional)
	}

	h = restarts()
	h.acceptIn(0, 10, 1, 2)
	h.r.Calls[0].Vague = true
	m = newModel(&h.r)
	assert.Equal(t, [2]int{0, 2}, m.received)
	for _, it := range m.series["series"].line.items {
		assert.True(t, it.optional)
	}
}

// TestDroppedAfterItWasSent: what a process has sent, and has left without an outcome, the next one may drop before it is sent again.
func TestDroppedAfterItWasSent(t *testing.T) {
	for name, tt := range map[string]struct {
		status int
		says   string
	}{
		"without an outcome": {0, ""}, "with one": {200, "2 samples are counted as dropped before they were sent, and 0 were"},
	} {
		t.Run(name, func(t *testing.T) {
			h := restarts()
			h.r.Lives[0].Closing = h.start.Add(time.Second)
			h.acceptIn(0, 10, 1, 2)
			h.answer(0, 20, tt.status, 1, 2)
			c := newChecker(&h.r)
			c.checkOrder()
			c.checkUnsent(&Accounts{Dropped: map[Drop]int64{{Reason: "queue_full"}: 2}})
			if tt.says == "" {
				assert.Empty(t, c.found)
			} else {
				assert.Equal(t, []string{tt.says}, c.found)
			}
		})
	}
}
