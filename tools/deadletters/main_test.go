// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/deadletter"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// point is a sample of a series for a test.
type point struct {
	series string
	second int
	value  float64
}

func v1(points ...point) []byte {
	var message []byte
	for _, p := range points {
		series := wire.AppendLabel(nil, "__name__", "m")
		series = wire.AppendLabel(series, "job", p.series)
		series = wire.AppendSample(series, p.value, epoch.Add(time.Duration(p.second)*time.Second).UnixMilli())
		message = append(wire.AppendSeriesHeader(message, len(series)), series...)
	}
	return snappy.Encode(nil, message)
}

func v2(points ...point) []byte {
	var symbols wire.Symbols
	var series []byte
	for _, p := range points {
		refs := wire.AppendRefs(nil, symbols.Ref("__name__"), symbols.Ref("m"))
		refs = wire.AppendRefs(refs, symbols.Ref("job"), symbols.Ref(p.series))
		sample := wire.AppendSampleV2(nil, p.value, epoch.Add(time.Duration(p.second)*time.Second).UnixMilli(), 0)
		series = wire.AppendSeriesV2(series, refs, wire.AppendMetadata(sample, wire.Metadata{Type: wire.MetricTypeGauge}))
	}
	return snappy.Encode(nil, append(symbols.AppendTo(nil), series...))
}

// record is a dead letter that was dropped in a second of the test.
func record(second int, reason string, body []byte) deadletter.Record {
	r := deadletter.Record{
		Time: epoch.Add(time.Duration(second) * time.Second), Reason: reason, Endpoint: "http://receiver/write",
		ProtobufMessage: wire.MessageV1, Body: body,
	}
	raw, err := snappy.Decode(nil, body)
	if err != nil {
		panic(err)
	}
	l := letter{}
	if raw[0]>>3 == 4 {
		l.ProtobufMessage, r.ProtobufMessage = wire.MessageV2, wire.MessageV2
	}
	series, err := l.takeApart(raw)
	if err != nil {
		panic(err)
	}
	r.Samples = len(series)
	return r
}

// keep writes dead letters as the exporter does, and returns dead_letter.directory.
func keep(t *testing.T, records ...deadletter.Record) string {
	t.Helper()
	dir := t.TempDir()
	store, err := deadletter.Open(deadletter.Options{Directory: dir, Exporter: "ordered_remote_write/a", MaxBytes: 1 << 30})
	require.NoError(t, err)
	for _, r := range records {
		_, err := store.Put(r)
		require.NoError(t, err)
	}
	require.NoError(t, store.Close(t.Context()))
	return dir
}

// command runs the command and returns what it prints.
func command(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var out, errs bytes.Buffer
	err := run(t.Context(), args, &out, &errs)
	return out.String() + errs.String(), err
}

func mustRun(t *testing.T, args ...string) string {
	t.Helper()
	out, err := command(t, args...)
	require.NoError(t, err, out)
	return out
}

// receive starts a receiver, which checks every request by the rules of Remote-Write and that no series steps back.
func receive(t *testing.T, script func(rwtest.Request) rwtest.Answer) (*rwtest.Receiver, string) {
	t.Helper()
	receiver := &rwtest.Receiver{Script: script}
	server := httptest.NewServer(receiver)
	t.Cleanup(server.Close)
	return receiver, server.URL + "/write"
}

// crossed are letters of which the second was dropped after the first, and is older: what was in flight when what waited was evicted.
func crossed(message func(...point) []byte) []deadletter.Record {
	return []deadletter.Record{
		record(10, "queue_full", message(point{"a", 3, 3}, point{"b", 3, 3}, point{"a", 5, 5})),
		record(11, "rejected", message(point{"a", 1, 1}, point{"b", 1, 1}, point{"a", 2, 2}, point{"a", 4, 4})),
		record(12, "shutdown", message(point{"b", 2, 2}, point{"c", 9, 9}, point{"c", 9, 9})),
	}
}

