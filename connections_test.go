// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/remote"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
)

// networked is an exporter with the network in the place of the receiver's transport.
func networked(t *testing.T, url string, edit ...func(*Config)) *harness {
	t.Helper()
	h := unstarted(t, nil, append([]func(*Config){func(c *Config) {
		c.HTTP.Endpoint, c.HTTP.Middlewares = url, nil
		c.Partitions, c.Batch.FlushTimeout = 8, time.Millisecond
		c.Retry.BackOff.InitialInterval, c.Retry.BackOff.MaxInterval = time.Millisecond, time.Millisecond
	}}, edit...)...)
	require.NoError(t, h.Start(t.Context(), h.host))
	return h
}

// handOver hands over payloads one after the other, with a moment between.
func (h *harness) handOver(payloads, series int) {
	h.t.Helper()
	begun := time.Now().Add(-time.Minute)
	for i := range payloads {
		h.consume(gauge(begun.Add(time.Duration(i)*time.Millisecond), series))
		time.Sleep(time.Millisecond)
	}
}

// TestConnectionsThatTheServerCloses just as the next request comes on them, without a word: nothing is lost, and what the endpoint has
// twice it got twice only because the exporter had no answer.
func TestConnectionsThatTheServerCloses(t *testing.T) {
	const payloads, series = 100, 40
	var receiver rwtest.Receiver
	var closed atomic.Int64
	server := httptest.NewUnstartedServer(&receiver)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Config.ConnState = func(c net.Conn, state http.ConnState) {
		if state == http.StateIdle && rand.IntN(3) == 0 {
			time.AfterFunc(time.Duration(rand.IntN(3000))*time.Microsecond, func() {
				closed.Add(1)
				_ = c.Close()
			})
		}
	}
	server.Start()
	defer server.Close()
	h := networked(t, server.URL)
	h.handOver(payloads, series)
	h.shutdown()
	assert.Equal(t, int64(payloads*series), h.delivered())
	assert.Empty(t, h.dropped())
	// The server cannot know which of its answers have arrived, and so not what is sent again after success.
	assert.Empty(t, slices.Concat(receiver.Violations(), receiver.Overlaps(), receiver.OutOfOrder(), receiver.Conflicting()))
	for key, samples := range receiver.Delivered() {
		assert.Len(t, samples, payloads, key)
	}
	t.Logf("%d connections closed, %d requests without an answer", closed.Load(), h.metric("otelcol_exporter_ordered_remote_write_retries"))
}

// TestConnectionsThatGoAway: a server of HTTP/2 ends its connections one after the other (GOAWAY). Its requests go on on others, and
// nothing is lost or repeated.
func TestConnectionsThatGoAway(t *testing.T) {
	const payloads, series = 100, 40
	var receiver rwtest.Receiver
	var requests, connections atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		assert.Equal(t, 2, r.ProtoMajor)
		if requests.Add(1)%10 == 0 {
			w.Header().Set("Connection", "close")
		}
		receiver.ServeHTTP(w, r)
	}))
	server.Config.ConnContext = func(ctx context.Context, _ net.Conn) context.Context {
		connections.Add(1)
		return ctx
	}
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	h := networked(t, server.URL, func(c *Config) { c.HTTP.TLS.InsecureSkipVerify = true })
	h.handOver(payloads, series)
	h.shutdown()
	assert.Equal(t, int64(payloads*series), h.delivered())
	assert.Empty(t, h.dropped())
	assert.Empty(t, receiver.Problems())
	assert.Equal(t, int64(0), h.metric("otelcol_exporter_ordered_remote_write_retries"))
	assert.Greater(t, connections.Load(), int64(3))
	t.Logf("%d requests on %d connections", requests.Load(), connections.Load())
}

