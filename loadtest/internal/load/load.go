// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package load puts a collector between a generator and a receiver, both in this process, and measures it.
package load

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"net"
	"net/http"
	"time"

	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/collector"
	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/generate"
	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/receive"
	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/schedule"
	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/usage"
)

// Endpoint is a receiver that listens.
type Endpoint struct {
	*receive.Receiver
	URL    string
	server *http.Server
}

// Listen starts a receiver on the loopback interface.
func Listen(verifies bool, b receive.Behavior) (*Endpoint, error) {
	r, err := receive.New(verifies, b)
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	e := &Endpoint{r, "http://" + l.Addr().String() + "/api/v1/write", &http.Server{Handler: r}}
	go func() { _ = e.server.Serve(l) }()
	return e, nil
}

// Close stops listening.
func (e *Endpoint) Close() error { return e.server.Close() }

// Result is what one run has shown.
type Result struct {
	Exporter string
	// Points and Samples are what the collector has accepted, Delivered the samples that have come, once each.
	Points, Samples, Delivered int
	// Took is the time from the first point to the last request.
	Took time.Duration
	// Sending is the time from the first point until the last one was accepted, and Meanwhile the samples that came in it.
	// What comes after it has waited for more, which says nothing of what an exporter can do.
	Sending   time.Duration
	Meanwhile int
	// CPU is what the collector took, Own what generator and receiver took.
	CPU, Own time.Duration
	// Peak is the most memory that the collector had, Resident what it had each second, and Heap what is alive at the end.
	Peak, Heap int64
	Resident   []int64
	// Dropped is what the exporter says that it has dropped, if it says anything.
	Dropped   *float64
	Generated generate.Totals
	Received  receive.Report
}

// CPUPerMillion is the CPU seconds of the collector for a million points.
func (r *Result) CPUPerMillion() float64 { return r.CPU.Seconds() * 1e6 / float64(r.Points) }

// PerCPUSecond is how many samples were accepted in a CPU second of the collector, the generator and the receiver together:
// what they could do in a second of a processor that has nothing else to do.
func (r *Result) PerCPUSecond() float64 { return float64(r.Samples) / (r.CPU + r.Own).Seconds() }

// PerSecond is how many samples were delivered in a second while points were sent, or with nop how many were accepted.
func (r *Result) PerSecond() float64 {
	if r.Exporter == Nop {
		return float64(r.Samples) / r.Sending.Seconds()
	}
	return float64(r.Meanwhile) / r.Sending.Seconds()
}

// Unaccounted is how many samples were accepted and neither delivered nor dropped. It is not a number if the exporter does
// not say what it drops.
func (r *Result) Unaccounted() float64 {
	if r.Dropped == nil {
		return math.NaN()
	}
	n := float64(r.Samples-r.Delivered) - *r.Dropped
	for kind, p := range r.Generated.Kinds {
		// A point that cannot be translated counts as one sample.
		n -= float64(p.Faults[schedule.Delta.String()] * (kind.Parts() - 1))
	}
	return n
}

// Nop is the exporter that delivers nothing.
const Nop = "nop"

// patience is how long a collector may be without a request before it has nothing more to send.
const patience = 10 * time.Second

// Run sends what the options say through a collector to the endpoint, with at most so many requests on their way if window
// is not 0, and waits until everything has arrived or nothing comes any more.
func Run(ctx context.Context, c *collector.Collector, e *Endpoint, o generate.Options, window int) (*Result, error) {
	ctx, cancel := c.While(ctx)
	defer cancel()
	o.Endpoint, o.Protocol = c.OTLP, c.Protocol
	g, err := generate.New(o)
	if err != nil {
		return nil, err
	}
	if err := e.Announce(g.Schedules()); err != nil {
		return nil, err
	}
	if window > 0 && c.Name != Nop {
		g.Window = newWindow(g, e.Receiver, window).wait
	}
	before, err := c.CPU()
	if err != nil {
		return nil, err
	}
	ownBefore, started := usage.Self(), time.Now()
	r := &Result{Exporter: c.Name}
	sampling, sampled := context.WithCancel(ctx)
	defer sampled()
	samples := residentEverySecond(sampling, c)
	if err := g.Run(ctx); err != nil {
		return nil, cmp.Or(context.Cause(ctx), err)
	}
	r.Sending, r.Meanwhile = time.Since(started), e.Delivered()
	r.Took = r.Sending
	r.Generated = g.Totals()
	r.Points, r.Samples = r.Generated.Accepted()
	if err := e.Announce(g.Schedules()); err != nil {
		return nil, err
	}
	if c.Name != Nop {
		if err := r.await(ctx, c, e.Receiver); err != nil {
			return nil, err
		}
		r.Took = time.UnixMilli(e.Counts().Last).Sub(started)
	}
	sampled()
	r.Resident = <-samples
	after, err := c.CPU()
	if err != nil {
		return nil, err
	}
	r.CPU, r.Own = after-before, usage.Self()-ownBefore
	if _, r.Peak, err = c.Resident(); err != nil {
		return nil, err
	}
	if r.Heap, err = c.Heap(ctx); err != nil {
		return nil, err
	}
	if err := r.askDropped(ctx, c); err != nil {
		return nil, err
	}
	r.Delivered = e.Delivered()
	r.Received = e.Report()
	return r, context.Cause(ctx)
}