func TestSendKeepsTheOrderOfEachSeries(t *testing.T) {
	for name, message := range map[string]func(...point) []byte{"1.0": v1, "2.0": v2} {
		for _, size := range []string{"1", "2", "3", "100"} {
			t.Run(name+" "+size, func(t *testing.T) {
				dir := keep(t, crossed(message)...)
				receiver, url := receive(t, nil)
				out := mustRun(t, "send", "-url", url, "-max-samples", size, dir)
				assert.Contains(t, out, "9 of 10 samples sent in ")
				assert.Contains(t, out, "; 1 samples of the same series and time left out")
				assert.Empty(t, receiver.Problems())
				assert.Equal(t, 9, receiver.AcknowledgedSamples())
				for series, samples := range receiver.Delivered() {
					assert.True(t, slices.IsSortedFunc(samples, func(a, b rwtest.Sample) int { return int(a.Timestamp - b.Timestamp) }), series)
				}
				assert.Contains(t, mustRun(t, "send", "-url", url, dir), "0 of 0 samples sent in 0 requests")
			})
		}
	}
}

// TestSendStopsAndGoesOn: what was sent before a failure is not sent again, whatever the request that fails.
func TestSendStopsAndGoesOn(t *testing.T) {
	for failing := 1; failing <= 5; failing++ {
		t.Run(fmt.Sprint(failing), func(t *testing.T) {
			dir := keep(t, crossed(v1)...)
			requests := 0
			receiver, url := receive(t, func(rwtest.Request) rwtest.Answer {
				if requests++; requests == failing {
					return rwtest.Answer{Status: 500, Body: "disk full"}
				}
				return rwtest.Answer{}
			})
			out, err := command(t, "send", "-url", url, "-max-samples", "2", "-retries", "0", dir)
			require.ErrorContains(t, err, "endpoint answered 500 Internal Server Error: disk full")
			if failing > 1 {
				require.ErrorContains(t, err, "repeat the command to go on")
			}
			assert.Contains(t, out, fmt.Sprintf("%d of 10 samples sent in %d requests", 2*(failing-1), failing))

			mustRun(t, "send", "-url", url, "-max-samples", "2", dir)
			assert.Empty(t, receiver.Problems())
			assert.Equal(t, 9, receiver.AcknowledgedSamples())
			assert.Zero(t, receiver.Redelivered())
		})
	}
}

func TestSendRepeatsWhatMayPass(t *testing.T) {
	dir := keep(t, crossed(v2)...)
	requests := 0
	receiver, url := receive(t, func(rwtest.Request) rwtest.Answer {
		if requests++; requests == 1 {
			return rwtest.Answer{Status: 503, Header: http.Header{"Retry-After": {"0"}}}
		}
		return rwtest.Answer{}
	})
	out := mustRun(t, "send", "-url", url, dir)
	assert.Contains(t, out, "endpoint answered 503 Service Unavailable; the same request follows in ")
	assert.Equal(t, 9, receiver.AcknowledgedSamples())
	assert.Equal(t, 2, requests)
}

func TestSendSplitsWhatIsTooLarge(t *testing.T) {
	dir := keep(t, crossed(v1)...)
	receiver, url := receive(t, func(r rwtest.Request) rwtest.Answer {
		if r.Samples() > 2 {
			return rwtest.Answer{Status: 413}
		}
		return rwtest.Answer{}
	})
	mustRun(t, "send", "-url", url, dir)
	assert.Empty(t, receiver.Problems())
	assert.Equal(t, 9, receiver.AcknowledgedSamples())
}

func TestSendRefused(t *testing.T) {
	dir := keep(t, crossed(v1)...)
	refuse := true
	receiver, url := receive(t, func(r rwtest.Request) rwtest.Answer {
		for _, s := range r.Series {
			if refuse && strings.Contains(s, `c`) {
				return rwtest.Answer{Status: 400, Body: "no c"}
			}
		}
		return rwtest.Answer{}
	})
	_, err := command(t, "send", "-url", url, "-max-samples", "1", dir)
	require.ErrorContains(t, err, `endpoint answered 400 Bad Request: no c`)
	require.ErrorContains(t, err, `m{job="c"} of 2026-01-02T03:04:14.000Z`)
	require.ErrorContains(t, err, "out_of_order_time_window")

	out := mustRun(t, "send", "-url", url, "-max-samples", "1", "-skip-refused", dir)
	assert.Contains(t, out, "1 refused (first: endpoint answered 400 Bad Request: no c)")
	assert.Equal(t, 8, receiver.AcknowledgedSamples())

	refuse = false
	mustRun(t, "send", "-url", url, dir)
	assert.Equal(t, 9, receiver.AcknowledgedSamples())
}