// TestNonsenseOfAProxy: whatever stands in the place of an answer, the samples are delivered once the endpoint answers, and counted
// once.
func TestNonsenseOfAProxy(t *testing.T) {
	for name, nonsense := range map[string]string{
		"no HTTP":                         "SSH-2.0-OpenSSH_9.7\r\n",
		"an empty answer":                 "",
		"half a head":                     "HTTP/1.1 204 No Content\r\nX-A: b",
		"a status that is none":           "HTTP/1.1 2O4 No Content\r\n\r\n",
		"a status of 000":                 "HTTP/1.1 000 Nothing\r\n\r\n",
		"two lengths":                     "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
		"a length that is none":           "HTTP/1.1 503 Away\r\nContent-Length: -1\r\n\r\n",
		"a body that is shorter":          "HTTP/1.1 503 Away\r\nContent-Length: 500\r\n\r\nhello",
		"a body that is longer":           "HTTP/1.1 503 Away\r\nContent-Length: 1\r\n\r\nhello HTTP/1.1 200 OK\r\n\r\n",
		"chunks that are none":            "HTTP/1.1 503 Away\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
		"a trailer":                       "HTTP/1.1 503 Away\r\nTransfer-Encoding: chunked\r\nTrailer: A\r\n\r\n1\r\na\r\n0\r\nA: b\r\n\r\n",
		"gzip that is none":               "HTTP/1.1 503 Away\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nhello",
		"more 1xx than anybody can want":  strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\n", 1<<18),
		"a head that is larger than wise": "HTTP/1.1 204 No Content\r\nX-A: " + strings.Repeat("a", 11<<20) + "\r\n\r\n",
		"a gateway without backend":       "HTTP/1.0 502 Bad Gateway\r\n\r\n<html>",
		"a line that is no header":        "HTTP/1.1 204 No Content\r\n" + strings.Repeat("\xff", 1<<20) + "\r\n\r\n",
		"one long line":                   strings.Repeat("a", 1<<20) + "\r\n",
		"a long reason":                   "HTTP/1.1 503 " + strings.Repeat("a", 1<<20) + "\r\n\r\n",
	} {
		if raceDetector && len(nonsense) > 1<<20 {
			continue // It takes seconds.
		}
		t.Run(name, func(t *testing.T) {
			var receiver rwtest.Receiver
			var talks atomic.Bool
			talks.Store(true)
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if !talks.CompareAndSwap(true, false) {
					receiver.ServeHTTP(w, r)
					return
				}
				_, _ = io.Copy(io.Discard, r.Body)
				conn, _, err := http.NewResponseController(w).Hijack()
				if assert.NoError(t, err) {
					_, _ = io.WriteString(conn, nonsense)
					_ = conn.Close()
				}
			}))
			server.Config.ErrorLog = log.New(io.Discard, "", 0)
			server.Start()
			defer server.Close()
			h := networked(t, server.URL)
			h.handOver(1, 10)
			h.handOver(1, 20)
			h.shutdown()
			assert.Positive(t, h.metric("otelcol_exporter_ordered_remote_write_retries"))
			assert.Equal(t, int64(30), h.delivered())
			assert.Empty(t, h.dropped())
			assert.Empty(t, receiver.Problems())
			told := []string{}
			for _, line := range h.logs.All() {
				told = append(told, fmt.Sprint(line.ContextMap()))
			}
			for len(h.host.events) > 0 {
				told = append(told, fmt.Sprint((<-h.host.events).Err()))
			}
			for _, span := range h.telemetry.SpanRecorder.Ended() {
				told = append(told, fmt.Sprint(span.Status(), span.Attributes(), span.Events()))
			}
			for _, text := range told {
				assert.True(t, utf8.ValidString(text))
				assert.Less(t, len(text), 4*remote.MaxAnswerBody)
			}
		})
	}
}

// TestProxyThatConnectsToNonsense: a proxy says that it has connected, and what answers speaks no TLS.
func TestProxyThatConnectsToNonsense(t *testing.T) {
	for name, answer := range map[string]string{
		"no TLS":                 "HTTP/1.1 200 Connection established\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
		"a wrong password":       "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n",
		"no proxy":               "HTTP/1.1 204 No Content\r\n\r\n",
		"nothing of HTTP":        "hello\r\n",
		"a redirect":             "HTTP/1.1 302 Found\r\nLocation: http://login.test/\r\n\r\n",
		"an endless head":        "HTTP/1.1 200 OK\r\nX-A: " + strings.Repeat("a", 11<<20) + "\r\n\r\n",
		"a service that is away": "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 3600\r\n\r\n",
	} {
		if raceDetector && len(answer) > 1<<20 {
			continue // It takes seconds.
		}
		t.Run(name, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			require.NoError(t, err)
			var connects atomic.Int64
			go func() {
				for {
					conn, err := l.Accept()
					if err != nil {
						return
					}
					connects.Add(1)
					_, _ = http.ReadRequest(bufio.NewReader(conn))
					_, _ = io.WriteString(conn, answer)
					_ = conn.Close()
				}
			}()
			h := networked(t, "https://receiver.test/write", func(c *Config) {
				c.HTTP.ProxyURL = "http://name:hunter2@" + l.Addr().String()
				c.Retry.MaxRetries = 2
			})
			h.consume(gauge(time.Now(), 10))
			for h.ledger.Snapshot().Dropped == nil || len(h.dropped()) == 0 {
				time.Sleep(time.Millisecond)
			}
			require.NoError(t, l.Close())
			h.shutdown()
			assert.Equal(t, map[string]int64{"retries_exhausted": 10}, h.dropped())
			assert.NotContains(t, fmt.Sprint(h.logs.All()), "hunter2")
			assert.Positive(t, connects.Load())
		})
	}
}

