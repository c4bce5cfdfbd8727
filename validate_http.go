// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/confighttp"
)

// reservedHeaders are the headers that the protocol sets (Remote-Write 2.0, "Required Headers").
var reservedHeaders = []string{
	"Content-Encoding", "Content-Type", "User-Agent", "X-Prometheus-Remote-Write-Version", "Content-Length", "Transfer-Encoding",
}

// idempotencyHeaders have Go's transport send a request again by itself when a connection breaks that was in use before. Nobody would
// know then that the endpoint may have had the samples already; and to one that heeds the header, all requests would be the first.
var idempotencyHeaders = []string{"Idempotency-Key", "X-Idempotency-Key"}

// invalidURL is said instead of the URL.
const invalidURL = "not a valid URL (not shown, as it may hold a password, whose special characters must be percent-encoded)"

// unset is the most likely reason of an empty secret, without which data would go to somebody else or to nobody.
const unset = "(is an environment variable not set?)"

func (c *Config) validateHTTP() []error {
	endpoint, err := validateEndpoint(c.HTTP.Endpoint)
	errs := []error{err, validateProxy(c.HTTP.ProxyURL)}
	errs = append(errs, validateHeaders(&c.HTTP)...)
	errs = append(errs, validateCredentials(endpoint, &c.HTTP))
	if c.HTTP.Compression.IsCompressed() {
		errs = append(errs, fmt.Errorf("http.compression: must be empty or none, not %q: the Remote-Write protocol prescribes its own", c.HTTP.Compression))
	}
	if c.HTTP.CompressionParams.Level != 0 {
		errs = append(errs, errors.New("http.compression_params: has no effect, the Remote-Write protocol prescribes its own compression"))
	}
	errs = append(errs, inRange("http.timeout", c.HTTP.Timeout))
	errs = append(errs, validateConnections(&c.HTTP)...)
	errs = append(errs, validateEncryption(endpoint, &c.HTTP)...)
	return errs
}

// validateEndpoint never prints any part of the endpoint: it may hold a password, and the errors of net/url quote what
// they cannot parse, like a password with an unescaped slash that they take for a port. The URL is nil if it is wrong.
func validateEndpoint(endpoint string) (*url.URL, error) {
	if endpoint == "" {
		return nil, errors.New("http.endpoint: must be set to the URL of a Remote-Write endpoint, like http://localhost:9090/api/v1/write " + unset)
	}
	if strings.TrimSpace(endpoint) != endpoint {
		return nil, errors.New("http.endpoint: begins or ends with space or a line break")
	}
	if !hasScheme(endpoint, "http", "https") {
		return nil, errors.New("http.endpoint: must begin with http:// or https://")
	}
	u, err := url.Parse(endpoint)
	if err != nil {
		return nil, errors.New("http.endpoint: " + invalidURL)
	}
	if u.Fragment != "" || strings.HasSuffix(endpoint, "#") {
		return nil, errors.New("http.endpoint: has a # that is not percent-encoded, what follows it would not be sent")
	}
	if strings.Contains(u.EscapedPath(), "@") {
		return nil, errors.New("http.endpoint: has an @ in its path, percent-encode it as %40, or a / in a password as %2F")
	}
	if strings.Contains(u.RawQuery, " ") {
		return nil, errors.New("http.endpoint: has a space in its query, percent-encode it as %20")
	}
	if wrong := wrongHost(u); wrong != "" {
		return nil, errors.New("http.endpoint: " + wrong)
	}
	return u, nil
}

// validateProxy says what is wrong without printing the URL. The HTTP client would print it.
func validateProxy(proxy string) error {
	if proxy == "" {
		return nil
	}
	if !hasScheme(proxy, "http", "https", "socks5", "socks5h") {
		return errors.New("http.proxy_url: must begin with http://, https://, socks5:// or socks5h://")
	}
	u, err := url.ParseRequestURI(proxy)
	if err != nil {
		return errors.New("http.proxy_url: " + invalidURL)
	}
	if wrong := wrongHost(u); wrong != "" {
		return errors.New("http.proxy_url: " + wrong)
	}
	return nil
}

// hasScheme says whether a URL begins with one of the schemes. net/url cannot parse 10.0.0.1:9090/write, and would not say that it
// lacks one.
func hasScheme(s string, schemes ...string) bool {
	scheme, _, ok := strings.Cut(s, "://")
	return ok && slices.Contains(schemes, strings.ToLower(scheme))
}

