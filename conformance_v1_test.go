// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"math"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/prompb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
)

// TestConformanceV1 has the demands of "Prometheus Remote-Write 1.0 specification" on senders. What it says of retries is
// what 2.0 says.
func TestConformanceV1(t *testing.T) {
	requests := captured(t)
	series := func(look func(ts *prompb.TimeSeries)) {
		for _, q := range requests {
			for i := range q.Message.Timeseries {
				look(&q.Message.Timeseries[i])
			}
		}
	}
	t.Run("MUST send a message in protocol buffers and Snappy's block format", func(t *testing.T) {
		for _, q := range requests {
			raw, err := snappy.Decode(nil, q.Body)
			require.NoError(t, err)
			require.NoError(t, new(prompb.WriteRequest).Unmarshal(raw))
		}
	})
	t.Run("MUST send the headers with the HTTP request", func(t *testing.T) {
		for _, q := range requests {
			require.NoError(t, rwtest.ValidateHeadersV1(q.Header))
		}
	})
	t.Run("MUST send the complete set of labels, sorted, without repeated or empty names and without empty values", func(t *testing.T) {
		series(func(ts *prompb.TimeSeries) {
			for i, l := range ts.Labels {
				assert.NotEmpty(t, l.Name)
				assert.NotEmpty(t, l.Value)
				if i > 0 {
					assert.Less(t, ts.Labels[i-1].Name, l.Name)
				}
			}
		})
	})
	t.Run("SHOULD send __name__, and MUST use classic names and values in UTF-8", func(t *testing.T) {
		metric, label := regexp.MustCompile(`^[a-zA-Z_:]([a-zA-Z0-9_:])*$`), regexp.MustCompile(`^[a-zA-Z_]([a-zA-Z0-9_])*$`)
		series(func(ts *prompb.TimeSeries) {
			named := false
			for _, l := range ts.Labels {
				assert.True(t, utf8.ValidString(l.Value))
				assert.Regexp(t, label, l.Name)
				if l.Name == "__name__" {
					named = true
					assert.Regexp(t, metric, l.Value)
				} else {
					assert.False(t, strings.HasPrefix(l.Name, "__"))
				}
			}
			assert.True(t, named)
		})
	})
	t.Run("MUST send samples of a series in timestamp order", func(t *testing.T) {
		newest := make(map[string]int64)
		series(func(ts *prompb.TimeSeries) {
			key := rwtest.SeriesKey(ts.Labels)
			for _, s := range ts.Samples {
				assert.Greater(t, s.Timestamp, newest[key], key)
				newest[key] = s.Timestamp
			}
		})
	})
	t.Run("SHOULD send stale markers, and MUST NOT use their value otherwise", func(t *testing.T) {
		names := make(map[string]bool)
		series(func(ts *prompb.TimeSeries) {
			for _, s := range ts.Samples {
				if math.Float64bits(s.Value) == 0x7ff0000000000002 {
					key := rwtest.SeriesKey(ts.Labels)
					assert.NotContains(t, key, "stale by chance")
					names[strings.Split(key, `"`)[1]] = true
				}
			}
		})
		assert.NotEmpty(t, names)
	})
	t.Run("MUST NOT retry on 4xx other than 429, and MUST retry on 5xx", func(t *testing.T) {
		v1 := func(c *Config) { c.ProtobufMessage, c.OnError.Fatal = MessageV1, OnFatalDiscard }
		for _, status := range []int{400, 401, 404, 409, 415, 422, 499} {
			_, r := conversation(t, func(rwtest.Request) rwtest.Answer { return rwtest.Answer{Status: status} }, v1)
			assert.Len(t, r.requests, 2, status)
		}
		for _, status := range []int{500, 503, 599} {
			_, r := conversation(t, func(q rwtest.Request) rwtest.Answer {
				if q.Seq == 1 {
					return rwtest.Answer{Status: status}
				}
				return rwtest.Answer{Status: http.StatusOK}
			}, v1)
			assert.Len(t, r.requests, 3, status)
		}
	})
}
