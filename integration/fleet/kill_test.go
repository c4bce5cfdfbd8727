// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// TestFleetWithKilledGateways kills one gateway after the other with SIGKILL, under load, and boots it again with its storage.
// The first one is away until clients have given up and sent their payloads again. What is acknowledged to a client arrives,
// and each series in its order, since the list of gateways stays the same. A Prometheus has all of it too: what it refuses is
// what it has already.
func TestFleetWithKilledGateways(t *testing.T) {
	for name, tc := range map[string]struct {
		backend func(t *testing.T) *backend
		setting string
	}{
		"order":          {newBackend, ""},
		"Prometheus 1.0": {func(t *testing.T) *backend { return newPrometheus(t) }, inV1},
		"Prometheus 2.0": {func(t *testing.T) *backend { return newPrometheus(t) }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			b := tc.backend(t)
			f := newTiers(t, b, settings{gateway: tc.setting})
			c := newClients(t, f.routers...)
			l := &load{points: 100, pause: 5 * time.Millisecond}
			const kills = 6
			killGateways(f.gateways, kills, c, l, func() {
				eventually(t, func() bool { return c.again.Load() > 3 }, "payloads are sent again")
			})
			f.drain()

			assert.Empty(t, b.missing(c.expected), "samples that were acknowledged")
			assert.Len(t, b.delivered(), len(c.expected), "series")
			assert.Empty(t, b.Violations())
			assert.Empty(t, b.OutOfOrder())
			assert.Empty(t, b.Overlaps())
			assert.Empty(t, b.Conflicting())
			assertOneWriter(t, b, f.gateways)
			t.Logf("%d kills, %d series, %d samples, %d payloads sent again, %d samples stored again, %d answers 400, the last processes: %+v",
				kills, len(c.expected), count(c.expected), c.again.Load(), b.Redelivered(), b.Answered()[400].Requests, f.accounts())
		})
	}
}

// killGateways kills one gateway after the other and boots it again, while clients send. It calls away while the first one is
// away.
func killGateways(gateways []*member, kills int, c *clients, l *load, away func()) {
	end := c.background(l)
	for i := range kills {
		time.Sleep(time.Duration(300+rand.IntN(700)) * time.Millisecond)
		m := gateways[i%len(gateways)]
		m.kill()
		// What the backend has got from a process that is dead comes to its end.
		time.Sleep(200 * time.Millisecond)
		if i == 0 {
			away()
		}
		m.boot()
	}
	end()
}
