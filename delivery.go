// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"slices"
	"sync/atomic"
	"time"
)

// delivery is the way of what was claimed of some partitions together, until all of it has its outcome. They are busy for as
// long.
type delivery struct {
	parts []part
	late  bool
	// kept says that something of it has no outcome, and stays in the log.
	kept bool
	// accepted is when the oldest sample was accepted, claimed when the samples left the queue.
	accepted, claimed time.Time
	// requests are sent from the last to the first, one after the other.
	requests []request
	// number is that of the limit; 0 while the delivery has no place.
	number uint64
	// begun is when the first request of all was sent.
	begun time.Time
	// attempts counts how often the next request was sent, attempted is when it was last. tried is when it, or another one that it is a
	// part of, was first, and pausedBefore how long the endpoint had been paused by then.
	attempts         int
	tried, attempted time.Time
	pausedBefore     time.Duration
	// spent says that a request has used up the time of retries.
	spent bool
	// passing is since when the delivery fails while others pass; zero for not.
	passing time.Time
	// size is the bytes of the message under way, or 0 if it cannot be cut.
	size int64
	// due is when the next attempt may be made, and turn tells that it may.
	due  time.Time
	turn chan struct{}
	// cut is when the delivery was last cut to find a poison; zero for never.
	cut time.Time
	// planned counts the requests of all that was claimed together; each cut after a refusal adds two.
	planned *atomic.Int32
	// recovered says that an earlier process has accepted the samples, and perhaps sent them.
	recovered bool
	// slow says that it took long while others did not.
	slow bool
}

// part is what a delivery carries of one partition.
type part struct {
	partition *partition
	batch     *batch
	// samples is how many there are, logged how many of a log they stand for, and cost what they count in the queue.
	samples int
	logged  int
	cost    int64
}

// samples is how many the delivery carries when it is claimed.
func (d *delivery) samples() int {
	n := 0
	for i := range d.parts {
		n += d.parts[i].samples
	}
	return n
}

// compose makes the request of what was claimed, and returns the bytes of its body.
func (d *delivery) compose() int {
	var chunks []*chunk
	r := request{shares: make([]int, len(d.parts)), marks: marks{perhapsSent: d.recovered}}
	for i := range d.parts {
		b := d.parts[i].batch
		chunks = append(chunks, b.chunks...)
		r.protocol = b.protocol
		r.add(&b.tally)
		r.shares[i] = b.Samples
		d.parts[i].batch = nil
	}
	r.body = body(r.protocol, chunks)
	giveBytes(chunks, r.body)
	d.requests = []request{r}
	return len(r.body)
}

// cutDisorder makes several requests of the next one where a series would not step forward in time inside it. They are sent one
// after the other.
func (d *delivery) cutDisorder() {
	if runs := d.next().rising(); len(runs) > 1 {
		d.settled(runs...)
	}
}

// next is the request that must be sent next.
func (d *delivery) next() *request {
	return &d.requests[len(d.requests)-1]
}

// settled takes the next request off, which has its outcome, or puts others in its place, to be sent in their order.
func (d *delivery) settled(instead ...request) {
	d.requests = d.requests[:len(d.requests)-1]
	slices.Reverse(instead)
	d.requests = append(d.requests, instead...)
	d.attempts = 0
	if len(instead) == 0 {
		d.tried, d.passing = time.Time{}, time.Time{}
	}
}

// shared says whether the delivery is one request with samples of several partitions.
func (d *delivery) shared() bool {
	n := 0
	for _, samples := range d.next().shares {
		n += min(samples, 1)
	}
	return len(d.requests) == 1 && n > 1
}

// fork takes half of the partitions off a delivery that is shared, as a delivery of their own.
func (d *delivery) fork() *delivery {
	r := d.next()
	half := r.middle()
	n := sum(r.shares[:half])
	first, second := r.splitAt(n)
	other := &delivery{
		parts: d.parts[half:], late: d.late, accepted: d.accepted, claimed: d.claimed,
		begun: d.begun, tried: d.tried, pausedBefore: d.pausedBefore, attempted: d.attempted, spent: d.spent,
		cut: d.cut, planned: d.planned,
	}
	second.shares = slices.Clone(r.shares[half:])
	first.shares = slices.Clone(r.shares[:half])
	d.parts = d.parts[:half:half]
	other.requests = []request{second}
	d.settled(first)
	return other
}

func sum(of []int) (n int) {
	for _, v := range of {
		n += v
	}
	return n
}
