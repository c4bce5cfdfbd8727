// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/config/configopaque"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/remote"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// TestQueryIsSentAndNotTold: the query of the endpoint may hold a key. It is in each request, beneath the spans, whose URL is
// without it, and in no line of the log.
func TestQueryIsSentAndNotTold(t *testing.T) {
	for endpoint, sent := range map[string]string{
		"http://receiver.test/write":                         "http://receiver.test/write",
		"http://receiver.test/write?key=hunter2&tenant=a%26": "http://receiver.test/write?key=hunter2&tenant=a%26",
		"http://receiver.test?key=hunter2":                   "http://receiver.test?key=hunter2",
	} {
		synctest.Test(t, func(t *testing.T) {
			var urls []string
			h := newHarness(t, roundTripper(func(r *http.Request) (*http.Response, error) {
				urls = append(urls, r.URL.String())
				header := http.Header{"Location": {r.URL.String()}}
				return &http.Response{StatusCode: []int{503, 302, 403, 204}[len(urls)-1], Header: header, Body: io.NopCloser(strings.NewReader(""))}, nil
			}), onePartition, func(c *Config) { c.HTTP.Endpoint, c.OnError.Fatal = endpoint, OnFatalRetry })
			h.consume(gauge(time.Now(), 1))
			time.Sleep(time.Minute)
			h.shutdown()
			assert.Equal(t, int64(1), h.delivered())
			assert.Equal(t, []string{sent, sent, sent, sent}, urls)

			told := fmt.Sprint(h.logs.All())
			for len(h.host.events) > 0 {
				told += fmt.Sprint((<-h.host.events).Err())
			}
			spans := h.telemetry.SpanRecorder.Ended()
			require.NotEmpty(t, spans)
			for _, span := range spans {
				told += fmt.Sprint(span.Attributes(), span.Events(), span.Status())
			}
			assert.Contains(t, told, "http://receiver.test", "the spans have the URL")
			assert.NotContains(t, told, "hunter2")
		})
	}
}

// TestErrorsOfATransportTellNoSecret: an auth extension fails with an error that has the URL where it gets its tokens.
func TestErrorsOfATransportTellNoSecret(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, roundTripper(func(*http.Request) (*http.Response, error) {
			return nil, fmt.Errorf("cannot fetch token: %w", &url.Error{
				Op: "Post", URL: "https://name:hunter2@idp.test/token?client_secret=hunter3", Err: errors.New("connection refused"),
			})
		}))
		h.consume(gauge(time.Now(), 5))
		time.Sleep(time.Minute)
		require.NoError(t, h.Shutdown(context.Background()))
		told := fmt.Sprint(h.logs.All())
		for _, span := range h.telemetry.SpanRecorder.Ended() {
			told += fmt.Sprint(span.Status(), span.Events(), span.Attributes())
		}
		assert.NotContains(t, told, "hunter")
		assert.Contains(t, told, `cannot fetch token: Post "https://idp.test/token": connection refused`)
	})
}

// TestUserAgent names a version always (RFC 9110, section 10.1.5): a manifest of the builder need not have one.
func TestUserAgent(t *testing.T) {
	for want, info := range map[string]component.BuildInfo{
		"ordered_remote_write/0.1.0 otelcol":        {Command: "otelcol", Version: "0.1.0"},
		"ordered_remote_write/0.1.0":                {Version: "0.1.0"},
		"ordered_remote_write/unknown my-collector": {Command: "my-collector"},
	} {
		assert.Equal(t, want, userAgent(info))
	}
}

// TestIdleConnectionsFitTheRequests: there is one for each request in flight, unless it is configured otherwise.
func TestIdleConnectionsFitTheRequests(t *testing.T) {
	for _, tc := range []struct{ total, host, wantTotal, wantHost int }{
		{100, 0, 100, 32},
		{10, 0, 32, 32},
		{0, 0, 0, 32},
		{10, 5, 10, 5},
	} {
		cfg := createDefaultConfig().(*Config)
		keepalive := cfg.HTTP.Keepalive.Get()
		keepalive.MaxIdleConns, keepalive.MaxIdleConnsPerHost = tc.total, tc.host
		got := cfg.clientConfig().Keepalive.Get()
		assert.Equal(t, tc.wantTotal, got.MaxIdleConns)
		assert.Equal(t, tc.wantHost, got.MaxIdleConnsPerHost)
	}
}

// idleConnections counts how often they are closed.
type idleConnections struct {
	*rwtest.Receiver
	closed int
}

func (c *idleConnections) CloseIdleConnections() { c.closed++ }

// TestIdleConnectionsAreClosed when the exporter shuts down, and not after they have been idle for long.
func TestIdleConnectionsAreClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		connections := &idleConnections{Receiver: answers(204)}
		h := newHarness(t, connections, onePartition)
		h.consume(gauge(time.Now(), 1))
		h.shutdown()
		assert.Equal(t, int64(1), h.delivered())
		assert.Equal(t, 1, connections.closed)
	})
}

// TestIdleConnectionsBeneathHeadersAreClosed: what the Collector puts around its transport hides them.
func TestIdleConnectionsBeneathHeadersAreClosed(t *testing.T) {
	closed := make(chan struct{})
	server := httptest.NewUnstartedServer(answers(204))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateClosed {
			close(closed)
		}
	}
	server.Start()
	defer server.Close()
	cfg := createDefaultConfig().(*Config)
	cfg.HTTP.Endpoint = server.URL
	cfg.HTTP.Headers = configopaque.MapList{{Name: "X-Scope-OrgID", Value: "tenant"}}
	cfg.HTTP.Keepalive.Get().IdleConnTimeout = 0
	client, url, err := cfg.httpClient(t.Context(), componenttest.NewNopHost(), componenttest.NewNopTelemetrySettings())
	require.NoError(t, err)
	resp, err := client.Get(url)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	client.CloseIdleConnections()
	<-closed
}

// TestProxyOutOfReachHasSentNothing: what the Collector puts around a transport keeps nobody from knowing that.
func TestProxyOutOfReachHasSentNothing(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	cfg := createDefaultConfig().(*Config)
	cfg.HTTP.Endpoint, cfg.HTTP.ProxyURL = "http://receiver.test/write?key=a", "http://"+l.Addr().String()
	cfg.HTTP.Headers.Set("X-Scope-OrgID", "tenant")
	require.NoError(t, l.Close())
	client, url, err := cfg.httpClient(t.Context(), componenttest.NewNopHost(), componenttest.NewNopTelemetrySettings())
	require.NoError(t, err)
	a := remote.NewClient(client, url, "agent", func(context.Context, remote.Exchange) {}).Post(t.Context(), wire.V1, nil, 1)
	assert.ErrorContains(t, a, "connection refused")
	assert.False(t, a.Unknown())
}
