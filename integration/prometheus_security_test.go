// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"fmt"
	"log"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/open-telemetry/opentelemetry-collector-contrib/extension/basicauthextension"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/extension"
	"go.opentelemetry.io/collector/extension/extensiontest"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.uber.org/zap/zapcore"

	"github.com/orderedremotewrite/orderedremotewriteexporter/integration/internal/output"
	"github.com/orderedremotewrite/orderedremotewriteexporter/integration/internal/promserver"
	"github.com/orderedremotewrite/orderedremotewriteexporter/integration/internal/rig"
)

const (
	user     = "wri-ter"
	password = "s3cr3t-p4ss"
	token    = "t0k3n-value"
)

// basicAuth returns the Collector's basicauth extension, started, as basicauth/write.
func basicAuth(t *testing.T, password string) map[component.ID]component.Component {
	t.Helper()
	return authenticator(t, basicauthextension.NewFactory(), `client_auth: {username: `+user+`, password: `+password+`}`)
}

// authenticator returns an extension of the Collector, started, under the name write.
func authenticator(t *testing.T, factory extension.Factory, yaml string) map[component.ID]component.Component {
	t.Helper()
	retrieved, err := confmap.NewRetrievedFromYAML([]byte(yaml))
	require.NoError(t, err)
	conf, err := retrieved.AsConf()
	require.NoError(t, err)
	cfg := factory.CreateDefaultConfig()
	require.NoError(t, conf.Unmarshal(cfg))
	require.NoError(t, confmap.Validate(cfg))
	auth, err := factory.Create(context.Background(), extensiontest.NewNopSettings(factory.Type()), cfg)
	require.NoError(t, err)
	require.NoError(t, auth.Start(context.Background(), &rig.Host{}))
	t.Cleanup(func() { require.NoError(t, auth.Shutdown(context.Background())) })
	return map[component.ID]component.Component{component.NewIDWithName(factory.Type(), "write"): auth}
}

// demandPassword makes a server answer 401 to who does not have the password.
func demandPassword(server *promserver.Server) {
	server.Intercept(func(r *promserver.Request) promserver.Fault {
		request := http.Request{Header: r.Header}
		if u, p, ok := request.BasicAuth(); ok && u == user && p == password {
			return promserver.Fault{}
		}
		return promserver.Fault{Status: http.StatusUnauthorized, Body: "Unauthorized"}
	})
}

// assertSecret asserts that no secret shows in what the exporter has told: its log, spans, metrics and status. The spans of
// the Collector's HTTP client have the URL with its query, but never with a password.
func assertSecret(t *testing.T, exporter *rig.Exporter, secrets ...string) {
	t.Helper()
	told := []string{exporter.LogText()}
	for _, event := range exporter.Host.Events() {
		told = append(told, fmt.Sprintf("%v %+v", event.Err(), event.Attributes().AsRaw()))
	}
	for _, span := range exporter.Telemetry.SpanRecorder.Ended() {
		told = append(told, span.Name(), span.Status().Description, fmt.Sprint(span.Events()))
		for _, a := range span.Attributes() {
			if a.Key == "url.full" {
				assert.NotContains(t, a.Value.String(), password)
				continue
			}
			told = append(told, string(a.Key)+"="+a.Value.String())
		}
	}
	var collected metricdata.ResourceMetrics
	require.NoError(t, exporter.Telemetry.Reader.Collect(context.Background(), &collected))
	told = append(told, fmt.Sprintf("%+v", collected))
	text := strings.Join(told, "\n")
	require.Greater(t, len(text), 200)
	for _, secret := range secrets {
		assert.NotContains(t, text, secret)
	}
}

// captureStandardLog returns what is written to the log of Go's standard library, which no exporter should use.
func captureStandardLog(t *testing.T) *output.Buffer {
	t.Helper()
	var buf output.Buffer
	before := log.Writer()
	log.SetOutput(&buf)
	t.Cleanup(func() { log.SetOutput(before) })
	return &buf
}

func TestPrometheusBehindTLSAndBasicAuthIsWrittenTo(t *testing.T) {
	now := start()
	server := promserver.Start(t, promserver.WithTLS())
	demandPassword(server)
	exporter := rig.StartWith(t, basicAuth(t, password), server.Endpoint(),
		`http: {auth: {authenticator: basicauth/write}, tls: {ca_file: "`+server.CAFile()+`"}, headers: {X-Token: `+token+`}}`)
	exporter.Send(gauges(100, allAt(now)).Metrics)
	accounts := exporter.Close()
	assert.Equal(t, int64(100), accounts.Delivered)
	assertStored(t, server, accounts)
	for _, r := range server.Requests() {
		assert.Equal(t, token, r.Header.Get("X-Token"))
		assert.Equal(t, "snappy", r.Header.Get("Content-Encoding"))
		assert.Equal(t, "0.1.0", r.Header.Get("X-Prometheus-Remote-Write-Version"))
	}
	assertSecret(t, exporter, password, token)
}

// The password of the URL is used for the request, and shown nowhere.
func TestPrometheusIsWrittenToWithThePasswordOfTheURL(t *testing.T) {
	server := promserver.Start(t)
	demandPassword(server)
	exporter := rig.Start(t, "http://"+user+":"+password+"@"+server.Address()+"/api/v1/write?token="+token, "")
	exporter.Send(gauges(100, allAt(start())).Metrics)
	accounts := exporter.Close()
	assert.Equal(t, int64(100), accounts.Delivered)
	assertStored(t, server, accounts)
	assertSecret(t, exporter, password, token)
}

