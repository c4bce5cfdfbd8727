// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"bufio"
	"bytes"
	"errors"
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
	record *Record
	// life is the number of the process at the one end.
	life     int
	receiver *rwtest.Receiver
	faults   *faults
	// begun is called when a request has been read.
	begun func(*Exchange)

	mu sync.Mutex // guards what follows
	// open are the exchanges by number.
	open map[string]*Exchange
	// cut says that the process at the one end is dead. The record's lock guards it.
	cut bool
}

var (
	_ http.RoundTripper = (*wire)(nil)
	_ http.Handler      = (*wire)(nil)
)

func newWire(record *Record, f *faults, begun func(*Exchange)) *wire {
	w := &wire{record: record, faults: f, begun: begun, open: make(map[string]*Exchange)}
	w.receiver = &rwtest.Receiver{Script: w.answer}
	return w
}

// answer is the script of the receiver, which has read and decoded a request.
func (w *wire) answer(r rwtest.Request) rwtest.Answer {
	number := r.Header.Get(numberHeader)
	w.mu.Lock()
	x := w.open[number]
	w.mu.Unlock()
	nth := w.faults.came(r.Body)
	x.Life = w.life
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
	cut := false
	w.record.add(func() {
		if cut = w.cut; cut {
			return
		}
		w.record.event++
		x.Begin, x.Start, x.Number = w.record.event, time.Now(), len(w.record.Exchanges)+1
		w.record.Exchanges = append(w.record.Exchanges, x)
	})
	if cut {
		return rwtest.Answer{Fault: rwtest.Reset}
	}
	if w.begun != nil {
		w.begun(x)
	}
	return w.faults.answer(r, nth)
}

// sever ends all exchanges without an answer: the process at the one end is dead. The record is locked.
func (w *wire) sever() {
	w.cut = true
	for _, x := range w.record.Exchanges {
		if x.Life == w.life && x.End == 0 {
			w.record.event++
			x.End, x.Ended, x.Status, x.Header = w.record.event, time.Now(), 0, nil
		}
	}
}

// severed says whether the process at the one end is dead.
func (w *wire) severed() bool {
	w.record.mu.Lock()
	defer w.record.mu.Unlock()
	return w.cut
}

var errSevered = errors.New("the process is dead")

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
	if w.severed() {
		return nil, errSevered
	}
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
	if w.severed() {
		_ = resp.Body.Close()
		return nil, errSevered
	}
	return resp, nil
}

// ServeHTTP implements http.Handler.
func (w *wire) ServeHTTP(to http.ResponseWriter, req *http.Request) {
	if w.severed() {
		panic(http.ErrAbortHandler)
	}
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
