// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/golang/snappy"
	"github.com/prometheus/otlptranslator"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/config/configopaque"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/block"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
)

// The tests of this file have the sections of "Prometheus Remote-Write 2.0 specification" (2.0-rc.4) as their names, and
// under them each MUST and SHOULD for senders. Those that are about messages look at captured requests.

// unpleasant is a payload with keys and values that must not reach the wire as they are.
func unpleasant(ts time.Time) pmetric.Metrics {
	md := metricsOf([]any{"service.name", "sh\xffop", "empty", ""},
		gaugeOf("unpleasant", number(1,
			with("__name__", "other", "__reserved__", "r", "", "no key", "empty", "", "a.b", "1", "a_b", "2", "job", "j", "Z", "sorts first", "é", "\xff"))),
		gaugeOf("unpleasant", number(math.Float64frombits(0x7ff0000000000002), with("nan", "stale by chance"))),
		gaugeOf("unpleasant", number(0.0, with("of", "zero"))),
		gaugeOf("unpleasant", number(7.0, with("is", "stale"), noRecordedValue)),
		histogramOf("unpleasant.histogram", buckets([]float64{1}, []uint64{1, 2}, with("le", "mine"), noRecordedValue)),
		exponentialOf("unpleasant.native", exponential(0, 0, []uint64{1}, noRecordedValue)),
	)
	retime(md, ts)
	return md
}

// captured are the requests of an exporter that is given all kinds of metrics, and of one whose names stay as they are.
func captured(t *testing.T, edit ...func(*Config)) []rwtest.Request {
	t.Helper()
	var requests []rwtest.Request
	synctest.Test(t, func(t *testing.T) {
		r := record(nil)
		h := newHarness(t, r, edit...)
		for range 3 {
			h.consume(everything(time.Now()))
			h.consume(unpleasant(time.Now()))
			time.Sleep(700 * time.Millisecond)
		}
		producer := rwtest.Payloads{Seed: 1, Streams: 200, Points: 10, Start: time.Now()}.Split()[0]
		for md, more := producer.Next(); more; md, more = producer.Next() {
			h.consume(md)
		}
		h.shutdown()
		assert.Empty(t, h.dropped())
		requests = r.requests
		for _, problem := range r.Problems() {
			t.Error(problem)
		}
	})
	require.NotEmpty(t, requests)
	return requests
}

// capturedSeries is a series of a captured request, its references resolved.
type capturedSeries struct {
	*writev2.TimeSeries
	request  *writev2.Request
	labels   [][2]string
	name     string
	metadata struct{ help, unit string }
}

func (s *capturedSeries) resolve(refs []uint32) [][2]string {
	var pairs [][2]string
	for ; len(refs) >= 2; refs = refs[2:] {
		pairs = append(pairs, [2]string{s.request.Symbols[refs[0]], s.request.Symbols[refs[1]]})
	}
	return pairs
}

// eachSeries calls look with every series of the requests.
func eachSeries(requests []rwtest.Request, look func(s *capturedSeries)) {
	for _, q := range requests {
		for i := range q.MessageV2.Timeseries {
			s := &capturedSeries{TimeSeries: &q.MessageV2.Timeseries[i], request: q.MessageV2}
			s.labels = s.resolve(s.LabelsRefs)
			for _, l := range s.labels {
				if l[0] == "__name__" {
					s.name = l[1]
				}
			}
			s.metadata.help, s.metadata.unit = s.request.Symbols[s.Metadata.HelpRef], s.request.Symbols[s.Metadata.UnitRef]
			look(s)
		}
	}
}

// points are the timestamps and start timestamps of a series, and its values; of histograms the sums.
func (s *capturedSeries) points() (timestamps, starts []int64, values []float64) {
	for _, p := range s.Samples {
		timestamps, starts, values = append(timestamps, p.Timestamp), append(starts, p.StartTimestamp), append(values, p.Value)
	}
	for i := range s.Histograms {
		h := &s.Histograms[i]
		timestamps, starts, values = append(timestamps, h.Timestamp), append(starts, h.StartTimestamp), append(values, h.Sum)
	}
	return timestamps, starts, values
}

