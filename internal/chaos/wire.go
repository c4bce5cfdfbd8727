// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/golang/snappy"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
)

// numberHeader tells the receiver which exchange a request is.
const numberHeader = "X-Chaos-Exchange"

// wire is between the exporter and the receiver, and records what it sees. It is a RoundTripper for rounds on a fake clock,
// and a Handler for rounds over the network.
type wire struct {
	record   *Record
	receiver *rwtest.Receiver
	faults   *faults
	// begun is called when a request has been read.
	begun func(*Exchange)

	mu sync.Mutex // guards what follows
	// open are the exchanges by number, and seen is how often each body came.
	open map[string]*Exchange
	seen map[string]int
}

var (
	_ http.RoundTripper = (*wire)(nil)
	_ http.Handler      = (*wire)(nil)
)

func newWire(record *Record, f *faults, begun func(*Exchange)) *wire {
	w := &wire{record: record, faults: f, begun: begun, open: make(map[string]*Exchange), seen: make(map[string]int)}
	w.receiver = &rwtest.Receiver{Script: w.answer}
	return w
}

// answer is the script of the receiver, which has read and decoded a request.
func (w *wire) answer(r rwtest.Request) rwtest.Answer {
	number := r.Header.Get(numberHeader)
	w.mu.Lock()
	x := w.open[number]
	nth := w.seen[string(r.Body)]
	w.seen[string(r.Body)]++
	w.mu.Unlock()
	x.V2 = r.Version == 2
	x.Body = r.Body
	x.Size, _ = snappy.DecodedLen(r.Body)
	if r.Message != nil {
		x.Points = pointsOf(r.Message, r.Series)
		for i := range r.Message.Timeseries {
			x.Exemplars += len(r.Message.Timeseries[i].Exemplars)
		}
	}
	for i := range x.Points {
		if x.Points[i].Histogram {
			x.Histograms++
		}
	}
	w.record.add(func() {
		w.record.event++
		x.Begin, x.Start, x.Number = w.record.event, time.Now(), len(w.record.Exchanges)+1
		w.record.Exchanges = append(w.record.Exchanges, x)
	})
	if w.begun != nil {
		w.begun(x)
	}
	return w.faults.answer(r, nth)
}

// enter makes an exchange of a request, which is passed on under its number.
func (w *wire) enter(req *http.Request) (*Exchange, *http.Request) {
	x := &Exchange{}
	number := strconv.FormatInt(w.record.next(), 10)
	w.mu.Lock()
	w.open[number] = x
	w.mu.Unlock()
	passed := *req
	passed.Header = req.Header.Clone()
	passed.Header.Set(numberHeader, number)
	return x, &passed
}

// leave ends an exchange, before the client knows.
func (w *wire) leave(x *Exchange, status int, header http.Header) {
	w.record.add(func() {
		if x.End == 0 {
			w.record.event++
			x.End, x.Ended, x.Status, x.Header = w.record.event, time.Now(), status, header.Clone()
		}
	})
}

// RoundTrip implements http.RoundTripper.
func (w *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	x, passed := w.enter(req)
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	_ = req.Body.Close()
	passed.Body = io.NopCloser(bytes.NewReader(body))
	resp, err := w.receiver.RoundTrip(passed)
	if err != nil {
		w.leave(x, 0, nil)
		return nil, err
	}
	w.leave(x, resp.StatusCode, resp.Header)
	return resp, nil
}

// ServeHTTP implements http.Handler.
func (w *wire) ServeHTTP(to http.ResponseWriter, req *http.Request) {
	x, passed := w.enter(req)
	w.receiver.ServeHTTP(&answering{ResponseWriter: to, wire: w, exchange: x, request: req}, passed)
	w.leave(x, 0, nil)
}

// answering sees when an answer begins.
type answering struct {
	http.ResponseWriter
	wire     *wire
	exchange *Exchange
	request  *http.Request
}

// WriteHeader implements http.ResponseWriter.
func (a *answering) WriteHeader(status int) {
	seen := status
	if a.request.Context().Err() != nil {
		seen = 0
	}
	a.wire.leave(a.exchange, seen, a.Header())
	a.ResponseWriter.WriteHeader(status)
}

// Hijack implements http.Hijacker: without an answer before, the connection is reset.
func (a *answering) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	a.wire.leave(a.exchange, 0, nil)
	return http.NewResponseController(a.ResponseWriter).Hijack()
}

// Unwrap is for http.ResponseController.
func (a *answering) Unwrap() http.ResponseWriter { return a.ResponseWriter }
