// SPDX-License-Identifier: Apache-2.0

package rwtest

import (
	"bytes"
	"context"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/prometheus/prompb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// samples returns a request with the timestamps of one series. The value of each is its timestamp.
func samples(series string, timestamps ...int64) *prompb.WriteRequest {
	ts := prompb.TimeSeries{Labels: []prompb.Label{{Name: "__name__", Value: series}}}
	for _, at := range timestamps {
		ts.Samples = append(ts.Samples, prompb.Sample{Timestamp: at, Value: float64(at)})
	}
	return &prompb.WriteRequest{Timeseries: []prompb.TimeSeries{ts}}
}

// post sends a request and returns the status, or 0 and the error, and the error of reading the body.
func post(t *testing.T, ctx context.Context, client *http.Client, url string, msg *prompb.WriteRequest) (status int, err, bodyErr error) {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(encode(t, msg)))
	require.NoError(t, err)
	req.Header = soundHeaders()
	resp, err := client.Do(req)
	if err != nil {
		return 0, err, nil
	}
	_, bodyErr = io.Copy(io.Discard, resp.Body)
	require.NoError(t, resp.Body.Close())
	return resp.StatusCode, nil, bodyErr
}

// overBoth runs a test with the receiver on a network and without.
func overBoth(t *testing.T, test func(t *testing.T, connect func(*Receiver) (*http.Client, string))) {
	noRedirects := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	t.Run("ServeHTTP", func(t *testing.T) {
		test(t, func(r *Receiver) (*http.Client, string) {
			server := httptest.NewServer(r)
			t.Cleanup(server.Close)
			client := server.Client()
			client.CheckRedirect = noRedirects
			return client, server.URL
		})
	})
	t.Run("RoundTrip", func(t *testing.T) {
		test(t, func(r *Receiver) (*http.Client, string) {
			return &http.Client{Transport: r, CheckRedirect: noRedirects}, "http://receiver"
		})
	})
}

func TestZeroReceiverStoresEverything(t *testing.T) {
	overBoth(t, func(t *testing.T, connect func(*Receiver) (*http.Client, string)) {
		var r Receiver
		client, url := connect(&r)
		for _, msg := range []*prompb.WriteRequest{samples("a", 1, 2), samples("b", 1), samples("a", 3), soundRequest()} {
			status, err, _ := post(t, t.Context(), client, url, msg)
			require.NoError(t, err)
			assert.Equal(t, 204, status)
		}
		delivered := r.Delivered()
		assert.Len(t, delivered, 4)
		assert.Equal(t, []Sample{{1, math.Float64bits(1), false}, {2, math.Float64bits(2), false}, {3, math.Float64bits(3), false}}, delivered[`{__name__="a"}`])
		histograms := delivered[`{__name__="latency"}`]
		require.Len(t, histograms, 2)
		assert.True(t, histograms[0].Histogram)
		assert.Equal(t, 4, r.Requests())
		assert.Equal(t, map[int]Count{204: {4, 8}}, r.Answered())
		assert.Equal(t, 8, r.AcknowledgedSamples())
		assert.Equal(t, 1, r.MaxParallel())
		assert.Zero(t, r.Redelivered())
		assert.Empty(t, r.Problems())
	})
}

func TestAnswers(t *testing.T) {
	const seriesA = `{__name__="a"}`
	for _, tt := range []struct {
		name         string
		answer       Answer
		status       int // 0 is an error
		bodyBroken   bool
		stored       bool
		acknowledged int
	}{
		{"200", Answer{Status: 200, Body: "thanks"}, 200, false, true, 1},
		{"500", Answer{Status: 500, Body: "no"}, 500, false, false, 0},
		{"500, though stored", Answer{Status: 500, Stored: true}, 500, false, true, 0},
		{"429", Answer{Status: 429, Header: http.Header{"Retry-After": {"1"}}}, 429, false, false, 0},
		{"302", Answer{Status: 302, Header: http.Header{"Location": {redirectPath}}}, 302, false, false, 0},
		{"304", Answer{Status: 304, Body: "which has no body"}, 304, false, false, 0},
		{"a huge body", Answer{Status: 400, Body: "no", BodySize: 1 << 20}, 400, false, false, 0},
		{"a reset", Answer{Fault: Reset}, 0, false, false, 0},
		{"a dropped answer", Answer{Fault: Reset, Stored: true}, 0, false, true, 0},
		{"a cut answer", Answer{Status: 200, Body: "thanks", Fault: Cut}, 200, true, true, 0},
		{"a cut error", Answer{Status: 503, Fault: Cut}, 503, true, false, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			overBoth(t, func(t *testing.T, connect func(*Receiver) (*http.Client, string)) {
				r := Receiver{Script: func(req Request) Answer {
					assert.Equal(t, 1, req.Seq)
					assert.Equal(t, []string{seriesA}, req.Series)
					assert.Equal(t, 1, req.Samples())
					return tt.answer
				}}
				client, url := connect(&r)
				status, err, bodyErr := post(t, t.Context(), client, url, samples("a", 7))
				assert.Equal(t, tt.status, status)
				assert.Equal(t, tt.status == 0, err != nil, "%v", err)
				assert.Equal(t, tt.bodyBroken, bodyErr != nil, "%v", bodyErr)
				assert.Equal(t, tt.stored, r.Delivered()[seriesA] != nil)
				assert.Equal(t, tt.acknowledged, r.AcknowledgedSamples())
				answered, cut, unanswered := map[int]Count{}, map[int]Count{}, Count{}
				switch {
				case tt.status == 0:
					unanswered = Count{1, 1}
				case tt.bodyBroken:
					cut[tt.status] = Count{1, 1}
				default:
					answered[tt.status] = Count{1, 1}
				}
				if tt.status != 0 {
					assert.Equal(t, answered, r.Answered())
					assert.Equal(t, cut, r.CutAnswers())
				}
				assert.Equal(t, unanswered, r.Unanswered())
				assert.Empty(t, r.Problems())
			})
		})
	}
}

