// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
)

func logExamples(c *Config) { c.LogExamples = true }

// dropLines returns the fields of the log lines about dropped samples, by reason, of an exporter that gets a data point
// without a timestamp, and then four series of which the endpoint refuses the one with series="2".
func dropLines(t *testing.T, edit ...func(*Config)) map[any]map[string]any {
	lines := make(map[any]map[string]any)
	synctest.Test(t, func(t *testing.T) {
		receiver := &rwtest.Receiver{Script: func(r rwtest.Request) rwtest.Answer {
			for _, series := range r.Series {
				if strings.Contains(series, `2`) {
					return rwtest.Answer{Status: 400, Body: "no such series"}
				}
			}
			return rwtest.Answer{Status: 204}
		}}
		h := newHarness(t, receiver, append(edit, onePartition)...)
		h.consume(gauge(time.Unix(0, 0), 1))
		h.consume(gauge(time.Now(), 4))
		time.Sleep(time.Minute)
		h.shutdown()
		for _, line := range h.logs.FilterMessage("Dropped samples.").All() {
			lines[line.ContextMap()["reason"]] = line.ContextMap()
		}
	})
	return lines
}

// TestExamplesInTheLogNeedTheirSwitch: labels are data of users. Without them a line says how many samples were dropped,
// why, and what the endpoint said.
func TestExamplesInTheLogNeedTheirSwitch(t *testing.T) {
	lines := dropLines(t)
	assert.Equal(t, map[any]map[string]any{
		"no_timestamp": {
			"reason": "no_timestamp", "dropped_samples": int64(1), "dropped_samples_since_last_line": int64(0),
			"hint": account.ReasonNoTimestamp.Hint(), "see": pageReasons,
		},
		"rejected": {
			"reason": "rejected", "dropped_samples": int64(4), "dropped_samples_since_last_line": int64(0),
			"status": int64(400), "answer": "endpoint answered 400 Bad Request: no such series",
			"hint": account.ReasonRejected.Hint(), "see": pageReasons,
		},
	}, lines)
}

// TestExampleOfARefusedRequestIsItsFirstSeries, and is called so, unless only one is left that can be meant.
func TestExampleOfARefusedRequestIsItsFirstSeries(t *testing.T) {
	lines := dropLines(t, logExamples)
	assert.Equal(t, "gauge", lines["no_timestamp"]["example"])
	assert.Equal(t, `gauge{series="0"}`, lines["rejected"]["first_series"])
	assert.NotContains(t, lines["rejected"], "example")

	lines = dropLines(t, logExamples, func(c *Config) { c.OnError.Rejected = OnRejectedIsolate })
	assert.Equal(t, `gauge{series="2"}`, lines["rejected"]["example"])
	assert.NotContains(t, lines["rejected"], "first_series")
}

// TestLogAddsUp: what the bounded rate of the log holds back of retries is told in time, and the last line has what an earlier
// process has left.
func TestLogAddsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backend
		b.down.Store(true)
		m := newMachine(t, &b)
		h := m.boot()
		h.consume(gauge(time.Now(), 5))
		time.Sleep(time.Minute)
		h.stop()
		retries := int64(0)
		for _, line := range h.logs.FilterMessageSnippet("Sending failed.").All() {
			fields := line.ContextMap()
			retries += fields["retries_since_last_line"].(int64)
			if fields["attempt"] != nil {
				retries++
			}
		}
		assert.Equal(t, h.metric("otelcol_exporter_ordered_remote_write_requests"), retries)
		b.down.Store(false)
		h = m.boot()
		h.settle()
		h.stop()
		sum := h.logs.FilterMessage("Shut down.").All()[0].ContextMap()
		assert.Equal(t, []any{int64(0), int64(5), int64(5)}, []any{sum["received_samples"], sum["recovered_samples"], sum["delivered_samples"]})
	})
}
