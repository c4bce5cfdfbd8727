// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"syscall"
	"time"

	extension "go.opentelemetry.io/collector/extension/xextension/storage"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/storagetest"
)

// storage is a disk with faults, and the processes that have it one after the other.
type storage struct {
	storagetest.Disk
	// fails is how many of a thousand operations fail, and slow the longest time that one takes.
	fails int
	slow  time.Duration
	// limit is how many bytes there is room for; 0 is any.
	limit int
	full  error
	// least is how many bytes there is always room for: acknowledgements.
	least  int
	outage outage
	// restarts is how many processes are ended at random, after longest at the latest; gentle are all of these ends.
	restarts int
	longest  time.Duration
	gentle   bool
	// patience is how long all may take, and oneRule says that out_of_order and the message stay as they are.
	patience time.Duration
	oneRule  bool
	lives    []*life

	mu   sync.Mutex
	rnd  *rand.Rand
	calm bool
}

// newStorage chooses what is wrong with the storage of a round.
func newStorage(r *rand.Rand, s *Settings) *storage {
	d := &storage{
		rnd: rand.New(rand.NewPCG(r.Uint64(), 0)), restarts: r.IntN(6), gentle: s.OnFull == dropOldest || r.IntN(4) == 0,
		longest: pick(r, time.Second, 5*time.Second, time.Minute), full: pick[error](r, extension.ErrStorageFull, syscall.ENOSPC),
		patience: 48 * time.Hour,
	}
	d.least = 1000 + 32*max(s.Partitions, 40)
	d.Before = d.fault
	if r.IntN(2) == 0 {
		return d
	}
	d.fails = pick(r, 0, r.IntN(200))
	d.slow = pick(r, 0, between(r, 0, 50*time.Millisecond), between(r, 0, 2*time.Second))
	if r.IntN(4) == 0 {
		// One write has room: what is not in storage yet is in memory.
		d.limit = int(2*s.QueueSizeBytes) + r.IntN(300_000)
	}
	if r.IntN(4) == 0 {
		from := time.Now().Add(between(r, 0, time.Minute))
		d.outage = outage{from, from.Add(between(r, 0, time.Minute)), "storage"}
	}
	return d
}

func (d *storage) String() string {
	return fmt.Sprintf("%d restarts after %v at most, gentle %t; %d per mille fail, to %v slow, room for %d bytes (%v), outage from %s for %v",
		d.restarts, d.longest, d.gentle, d.fails, d.slow, d.limit, d.full, d.outage.from.Format(time.TimeOnly), d.outage.to.Sub(d.outage.from))
}

// steady says whether the storage has no faults.
func (d *storage) steady() bool {
	return d.fails == 0 && d.slow == 0 && d.limit == 0 && d.outage.from.IsZero()
}

// calmed says that no process follows but one that finds nothing.
func (d *storage) calmed() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.calm
}

func (d *storage) calmDown() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calm = true
}

// fault is what becomes of a batch.
func (d *storage) fault(b storagetest.Batch) storagetest.Fault {
	d.mu.Lock()
	now := time.Now()
	out := !now.Before(d.outage.from) && now.Before(d.outage.to)
	wait, fails, applied := time.Duration(0), d.rnd.IntN(1000) < d.fails || out, d.rnd.IntN(2) == 0 && !out
	if d.slow > 0 {
		wait = time.Duration(d.rnd.Int64N(int64(d.slow)))
	}
	calm := d.calm
	d.mu.Unlock()
	if calm {
		return storagetest.Fault{}
	}
	time.Sleep(wait)
	if n := b.Size(); d.limit > 0 && n > d.least && d.Size()+n > d.limit {
		return storagetest.Fault{Err: d.full}
	}
	if fails {
		return storagetest.Fault{Err: storagetest.ErrInjected, Applied: applied}
	}
	return storagetest.Fault{}
}

// settings are those of a process: the first has the round's, and each other one may have some changed.
func (d *storage) settings(r *round, number int) *Settings {
	s := *r.settings
	rnd := r.rnd
	if number == 0 {
		return &s
	}
	if r.subject.Partitions == 0 {
		s.Partitions = pick(rnd, s.Partitions, s.Partitions, 1, 2, 1+rnd.IntN(40))
	}
	s.MaxInFlight = pick(rnd, s.MaxInFlight, 0, 1+rnd.IntN(8))
	s.MaxSamples = pick(rnd, s.MaxSamples, s.MaxSamples, 1+rnd.IntN(300))
	s.FlushTimeout = pick(rnd, s.FlushTimeout, 20*time.Millisecond)
	if !d.oneRule {
		s.OutOfOrder = pick(rnd, s.OutOfOrder, s.OutOfOrder, pick(rnd, r.subject.Rules.OutOfOrder...))
	}
	if s.carriesV1() && !d.oneRule {
		s.V2 = pick(rnd, s.V2, s.V2, !s.V2)
		s.SendMetadata = s.SendMetadata && !s.V2
	}
	return &s
}

// chooseStorage gives a round a queue in storage, of which memory may have little.
func (s *Settings) chooseStorage(r *rand.Rand) {
	s.Storage = true
	s.QueueSizeBytes = pick(r, s.QueueSizeBytes, 4*s.MaxSizeBytes)
	s.MaxDiskBytes = max(pick(r, s.QueueSizeBytes/4+1, s.QueueSizeBytes, 16<<20), s.QueueSizeBytes/4+1, minBatchSize)
	s.DeadLetters = ""
	// A payload that comes again while it is being stored is a duplicate, of which nobody could tell when it was sent otherwise.
	s.SeriesIdleTimeout = time.Hour
	s.BlockTimeout = max(s.BlockTimeout, time.Second)
}
