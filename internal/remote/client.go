package remote // import "github.com/orderedremotewrite/orderedremotewriteexporter/internal/remote"

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// Client posts bodies to one endpoint.
type Client struct {
	http      *http.Client
	endpoint  string
	userAgent string
	observe   func(context.Context, Exchange)
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
)

// Post sends the body, a compressed message of the version, and returns what came of it. It is the attempt of that number
// with the same content.
func (c *Client) Post(ctx context.Context, p wire.Protocol, body []byte, number int) *Answer {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.endpoint, bytes.NewReader(body))
	if err != nil {
		return &Answer{Err: WithoutURL(err)}
	}
	SetHeaders(req.Header, p, c.userAgent)
	start := time.Now()
	resp, err := c.http.Do(req)
	a := &Answer{}
	if err == nil {
		a.Status = resp.StatusCode
	} else {
		a.Err = WithoutURL(err)
	}
	c.observe(ctx, Exchange{Status: a.Status, Size: len(body), Took: time.Since(start), Attempt: number})
	if err != nil {
		return a
	}
	defer resp.Body.Close()
	a.RetryAfter = resp.Header.Get("Retry-After")
	if p == wire.V2 {
		a.Written = readWritten(resp.Header)
	}
	slow := time.AfterFunc(MaxBodyWait, cancel)
	defer slow.Stop()
	if a.Status > 299 {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, MaxAnswerBody))
		a.Body = printable(text)
	}
	// A body that is read to its end lets the connection be used again.
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxDrainedBody))
	return a
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
	if err == nil && resp.StatusCode >= 300 && resp.StatusCode <= 399 {
		resp.Header.Del("Location")
	}
	return resp, err
}

// CloseIdleConnections does what http.Client's method of that name asks for.
func (r refuseRedirects) CloseIdleConnections() {
	if c, ok := r.RoundTripper.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
}
