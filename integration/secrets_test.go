// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/orderedremotewrite/orderedremotewriteexporter/integration/internal/otelcol"
)

// refusing is an endpoint that answers with a status, and counts requests.
func refusing(t *testing.T, status int) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "no", status)
	}))
	t.Cleanup(server.Close)
	return server.URL + "/write"
}

// spans receives OTLP and keeps the bytes.
type spans struct {
	mu    sync.Mutex
	bytes bytes.Buffer
}

func (s *spans) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body := io.Reader(r.Body)
	if r.Header.Get("Content-Encoding") == "gzip" {
		unpacked, err := gzip.NewReader(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		body = unpacked
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, _ = s.bytes.ReadFrom(body) // what is missing, the test misses
	w.Header().Set("Content-Type", "application/x-protobuf")
}

func (s *spans) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.bytes.String()
}

// marked is in every secret of this test.
const marked = "S3CR3T"

// secretEnv are the secrets, as a collector gets them.
var secretEnv = []string{
	"BASIC_PASSWORD=" + marked + "-basic", "BEARER_TOKEN=" + marked + "-bearer", "CLIENT_SECRET=" + marked + "-client",
	"WRONG_SECRET=" + marked + "-wrong", "HEADER_TOKEN=" + marked + "-header", "URL_PASSWORD=" + marked + "-url",
	"PROXY_PASSWORD=" + marked + "-proxy", "QUERY_KEY=" + marked + "-query", "AWS_ACCESS_KEY_ID=example", "AWS_SECRET_ACCESS_KEY=" + marked + "-aws",
	"AWS_SESSION_TOKEN=" + marked + "-session",
}

// secretConfig has an exporter for each way to keep a secret. None of them can deliver, each for another reason. The verbs are
// the address of OTLP, the endpoints, and where traces and metrics go.
const secretConfig = `
receivers: {otlp: {protocols: {http: {endpoint: "%[1]s"}}}}
extensions:
  basicauth: {client_auth: {username: writer, password: "${env:BASIC_PASSWORD}"}}
  bearertokenauth: {token: "${env:BEARER_TOKEN}"}
  oauth2client: {client_id: writer, client_secret: "${env:CLIENT_SECRET}", token_url: "%[2]s/token"}
  oauth2client/wrong: {client_id: writer, client_secret: "${env:WRONG_SECRET}", token_url: "%[2]s/token"}
  sigv4auth: {region: eu-central-1, service: aps}
exporters:
  ordered_remote_write/basic: {http: {endpoint: "%[3]s", auth: {authenticator: basicauth}}}
  ordered_remote_write/bearer: {http: {endpoint: "%[4]s", auth: {authenticator: bearertokenauth}}}
  ordered_remote_write/oauth2: {http: {endpoint: "%[5]s", auth: {authenticator: oauth2client}}}
  ordered_remote_write/wrong: {http: {endpoint: "%[5]s", auth: {authenticator: oauth2client/wrong}}}
  ordered_remote_write/sigv4: {http: {endpoint: "%[6]s", auth: {authenticator: sigv4auth}}}
  ordered_remote_write/header: {http: {endpoint: "%[7]s", headers: {X-Token: "${env:HEADER_TOKEN}"}}}
  ordered_remote_write/url: {http: {endpoint: "http://writer:${env:URL_PASSWORD}@%[8]s/write"}}
  ordered_remote_write/query: {http: {endpoint: "http://%[8]s/write?key=${env:QUERY_KEY}"}}
  ordered_remote_write/proxy: {http: {endpoint: "https://%[8]s/write", proxy_url: "http://writer:${env:PROXY_PASSWORD}@%[8]s"}}
service:
  extensions: [basicauth, bearertokenauth, oauth2client, oauth2client/wrong, sigv4auth]
  pipelines: {metrics: {receivers: [otlp], exporters: [
    ordered_remote_write/basic, ordered_remote_write/bearer, ordered_remote_write/oauth2, ordered_remote_write/wrong,
    ordered_remote_write/sigv4, ordered_remote_write/header, ordered_remote_write/url, ordered_remote_write/query, ordered_remote_write/proxy]}}
  telemetry:
    logs: {level: debug}
    traces: {processors: [{simple: {exporter: {otlp: {protocol: http/protobuf, endpoint: "%[9]s"}}}}]}
    metrics: {level: detailed, readers: [{pull: {exporter: {prometheus: {host: 127.0.0.1, port: %[10]s}}}}]}
`

