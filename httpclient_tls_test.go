// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/remote"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// writeCertificate writes a certificate that has signed itself, and its key, in the place of others.
func writeCertificate(t *testing.T, name, certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1), net.IPv6loopback}, IsCA: true, BasicConstraintsValid: true,
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	der, err := x509.MarshalECPrivateKey(key)
	require.NoError(t, err)
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: cert}, keyFile: {Type: "EC PRIVATE KEY", Bytes: der}} {
		if file != "" {
			require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(block), 0o600))
		}
	}
}

// TestCertificatesOfFiles: the client's certificate and key are read again after http.tls.reload_interval, for new connections. While
// the two do not fit, nothing is sent. The authorities are read at the start only.
func TestCertificatesOfFiles(t *testing.T) {
	directory := t.TempDir()
	file := func(name string) string { return filepath.Join(directory, name) }
	var client string
	serve := func(name string) *httptest.Server {
		writeCertificate(t, name, file(name), file(name+".key"))
		cert, err := tls.LoadX509KeyPair(file(name), file(name+".key"))
		require.NoError(t, err)
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			client = r.TLS.PeerCertificates[0].Subject.CommonName
		}))
		server.Config.ErrorLog = log.New(io.Discard, "", 0)
		server.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, ClientAuth: tls.RequireAnyClientCert}
		server.StartTLS()
		t.Cleanup(server.Close)
		return server
	}
	server, renewed := serve("server"), serve("renewed")
	writeCertificate(t, "old", file("client"), file("client.key"))

	cfg := createDefaultConfig().(*Config)
	cfg.HTTP.Endpoint = server.URL
	cfg.HTTP.TLS.CAFile, cfg.HTTP.TLS.CertFile, cfg.HTTP.TLS.KeyFile = file("server"), file("client"), file("client.key")
	cfg.HTTP.TLS.ReloadInterval = time.Millisecond
	require.NoError(t, cfg.Validate())
	made, _, err := cfg.httpClient(t.Context(), componenttest.NewNopHost(), componenttest.NewNopTelemetrySettings())
	require.NoError(t, err)
	post := func(to *httptest.Server) *remote.Answer {
		time.Sleep(2 * cfg.HTTP.TLS.ReloadInterval)
		made.CloseIdleConnections()
		return remote.NewClient(made, to.URL, "agent", func(context.Context, remote.Exchange) {}).Post(t.Context(), wire.V1, nil, 1)
	}
	require.Equal(t, http.StatusOK, post(server).Status)
	assert.Equal(t, "old", client)

	writeCertificate(t, "new", file("client"), "")
	a := post(server)
	assert.ErrorContains(t, a, "private key does not match public key")
	assert.False(t, a.Unknown(), "nothing is sent in a handshake that fails")
	writeCertificate(t, "new", file("client"), file("client.key"))
	require.Equal(t, http.StatusOK, post(server).Status)
	assert.Equal(t, "new", client)

	authority, err := os.ReadFile(file("renewed"))
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file("server"), authority, 0o600))
	assert.Equal(t, http.StatusOK, post(server).Status)
	a = post(renewed)
	assert.ErrorContains(t, a, "certificate signed by unknown authority")
	assert.False(t, a.Unknown())
}
