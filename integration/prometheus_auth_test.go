// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/open-telemetry/opentelemetry-collector-contrib/extension/bearertokenauthextension"
	"github.com/open-telemetry/opentelemetry-collector-contrib/extension/oauth2clientauthextension"
	"github.com/open-telemetry/opentelemetry-collector-contrib/extension/sigv4authextension"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/orderedremotewrite/orderedremotewriteexporter/integration/internal/promserver"
	"github.com/orderedremotewrite/orderedremotewriteexporter/integration/internal/rig"
)

// demandBearer makes a server answer 401 to a token that is not valid.
func demandBearer(server *promserver.Server, valid func(token string) bool) {
	server.Intercept(func(r *promserver.Request) promserver.Fault {
		if given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer "); ok && valid(given) {
			return promserver.Fault{}
		}
		return promserver.Fault{Status: http.StatusUnauthorized, Body: "Unauthorized"}
	})
}

// sendUntil sends a sample of each of 40 series every second of the clock of the samples, until a condition holds.
func sendUntil(t *testing.T, exporter *rig.Exporter, at *time.Time, done func() bool) {
	t.Helper()
	require.Eventually(t, func() bool {
		*at = at.Add(time.Second)
		exporter.SendAndSettle(gauges(40, allAt(*at)).Metrics)
		return done()
	}, patience, 20*time.Millisecond)
}

// A token in a file is replaced while the exporter runs.
func TestPrometheusIsWrittenToWithABearerTokenOfAFile(t *testing.T) {
	const first, second = "f1rst-t0ken", "s3cond-t0ken"
	server := promserver.Start(t)
	var mu sync.Mutex
	accepted, seen := []string{first}, map[string]bool{}
	demandBearer(server, func(token string) bool {
		mu.Lock()
		defer mu.Unlock()
		seen[token] = true
		return slices.Contains(accepted, token)
	})
	accept := func(tokens ...string) {
		mu.Lock()
		defer mu.Unlock()
		accepted = tokens
	}
	file := filepath.Join(t.TempDir(), "token")
	require.NoError(t, os.WriteFile(file, []byte(first), 0o600))
	auth := authenticator(t, bearertokenauthextension.NewFactory(), "filename: "+file)
	exporter := rig.StartWith(t, auth, server.Endpoint(), `http: {auth: {authenticator: bearertokenauth/write}}`)

	at := start()
	exporter.SendAndSettle(gauges(40, allAt(at)).Metrics)
	accept(first, second)
	require.NoError(t, os.WriteFile(file, []byte(second), 0o600))
	sendUntil(t, exporter, &at, func() bool {
		mu.Lock()
		defer mu.Unlock()
		return seen[second]
	})
	accept(second)
	sendUntil(t, exporter, &at, func() bool { return true })

	accounts := exporter.Close()
	assert.Empty(t, accounts.Dropped)
	assertStored(t, server, accounts)
	assertSecret(t, exporter, first, second)
}

// tokenServer gives out OAuth 2.0 tokens for client credentials, each of which is used for one second: the client takes a new one
// ten seconds before the old one expires.
type tokenServer struct {
	*httptest.Server
	mu     sync.Mutex
	tokens []string
	wrong  int
}

const clientSecret = "cl1ent-s3cret"

func newTokenServer(t *testing.T) *tokenServer {
	s := &tokenServer{}
	s.Server = httptest.NewServer(s)
	t.Cleanup(s.Close)
	return s
}

