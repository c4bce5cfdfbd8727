// SPDX-License-Identifier: Apache-2.0

// Package generate sends the points of schedules to a collector over OTLP.
package generate

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/otlp"
	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/schedule"
)

// Generator sends the points of its schedules over several connections.
//
// A step of time is all points of all schedules once, as requests. A request always travels over the same connection, one
// at a time, so the samples of a series leave in order.
type Generator struct {
	options   Options
	schedules []*schedule.Schedule
	templates []*otlp.Template
	steps     int // or 0 for no end by number
	perStep   int // requests
	points    int // of a step
	// Window, if it is set, is called before each request, and waits until it may be sent. It returns false when nothing
	// more must be sent.
	Window func(ctx context.Context) bool

	started time.Time // written once, before the connections begin

	mu       sync.Mutex // guards what follows
	moved    *sync.Cond // when a connection has begun a step, or none may begin
	stopped  bool       // no further step may begin
	latest   int        // how many steps have begun
	progress []int      // the step of each connection
	totals   Totals
}

// New makes a generator of the options.
func New(o Options) (*Generator, error) {
	schedules, err := o.Plan()
	if err != nil {
		return nil, err
	}
	// What no connection could be made with is found out before anybody is told of a schedule.
	to, err := newSender(o)
	if err != nil {
		return nil, err
	}
	if err := to.close(); err != nil {
		return nil, err
	}
	g := &Generator{options: o, schedules: schedules, steps: schedules[0].Steps}
	g.moved = sync.NewCond(&g.mu)
	g.totals.Kinds = make(map[schedule.Kind]*Points)
	for _, s := range schedules {
		t, err := otlp.New(s, o.Attributes)
		if err != nil {
			return nil, err
		}
		g.templates = append(g.templates, t)
		g.perStep += s.Streams / s.PerRequest
		g.points += s.Streams
		s.Steps = 0
		g.totals.Kinds[s.Kind] = &Points{Faults: make(map[string]int)}
	}
	return g, nil
}

// Schedules are what the generator sends. Their Steps are known once Run has returned: it may be stopped.
func (g *Generator) Schedules() []*schedule.Schedule { return g.schedules }

// Stop lets the step that is under way be the last one.
func (g *Generator) Stop() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.stopped = true
	g.moved.Broadcast()
}

// Run sends until the end of the schedules, the end of the duration, or Stop; if ctx ends, it does not finish the step
// that is under way, and says so with an error.
func (g *Generator) Run(ctx context.Context) error {
	g.mu.Lock()
	g.started = time.Now()
	g.mu.Unlock()
	if g.options.Duration > 0 {
		timer := time.AfterFunc(g.options.Duration, g.Stop)
		defer timer.Stop()
	}
	// A connection without requests would only wait for the others.
	connections := min(g.options.Connections, g.perStep)
	g.progress = make([]int, connections)
	errs := make([]error, connections)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(ctx, g.Stop)()
	var wg sync.WaitGroup
	for c := range connections {
		wg.Go(func() {
			if errs[c] = g.connection(ctx, c); errs[c] != nil {
				cancel() // the others would wait for this one
			}
		})
	}
	wg.Wait()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.totals.Seconds = time.Since(g.started).Seconds()
	for _, s := range g.schedules {
		s.Steps = g.latest
	}
	return errors.Join(errs...)
}

// lead is how many steps a connection may be ahead of another: a step that has begun must be finished by all.
const lead = 2

// begin waits until a connection may begin a step, and says whether it may: after Stop, only if another connection has
// begun it already.
func (g *Generator) begin(c, step int) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.progress[c] = step
	g.moved.Broadcast()
	for step >= g.latest {
		if g.stopped || g.steps > 0 && step >= g.steps {
			g.progress[c] = math.MaxInt // nobody waits for it
			return false
		}
		if step <= slices.Min(g.progress)+lead {
			g.latest = step + 1
		} else {
			g.moved.Wait()
		}
	}
	return true
}

// connection sends the requests of one connection.
func (g *Generator) connection(ctx context.Context, c int) (err error) {
	to, err := newSender(g.options)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.close()) }()
	templates := make([]*otlp.Template, len(g.templates))
	for i, t := range g.templates {
		templates[i] = t.Clone()
	}
	for step := 0; g.begin(c, step); step++ {
		first := 0 // request of the schedule, counted over all of them
		for i, t := range templates {
			requests := g.schedules[i].Streams / t.Points()
			for request := range requests {
				number := first + request
				if number%len(g.progress) != c {
					continue
				}
				if err := g.wait(ctx, float64(g.points)*(float64(step)+float64(number)/float64(g.perStep))); err != nil {
					return err
				}
				var counts otlp.Counts
				t.Set(request, step, &counts)
				if err := g.send(ctx, to, g.schedules[i].Kind, t.Body(), &counts); err != nil {
					return err
				}
			}
			first += requests
		}
	}
	return nil
}

// wait waits until a request is due that has so many points before it, and until the window has room for it.
func (g *Generator) wait(ctx context.Context, before float64) error {
	if g.options.Rate > 0 {
		due := g.started.Add(time.Duration(before / g.options.Rate * float64(time.Second)))
		if err := sleep(ctx, time.Until(due)); err != nil {
			return err
		}
	}
	if g.Window != nil && !g.Window(ctx) {
		return context.Cause(ctx)
	}
	return ctx.Err()
}

// The time before a request is sent again, unless the collector asks for another one.
const (
	firstBackOff = 20 * time.Millisecond
	maxBackOff   = time.Second
)

// send sends a request, again if need be, until it has been accepted or refused.
func (g *Generator) send(ctx context.Context, to sender, kind schedule.Kind, body []byte, counts *otlp.Counts) error {
	backOff := firstBackOff
	for {
		began := time.Now()
		rejected, err := to.export(ctx, body)
		took := time.Since(began)
		var refused *refusal
		switch {
		case err == nil && rejected > counts.Sent():
			return fmt.Errorf("the collector says that it rejected %d points of %d", rejected, counts.Sent())
		case err == nil:
			g.count(kind, len(body), took, counts, func(p *Points, sent int) { p.Accepted += sent - rejected; p.Rejected += rejected })
			return nil
		case ctx.Err() != nil || !errors.As(err, &refused):
			return err
		case !refused.retryable:
			g.count(kind, len(body), took, counts, func(p *Points, sent int) { p.Refused += sent; p.LastRefusal = err.Error() })
			return nil
		}
		g.mu.Lock()
		g.totals.Retries++
		g.totals.LastRetry = err.Error()
		g.mu.Unlock()
		if err := sleep(ctx, max(backOff, refused.after)); err != nil {
			return fmt.Errorf("%w, while the collector answers: %w", err, refused)
		}
		backOff = min(2*backOff, maxBackOff)
	}
}

// count adds a request that has its outcome.
func (g *Generator) count(kind schedule.Kind, bytes int, took time.Duration, counts *otlp.Counts, outcome func(p *Points, sent int)) {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := &g.totals
	t.Requests++
	t.Bytes += bytes
	t.waited += took
	t.SlowestSeconds = max(t.SlowestSeconds, took.Seconds())
	p := t.Kinds[kind]
	for f, n := range counts {
		if f := schedule.Fault(f); f != schedule.None && n > 0 {
			p.Faults[f.String()] += n
		}
	}
	p.Sent += counts.Sent()
	outcome(p, counts.Sent())
}

func sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
