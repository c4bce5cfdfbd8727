// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"
)

// generator sends payloads over several connections.
//
// A payload is one of those that together have all series once, in turn. A series always travels over the same
// connection, one payload at a time, so its samples leave in order.
type generator struct {
	template    *payload
	series      int // points with different attributes
	connections int
	rate        int // points per second over all connections; 0 is as fast as the collector accepts them
	window      int // payloads on their way from here to the sink, at most; 0 is no limit
	sink        *sink

	mu   sync.Mutex
	sent int // payloads that were accepted or are being sent
}

// exportMethod is the one of OTLP over gRPC.
const exportMethod = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"

func (g *generator) check() error {
	if g.series <= 0 || g.series%(g.template.points*g.connections) != 0 {
		return fmt.Errorf("%d series are not a multiple of the %d points of a payload for each of %d connections",
			g.series, g.template.points, g.connections)
	}
	return nil
}

// run sends so many payloads, or fewer if ctx ends, which is no error. It returns how many points were accepted.
func (g *generator) run(ctx context.Context, endpoint string, payloads int) (points int, err error) {
	if err := g.check(); err != nil {
		return 0, err
	}
	g.sent = 0
	started := time.Now()
	accepted := make([]int, g.connections)
	errs := make([]error, g.connections)
	var wg sync.WaitGroup
	for c := range g.connections {
		wg.Go(func() { accepted[c], errs[c] = g.connection(ctx, endpoint, c, payloads, started) })
	}
	wg.Wait()
	for _, n := range accepted {
		points += n * g.template.points
	}
	return points, errors.Join(errs...)
}

// connection sends the payloads of one connection and returns how many were accepted.
func (g *generator) connection(ctx context.Context, endpoint string, c, payloads int, started time.Time) (accepted int, err error) {
	conn, err := grpc.NewClient(endpoint,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.ForceCodecV2(rawCodec{}), grpc.WaitForReady(true)))
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	p := g.template.clone()
	perRound := g.series / p.points
	for n := c; n < payloads; n += g.connections {
		if !g.wait(ctx, n, started) {
			return accepted, nil
		}
		round, place := n/perRound, n%perRound
		p.set(place*p.points, uint64(started.Add(time.Duration(round)*time.Second).UnixNano()))
		var answer []byte
		if err := conn.Invoke(context.WithoutCancel(ctx), exportMethod, p.body, &answer); err != nil {
			return accepted, err
		}
		// An empty PartialSuccess is two bytes.
		if len(answer) > 2 {
			return accepted, fmt.Errorf("the collector accepted only a part: %q", answer)
		}
		accepted++
	}
	return accepted, nil
}

// wait waits until payload n is due and the window has room for it. It returns false if ctx has ended.
func (g *generator) wait(ctx context.Context, n int, started time.Time) bool {
	if g.rate > 0 {
		due := started.Add(time.Duration(float64(n*g.template.points) / float64(g.rate) * float64(time.Second)))
		select {
		case <-time.After(time.Until(due)):
		case <-ctx.Done():
		}
	}
	if g.window > 0 {
		g.sink.waitUntil(ctx, func(arrived int) bool {
			g.mu.Lock()
			defer g.mu.Unlock()
			if g.sent-arrived/(g.template.points*g.template.samples) >= g.window {
				return false
			}
			g.sent++
			return true
		})
	}
	return ctx.Err() == nil
}

// rawCodec takes messages that are marshalled already.
type rawCodec struct{}

// Name is that of the codec whose messages these are.
func (rawCodec) Name() string { return "proto" }

// Marshal takes a message of type []byte.
func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}

// Unmarshal takes a *[]byte for the message.
func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}
