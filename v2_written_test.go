// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"net/http"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
)

// writtenHeaders makes Written headers of samples, histograms and exemplars; "" leaves one out.
func writtenHeaders(values ...string) http.Header {
	h := http.Header{}
	for i, v := range values {
		if v != "" {
			h.Set("X-Prometheus-Remote-Write-"+[]string{"Samples", "Histograms", "Exemplars"}[i]+"-Written", v)
		}
	}
	return h
}

// TestWrittenHeaders sends six samples and four histograms in one request, and looks at what the headers of its answer
// prove to be delivered (Remote-Write 2.0, "Required Written Response Headers").
func TestWrittenHeaders(t *testing.T) {
	for _, tt := range []struct {
		name   string
		status int
		header http.Header
		want   int64 // delivered, of ten
	}{
		{"all are written", 204, writtenHeaders("6", "4", "4"), 10},
		{"exemplars are no samples", 204, writtenHeaders("6", "4", "0"), 10},
		{"a partial write", 400, writtenHeaders("3", "2", "0"), 5},
		{"a partial write of one kind", 400, writtenHeaders("3"), 3},
		{"a partial write of the other kind", 400, writtenHeaders("", "1"), 1},
		{"nothing is written", 400, writtenHeaders("0", "0", "0"), 0},
		{"a partial write of a 409", 409, writtenHeaders("5", "4"), 9},
		{"a partial write of a 422", 422, writtenHeaders("6", "3"), 9},
		{"more of one kind than was sent", 400, writtenHeaders("3", "99"), 7},
		{"more than 64 bits", 400, writtenHeaders("99999999999999999999", "2"), 2},
		{"negative", 400, writtenHeaders("-5", "2"), 2},
		{"all negative", 204, writtenHeaders("-1", "-1", "-1"), 0},
		{"words", 400, writtenHeaders("three", "2"), 2},
		{"a fraction", 400, writtenHeaders("3.0", "2"), 2},
		{"spaces around", 400, writtenHeaders(" 3 ", "2"), 5},
		{"a refusal that claims everything", 400, writtenHeaders("6", "4", "4"), 0},
		{"a refusal that claims more than everything", 400, writtenHeaders("1000", "1000", "1000"), 0},
		{"a refusal for an exemplar", 400, writtenHeaders("6", "4", "3"), 10},
		{"a success with less than was sent", 200, writtenHeaders("6", "1"), 7},
		{"a success with nothing", 204, writtenHeaders("0", "0", "0"), 0},
		{"a success with exemplars alone", 200, writtenHeaders("", "", "4"), 0},
		{"a success with more than was sent", 200, writtenHeaders("600", "400"), 10},
		{"a success with words", 200, writtenHeaders("all", "all"), 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := record(func(rwtest.Request) rwtest.Answer { return rwtest.Answer{Status: tt.status, Header: tt.header} })
				h := newHarness(t, r, onePartition, messageV2)
				h.consume(mixed(time.Now(), 6, 4))
				time.Sleep(time.Minute)
				h.shutdown()
				checkWritten(t, h, tt.status, tt.want)
				assert.Equal(t, []int{2}, r.versions(), "nothing is sent again")
				assert.Zero(t, h.metric("otelcol_exporter_ordered_remote_write_fallback"))
				assert.Empty(t, r.Violations())
			})
		})
	}
}

// checkWritten checks that some of ten samples were delivered and the others are rejected, in all counts.
func checkWritten(t *testing.T, h *harness, status int, delivered int64) {
	t.Helper()
	dropped := map[string]int64{}
	if delivered < 10 {
		dropped["rejected "+strconv.Itoa(status)] = 10 - delivered
	}
	assert.Equal(t, delivered, h.delivered())
	assert.Equal(t, dropped, h.dropped())
	assert.Equal(t, delivered, h.metric("otelcol_exporter_ordered_remote_write_delivered_samples"))
	assert.Equal(t, delivered, h.metric("otelcol_exporter_sent_metric_points"))
	assert.Equal(t, 10-delivered, h.metric("otelcol_exporter_send_failed_metric_points"))
	lines := h.logs.FilterField(zapReason(account.ReasonRejected)).All()
	if delivered == 10 {
		assert.Empty(t, lines)
	} else if assert.Len(t, lines, 1) {
		assert.Equal(t, 10-delivered, lines[0].ContextMap()["dropped_samples"])
	}
}