// conversation has an exporter send two payloads of five samples each, ten minutes apart, to a receiver with a script.
func conversation(t *testing.T, script func(rwtest.Request) rwtest.Answer, edit ...func(*Config)) (h *harness, r *recorder) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r = record(script)
		h = newHarness(t, r, append([]func(*Config){onePartition, messageV2}, edit...)...)
		for range 2 {
			h.consume(mixed(time.Now(), 3, 2))
			time.Sleep(10 * time.Minute)
		}
		h.shutdown()
	})
	return h, r
}

func TestConformanceV2Protocol(t *testing.T) {
	requests := captured(t, messageV2)
	headers := func(t *testing.T, name, value string) {
		for _, q := range requests {
			assert.Equal(t, []string{value}, q.Header.Values(name))
		}
	}
	t.Run("MUST serialize a request with protocol buffers and compress it", func(t *testing.T) {
		for _, q := range requests {
			raw, err := snappy.Decode(nil, q.Body)
			require.NoError(t, err)
			var r writev2.Request
			require.NoError(t, r.Unmarshal(raw))
			assert.NotEmpty(t, r.Timeseries)
		}
	})
	t.Run("MUST support io.prometheus.write.v2.Request, and SHOULD use it when possible", func(t *testing.T) {
		for _, q := range requests {
			require.NotNil(t, q.MessageV2)
			assert.Empty(t, q.MessageV2.XXX_unrecognized)
		}
	})
	t.Run("MUST use the binary wire format", func(t *testing.T) {
		for _, q := range requests {
			raw := block.Decompress(q.Body)
			tag, n := binary.Uvarint(raw)
			assert.Positive(t, n)
			assert.Equal(t, uint64(4<<3|2), tag, "a request begins with its symbols")
		}
	})
	t.Run("MUST use Snappy's block format and MUST NOT use the framed format", func(t *testing.T) {
		for _, q := range requests {
			size, err := snappy.DecodedLen(q.Body)
			require.NoError(t, err)
			assert.Len(t, block.Decompress(q.Body), size)
			assert.False(t, bytes.HasPrefix(q.Body, []byte("\xff\x06\x00\x00sNaPpY")))
		}
	})
	t.Run("MUST send the message in the body of an HTTP POST request to the URL", func(t *testing.T) {
		type seen struct{ method, path, query string }
		var got []seen
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			body, _ := io.ReadAll(r.Body)
			assert.Equal(t, int64(len(body)), r.ContentLength)
			got = append(got, seen{r.Method, r.URL.Path, r.URL.RawQuery})
			w.Header().Set("X-Prometheus-Remote-Write-Samples-Written", "1")
		}))
		defer server.Close()
		h := newHarness(t, nil, messageV2, func(c *Config) {
			c.HTTP.Endpoint, c.HTTP.Middlewares = server.URL+"/any/path?tenant=1", nil
		})
		h.consume(gauge(time.Now(), 1))
		h.shutdown()
		assert.Equal(t, []seen{{"POST", "/any/path", "tenant=1"}}, got)
		assert.Equal(t, int64(1), h.delivered())
	})
	t.Run("MUST send the reserved headers", func(t *testing.T) {
		for _, q := range requests {
			require.NoError(t, rwtest.ValidateHeadersV2(q.Header))
		}
	})
	t.Run("MUST NOT allow users to configure reserved headers", func(t *testing.T) {
		for _, name := range []string{"Content-Encoding", "content-type", "X-Prometheus-Remote-Write-Version", "user-agent"} {
			cfg := createDefaultConfig().(*Config)
			cfg.HTTP.Endpoint = "http://receiver.test"
			cfg.ProtobufMessage = MessageV2
			cfg.HTTP.Headers = configopaque.MapList{{Name: name, Value: "x"}}
			assert.ErrorContains(t, cfg.Validate(), "http.headers")
		}
	})
	t.Run("MUST use snappy as Content-Encoding", func(t *testing.T) { headers(t, "Content-Encoding", "snappy") })
	t.Run("MUST use application-x-protobuf as Content-Type, with the message's name as proto", func(t *testing.T) {
		headers(t, "Content-Type", "application/x-protobuf;proto=io.prometheus.write.v2.Request")
	})
	t.Run("SHOULD use the newest version that it is compatible with", func(t *testing.T) {
		headers(t, "X-Prometheus-Remote-Write-Version", "2.0.0")
	})
	t.Run("MUST use version 0.1.0, and SHOULD use application-x-protobuf alone, when talking to 1.x receivers", func(t *testing.T) {
		_, r := conversation(t, func(q rwtest.Request) rwtest.Answer {
			if q.Version == 2 {
				return rwtest.Answer{Status: 415}
			}
			return rwtest.Answer{}
		})
		require.Len(t, r.requests, 3)
		for _, q := range r.requests[1:] {
			assert.Equal(t, []string{"application/x-protobuf"}, q.Header.Values("Content-Type"))
			assert.Equal(t, []string{"0.1.0"}, q.Header.Values("X-Prometheus-Remote-Write-Version"))
			require.NoError(t, rwtest.ValidateHeadersV1(q.Header))
		}
	})
	t.Run("MUST include a User-Agent, which SHOULD follow RFC 9110", func(t *testing.T) {
		for _, q := range requests {
			assert.Regexp(t, regexp.MustCompile(`^ordered_remote_write/[!-~]+( .+)?$`), q.Header.Get("User-Agent"))
		}
	})
	t.Run("SHOULD send samples for multiple series in a single request", func(t *testing.T) {
		for _, q := range captured(t, messageV2, onePartition) {
			assert.Greater(t, len(slices.Compact(slices.Sorted(slices.Values(q.Series)))), 10)
		}
	})
}

