// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"context"
	"maps"
	"net/http"
	"slices"
	"strings"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/config/configmiddleware"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/extension/extensionmiddleware"
	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/metadata"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/remote"
)

// httpClient makes the client of the endpoint, which may need extensions of the host, and returns the URL that it is given.
func (c *Config) httpClient(ctx context.Context, host component.Host, set component.TelemetrySettings) (_ *http.Client, url string, _ error) {
	url, query, _ := strings.Cut(c.HTTP.Endpoint, "?")
	// Without providers there are no spans in it yet: they are added below, without the query.
	bare := set
	bare.TracerProvider, bare.MeterProvider = nil, nil
	with, pools := c.clientConfig(), &pools{}
	client, err := with.ToClient(ctx, pools.beneath(with, host.GetExtensions()), bare)
	if err != nil {
		return nil, "", err
	}
	traced := otelhttp.NewTransport(withQuery{client.Transport, query},
		otelhttp.WithTracerProvider(set.TracerProvider), otelhttp.WithMeterProvider(set.MeterProvider),
		otelhttp.WithPropagators(otel.GetTextMapPropagator()))
	client.Transport = closing{traced, pools}
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
	if err != nil {
		err = remote.Short(remote.WithoutSecrets(err))
	}
	return resp, err
}

// closing is a transport that can close its idle connections, which those of otelhttp and of the Collector's headers and
// authenticators cannot: they hide the one that has them.
type closing struct {
	http.RoundTripper
	*pools
}

// pools are the transports that may have idle connections: the Collector's own, and that of the user's middlewares.
type pools struct {
	component.StartFunc
	component.ShutdownFunc
	of []http.RoundTripper
}

// beneath has the configuration show p its transports when the client is made, by means of a middleware around those of the
// user and one beneath them, and returns the extensions that it needs for that.
func (p *pools) beneath(of *confighttp.ClientConfig, extensions map[component.ID]component.Component) map[component.ID]component.Component {
	id := component.NewIDWithName(metadata.Type, "connections")
	seen := configmiddleware.Config{ID: id}
	of.Middlewares = slices.Concat([]configmiddleware.Config{seen}, of.Middlewares, []configmiddleware.Config{seen})
	all := maps.Clone(extensions)
	if all == nil {
		all = map[component.ID]component.Component{}
	}
	all[id] = p
	return all
}

// GetHTTPRoundTripper implements extensionmiddleware.HTTPClient.
func (p *pools) GetHTTPRoundTripper(context.Context) (extensionmiddleware.WrapHTTPRoundTripperFunc, error) {
	return func(_ context.Context, transport http.RoundTripper) (http.RoundTripper, error) {
		p.of = append(p.of, transport)
		return transport, nil
	}, nil
}

// CloseIdleConnections does what http.Client's method of that name asks for.
func (p *pools) CloseIdleConnections() {
	for _, transport := range p.of {
		if pool, ok := transport.(interface{ CloseIdleConnections() }); ok {
			pool.CloseIdleConnections()
		}
	}
}