var secretExporters = []string{"basic", "bearer", "oauth2", "wrong", "sigv4", "header", "url", "query", "proxy"}

// Whatever keeps a secret, and whatever goes wrong: a collector at debug level tells no secret in its log, its metrics, its
// spans and its dead letters.
func TestNoSecretIsTold(t *testing.T) {
	tokens := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, secret, _ := r.BasicAuth(); secret != marked+"-client" {
			http.Error(w, `{"error": "invalid_client"}`, http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"access_token": "%s-access", "token_type": "Bearer", "expires_in": 3600}`, marked)
	}))
	defer tokens.Close()
	received := &spans{}
	traces := httptest.NewServer(received)
	defer traces.Close()
	otlp, telemetry, letters := otelcol.FreeAddress(t), otelcol.FreeAddress(t), t.TempDir()
	config := fmt.Sprintf(secretConfig, otlp, tokens.URL,
		refusing(t, http.StatusBadRequest), refusing(t, http.StatusUnauthorized), refusing(t, http.StatusInternalServerError),
		refusing(t, http.StatusForbidden), refusing(t, http.StatusNotFound), otelcol.FreeAddress(t), traces.URL+"/v1/traces",
		telemetry[strings.LastIndexByte(telemetry, ':')+1:])
	configs := []string{"yaml:" + config}
	for _, name := range secretExporters {
		configs = append(configs, "yaml:exporters::ordered_remote_write/"+name+": {dead_letter: {directory: "+letters+"}, batch: {flush_timeout: 10ms}, "+
			"retry_on_failure: {max_retries: 3, max_interval: 50ms}, shutdown_timeout: 100ms, log_examples: true}")
	}
	c := startCollector(t, secretEnv, configs...)
	c.WaitReady(t)
	sendGauge(t, otlp)
	var metrics string
	require.Eventually(t, func() bool {
		metrics, _ = get(t, "http://"+telemetry+"/metrics")
		for _, name := range secretExporters {
			if !regexp.MustCompile(`dropped_samples\{.*exporter="ordered_remote_write/` + name + `".*\} [1-9]`).MatchString(metrics) {
				return false
			}
		}
		return true
	}, time.Minute, 50*time.Millisecond, "every exporter drops")
	sendGauge(t, otlp)
	c.MustStop(t)

	told := map[string]string{"log": c.Log(), "metrics": metrics, "spans": received.String()}
	for _, name := range secretExporters {
		assert.Contains(t, told["log"], "ordered_remote_write/"+name, "the log tells of each exporter")
		assert.Contains(t, told["spans"], "exporter/ordered_remote_write/"+name+"/metrics")
		files, err := filepath.Glob(filepath.Join(letters, "ordered_remote_write%2F"+name, "*"))
		require.NoError(t, err)
		assert.GreaterOrEqual(t, len(files), 2, "dead letters of %s", name)
		for _, file := range files {
			text, err := os.ReadFile(file)
			require.NoError(t, err)
			told[file] = string(text)
		}
	}
	assert.Contains(t, told["log"], "\tdebug\t")
	secrets := []string{marked}
	for _, name := range []string{"basic", "url", "proxy", "client", "wrong"} {
		secrets = append(secrets, base64.StdEncoding.EncodeToString([]byte("writer:"+marked+"-"+name)))
	}
	for where, text := range told {
		for _, secret := range secrets {
			if i := strings.Index(text, secret); i >= 0 {
				assert.Failf(t, "a secret is told", "%s: %q", where, text[max(i-200, 0):min(i+100, len(text))])
			}
		}
	}
}
