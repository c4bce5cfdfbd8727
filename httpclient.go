// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"context"
	"net/http"
	"strings"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/remote"
)

// httpClient makes the client of the endpoint, which may need extensions of the host, and returns the URL that it is given.
func (c *Config) httpClient(ctx context.Context, host component.Host, set component.TelemetrySettings) (_ *http.Client, url string, _ error) {
	url, query, _ := strings.Cut(c.HTTP.Endpoint, "?")
	// Without providers there are no spans in it yet: they are added below, without the query.
	bare := set
	bare.TracerProvider, bare.MeterProvider = nil, nil
	client, err := c.clientConfig().ToClient(ctx, host.GetExtensions(), bare)
	if err != nil {
		return nil, "", err
	}
	traced := otelhttp.NewTransport(withQuery{client.Transport, query},
		otelhttp.WithTracerProvider(set.TracerProvider), otelhttp.WithMeterProvider(set.MeterProvider),
		otelhttp.WithPropagators(otel.GetTextMapPropagator()))
	client.Transport = closing{traced, client.Transport}
	return client, url, nil
}

// clientConfig is the configuration of the HTTP client, with an idle connection for each request in flight: Go's default of two
// would open a connection for almost every request.
func (c *Config) clientConfig() *confighttp.ClientConfig {
	of := c.HTTP
	keepalive := keepaliveOf(&of)
	if keepalive == nil {
		//lint:ignore SA1019 ToClient looks at it
		of.DisableKeepAlives = true
		return &of
	}
	all := *keepalive
	if all.MaxIdleConnsPerHost == 0 {
		all.MaxIdleConnsPerHost = c.maxInFlight()
		if all.MaxIdleConns != 0 {
			all.MaxIdleConns = max(all.MaxIdleConns, c.maxInFlight())
		}
	}
	of.Keepalive = configoptional.Some(all)
	return &of
}

// withQuery adds the query of the endpoint to each request. It may hold a secret, like an API key, and the spans above tell the
// URL of their request and its error; whoever signs a request is below.
type withQuery struct {
	http.RoundTripper
	query string
}

// RoundTrip implements http.RoundTripper.
func (q withQuery) RoundTrip(r *http.Request) (*http.Response, error) {
	if q.query != "" {
		r = r.Clone(r.Context())
		r.URL.RawQuery = q.query
	}
	resp, err := q.RoundTripper.RoundTrip(r)
	return resp, remote.WithoutSecrets(err)
}

// closing is a transport whose idle connections are those of another one beneath it, which otelhttp does not close.
type closing struct {
	http.RoundTripper
	beneath http.RoundTripper
}

// CloseIdleConnections does what http.Client's method of that name asks for. What the Collector puts around a transport for
// headers and authentication does not: then they stay until they have been idle for too long.
func (c closing) CloseIdleConnections() {
	if beneath, ok := c.beneath.(interface{ CloseIdleConnections() }); ok {
		beneath.CloseIdleConnections()
	}
}
