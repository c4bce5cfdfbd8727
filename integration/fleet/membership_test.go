// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/orderedremotewrite/orderedremotewriteexporter/integration/internal/promserver"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
)

// moved are the series that more than one gateway has sent.
func moved(b *backend, expected map[string][]rwtest.Sample) map[string]bool {
	series := make(map[string]bool)
	for key := range expected {
		if len(b.writersOf(key)) > 1 {
			series[key] = true
		}
	}
	return series
}

// TestFleetWithAnAddedGateway reloads the routers, one after the other and under load, with a list that has one gateway more,
// at a moment when the old ones do not reach the endpoint. What they have of the series that move arrives after what the new
// one sends. Prometheus refuses it: it is lost, counted to the sample, and it is of series that have moved. With a window for
// what is out of order, nothing is lost.
func TestFleetWithAnAddedGateway(t *testing.T) {
	for name, tc := range map[string]struct {
		options []promserver.Option
		setting string
		// lost says whether samples are lost, and others whether of series too that have not moved.
		lost, others bool
	}{
		"1.0":                 {nil, inV1, true, true},
		"2.0":                 {nil, "", true, false},
		"out-of-order window": {[]promserver.Option{promserver.WithOutOfOrderWindow(30 * time.Minute)}, "", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			b := newPrometheus(t, tc.options...)
			f := newTiers(t, b, settings{gateway: tc.setting})
			c := newClients(t, f.routers...)
			end := c.background(&load{points: 100, pause: 60 * time.Millisecond})
			eventually(t, func() bool { return b.stored() > 1000 }, "samples arrive")

			old := f.gateways
			b.setClosed(true, old...)
			eventually(t, func() bool { return total(old).open() > 1000 }, "samples wait in the old gateways")
			added := f.addGateway()
			f.writeList(f.gateways...)
			for _, router := range f.routers {
				router.reload()
			}
			eventually(t, func() bool { return added.accounts().delivered > 1000 }, "the new gateway delivers")
			b.setClosed(false, old...)
			end()
			f.drain()

			sent, missing, a := count(c.expected), b.missing(c.expected), f.accounts()
			lost, series := count(missing), moved(b, c.expected)
			require.NotEmpty(t, series)
			assert.Less(t, len(series), len(c.expected)/2, "most series stay where they are")
			stayed := 0
			for key, samples := range missing {
				if !series[key] {
					stayed += len(samples)
				}
			}
			assert.Equal(t, tc.lost, lost > 0, "%d samples lost", lost)
			assert.Equal(t, tc.others, stayed > 0, "%d samples lost of series that have not moved", stayed)
			// What a client sent again while a router was reloaded is received twice, and one of both is dropped.
			again := a.received - sent
			assert.Equal(t, lost+again, a.drops(), "every lost sample is counted: %+v", a)
			assert.Equal(t, sent-lost, a.delivered)
			assert.Equal(t, sent-lost, b.stored())
			assert.Empty(t, b.Violations())
			assert.Empty(t, b.Conflicting())
			t.Logf("%d of %d series moved, %d of %d samples lost, %d of them of others, %d received again, %+v", len(series), len(c.expected), lost, sent, stayed, again, a)
		})
	}
}

// TestFleetWithAnAddedGatewayAfterItIsDrained stops the routers, waits until the gateways have nothing left, and starts the
// routers with the longer list; then it takes a gateway away in the same way. The clients wait meanwhile. Nothing is lost, and
// each series arrives in its order, whoever sends it.
func TestFleetWithAnAddedGatewayAfterItIsDrained(t *testing.T) {
	b := newBackend(t)
	f := newTiers(t, b, settings{})
	c := newClients(t, f.routers...)
	end := c.background(&load{points: 100, pause: 60 * time.Millisecond})
	eventually(t, func() bool { return b.stored() > 1000 }, "samples arrive")

	change := func(gateways ...*member) {
		before := b.stored()
		for _, router := range f.routers {
			router.stop()
		}
		f.drain()
		f.writeList(gateways...)
		for _, router := range f.routers {
			router.boot()
		}
		eventually(t, func() bool { return b.stored() > before+5000 }, "samples arrive again")
	}
	f.addGateway()
	change(f.gateways...)
	change(f.gateways[1:]...)
	end()
	f.drain()

	assert.True(t, assert.ObjectsAreEqual(c.expected, b.delivered()), "what is stored is what was sent, in its order")
	assert.Empty(t, b.Problems())
	series := moved(b, c.expected)
	assert.NotEmpty(t, series)
	a := f.accounts()
	sent := count(c.expected)
	assert.Equal(t, sent, a.delivered)
	assert.Equal(t, a.received-sent, a.drops(), "what was received again: %+v", a)
	t.Logf("%d of %d series moved, %d samples, %d payloads sent again", len(series), len(c.expected), sent, c.again.Load())
}
