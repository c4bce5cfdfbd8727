// SPDX-License-Identifier: Apache-2.0

// Package account says of every sample what became of it. It knows nothing of how samples travel.
package account // import "github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"

import (
	"maps"
	"sync"
)

// Key is what dropped samples are counted by.
type Key struct {
	Reason Reason
	// Status is the HTTP status of the endpoint's last answer, 0 for none.
	Status int
}

// Ledger accounts for every sample. At every moment
//
//	received + recovered = delivered + sum(dropped) + queued + inFlight
//
// because each method moves samples from one place to another under the lock. Nothing else counts samples. It is safe for
// concurrent use.
type Ledger struct {
	mu sync.Mutex
	b  Balance
}

// Balance is a consistent state of a ledger, in samples.
type Balance struct {
	Received, Recovered, Delivered, Queued, InFlight int64
	Dropped                                          map[Key]int64
}

// NewLedger returns an empty ledger.
func NewLedger() *Ledger {
	return &Ledger{b: Balance{Dropped: make(map[Key]int64)}}
}

// Snapshot returns the balance of one moment.
func (l *Ledger) Snapshot() Balance {
	l.mu.Lock()
	defer l.mu.Unlock()
	b := l.b
	b.Dropped = maps.Clone(l.b.Dropped)
	return b
}

// Queued is how many samples wait.
func (l *Ledger) Queued() int64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Queued
}

// Admit receives queued samples, and those that were dropped on the way to the queue if drops is not nil.
func (l *Ledger) Admit(queued int, drops *Drops) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b.Received += int64(queued)
	l.b.Queued += int64(queued)
	if drops == nil {
		return
	}
	for r := range drops {
		if n := int64(drops[r].Count); n > 0 {
			l.b.Received += n
			l.b.Dropped[Key{Reason: Reason(r)}] += n
		}
	}
}

// Recover queues samples that an earlier process has left.
func (l *Ledger) Recover(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b.Recovered += int64(n)
	l.b.Queued += int64(n)
}

// Evict drops samples from a queue.
func (l *Ledger) Evict(n int, r Reason) {
	if n == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b.Queued -= int64(n)
	l.b.Dropped[Key{Reason: r}] += int64(n)
}

// Take moves samples from a queue into flight.
func (l *Ledger) Take(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b.Queued -= int64(n)
	l.b.InFlight += int64(n)
}

// Deliver ends the flight of samples that the endpoint has confirmed.
func (l *Ledger) Deliver(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b.InFlight -= int64(n)
	l.b.Delivered += int64(n)
}

// Keep ends the flight of samples that stay in the queue, for a later process.
func (l *Ledger) Keep(n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b.InFlight -= int64(n)
	l.b.Queued += int64(n)
}

// Drop ends the flight of samples that will not be delivered.
func (l *Ledger) Drop(n int, key Key) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b.InFlight -= int64(n)
	l.b.Dropped[key] += int64(n)
}
