// SPDX-License-Identifier: Apache-2.0

package remote // import "github.com/orderedremotewrite/orderedremotewriteexporter/internal/remote"

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// Client posts bodies to one endpoint.
type Client struct {
	http      *http.Client
	endpoint  string
	userAgent string
	observe   func(context.Context, Exchange)
	// traced says that the transport tells of its connections.
	traced atomic.Bool
	// renew says that the next request is to get a new connection.
	renew atomic.Bool
}

// Exchange is a request and how it ended, for metrics.
type Exchange struct {
	// Status is the HTTP status, or 0 if there was no answer.
	Status int
	// Size is the bytes of the body that was sent.
	Size int
	// Took is the time until the answer's headers were there.
	Took time.Duration
	// Attempt is 1 for the first request with the content.
	Attempt int
}

// NewClient returns a client that tells observe of each of its requests. It refuses redirects.
func NewClient(c *http.Client, endpoint, userAgent string, observe func(context.Context, Exchange)) *Client {
	refusing := *c
	refusing.Transport = refuseRedirects{c.Transport}
	return &Client{http: &refusing, endpoint: endpoint, userAgent: userAgent, observe: observe}
}

// CloseIdleConnections closes the connections that no request uses.
func (c *Client) CloseIdleConnections() {
	c.http.CloseIdleConnections()
}

// Bounds on what is read of an answer's body, and for how long once the status is known. The status decides; a body that
// comes slowly must not hold up a partition.
const (
	MaxAnswerBody  = 1 << 10
	maxDrainedBody = 16 << 10
	MaxBodyWait    = time.Second
	// maxRetryAfter is more than a date and any number of seconds take.
	maxRetryAfter = 64
	// AbandonGrace is how long after the end of its context a transport may take to say so.
	AbandonGrace = 10 * time.Millisecond
	// bodyGrace is how long a body that has been ended takes to hand over what there is of it.
	bodyGrace = 100 * time.Millisecond
)

// Post sends the body, a compressed message of the version, and returns what came of it. It is the attempt of that number
// with the same content.
//
// It returns when ctx is done, or AbandonGrace later, whatever the transport does: the round tripper of an auth extension may fetch a token and
// not look at the request's context meanwhile. Such a request is abandoned. It may still reach the endpoint, so that
// nothing of its partition may be sent after it; what is answered to it, nobody hears.
func (c *Client) Post(ctx context.Context, p wire.Protocol, body []byte, number int) *Answer {
	inner, cancel := context.WithCancel(ctx)
	defer cancel()
	if c.renew.CompareAndSwap(true, false) {
		// What a connection of HTTP/2 had under way has ended by now.
		c.CloseIdleConnections()
	}
	conn := &connection{client: c}
	req, err := http.NewRequestWithContext(conn.traced(inner), http.MethodPost, c.endpoint, bytes.NewReader(body))
	if err != nil {
		return &Answer{Err: WithoutURL(err), Unsent: true}
	}
	SetHeaders(req.Header, p, c.userAgent)
	start := time.Now()
	head, text := make(chan *Answer, 1), make(chan string, 1)
	go c.exchange(req, p, conn, head, text)
	a := await(ctx, head)
	c.observe(ctx, Exchange{Status: a.Status, Size: len(body), Took: time.Since(start), Attempt: number})
	if a.Status != 0 {
		a.Body = awaitBody(ctx, text, cancel)
	}
	if a.wantsConnection() {
		c.renew.Store(true)
	}
	return a
}

// exchange hands over the answer when its status is known, and then what is read of its body. It never waits for who takes
// that: nobody may.
func (c *Client) exchange(req *http.Request, p wire.Protocol, conn *connection, head chan<- *Answer, text chan<- string) {
	start := time.Now()
	resp, err := c.http.Do(req)
	if err != nil {
		err = WithoutURL(err)
		a := &Answer{Err: Short(err), Unsent: conn.missing(err)}
		// The transport's own time-outs, of a connection or a handshake, say themselves what they are.
		if c.http.Timeout > 0 && time.Since(start) >= c.http.Timeout && errors.Is(err, context.DeadlineExceeded) {
			a.Err = &TimeoutError{Timeout: c.http.Timeout, Err: err}
		}
		head <- a
		return
	}
	defer resp.Body.Close()
	if resp.StatusCode == 0 {
		head <- &Answer{Err: errNoStatus}
		return
	}
	retryAfter := resp.Header.Get("Retry-After")
	a := &Answer{Status: resp.StatusCode, RetryAfter: strings.Clone(retryAfter[:min(len(retryAfter), maxRetryAfter)]), Location: resp.Header.Get(refusedLocation)}
	if p == wire.V2 {
		a.Written = readWritten(resp.Header)
		if a.Success() && a.Unread() {
			a.Err = errNoWritten
		}
	}
	head <- a
	text <- readBody(resp)
}

// errNoStatus is the error of an answer whose status is 000, which net/http lets pass. Status 0 is no answer.
var errNoStatus = errors.New(`malformed HTTP status code "000"`)

// connection is whether a request had one. It is told by the transport, maybe from several goroutines.
type connection struct {
	client *Client
	got    atomic.Bool
}

// traced returns a context with which a transport of net/http tells of its connections.
func (c *connection) traced(ctx context.Context) context.Context {
	return httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
		GetConn: func(string) { c.client.traced.Store(true) },
		GotConn: func(httptrace.GotConnInfo) { c.got.Store(true) },
	})
}