// wrongHost says what is wrong with the host, port and user information of a URL, or "".
func wrongHost(u *url.URL) string {
	if u.Hostname() == "" {
		return "has no host " + unset
	}
	port, err := strconv.ParseUint(u.Port(), 10, 16)
	if strings.HasSuffix(u.Host, ":") || u.Port() != "" && (err != nil || port == 0) {
		return "the port must be from 1 to 65535"
	}
	if u.User != nil {
		password, has := u.User.Password()
		if u.User.Username() == "" || has && password == "" {
			return "has user information without a name or with an empty password " + unset
		}
	}
	return ""
}

func validateHeaders(client *confighttp.ClientConfig) (errs []error) {
	seen := make(map[string]string)
	for name, value := range client.Headers.Iter {
		canonical := http.CanonicalHeaderKey(name)
		other, twice := seen[canonical]
		seen[canonical] = name
		switch {
		case !isHeaderName(name):
			errs = append(errs, fmt.Errorf("http.headers: %q is not a valid header name", shownName(name)))
		case slices.Contains(reservedHeaders, canonical):
			errs = append(errs, fmt.Errorf("http.headers: %q is set by the Remote-Write protocol and cannot be overridden", name))
		case slices.Contains(idempotencyHeaders, canonical):
			errs = append(errs, fmt.Errorf("http.headers: %q must be another one for each request, and headers are the same for all", name))
		case twice && other != name: // the Collector's own type refuses the very same name twice
			errs = append(errs, fmt.Errorf("http.headers: %q and %q are one header", other, name))
		case strings.TrimSpace(string(value)) == "":
			errs = append(errs, fmt.Errorf("http.headers: the value of %q is empty %s", name, unset))
		case strings.ContainsFunc(string(value), isControl):
			errs = append(errs, fmt.Errorf("http.headers: the value of %q contains a line break or another control character", name))
		case canonical == "Host" && !isHost(string(value)):
			errs = append(errs, fmt.Errorf("http.headers: the value of %q must be a host name, with a port if need be", name))
		case canonical == "Authorization" || canonical == "Proxy-Authorization":
			if wrong := wrongAuthorization(string(value)); wrong != "" {
				errs = append(errs, fmt.Errorf("http.headers: the value of %q %s", name, wrong))
			}
		}
	}
	return errs
}

// authorizationSchemes are those that need credentials behind them.
var authorizationSchemes = []string{"apikey", "api-key", "basic", "bearer", "digest", "token"}

// wrongAuthorization says what is wrong with credentials (RFC 9110, section 11.4) without showing them, or "".
func wrongAuthorization(value string) string {
	scheme, credentials, _ := strings.Cut(strings.TrimSpace(value), " ")
	credentials = strings.TrimSpace(credentials)
	scheme = strings.ToLower(scheme)
	if credentials == "" {
		if slices.Contains(authorizationSchemes, scheme) {
			return "has nothing behind its scheme " + unset
		}
		return ""
	}
	if scheme != "basic" {
		return ""
	}
	plain, err := base64.StdEncoding.DecodeString(credentials)
	name, password, ok := bytes.Cut(plain, []byte(":"))
	switch {
	case err != nil || !ok:
		return "must be Basic and the base64 of name:password, the extension basicauth makes it"
	case len(name) == 0 && len(password) == 0:
		return "has neither name nor password " + unset
	}
	return ""
}

// validateCredentials refuses credentials of which the HTTP client would ignore some, and an authenticator without a
// name.
func validateCredentials(endpoint *url.URL, client *confighttp.ClientConfig) error {
	var given []string
	if endpoint != nil && endpoint.User != nil {
		given = append(given, "user information in http.endpoint")
	}
	for name := range client.Headers.Iter {
		if strings.EqualFold(name, "Authorization") {
			given = append(given, "Authorization in http.headers")
		}
	}
	if auth := client.Auth.Get(); auth != nil {
		if auth.AuthenticatorID == (component.ID{}) {
			return errors.New("http.auth.authenticator: must be the id of an authentication extension " + unset)
		}
		given = append(given, "http.auth")
	}
	if len(given) > 1 {
		return fmt.Errorf("http: only one can apply of %s", strings.Join(given, " and "))
	}
	return nil
}

// maxBuffer is the largest buffer of a connection. Each connection has two; one that cannot be had ends the process.
const maxBuffer = 16 << 20