func TestResetIsAReset(t *testing.T) {
	for name, faults := range map[string]Faults{"unread": {ResetUnread: 1000}, "dropped answer": {DropAnswer: 1000}} {
		t.Run(name, func(t *testing.T) {
			r := &Receiver{Faults: faults}
			server := httptest.NewServer(r)
			defer server.Close()
			_, err, _ := post(t, t.Context(), server.Client(), server.URL, samples("a", 1))
			assert.ErrorIs(t, err, syscall.ECONNRESET)

			_, err, _ = post(t, t.Context(), &http.Client{Transport: r}, "http://receiver", samples("a", 1))
			if faults.DropAnswer > 0 {
				assert.ErrorIs(t, err, io.ErrUnexpectedEOF)
				assert.Equal(t, Count{2, 2}, r.Unanswered())
			} else {
				assert.ErrorIs(t, err, syscall.ECONNRESET)
				assert.Equal(t, Count{2, 0}, r.Unanswered(), "what is not read has no samples")
			}
		})
	}
}

// TestHangOnNetwork gives up a request that hangs and sends it again, which is no overlap.
func TestHangOnNetwork(t *testing.T) {
	arrived := make(chan struct{})
	r := Receiver{Script: func(req Request) Answer {
		if req.Seq == 1 {
			close(arrived)
			return Answer{Fault: Hang, Stored: true}
		}
		return Answer{}
	}}
	server := httptest.NewServer(&r)
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-arrived; cancel() }()
	_, err, _ := post(t, ctx, server.Client(), server.URL, samples("a", 1))
	require.ErrorIs(t, err, context.Canceled)
	status, err, _ := post(t, t.Context(), server.Client(), server.URL, samples("a", 1))
	require.NoError(t, err)
	assert.Equal(t, 204, status)
	server.Close() // which waits for the handlers
	assert.Equal(t, Count{1, 1}, r.Unanswered())
	assert.Equal(t, 1, r.Redelivered())
	assert.Empty(t, r.Problems())
}

func TestTimeInABubble(t *testing.T) {
	for _, tt := range []struct {
		name    string
		answer  Answer
		timeout time.Duration
		took    time.Duration
		status  int
		body    bool // arrives
	}{
		{"latency", Answer{Latency: 3 * time.Second}, 0, 3 * time.Second, 204, true},
		{"latency beyond the timeout", Answer{Latency: 3 * time.Second}, time.Second, time.Second, 0, false},
		{"a hang", Answer{Fault: Hang}, 30 * time.Second, 30 * time.Second, 0, false},
		{"a reset after a while", Answer{Fault: Reset, Latency: time.Second}, 0, time.Second, 0, false},
		{"a slow body", Answer{Status: 200, BodySize: 100, BodyTime: 8 * time.Second}, 0, 8 * time.Second, 200, true},
		{"a slow body beyond the timeout", Answer{Status: 200, BodySize: 100, BodyTime: 8 * time.Second}, 5 * time.Second, 5 * time.Second, 200, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := Receiver{Script: func(Request) Answer { return tt.answer }}
				client := &http.Client{Transport: &r, Timeout: tt.timeout}
				start := time.Now()
				status, err, bodyErr := post(t, t.Context(), client, "http://receiver", samples("a", 1))
				assert.Equal(t, tt.took, time.Since(start))
				assert.Equal(t, tt.status, status)
				assert.Equal(t, tt.status == 0, err != nil)
				if tt.status != 0 {
					assert.Equal(t, tt.body, bodyErr == nil, "%v", bodyErr)
				}
				assert.Empty(t, r.Problems())
			})
		})
	}
}

