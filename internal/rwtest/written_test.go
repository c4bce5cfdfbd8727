// SPDX-License-Identifier: Apache-2.0

package rwtest

import (
	"bytes"
	"net/http"
	"strconv"
	"strings"
	"testing"

	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// postV2 sends a 2.0 request and returns the status and the Written headers, joined.
func postV2(t *testing.T, client *http.Client, url string, msg *writev2.Request) (status int, written string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, bytes.NewReader(encodeV2(t, msg)))
	require.NoError(t, err)
	req.Header = soundHeadersV2()
	resp, err := client.Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	var values []string
	for _, name := range writtenHeaders {
		values = append(values, resp.Header.Values(name)...)
	}
	return resp.StatusCode, strings.Join(values, " ")
}

// TestWritten is what is stored, stated and confirmed of two samples with an exemplar and two histograms.
func TestWritten(t *testing.T) {
	lie := func(values ...string) http.Header {
		h := http.Header{}
		for i, v := range values {
			h.Set(writtenHeaders[i], v)
		}
		return h
	}
	firstOnly := func(_ string, s Sample) bool { return s.Timestamp == 1000 }
	for _, tt := range []struct {
		name      string
		answer    Answer
		written   string
		stored    int
		confirmed int
		again     int // samples that must not come again
	}{
		{"success", Answer{}, "2 2 1", 4, 4, 4},
		{"success without headers", Answer{Written: WrittenNever}, "", 0, 0, 0},
		{"success that stores some", Answer{Status: 200, Keep: firstOnly}, "1 1 0", 2, 2, 2},
		{"success that claims too much", Answer{Header: lie("9", "9", "9")}, "9 9 9", 4, 4, 4},
		{"success that claims rubbish", Answer{Header: lie("-1", "many", "99999999999999999999")}, "-1 many 99999999999999999999", 4, 0, 4},
		{"success that claims less", Answer{Header: lie("1")}, "1", 4, 1, 4},
		{"a refusal", Answer{Status: 400}, "", 0, 0, 0},
		{"a refusal that says so", Answer{Status: 400, Written: WrittenAlways}, "0 0 0", 0, 0, 0},
		{"a partial write", Answer{Status: 400, Keep: firstOnly}, "1 1 0", 2, 2, 2},
		{"a refusal that claims everything", Answer{Status: 400, Header: lie("2", "2", "1")}, "2 2 1", 0, 0, 0},
		{"an error that claims something", Answer{Status: 500, Header: lie("1")}, "1", 0, 0, 0},
		{"an error though stored", Answer{Status: 500, Stored: true}, "", 4, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			overBoth(t, func(t *testing.T, connect func(*Receiver) (*http.Client, string)) {
				r := Receiver{Script: func(req Request) Answer {
					assert.Equal(t, 2, req.Version)
					assert.NotNil(t, req.MessageV2)
					assert.Equal(t, 4, req.Samples())
					return tt.answer
				}}
				client, url := connect(&r)
				status, written := postV2(t, client, url, toV2(soundRequest()))
				assert.Equal(t, tt.answer.Code(), status)
				assert.Equal(t, tt.written, written)
				stored := 0
				for _, samples := range r.Delivered() {
					stored += len(samples)
				}
				assert.Equal(t, tt.stored, stored)
				assert.Equal(t, tt.confirmed, r.ConfirmedSamples())
				assert.Empty(t, r.Problems())

				r.Script = nil
				_, _ = postV2(t, client, url, toV2(soundRequest()))
				assert.Len(t, r.ResentAfterSuccess(), tt.again)
			})
		})
	}
}

// TestVersionsShareALedger sends the same samples as 2.0 and as 1.0.
func TestVersionsShareALedger(t *testing.T) {
	r := Receiver{Script: func(req Request) Answer { return []Answer{{Status: 503, Stored: true}, {}}[req.Seq-1] }}
	client := &http.Client{Transport: &r}
	_, _ = postV2(t, client, "http://receiver", toV2(soundRequest()))
	_, err, _ := post(t, t.Context(), client, "http://receiver", soundRequest())
	require.NoError(t, err)
	assert.Equal(t, 4, r.Redelivered())
	assert.Equal(t, 4, r.ConfirmedSamples())
	assert.Empty(t, r.Problems())
}

func TestViolationsOfV2AreRecorded(t *testing.T) {
	var r Receiver
	msg := toV2(soundRequest())
	msg.Symbols[0] = "x"
	_, _ = postV2(t, &http.Client{Transport: &r}, "http://receiver", msg)
	require.Len(t, r.Violations(), 1)
	assert.Contains(t, r.Violations()[0], "request 1: the first symbol is the empty string")
}

func TestPartialWrites(t *testing.T) {
	f := Faults{PartialWrite: 1000}
	kept := 0
	for i := range 1000 {
		a := f.Answer(i)
		assert.Equal(t, 400, a.Code())
		if a.Keep(strconv.Itoa(i), Sample{Timestamp: 7}) {
			kept++
		}
	}
	assert.InDelta(t, 500, kept, 100)
}
