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
	"strings"
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
	// life is the process that runs, or has. The record's lock guards it.
	life    *life
	storage *storage
	// connect, if it is not nil, makes an endpoint of a wire. Without it, the wire stands in for the network.
	connect  func(*wire) string
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
	if r.life = r.begin(r.record); r.life == nil {
		return
	}
	var producers, others sync.WaitGroup
	for _, p := range r.producers() {
		producers.Go(p.run)
	}
	ended := make(chan struct{})
	watch := rand.New(rand.NewPCG(r.seed, r.number+1))
	others.Go(func() { r.watch(watch, ended) })
	switch {
	case r.storage != nil:
		produced := make(chan struct{})
		go func() { producers.Wait(); close(produced) }()
		r.liveOn(produced)
	case r.abrupt:
		time.Sleep(time.Duration(r.rnd.IntN(20_000)) * time.Millisecond)
	default:
		producers.Wait()
	}
	r.shutdown(r.life)
	time.Sleep(time.Minute)
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
	if r.settings.Storage {
		r.abrupt = false
		r.storage = newStorage(r.rnd, r.settings)
	}
}

// chooseMessageFaults chooses what is wrong with the version of the protocol.
func (r *round) chooseMessageFaults(lossless bool) {
	f, rnd, s := r.faults, r.rnd, r.settings
	if !s.V2 {
		// What an answer to a 1.0 message says of written samples means nothing.
		f.lie = pick(rnd, 0, rnd.IntN(100))
		if s.Storage && lossless {
			f.lie = 0 // A process may send 2.0.
		}
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

// shutdown shuts a process down within the time that it has.
func (r *round) shutdown(l *life) {
	limit := r.settings.ShutdownTimeout
	ctx := context.Background()
	if r.impatient {
		limit = min(limit, time.Duration(r.rnd.IntN(5000))*time.Millisecond)
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	} else if r.storage != nil {
		limit += min(limit, storedDrain)
	}
	r.record.add(func() {
		r.record.event++
		l.record.Closing, l.record.ClosingEvent = time.Now(), r.record.event
	})
	err := l.Shutdown(ctx)
	l.record.ShutdownErr, l.record.ShutdownLimit, l.record.ShutdownTook = err, limit, time.Since(l.record.Closing)
	l.record.Ended = time.Now()
	r.collect(nil)
}

// finish completes the record.
func (r *round) finish() {
	r.collect(nil)
	if r.storage == nil {
		r.end(r.life)
	} else {
		r.endAll()
	}
	if r.settings.DeadLetters != "" {
		r.countDeadLetters()
	}
}

// end completes the record of a process.
func (r *round) end(l *life) {
	rec := l.record
	rec.Receiver = append(l.wire.receiver.Violations(), l.wire.receiver.Overlaps()...)
	rec.FatalEvents = l.host.fatal()
	for _, line := range l.logs.FilterMessage("Dropped samples.").All() {
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
	for series, samples := range l.wire.receiver.Delivered() {
		for _, s := range samples {
			if !s.Histogram {
				rec.Stored[series] = append(rec.Stored[series], Point{series, s})
			}
		}
	}
	if err := l.telemetry.Shutdown(context.Background()); err != nil {
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

// collect adds a collection to the record of the process that runs.
func (r *round) collect(during *Exchange) {
	var l *life
	event := int64(0)
	r.record.add(func() {
		r.record.event++
		l, event = r.life, r.record.event
	})
	a, err := collect(l.telemetry)
	if err != nil {
		r.t.Errorf("collecting: %v", err)
		return
	}
	a.Event, a.During = event, during
	r.record.add(func() {
		if l.over {
			return
		}
		r.record.event++
		a.Until = r.record.event
		l.record.Accounts = append(l.record.Accounts, a)
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
	// pause is the longest time until a payload is tried again for the first time.
	pause int
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
			patience: 1 << 30, deadline: time.Duration(1+rnd.IntN(60)) * time.Second, calm: 1 + rnd.IntN(10), pause: 3000,
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

// deliver tries a payload until it is accepted or there is no sense in it. It returns false when the exporter has ended. With
// storage another process follows, and what is not known to be accepted or refused is tried again.
func (p *producer) deliver(payload *Payload) bool {
	for n := 0; ; n++ {
		c := p.consume(payload)
		switch {
		case c.Err == nil && !c.Vague:
			return true
		case (p.storage == nil || p.storage.calmed()) && p.ends():
			return false
		case c.Vague && n < mostVague:
		case c.Permanent, c.Vague, n >= p.patience && !p.ends():
			return true
		}
		time.Sleep(time.Duration(1+p.rnd.IntN(p.pause<<min(n, 5))) * time.Millisecond)
	}
}

// mostVague is how often a payload is tried again of which it is not known whether it was accepted.
const mostVague = 20

// ends says whether the process that runs has ended, or is about to.
func (p *producer) ends() bool {
	p.record.mu.Lock()
	defer p.record.mu.Unlock()
	l := p.life
	return l.over || l.record.ClosingEvent > 0 || l.host.fatal() > 0
}

// process is the one that runs.
func (r *round) process() *life {
	r.record.mu.Lock()
	defer r.record.mu.Unlock()
	return r.life
}

// consume makes a call and records it.
func (p *producer) consume(payload *Payload) *Call {
	ctx, cancel := context.WithTimeout(context.Background(), p.deadline)
	defer cancel()
	l := p.process()
	c := &Call{Producer: p.number, Payload: payload, Deadline: p.deadline, Life: l.number, Before: p.fellBack(l)}
	// A payload belongs to who consumes it.
	md := pmetric.NewMetrics()
	payload.Metrics.CopyTo(md)
	c.Begin, c.Start = p.record.next(), time.Now()
	c.Err = l.ConsumeMetrics(ctx, md)
	c.Ended = time.Now()
	c.Permanent = consumererror.IsPermanent(c.Err)
	c.After = p.fellBack(l)
	p.record.add(func() {
		p.record.event++
		c.End = p.record.event
		c.Vague = l.over || p.storage != nil && c.Err != nil && strings.Contains(c.Err.Error(), unstored)
		p.record.Calls = append(p.record.Calls, c)
	})
	return c
}

// fellBack says whether 2.0 is configured and 1.0 is sent.
func (p *producer) fellBack(l *life) bool {
	if !p.settings.mayFallBack() || p.settings.carriesV1() {
		return false
	}
	a, err := collect(l.telemetry)
	if err != nil {
		p.t.Errorf("collecting: %v", err)
		return false
	}
	return a.Values["fallback"] > 0
}

func (r *round) String() string {
	s := fmt.Sprintf("round %d (lossless %t, abrupt %t, wild %t)\nconfiguration: %v\nfaults: %v", r.number, r.record.Lossless, r.abrupt, r.wild, r.settings, r.faults)
	if r.storage != nil {
		s += fmt.Sprintf("\nstorage: %v", r.storage)
	}
	return s
}