// hole passes on connections, until they are to lead nowhere: then nothing comes through, and nobody is told.
type hole struct {
	net.Listener
	to string

	mu    sync.Mutex
	conns []net.Conn
	// dead is that of the connections that are open.
	dead *atomic.Bool
}

func newHole(t *testing.T, to net.Addr) *hole {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	h := &hole{Listener: l, to: to.String(), dead: new(atomic.Bool)}
	var passing sync.WaitGroup
	passing.Go(func() {
		for {
			near, err := h.Accept()
			if err != nil {
				return
			}
			far, err := net.Dial("tcp", h.to)
			if err != nil {
				_ = near.Close()
				continue
			}
			h.mu.Lock()
			dead := h.dead
			h.conns = append(h.conns, near, far)
			h.mu.Unlock()
			passing.Go(func() { pass(near, far, dead) })
			passing.Go(func() { pass(far, near, dead) })
		}
	})
	t.Cleanup(func() {
		_ = h.Close()
		h.mu.Lock()
		for _, c := range h.conns {
			_ = c.Close()
		}
		h.mu.Unlock()
		passing.Wait()
	})
	return h
}

// pass passes on what comes from a connection to another.
func pass(from, to net.Conn, dead *atomic.Bool) {
	for b := make([]byte, 32<<10); ; {
		n, err := from.Read(b)
		if !dead.Load() {
			_, _ = to.Write(b[:n])
		}
		if err != nil {
			if !dead.Load() {
				_ = to.Close()
			}
			return
		}
	}
}

// swallow makes the connections that are open lead nowhere.
func (h *hole) swallow() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.dead.Store(true)
	h.dead = new(atomic.Bool)
}

// TestConnectionsThatLeadNowhere: after a request has had no answer, others go over new connections, and not one after the other over
// all that may be as dead.
func TestConnectionsThatLeadNowhere(t *testing.T) {
	const inFlight, payloads, series = 8, 50, 40
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("HTTP/2 %t", http2), func(t *testing.T) {
			var receiver rwtest.Receiver
			server := httptest.NewUnstartedServer(&receiver)
			server.Config.ErrorLog = log.New(io.Discard, "", 0)
			server.EnableHTTP2 = http2
			server.StartTLS()
			// It waits for its connections, and so is closed after what passes them on.
			t.Cleanup(server.Close)
			path := newHole(t, server.Listener.Addr())
			h := networked(t, "https://"+path.Addr().String(), func(c *Config) {
				c.HTTP.TLS.InsecureSkipVerify, c.HTTP.Timeout, c.ShutdownTimeout = true, 250*time.Millisecond, time.Second
				c.Partitions, c.MaxInFlight, c.Retry.BackOff.MaxElapsedTime = 32, inFlight, 0
			})
			h.handOver(payloads, series)
			path.swallow()
			h.handOver(payloads, series)
			retries := func() int64 { return h.metric("otelcol_exporter_ordered_remote_write_retries") }
			for h.delivered() < 2*payloads*series && retries() < 8*inFlight {
				time.Sleep(time.Millisecond)
			}
			assert.Equal(t, int64(2*payloads*series), h.delivered(), "after %d requests without an answer", retries())
			require.NoError(t, h.Shutdown(t.Context()))
			assert.Empty(t, receiver.OutOfOrder())
		})
	}
}
