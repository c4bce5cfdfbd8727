// SPDX-License-Identifier: Apache-2.0

// Package promserver runs the parts of a Prometheus server that a Remote-Write sender meets, in the process of a test:
// its storage, its receiver and its query engine. They are Prometheus's own; only the HTTP server around the receiver is
// the test's, which sees each request and may answer in the receiver's place.
package promserver

import (
	"bytes"
	"crypto/tls"
	"encoding/pem"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/promslog"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage/remote"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/stretchr/testify/require"
)

// path is where a Prometheus server receives Remote-Write messages.
const path = "/api/v1/write"

// The versions of the protocol, by their messages.
const (
	V1 = remoteapi.WriteV1MessageType
	V2 = remoteapi.WriteV2MessageType
)

// Server is a Prometheus server. Its methods are safe for concurrent use, but those that start and stop it.
type Server struct {
	t        testing.TB
	tls      bool
	inside   bool
	tlsConf  *tls.Config
	http2    bool
	messages remoteapi.MessageTypes
	// outOfOrder is the window for samples that are out of order.
	outOfOrder time.Duration
	address    string
	db         *tsdb.DB
	registry   *prometheus.Registry
	engine     *promql.Engine
	parser     parser.Parser
	receiver   http.Handler

	// http is nil while the server is stopped.
	http *httptest.Server

	mu sync.Mutex
	// stopping ends requests before they reach the receiver.
	stopping  bool
	intercept Interceptor
	requests  []*Request
}

// Option changes how a server is made.
type Option func(*Server)

// WithTLS makes the server speak TLS; CAFile has the certificate that clients need.
func WithTLS() Option {
	return func(s *Server) { s.tls = true }
}

// WithoutNetwork makes the server answer RoundTrip alone, so that it works on a fake clock.
func WithoutNetwork() Option {
	return func(s *Server) { s.inside, s.address = true, "prometheus.test" }
}

// WithTLSConfig makes the server speak TLS with certificates of the test's.
func WithTLSConfig(config *tls.Config) Option {
	return func(s *Server) { s.tls, s.tlsConf = true, config }
}

// WithHTTP2 makes the server speak HTTP/2, over TLS.
func WithHTTP2() Option {
	return func(s *Server) { s.tls, s.http2 = true, true }
}

// WithAddress makes the server listen on an address, as in [::1]:0.
func WithAddress(address string) Option {
	return func(s *Server) { s.address = address }
}

// WithOutOfOrderWindow makes the storage take samples that are older than the last one of their series by up to the window.
func WithOutOfOrderWindow(window time.Duration) Option {
	return func(s *Server) { s.outOfOrder = window }
}

// WithMessages makes the server accept some messages only; without the option it accepts those of both versions.
func WithMessages(messages ...remoteapi.WriteMessageType) Option {
	return func(s *Server) { s.messages = messages }
}

// Start starts a server with an empty storage. It ends with the test.
func Start(t testing.TB, options ...Option) *Server {
	t.Helper()
	p := parser.NewParser(parser.Options{})
	registry := prometheus.NewRegistry()
	s := &Server{
		t:        t,
		address:  "127.0.0.1:0",
		registry: registry,
		messages: remoteapi.MessageTypes{V1, V2},
		parser:   p,
		engine: promql.NewEngine(promql.EngineOpts{
			Logger:               promslog.NewNopLogger(),
			MaxSamples:           50_000_000,
			Timeout:              time.Minute,
			EnableAtModifier:     true,
			EnableNegativeOffset: true,
			Parser:               p,
		}),
		intercept: func(*Request) Fault { return Fault{} },
	}
	for _, o := range options {
		o(s)
	}
	s.db = s.open()
	s.receiver = remote.NewWriteHandler(promslog.NewNopLogger(), registry, s.db, s.messages, false, false)
	s.Restart()
	t.Cleanup(s.Stop)
	t.Cleanup(func() { require.NoError(t, s.engine.Close()) })
	return s
}

// open opens the storage. Without a network, where many are opened one after the other, it has no log and is small.
func (s *Server) open() *tsdb.DB {
	opts := tsdb.DefaultOptions()
	opts.EnableExemplarStorage = true
	opts.MaxExemplars = 10_000
	opts.OutOfOrderTimeWindow = s.outOfOrder.Milliseconds()
	if s.inside {
		opts.WALSegmentSize, opts.StripeSize = -1, 64
	}
	db, err := tsdb.Open(s.t.TempDir(), promslog.NewNopLogger(), prometheus.NewRegistry(), opts, nil)
	require.NoError(s.t, err)
	s.t.Cleanup(func() { require.NoError(s.t, db.Close()) })
	return db
}

