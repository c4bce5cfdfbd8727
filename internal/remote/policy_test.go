// SPDX-License-Identifier: Apache-2.0

package remote

import (
	"errors"
	"math"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/config/configretry"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

func testPolicy(edit ...func(*Policy)) *Policy {
	p := &Policy{
		BackOff:       configretry.NewDefaultBackOffConfig(),
		MaxRetryAfter: time.Minute,
		RetryOn429:    true,
		Exhausted:     VerdictDrop,
		Fatal:         VerdictFail,
	}
	p.BackOff.InitialInterval = 30 * time.Millisecond
	p.BackOff.MaxInterval = 5 * time.Second
	p.BackOff.Multiplier = 2
	p.BackOff.RandomizationFactor = 0
	p.BackOff.MaxElapsedTime = 0
	for _, e := range edit {
		e(p)
	}
	return p
}

// TestDecide is the table of the Remote-Write specifications and of the Flink connector.
func TestDecide(t *testing.T) {
	retry := Decision{Verdict: VerdictRetry, Delay: 30 * time.Millisecond}
	rejected := Decision{Verdict: VerdictDrop, Reason: account.ReasonRejected}
	isolated := Decision{Verdict: VerdictSplit, Reason: account.ReasonRejected}
	split := Decision{Verdict: VerdictSplit, Reason: account.ReasonTooLarge}
	fatal := func(v Verdict, r account.Reason) Decision { return Decision{Verdict: v, Reason: r, Permanent: true} }
	no429 := func(p *Policy) { p.RetryOn429 = false }
	isolate := func(p *Policy) { p.Isolate = true }
	pauseFatal := func(p *Policy) { p.Fatal = VerdictPause }
	discardFatal := func(p *Policy) { p.Fatal = VerdictDrop }
	retryFatal := func(p *Policy) { p.Fatal = VerdictRetry }
	noRetry := func(p *Policy) { p.BackOff.Enabled = false }
	failExhausted := func(p *Policy) { p.Exhausted = VerdictFail }

	for _, tt := range []struct {
		name     string
		statuses []int
		edit     []func(*Policy)
		want     Decision
	}{
		{"2xx is delivered", []int{200, 201, 202, 204, 206, 299}, nil, Decision{Verdict: VerdictDelivered}},
		{"no answer is retried", []int{0}, nil, retry},
		{"5xx is retried", []int{500, 501, 502, 503, 504, 529, 599}, nil, retry},
		{"429 is retried", []int{429}, nil, retry},
		{"429 is rejected if it is not retried", []int{429}, []func(*Policy){no429}, rejected},
		{"a rejected 429 is not isolated: the rate is refused, not the content", []int{429}, []func(*Policy){no429, isolate}, rejected},
		{"what judges the sender is fatal", []int{401, 402, 403, 404, 405, 407, 410, 411, 414, 415, 421, 426, 431, 451}, nil, fatal(VerdictFail, account.ReasonFatal)},
		{"fatal: pause", []int{401, 404, 415}, []func(*Policy){pauseFatal}, fatal(VerdictPause, account.ReasonFatal)},
		{"fatal: discard", []int{401, 403, 404}, []func(*Policy){discardFatal}, fatal(VerdictDrop, account.ReasonFatal)},
		{"fatal: retry", []int{401, 403, 404, 302}, []func(*Policy){retryFatal}, retry},
		{"any other 4xx is rejected", []int{400, 406, 408, 409, 412, 416, 417, 422, 423, 424, 425, 428, 499}, nil, rejected},
		{"rejected: isolate", []int{400, 409, 422}, []func(*Policy){isolate}, isolated},
		{"what judges the sender is not isolated", []int{402, 405, 407, 410, 411, 414, 415, 421, 426, 431, 451}, []func(*Policy){isolate}, fatal(VerdictFail, account.ReasonFatal)},
		{"413 is split, whatever the setting", []int{413}, nil, split},
		{"413 is split, whatever the setting", []int{413}, []func(*Policy){isolate}, split},
		{"redirects and what is no answer are unexpected", []int{100, 101, 199, 300, 301, 302, 303, 304, 307, 308, 399, 600, 999}, nil, fatal(VerdictFail, account.ReasonUnexpected)},
		{"unexpected answers follow on_error.fatal", []int{301, 304}, []func(*Policy){discardFatal}, fatal(VerdictDrop, account.ReasonUnexpected)},
		{"retries can be switched off", []int{0, 500, 503, 429}, []func(*Policy){noRetry}, Decision{Verdict: VerdictDrop, Reason: account.ReasonRetriesExhausted}},
		{"retries_exhausted: fail", []int{0, 500, 503, 429}, []func(*Policy){noRetry, failExhausted}, Decision{Verdict: VerdictFail, Reason: account.ReasonRetriesExhausted}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := testPolicy(tt.edit...)
			for _, status := range tt.statuses {
				assert.Equal(t, tt.want, p.Decide(&Answer{Status: status}, Attempt{Number: 1}), "status %d", status)
			}
		})
	}
}

