// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
)

// TestRandomClients: whatever http is configured to, everything arrives at servers of HTTP/1.1 and HTTP/2.
func TestRandomClients(t *testing.T) {
	const payloads, series = 20, 40
	r := &randomConfigs{Rand: rand.New(rand.NewPCG(seed(t), 3)), keys: readSchema(t).keys(t)}
	keys := slices.DeleteFunc(r.settable(), func(key string) bool {
		// Requests that take longer than the timeout need not arrive.
		return !strings.HasPrefix(key, "http.") || key == "http.timeout"
	})
	tried := 0
	for tried < 12 {
		set := make(map[string]any)
		for range r.IntN(len(keys)) {
			key := keys[r.IntN(len(keys))]
			set[key] = r.value(key)
		}
		cfg, err := load(conf(t, set))
		if err != nil {
			continue
		}
		tried++
		var receiver rwtest.Receiver
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			http.SetCookie(w, &http.Cookie{Name: "a", Value: "b"})
			receiver.ServeHTTP(w, r)
		}))
		server.Config.ErrorLog = log.New(io.Discard, "", 0)
		server.EnableHTTP2 = r.IntN(2) == 0
		if encrypted := server.EnableHTTP2 || r.IntN(2) == 0; encrypted {
			server.StartTLS()
		} else {
			server.Start()
		}
		h := networked(t, server.URL, func(c *Config) {
			c.HTTP = cfg.HTTP
			c.HTTP.Endpoint, c.HTTP.TLS.InsecureSkipVerify = server.URL, true
		})
		h.handOver(payloads, series)
		h.shutdown()
		server.Close()
		assert.Equal(t, int64(payloads*series), h.delivered())
		assert.Empty(t, receiver.Problems())
		require.False(t, t.Failed(), "%v of %v", set, server.URL)
	}
}
