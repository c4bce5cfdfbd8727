// SPDX-License-Identifier: Apache-2.0

package receive

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/schedule"
)

// endpoint is a running receiver.
type endpoint struct {
	*Receiver
	t            *testing.T
	url, control string
}

func serve(t *testing.T, verifies bool, b Behavior) *endpoint {
	t.Helper()
	b.PoisonStatus = http.StatusBadRequest
	r, err := New(verifies, b)
	require.NoError(t, err)
	s, c := httptest.NewServer(r), httptest.NewServer(r.Control())
	t.Cleanup(s.Close)
	t.Cleanup(c.Close)
	return &endpoint{r, t, s.URL, c.URL}
}

var example = schedule.Schedule{Kind: schedule.Gauge, Streams: 4, PerResource: 4, PerRequest: 4, Start: 1_800_000_000_000, Interval: 1000}

// messageOf has all streams of the example at a step.
func messageOf(t testing.TB, version, step int) []byte {
	t.Helper()
	v1 := &prompb.WriteRequest{}
	v2 := &writev2.Request{Symbols: []string{"", "__name__", "loadtest_gauge", "series"}}
	for stream := range example.Streams {
		number := fmt.Sprintf("s%08d", stream)
		value := example.Value(stream, 0, step)
		v1.Timeseries = append(v1.Timeseries, prompb.TimeSeries{
			Labels:  []prompb.Label{{Name: "__name__", Value: "loadtest_gauge"}, {Name: "series", Value: number}},
			Samples: []prompb.Sample{{Value: value, Timestamp: example.Time(step)}},
		})
		v2.Symbols = append(v2.Symbols, number)
		v2.Timeseries = append(v2.Timeseries, writev2.TimeSeries{
			LabelsRefs: []uint32{1, 2, 3, uint32(4 + stream)}, Samples: []writev2.Sample{{Value: value, Timestamp: example.Time(step)}},
		})
	}
	var msg interface{ Marshal() ([]byte, error) } = v1
	if version == 2 {
		msg = v2
	}
	b, err := msg.Marshal()
	require.NoError(t, err)
	return b
}

// headers are those of a version.
func headers(version int) http.Header {
	h := http.Header{}
	h.Set("Content-Encoding", "snappy")
	h.Set("User-Agent", "test/1.0")
	h.Set("Content-Type", "application/x-protobuf")
	h.Set("X-Prometheus-Remote-Write-Version", "0.1.0")
	if version == 2 {
		h.Set("Content-Type", "application/x-protobuf;proto=io.prometheus.write.v2.Request")
		h.Set("X-Prometheus-Remote-Write-Version", "2.0.0")
	}
	return h
}

// post sends a message and returns the answer, or nil if there was none.
func (e *endpoint) post(version int, message []byte) *http.Response {
	e.t.Helper()
	req, err := http.NewRequest(http.MethodPost, e.url, bytes.NewReader(snappy.Encode(nil, message)))
	require.NoError(e.t, err)
	req.Header = headers(version)
	// A reset connection must not be tried again by the client.
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		return nil
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	require.NoError(e.t, resp.Body.Close())
	return resp
}

// tell posts something to the control port and returns the status.
func (e *endpoint) tell(path, body string) int {
	e.t.Helper()
	resp, err := http.Post(e.control+path, "application/json", strings.NewReader(body))
	require.NoError(e.t, err)
	require.NoError(e.t, resp.Body.Close())
	return resp.StatusCode
}

func (e *endpoint) announce(steps int) {
	e.t.Helper()
	s := example
	s.Steps = steps
	body, err := json.Marshal([]schedule.Schedule{s})
	require.NoError(e.t, err)
	require.Equal(e.t, http.StatusOK, e.tell("/schedule", string(body)))
}

func (e *endpoint) ask() (r Report) {
	e.t.Helper()
	resp, err := http.Get(e.control + "/report")
	require.NoError(e.t, err)
	defer resp.Body.Close()
	require.NoError(e.t, json.NewDecoder(resp.Body).Decode(&r))
	return r
}