// TestUnknown: what the endpoint has perhaps taken is isolated whatever the setting, unless the answer says how much it has.
func TestUnknown(t *testing.T) {
	for a, want := range map[*Answer]bool{
		{Err: errors.New("EOF")}: true, {Err: errors.New("no connection"), Unsent: true}: false, {Err: &TimeoutError{}}: true,
		{Status: 502}: true, {Status: 504}: true, {Status: 204}: true,
		{Status: 500}: false, {Status: 503}: false, {Status: 429}: false, {Status: 400}: false, {Status: 302}: false,
	} {
		assert.Equal(t, want, a.Unknown(), "%v", a)
	}

	unsure := Attempt{Number: 2, Unsure: true}
	isolated := Decision{Verdict: VerdictSplit, Reason: account.ReasonRefusedAfterUnknown}
	for _, isolate := range []bool{false, true} {
		p := testPolicy(func(p *Policy) { p.Isolate = isolate })
		for _, status := range []int{400, 409, 422} {
			assert.Equal(t, isolated, p.Decide(&Answer{Status: status}, unsure), "status %d", status)
		}
		assert.Equal(t, VerdictRetry, p.Decide(&Answer{Status: 500}, unsure).Verdict)
		assert.Equal(t, account.ReasonTooLarge, p.Decide(&Answer{Status: 413}, unsure).Reason)
		assert.Equal(t, account.ReasonFatal, p.Decide(&Answer{Status: 404}, unsure).Reason)
		exact := unsure
		exact.Protocol = wire.V2
		assert.Equal(t, Decision{Verdict: VerdictDrop, Reason: account.ReasonRefusedAfterUnknown},
			p.Decide(&Answer{Status: 400, Written: Written{Present: true}}, exact))
	}
}

func TestRetriesEnd(t *testing.T) {
	a := &Answer{Status: 503}
	exhausted := Decision{Verdict: VerdictDrop, Reason: account.ReasonRetriesExhausted}

	t.Run("after max_retries", func(t *testing.T) {
		p := testPolicy(func(p *Policy) { p.MaxRetries = 2 })
		assert.Equal(t, VerdictRetry, p.Decide(a, Attempt{Number: 2}).Verdict)
		assert.Equal(t, exhausted, p.Decide(a, Attempt{Number: 3}))
	})
	t.Run("before max_elapsed_time would be exceeded", func(t *testing.T) {
		p := testPolicy(func(p *Policy) { p.BackOff.MaxElapsedTime = time.Minute })
		assert.Equal(t, VerdictRetry, p.Decide(a, Attempt{Number: 20, Elapsed: 55 * time.Second}).Verdict)
		assert.Equal(t, exhausted, p.Decide(a, Attempt{Number: 20, Elapsed: 56 * time.Second}))
	})
	t.Run("when Retry-After asks for longer than is left", func(t *testing.T) {
		p := testPolicy(func(p *Policy) { p.BackOff.MaxElapsedTime = time.Minute })
		assert.Equal(t, exhausted, p.Decide(&Answer{Status: 429, RetryAfter: "30"}, Attempt{Number: 1, Elapsed: 31 * time.Second}))
	})
	t.Run("never without a limit", func(t *testing.T) {
		p := testPolicy()
		assert.Equal(t, VerdictRetry, p.Decide(a, Attempt{Number: math.MaxInt, Elapsed: 1 << 60}).Verdict)
	})
}

