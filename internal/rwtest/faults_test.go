// SPDX-License-Identifier: Apache-2.0

package rwtest

import (
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestOutcomes(t *testing.T) {
	for name, tt := range map[string]struct {
		faults   Faults
		statuses []int // that are seen
		fault    Fault
		stored   bool
	}{
		"none":                {Faults{}, []int{204}, NoFault, true},
		"server error":        {Faults{ServerError: 1000}, []int{500, 502, 503, 504}, NoFault, false},
		"stored server error": {Faults{StoredServerError: 1000}, []int{500, 502, 503, 504}, NoFault, true},
		"too many requests":   {Faults{TooManyRequests: 1000}, []int{429}, NoFault, false},
		"client error":        {Faults{ClientError: 1000}, []int{400, 409, 422}, NoFault, false},
		"chosen client error": {Faults{ClientError: 1000, ClientStatuses: []int{401, 413}}, []int{401, 413}, NoFault, false},
		"redirect":            {Faults{Redirect: 1000}, []int{301, 302, 303, 304, 307, 308}, NoFault, false},
		"reset unread":        {Faults{ResetUnread: 1000}, nil, Reset, false},
		"drop answer":         {Faults{DropAnswer: 1000}, nil, Reset, true},
		"cut answer":          {Faults{CutAnswer: 1000}, []int{200}, Cut, true},
		"cut error":           {Faults{CutError: 1000}, []int{500}, Cut, false},
		"hang":                {Faults{Hang: 1000}, nil, Hang, false},
		"stored hang":         {Faults{StoredHang: 1000}, nil, Hang, true},
	} {
		t.Run(name, func(t *testing.T) {
			var statuses []int
			for seq := range 200 {
				a := tt.faults.draw(seq)
				assert.Equal(t, tt.fault, a.Fault)
				assert.Equal(t, tt.stored, a.Stored || a.Success())
				if a.Seen() {
					statuses = append(statuses, a.Code())
				}
			}
			slices.Sort(statuses)
			assert.Equal(t, tt.statuses, slices.Compact(statuses))
		})
	}
}

func TestFaultsAreAsLikelyAsConfigured(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // a Retry-After date depends on the clock
		f := Faults{Seed: 1, ServerError: 100, TooManyRequests: 200, Hang: 50, MinLatency: time.Second, MaxLatency: 3 * time.Second}
		const n = 10_000
		counts := make(map[int]int)
		hangs, latency := 0, time.Duration(0)
		for seq := range n {
			a := f.draw(seq)
			assert.Equal(t, a, f.draw(seq), "the seed and the number decide")
			counts[a.Code()/100]++
			if a.Fault == Hang {
				hangs++
			}
			assert.True(t, f.MinLatency <= a.Latency && a.Latency <= f.MaxLatency, a.Latency)
			latency += a.Latency
		}
		assert.InDelta(t, n*100/1000, counts[5], 150)
		assert.InDelta(t, n*200/1000, counts[4], 150)
		assert.InDelta(t, n*50/1000, hangs, 100)
		assert.InDelta(t, 2, (latency / n).Seconds(), 0.05)
	})
}

func TestBesides(t *testing.T) {
	f := Faults{HugeBody: 1000, SlowBody: 1000, LyingHeader: 1000, MaxLatency: time.Second}
	a := f.draw(1)
	assert.Equal(t, 200, a.Code(), "a slow body needs a status that has one")
	assert.Equal(t, time.Second, a.BodyTime)
	assert.Zero(t, a.BodySize, "only errors are huge")
	assert.Len(t, a.Header, 3)
	f.ServerError = 1000
	assert.Equal(t, 4<<20, f.draw(1).BodySize)
}

func TestRetryAfterComesInAllForms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // where time stands still
		f := Faults{TooManyRequests: 1000, MaxRetryAfter: 2 * time.Second}
		seen := make(map[string]bool)
		for seq := range 500 {
			seen[f.draw(seq).Header.Get("Retry-After")] = true
		}
		for _, want := range []string{
			"", "0", "1", "2", "soon", "-1", "1.5",
			time.Now().Add(2 * time.Second).UTC().Format(http.TimeFormat),
			time.Now().Add(-time.Hour).UTC().Format(http.TimeFormat),
		} {
			assert.True(t, seen[want], "%q", want)
		}
	})
}
