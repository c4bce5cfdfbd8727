package orderedremotewriteexporter

import (
	"errors"
	"math/rand/v2"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
)

func testPolicy(edit ...func(*Config)) *policy {
	cfg := createDefaultConfig().(*Config)
	cfg.Retry.BackOff.RandomizationFactor = 0
	cfg.Retry.BackOff.MaxElapsedTime = 0
	for _, e := range edit {
		e(cfg)
	}
	return &policy{retry: cfg.Retry, retryOn429: cfg.RetryOn429, onError: cfg.OnError}
}

// TestDecide is the table of the Remote-Write specifications and of the Flink connector.
func TestDecide(t *testing.T) {
	retry := decision{verdict: verdictRetry, delay: 30 * time.Millisecond}
	rejected := decision{verdict: verdictDrop, reason: account.ReasonRejected}
	isolated := decision{verdict: verdictSplit, reason: account.ReasonRejected}
	split := decision{verdict: verdictSplit, reason: account.ReasonTooLarge}
	fatal := func(v verdict, r account.Reason) decision { return decision{verdict: v, reason: r, permanent: true} }
	no429 := func(c *Config) { c.RetryOn429 = false }
	isolate := func(c *Config) { c.OnError.Rejected = OnRejectedIsolate }
	discardFatal := func(c *Config) { c.OnError.Fatal = OnFatalDiscard }
	retryFatal := func(c *Config) { c.OnError.Fatal = OnFatalRetry }
	noRetry := func(c *Config) { c.Retry.BackOff.Enabled = false }
	failExhausted := func(c *Config) { c.OnError.RetriesExhausted = OnRetriesExhaustedFail }

	for _, tt := range []struct {
		name     string
		statuses []int
		edit     []func(*Config)
		want     decision
	}{
		{"2xx is delivered", []int{200, 201, 202, 204, 206, 299}, nil, decision{verdict: verdictDelivered}},
		{"no answer is retried", []int{0}, nil, retry},
		{"5xx is retried", []int{500, 501, 502, 503, 504, 529, 599}, nil, retry},
		{"429 is retried", []int{429}, nil, retry},
		{"429 is rejected if it is not retried", []int{429}, []func(*Config){no429}, rejected},
		{"a rejected 429 is not isolated: the rate is refused, not the content", []int{429}, []func(*Config){no429, isolate}, rejected},
		{"401, 403 and 404 are fatal", []int{401, 403, 404}, nil, fatal(verdictFail, account.ReasonFatal)},
		{"fatal: discard", []int{401, 403, 404}, []func(*Config){discardFatal}, fatal(verdictDrop, account.ReasonFatal)},
		{"fatal: retry", []int{401, 403, 404, 302}, []func(*Config){retryFatal}, retry},
		{"any other 4xx is rejected", []int{400, 402, 405, 406, 408, 409, 410, 411, 412, 414, 415, 416, 422, 425, 428, 431, 451, 499}, nil, rejected},
		{"rejected: isolate", []int{400, 409, 422}, []func(*Config){isolate}, isolated},
		{"what refuses any request is not isolated", []int{405, 407, 411, 415, 426}, []func(*Config){isolate}, rejected},
		{"413 is split, whatever the setting", []int{413}, nil, split},
		{"413 is split, whatever the setting", []int{413}, []func(*Config){isolate}, split},
		{"redirects and what is no answer are unexpected", []int{100, 101, 199, 300, 301, 302, 303, 304, 307, 308, 399, 600, 999}, nil, fatal(verdictFail, account.ReasonUnexpected)},
		{"unexpected answers follow on_error.fatal", []int{301, 304}, []func(*Config){discardFatal}, fatal(verdictDrop, account.ReasonUnexpected)},
		{"retries can be switched off", []int{0, 500, 503, 429}, []func(*Config){noRetry}, decision{verdict: verdictDrop, reason: account.ReasonRetriesExhausted}},
		{"retries_exhausted: fail", []int{0, 500, 503, 429}, []func(*Config){noRetry, failExhausted}, decision{verdict: verdictFail, reason: account.ReasonRetriesExhausted}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := testPolicy(tt.edit...)
			for _, status := range tt.statuses {
				assert.Equal(t, tt.want, p.decide(&answer{status: status}, attempt{number: 1}), "status %d", status)
			}
		})
	}
}

