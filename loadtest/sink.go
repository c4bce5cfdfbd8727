// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/golang/snappy"
	"google.golang.org/protobuf/encoding/protowire"
)

// sink is a Remote-Write endpoint that accepts everything and counts the samples.
type sink struct {
	server *http.Server
	url    string
	pool   sync.Pool

	mu sync.Mutex
	// changed is told of each request.
	changed  *sync.Cond
	samples  int
	requests int
	err      error
}

// buffers are what a request is read into and decompressed into.
type buffers struct{ body, message []byte }

func newSink() (*sink, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	s := &sink{url: "http://" + l.Addr().String() + "/api/v1/write"}
	s.pool.New = func() any { return &buffers{} }
	s.changed = sync.NewCond(&s.mu)
	s.server = &http.Server{Handler: s}
	go s.server.Serve(l)
	return s, nil
}

func (s *sink) close() error { return s.server.Close() }

// reset starts counting from 0.
func (s *sink) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.samples, s.requests, s.err = 0, 0, nil
}

// counted returns how many samples arrived in how many requests, and an error if a request could not be read.
func (s *sink) counted() (samples, requests int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.samples, s.requests, s.err
}

// waitUntil calls f with the number of samples that have arrived, now and after each request, until it returns true or
// ctx ends.
func (s *sink) waitUntil(ctx context.Context, f func(arrived int) bool) {
	stop := context.AfterFunc(ctx, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.changed.Broadcast()
	})
	defer stop()
	s.mu.Lock()
	defer s.mu.Unlock()
	for ctx.Err() == nil && !f(s.samples) {
		s.changed.Wait()
	}
}

func (s *sink) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	n, err := s.read(r)
	s.mu.Lock()
	s.samples += n
	s.requests++
	s.err = errors.Join(s.err, err)
	s.mu.Unlock()
	s.changed.Broadcast()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	if isV2(r) {
		w.Header().Set("X-Prometheus-Remote-Write-Samples-Written", strconv.Itoa(n))
		w.Header().Set("X-Prometheus-Remote-Write-Histograms-Written", "0")
		w.Header().Set("X-Prometheus-Remote-Write-Exemplars-Written", "0")
	}
	w.WriteHeader(http.StatusNoContent)
}

func isV2(r *http.Request) bool {
	return strings.Contains(r.Header.Get("Content-Type"), "io.prometheus.write.v2.Request")
}

// read returns how many samples a request has.
func (s *sink) read(r *http.Request) (int, error) {
	b := s.pool.Get().(*buffers)
	defer s.pool.Put(b)
	if r.ContentLength < 0 {
		return 0, errors.New("a request without a Content-Length")
	}
	if int64(cap(b.body)) < r.ContentLength {
		b.body = make([]byte, r.ContentLength)
	}
	b.body = b.body[:r.ContentLength]
	if _, err := io.ReadFull(r.Body, b.body); err != nil {
		return 0, err
	}
	message, err := snappy.Decode(b.message[:cap(b.message)], b.body)
	if err != nil {
		return 0, err
	}
	b.message = message
	if isV2(r) {
		return countSamples(message, 5)
	}
	return countSamples(message, 1)
}

// samplesField is the number of the field of a series that has the samples, in both versions of the protocol.
const samplesField = 2

// countSamples counts the samples of a message whose series are in the field of that number. It looks at nothing else.
func countSamples(message []byte, seriesField protowire.Number) (int, error) {
	n := 0
	err := eachMessage(message, seriesField, func(series []byte) error {
		return eachMessage(series, samplesField, func([]byte) error {
			n++
			return nil
		})
	})
	return n, err
}

// eachMessage calls f with each nested message in the field of that number.
func eachMessage(message []byte, field protowire.Number, f func([]byte) error) error {
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		if n < 0 {
			return fmt.Errorf("not a Remote-Write message: %w", protowire.ParseError(n))
		}
		message = message[n:]
		if n = protowire.ConsumeFieldValue(number, kind, message); n < 0 {
			return fmt.Errorf("not a Remote-Write message: %w", protowire.ParseError(n))
		}
		if number == field {
			nested, _ := protowire.ConsumeBytes(message)
			if err := f(nested); err != nil {
				return err
			}
		}
		message = message[n:]
	}
	return nil
}