// Announce tells the receiver what is sent.
func (e *Endpoint) Announce(schedules []*schedule.Schedule) error {
	var all []schedule.Schedule
	for _, s := range schedules {
		all = append(all, *s)
	}
	return e.SetSchedules(all)
}

// await waits until what was accepted has been delivered, or the collector has been silent for longer than it may. What it
// says to wait for itself is no silence.
func (r *Result) await(ctx context.Context, c *collector.Collector, e *receive.Receiver) error {
	requests, since := 0, time.Now()
	for e.Delivered() < r.Samples {
		if n := e.Counts().Requests; n != requests {
			requests, since = n, time.Now()
		}
		if time.Since(since) > patience {
			queued, found, err := c.Metric(ctx, metric("queued_samples"), label(c.Name))
			if err != nil {
				return err
			}
			flying, _, err := c.Metric(ctx, metric("in_flight_samples"), label(c.Name))
			if err != nil {
				return err
			}
			if !found || queued+flying == 0 {
				return nil
			}
			since = time.Now()
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(20 * time.Millisecond):
		}
	}
	return nil
}

// metric is the name of one of this exporter's metrics, and label what is said of an exporter in its labels.
func metric(name string) string    { return "otelcol_exporter_ordered_remote_write_" + name }
func label(exporter string) string { return fmt.Sprintf("exporter=%q", exporter) }

func (r *Result) askDropped(ctx context.Context, c *collector.Collector) error {
	dropped, found, err := c.Metric(ctx, metric("dropped_samples"), label(c.Name))
	if found {
		r.Dropped = &dropped
	}
	return err
}

// residentEverySecond measures the collector's memory until ctx ends, and then.
func residentEverySecond(ctx context.Context, c *collector.Collector) <-chan []int64 {
	result := make(chan []int64, 1)
	go func() {
		var all []int64
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for ended := false; !ended; {
			select {
			case <-ctx.Done():
				ended = true
			case <-tick.C:
			}
			if now, _, err := c.Resident(); err == nil {
				all = append(all, now)
			}
		}
		result <- all
	}()
	return result
}

// window keeps the number of samples down that are in the collector.
type window struct {
	receiver *receive.Receiver
	// perRequest is how many samples a request of the generator becomes, on average.
	perRequest float64
	requests   int
	sent       int // guarded by the receiver's lock
}

func newWindow(g *generate.Generator, r *receive.Receiver, requests int) *window {
	samples, perStep := 0, 0
	for _, s := range g.Schedules() {
		samples += s.Streams * s.Kind.Parts()
		perStep += s.Streams / s.PerRequest
	}
	return &window{receiver: r, perRequest: float64(samples) / float64(perStep), requests: requests}
}

// silence is how long nothing may come before what is on its way is taken for dropped.
const silence = time.Second

// wait waits until there is room for a request.
func (w *window) wait(ctx context.Context) bool {
	for ctx.Err() == nil {
		if w.waitUntilSilence(ctx) {
			return true
		}
	}
	return false
}

func (w *window) waitUntilSilence(ctx context.Context) (room bool) {
	ctx, cancel := context.WithTimeout(ctx, silence)
	defer cancel()
	stop := context.AfterFunc(ctx, w.receiver.Wake)
	defer stop()
	before := -1
	w.receiver.WaitUntil(func(c *receive.Counts) bool {
		arrived := float64(c.Stored) / w.perRequest
		if before < 0 {
			before = c.Stored
		}
		if ctx.Err() != nil && c.Stored == before {
			w.sent = int(arrived)
		}
		if room = float64(w.sent)-arrived < float64(w.requests); room {
			w.sent++
		}
		return room || ctx.Err() != nil
	})
	return room
}