func TestOrderIsWatched(t *testing.T) {
	var r Receiver
	client := &http.Client{Transport: &r}
	send := func(msg *prompb.WriteRequest) {
		_, err, _ := post(t, t.Context(), client, "http://receiver", msg)
		require.NoError(t, err)
	}
	send(samples("a", 1, 5))
	send(samples("b", 2)) // another series
	send(samples("a", 3))
	send(samples("a", 4, 6))
	assert.Equal(t, []string{
		`request 3: 3 at 3 of {__name__="a"}, after 5`,
		`request 4: 4 at 4 of {__name__="a"}, after 5`,
	}, r.OutOfOrder())
	assert.Len(t, r.Delivered()[`{__name__="a"}`], 5)

	conflict := samples("b", 2)
	conflict.Timeseries[0].Samples[0].Value = 9
	send(conflict)
	assert.Equal(t, []string{`request 5: 9 at 2 of {__name__="b"}, where 2 at 2 of {__name__="b"} is stored`}, r.Conflicting())
	assert.Zero(t, r.Redelivered())
	assert.Empty(t, r.ResentAfterSuccess())

	send(samples("b", 2))
	assert.Equal(t, 1, r.Redelivered())
	assert.Equal(t, []string{`request 6: 2 at 2 of {__name__="b"}, after success`}, r.ResentAfterSuccess())
	assert.Len(t, r.Problems(), 4)
}

// TestRetryIsRedelivery sends identical samples after a dropped answer and then after a refusal that stored nothing.
func TestRetryIsRedelivery(t *testing.T) {
	r := Receiver{Script: func(req Request) Answer {
		return []Answer{{Fault: Reset, Stored: true}, {Status: 500}, {}, {}}[req.Seq-1]
	}}
	client := &http.Client{Transport: &r}
	msg := soundRequest()
	for range 3 {
		_, _, _ = post(t, t.Context(), client, "http://receiver", msg)
	}
	assert.Equal(t, 4, r.Redelivered(), "stale markers and histograms are recognised")
	assert.Equal(t, 4, r.AcknowledgedSamples())
	assert.Empty(t, r.Problems())
}

func TestOverlaps(t *testing.T) {
	for _, tt := range []struct {
		name     string
		key      func(*prompb.WriteRequest) []string
		second   string
		overlaps []string
	}{
		{"the same series", nil, "a", []string{`request 2 was sent while request 1 was in flight for {__name__="a"}`}},
		{"another series", nil, "b", nil},
		{"another series of the same partition", func(*prompb.WriteRequest) []string { return []string{"partition 2", "partition 1"} }, "b", []string{"request 2 was sent while request 1 was in flight for partition 2"}},
		{"another partition", func(msg *prompb.WriteRequest) []string { return []string{msg.Timeseries[0].Labels[0].Value} }, "b", nil},
		{"unwatched", func(*prompb.WriteRequest) []string { return nil }, "a", nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := Receiver{InFlightKeys: tt.key, Script: func(Request) Answer { return Answer{Latency: time.Second} }}
				client := &http.Client{Transport: &r}
				go post(t, t.Context(), client, "http://receiver", samples("a", 1))
				synctest.Wait()
				_, err, _ := post(t, t.Context(), client, "http://receiver", samples(tt.second, 2))
				require.NoError(t, err)
				synctest.Wait()
				_, err, _ = post(t, t.Context(), client, "http://receiver", samples(tt.second, 3))
				require.NoError(t, err)
				assert.Equal(t, tt.overlaps, r.Overlaps())
				assert.Equal(t, 2, r.MaxParallel())
			})
		})
	}
}

// TestLateOverlap has the first request end, by its client's giving up, only after the second one was answered.
func TestLateOverlap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := Receiver{Script: func(req Request) Answer { return []Answer{{Fault: Hang}, {}}[req.Seq-1] }}
		client := &http.Client{Transport: &r}
		ctx, cancel := context.WithCancel(t.Context())
		go post(t, ctx, client, "http://receiver", samples("a", 1))
		synctest.Wait()
		_, err, _ := post(t, t.Context(), client, "http://receiver", samples("a", 2))
		require.NoError(t, err)
		cancel()
		synctest.Wait()
		assert.Len(t, r.Overlaps(), 1)
	})
}