func TestRetriesEnd(t *testing.T) {
	a := &answer{status: 503}
	exhausted := decision{verdict: verdictDrop, reason: account.ReasonRetriesExhausted}

	t.Run("after max_retries", func(t *testing.T) {
		p := testPolicy(func(c *Config) { c.Retry.MaxRetries = 2 })
		assert.Equal(t, verdictRetry, p.decide(a, attempt{number: 2}).verdict)
		assert.Equal(t, exhausted, p.decide(a, attempt{number: 3}))
	})
	t.Run("before max_elapsed_time would be exceeded", func(t *testing.T) {
		p := testPolicy(func(c *Config) { c.Retry.BackOff.MaxElapsedTime = time.Minute })
		assert.Equal(t, verdictRetry, p.decide(a, attempt{number: 20, elapsed: 55 * time.Second}).verdict)
		assert.Equal(t, exhausted, p.decide(a, attempt{number: 20, elapsed: 56 * time.Second}))
	})
	t.Run("when Retry-After asks for longer than is left", func(t *testing.T) {
		p := testPolicy(func(c *Config) { c.Retry.BackOff.MaxElapsedTime = time.Minute })
		assert.Equal(t, exhausted, p.decide(&answer{status: 429, retryAfter: "30"}, attempt{number: 1, elapsed: 31 * time.Second}))
	})
	t.Run("never without a limit", func(t *testing.T) {
		p := testPolicy()
		assert.Equal(t, verdictRetry, p.decide(a, attempt{number: 1 << 40, elapsed: 1 << 60}).verdict)
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
		{1 << 40, 5 * time.Second},
	} {
		assert.Equal(t, tt.want, p.backOff(attempt{number: tt.attempt, random: 0.99}), "attempt %d", tt.attempt)
	}
}

func TestBackOffWithJitterStaysWithinItsBounds(t *testing.T) {
	p := testPolicy(func(c *Config) { c.Retry.BackOff.RandomizationFactor = 0.5 })
	assert.Equal(t, 15*time.Millisecond, p.backOff(attempt{number: 1, random: 0}))
	assert.Equal(t, 30*time.Millisecond, p.backOff(attempt{number: 1, random: 0.5}))
	for range 10_000 {
		number := 1 + rand.IntN(100)
		delay := p.backOff(attempt{number: number, random: rand.Float64()})
		require.Positive(t, delay, "attempt %d", number)
		require.LessOrEqual(t, delay, p.retry.BackOff.MaxInterval, "attempt %d", number)
	}
}

func TestRetryAfter(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	p := testPolicy(func(c *Config) { c.Retry.MaxRetryAfter = time.Minute })
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
		d := p.decide(&answer{status: 429, retryAfter: "1"}, attempt{number: 9, now: now})
		assert.Equal(t, 5*time.Second, d.delay)
	})
	t.Run("it holds for 5xx too", func(t *testing.T) {
		d := p.decide(&answer{status: 503, retryAfter: "30"}, attempt{number: 1, now: now})
		assert.Equal(t, 30*time.Second, d.delay)
	})
}

func TestAnswerError(t *testing.T) {
	assert.EqualError(t, &answer{err: errors.New("connection refused")}, "no answer from the endpoint: connection refused")
	assert.EqualError(t, &answer{status: 404}, "endpoint answered 404 Not Found")
	assert.EqualError(t, &answer{status: 400, body: "out of bounds"}, "endpoint answered 400 Bad Request: out of bounds")
}