// TestSendConfirmedInPart: nobody knows which samples of such a request were written, so that all of them are kept.
func TestSendConfirmedInPart(t *testing.T) {
	dir := keep(t, crossed(v2)...)
	_, url := receive(t, func(rwtest.Request) rwtest.Answer {
		return rwtest.Answer{Header: http.Header{"X-Prometheus-Remote-Write-Samples-Written": {"5"}}}
	})
	out := mustRun(t, "send", "-url", url, "-skip-refused", "-remove", dir)
	assert.Contains(t, out, "5 of 10 samples sent in 1 requests")
	assert.Contains(t, out, "; 4 refused (first: the receiver has written 5 of 9 samples)")
	assert.Contains(t, mustRun(t, "list", dir), "10 samples in 3 dead letters", "none is removed")
}

func TestSendToAReceiverThatDoesNotRead2(t *testing.T) {
	_, url := receive(t, func(rwtest.Request) rwtest.Answer { return rwtest.Answer{Status: 415} })
	_, err := command(t, "send", "-url", url, keep(t, crossed(v2)...))
	require.ErrorContains(t, err, "does not read Remote-Write 2.0")
}

func TestSendSelected(t *testing.T) {
	for name, tc := range map[string]struct {
		args    []string
		samples int
	}{
		"series":          {[]string{"-match", `m{job="a"}`}, 5},
		"several":         {[]string{"-match", `{job="b"}`, "-match", `{job=~"c+"}`}, 4},
		"not":             {[]string{"-match", `{job!~"a|c",__name__="m"}`}, 3},
		"reason":          {[]string{"-reason", "rejected,shutdown"}, 6},
		"since":           {[]string{"-since", "2026-01-02T03:04:16Z"}, 6},
		"until":           {[]string{"-until", "2026-01-02T03:04:16Z"}, 3},
		"nothing":         {[]string{"-reason", "fatal"}, 0},
		"an empty label":  {[]string{"-match", `m{instance=""}`}, 9},
		"another name":    {[]string{"-match", "n"}, 0},
		"a quoted label":  {[]string{"-match", `{"__name__"="m", "job"="c"}`}, 1},
		"an escaped text": {[]string{"-match", `{job!="\"a"}`}, 9},
	} {
		t.Run(name, func(t *testing.T) {
			dir := keep(t, crossed(v1)...)
			receiver, url := receive(t, nil)
			mustRun(t, append(append([]string{"send", "-url", url}, tc.args...), dir)...)
			assert.Equal(t, tc.samples, receiver.AcknowledgedSamples())
			// The rest follows, and nothing twice.
			mustRun(t, "send", "-url", url, dir)
			assert.Equal(t, 9, receiver.AcknowledgedSamples())
			assert.Zero(t, receiver.Redelivered())
		})
	}
}

func TestSendRemovesWhatIsDone(t *testing.T) {
	dir := keep(t, crossed(v1)...)
	_, url := receive(t, nil)
	mustRun(t, "send", "-url", url, "-remove", "-match", `{job="a"}`, dir)
	files := func() (n int) {
		found, err := filepath.Glob(filepath.Join(dir, "*", "*"))
		require.NoError(t, err)
		return len(found)
	}
	assert.Equal(t, 2*3+1, files(), "each letter has something left")
	mustRun(t, "send", "-url", url, "-reason", "rejected", dir)
	mustRun(t, "send", "-url", url, "-remove", "-reason", "rejected,queue_full", dir)
	assert.Equal(t, 2*1+0, files(), "the journal goes with the last letter that it knows")
	mustRun(t, "send", "-url", url, "-remove", dir)
	assert.Zero(t, files())
}