// TestWrittenHeadersOfOtherAnswers are those that decide nothing: what is retried is counted when it is decided.
func TestWrittenHeadersOfOtherAnswers(t *testing.T) {
	t.Run("an error claims everything", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := record(func(rwtest.Request) rwtest.Answer {
				return rwtest.Answer{Status: 500, Header: writtenHeaders("6", "3")}
			})
			h := newHarness(t, r, onePartition, messageV2, func(c *Config) { c.Retry.MaxRetries = 3 })
			h.consume(mixed(time.Now(), 6, 4))
			time.Sleep(time.Minute)
			h.shutdown()
			assert.Equal(t, map[string]int64{"retries_exhausted 500": 10}, h.dropped())
			assert.Equal(t, []int{2, 2, 2, 2}, r.versions())
		})
	})
	t.Run("an error before a partial write", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := record(func(q rwtest.Request) rwtest.Answer {
				if q.Seq == 1 {
					return rwtest.Answer{Status: 503, Header: writtenHeaders("6", "3")}
				}
				return rwtest.Answer{Status: 400, Header: writtenHeaders("1", "1")}
			})
			h := newHarness(t, r, onePartition, messageV2)
			h.consume(mixed(time.Now(), 6, 4))
			time.Sleep(time.Minute)
			h.shutdown()
			assert.Equal(t, int64(2), h.delivered())
			assert.Equal(t, map[string]int64{"refused_after_unknown 400": 8}, h.dropped(), "the error said that some were kept")
			assert.Equal(t, r.requests[0].Body, r.requests[1].Body)
		})
	})
	t.Run("a 429 that is not retried is a partial write", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := record(func(rwtest.Request) rwtest.Answer {
				return rwtest.Answer{Status: 429, Header: writtenHeaders("5", "0")}
			})
			h := newHarness(t, r, onePartition, messageV2, func(c *Config) { c.RetryOn429 = false })
			h.consume(mixed(time.Now(), 6, 4))
			time.Sleep(time.Minute)
			h.shutdown()
			checkWritten(t, h, 429, 5)
		})
	})
	t.Run("a partial write is not isolated: what was written must not come again", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := record(func(rwtest.Request) rwtest.Answer {
				return rwtest.Answer{Status: 400, Keep: func(_ string, s rwtest.Sample) bool { return s.Histogram }}
			})
			h := newHarness(t, r, onePartition, messageV2, func(c *Config) { c.OnError.Rejected = OnRejectedIsolate })
			h.consume(mixed(time.Now(), 6, 4))
			time.Sleep(time.Minute)
			h.shutdown()
			checkWritten(t, h, 400, 4)
			assert.Len(t, r.requests, 1)
			assert.Empty(t, r.Problems())
		})
	})
}

// TestWrittenHeadersMeanNothingToV1 because a receiver of 1.0 may send them with any numbers (Remote-Write 2.0, "Required
// Written Response Headers").
func TestWrittenHeadersMeanNothingToV1(t *testing.T) {
	for status, delivered := range map[int]int64{200: 10, 204: 10, 400: 0} {
		for _, header := range []http.Header{writtenHeaders("0", "0", "0"), writtenHeaders("3", "2"), writtenHeaders("6", "4", "4"), nil} {
			synctest.Test(t, func(t *testing.T) {
				r := record(func(rwtest.Request) rwtest.Answer { return rwtest.Answer{Status: status, Header: header} })
				h := newHarness(t, r, onePartition)
				h.consume(mixed(time.Now(), 6, 4))
				time.Sleep(time.Minute)
				h.shutdown()
				checkWritten(t, h, status, delivered)
				assert.Equal(t, []int{1}, r.versions())
			})
		}
	}
}

// TestPartialWritesAddUp has an endpoint that writes some of every request.
func TestPartialWritesAddUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := record(nil)
		r.Script = nil
		r.Faults = rwtest.Faults{PartialWrite: 700}
		h := newHarness(t, r, messageV2, func(c *Config) { c.Batch.MaxSamples = 30 })
		for range 20 {
			h.consume(mixed(time.Now(), 100, 100))
			time.Sleep(time.Second)
		}
		h.shutdown()
		stored := 0
		for _, samples := range r.Delivered() {
			stored += len(samples)
		}
		assert.Equal(t, int64(stored), h.delivered())
		assert.Equal(t, map[string]int64{"rejected 400": int64(20*200 - stored)}, h.dropped())
		require.Less(t, stored, 20*200)
		assert.Empty(t, r.Problems())
	})
}
