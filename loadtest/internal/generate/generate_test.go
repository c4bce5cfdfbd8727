// SPDX-License-Identifier: Apache-2.0

package generate

import (
	"cmp"
	"compress/gzip"
	"context"
	"encoding/pem"
	"flag"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
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
		"-series 1000 -resources 10 -points 950",
		"-series 100000 -resources 1000 -points 190",
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
		assert.LessOrEqual(t, series, o.Series+o.Series/10+len(o.Kinds)*20*o.Resources, args)
	}
}

// TestOptionsThatCannotBeAreRefused by an error that begins with the flag, before anything is sent.
func TestOptionsThatCannotBeAreRefused(t *testing.T) {
	for _, args := range []string{
		"-series 0", "-resources 0", "-points -1", "-connections 0", "-rate -1", "-rate NaN", "-rate +Inf", "-duration -1s", "-samples -1",
		"-churn -1s", "-interval -1s", "-interval 1ms -future 0.1", "-out-of-order 2", "-resets 1.1", "-delta -1", "-attributes 1",
		"-protocol smoke", "-compression zstd", "-ca-file /nowhere", "-ca-file /dev/null", "-endpoint ftp://localhost", "-endpoint http:// -protocol http",
	} {
		_, err := New(options(t, strings.Fields(args)...))
		if assert.Error(t, err, args) {
			name, _, _ := strings.Cut(args[1:], " ")
			assert.Equal(t, strings.ReplaceAll(name, "-", "_"), strings.ReplaceAll(err.Error()[:len(name)], "-", "_"), err)
		}
	}
	_, err := parseKinds("gauge,delta")
	assert.Error(t, err)
	for _, header := range []string{"name", "=value", "bad name=value", "name=two\nlines"} {
		flags := flag.NewFlagSet("", flag.ContinueOnError)
		flags.SetOutput(io.Discard)
		(&Options{}).Register(flags)
		assert.ErrorContains(t, flags.Parse([]string{"-header", header}), "header", header)
	}
}

// A collector that lies about what it rejected would make the numbers of what it accepted wrong.
func TestMoreRejectedThanSent(t *testing.T) {
	b := &backend{answer: func(int) (int64, error) { return 11, nil }}
	g, err := New(options(t, "-endpoint", serve(t, b)["grpc"], "-series", "10", "-samples", "10"))
	require.NoError(t, err)
	assert.ErrorContains(t, g.Run(t.Context()), "rejected 11 points of 10")
}

// While a collector is not there, it is said why, and the generator goes on when it comes back.
func TestCollectorThatComesBack(t *testing.T) {
	var l net.Listener
	for l == nil { // below the ports that systems give to whoever asks for any, so that no connection takes it
		l, _ = net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", 20_000+rand.IntN(12_000)))
	}
	require.NoError(t, l.Close())
	g, err := New(options(t, "-endpoint", l.Addr().String(), "-series", "10", "-samples", "20"))
	require.NoError(t, err)
	ended := make(chan error, 1)
	go func() { ended <- g.Run(t.Context()) }()
	for g.Totals().Retries < 3 {
		runtime.Gosched()
	}
	assert.Contains(t, g.Totals().LastRetry, "refused")
	l, err = net.Listen("tcp", l.Addr().String())
	require.NoError(t, err)
	s := grpc.NewServer()
	pmetricotlp.RegisterGRPCServer(s, &backend{})
	go func() { _ = s.Serve(l) }()
	defer s.Stop()
	require.NoError(t, <-ended)
	points, _ := (&Totals{Kinds: g.Totals().Kinds}).Accepted()
	assert.Equal(t, 20, points)
}

// With TLS and gzip, over both protocols. A certificate that is not trusted is an error, and no reason to try again.
func TestTLSAndCompression(t *testing.T) {
	b := &backend{}
	compressed := func(h http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !assert.Equal(t, "gzip", cmp.Or(r.Header.Get("Content-Encoding"), r.Header.Get("Grpc-Encoding"))) {
				return
			}
			if r.ProtoMajor == 1 {
				body, err := gzip.NewReader(r.Body)
				assert.NoError(t, err)
				r.Body = io.NopCloser(body)
			}
			h.ServeHTTP(w, r)
		})
	}
	g := grpc.NewServer()
	pmetricotlp.RegisterGRPCServer(g, b)
	for protocol, handler := range map[string]http.Handler{"grpc": compressed(g), "http": compressed(b)} {
		t.Run(protocol, func(t *testing.T) {
			s := httptest.NewUnstartedServer(handler)
			s.Config.ErrorLog = log.New(io.Discard, "", 0)
			s.EnableHTTP2 = protocol == "grpc"
			s.StartTLS()
			defer s.Close()
			ca := filepath.Join(t.TempDir(), "ca.pem")
			require.NoError(t, os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), 0o600))
			args := []string{"-endpoint", s.URL, "-protocol", protocol, "-series", "10", "-samples", "20", "-compression", "gzip", "-header", "X-Scope-OrgID=me"}
			untrusted, err := New(options(t, args...))
			require.NoError(t, err)
			require.ErrorContains(t, untrusted.Run(t.Context()), "certificate")
			trusted, err := New(options(t, append(args, "-ca-file", ca)...))
			require.NoError(t, err)
			require.NoError(t, trusted.Run(t.Context()))
			totals := trusted.Totals()
			points, _ := totals.Accepted()
			assert.Equal(t, []int{20, 0}, []int{points, totals.Retries})
		})
	}
}