// TestSendAfterACrash: a journal that was cut off, and letters without a .json.
func TestSendAfterACrash(t *testing.T) {
	dir := keep(t, crossed(v2)...)
	receiver, url := receive(t, nil)
	mustRun(t, "send", "-url", url, "-reason", "rejected", dir)
	journals, err := filepath.Glob(filepath.Join(dir, "*", journalName))
	require.NoError(t, err)
	require.Len(t, journals, 1)
	file, err := os.OpenFile(journals[0], os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = file.WriteString("20260102T030415.000Z-0000000001-queue_full 0-")
	require.NoError(t, err)
	require.NoError(t, file.Close())
	infos, err := filepath.Glob(filepath.Join(dir, "*", "*.json"))
	require.NoError(t, err)
	for _, info := range infos {
		require.NoError(t, os.Remove(info))
	}
	out := mustRun(t, "list", dir)
	assert.Contains(t, out, "2026-01-02T03:04:15Z  queue_full")
	mustRun(t, "send", "-url", url, "-remove", dir)
	assert.Equal(t, 9, receiver.AcknowledgedSamples())
	assert.Zero(t, receiver.Redelivered())
}

func TestDamagedLetterIsNamed(t *testing.T) {
	dir := keep(t, crossed(v1)...)
	bodies, err := filepath.Glob(filepath.Join(dir, "*", "*.snappy"))
	require.NoError(t, err)
	require.NoError(t, os.Truncate(bodies[1], 3))
	_, err = command(t, "list", dir)
	require.ErrorContains(t, err, bodies[1]+" has 3 bytes of ")
}

func TestListAndShow(t *testing.T) {
	records := crossed(v1)
	records[1].Status, records[1].Attempts, records[1].AnswerBody = 400, 2, "out of order sample"
	dir := keep(t, records...)
	_, url := receive(t, nil)
	mustRun(t, "send", "-url", url, "-reason", "queue_full", dir)

	assert.Equal(t, `DROPPED               REASON      STATUS  SAMPLES  SENT AGAIN  OLDEST SAMPLE             NEWEST SAMPLE             NAME
2026-01-02T03:04:15Z  queue_full  none    3        3           2026-01-02T03:04:08.000Z  2026-01-02T03:04:10.000Z  20260102T030415.000Z-0000000001-queue_full
2026-01-02T03:04:16Z  rejected    400     4        0           2026-01-02T03:04:06.000Z  2026-01-02T03:04:09.000Z  20260102T030416.000Z-0000000002-rejected
2026-01-02T03:04:17Z  shutdown    none    3        0           2026-01-02T03:04:07.000Z  2026-01-02T03:04:14.000Z  20260102T030417.000Z-0000000003-shutdown
10 samples in 3 dead letters
`, mustRun(t, "list", dir))

	folder := filepath.Join(dir, "ordered_remote_write%2Fa")
	assert.Equal(t, folder+`/20260102T030416.000Z-0000000002-rejected
  dropped at 2026-01-02T03:04:16Z by ordered_remote_write/a: rejected, 400 Bad Request in attempt 2: out of order sample
  3 samples as Remote-Write 1.0, for http://receiver/write; 0 have been sent again
    2026-01-02T03:04:06.000Z  m{job="a"}  1
    2026-01-02T03:04:07.000Z  m{job="a"}  2
    and 1 more (-samples 0 shows all)

`, mustRun(t, "show", "-samples", "2", "-reason", "rejected", "-match", `{job="a"}`, folder))
}

func TestHeaders(t *testing.T) {
	dir := keep(t, crossed(v1)...)
	file := filepath.Join(t.TempDir(), "headers")
	require.NoError(t, os.WriteFile(file, []byte("Authorization: Bearer t0k3n\n\nX-Other: 1\n"), 0o600))
	var got http.Header
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { got = r.Header }))
	defer server.Close()
	out := mustRun(t, "send", "-url", server.URL, "-header", "X-Scope-OrgID: tenant", "-header-file", file, dir)
	assert.Equal(t, "Bearer t0k3n", got.Get("Authorization"))
	assert.Equal(t, "tenant", got.Get("X-Scope-OrgID"))
	assert.Equal(t, "0.1.0", got.Get("X-Prometheus-Remote-Write-Version"))
	assert.NotContains(t, out, "t0k3n")
}

