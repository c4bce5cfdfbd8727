// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// composed makes a request of hostile payloads as a queue does: of chunks of several partitions, plain ones, joined ones and packed ones.
func composed(t *testing.T, r *rand.Rand, tr *testTranslator) request {
	batches := make([]batch, len(tr.segments))
	for range 1 + r.IntN(3) {
		md := hostilePayload(r.Uint64())
		tr.translate(md)
		for _, i := range tr.touched {
			b := &batches[i]
			for j := range tr.segments[i].chunks {
				c := &tr.segments[i].chunks[j].chunk
				if n := c.Samples; r.IntN(4) == 0 {
					// The guard has taken something out.
					c = c.part(c.contents(), upTo(r.IntN(n), n))
				}
				b.protocol = c.protocol
				if full := b.append(c, home{}); full != nil {
					full.packing = make(chan struct{})
					packAlone(full)
				}
			}
			if len(b.chunks) > 0 && r.IntN(4) == 0 {
				packAlone(b.whole(home{}))
			}
		}
		tr.reset()
	}
	req := request{protocol: tr.protocol}
	var chunks []*chunk
	for i := range batches {
		req.add(&batches[i].tally)
		req.shares = append(req.shares, batches[i].Samples)
		chunks = append(chunks, batches[i].chunks...)
	}
	if !req.Empty() {
		req.body = body(req.protocol, chunks)
		giveBytes(chunks, req.body)
	}
	return req
}

// packAlone is queue.pack for a chunk that is in no queue.
func packAlone(c *chunk) {
	packed, size, from := c.packedForm()
	c.plain, c.pending, c.packed, c.size = nil, nil, packed, size
	giveBytes(from, packed)
	close(c.packing)
}

// lines are the series of a request, which must be what it says that it has.
func lines(t *testing.T, r *request) (series []string) {
	if r.Empty() {
		assert.Empty(t, r.body)
		return nil
	}
	var counted tally
	c := r.contents()
	for i, p := range decodeMessage(t, r.protocol, r.body) {
		ts, histogram := c.point(i)
		counted.count(ts, histogram, c.exemplars(i))
		series = append(series, seriesString(p.Labels)+" "+pointString(t, p.TimeSeries)+" "+p.origin)
		assert.Equal(t, identityOf(c.labels(i)), c.identity(i))
	}
	if r.protocol == wire.V1 {
		counted.Exemplars = r.Exemplars // of which nobody keeps account
	}
	assert.Equal(t, counted, r.tally)
	assert.Equal(t, r.Samples, sum(r.shares))
	return series
}

// TestRequestsAreTakenApart in all ways, again and again: nothing is lost, is there twice, or becomes another, and nothing but a sort
// changes the order.
func TestRequestsAreTakenApart(t *testing.T) {
	first := seed(t)
	for n := range uint64(120) {
		r := rand.New(rand.NewPCG(first+n, 0))
		cfg := variedConfig(first + n)
		tr := newTestTranslator(cfg)
		whole := composed(t, r, tr)
		want := lines(t, &whole)
		requests, sorted := []request{whole}, false
		for range r.IntN(12) {
			i := r.IntN(len(requests))
			q := &requests[i]
			if q.Samples < 2 {
				continue
			}
			var parts []request
			two := func(a, b request) { parts = []request{a, b} }
			switch r.IntN(7) {
			case 0:
				two(q.split())
			case 1:
				two(q.splitAt(r.IntN(q.Samples + 1)))
			case 2:
				parts = q.pieces(1 + r.Int64N(q.size()))
			case 3:
				parts = q.rising()
			case 4:
				sorted = true
				two(q.sortByTime())
			case 5:
				sorted = true
				two(q.divide(q.contents(), func(i int) bool { return i%3 == 0 }))
			default:
				sorted = true
				two(q.cutOld(q.oldest + r.Int64N(max(q.newest-q.oldest, 1))))
			}
			requests = slices.Replace(requests, i, i+1, parts...)
		}
		var got []string
		for i := range requests {
			if part := &requests[i]; !part.Empty() {
				require.Len(t, part.shares, len(whole.shares))
				got = append(got, lines(t, part)...)
			}
		}
		if sorted {
			slices.Sort(want)
			slices.Sort(got)
		}
		assert.Equal(t, want, got)
		if t.Failed() {
			t.Fatal(fmt.Sprint("configuration ", first+n))
		}
	}
}
