// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/prompb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/receive"
)

// free is an address that nobody listens on.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer l.Close()
	return l.Addr().String()
}

// TestReportHasWhatIsUnderWay: a request that is under way when the receiver ends is in its report, with its answer; one that
// hangs does not keep it from ending.
func TestReportHasWhatIsUnderWay(t *testing.T) {
	message, err := (&prompb.WriteRequest{Timeseries: []prompb.TimeSeries{{
		Labels: []prompb.Label{{Name: "__name__", Value: "up"}}, Samples: []prompb.Sample{{Value: 1, Timestamp: 1}},
	}}}).Marshal()
	require.NoError(t, err)
	body := snappy.Encode(nil, message)
	for _, tt := range []struct {
		name       string
		behavior   receive.Behavior
		grace      time.Duration
		stored     int
		unanswered int
	}{
		{"late", receive.Behavior{Latency: receive.Duration(300 * time.Millisecond)}, time.Minute, 1, 0},
		{"hangs", receive.Behavior{Hangs: 1}, time.Millisecond, 0, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := options{behavior: tt.behavior, listen: free(t), control: free(t), grace: tt.grace}
			o.behavior.PoisonStatus = http.StatusBadRequest
			ctx, end := context.WithCancel(t.Context())
			var out bytes.Buffer
			ended := make(chan error, 1)
			go func() { ended <- run(ctx, &out, o) }()
			report := func() (r receive.Report, err error) {
				resp, err := http.Get("http://" + o.control + "/report")
				if err != nil {
					return r, err
				}
				defer resp.Body.Close()
				return r, json.NewDecoder(resp.Body).Decode(&r)
			}
			for _, err := report(); err != nil; _, err = report() {
				select {
				case err := <-ended:
					require.NoError(t, err, "it has ended")
				default:
				}
			}
			answered := make(chan int, 1)
			go func() {
				resp, err := http.Post("http://"+o.listen, "application/x-protobuf", bytes.NewReader(body))
				if err != nil {
					answered <- 0
					return
				}
				_ = resp.Body.Close()
				answered <- resp.StatusCode
			}()
			for r, err := report(); r.InFlight == 0; r, err = report() {
				require.NoError(t, err)
			}
			end()
			require.NoError(t, <-ended)
			var r receive.Report
			require.NoError(t, json.Unmarshal(out.Bytes(), &r))
			assert.Equal(t, []int{1, 0, tt.stored, tt.unanswered}, []int{r.Requests, r.InFlight, r.Stored, r.Unanswered})
			assert.Equal(t, tt.stored > 0, <-answered == http.StatusNoContent)
		})
	}
}