func TestConformanceV2Response(t *testing.T) {
	t.Run("MUST ignore the body of a success", func(t *testing.T) {
		for _, body := range []string{"", "error: rejected", "\xff\x00", `{"status":"error"}`} {
			h, r := conversation(t, func(rwtest.Request) rwtest.Answer { return rwtest.Answer{Status: 200, Body: body} })
			assert.Equal(t, int64(10), h.delivered())
			assert.Len(t, r.requests, 2)
			for _, line := range h.logs.All() {
				assert.NotContains(t, fmt.Sprint(line.ContextMap()), "rejected")
			}
		}
	})
	t.Run("MUST NOT interpret an error message and SHOULD log it as is", func(t *testing.T) {
		const message = "retry me: 415 Unsupported Media Type, 3 samples written, 429"
		h, r := conversation(t, func(rwtest.Request) rwtest.Answer {
			return rwtest.Answer{Status: 400, Body: message, Written: rwtest.WrittenAlways}
		})
		assert.Equal(t, []int{2, 2}, r.versions())
		assert.Equal(t, map[string]int64{"rejected 400": 10}, h.dropped())
		line := h.logs.FilterField(zapReason(account.ReasonRejected)).All()
		require.NotEmpty(t, line)
		assert.Contains(t, line[0].ContextMap()["answer"], message)
	})
	t.Run("MUST NOT take missing Written headers for zero with the 1.0 message", func(t *testing.T) {
		for _, answer := range []rwtest.Answer{{Status: 204}, {Status: 200, Header: writtenHeaders("0", "0", "0")}} {
			h, r := conversation(t, func(rwtest.Request) rwtest.Answer { return answer }, func(c *Config) { c.ProtobufMessage = MessageV1 })
			assert.Equal(t, int64(10), h.delivered())
			assert.Equal(t, []int{1, 1}, r.versions())
		}
	})
	t.Run("CAN assume that a missing Written header is zero", func(t *testing.T) {
		for _, status := range []int{200, 400} {
			h, _ := conversation(t, func(rwtest.Request) rwtest.Answer {
				return rwtest.Answer{Status: status, Header: writtenHeaders("3")}
			})
			assert.Equal(t, int64(2*3), h.delivered())
			assert.Equal(t, map[string]int64{fmt.Sprintf("rejected %d", status): 2 * 2}, h.dropped())
		}
	})
	t.Run("SHOULD assume 415 for a 2xx without any Written header", func(t *testing.T) {
		h, r := conversation(t, func(q rwtest.Request) rwtest.Answer {
			return rwtest.Answer{Written: rwtest.WrittenNever}
		})
		assert.Equal(t, []int{2, 1, 1}, r.versions())
		assert.Equal(t, int64(10), h.delivered())
	})
	t.Run("MUST NOT assume what version the receiver implements from its headers", func(t *testing.T) {
		for version, message := range map[string]ProtobufMessage{"0.1.0": MessageV2, "2.0.0": MessageV1} {
			h, r := conversation(t, func(rwtest.Request) rwtest.Answer {
				header := writtenHeaders("3", "2", "2")
				header.Set("X-Prometheus-Remote-Write-Version", version)
				return rwtest.Answer{Header: header}
			}, func(c *Config) { c.ProtobufMessage = message })
			assert.Len(t, slices.Compact(r.versions()), 1)
			assert.Equal(t, int64(10), h.delivered())
			assert.Zero(t, h.metric(fallbackMetric))
		}
	})
	t.Run("SHOULD expect 400 in place of 415 from 1.x receivers", func(t *testing.T) {
		h, r := conversation(t, func(q rwtest.Request) rwtest.Answer {
			if q.Version == 2 {
				return rwtest.Answer{Status: 400}
			}
			return rwtest.Answer{}
		})
		assert.Equal(t, []int{2, 1, 1}, r.versions())
		assert.Equal(t, int64(10), h.delivered())
	})
	t.Run("MUST NOT retry on 4xx other than 429", func(t *testing.T) {
		for status := 400; status <= 499; status++ {
			if status == 413 || status == 415 || status == 429 {
				continue // smaller or in another form they are other requests
			}
			_, r := conversation(t, func(rwtest.Request) rwtest.Answer {
				return rwtest.Answer{Status: status, Written: rwtest.WrittenAlways}
			}, func(c *Config) { c.OnError.Fatal = OnFatalDiscard })
			assert.Len(t, r.requests, 2, status)
		}
		for _, status := range []int{413, 415} {
			_, r := conversation(t, func(rwtest.Request) rwtest.Answer { return rwtest.Answer{Status: status} })
			bodies := make(map[string]bool)
			for _, q := range r.requests {
				assert.False(t, bodies[string(q.Body)], "%d: the same again", status)
				bodies[string(q.Body)] = true
			}
		}
	})
	t.Run("MAY retry on 415 with a different content type", func(t *testing.T) {
		_, r := conversation(t, func(q rwtest.Request) rwtest.Answer {
			return rwtest.Answer{Status: map[int]int{1: 204, 2: 415}[q.Version]}
		})
		assert.Equal(t, []int{2, 1, 1}, r.versions())
	})
}

