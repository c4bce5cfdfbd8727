// SPDX-License-Identifier: Apache-2.0

package generate

import (
	"context"
	"flag"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/otlp"
	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/schedule"
)

// backend is a collector that remembers the gauges of each stream.
type backend struct {
	pmetricotlp.UnimplementedGRPCServer
	// answer is asked for each request before it is stored, with its number.
	answer func(n int) (rejected int64, err error)

	mu       sync.Mutex
	requests int
	streams  map[string][]pmetric.NumberDataPoint
}

func (b *backend) Export(_ context.Context, r pmetricotlp.ExportRequest) (pmetricotlp.ExportResponse, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.requests++
	resp := pmetricotlp.NewExportResponse()
	if b.answer != nil {
		rejected, err := b.answer(b.requests)
		if err != nil {
			return resp, err
		}
		resp.PartialSuccess().SetRejectedDataPoints(rejected)
	}
	if b.streams == nil {
		b.streams = make(map[string][]pmetric.NumberDataPoint)
	}
	for _, rm := range r.Metrics().ResourceMetrics().All() {
		for _, dp := range rm.ScopeMetrics().At(0).Metrics().At(0).Gauge().DataPoints().All() {
			series, _ := dp.Attributes().Get(otlp.SeriesKey)
			b.streams[series.Str()] = append(b.streams[series.Str()], dp)
		}
	}
	return resp, nil
}

// ServeHTTP answers what Export would, with the HTTP status that stands for it.
func (b *backend) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	req := pmetricotlp.NewExportRequest()
	if err := req.UnmarshalProto(body); err != nil || r.URL.Path != "/v1/metrics" || r.Header.Get("X-Scope-OrgID") != "me" {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	resp, err := b.Export(r.Context(), req)
	switch status.Code(err) {
	case codes.OK:
		answer, _ := resp.MarshalProto()
		_, _ = w.Write(answer)
	case codes.Unavailable:
		w.WriteHeader(http.StatusServiceUnavailable)
	default:
		w.WriteHeader(http.StatusBadRequest)
	}
}

// serve returns the endpoints of a backend by protocol.
func serve(t *testing.T, b *backend) map[string]string {
	s := httptest.NewServer(b)
	t.Cleanup(s.Close)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	g := grpc.NewServer()
	pmetricotlp.RegisterGRPCServer(g, b)
	go func() { _ = g.Serve(l) }()
	t.Cleanup(g.Stop)
	return map[string]string{"http": s.URL, "grpc": l.Addr().String()}
}

// options are those of the command line.
func options(t *testing.T, args ...string) Options {
	t.Helper()
	var o Options
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	o.Register(flags)
	require.NoError(t, flags.Parse(args))
	return o
}

func TestEveryPointIsSentOnceInOrder(t *testing.T) {
	for _, protocol := range []string{"grpc", "http"} {
		t.Run(protocol, func(t *testing.T) {
			// Every third request must be sent again.
			b := &backend{answer: func(n int) (int64, error) {
				if n%3 == 0 {
					return 0, status.Error(codes.Unavailable, "later")
				}
				return 0, nil
			}}
			g, err := New(options(t, "-endpoint", serve(t, b)[protocol], "-protocol", protocol, "-series", "60", "-resources", "6",
				"-points", "10", "-samples", "300", "-connections", "3", "-header", "X-Scope-OrgID=me"))
			require.NoError(t, err)
			require.NoError(t, g.Run(t.Context()))

			s := g.Schedules()[0]
			assert.Equal(t, 5, s.Steps)
			require.Len(t, b.streams, 60)
			for series, points := range b.streams {
				require.Len(t, points, 5, series)
				for step, dp := range points {
					assert.Equal(t, s.Time(step), dp.Timestamp().AsTime().UnixMilli())
				}
			}
			totals := g.Totals()
			points, samples := totals.Accepted()
			assert.Equal(t, 300, points)
			assert.Equal(t, 300, samples)
			assert.Equal(t, 30, totals.Requests)
			assert.Equal(t, b.requests-30, totals.Retries)
			assert.Positive(t, totals.Retries)
		})
	}
}

