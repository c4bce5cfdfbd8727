// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"encoding/json"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
)

// told returns the messages of the log, and prints it as a collector would. No line has a stack trace.
func told(t *testing.T, h *harness) (messages []string) {
	t.Helper()
	encoder := zap.NewDevelopmentEncoderConfig()
	encoder.EncodeTime = zapcore.TimeEncoderOfLayout("15:04:05.000")
	console := zapcore.NewConsoleEncoder(encoder)
	for _, line := range h.logs.All() {
		assert.Empty(t, line.Stack, line.Message)
		if line.Level == zap.DebugLevel {
			continue
		}
		messages = append(messages, line.Message)
		text, err := console.EncodeEntry(line.Entry, line.Context)
		require.NoError(t, err)
		t.Logf("%s", text.Bytes()[:text.Len()-1])
	}
	return messages
}

// TestLogOfAnOutage: the endpoint is away for half a minute.
func TestLogOfAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		receiver := &rwtest.Receiver{Script: func(rwtest.Request) rwtest.Answer {
			if since := time.Since(start); since > 10*time.Second && since < 40*time.Second {
				return rwtest.Answer{Fault: rwtest.Reset}
			}
			return rwtest.Answer{}
		}}
		h := newHarness(t, receiver)
		h.consumeFor(time.Minute, 1000)
		h.shutdown()
		messages := told(t, h)
		const retry = "Sending failed. The same request will be sent again after a delay."
		const more = "Sending failed. Requests are sent again after a delay."
		assert.Equal(t, []string{
			"Writing to a Remote-Write endpoint.", retry, more, more, more, "The endpoint answers again.", "Shut down.",
		}, messages)
		again := h.logs.FilterMessage("The endpoint answers again.").All()[0].ContextMap()
		assert.Regexp(t, `^3\d(\.\d+)?s$`, again["after"], "with its unit")
		sum := h.logs.FilterMessage("Shut down.").All()[0].ContextMap()
		assert.Equal(t, map[string]any{
			"received_samples": int64(60_000), "delivered_samples": int64(60_000), "dropped_samples": int64(0), "queued_samples": int64(0),
		}, sum)
	})
}

// TestLogOfAFullQueue: payloads are refused once the queue is full, and what was held back is told when ten seconds are over.
func TestLogOfAFullQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, answers(503), smallQueue(OnFullReject), func(c *Config) { c.ShutdownTimeout = time.Second })
		refused := int64(0)
		for i := range 100 {
			if h.ConsumeMetrics(t.Context(), noise(time.Now(), i*5, 5)) != nil {
				refused += 5
			}
		}
		require.Positive(t, refused)
		time.Sleep(logInterval)
		h.shutdown()
		messages := told(t, h)
		assert.Contains(t, messages, "Refused a payload. A client that sends it again loses nothing.")
		assert.Contains(t, messages, "Refused payloads.")
		logged := int64(0)
		for _, line := range h.logs.All() {
			for _, field := range []string{"refused_samples", "refused_samples_since_last_line"} {
				if n, ok := line.ContextMap()[field].(int64); ok {
					logged += n
				}
			}
		}
		assert.Equal(t, refused, logged, "the numbers in the log add up to the counter")
		assert.Equal(t, refused, h.metric("otelcol_exporter_ordered_remote_write_refused_samples"))
	})
}

// TestLogOfAPause: the endpoint redirects, and the log says where to.
func TestLogOfAPause(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mended := time.Now().Add(90 * time.Second)
		receiver := &rwtest.Receiver{Script: func(rwtest.Request) rwtest.Answer {
			if time.Now().Before(mended) {
				return rwtest.Answer{Status: 301, Header: http.Header{"Location": {"https://user:secret@elsewhere.test/api/v1/write?key=secret"}}}
			}
			return rwtest.Answer{}
		}}
		h := newHarness(t, receiver)
		h.consumeFor(2*time.Minute, 100)
		h.shutdown()
		messages := told(t, h)
		assert.Contains(t, messages, "The endpoint takes requests again. The pause has ended.")
		paused := h.logs.FilterMessageSnippet("Paused: ").All()
		require.Len(t, paused, 2, "at once, and after a minute")
		assert.Equal(t, "endpoint answered 301 Moved Permanently, a redirect to https://elsewhere.test/api/v1/write", paused[0].ContextMap()["answer"])
	})
}

// TestRemedies: a line about a pause says what must be set, also where only the path was forgotten.
func TestRemedies(t *testing.T) {
	const whole = "http://localhost:9090/api/v1/write"
	for _, tc := range []struct {
		status           int
		endpoint, remedy string
	}{
		{401, whole, "Check http.auth, http.headers and the permissions of the credentials."},
		{403, "http://localhost:9090", "Check http.auth, http.headers and the permissions of the credentials."},
		{402, whole, "Check the account at the endpoint: it may not be paid, or not be allowed to send."},
		{451, whole, "Check the account at the endpoint: it may not be paid, or not be allowed to send."},
		{431, whole, "Check http.headers and http.auth: what they add to each request is too large for the endpoint."},
		{404, whole, "Check http.endpoint: it must be the URL of a Remote-Write endpoint."},
		{302, whole, "Set http.endpoint to where the endpoint redirects to."},
		{302, "http://localhost:9090", "Check http.endpoint: it has no path, and none is added; that of Prometheus is /api/v1/write."},
		{405, "http://localhost:9090/", "Check http.endpoint: it has no path, and none is added; that of Prometheus is /api/v1/write."},
		{415, "http://localhost:9090/", "Check protobuf_message: the endpoint does not read this message."},
	} {
		assert.Equal(t, tc.remedy, remedy(tc.status, tc.endpoint), "%d of %s", tc.status, tc.endpoint)
	}
}

