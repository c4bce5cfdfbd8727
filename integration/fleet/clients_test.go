// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
)

// clients hand their payloads to the first tier. Each has streams of its own, sends a payload until it is acknowledged, to one
// collector after the other, and then the next one.
type clients struct {
	t       *testing.T
	targets []pmetricotlp.GRPCClient
	// attribute, if there is one, is the host.name that the resources of a client's payload have.
	attribute func(payload int) string
	// again counts the calls that repeated a payload.
	again atomic.Int64

	mu       sync.Mutex
	payloads int
	expected map[string][]rwtest.Sample
}

func newClients(t *testing.T, targets ...*member) *clients {
	t.Helper()
	c := &clients{t: t, expected: make(map[string][]rwtest.Sample)}
	for _, m := range targets {
		conn, err := grpc.NewClient(m.otlp, grpc.WithTransportCredentials(insecure.NewCredentials()))
		require.NoError(t, err)
		t.Cleanup(func() { assert.NoError(t, conn.Close()) })
		c.targets = append(c.targets, pmetricotlp.NewGRPCClient(conn))
	}
	return c
}

// send sends a payload until it is acknowledged.
func (c *clients) send(md pmetric.Metrics) {
	request := pmetricotlp.NewExportRequestFromMetrics(md)
	for try := 0; ; try++ {
		c.mu.Lock()
		c.payloads++
		target := c.targets[c.payloads%len(c.targets)]
		c.mu.Unlock()
		ctx, cancel := context.WithTimeout(c.t.Context(), 3*time.Second)
		_, err := target.Export(ctx, request)
		cancel()
		if err == nil || c.t.Context().Err() != nil {
			return
		}
		c.again.Add(1)
		time.Sleep(10 * time.Millisecond)
	}
}

// load is what each client sends: rounds of streams of their own.
type load struct {
	// points is how many points a stream has.
	points int
	// pause is the time between two payloads.
	pause time.Duration
	// rounds is how many rounds there are; 0 is to go on until stop.
	rounds int
	stop   atomic.Bool
}

// numbers tells the rounds of all clients apart.
var numbers atomic.Int64

// run lets four clients send.
func (c *clients) run(l *load) {
	var done sync.WaitGroup
	for range 4 {
		done.Go(func() {
			for round := 0; !l.stop.Load() && (l.rounds == 0 || round < l.rounds); round++ {
				c.round(l)
			}
		})
	}
	done.Wait()
}

// background lets clients send until the returned function is called, which returns when they have ended.
func (c *clients) background(l *load) (end func()) {
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.run(l)
	}()
	return func() {
		l.stop.Store(true)
		<-ended
	}
}

// round sends all points of a resource's streams.
func (c *clients) round(l *load) {
	number := numbers.Add(1)
	p := rwtest.Payloads{
		Seed: uint64(number), Streams: 60, Points: l.points, StreamsPerPayload: 30, Start: time.Now().Add(-20 * time.Minute),
		Kinds: []pmetric.MetricType{pmetric.MetricTypeGauge, pmetric.MetricTypeSum},
	}.Split()[0]
	instance := fmt.Sprintf("producer-%d", number)
	for payload := 0; ; payload++ {
		md, ok := p.Next()
		if !ok {
			break
		}
		for _, rm := range md.ResourceMetrics().All() {
			rm.Resource().Attributes().PutStr("service.instance.id", instance)
			if c.attribute != nil {
				rm.Resource().Attributes().PutStr("host.name", c.attribute(payload))
			}
		}
		c.send(md)
		time.Sleep(l.pause)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for series, samples := range p.Expected() {
		c.expected[strings.Replace(series, `instance="producer-0"`, fmt.Sprintf(`instance=%q`, instance), 1)] = samples
	}
}