func TestWhatIsRefusedAndRejectedIsCounted(t *testing.T) {
	for _, protocol := range []string{"grpc", "http"} {
		t.Run(protocol, func(t *testing.T) {
			b := &backend{answer: func(n int) (int64, error) {
				switch n {
				case 1:
					return 0, status.Error(codes.InvalidArgument, "no")
				case 2:
					return 3, nil
				}
				return 0, nil
			}}
			g, err := New(options(t, "-endpoint", serve(t, b)[protocol], "-protocol", protocol, "-series", "40", "-resources", "4",
				"-points", "10", "-samples", "40", "-connections", "1", "-header", "X-Scope-OrgID=me", "-gaps", "0.2"))
			require.NoError(t, err)
			require.NoError(t, g.Run(t.Context()))
			p := g.Totals().Kinds[schedule.Gauge]
			assert.Equal(t, 40, p.Sent+p.Faults["gaps"])
			assert.Positive(t, p.Faults["gaps"])
			assert.Equal(t, 3, p.Rejected)
			assert.Positive(t, p.Refused)
			assert.Equal(t, p.Sent, p.Accepted+p.Rejected+p.Refused)
			assert.NotEmpty(t, p.LastRefusal)
		})
	}
}

// A step that has begun is sent by all connections, so that the receiver can tell what is missing.
func TestStopEndsWithAWholeStep(t *testing.T) {
	b := &backend{}
	g, err := New(options(t, "-endpoint", serve(t, b)["grpc"], "-series", "40", "-resources", "4", "-points", "10", "-connections", "4"))
	require.NoError(t, err)
	b.answer = func(n int) (int64, error) {
		if n == 21 {
			g.Stop()
		}
		return 0, nil
	}
	require.NoError(t, g.Run(t.Context()))
	steps := g.Schedules()[0].Steps
	assert.Positive(t, steps)
	for _, points := range b.streams {
		assert.Len(t, points, steps)
	}
	require.Len(t, b.streams, 40)
}

// Steps that only some connections have requests of do not run away.
func TestConnectionsWaitForEachOther(t *testing.T) {
	b := &backend{}
	g, err := New(options(t, "-endpoint", serve(t, b)["grpc"], "-series", "30", "-resources", "3", "-points", "10", "-connections", "8"))
	require.NoError(t, err)
	b.answer = func(n int) (int64, error) {
		if n == 30 {
			g.Stop()
		}
		return 0, nil
	}
	require.NoError(t, g.Run(t.Context()))
	assert.LessOrEqual(t, g.Schedules()[0].Steps, 10+2*lead+2)
	assert.Len(t, b.streams, 30)
}

func TestPlansAreFull(t *testing.T) {
	for _, args := range []string{
		"-series 1000000 -type histogram -resources 100 -points 100",
		"-series 1000000 -resources 1000 -points 1000",
		"-series 10000 -resources 10 -points 300",
		"-series 10007 -resources 13 -points 7",
		"-series 5 -resources 10 -points 1000",
		"-series 100000 -type gauge,sum,histogram,exponential_histogram,summary -resources 7 -points 500",
	} {
		o := options(t, strings.Fields(args)...)
		schedules, err := o.Plan()
		require.NoError(t, err, args)
		series := 0
		for _, s := range schedules {
			series += s.Streams * s.Kind.Parts()
			assert.LessOrEqual(t, s.PerRequest, o.PerRequest)
		}
		assert.GreaterOrEqual(t, series, o.Series, args)
		assert.Less(t, series, o.Series+o.Series/5+1000, args)
	}
}

func TestOptionsThatCannotBeAreRefused(t *testing.T) {
	for _, args := range []string{"-series 0", "-points -1", "-rate -1", "-out-of-order 2", "-interval 1ms -future 0.1", "-attributes 1", "-protocol smoke"} {
		g, err := New(options(t, strings.Fields(args)...))
		if err == nil {
			err = g.Run(t.Context())
		}
		assert.Error(t, err, args)
	}
	_, err := parseKinds("gauge,delta")
	assert.Error(t, err)
}
