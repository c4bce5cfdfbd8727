// SPDX-License-Identifier: Apache-2.0

package remote

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// TestNothingIsSentWithoutAConnection: what no connection was made for, the endpoint cannot have taken, whatever kept it from
// being made.
func TestNothingIsSentWithoutAConnection(t *testing.T) {
	refused := func(context.Context) (net.Conn, error) {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
	}
	// served is a connection to what does something with its other end, and closes it.
	served := func(serve func(net.Conn)) func(context.Context) (net.Conn, error) {
		return func(context.Context) (net.Conn, error) {
			ours, theirs := net.Pipe()
			go func() {
				serve(theirs)
				_ = theirs.Close()
			}()
			return ours, nil
		}
	}
	proxy := func(*http.Request) (*url.URL, error) { return url.Parse("http://proxy.test:3128") }
	for _, tt := range []struct {
		name, endpoint string
		proxy          func(*http.Request) (*url.URL, error)
		dial           func(context.Context) (net.Conn, error)
		unknown        bool
	}{
		{name: "refused", endpoint: "http://receiver.test", dial: refused},
		{name: "a dial that takes longer than the timeout", endpoint: "http://receiver.test", dial: func(ctx context.Context) (net.Conn, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}},
		{name: "a proxy that cannot be reached", endpoint: "http://receiver.test", proxy: proxy, dial: refused},
		{name: "a proxy that connects nobody", endpoint: "https://receiver.test", proxy: proxy, dial: served(func(c net.Conn) {
			_, _ = c.Read(make([]byte, 16<<10))
			_, _ = io.WriteString(c, "HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
		})},
		{name: "a handshake that fails", endpoint: "https://receiver.test", dial: served(func(c net.Conn) {
			_, _ = c.Read(make([]byte, 16<<10))
			_, _ = io.WriteString(c, "this is no TLS\r\n")
		})},
		{name: "a handshake that hangs", endpoint: "https://receiver.test", dial: served(func(c net.Conn) {
			_, _ = io.Copy(io.Discard, c)
		})},
		{name: "a connection that is closed after the request", endpoint: "http://receiver.test", unknown: true, dial: served(func(c net.Conn) {
			_, _ = c.Read(make([]byte, 16<<10))
		})},
		{name: "no answer in time", endpoint: "http://receiver.test", unknown: true, dial: served(func(c net.Conn) {
			_, _ = io.Copy(io.Discard, c)
		})},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				transport := &http.Transport{Proxy: tt.proxy, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return tt.dial(ctx) }}
				c := NewClient(&http.Client{Transport: transport, Timeout: 5 * time.Second}, tt.endpoint, "agent", func(context.Context, Exchange) {})
				a := c.Post(t.Context(), wire.V1, []byte("body"), 1)
				assert.Zero(t, a.Status)
				assert.Equal(t, tt.unknown, a.Unknown(), "%v", a)
				c.CloseIdleConnections()
			})
		})
	}
}

// TestNothingIsSentWithoutAToken: what fails in front of the transport is not sent either. That is known once the transport has
// shown that it tells of its connections.
func TestNothingIsSentWithoutAToken(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		base := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) {
			return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
		}}
		token := false
		c, _ := posted(func(r *http.Request) (*http.Response, error) {
			if !token {
				return nil, errors.New("no token")
			}
			return base.RoundTrip(r)
		})
		unknown := func() bool { return c.Post(t.Context(), wire.V1, []byte("body"), 1).Unknown() }
		assert.True(t, unknown(), "it may be a transport of another kind")
		token = true
		assert.False(t, unknown())
		token = false
		assert.False(t, unknown())
	})
}