// A wrong password pauses the exporter, which is told without the password: what was refused is dropped, and what comes after
// it waits, except for the 100 samples of a probe. When the server takes the password, the rest is delivered.
func TestPrometheusRefusesAWrongPasswordUntilItIsTheRightOne(t *testing.T) {
	const wrong = "wr0ng-p4ss"
	now := start()
	server := promserver.Start(t)
	server.Intercept(func(r *promserver.Request) promserver.Fault {
		request := http.Request{Header: r.Header}
		if u, p, ok := request.BasicAuth(); ok && u == user && p == wrong && r.Number > 2 {
			return promserver.Fault{}
		}
		return promserver.Fault{Status: http.StatusUnauthorized, Body: "Unauthorized"}
	})
	exporter := rig.StartWith(t, basicAuth(t, wrong), server.Endpoint(), "{partitions: 1, http: {auth: {authenticator: basicauth/write}}}")
	exporter.SendAndSettle(gauges(10, allAt(now)).Metrics)
	require.Eventually(t, func() bool { return len(exporter.Host.Events()) > 0 }, patience, time.Millisecond)
	assert.Equal(t, []componentstatus.Status{componentstatus.StatusRecoverableError}, exporter.Host.Statuses())
	assert.ErrorContains(t, exporter.Host.Events()[0].Err(), "401 Unauthorized")
	paused := exporter.Logs.FilterLevelExact(zapcore.ErrorLevel).All()
	require.Len(t, paused, 1)
	assert.Regexp(t, "^Paused: .*http.auth", paused[0].Message)
	assert.Zero(t, server.Stored())

	exporter.SendAndSettle(gauges(250, allAt(now.Add(time.Second))).Metrics)
	require.Eventually(t, func() bool { return len(exporter.Host.Events()) > 1 }, patience, time.Millisecond)
	assert.Equal(t, []componentstatus.Status{componentstatus.StatusRecoverableError, componentstatus.StatusOK}, exporter.Host.Statuses())
	accounts := exporter.Close()
	assert.Equal(t, map[rig.Drop]int64{{Reason: "fatal", Status: http.StatusUnauthorized}: 10 + 100}, accounts.Dropped)
	assert.Equal(t, int64(150), accounts.Delivered)
	assertStored(t, server, accounts)
	var samples []int
	for _, r := range server.Requests() {
		samples = append(samples, server.Message(&r).Samples())
	}
	assert.Equal(t, []int{10, 100, 100, 50}, samples)
	assertSecret(t, exporter, wrong)
}

// Whatever goes wrong with a connection, what is told of it has neither the password nor the query of the URL.
func TestPrometheusOutOfReachIsToldWithoutSecrets(t *testing.T) {
	const secrets = user + ":" + password + "@"
	for _, tc := range []struct {
		name string
		// endpoint is the URL of a server that cannot be written to.
		endpoint func(*testing.T) string
		config   string
		answer   string
	}{
		{
			name: "nobody listens",
			endpoint: func(t *testing.T) string {
				server := promserver.Start(t)
				server.Stop()
				return "http://" + secrets + server.Address() + "/api/v1/write?token=" + token
			},
			answer: "connection refused",
		},
		{
			name: "unknown certificate",
			endpoint: func(t *testing.T) string {
				return "https://" + secrets + promserver.Start(t, promserver.WithTLS()).Address() + "/api/v1/write?token=" + token
			},
			answer: "certificate",
		},
		{
			name: "no TLS",
			endpoint: func(t *testing.T) string {
				return "https://" + secrets + promserver.Start(t).Address() + "/api/v1/write?token=" + token
			},
			answer: "HTTP response to HTTPS client",
		},
		{
			name: "a slow answer",
			endpoint: func(t *testing.T) string {
				server := promserver.Start(t)
				hold := make(chan struct{})
				t.Cleanup(func() { close(hold) })
				server.Intercept(func(*promserver.Request) promserver.Fault { return promserver.Fault{Until: hold} })
				return "http://" + secrets + server.Address() + "/api/v1/write?token=" + token
			},
			config: ", http: {timeout: 50ms}",
			answer: "http.timeout .50ms.",
		},
		{
			name: "a lost answer",
			endpoint: func(t *testing.T) string {
				server := promserver.Start(t)
				server.Intercept(func(*promserver.Request) promserver.Fault { return promserver.Fault{LoseAnswer: true} })
				return "http://" + secrets + server.Address() + "/api/v1/write?token=" + token
			},
			answer: "EOF",
		},
		{
			name: "a redirect to nowhere",
			endpoint: func(t *testing.T) string {
				server := promserver.Start(t)
				server.Intercept(func(*promserver.Request) promserver.Fault {
					return promserver.Fault{
						Status: http.StatusTemporaryRedirect,
						Header: map[string]string{"Location": "http://" + secrets + "elsewhere/?token=" + token},
					}
				})
				return "http://" + secrets + server.Address() + "/api/v1/write?token=" + token
			},
			config: ", on_error: {fatal: retry}",
			answer: "307 Temporary Redirect",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			standard := captureStandardLog(t)
			endpoint := tc.endpoint(t)
			exporter := rig.Start(t, endpoint, "{partitions: 1, retry_on_failure: {max_retries: 3}"+tc.config+"}")
			exporter.SendAndSettle(gauges(10, allAt(start())).Metrics)
			accounts := exporter.Close()
			require.Len(t, accounts.Dropped, 1)
			for drop, n := range accounts.Dropped {
				assert.Equal(t, "retries_exhausted", drop.Reason)
				assert.Equal(t, int64(10), n)
			}
			lines := droppedLines(exporter, "retries_exhausted")
			require.Len(t, lines, 1)
			assert.Regexp(t, tc.answer, lines[0]["answer"])
			assertSecret(t, exporter, password, token)
			assert.NotContains(t, standard.String(), password)
		})
	}
}
