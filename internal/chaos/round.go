// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// round is one run of the exporter. The seed and the number decide everything but the schedule of the goroutines.
type round struct {
	seed, number uint64
	subject      Subject
	// change, if it is not nil, changes what was chosen.
	change func(*round)

	t        *testing.T
	rnd      *rand.Rand
	settings *Settings
	faults   *faults
	record   *Record
	wire     *wire
	running  *running
	payloads []*Payloads
	options  PayloadOptions
	// abrupt ends the round while producers are still at work.
	abrupt bool
	// impatient gives the shutdown less time than the configuration.
	impatient bool
	// wild is whether there are payloads of which nothing is known.
	wild bool
	took time.Duration
	// exact says that the fate of every sample could be told.
	exact bool
}

// run is the round, in a bubble of its own.
func (r *round) run(t *testing.T) {
	r.t = t
	r.choose()
	rnd := r.rnd
	r.wire = newWire(r.record, r.faults, r.collectDuring)
	var err error
	if r.running, err = r.subject.start(r.settings, "", r.wire); err != nil {
		t.Errorf("round %d of seed %d: %v", r.number, r.seed, err)
		return
	}
	var producers, others sync.WaitGroup
	for _, p := range r.producers() {
		producers.Go(p.run)
	}
	ended := make(chan struct{})
	watch := rand.New(rand.NewPCG(r.seed, r.number+1))
	others.Go(func() { r.watch(watch, ended) })
	if r.abrupt {
		time.Sleep(time.Duration(rnd.IntN(20_000)) * time.Millisecond)
	} else {
		producers.Wait()
	}
	r.shutdown()
	producers.Wait()
	close(ended)
	others.Wait()
	synctest.Wait()
	r.finish()
	r.took = time.Since(r.record.Start)
}

// choose makes the configuration and the faults.
func (r *round) choose() {
	r.rnd = rand.New(rand.NewPCG(r.seed, r.number))
	lossless := r.rnd.IntN(5) < 2
	r.faults = newFaults(r.rnd, r.rnd.Uint64(), lossless)
	r.settings = randomSettings(r.rnd, &r.subject, lossless, r.t.TempDir())
	r.chooseMessageFaults(lossless)
	r.abrupt = !lossless && r.rnd.IntN(5) == 0
	r.impatient = !lossless && r.rnd.IntN(4) == 0
	r.wild = r.rnd.IntN(4) == 0
	r.record = &Record{Settings: r.settings, Rules: r.subject.Rules, Lossless: lossless, Start: time.Now()}
	r.options = PayloadOptions{Start: time.Now().Add(-time.Duration(r.rnd.IntN(600)) * time.Second)}
	if r.change != nil {
		r.change(r)
	}
}

// chooseMessageFaults chooses what is wrong with the version of the protocol.
func (r *round) chooseMessageFaults(lossless bool) {
	f, rnd, s := r.faults, r.rnd, r.settings
	if !s.V2 {
		// What an answer to a 1.0 message says of written samples means nothing.
		f.lie = pick(rnd, 0, rnd.IntN(100))
		return
	}
	if !lossless {
		f.lie, f.silent = pick(rnd, 0, rnd.IntN(50), rnd.IntN(500)), pick(rnd, 0, 0, rnd.IntN(50))
	}
	if lossless && !(s.carriesV1() && s.Fallback) {
		return
	}
	f.unreadable = pick(rnd, "", "", "", "", "415", "400 for 2.0", "unread 2xx")
	if lossless && f.unreadable == "400 for 2.0" {
		f.unreadable = "415"
	}
}