// validateConnections checks the numbers of the Collector's HTTP client, which checks none.
func validateConnections(client *confighttp.ClientConfig) []error {
	errs := []error{
		notNegative("http.read_buffer_size", client.ReadBufferSize),
		atMost("http.read_buffer_size", client.ReadBufferSize, maxBuffer),
		notNegative("http.write_buffer_size", client.WriteBufferSize),
		atMost("http.write_buffer_size", client.WriteBufferSize, maxBuffer),
		notNegative("http.max_conns_per_host", client.MaxConnsPerHost),
		orZero("http.http2_read_idle_timeout", client.HTTP2ReadIdleTimeout),
		orZero("http.http2_ping_timeout", client.HTTP2PingTimeout),
		orZero("http.tls.reload_interval", client.TLS.ReloadInterval),
	}
	if client.HTTP2PingTimeout > 0 && client.HTTP2ReadIdleTimeout == 0 {
		errs = append(errs, errors.New("http.http2_ping_timeout: has no effect without http.http2_read_idle_timeout"))
	}
	for i, middleware := range client.Middlewares {
		if middleware.ID == (component.ID{}) {
			errs = append(errs, fmt.Errorf("http.middlewares[%d].id: must be the id of an extension %s", i, unset))
		}
	}
	keepalive := keepaliveOf(client)
	if keepalive == nil {
		return errs
	}
	total, host := keepalive.MaxIdleConns, keepalive.MaxIdleConnsPerHost
	errs = append(errs,
		orZero("http.keepalive.idle_conn_timeout", keepalive.IdleConnTimeout),
		notNegative("http.keepalive.max_idle_conns", total),
		notNegative("http.keepalive.max_idle_conns_per_host", host),
	)
	if total > 0 && host > total {
		errs = append(errs, fmt.Errorf("http.keepalive.max_idle_conns: %d is less than http.keepalive.max_idle_conns_per_host %d", total, host))
	}
	return errs
}

// validateEncryption refuses settings of http.tls that would be of no use, and names that the HTTP client would refuse when it starts.
func validateEncryption(endpoint *url.URL, client *confighttp.ClientConfig) (errs []error) {
	tls := &client.TLS
	authorities := tls.CAFile != "" || tls.CAPem != ""
	certificates := authorities || tls.CertFile != "" || tls.CertPem != "" || tls.KeyFile != "" || tls.KeyPem != ""
	var alone, suites, curves confighttp.ClientConfig
	alone.TLS.Insecure = true
	switch {
	case endpoint == nil:
	case endpoint.Scheme == "http" && certificates && !hasScheme(client.ProxyURL, "https"):
		errs = append(errs, errors.New("http.tls: certificates have no effect with an http.endpoint that begins with http://, nothing would be encrypted"))
	case endpoint.Scheme == "https" && tls.Insecure && !authorities && !reflect.DeepEqual(client.TLS, alone.TLS):
		errs = append(errs, errors.New("http.tls.insecure: leave it out, with an http.endpoint that begins with https:// and no authority of its own it takes away all other keys of http.tls"))
	}
	suites.TLS.CipherSuites, suites.TLS.IncludeInsecureCipherSuites = tls.CipherSuites, tls.IncludeInsecureCipherSuites
	curves.TLS.CurvePreferences = tls.CurvePreferences
	return append(errs, loadsTLS("http.tls.cipher_suites", &suites), loadsTLS("http.tls.curve_preferences", &curves))
}

// loadsTLS says what the HTTP client would say of a key of http.tls.
func loadsTLS(key string, client *confighttp.ClientConfig) error {
	_, err := client.TLS.LoadTLSConfig(context.Background())
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %s", key, withoutLines(err))
}

// isHost says whether a value is one for the header Host. Go sends an empty one instead of any other, and a proxy that tells its
// backends by it takes the data to another one.
func isHost(value string) bool {
	u, err := url.Parse("http://" + value)
	return err == nil && u.Host == value
}

// isHeaderName says whether s is a token (RFC 9110, section 5.6.2). With any other name no request could be sent, and
// that would look like an endpoint that cannot be reached.
func isHeaderName(s string) bool {
	return s != "" && validNamePrefix(s) == len(s)
}

// validNamePrefix is the number of bytes with which s begins like a header's name.
func validNamePrefix(s string) int {
	for i := range len(s) {
		c := s[i]
		alphanumeric := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
		if !alphanumeric && !strings.Contains("!#$%&'*+-.^_`|~", s[i:i+1]) {
			return i
		}
	}
	return len(s)
}

// shownName is what can be shown of a wrong name of a header: if it is a whole header, the rest is a secret.
func shownName(s string) string {
	n := validNamePrefix(s)
	if n < len(s) {
		return s[:n] + "..."
	}
	return s
}

// isControl says whether a header's value cannot have r, like the line break at the end of a file with a token.
func isControl(r rune) bool {
	return r < ' ' && r != '\t' || r == 0x7f
}