func TestDryRun(t *testing.T) {
	out := mustRun(t, "send", "-url", "http://user:hunter2@127.0.0.1:1/write", "-dry-run", keep(t, crossed(v1)...))
	assert.Equal(t, "10 samples of 3 dead letters would be sent to http://127.0.0.1:1/write\n", out)
}

func TestInterrupted(t *testing.T) {
	dir := keep(t, crossed(v1)...)
	ctx, cancel := context.WithCancel(t.Context())
	receiver, url := receive(t, func(rwtest.Request) rwtest.Answer {
		cancel()
		return rwtest.Answer{Status: 503}
	})
	var out bytes.Buffer
	require.ErrorContains(t, run(ctx, []string{"send", "-url", url, dir}, &out, &out), "interrupted")
	assert.Zero(t, receiver.AcknowledgedSamples())
}

func TestWrongArguments(t *testing.T) {
	dir := keep(t)
	for want, args := range map[string][]string{
		"Usage: deadletters":                {},
		"Commands:":                         {"resend", dir},
		"DIRECTORY":                         {"list"},
		"-url: must be":                     {"send", dir},
		"must be like 2026":                 {"list", "-since", "yesterday", dir},
		"is no matcher":                     {"list", "-match", "{job}", dir},
		"is no selector":                    {"list", "-match", "", dir},
		"missing closing":                   {"list", "-match", `{job=~"("}`, dir},
		"no such file":                      {"list", dir + "/none"},
		"must be like 'Name: value'":        {"send", "-url", "http://h/", "-header", "secret", dir},
		"-cert-file, -key-file: open":       {"send", "-url", "http://h/", "-key-file", "none", dir},
		"-ca-file: open none":               {"send", "-url", "http://h/", "-ca-file", "none", dir},
		"-max-samples and -max-bytes: must": {"send", "-url", "http://h/", "-max-samples", "0", dir},
	} {
		out, err := command(t, args...)
		require.Error(t, err, "%v", args)
		assert.Contains(t, out+err.Error(), want, "%v", args)
		assert.NotContains(t, out+err.Error(), "secret")
	}
}

func TestJournalEntries(t *testing.T) {
	for line, want := range map[string][]int{
		"n 0-2 5-5 .": {0, 1, 2, 5},
		"n 0-2 5-5":   nil,
		"n .":         nil,
		"n x-2 .":     nil,
		"":            nil,
	} {
		name, sent, ok := parseEntry(line)
		assert.Equal(t, want != nil, ok, line)
		if ok {
			assert.Equal(t, "n", name)
			assert.Equal(t, want, sent)
			assert.Equal(t, line+"\n", entry(name, sent))
		}
	}
	var n numbers
	for _, i := range []int{0, 63, 64, 200} {
		n.add(i)
		n.add(i)
	}
	assert.Equal(t, []int{0, 63, 64, 200}, n.all())
	assert.Equal(t, 4, n.len())
	assert.False(t, n.has(201) || n.has(1<<20))
}

// TestInfoIsWhatTheStoreWrites: the .json is read with the names that it is written with.
func TestInfoIsWhatTheStoreWrites(t *testing.T) {
	dir := keep(t, crossed(v1)...)
	records, err := deadletter.List(dir)
	require.NoError(t, err)
	require.Len(t, records, 3)
	text, err := os.ReadFile(filepath.Join(records[0].Directory, records[0].Name+".json"))
	require.NoError(t, err)
	var names map[string]any
	require.NoError(t, json.Unmarshal(text, &names))
	assert.Equal(t, names["body_file"], records[0].BodyFile)
	assert.Equal(t, names["exporter"], records[0].Exporter)
	assert.False(t, errors.Is(records[0].Remove(), os.ErrNotExist))
	assert.NoError(t, records[0].Remove(), "twice")
}