func TestConformanceV2Retries(t *testing.T) {
	until := func(status int, header http.Header, requests int) func(rwtest.Request) rwtest.Answer {
		return func(q rwtest.Request) rwtest.Answer {
			if q.Seq <= requests {
				return rwtest.Answer{Status: status, Header: header}
			}
			return rwtest.Answer{}
		}
	}
	t.Run("MUST retry on 5xx", func(t *testing.T) {
		for _, status := range []int{500, 501, 502, 503, 504, 507, 511, 599} {
			h, r := conversation(t, until(status, nil, 4))
			require.Len(t, r.requests, 6)
			for _, q := range r.requests[1:5] {
				assert.Equal(t, r.requests[0].Body, q.Body, "the same request")
			}
			assert.Equal(t, int64(10), h.delivered())
		}
	})
	t.Run("MAY retry on 429", func(t *testing.T) {
		h, r := conversation(t, until(429, nil, 2))
		assert.Len(t, r.requests, 4)
		assert.Equal(t, int64(10), h.delivered())
		_, r = conversation(t, until(429, nil, 2), func(c *Config) { c.RetryOn429 = false })
		assert.Len(t, r.requests, 2)
	})
	t.Run("MUST use a backoff algorithm", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var at []time.Time
			r := record(func(q rwtest.Request) rwtest.Answer {
				at = append(at, time.Now())
				return rwtest.Answer{Status: 503}
			})
			h := newHarness(t, r, onePartition, messageV2, func(c *Config) { c.Retry.MaxRetries = 10 })
			h.consume(mixed(time.Now(), 1, 0))
			time.Sleep(time.Hour)
			h.shutdown()
			require.Len(t, at, 11)
			delay := time.Duration(0)
			for i := 1; i < len(at); i++ {
				next := at[i].Sub(at[i-1])
				assert.True(t, next > delay || next == h.cfg.Retry.BackOff.MaxInterval, next)
				delay = next
			}
		})
	})
	t.Run("MAY handle Retry-After", func(t *testing.T) {
		for _, status := range []int{429, 503} {
			synctest.Test(t, func(t *testing.T) {
				var at []time.Time
				r := record(func(q rwtest.Request) rwtest.Answer {
					at = append(at, time.Now())
					return until(status, http.Header{"Retry-After": {"7"}}, 1)(q)
				})
				h := newHarness(t, r, onePartition, messageV2)
				h.consume(mixed(time.Now(), 1, 0))
				time.Sleep(time.Minute)
				h.shutdown()
				require.Len(t, at, 2)
				assert.Equal(t, 7*time.Second, at[1].Sub(at[0]))
			})
		}
	})
	t.Run("MAY retry a partial write that expects it, with the same request", func(t *testing.T) {
		h, r := conversation(t, until(503, writtenHeaders("2", "1", "0"), 1))
		assert.Equal(t, r.requests[0].Body, r.requests[1].Body)
		assert.Equal(t, int64(10), h.delivered())
	})
}