// TestGivenUpIsNoOverlap sends a request again after its client has given up, which the receiver notices sooner or later.
func TestGivenUpIsNoOverlap(t *testing.T) {
	for _, tt := range []struct {
		name    string
		noticed time.Duration // negative: before the second request
		overlap []string
	}{
		{"noticed before", -time.Millisecond, nil},
		{"noticed within the grace", serverGrace, nil},
		{"noticed too late", serverGrace + 1, []string{"request 2 was sent while request 1 was in flight for a"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var r Receiver
				ctx, cancel := context.WithCancel(t.Context())
				first := &exchange{request: Request{Seq: 1, Series: []string{"a", "b"}}, flight: flight{ctx: ctx}}
				second := &exchange{request: Request{Seq: 2, Series: []string{"a", "b"}}, flight: flight{ctx: t.Context()}}
				r.takeOff(first)
				if tt.noticed < 0 {
					cancel()
				}
				r.takeOff(second)
				time.Sleep(tt.noticed)
				cancel()
				r.leave(second, serverGrace)
				r.leave(first, serverGrace)
				assert.Equal(t, tt.overlap, r.Overlaps(), "once, though two series are shared")
				assert.Empty(t, r.flights)
			})
		})
	}
}

func TestFollowedRedirectIsAViolation(t *testing.T) {
	for status, method := range map[int]string{302: "GET", 308: "POST"} {
		t.Run(strconv.Itoa(status), func(t *testing.T) {
			r := Receiver{Script: func(Request) Answer {
				return Answer{Status: status, Header: http.Header{"Location": {redirectPath}}}
			}}
			got, err, _ := post(t, t.Context(), &http.Client{Transport: &r}, "http://receiver/write", samples("a", 1))
			require.NoError(t, err)
			assert.Equal(t, 200, got, "the trap")
			require.Len(t, r.Violations(), 1)
			assert.Contains(t, r.Violations()[0], "request 2: "+method+" of /redirected")
			assert.Empty(t, r.Delivered())
			assert.Zero(t, r.AcknowledgedSamples())
		})
	}
}

func TestViolationsAreRecorded(t *testing.T) {
	overBoth(t, func(t *testing.T, connect func(*Receiver) (*http.Client, string)) {
		var seen Request
		r := Receiver{Script: func(req Request) Answer { seen = req; return Answer{} }}
		client, url := connect(&r)
		resp, err := client.Post(url, "text/plain", bytes.NewReader([]byte("rubbish")))
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		assert.Nil(t, seen.Message)
		assert.Equal(t, "rubbish", string(seen.Body))
		assert.Contains(t, r.Violations()[0], "request 1: Content-Encoding is snappy")
		assert.Contains(t, r.Violations()[len(r.Violations())-1], "request 1: body is a Snappy-block-compressed")

		before := len(r.Violations())
		unsorted := soundRequest()
		unsorted.Timeseries[0].Labels[0].Name = "z"
		_, err, _ = post(t, t.Context(), client, url, unsorted)
		require.NoError(t, err)
		assert.Len(t, r.Violations(), before+1)
	})
}

// TestHammer has several senders, each with its own series, retry everything until it is acknowledged while the receiver
// does the worst it can. They keep order, so there must be no problem, and every sample must arrive.
func TestHammer(t *testing.T) {
	faults := Faults{
		Seed: 1, ServerError: 50, StoredServerError: 50, TooManyRequests: 50, ClientError: 50, Redirect: 50, ResetUnread: 50,
		DropAnswer: 50, CutAnswer: 50, CutError: 50, HugeBody: 5, SlowBody: 100, LyingHeader: 100,
	}
	hammer := func(t *testing.T, r *Receiver, client *http.Client, url string) {
		const senders, requests = 8, 50
		client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		var wg sync.WaitGroup
		for s := range senders {
			wg.Go(func() {
				for i := range int64(requests) {
					msg := samples("series_"+strconv.Itoa(s), 2*i, 2*i+1)
					for status := 0; status/100 != 2; {
						status, _, _ = post(t, t.Context(), client, url, msg)
					}
				}
			})
		}
		wg.Wait()
		assert.Empty(t, r.Problems())
		delivered := r.Delivered()
		assert.Len(t, delivered, senders)
		for series, samples := range delivered {
			assert.Len(t, samples, 2*requests, series)
		}
		succeeded := r.AcknowledgedSamples()
		for status, c := range r.CutAnswers() {
			if status/100 == 2 {
				succeeded += c.Samples
			}
		}
		assert.Equal(t, senders*2*requests, succeeded)
		assert.Positive(t, r.Redelivered())
		assert.Greater(t, r.MaxParallel(), 1)
	}
	t.Run("ServeHTTP", func(t *testing.T) {
		r := &Receiver{Faults: faults}
		r.Faults.MaxLatency = 3 * time.Millisecond
		server := httptest.NewServer(r)
		defer server.Close()
		hammer(t, r, server.Client(), server.URL)
	})
	t.Run("RoundTrip", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := &Receiver{Faults: faults}
			r.Faults.Hang, r.Faults.StoredHang = 50, 50
			r.Faults.MinLatency, r.Faults.MaxLatency = time.Millisecond, time.Second
			hammer(t, r, &http.Client{Transport: r, Timeout: 5 * time.Second}, "http://receiver")
		})
	})
}
