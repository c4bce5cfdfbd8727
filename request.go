package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/block"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// request is what one POST carries: a batch or a part of one.
type request struct {
	tally
	protocol wire.Protocol
	// body is the compressed message.
	body []byte
	// trial is the one that the request is part of, or nil.
	trial *trial
	// probe says that the message of 2.0 is sent to find out whether the endpoint reads it again.
	probe bool
}

func requestOf(b *batch) request {
	return request{tally: b.tally, protocol: b.protocol, body: b.body}
}

// contents takes the request apart.
func (r *request) contents() contents {
	return takeApart(r.protocol, block.Decompress(r.body))
}

// part is a request with some of the series of another's contents.
func (r *request) part(c contents, indices []int) request {
	p := request{tally: tallyOf(c, indices), protocol: r.protocol}
	if !p.Empty() {
		p.body = block.Compress(c.encode(indices))
	}
	return p
}

// example renders the request's first series for the log.
func (r *request) example() string {
	return renderFirst(r.protocol, r.body)
}

// split returns the first and the second half of the request's series. Each series has one sample, so that no half has a
// sample that is older than one of the same series in the other's past.
func (r *request) split() (first, second request) {
	c := r.contents()
	indices := make([]int, c.len())
	for i := range indices {
		indices[i] = i
	}
	half := len(indices) / 2
	first, second = r.part(c, indices[:half]), r.part(c, indices[half:])
	first.trial, second.trial = r.trial, r.trial
	return first, second
}

// cutOld separates the samples that are older than a timestamp.
func (r *request) cutOld(oldest int64) (kept, old request) {
	c := r.contents()
	var keep, cut []int
	for i := range c.len() {
		if ts, _ := c.point(i); ts < oldest {
			cut = append(cut, i)
		} else {
			keep = append(keep, i)
		}
	}
	kept, old = r.part(c, keep), r.part(c, cut)
	kept.trial, kept.probe = r.trial, r.probe
	return kept, old
}

// asV1 returns a request of 2.0 as one of 1.0, and apart what 1.0 cannot carry.
func (r *request) asV1() (v1, rest request) {
	c := takeApartV2(block.Decompress(r.body))
	message, kept, others := c.asV1()
	v1 = request{tally: tallyOf(c, kept), protocol: wire.V1}
	if !v1.Empty() {
		v1.body = block.Compress(message)
	}
	return v1, r.part(c, others)
}
