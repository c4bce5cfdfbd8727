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
	x.answer.Respond(w, req, func(complete bool) { r.settle(x, complete) })
}

// Respond gives the answer, which Wait has kept until it is due. It calls settle before a client can see that the answer
// is not complete.
func (a Answer) Respond(w http.ResponseWriter, req *http.Request, settle func(complete bool)) {
	if !a.Seen() {
		settle(false)
		reset(w)
		return
	}
	for name, values := range a.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(a.Code())
	complete := true
	if body := a.body(req.Context()); body != nil {
		var to io.Writer = w
		if a.BodyTime > 0 || a.Fault == Cut {
			to = flusher{w, http.NewResponseController(w)}
		}
		_, err := io.Copy(to, body)
		complete = err == nil
	}
	settle(complete && req.Context().Err() == nil)
	if !complete {
		reset(w)
	}
}

// Wait waits until the answer is due. If the client does not wait for so long, there is no answer.
func (a *Answer) Wait(ctx context.Context) {
	if sleep(ctx, a.Latency) != nil || a.Fault == Hang {
		<-ctx.Done()
		a.Fault = Hang // also if it was the latency that lasted too long
	}
}

// RoundTrip implements http.RoundTripper: the receiver itself answers the request.
func (r *Receiver) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		defer req.Body.Close()
	}
	x := r.exchange(req, 0)
	if !x.answer.Seen() {
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
		Status:     fmt.Sprintf("%d %s", x.answer.Code(), http.StatusText(x.answer.Code())),
		StatusCode: x.answer.Code(),
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
	if body := x.answer.body(req.Context()); body != nil {
		resp.Body = io.NopCloser(body)
		complete = body.end == io.EOF
	}
	r.settle(x, complete)
	return resp, nil
}

// bodyParts is how many parts a slow body comes in.
const bodyParts = 8

// body returns the answer's body, or nil if it has none.
func (a Answer) body(ctx context.Context) *answerBody {
	size := max(len(a.Body), a.BodySize)
	if a.Fault == Cut && size == 0 {
		size = 2 // something to cut
	}
	if s := a.Code(); size == 0 || s == http.StatusNoContent || s == http.StatusNotModified {
		return nil // RFC 9110, sections 15.3.5 and 15.4.5
	}
	b := &answerBody{ctx: ctx, text: a.Body, size: size, part: (size + bodyParts - 1) / bodyParts, pause: a.BodyTime / bodyParts}
	if a.Fault == Cut {
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