// TestLogOfARefusal: an endpoint refuses each request for half a minute. There is one line in ten seconds, each with the answer
// and a hint, and the last one comes without another drop.
func TestLogOfARefusal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		receiver := &rwtest.Receiver{Script: func(rwtest.Request) rwtest.Answer {
			return rwtest.Answer{Status: 400, Body: "label value too long"}
		}}
		h := newHarness(t, receiver)
		h.consumeFor(25*time.Second, 10)
		time.Sleep(logInterval)
		lines := h.logs.FilterMessage("Dropped samples.").All()
		logged := int64(0)
		for i, line := range lines {
			fields := line.ContextMap()
			for _, field := range []string{"dropped_samples", "dropped_samples_since_last_line"} {
				if n, ok := fields[field].(int64); ok {
					logged += n
				}
			}
			assert.Equal(t, "endpoint answered 400 Bad Request: label value too long", fields["answer"])
			assert.Equal(t, account.ReasonRejected.Hint(), fields["hint"])
			assert.Equal(t, pageReasons, fields["see"])
			if i > 0 {
				assert.GreaterOrEqual(t, line.Time.Sub(lines[i-1].Time), logInterval)
			}
		}
		assert.Equal(t, h.dropped()["rejected 400"], logged, "all is told before the shutdown")
		h.shutdown()
		told(t, h)
	})
}

// TestLogOfAShutdown that could not deliver everything has the sum.
func TestLogOfAShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		receiver := &rwtest.Receiver{Script: func(rwtest.Request) rwtest.Answer {
			if time.Since(start) > 10*time.Second {
				return rwtest.Answer{Fault: rwtest.Hang}
			}
			return rwtest.Answer{}
		}}
		h := newHarness(t, receiver)
		h.consume(gauge(time.Unix(0, 0), 3))
		h.consumeFor(20*time.Second, 100)
		h.shutdown()
		messages := told(t, h)
		assert.Equal(t, "Shut down.", messages[len(messages)-1])
		sum := h.logs.FilterMessage("Shut down.").All()[0].ContextMap()
		assert.Equal(t, int64(2003), sum["received_samples"])
		assert.Equal(t, h.delivered(), sum["delivered_samples"])
		assert.Equal(t, 2003-h.delivered(), sum["dropped_samples"])
		byReason, err := json.Marshal(sum["dropped_samples_by_reason"])
		require.NoError(t, err)
		assert.Regexp(t, `^{"no_timestamp":3,"shutdown":\d+,"shutdown_in_flight":\d+}$`, string(byReason))
		assert.Equal(t, int64(0), sum["queued_samples"])
	})
}

// TestLogOfATimeOut names the setting.
func TestLogOfATimeOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		receiver := &rwtest.Receiver{Script: func(r rwtest.Request) rwtest.Answer {
			return map[bool]rwtest.Answer{true: {Fault: rwtest.Hang}}[r.Seq == 1]
		}}
		h := newHarness(t, receiver, func(c *Config) { c.HTTP.Timeout = 7 * time.Second })
		h.consume(gauge(time.Now(), 3))
		time.Sleep(time.Minute)
		h.shutdown()
		told(t, h)
		lines := h.logs.FilterMessageSnippet("Sending failed.").All()
		require.Len(t, lines, 1)
		assert.Equal(t, "no answer from the endpoint: nothing came within http.timeout (7s)", lines[0].ContextMap()["answer"])
		assert.Equal(t, "30ms", lines[0].ContextMap()["delay"])
	})
}

// TestDebugLogHasEachRequest, and no other level has.
func TestDebugLogHasEachRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		receiver := &rwtest.Receiver{Script: func(r rwtest.Request) rwtest.Answer {
			return map[bool]rwtest.Answer{true: {Status: 500}}[r.Seq == 1]
		}}
		h := newHarness(t, receiver, onePartition)
		h.consume(gauge(time.Now(), 3))
		time.Sleep(time.Minute)
		h.shutdown()
		lines := h.logs.FilterMessage("Sent a request.").All()
		require.Len(t, lines, receiver.Requests())
		var verdicts []any
		for _, line := range lines {
			assert.Equal(t, zap.DebugLevel, line.Level)
			assert.Equal(t, int64(3), line.ContextMap()["samples"])
			verdicts = append(verdicts, line.ContextMap()["verdict"])
		}
		assert.Equal(t, []any{"retry", "delivered"}, verdicts)
	})
}
