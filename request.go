// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"cmp"
	"slices"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/block"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// request is what one POST carries.
type request struct {
	tally
	protocol wire.Protocol
	// body is the compressed message.
	body []byte
	// shares are how many series are of each part of the delivery; series stand in that order.
	shares []int
	// trial is the one that the request is part of, or nil.
	trial *trial
	// probe says that the message of 2.0 is sent to find out whether the endpoint reads it again.
	probe bool
	marks
}

// marks are what is known of all samples of a request. They are also those of its parts.
type marks struct {
	// offenders says that all series are such as were refused alone before, and retried that these are tried again for themselves.
	offenders, retried bool
	// perhapsSent says that the endpoint may have the samples already, so that a refusal does not make their series offenders, and
	// finding out which are refused is not paid from the budget of isolation. refused says that this is what the request is for.
	perhapsSent, refused bool
}

// size is the bytes of the message.
func (r *request) size() int64 {
	if r.Empty() {
		return 0
	}
	return int64(block.DecompressedSize(r.body))
}

// contents takes the request apart.
func (r *request) contents() contents {
	return takeApart(r.protocol, block.Decompress(r.body))
}

// part is a request with some of the series of another's contents, in the order of their places there.
func (r *request) part(c contents, indices []int) request {
	p := request{tally: tallyOf(c, indices), protocol: r.protocol, shares: r.sharesOf(indices), marks: r.marks}
	if !p.Empty() {
		p.body = block.Compress(c.encode(indices))
	}
	return p
}

// sharesOf counts series by part.
func (r *request) sharesOf(indices []int) []int {
	shares := make([]int, len(r.shares))
	part, end := 0, 0
	for _, i := range indices {
		for part < len(r.shares) && i >= end+r.shares[part] {
			end += r.shares[part]
			part++
		}
		shares[part]++
	}
	return shares
}

// example renders the request's first series for the log.
func (r *request) example() string {
	return renderFirst(r.protocol, r.body)
}

// split returns the first and the second half of the request's series. Each series has one sample, so that no half has a
// sample that is older than one of the same series in the other's past.
func (r *request) split() (first, second request) {
	return r.splitAt(r.Samples / 2)
}

// splitAt returns the first n series and the others.
func (r *request) splitAt(n int) (first, second request) {
	c := r.contents()
	first, second = r.part(c, upTo(0, n)), r.part(c, upTo(n, c.len()))
	first.trial, second.trial = r.trial, r.trial
	return first, second
}

// maxPieces is into how many a request is cut at once: each piece of 2.0 has its own copy of the strings that all share.
const maxPieces = 4

// pieces cuts the request into as many as its message has times that number of bytes, but at most maxPieces: those may have to
// be cut again.
func (r *request) pieces(most int64) []request {
	c := r.contents()
	n := int(min((r.size()+most-1)/most, int64(r.Samples), maxPieces))
	pieces := make([]request, n)
	for i := range pieces {
		pieces[i] = r.part(c, upTo(i*r.Samples/n, (i+1)*r.Samples/n))
		pieces[i].trial = r.trial
	}
	return pieces
}

// middle is how many of the parts have about half of the series, and some but not all of them.
func (r *request) middle() (parts int) {
	n := 0
	for i, share := range r.shares {
		if n += share; n == r.Samples {
			break
		}
		if n > 0 {
			parts = i + 1
		}
		if 2*n >= r.Samples {
			break
		}
	}
	return parts
}

// cutOld separates the samples that are older than a timestamp.
func (r *request) cutOld(oldest int64) (kept, old request) {
	c := r.contents()
	old, kept = r.divide(c, func(i int) bool {
		ts, _ := c.point(i)
		return ts < oldest
	})
	kept.trial, kept.probe = r.trial, r.probe
	return kept, old
}

// divide separates the series of the request's contents for which a function returns true.
func (r *request) divide(c contents, which func(i int) bool) (these, others request) {
	var of, rest []int
	for i := range c.len() {
		if which(i) {
			of = append(of, i)
		} else {
			rest = append(rest, i)
		}
	}
	return r.part(c, of), r.part(c, rest)
}

// asV1 returns as a request of 1.0 those of the first series of one of 2.0 that 1.0 can carry, apart the others of them, and what is
// later than the first so many bytes of 1.0.
func (r *request) asV1(most int64) (v1, unfit, later request) {
	c := takeApartV2(block.Decompress(r.body))
	n := c.fitV1(most)
	message, kept, others := c.asV1(n)
	v1 = request{tally: tallyOf(c, kept), protocol: wire.V1, shares: r.sharesOf(kept), marks: r.marks}
	if !v1.Empty() {
		v1.body = block.Compress(message)
	}
	return v1, r.part(c, others), r.part(c, upTo(n, c.len()))
}

// sortByTime puts the samples of late batches in the order of time, and separates those of a series that have the time of
// another: a receiver would keep one of them, and say that it has all.
func (r *request) sortByTime() (kept, duplicates request) {
	c := r.contents()
	times := make([]int64, c.len())
	for i := range times {
		times[i], _ = c.point(i)
	}
	var keep, drop []int
	start := 0
	for _, n := range r.shares {
		share := upTo(start, start+n)
		start += n
		sortStable(share, func(a, b int) int { return cmp.Compare(times[a], times[b]) })
		seen := make(map[string]int64, n)
		for _, i := range share {
			series := c.key(i)
			if last, ok := seen[series]; ok && last == times[i] {
				drop = append(drop, i)
				continue
			}
			seen[series] = times[i]
			keep = append(keep, i)
		}
	}
	if len(drop) == 0 && slices.IsSorted(keep) {
		return *r, request{}
	}
	slices.Sort(drop)
	kept = request{tally: tallyOf(c, keep), protocol: r.protocol, trial: r.trial, marks: r.marks, body: block.Compress(c.encode(keep))}
	duplicates = r.part(c, drop)
	for i := range r.shares {
		kept.shares = append(kept.shares, r.shares[i]-duplicates.shares[i])
	}
	return kept, duplicates
}

// rising cuts the request into as few as possible in each of which every series steps forward in time.
func (r *request) rising() (runs []request) {
	c := r.contents()
	last := make(map[string]int64, c.len())
	start := 0
	cut := func(end int) { runs = append(runs, r.part(c, upTo(start, end))) }
	for i := range c.len() {
		ts, _ := c.point(i)
		series := c.key(i)
		if before, ok := last[series]; ok && ts <= before {
			cut(i)
			start = i
			clear(last)
		}
		last[series] = ts
	}
	cut(c.len())
	return runs
}
