// SPDX-License-Identifier: Apache-2.0

package rwtest

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"
)

var (
	_ http.Handler      = (*Receiver)(nil)
	_ http.RoundTripper = (*Receiver)(nil)
)

// serverGrace is how late a server may learn that a client has given up.
const serverGrace = time.Second

// ServeHTTP implements http.Handler.
func (r *Receiver) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	x := r.exchange(req, serverGrace)
	if !x.answer.seen() {
		r.settle(x, false)
		reset(w)
		return
	}
	for name, values := range x.answer.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(x.answer.status())
	complete := true
	if body := x.body(req.Context()); body != nil {
		var to io.Writer = w
		if x.answer.BodyTime > 0 || x.answer.Fault == Cut {
			to = flusher{w, http.NewResponseController(w)}
		}
		_, err := io.Copy(to, body)
		complete = err == nil
	}
	r.settle(x, complete && req.Context().Err() == nil)
	if !complete {
		reset(w)
	}
}

// RoundTrip implements http.RoundTripper: the receiver itself answers the request.
func (r *Receiver) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		defer req.Body.Close()
	}
	x := r.exchange(req, 0)
	if !x.answer.seen() {
		r.settle(x, false)
		switch {
		case x.answer.Fault == Hang:
			return nil, req.Context().Err()
		case x.answer.Stored:
			return nil, fmt.Errorf("rwtest: dropped answer: %w", io.ErrUnexpectedEOF)
		default:
			return nil, fmt.Errorf("rwtest: %w", syscall.ECONNRESET)
		}
	}
	resp := &http.Response{
		Status:     fmt.Sprintf("%d %s", x.answer.status(), http.StatusText(x.answer.status())),
		StatusCode: x.answer.status(),
		Proto:      "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header:        x.answer.Header.Clone(),
		Body:          http.NoBody,
		ContentLength: -1,
		Request:       req,
	}
	if resp.Header == nil {
		resp.Header = make(http.Header)
	}
	complete := true
	if body := x.body(req.Context()); body != nil {
		resp.Body = io.NopCloser(body)
		complete = body.end == io.EOF
	}
	r.settle(x, complete)
	return resp, nil
}

// bodyParts is how many parts a slow body comes in.
const bodyParts = 8

// body returns the answer's body, or nil if it has none.
func (x *exchange) body(ctx context.Context) *answerBody {
	size := max(len(x.answer.Body), x.answer.BodySize)
	if x.answer.Fault == Cut && size == 0 {
		size = 2 // something to cut
	}
	if s := x.answer.status(); size == 0 || s == http.StatusNoContent || s == http.StatusNotModified {
		return nil // RFC 9110, sections 15.3.5 and 15.4.5
	}
	b := &answerBody{ctx: ctx, text: x.answer.Body, size: size, part: (size + bodyParts - 1) / bodyParts, pause: x.answer.BodyTime / bodyParts}
	if x.answer.Fault == Cut {
		b.size, b.end = size/2, io.ErrUnexpectedEOF
	} else {
		b.end = io.EOF
	}
	return b
}

// answerBody reads as a text with a filler behind it, part by part with a pause before each.
type answerBody struct {
	ctx             context.Context
	text            string
	off, size, part int
	pause           time.Duration
	end             error // after size bytes
}

var filler = strings.Repeat(".", 32<<10)

// Read implements io.Reader.
func (b *answerBody) Read(p []byte) (int, error) {
	if b.off >= b.size {
		return 0, b.end
	}
	if b.off%b.part == 0 && b.pause > 0 {
		if err := sleep(b.ctx, b.pause); err != nil {
			return 0, err
		}
	}
	from := filler
	if b.off < len(b.text) {
		from = b.text[b.off:]
	}
	n := copy(p[:min(len(p), b.size-b.off, b.part-b.off%b.part)], from)
	b.off += n
	return n, nil
}

// flusher writes each part to the network at once.
type flusher struct {
	io.Writer
	*http.ResponseController
}

// Write implements io.Writer.
func (f flusher) Write(p []byte) (int, error) {
	n, err := f.Writer.Write(p)
	if err != nil {
		return n, err
	}
	return n, f.Flush()
}

// reset resets the client's connection: without lingering, a close sends RST rather than FIN.
func reset(w http.ResponseWriter) {
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		panic(http.ErrAbortHandler) // HTTP/2, which resets the stream
	}
	if c, ok := conn.(*tls.Conn); ok {
		conn = c.NetConn()
	}
	if c, ok := conn.(*net.TCPConn); ok {
		_ = c.SetLinger(0)
	}
	_ = conn.Close()
}
