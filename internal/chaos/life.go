// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/storagetest"
)

// life is a process: an exporter from its start to its end.
type life struct {
	*running
	number   int
	settings *Settings
	wire     *wire
	// record is that of the process alone, with storage, and else that of the round.
	record *Record
	// over says that the process is dead, and that nothing counts of what it still does. The record's lock guards it.
	over bool
}

const (
	// storedDrain is how long a shutdown waits for answers with storage, besides the time that it has to store.
	storedDrain = 5 * time.Second
	// unstored is what an exporter says of a payload that it has accepted, but could not store in time.
	unstored = "not stored in time"
	// mostLives bounds how many processes a round has, if answers stop them.
	mostLives = 100
)

// begin starts a process, which fails as often as storage does.
func (r *round) begin(record *Record) *life {
	l := &life{number: len(r.record.Lives), settings: r.settings, record: record}
	if r.storage != nil {
		l.settings = r.storage.settings(r, l.number)
		l.record = &Record{Settings: l.settings, Rules: r.subject.Rules, Start: time.Now(), Steady: r.storage.steady(), Network: r.record.Network, Unseen: r.record.Unseen}
	}
	for {
		l.wire = newWire(r.record, r.faults, r.collectDuring)
		l.wire.life = l.number
		endpoint, receiver := "", http.RoundTripper(l.wire)
		if r.connect != nil {
			endpoint, receiver = r.connect(l.wire), nil
		}
		var disk *storagetest.Disk
		if r.storage != nil {
			disk = &r.storage.Disk
		}
		var err error
		if l.running, err = r.subject.start(l.settings, endpoint, receiver, disk); err == nil {
			break
		}
		if l.running == nil || !errors.Is(err, storagetest.ErrInjected) {
			r.t.Errorf("round %d of seed %d: %v", r.number, r.seed, err)
			return nil
		}
		if err := l.Shutdown(context.Background()); err != nil {
			r.t.Errorf("shutdown after a start that failed: %v", err)
		}
		disk.Crash()
		time.Sleep(100 * time.Millisecond)
	}
	if r.storage != nil {
		r.record.add(func() { r.record.Lives = append(r.record.Lives, l.record) })
		r.storage.lives = append(r.storage.lives, l)
	}
	return l
}

// liveOn ends processes and starts others on the same storage until all is produced, and until nothing waits. What it leaves is one
// more process, which has found what the others have left: nothing.
func (r *round) liveOn(produced <-chan struct{}) {
	for range r.storage.restarts {
		r.lasts(time.Duration(1+r.rnd.IntN(int(r.storage.longest))), nil)
		r.follow()
	}
	r.liveUntil(produced)
	if r.settings.RetriesExhausted == fail {
		// What breaks the receiver each time may stop all processes before much of anything passes.
		r.faults.calmDown()
		r.liveUntil(produced)
	}
	select {
	case <-produced:
	default:
		r.t.Errorf("%v: not all is produced after %v", r, time.Since(r.record.Start))
	}
	r.faults.calmDown()
	r.storage.calmDown()
	for range mostLives {
		if r.drains() {
			break
		}
		r.follow()
	}
	r.replace(r.shutdown)
}

// liveUntil waits until something ends, and starts other processes for those that ask to be stopped.
func (r *round) liveUntil(end <-chan struct{}) {
	for n := 0; !r.lasts(r.storage.patience, end) && n < mostLives; n++ {
		r.follow()
	}
}

// lasts waits for some time, or until something ends. It returns false if the process asked to be stopped before.
func (r *round) lasts(d time.Duration, until <-chan struct{}) bool {
	for end := time.Now().Add(d); time.Now().Before(end); {
		select {
		case <-until:
			return true
		case <-time.After(min(time.Until(end), max(d/10_000, 20*time.Millisecond))):
		}
		if r.life.host.fatal() > 0 {
			return false
		}
	}
	return true
}

// drains waits until nothing waits any more. It returns false if the process asks to be stopped before.
func (r *round) drains() bool {
	for end := time.Now().Add(r.storage.patience); time.Now().Before(end); {
		a, err := collect(r.life.telemetry)
		if err != nil {
			r.t.Errorf("collecting: %v", err)
			return true
		}
		if a.Values["queued_samples"]+a.Values["in_flight_samples"] == 0 {
			return true
		}
		if !r.lasts(min(r.storage.longest, time.Second), nil) {
			return false
		}
	}
	return true
}

// follow ends the process that runs, and starts one that follows it.
func (r *round) follow() {
	end := r.kill
	if r.storage.gentle || r.rnd.IntN(2) == 0 {
		end = r.shutdown
	}
	r.replace(end)
	time.Sleep(time.Duration(r.rnd.Int64N(int64(r.storage.longest))) / 4)
}

// replace ends the process that runs, and starts another one.
func (r *round) replace(end func(*life)) {
	end(r.life)
	// Whatever the process still does, it does not to storage any more.
	r.storage.Crash()
	r.record.add(func() {
		r.life.over = true
		r.life.record.Written = r.storage.Written()
	})
	next := r.begin(nil)
	if next == nil {
		r.t.FailNow()
	}
	r.record.add(func() { r.life = next })
}

// kill ends a process where it is. What it has under way at the receiver comes to its end without it.
func (r *round) kill(l *life) {
	r.record.add(func() {
		l.wire.sever()
		r.record.event++
		l.record.Died, l.record.Closing, l.record.ClosingEvent = true, time.Now(), r.record.event
	})
	r.storage.Crash()
	r.collect(nil)
	r.record.add(func() { l.over = true })
	l.record.Ended = time.Now()
	over, cancel := context.WithCancel(context.Background())
	cancel()
	if err := l.Shutdown(over); err != nil {
		r.t.Errorf("shutdown of a process that is dead: %v", err)
	}
}

// collectLast adds a collection to the record of a process that was shut down: calls may have ended since.
func (r *round) collectLast(l *life) {
	event := r.record.next()
	a, err := collect(l.telemetry)
	if err != nil {
		r.t.Errorf("collecting: %v", err)
		return
	}
	a.Event, a.Until = event, r.record.next()
	l.record.Accounts = append(l.record.Accounts, a)
}

// endAll completes the record of a round with storage.
func (r *round) endAll() {
	r.life.record.Written = r.storage.Written()
	r.record.Stored = make(map[string][]Point)
	known := make(map[Point]bool)
	for _, l := range r.storage.lives {
		if !l.record.Died {
			r.collectLast(l)
		}
		r.end(l)
		r.record.Receiver = append(r.record.Receiver, l.record.Receiver...)
		for series, points := range l.record.Stored {
			for _, pt := range points {
				if !known[pt] {
					known[pt] = true
					r.record.Stored[series] = append(r.record.Stored[series], pt)
				}
			}
		}
	}
	for _, c := range r.record.Calls {
		of := r.record.Lives[c.Life]
		of.Calls = append(of.Calls, c)
	}
	for _, x := range r.record.Exchanges {
		of := r.record.Lives[x.Life]
		of.Exchanges = append(of.Exchanges, x)
	}
	r.record.Ended = r.life.record.Ended
}