func (s *tokenServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	id, secret, ok := r.BasicAuth()
	if !ok {
		id, secret = r.FormValue("client_id"), r.FormValue("client_secret")
	}
	if id != user || secret != clientSecret || r.FormValue("grant_type") != "client_credentials" {
		s.wrong++
		http.Error(w, `{"error": "invalid_client"}`, http.StatusUnauthorized)
		return
	}
	s.tokens = append(s.tokens, fmt.Sprintf("acc3ss-t0ken-%d", len(s.tokens)+1))
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"access_token": %q, "token_type": "Bearer", "expires_in": 11}`, s.tokens[len(s.tokens)-1])
}

// recent says whether a token is one of the two newest: one may be on its way while the next is given out.
func (s *tokenServer) recent(token string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Contains(s.tokens[max(len(s.tokens)-2, 0):], token)
}

func (s *tokenServer) given() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.tokens)
}

// oauth2 returns the Collector's oauth2client extension, started, as oauth2client/write.
func oauth2(s *tokenServer) string {
	return `{client_id: ` + user + `, client_secret: ` + clientSecret + `, token_url: "` + s.URL + `/token", expiry_buffer: 1s}`
}

// Tokens expire while the exporter runs, and none of them costs a sample.
func TestPrometheusIsWrittenToWithOAuth2TokensThatExpire(t *testing.T) {
	tokens := newTokenServer(t)
	server := promserver.Start(t)
	demandBearer(server, tokens.recent)
	auth := authenticator(t, oauth2clientauthextension.NewFactory(), oauth2(tokens))
	exporter := rig.StartWith(t, auth, server.Endpoint(), `http: {auth: {authenticator: oauth2client/write}}`)
	at := start()
	sendUntil(t, exporter, &at, func() bool { return tokens.given() >= 4 })
	accounts := exporter.Close()
	assert.Empty(t, accounts.Dropped)
	assert.Len(t, server.Requests(), len(server.Answered(http.StatusNoContent)))
	assert.Greater(t, len(server.Requests()), tokens.given(), "a token is used for as long as it is valid")
	assertStored(t, server, accounts)
	assert.Zero(t, tokens.wrong)
	assertSecret(t, exporter, clientSecret, "acc3ss-t0ken")
}

// A token is revoked before its time: that pauses the exporter until it has another one. What was refused is dropped and
// counted; everything else is delivered.
func TestPrometheusIsWrittenToAfterAnOAuth2TokenWasRevoked(t *testing.T) {
	tokens := newTokenServer(t)
	server := promserver.Start(t)
	var revoked sync.Map
	demandBearer(server, func(token string) bool {
		_, gone := revoked.Load(token)
		return !gone && tokens.recent(token)
	})
	auth := authenticator(t, oauth2clientauthextension.NewFactory(), oauth2(tokens))
	exporter := rig.StartWith(t, auth, server.Endpoint(), `{partitions: 1, http: {auth: {authenticator: oauth2client/write}}}`)
	at := start()
	exporter.SendAndSettle(gauges(40, allAt(at)).Metrics)
	sendUntil(t, exporter, &at, func() bool {
		tokens.mu.Lock()
		for _, token := range tokens.tokens {
			revoked.Store(token, true)
		}
		tokens.mu.Unlock()
		return len(server.Answered(http.StatusUnauthorized)) > 0
	})
	stored := server.Stored()
	sendUntil(t, exporter, &at, func() bool { return server.Stored() > stored })

	accounts := exporter.Close()
	refused := int64(0)
	for _, r := range server.Answered(http.StatusUnauthorized) {
		refused += int64(server.Message(&r).Samples())
	}
	assert.Equal(t, map[rig.Drop]int64{{Reason: "fatal", Status: http.StatusUnauthorized}: refused}, accounts.Dropped)
	assertStored(t, server, accounts)
	assertSecret(t, exporter, clientSecret, "acc3ss-t0ken")
}

const (
	accessKey = "AKIAEXAMPLE"
	secretKey = "aws-s3cret-k3y"
)

var signature = regexp.MustCompile(`^AWS4-HMAC-SHA256 Credential=(\w+)/\d{8}/eu-central-1/aps/aws4_request, SignedHeaders=([^,]+), Signature=\w+$`)

// signed says whether a request has the signature of what arrived: the same headers and the same body.
func signed(r *promserver.Request) error {
	given := r.Header.Get("Authorization")
	m := signature.FindStringSubmatch(given)
	if m == nil || m[1] != accessKey {
		return fmt.Errorf("no signature: %q", given)
	}
	again, err := http.NewRequest(http.MethodPost, "http://"+r.Host+r.Path, nil)
	if err != nil {
		return err
	}
	for _, name := range strings.Split(m[2], ";") {
		switch name {
		case "host":
		case "content-length":
			again.ContentLength = int64(len(r.Body))
		default:
			again.Header[http.CanonicalHeaderKey(name)] = r.Header.Values(name)
		}
	}
	at, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
	if err != nil {
		return err
	}
	hash := sha256.Sum256(r.Body)
	keys := aws.Credentials{AccessKeyID: accessKey, SecretAccessKey: secretKey}
	if err := v4.NewSigner().SignHTTP(context.Background(), keys, again, hex.EncodeToString(hash[:]), "aps", "eu-central-1", at); err != nil {
		return err
	}
	if expected := again.Header.Get("Authorization"); expected != given {
		return fmt.Errorf("signature is %q instead of %q", given, expected)
	}
	return nil
}

// Each request has an AWS signature of its own body, repeated ones too.
func TestPrometheusIsWrittenToWithSignaturesOfAWS(t *testing.T) {
	t.Setenv("AWS_ACCESS_KEY_ID", accessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", secretKey)
	inBothVersions(t, func(t *testing.T, v version) {
		server := promserver.Start(t)
		var mu sync.Mutex
		var wrong []error
		server.Intercept(func(r *promserver.Request) promserver.Fault {
			mu.Lock()
			defer mu.Unlock()
			if err := signed(r); err != nil {
				wrong = append(wrong, err)
				return promserver.Fault{Status: http.StatusForbidden, Body: "SignatureDoesNotMatch"}
			}
			if r.Number == 2 {
				return promserver.Fault{Status: http.StatusServiceUnavailable}
			}
			return promserver.Fault{}
		})
		auth := authenticator(t, sigv4authextension.NewFactory(), `{region: eu-central-1, service: aps}`)
		exporter := rig.StartWith(t, auth, server.Endpoint(), v.config, `http: {auth: {authenticator: sigv4auth/write}, headers: {X-Scope-OrgID: tenant}}`)
		at := start()
		for i := range 5 {
			exporter.SendAndSettle(gauges(40, allAt(at.Add(time.Duration(i)*time.Second))).Metrics)
		}
		accounts := exporter.Close()
		assert.Empty(t, wrong)
		assert.Empty(t, accounts.Dropped)
		assertStored(t, server, accounts)
		assertSecret(t, exporter, secretKey)
	})
}