func TestConformanceV2Message(t *testing.T) {
	requests := captured(t, messageV2)
	t.Run("timestamps MUST be int64 milliseconds since the epoch", func(t *testing.T) {
		now := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli() // the clock of synctest begins then
		eachSeries(requests, func(s *capturedSeries) {
			timestamps, starts, _ := s.points()
			for i := range timestamps {
				assert.InDelta(t, now, timestamps[i], 1e7)
				if starts[i] != 0 {
					assert.InDelta(t, now, starts[i], 1e7)
				}
			}
		})
	})
	t.Run("values MUST be float64", func(t *testing.T) {
		found := make(map[float64]bool)
		eachSeries(requests, func(s *capturedSeries) {
			if s.name == "room_temperature_celsius" || s.name == "queue_length" {
				found[s.Samples[0].Value] = true
			}
		})
		assert.Equal(t, map[float64]bool{21.5: true, 7: true}, found, "integers too")
	})
	t.Run("labels_refs MUST be provided", func(t *testing.T) {
		eachSeries(requests, func(s *capturedSeries) {
			assert.NotEmpty(t, s.LabelsRefs)
			assert.Zero(t, len(s.LabelsRefs)%2)
		})
	})
	t.Run("at least one sample or histogram MUST be provided, and MUST NOT be mixed", func(t *testing.T) {
		eachSeries(requests, func(s *capturedSeries) {
			assert.NotEqual(t, len(s.Samples) > 0, len(s.Histograms) > 0)
		})
	})
	t.Run("metadata SHOULD be provided", func(t *testing.T) {
		types := make(map[string]writev2.Metadata_MetricType)
		eachSeries(requests, func(s *capturedSeries) {
			assert.NotEqual(t, writev2.Metadata_METRIC_TYPE_UNSPECIFIED, s.Metadata.Type)
			if s.metadata.help == "" {
				assert.True(t, strings.HasPrefix(s.name, "rwtest_"), "%s has a description", s.name)
			}
			types[s.name] = s.Metadata.Type
			units := map[string]string{"room_temperature_celsius": "celsius", "cpu_time_seconds_total": "seconds", "request_size_bytes_sum": "bytes"}
			if unit, ok := units[s.name]; ok {
				assert.Equal(t, unit, s.metadata.unit)
			}
		})
		for name, typ := range map[string]writev2.Metadata_MetricType{
			"room_temperature_celsius":  writev2.Metadata_METRIC_TYPE_GAUGE,
			"queue_length":              writev2.Metadata_METRIC_TYPE_GAUGE,
			"cpu_time_seconds_total":    writev2.Metadata_METRIC_TYPE_COUNTER,
			"request_size_bytes_bucket": writev2.Metadata_METRIC_TYPE_HISTOGRAM,
			"request_size_bytes_sum":    writev2.Metadata_METRIC_TYPE_HISTOGRAM,
			"request_size_bytes_count":  writev2.Metadata_METRIC_TYPE_HISTOGRAM,
			"request_time":              writev2.Metadata_METRIC_TYPE_HISTOGRAM,
			"gc_pause":                  writev2.Metadata_METRIC_TYPE_SUMMARY,
			"gc_pause_sum":              writev2.Metadata_METRIC_TYPE_SUMMARY,
			"gc_pause_count":            writev2.Metadata_METRIC_TYPE_SUMMARY,
		} {
			assert.Equal(t, typ, types[name], name)
		}
		assert.Contains(t, types, "target_info")
	})
	t.Run("exemplars SHOULD be provided if they exist", func(t *testing.T) {
		found := make(map[string]bool)
		eachSeries(requests, func(s *capturedSeries) {
			series := s.name
			for _, l := range s.labels {
				if l[0] == "le" {
					series += " " + l[1]
				}
			}
			for _, e := range s.Exemplars {
				found[fmt.Sprint(series, " ", e.Value)] = true
			}
		})
		assert.Equal(t, map[string]bool{
			"cpu_time_seconds_total 1": true, "request_time 5": true,
			"request_size_bytes_bucket 1 0.7": true, "request_size_bytes_bucket +Inf 9": true,
		}, found, "on the bucket that their value is in")
	})
	t.Run("series of a metric that ends SHOULD get stale markers, with the special NaN", func(t *testing.T) {
		ended := make(map[string]bool)
		eachSeries(requests, func(s *capturedSeries) {
			_, _, values := s.points()
			for _, v := range values {
				if math.Float64bits(v) == 0x7ff0000000000002 {
					ended[s.name] = true
				}
			}
		})
		assert.Equal(t, map[string]bool{
			"unpleasant": true, "unpleasant_histogram_bucket": true, "unpleasant_histogram_sum": true, "unpleasant_histogram_count": true,
			"unpleasant_native": true,
		}, ended)
	})
	t.Run("the special NaN MUST NOT be used otherwise", func(t *testing.T) {
		found := false
		eachSeries(requests, func(s *capturedSeries) {
			if slices.Contains(s.labels, [2]string{"nan", "stale by chance"}) {
				found = true
				assert.True(t, math.IsNaN(s.Samples[0].Value))
				assert.NotEqual(t, uint64(0x7ff0000000000002), math.Float64bits(s.Samples[0].Value))
			}
		})
		assert.True(t, found)
	})
}