// Stop closes the server when it has answered the requests that it has. Its storage stays.
func (s *Server) Stop() {
	if s.http == nil {
		return
	}
	// The HTTP server takes a connection for idle, and closes it, of which the next request is just being read. The storage would have
	// its samples without an answer.
	s.setStopping(true)
	s.http.Close()
	s.http = nil
	s.setStopping(false)
}

func (s *Server) setStopping(stopping bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stopping = stopping
}

// Restart starts the server on the address that it had, with the storage that it had.
func (s *Server) Restart() {
	s.t.Helper()
	s.Stop()
	if s.inside {
		return
	}
	listener, err := net.Listen("tcp", s.address)
	require.NoError(s.t, err)
	s.address = listener.Addr().String()
	s.http = &httptest.Server{
		Listener: listener, Config: &http.Server{Handler: s, ErrorLog: log.New(io.Discard, "", 0)},
		TLS: s.tlsConf, EnableHTTP2: s.http2,
	}
	if s.tls {
		s.http.StartTLS()
	} else {
		s.http.Start()
	}
}

// Address is the host and port of the server. It stays the same when the server is restarted.
func (s *Server) Address() string {
	return s.address
}

// Endpoint is the URL to write to.
func (s *Server) Endpoint() string {
	if s.tls {
		return "https://" + s.address + path
	}
	return "http://" + s.address + path
}

// CAFile returns a file with the certificate of a server that speaks TLS.
func (s *Server) CAFile() string {
	s.t.Helper()
	file := filepath.Join(s.t.TempDir(), "ca.pem")
	block := &pem.Block{Type: "CERTIFICATE", Bytes: s.http.Certificate().Raw}
	require.NoError(s.t, os.WriteFile(file, pem.EncodeToMemory(block), 0o600))
	return file
}

// RoundTrip implements http.RoundTripper for clients in the same process.
func (s *Server) RoundTrip(r *http.Request) (*http.Response, error) {
	answer := httptest.NewRecorder()
	s.ServeHTTP(answer, r)
	return answer.Result(), nil
}

// InvalidLabels is the number of samples whose labels the receiver did not accept. It skips such samples and says nothing
// of them to the sender.
func (s *Server) InvalidLabels() int {
	s.t.Helper()
	families, err := s.registry.Gather()
	require.NoError(s.t, err)
	for _, family := range families {
		if family.GetName() == "prometheus_api_remote_write_invalid_labels_samples_total" {
			return int(family.GetMetric()[0].GetCounter().GetValue())
		}
	}
	require.Fail(s.t, "the receiver does not count samples with invalid labels")
	return 0
}

// Fault is what is done to a request. The zero value does nothing.
type Fault struct {
	// Delay passes before anything else, and Until is waited for.
	Delay time.Duration
	Until <-chan struct{}
	// Status answers in the receiver's place, which does not see the request.
	Status int
	// Header and Body are those of that answer.
	Header map[string]string
	Body   string
	// LoseAnswer lets the receiver have the request and closes the connection instead of answering.
	LoseAnswer bool
}

// Interceptor decides what is done to a request.
type Interceptor func(*Request) Fault

// Intercept makes the server ask f for each request from now on. f may be called concurrently.
func (s *Server) Intercept(f Interceptor) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.intercept = f
}

// ServeHTTP records a request and gives it to the receiver.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	req := &Request{Header: r.Header.Clone(), Path: r.URL.Path, Host: r.Host, Proto: r.Proto, Body: body}
	s.mu.Lock()
	if s.stopping {
		s.mu.Unlock()
		panic(http.ErrAbortHandler)
	}
	req.Number = len(s.requests) + 1
	s.requests = append(s.requests, req)
	fault := s.intercept(req)
	s.mu.Unlock()
	if fault.Delay > 0 {
		select {
		case <-time.After(fault.Delay):
		case <-r.Context().Done():
		}
	}
	if fault.Until != nil {
		select {
		case <-fault.Until:
		case <-r.Context().Done():
		}
	}

	answer := httptest.NewRecorder()
	switch {
	case fault.Status != 0:
		for name, value := range fault.Header {
			answer.Header().Set(name, value)
		}
		answer.WriteHeader(fault.Status)
		answer.WriteString(fault.Body)
	case r.URL.Path != path:
		http.NotFound(answer, r)
	default:
		r.Body = io.NopCloser(bytes.NewReader(body))
		s.receiver.ServeHTTP(answer, r)
	}
	s.mu.Lock()
	req.Status, req.Answer = answer.Code, answer.Body.String()
	s.mu.Unlock()
	if fault.LoseAnswer {
		panic(http.ErrAbortHandler)
	}
	for name, values := range answer.Header() {
		w.Header()[name] = values
	}
	w.WriteHeader(answer.Code)
	_, _ = w.Write(answer.Body.Bytes()) // the client may be gone
}
