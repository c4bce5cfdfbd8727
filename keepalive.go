// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import "go.opentelemetry.io/collector/config/confighttp"

// keepaliveOf returns the configuration of idle connections, or nil if there are none. Depending on a feature gate of
// confighttp, unmarshalling leaves the keepalive section where it is, so that none means that it is disabled, or moves it
// into the deprecated fields.
func keepaliveOf(c *confighttp.ClientConfig) *confighttp.KeepaliveClientConfig {
	if keepalive := c.Keepalive.Get(); keepalive != nil {
		return keepalive
	}
	defaults := confighttp.NewDefaultClientConfig()
	//lint:ignore SA1019 see above
	if defaults.Keepalive.HasValue() || c.DisableKeepAlives {
		return nil
	}
	return &confighttp.KeepaliveClientConfig{
		//lint:ignore SA1019 see above
		IdleConnTimeout: c.IdleConnTimeout,
		//lint:ignore SA1019 see above
		MaxIdleConns: c.MaxIdleConns,
		//lint:ignore SA1019 see above
		MaxIdleConnsPerHost: c.MaxIdleConnsPerHost,
	}
}