func TestConformanceV2Symbols(t *testing.T) {
	requests := captured(t, messageV2, func(c *Config) { c.Batch.MaxSamples = 100 })
	require.Greater(t, len(requests), 10)
	t.Run("the table MUST be provided, and MUST begin with an empty string", func(t *testing.T) {
		for _, q := range requests {
			require.NotEmpty(t, q.MessageV2.Symbols)
			assert.Empty(t, q.MessageV2.Symbols[0])
		}
	})
	t.Run("it MUST contain deduplicated strings", func(t *testing.T) {
		for _, q := range requests {
			sorted := slices.Sorted(slices.Values(q.MessageV2.Symbols))
			assert.Len(t, slices.Compact(sorted), len(q.MessageV2.Symbols))
		}
	})
	t.Run("those that are used in series, exemplars and metadata", func(t *testing.T) {
		for _, q := range requests {
			used := map[uint32]bool{0: true}
			for _, s := range q.MessageV2.Timeseries {
				for _, ref := range append(slices.Clone(s.LabelsRefs), s.Metadata.HelpRef, s.Metadata.UnitRef) {
					used[ref] = true
				}
				for _, e := range s.Exemplars {
					for _, ref := range e.LabelsRefs {
						used[ref] = true
					}
				}
			}
			assert.Len(t, used, len(q.MessageV2.Symbols))
			for ref := range used {
				assert.Less(t, int(ref), len(q.MessageV2.Symbols), "references MUST point to the table")
			}
		}
	})
}

