// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/orderedremotewrite/orderedremotewriteexporter/integration/internal/otelcol"
	"github.com/orderedremotewrite/orderedremotewriteexporter/integration/internal/promserver"
	"github.com/orderedremotewrite/orderedremotewriteexporter/integration/internal/rig"
)

// authority is a private certificate authority.
type authority struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
	// file has its certificate.
	file string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "private authority"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	a := &authority{t: t, cert: cert, key: key, pool: x509.NewCertPool()}
	a.pool.AddCert(cert)
	a.file = a.write("CERTIFICATE", der)
	return a
}

func (a *authority) write(kind string, der []byte) string {
	file := filepath.Join(a.t.TempDir(), "file.pem")
	require.NoError(a.t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
	return file
}

// issue returns a certificate for a use, and the files with it and its key.
func (a *authority) issue(use x509.ExtKeyUsage) (pair tls.Certificate, certFile, keyFile string) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(a.t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "writer"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		ExtKeyUsage: []x509.ExtKeyUsage{use}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key)
	require.NoError(a.t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(a.t, err)
	certFile, keyFile = a.write("CERTIFICATE", der), a.write("PRIVATE KEY", keyDER)
	pair, err = tls.LoadX509KeyPair(certFile, keyFile)
	require.NoError(a.t, err)
	return pair, certFile, keyFile
}

// A server with a certificate of a private authority is written to by whoever has one for clients, and by nobody else.
func TestPrometheusIsWrittenToWithMutualTLS(t *testing.T) {
	private, stranger := newAuthority(t), newAuthority(t)
	pair, _, _ := private.issue(x509.ExtKeyUsageServerAuth)
	server := promserver.Start(t, promserver.WithTLSConfig(&tls.Config{
		Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: private.pool, MinVersion: tls.VersionTLS13,
	}))
	_, certFile, keyFile := private.issue(x509.ExtKeyUsageClientAuth)
	_, strangeCert, strangeKey := stranger.issue(x509.ExtKeyUsageClientAuth)
	for name, tc := range map[string]struct {
		tls string
		// answer is why nothing is delivered.
		answer string
	}{
		"both":                    {tls: `ca_file: ` + private.file + `, cert_file: ` + certFile + `, key_file: ` + keyFile},
		"no certificate":          {tls: `ca_file: ` + private.file, answer: "certificate required"},
		"one of another":          {tls: `ca_file: ` + private.file + `, cert_file: ` + strangeCert + `, key_file: ` + strangeKey, answer: "unknown certificate authority|bad certificate|certificate required"},
		"the system's authority":  {tls: `cert_file: ` + certFile + `, key_file: ` + keyFile, answer: "unknown authority"},
		"the authority of others": {tls: `ca_file: ` + stranger.file, answer: "unknown authority"},
	} {
		t.Run(name, func(t *testing.T) {
			before := server.Stored()
			exporter := rig.Start(t, server.Endpoint(), `{partitions: 1, retry_on_failure: {max_retries: 2}, http: {tls: {`+tc.tls+`}}}`)
			exporter.SendAndSettle(gauges(10, allAt(start())).Metrics)
			accounts := exporter.Close()
			if tc.answer == "" {
				assert.Equal(t, int64(10), accounts.Delivered)
				assert.Equal(t, before+10, server.Stored())
				return
			}
			assert.Equal(t, map[rig.Drop]int64{{Reason: "retries_exhausted"}: 10}, accounts.Dropped)
			assert.Equal(t, before, server.Stored())
			require.Len(t, droppedLines(exporter, "retries_exhausted"), 1)
			// Go's client may find the connection closed before it reads why the server closes it.
			var answers []string
			for _, entry := range exporter.Logs.FilterMessage("Sent a request.").All() {
				answers = append(answers, fmt.Sprint(entry.ContextMap()["answer"]))
			}
			assert.Regexp(t, tc.answer, strings.Join(answers, "\n"))
		})
	}
}

// Requests share a connection of HTTP/2, which ends while they are under way. The answers that are lost with it are of samples that
// are stored: Prometheus refuses those of a history the second time, and nothing else is dropped.
func TestPrometheusIsWrittenToOverHTTP2(t *testing.T) {
	server := promserver.Start(t, promserver.WithHTTP2())
	exporter := rig.Start(t, server.Endpoint(), `{batch: {max_samples: 20}, http: {tls: {ca_file: "`+server.CAFile()+`"}}}`)
	at := start()
	for i := range 20 {
		if i == 10 {
			server.Restart()
		}
		at = at.Add(time.Second)
		exporter.Send(gauges(200, allAt(at)).Metrics)
	}
	exporter.Settle()
	accounts := exporter.Close()
	stored := accounts.Delivered
	for drop, n := range accounts.Dropped {
		assert.Equal(t, rig.Drop{Reason: "refused_after_unknown", Status: http.StatusBadRequest}, drop)
		stored += n
	}
	assert.Equal(t, int64(20*200), stored)
	assert.Equal(t, 20*200, server.Stored())
	assert.Empty(t, server.Missing())
	for _, r := range server.Requests() {
		assert.Equal(t, "HTTP/2.0", r.Proto)
	}
}

func TestPrometheusIsWrittenToOverIPv6(t *testing.T) {
	if l, err := net.Listen("tcp", "[::1]:0"); err != nil {
		t.Skip("this machine has no IPv6: ", err)
	} else {
		require.NoError(t, l.Close())
	}
	server := promserver.Start(t, promserver.WithAddress("[::1]:0"))
	exporter := rig.Start(t, server.Endpoint())
	exporter.SendAndSettle(gauges(10, allAt(start())).Metrics)
	accounts := exporter.Close()
	assert.Equal(t, int64(10), accounts.Delivered)
	assertStored(t, server, accounts)
	assert.Contains(t, server.Requests()[0].Host, "[::1]:")
}

// proxy is a forward proxy that demands a password.
type proxy struct {
	*httptest.Server
	mu       sync.Mutex
	requests map[string]int // by method
	tunnels  sync.WaitGroup
	// ends are those of the tunnels; the lock guards them, and closed.
	ends   []net.Conn
	closed bool
}

func newProxy(t *testing.T) *proxy {
	p := &proxy{requests: map[string]int{}}
	p.Server = httptest.NewUnstartedServer(p)
	p.Config.ErrorLog = log.New(io.Discard, "", 0)
	p.Start()
	t.Cleanup(func() {
		p.Close()
		p.mu.Lock()
		p.closed = true
		for _, end := range p.ends {
			end.Close()
		}
		p.mu.Unlock()
		p.tunnels.Wait()
	})
	return p
}

func (p *proxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	given := http.Request{Header: http.Header{"Authorization": r.Header["Proxy-Authorization"]}}
	if u, pass, ok := given.BasicAuth(); !ok || u != user || pass != password {
		http.Error(w, "who are you?", http.StatusProxyAuthRequired)
		return
	}
	p.mu.Lock()
	p.requests[r.Method]++
	p.mu.Unlock()
	if r.Method == http.MethodConnect {
		p.tunnel(w, r)
		return
	}
	r.RequestURI = ""
	r.Header.Del("Proxy-Authorization")
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := transport.RoundTrip(r)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer resp.Body.Close()
	w.WriteHeader(resp.StatusCode)
	_, _ = io.Copy(w, resp.Body) // the client may be gone
}

func (p *proxy) tunnel(w http.ResponseWriter, r *http.Request) {
	there, err := net.Dial("tcp", r.Host)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	here, _, err := w.(http.Hijacker).Hijack()
	if err != nil {
		there.Close()
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		here.Close()
		there.Close()
		return
	}
	p.ends = append(p.ends, here, there)
	_, _ = io.WriteString(here, "HTTP/1.1 200 Connection established\r\n\r\n")
	for _, ends := range [][2]net.Conn{{here, there}, {there, here}} {
		p.tunnels.Go(func() {
			_, _ = io.Copy(ends[0], ends[1]) // until either end is closed
			here.Close()
			there.Close()
		})
	}
}

// A proxy with a password is between the exporter and the server; nothing that the exporter tells has the password.
func TestPrometheusIsWrittenToThroughAProxy(t *testing.T) {
	for name, tc := range map[string]struct {
		options []promserver.Option
		method  string
	}{
		"http":  {method: http.MethodPost},
		"https": {options: []promserver.Option{promserver.WithTLS()}, method: http.MethodConnect},
	} {
		t.Run(name, func(t *testing.T) {
			server := promserver.Start(t, tc.options...)
			p := newProxy(t)
			config := `http: {proxy_url: "http://` + user + ":" + password + "@" + p.Listener.Addr().String() + `"}`
			caFile := ""
			if len(tc.options) > 0 {
				caFile = `http: {tls: {ca_file: "` + server.CAFile() + `"}}`
			}
			exporter := rig.Start(t, server.Endpoint(), config, caFile)
			exporter.SendAndSettle(gauges(100, allAt(start())).Metrics)
			accounts := exporter.Close()
			assert.Equal(t, int64(100), accounts.Delivered)
			assertStored(t, server, accounts)
			assert.Positive(t, p.requests[tc.method])
			assert.Len(t, p.requests, 1)
			assertSecret(t, exporter, password)
		})
	}
}

// A proxy that refuses, or that is not there, is told without its password.
func TestProxyThatFailsIsToldWithoutItsPassword(t *testing.T) {
	const wrong = "wr0ng-p4ss"
	server := promserver.Start(t, promserver.WithTLS())
	refusing, gone := newProxy(t), otelcol.FreeAddress(t)
	for name, address := range map[string]string{"refuses": refusing.Listener.Addr().String(), "is not there": gone} {
		t.Run(name, func(t *testing.T) {
			exporter := rig.Start(t, server.Endpoint(),
				`{partitions: 1, retry_on_failure: {max_retries: 2}, http: {tls: {ca_file: "`+server.CAFile()+`"}, proxy_url: "http://`+user+":"+wrong+"@"+address+`"}}`)
			exporter.SendAndSettle(gauges(10, allAt(start())).Metrics)
			accounts := exporter.Close()
			assert.Equal(t, map[rig.Drop]int64{{Reason: "retries_exhausted"}: 10}, accounts.Dropped)
			assertSecret(t, exporter, wrong)
		})
	}
}