// shutdown shuts the exporter down within the time that it has, and waits whether it is really at its end.
func (r *round) shutdown() {
	limit := r.settings.ShutdownTimeout
	ctx := context.Background()
	if r.impatient {
		limit = min(limit, time.Duration(r.rnd.IntN(5000))*time.Millisecond)
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	r.record.add(func() {
		r.record.event++
		r.record.Closing, r.record.ClosingEvent = time.Now(), r.record.event
	})
	err := r.running.Shutdown(ctx)
	r.record.ShutdownErr, r.record.ShutdownLimit, r.record.ShutdownTook = err, limit, time.Since(r.record.Closing)
	r.record.Ended = time.Now()
	r.collect(nil)
	time.Sleep(time.Minute)
}

// finish completes the record.
func (r *round) finish() {
	rec := r.record
	r.collect(nil)
	rec.Receiver = append(r.wire.receiver.Violations(), r.wire.receiver.Overlaps()...)
	rec.FatalEvents = r.running.host.fatal()
	for _, line := range r.running.logs.FilterMessage("Dropped samples.").All() {
		fields := line.ContextMap()
		reason, _ := fields["reason"].(string)
		l := LogLine{Reason: reason}
		for _, name := range []string{"dropped_samples", "dropped_samples_since_last_line"} {
			if n, ok := fields[name].(int64); ok {
				l.Samples += n
			}
		}
		rec.Logs = append(rec.Logs, l)
	}
	rec.Stored = make(map[string][]Point)
	for series, samples := range r.wire.receiver.Delivered() {
		for _, s := range samples {
			if !s.Histogram {
				rec.Stored[series] = append(rec.Stored[series], Point{series, s})
			}
		}
	}
	if r.settings.DeadLetters != "" {
		r.countDeadLetters()
	}
	if err := r.running.telemetry.Shutdown(context.Background()); err != nil {
		r.t.Error(err)
	}
}

func (r *round) countDeadLetters() {
	files, err := filepath.Glob(filepath.Join(r.settings.DeadLetters, "*", "*.json"))
	for _, file := range files {
		var letter struct{ Samples int64 }
		text, readErr := os.ReadFile(file)
		err = errors.Join(err, readErr, json.Unmarshal(text, &letter))
		r.record.DeadLetters += letter.Samples
	}
	if err != nil {
		r.t.Errorf("dead letters: %v", err)
	}
}

// collect adds a collection to the record.
func (r *round) collect(during *Exchange) {
	event := r.record.next()
	a, err := collect(r.running.telemetry)
	if err != nil {
		r.t.Errorf("collecting: %v", err)
		return
	}
	a.Event, a.During = event, during
	r.record.add(func() {
		r.record.event++
		a.Until = r.record.event
		r.record.Accounts = append(r.record.Accounts, a)
	})
}

// collectDuring collects while a request is in flight.
func (r *round) collectDuring(x *Exchange) {
	if x.Number%8 == 0 {
		r.collect(x)
	}
}

// watch collects at random moments.
func (r *round) watch(rnd *rand.Rand, ended <-chan struct{}) {
	pause := 10 * time.Millisecond
	for {
		select {
		case <-ended:
			return
		case <-time.After(time.Duration(rnd.Int64N(int64(pause)))):
		}
		r.collect(nil)
		pause = min(pause+pause/10, time.Hour)
	}
}

// producer gives its payloads to the exporter, one after the other.
type producer struct {
	*round
	number int
	rnd    *rand.Rand
	next   func() *Payload
	// patience is how often a payload is tried again, and deadline how long each call may take.
	patience int
	deadline time.Duration
	calm     int
}

// producers are some with sound payloads, some with damaged ones, and possibly one with hostile ones.
func (r *round) producers() []*producer {
	rnd := r.rnd
	var all []*producer
	add := func(next func() *Payload) {
		p := &producer{
			round: r, number: len(all), next: next, rnd: rand.New(rand.NewPCG(rnd.Uint64(), 0)),
			patience: 1 << 30, deadline: time.Duration(1+rnd.IntN(60)) * time.Second, calm: 1 + rnd.IntN(10),
		}
		if !r.record.Lossless {
			p.patience = rnd.IntN(5)
		}
		all = append(all, p)
	}
	damaged := rnd.IntN(3)
	if r.options.Simple {
		damaged = 0
	}
	for i := range 1 + rnd.IntN(4) {
		o := r.options
		if i < damaged {
			o.Permille = 1 + rnd.IntN(200)
		}
		p := newPayloads(rand.New(rand.NewPCG(rnd.Uint64(), 0)), r.settings, i, &o)
		r.payloads = append(r.payloads, p)
		add(p.Next)
	}
	if r.wild {
		from := r.record.Start
		if r.record.Ambiguous = rnd.IntN(4) == 0; r.record.Ambiguous {
			from = time.Time{}
		}
		add(wildPayloads(rand.New(rand.NewPCG(rnd.Uint64(), 0)), rnd.IntN(30), from))
	}
	return all
}

func (p *producer) run() {
	for payload := p.next(); payload != nil; payload = p.next() {
		if !p.deliver(payload) {
			return
		}
		switch n := p.rnd.IntN(10 * p.calm); {
		case n < 8:
			time.Sleep(time.Duration(p.rnd.IntN(100)) * time.Millisecond)
		case n < 10:
			time.Sleep(time.Duration(p.rnd.IntN(10_000)) * time.Millisecond)
		case n == 99:
			time.Sleep(time.Duration(p.rnd.IntN(3)) * time.Hour)
		}
	}
}

// deliver tries a payload until it is accepted or there is no sense in it. It returns false when the exporter has ended.
func (p *producer) deliver(payload *Payload) bool {
	for n := 0; ; n++ {
		c := p.consume(payload)
		switch {
		case c.Err == nil:
			return true
		case p.closing() || p.running.host.fatal() > 0:
			return false
		case c.Permanent || n >= p.patience:
			return true
		}
		time.Sleep(time.Duration(1+p.rnd.IntN(3000<<min(n, 5))) * time.Millisecond)
	}
}

func (p *producer) closing() bool {
	p.record.mu.Lock()
	defer p.record.mu.Unlock()
	return p.record.ClosingEvent > 0
}

// consume makes a call and records it.
func (p *producer) consume(payload *Payload) *Call {
	ctx, cancel := context.WithTimeout(context.Background(), p.deadline)
	defer cancel()
	c := &Call{Producer: p.number, Payload: payload, Deadline: p.deadline, Before: p.fellBack()}
	// A payload belongs to who consumes it.
	md := pmetric.NewMetrics()
	payload.Metrics.CopyTo(md)
	c.Begin, c.Start = p.record.next(), time.Now()
	c.Err = p.running.ConsumeMetrics(ctx, md)
	c.Ended = time.Now()
	c.Permanent = consumererror.IsPermanent(c.Err)
	c.After = p.fellBack()
	p.record.add(func() {
		p.record.event++
		c.End = p.record.event
		p.record.Calls = append(p.record.Calls, c)
	})
	return c
}

// fellBack says whether 2.0 is configured and 1.0 is sent.
func (p *producer) fellBack() bool {
	if !p.settings.mayFallBack() {
		return false
	}
	a, err := collect(p.running.telemetry)
	if err != nil {
		p.t.Errorf("collecting: %v", err)
		return false
	}
	return a.Values["fallback"] > 0
}

func (r *round) String() string {
	return fmt.Sprintf("round %d (lossless %t, abrupt %t, wild %t)\nconfiguration: %v\nfaults: %v", r.number, r.record.Lossless, r.abrupt, r.wild, r.settings, r.faults)
}