func TestBothVersionsAreCountedAndVerified(t *testing.T) {
	for _, verifies := range []bool{false, true} {
		for version := 1; version <= 2; version++ {
			e := serve(t, verifies, Behavior{})
			e.announce(3)
			for step := range 3 {
				resp := e.post(version, messageOf(t, version, step))
				require.NotNil(t, resp)
				require.Equal(t, http.StatusNoContent, resp.StatusCode)
				written := map[int]string{1: "", 2: "4"}[version]
				require.Equal(t, written, resp.Header.Get("X-Prometheus-Remote-Write-Samples-Written"))
			}
			r := e.ask()
			assert.Equal(t, []int{3, 12, 12}, []int{r.Requests, r.Samples, r.Stored})
			assert.Equal(t, map[int]int{204: 3}, r.Answers)
			assert.Zero(t, r.ViolationCount, "%+v", r.Verified)
			if verifies {
				assert.Equal(t, []int{12, 12, 0}, []int{r.Verified.Expected, r.Verified.Scheduled, r.Verified.Missing})
			}
			require.Equal(t, http.StatusOK, e.tell("/reset", ""))
			assert.Zero(t, e.ask().Requests)
		}
	}
}

func TestWhatIsNoRequestIsCounted(t *testing.T) {
	e := serve(t, true, Behavior{})
	assert.Equal(t, http.StatusBadRequest, e.post(1, []byte{0xff}).StatusCode)
	resp, err := http.Post(e.url, "text/plain", strings.NewReader("hello"))
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	r := e.ask()
	assert.Equal(t, 2, r.Unreadable)
	assert.Equal(t, 3, r.ViolationCount, "the headers of the second are wrong too: %v", r.Verified.Examples)
}

// An answer that a sender cannot get lets it send again; one that it gets does not.
func TestBehaviorIsSwitchedWhileItRuns(t *testing.T) {
	e := serve(t, true, Behavior{})
	e.announce(2)
	message := messageOf(t, 1, 0)
	for _, tc := range []struct {
		behavior string
		status   int // 0 is none
		stored   int
	}{
		{`{"server_errors":1}`, 500, 0},
		{`{"server_errors":0,"too_many_requests":1}`, 429, 0},
		{`{"too_many_requests":0,"client_errors":1}`, 400, 0},
		{`{"client_errors":0,"resets":1}`, 0, 0},
		{`{"resets":0,"lost_answers":1}`, 0, 4},
		{`{"lost_answers":0,"stored_server_errors":1}`, 500, 8},
		{`{"stored_server_errors":0,"status":418}`, 418, 8},
		{`{"status":0,"poison":1}`, 400, 8},
		{`{"poison":0,"latency":"1ms","jitter":"1ms"}`, 204, 12},
	} {
		require.Equal(t, http.StatusOK, e.tell("/behavior", tc.behavior), tc.behavior)
		resp := e.post(1, message)
		if tc.status == 0 {
			assert.Nil(t, resp, tc.behavior)
		} else if assert.NotNil(t, resp, tc.behavior) {
			// There are several of each hundred.
			assert.Equal(t, tc.status/100, resp.StatusCode/100, tc.behavior)
		}
		assert.Equal(t, tc.stored, e.ask().Stored, tc.behavior)
	}
	r := e.ask()
	assert.Zero(t, r.ViolationCount, r.Verified.Examples)
	assert.Equal(t, []int{4, 8, 0}, []int{r.Verified.Delivered, r.Verified.Redelivered, r.Verified.InDoubt})
	assert.Equal(t, 4, r.Verified.Missing)
	assert.Equal(t, 2, r.Unanswered)
	assert.Equal(t, 1, r.MaxInFlight)

	require.Equal(t, http.StatusNoContent, e.post(1, message).StatusCode)
	assert.Equal(t, 4, e.ask().ViolationCount)

	assert.Equal(t, http.StatusBadRequest, e.tell("/behavior", `{"server_error":1}`))
	assert.Equal(t, http.StatusBadRequest, e.tell("/behavior", `{"resets":1,"hangs":1}`))
	assert.Equal(t, Duration(1e6), e.Behavior().Latency)
}

