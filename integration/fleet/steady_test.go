// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

// TestFleet: two routers, between which each client alternates, and three gateways. Each series has one writer and arrives
// in its order, and the accounts of all gateways together are what the clients have sent.
func TestFleet(t *testing.T) {
	b := newBackend(t)
	f := newTiers(t, b, settings{})
	c := newClients(t, f.routers...)
	c.run(&load{points: 100, pause: 5 * time.Millisecond, rounds: 4})
	f.drain()

	assert.True(t, assert.ObjectsAreEqual(c.expected, b.delivered()), "what is stored is what was sent, in its order")
	assert.Empty(t, b.Problems())
	assertOneWriter(t, b, f.gateways)
	sent := count(c.expected)
	a := f.accounts()
	assert.Zero(t, c.again.Load(), "payloads that were not taken at once")
	assert.Equal(t, sent, a.received)
	assert.Equal(t, sent, a.delivered)
	assert.Empty(t, a.dropped)
	t.Logf("%d series, %d samples, %d requests, at most %d at once", len(c.expected), sent, b.Requests(), b.MaxParallel())
}

// TestOrdinaryLoadBalancer is what happens without the first tier: a load balancer gives the payloads of a client to one gateway
// after the other. It shows that these tests would see what they look for.
func TestOrdinaryLoadBalancer(t *testing.T) {
	b := newBackend(t)
	f := newTiers(t, b, settings{})
	c := newClients(t, f.gateways...)
	c.run(&load{points: 100, pause: 5 * time.Millisecond, rounds: 1})
	f.drain()

	assert.Empty(t, b.missing(c.expected), "this backend takes everything in any order")
	assert.NotEmpty(t, b.OutOfOrder())
	assert.NotEmpty(t, b.Overlaps())
	t.Logf("%d of %d samples out of order", len(b.OutOfOrder()), count(c.expected))
}

// TestFleetWithAQueueBetweenItsTiers is what happens if the routers' exporters keep their queue, whose consumers overtake each
// other: what comes late at the gateways is dropped there, and counted.
func TestFleetWithAQueueBetweenItsTiers(t *testing.T) {
	b := newBackend(t)
	f := newTiers(t, b, settings{router: "protocol: {otlp: {sending_queue: {enabled: true}}}"})
	c := newClients(t, f.routers...)
	c.run(&load{points: 100, pause: 5 * time.Millisecond, rounds: 4})
	for _, router := range f.routers {
		router.stop()
	}
	f.drain()

	lost, a := count(b.missing(c.expected)), f.accounts()
	assert.NotZero(t, lost)
	assert.Equal(t, map[string]int{"out_of_order": lost}, a.dropped)
	assert.Empty(t, b.OutOfOrder())
	t.Logf("%d of %d samples lost", lost, count(c.expected))
}