func TestConformanceV2SeriesLabels(t *testing.T) {
	requests := captured(t, messageV2)
	t.Run("the complete set of labels MUST be sent with each sample", func(t *testing.T) {
		sets := make(map[string]bool)
		eachSeries(requests, func(s *capturedSeries) {
			if s.name == "cpu_time_seconds_total" {
				sets[fmt.Sprint(s.labels)] = true
			}
		})
		assert.Equal(t, map[string]bool{"[[__name__ cpu_time_seconds_total] [instance a] [job shop] [room hall]]": true}, sets)
	})
	t.Run("they SHOULD contain __name__", func(t *testing.T) {
		eachSeries(requests, func(s *capturedSeries) { assert.NotEmpty(t, s.name) })
	})
	t.Run("they MUST NOT contain repeated names, and MUST be sorted", func(t *testing.T) {
		eachSeries(requests, func(s *capturedSeries) {
			for i := 1; i < len(s.labels); i++ {
				assert.Less(t, s.labels[i-1][0], s.labels[i][0])
			}
		})
	})
	t.Run("they MUST NOT contain empty names or values", func(t *testing.T) {
		eachSeries(requests, func(s *capturedSeries) {
			for _, l := range s.labels {
				assert.NotEmpty(t, l[0])
				assert.NotEmpty(t, l[1])
			}
		})
	})
	t.Run("names and values MUST be UTF-8", func(t *testing.T) {
		for _, strategy := range []otlptranslator.TranslationStrategyOption{otlptranslator.UnderscoreEscapingWithSuffixes, otlptranslator.NoTranslation} {
			for _, q := range captured(t, messageV2, func(c *Config) { c.TranslationStrategy = strategy }) {
				for _, s := range q.MessageV2.Symbols {
					assert.True(t, utf8.ValidString(s), "%q", s)
				}
			}
		}
	})
	t.Run("names SHOULD be classic", func(t *testing.T) {
		metric, label := regexp.MustCompile(`^[a-zA-Z_:]([a-zA-Z0-9_:])*$`), regexp.MustCompile(`^[a-zA-Z_]([a-zA-Z0-9_])*$`)
		eachSeries(requests, func(s *capturedSeries) {
			assert.Regexp(t, metric, s.name)
			for _, l := range s.labels {
				assert.Regexp(t, label, l[0])
			}
		})
	})
	t.Run("names that begin with __ SHOULD NOT be used", func(t *testing.T) {
		eachSeries(requests, func(s *capturedSeries) {
			for _, l := range s.labels {
				assert.True(t, l[0] == "__name__" || !strings.HasPrefix(l[0], "__"), l[0])
			}
		})
	})
}