func TestRetryAfterIsBounded(t *testing.T) {
	e := serve(t, false, Behavior{TooManyRequests: 1, MaxRetryAfter: Duration(2e9)})
	seen := map[string]bool{}
	for range 200 {
		seen[e.post(1, messageOf(t, 1, 0)).Header.Get("Retry-After")] = true
	}
	assert.True(t, seen["0"] && seen["1"] && seen["2"], "%v", seen)
	assert.LessOrEqual(t, len(seen), 4, "%v", seen)
}

// TestRetryAfterOfAStatus: what is the answer to all requests has it too, and nothing else has.
func TestRetryAfterOfAStatus(t *testing.T) {
	for status, has := range map[int]bool{503: true, 429: true, 500: false, 200: false} {
		e := serve(t, false, Behavior{Status: status, MaxRetryAfter: Duration(2e9), TooManyRequests: 0.5})
		for range 20 {
			resp := e.post(1, messageOf(t, 1, 0))
			require.Equal(t, status, resp.StatusCode)
			assert.Equal(t, has, resp.Header.Get("Retry-After") != "", status)
		}
	}
}

// Rare answers come, and each as often as it should.
func TestAnswersComeAsOftenAsTheyAreWanted(t *testing.T) {
	const requests = 200_000
	b := Behavior{
		Seed: 3, ServerErrors: 0.0004, StoredServerErrors: 0.1, TooManyRequests: 0.003, ClientErrors: 0.05, PartialWrites: 0.02, Resets: 0.0004, LostAnswers: 0.2, Hangs: 0.0015,
		PoisonStatus: 400,
	}
	require.NoError(t, b.check())
	got := map[string]int{}
	for n := range requests {
		a := b.answer(n)
		switch {
		case a.Keep != nil:
			got["partial writes"]++
		case a.Fault == rwtest.Hang:
			got["hangs"]++
		case a.Fault == rwtest.Reset && a.Stored:
			got["lost answers"]++
		case a.Fault == rwtest.Reset:
			got["resets"]++
		case a.Code() >= 500 && a.Stored:
			got["stored server errors"]++
		case a.Code() >= 500:
			got["server errors"]++
		case a.Code() == 429:
			got["too many requests"]++
		case a.Code() >= 400:
			got["client errors"]++
		}
	}
	for name, p := range map[string]float64{
		"server errors": b.ServerErrors, "stored server errors": b.StoredServerErrors, "too many requests": b.TooManyRequests,
		"client errors": b.ClientErrors, "partial writes": b.PartialWrites, "resets": b.Resets, "lost answers": b.LostAnswers, "hangs": b.Hangs,
	} {
		assert.InEpsilon(t, p*requests, got[name], 0.3, name)
	}
}

// A body whose length is not known before is a body too.
func TestChunkedRequests(t *testing.T) {
	e := serve(t, true, Behavior{})
	body := snappy.Encode(nil, messageOf(t, 1, 0))
	req, err := http.NewRequest(http.MethodPost, e.url, io.MultiReader(bytes.NewReader(body[:10]), bytes.NewReader(body[10:])))
	require.NoError(t, err)
	req.Header = headers(1)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	assert.Equal(t, http.StatusNoContent, resp.StatusCode)
	r := e.ask()
	assert.Equal(t, []int{4, 0}, []int{r.Stored, r.ViolationCount}, r.Verified.Examples)
}

