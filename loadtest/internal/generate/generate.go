// SPDX-License-Identifier: Apache-2.0

// Package generate sends the points of schedules to a collector over OTLP.
package generate

import (
	"context"
	"errors"
	"fmt"
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
	// Window, if it is set, is called before each request, and waits until it may be sent. It returns false when nothing
	// more must be sent.
	Window func(ctx context.Context) bool

	started time.Time
	stop    chan struct{} // closed when no further step may begin

	mu     sync.Mutex // guards what follows
	latest int        // the last step that has begun
	totals Totals
}

// New makes a generator of the options.
func New(o Options) (*Generator, error) {
	schedules, err := o.Plan()
	if err != nil {
		return nil, err
	}
	g := &Generator{options: o, schedules: schedules, stop: make(chan struct{})}
	g.totals.Kinds = make(map[schedule.Kind]*Points)
	for _, s := range schedules {
		t, err := otlp.New(s, o.Attributes)
		if err != nil {
			return nil, err
		}
		g.templates = append(g.templates, t)
		g.totals.Kinds[s.Kind] = &Points{Faults: make(map[string]int)}
	}
	return g, nil
}

// Schedules are what the generator sends. Their Steps are final once Run has returned.
func (g *Generator) Schedules() []*schedule.Schedule { return g.schedules }

// Stop lets the step that is under way be the last one.
func (g *Generator) Stop() {
	g.mu.Lock()
	defer g.mu.Unlock()
	select {
	case <-g.stop:
	default:
		close(g.stop)
	}
}

// Run sends until the end of the schedules, the end of the duration, or Stop; if ctx ends, it does not finish the step
// that is under way, and says so with an error.
func (g *Generator) Run(ctx context.Context) error {
	g.started = time.Now()
	if g.options.Duration > 0 {
		timer := time.AfterFunc(g.options.Duration, g.Stop)
		defer timer.Stop()
	}
	errs := make([]error, g.options.Connections)
	var wg sync.WaitGroup
	for c := range g.options.Connections {
		wg.Go(func() { errs[c] = g.connection(ctx, c) })
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

// begin says whether a step may begin: after Stop, only if another connection has begun it already.
func (g *Generator) begin(step int) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if step < g.latest {
		return true
	}
	if steps := g.schedules[0].Steps; steps > 0 && step >= steps {
		return false
	}
	select {
	case <-g.stop:
		return false
	default:
		g.latest = step + 1
		return true
	}
}

// connection sends the requests of one connection.
func (g *Generator) connection(ctx context.Context, c int) (err error) {
	to, err := newSender(g.options.Protocol, g.options.Endpoint, g.options.headers())
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, to.close()) }()
	templates := make([]*otlp.Template, len(g.templates))
	perStep, points := 0, 0
	for i, t := range g.templates {
		templates[i] = t.Clone()
		perStep += g.schedules[i].Streams / t.Points()
		points += g.schedules[i].Streams
	}
	for step := 0; g.begin(step); step++ {
		first := 0 // request of the schedule, counted over all of them
		for i, t := range templates {
			requests := g.schedules[i].Streams / t.Points()
			for request := range requests {
				number := first + request
				if number%g.options.Connections != c {
					continue
				}
				if err := g.wait(ctx, float64(points)*(float64(step)+float64(number)/float64(perStep))); err != nil {
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
	sent := 0
	for f, n := range counts {
		if f := schedule.Fault(f); f != schedule.None && n > 0 {
			p.Faults[f.String()] += n
		}
		if schedule.Fault(f) != schedule.Gap {
			sent += n
		}
	}
	p.Sent += sent
	outcome(p, sent)
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