// missing says whether a request that has failed with err never had a connection, as when an auth extension in front of the
// transport has no token. A transport that has never told anything may still say that it could not dial.
func (c *connection) missing(err error) bool {
	dial := new(net.OpError)
	return !c.got.Load() && (c.client.traced.Load() || errors.As(err, &dial) && dial.Op == "dial")
}

// await waits for the answer, and when ctx is done a moment longer for what the transport makes of that.
func await(ctx context.Context, head <-chan *Answer) *Answer {
	select {
	case a := <-head:
		return a
	case <-ctx.Done():
	}
	grace := time.NewTimer(AbandonGrace)
	defer grace.Stop()
	select {
	case a := <-head:
		return a
	case <-grace.C:
		return &Answer{Err: fmt.Errorf("the request was abandoned: %w", context.Cause(ctx))}
	}
}

// awaitBody waits for the body, but not for long. Then it ends the request, and takes what was read until then.
func awaitBody(ctx context.Context, text <-chan string, end context.CancelFunc) string {
	slow := time.NewTimer(MaxBodyWait)
	defer slow.Stop()
	select {
	case t := <-text:
		return t
	case <-ctx.Done():
	case <-slow.C:
		end()
		slow.Reset(bodyGrace)
		select {
		case t := <-text:
			return t
		case <-slow.C:
		}
	}
	return ""
}

// readBody reads the beginning of a refusal's body. A body that is read to its end lets the connection be used again.
func readBody(resp *http.Response) string {
	if resp.StatusCode == http.StatusSwitchingProtocols {
		// The body is the connection: reading it would not end with the request, and nobody would ever close it.
		return ""
	}
	var text []byte
	if resp.StatusCode > 299 {
		text, _ = io.ReadAll(io.LimitReader(resp.Body, MaxAnswerBody))
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxDrainedBody))
	return printable(text)
}

// SetHeaders sets the headers of Remote-Write 1.0 and 2.0, "Required Headers".
func SetHeaders(h http.Header, p wire.Protocol, userAgent string) {
	h.Set("Content-Encoding", "snappy")
	h.Set("User-Agent", userAgent)
	if p == wire.V2 {
		h.Set("Content-Type", "application/x-protobuf;proto="+wire.MessageV2)
		h.Set("X-Prometheus-Remote-Write-Version", "2.0.0")
		return
	}
	h.Set("Content-Type", "application/x-protobuf")
	h.Set("X-Prometheus-Remote-Write-Version", "0.1.0")
}

// printable makes an answer's body fit for a log line.
func printable(text []byte) string {
	return string(bytes.TrimSpace(bytes.ToValidUTF8(text, []byte("\uFFFD"))))
}

// WithoutURL takes the URL out of an error of the HTTP client: it may hold a password.
func WithoutURL(err error) error {
	if urlErr := new(url.Error); errors.As(err, &urlErr) {
		return urlErr.Err
	}
	return err
}

// Short returns an error that is fit for a line of the log. Go quotes what comes in the place of an answer, however long it is.
func Short(err error) error {
	if text := err.Error(); len(text) > MaxAnswerBody {
		return errors.New(printable([]byte(text[:MaxAnswerBody])) + "...")
	}
	return err
}

// WithoutSecrets redacts the URLs in an error of a transport, as those where an auth extension gets its tokens.
func WithoutSecrets(err error) error {
	urlErr := new(url.Error)
	if !errors.As(err, &urlErr) {
		return err
	}
	text := err.Error()
	for within := err; errors.As(within, &urlErr); within = urlErr.Err {
		text = strings.ReplaceAll(text, strconv.Quote(urlErr.URL), strconv.Quote(Redacted(urlErr.URL)))
	}
	return &redactedError{text, err}
}

// redactedError is an error of which something is not shown.
type redactedError struct {
	text string
	err  error
}

// Error is what can be shown.
func (e *redactedError) Error() string { return e.text }

// Unwrap returns the error.
func (e *redactedError) Unwrap() error { return e.err }

// Redacted returns an endpoint without user information, query and fragment, which may hold secrets.
func Redacted(endpoint string) string {
	u, err := url.Parse(endpoint)
	if err != nil {
		return "invalid URL"
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}

// refuseRedirects makes a redirect the answer: Go would turn a redirected POST into a GET without a body, whose success
// would say nothing about the samples. Without a Location, which Go reads before it asks anybody, there is nothing to
// follow.
type refuseRedirects struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (r refuseRedirects) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := r.RoundTripper.RoundTrip(req)
	if err != nil {
		return resp, err
	}
	resp.Header.Del(refusedLocation)
	if resp.StatusCode >= 300 && resp.StatusCode <= 399 {
		if to, err := req.URL.Parse(resp.Header.Get("Location")); err == nil {
			if shown := Redacted(to.String()); shown != Redacted(req.URL.String()) {
				resp.Header.Set(refusedLocation, shown[:min(len(shown), MaxAnswerBody)])
			}
		}
		resp.Header.Del("Location")
	}
	return resp, nil
}

// refusedLocation is the header in which a redirect's Location gets past Go's client.
const refusedLocation = "X-Refused-Location"

// CloseIdleConnections does what http.Client's method of that name asks for.
func (r refuseRedirects) CloseIdleConnections() {
	if c, ok := r.RoundTripper.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}