// TestBackOff has the delays of the Flink connector's tests, and the attempts at which its shift overflows.
func TestBackOff(t *testing.T) {
	p := testPolicy()
	for _, tt := range []struct {
		attempt int
		want    time.Duration
	}{
		{1, 30 * time.Millisecond},
		{2, 60 * time.Millisecond},
		{3, 120 * time.Millisecond},
		{4, 240 * time.Millisecond},
		{8, 3840 * time.Millisecond},
		{9, 5 * time.Second},
		{60, 5 * time.Second},
		{63, 5 * time.Second},
		{64, 5 * time.Second},
		{10_000, 5 * time.Second},
		{math.MaxInt, 5 * time.Second},
	} {
		assert.Equal(t, tt.want, p.backOff(Attempt{Number: tt.attempt, Random: 0.99}), "attempt %d", tt.attempt)
	}
}

func TestBackOffWithJitterStaysWithinItsBounds(t *testing.T) {
	p := testPolicy(func(p *Policy) { p.BackOff.RandomizationFactor = 0.5 })
	assert.Equal(t, 15*time.Millisecond, p.backOff(Attempt{Number: 1, Random: 0}))
	assert.Equal(t, 30*time.Millisecond, p.backOff(Attempt{Number: 1, Random: 0.5}))
	for range 10_000 {
		number := 1 + rand.IntN(100)
		delay := p.backOff(Attempt{Number: number, Random: rand.Float64()})
		require.Positive(t, delay, "attempt %d", number)
		require.LessOrEqual(t, delay, p.BackOff.MaxInterval, "attempt %d", number)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	p := testPolicy(func(p *Policy) { p.MaxRetryAfter = time.Minute })
	for _, tt := range []struct {
		name, header string
		want         time.Duration
	}{
		{"absent", "", 0},
		{"seconds", "7", 7 * time.Second},
		{"seconds, in spaces", " 7 ", 7 * time.Second},
		{"no seconds", "0", 0},
		{"a date", now.Add(9 * time.Second).Format(http.TimeFormat), 9 * time.Second},
		{"a date in an old format", now.Add(9 * time.Second).Format(time.ANSIC), 9 * time.Second},
		{"a date in the past", now.Add(-time.Hour).Format(http.TimeFormat), 0},
		{"negative seconds", "-5", 0},
		{"a fraction", "1.5", 0},
		{"rubbish", "soon", 0},
		{"more seconds than are allowed", "61", time.Minute},
		{"more seconds than fit a duration", "9223372036855", time.Minute},
		{"more seconds than fit 64 bits", strings.Repeat("9", 40), time.Minute},
		{"a date far away", now.AddDate(200, 0, 0).Format(http.TimeFormat), time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			assert.Equal(t, tt.want, p.retryAfter(tt.header, now))
		})
	}

	t.Run("the back-off is the least delay", func(t *testing.T) {
		d := p.Decide(&Answer{Status: 429, RetryAfter: "1"}, Attempt{Number: 9, Now: now})
		assert.Equal(t, 5*time.Second, d.Delay)
	})
	t.Run("it holds for 5xx too", func(t *testing.T) {
		d := p.Decide(&Answer{Status: 503, RetryAfter: "30"}, Attempt{Number: 1, Now: now})
		assert.Equal(t, 30*time.Second, d.Delay)
	})
}

func TestAnswerError(t *testing.T) {
	assert.EqualError(t, &Answer{Err: errors.New("connection refused")}, "no answer from the endpoint: connection refused")
	assert.EqualError(t, &Answer{Status: 404}, "endpoint answered 404 Not Found")
	assert.EqualError(t, &Answer{Status: 400, Body: "out of bounds"}, "endpoint answered 400 Bad Request: out of bounds")
}