// Of a request of 2.0 that is written in part, the answer says how much. A request of 1.0 is refused as a whole.
func TestPartialWrites(t *testing.T) {
	for _, verifies := range []bool{false, true} {
		for version, want := range map[int]string{1: "", 2: "2"} {
			e := serve(t, verifies, Behavior{PartialWrites: 1})
			resp := e.post(version, messageOf(t, version, 0))
			assert.Equal(t, http.StatusBadRequest, resp.StatusCode)
			assert.Equal(t, want, resp.Header.Get("X-Prometheus-Remote-Write-Samples-Written"))
			r := e.ask()
			assert.Equal(t, 2*(version-1), r.Stored)
			require.Equal(t, http.StatusOK, e.tell("/behavior", `{"partial_writes":0}`))
			e.post(version, messageOf(t, version, 0))
			r = e.ask()
			assert.Zero(t, r.ViolationCount)
			assert.Equal(t, 4+2*(version-1), r.Stored)
		}
	}
}

// A type of content can be written in several ways, and a message of 1.0 can have two types.
func TestTypesOfContent(t *testing.T) {
	for contentType, want := range map[string][2]int{ // version and violations
		"application/x-protobuf":                                        {1, 0},
		"application/x-protobuf;proto=prometheus.WriteRequest":          {1, 0},
		"application/x-protobuf; proto=io.prometheus.write.v2.Request":  {2, 0},
		`Application/X-Protobuf;proto="io.prometheus.write.v2.Request"`: {2, 0},
		"application/x-protobuf;proto=another.Message":                  {1, 1},
		"application/x-protobuf;charset=utf-8":                          {1, 1},
		"application/json":                                              {1, 1},
		"":                                                              {1, 1},
	} {
		e := serve(t, true, Behavior{})
		req, err := http.NewRequest(http.MethodPost, e.url, bytes.NewReader(snappy.Encode(nil, messageOf(t, want[0], 0))))
		require.NoError(t, err)
		req.Header = headers(want[0])
		req.Header.Set("Content-Type", contentType)
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		r := e.ask()
		assert.Equal(t, []int{4, want[1]}, []int{r.Stored, r.ViolationCount}, "%s: %v", contentType, r.Verified.Examples)
	}
}

// A sender of 2.0 is told how many exemplars are written, also by a receiver that only counts.
func TestExemplarsAreCounted(t *testing.T) {
	msg := &writev2.Request{Symbols: []string{"", "__name__", "up"}, Timeseries: []writev2.TimeSeries{{
		LabelsRefs: []uint32{1, 2}, Samples: []writev2.Sample{{Timestamp: 1}}, Exemplars: []writev2.Exemplar{{Timestamp: 1}, {Timestamp: 1}},
	}}}
	message, err := msg.Marshal()
	require.NoError(t, err)
	for _, verifies := range []bool{false, true} {
		e := serve(t, verifies, Behavior{})
		assert.Equal(t, "2", e.post(2, message).Header.Get("X-Prometheus-Remote-Write-Exemplars-Written"))
		assert.Equal(t, 2, e.ask().Exemplars)
	}
}

// TestBehaviorsThatCannotBeAreRefused by an error that names what is wrong.
func TestBehaviorsThatCannotBeAreRefused(t *testing.T) {
	for name, b := range map[string]Behavior{
		"server_errors": {ServerErrors: 2}, "hangs": {Hangs: math.NaN()}, "answers": {Resets: 0.6, LostAnswers: 0.6}, "latency": {Latency: -1},
		"jitter": {Jitter: -1}, "max_retry_after": {MaxRetryAfter: Duration(5e8)}, "status": {Status: 42}, "poison:": {Poison: -1}, "poison_status": {PoisonStatus: 1},
	} {
		if b.PoisonStatus == 0 {
			b.PoisonStatus = 400
		}
		_, err := New(true, b)
		assert.ErrorContains(t, err, name, "%+v", b)
	}
	_, err := New(false, Behavior{Poison: 0.1, PoisonStatus: 400})
	assert.ErrorContains(t, err, "poison")
}
