// SPDX-License-Identifier: Apache-2.0

package remote

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// transport is a function in the place of the network.
type transport func(*http.Request) (*http.Response, error)

func (f transport) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// posted is a client that a transport answers, and the exchanges that it tells of.
func posted(f transport) (*Client, *[]Exchange) {
	var told []Exchange
	return NewClient(&http.Client{Transport: f}, "http://receiver.test", "agent", func(_ context.Context, x Exchange) { told = append(told, x) }), &told
}

// TestPostEndsWithItsContext, and says what a transport that heeds it has said.
func TestPostEndsWithItsContext(t *testing.T) {
	token := errors.New("no token")
	for _, tt := range []struct {
		name   string
		answer func(r *http.Request, released <-chan struct{}) (*http.Response, error)
		took   time.Duration
		want   string
	}{
		{"a transport that heeds it", func(r *http.Request, _ <-chan struct{}) (*http.Response, error) {
			<-r.Context().Done()
			return nil, token
		}, time.Second, "no answer from the endpoint: no token"},
		{"one that takes a moment", func(r *http.Request, _ <-chan struct{}) (*http.Response, error) {
			<-r.Context().Done()
			time.Sleep(AbandonGrace / 2)
			return nil, token
		}, time.Second + AbandonGrace/2, "no answer from the endpoint: no token"},
		{"one that does not", func(_ *http.Request, released <-chan struct{}) (*http.Response, error) {
			<-released
			return nil, token
		}, time.Second + AbandonGrace, "no answer from the endpoint: the request was abandoned: context canceled"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				released := make(chan struct{})
				c, told := posted(func(r *http.Request) (*http.Response, error) { return tt.answer(r, released) })
				ctx, cancel := context.WithCancel(t.Context())
				time.AfterFunc(time.Second, cancel)
				start := time.Now()
				a := c.Post(ctx, wire.V1, []byte("body"), 3)
				assert.Equal(t, tt.took, time.Since(start))
				assert.EqualError(t, a, tt.want)
				close(released)
				time.Sleep(time.Minute)
				synctest.Wait()
				assert.Equal(t, []Exchange{{Size: 4, Took: tt.took, Attempt: 3}}, *told, "one exchange, which a late end does not change")
			})
		})
	}
}

// TestPostGivesUpBodies: a body that comes slowly is cut, and one that hangs is left alone; the status is the answer.
func TestPostGivesUpBodies(t *testing.T) {
	// endless gives a few bytes at once, and then none until its request or the test ends.
	endless := func(r *http.Request, end <-chan struct{}) io.ReadCloser {
		reader, writer := io.Pipe()
		go func() {
			_, _ = writer.Write([]byte("out of order"))
			select {
			case <-end:
			case <-r.Context().Done():
			}
			_ = writer.CloseWithError(io.ErrUnexpectedEOF)
		}()
		return reader
	}
	for _, tt := range []struct {
		name  string
		heeds bool
		took  time.Duration
		body  string
	}{
		{"a slow body", true, MaxBodyWait, "out of order"},
		{"a body that heeds no context", false, MaxBodyWait + bodyGrace, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				released := make(chan struct{})
				c, told := posted(func(r *http.Request) (*http.Response, error) {
					if !tt.heeds {
						r = r.WithContext(context.WithoutCancel(r.Context()))
					}
					return &http.Response{StatusCode: 400, Header: http.Header{"Retry-After": {"7"}}, Body: endless(r, released)}, nil
				})
				start := time.Now()
				a := c.Post(t.Context(), wire.V1, []byte("body"), 1)
				assert.Equal(t, tt.took, time.Since(start))
				assert.Equal(t, &Answer{Status: 400, RetryAfter: "7", Body: tt.body}, a)
				assert.Equal(t, []Exchange{{Status: 400, Size: 4, Attempt: 1}}, *told)
				close(released)
			})
		})
	}
}

// TestPostTellsAnUnreadMessage of 2.0 from a success, and takes the headers for nothing in 1.0.
func TestPostTellsAnUnreadMessage(t *testing.T) {
	answer := func(h http.Header) transport {
		return func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: 200, Header: h, Body: io.NopCloser(strings.NewReader("body"))}, nil
		}
	}
	samples := http.Header{"X-Prometheus-Remote-Write-Samples-Written": {"3"}}
	c, _ := posted(answer(http.Header{}))
	assert.Equal(t, &Answer{Status: 200, Err: errNoWritten}, c.Post(t.Context(), wire.V2, nil, 1))
	assert.Equal(t, &Answer{Status: 200}, c.Post(t.Context(), wire.V1, nil, 1))
	c, _ = posted(answer(samples))
	assert.Equal(t, &Answer{Status: 200, Written: Written{Present: true, Samples: 3}}, c.Post(t.Context(), wire.V2, nil, 1))
	assert.Equal(t, &Answer{Status: 200}, c.Post(t.Context(), wire.V1, nil, 1))
}

// TestPostClosesSwitchedConnections: an endpoint that answers 101 keeps the connection open, which must not keep anything here.
// What has no valid status is no answer.
func TestPostClosesSwitchedConnections(t *testing.T) {
	for answer, want := range map[string]*Answer{
		"101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c": {Status: 101},
		"000 Nothing\r\nContent-Length: 0":                               {Err: errNoStatus},
	} {
		synctest.Test(t, func(t *testing.T) {
			closed := make(chan struct{})
			transport := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
				ours, theirs := net.Pipe()
				go func() {
					defer close(closed)
					defer theirs.Close()
					_, _ = theirs.Read(make([]byte, 16<<10))
					_, _ = io.WriteString(theirs, "HTTP/1.1 "+answer+"\r\n\r\n")
					_, _ = io.Copy(io.Discard, theirs)
				}()
				return ours, nil
			}}
			c := NewClient(&http.Client{Transport: transport}, "http://receiver.test", "agent", func(context.Context, Exchange) {})
			start := time.Now()
			assert.Equal(t, want, c.Post(t.Context(), wire.V1, []byte("body"), 1))
			assert.Zero(t, time.Since(start))
			c.CloseIdleConnections()
			synctest.Wait()
			select {
			case <-closed:
			default:
				assert.Fail(t, "the connection is still open", answer)
				transport.CloseIdleConnections()
			}
		})
	}
}

// TestMisdirectedConnectionIsNotUsedAgain: a 421 says that the connection leads to a server that is not meant, for as long as it lasts.
func TestMisdirectedConnectionIsNotUsedAgain(t *testing.T) {
	for _, http2 := range []bool{false, true} {
		t.Run(fmt.Sprintf("HTTP/2 %t", http2), func(t *testing.T) {
			var first sync.Once
			type wrong struct{}
			server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				assert.Equal(t, http2, r.ProtoMajor == 2)
				if r.Context().Value(wrong{}) != nil {
					w.WriteHeader(http.StatusMisdirectedRequest)
				}
			}))
			server.Config.ConnContext = func(ctx context.Context, _ net.Conn) context.Context {
				first.Do(func() { ctx = context.WithValue(ctx, wrong{}, true) })
				return ctx
			}
			server.EnableHTTP2 = http2
			server.StartTLS()
			defer server.Close()
			c := NewClient(server.Client(), server.URL, "agent", func(context.Context, Exchange) {})
			post := func() int { return c.Post(t.Context(), wire.V1, []byte("body"), 1).Status }
			assert.Equal(t, http.StatusMisdirectedRequest, post())
			// The stream of the first request may end a moment after its answer.
			for tries := 0; post() != http.StatusOK; tries++ {
				require.Less(t, tries, 1000)
			}
		})
	}
}
