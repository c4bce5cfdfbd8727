// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"slices"
	"time"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/buffers"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// batch is what waits in a partition for the same request: open while it fills up, then sealed. A sealed batch travels as it
// is; open batches of several partitions are combined.
type batch struct {
	tally
	protocol wire.Protocol
	// sizes are those of the message that the batch becomes.
	sizes  sizes
	chunks []*chunk
	// accepted is when its first sample was accepted.
	accepted time.Time
	// logged and life are those of the chunks.
	logged int
	life   uint64
	// number counts the good batches of a partition.
	number uint64
	// packed is how many samples the batch had when it was made one chunk.
	packed int
}

// admit says whether so much can be added to a message within the limits. Anything fits an empty one, so that a series over
// the limit travels alone.
func (c *BatchConfig) admit(samples int, size sizes, moreSamples int, more sizes) bool {
	return samples == 0 || samples+moreSamples <= c.MaxSamples && size.plus(more).bytes() <= int64(c.MaxSizeBytes)
}

// append adds a copy of a chunk, with its home, or joins it to the last one. It returns the chunk that
// is full then and must be packed, or nil.
func (b *batch) append(c *chunk, h home) (full *chunk) {
	b.add(&c.tally)
	b.sizes = b.sizes.plus(c.sizes)
	b.logged += c.logged
	if n := len(b.chunks); n > 0 && b.chunks[n-1].joins(c) {
		last := b.chunks[n-1]
		if last.join(c); last.full() {
			return last
		}
		return nil
	}
	kept := *c
	kept.home = h
	if kept.borrowed {
		kept.plain, kept.borrowed = buffers.Copy(c.plain), false
	}
	b.chunks = append(b.chunks, &kept)
	return nil
}

// take takes chunks off the front as long as they fit beside what a request has already, and at least one if it is empty, and as
// long as they wait for no good batch from the number unsettled on. It returns what it took as a batch of its own, or nil.
func (b *batch) take(limits *BatchConfig, samples int, size sizes, unsettled uint64) *batch {
	taken := &batch{protocol: b.protocol, accepted: b.accepted, life: b.life}
	n := 0
	for _, c := range b.chunks {
		if c.after >= unsettled || !limits.admit(samples+taken.Samples, size.plus(taken.sizes), c.Samples, c.sizes) {
			break
		}
		taken.add(&c.tally)
		taken.sizes = taken.sizes.plus(c.sizes)
		taken.logged += c.logged
		n++
	}
	if n == 0 {
		return nil
	}
	taken.chunks = slices.Clip(b.chunks[:n])
	b.rest(n)
	return taken
}

// rest leaves out the first n chunks.
func (b *batch) rest(n int) {
	b.tally, b.sizes, b.logged, b.packed = tally{}, sizes{}, 0, 0
	if b.chunks = slices.Clone(b.chunks[n:]); len(b.chunks) > 0 {
		b.accepted = b.chunks[0].accepted
	}
	for _, c := range b.chunks {
		b.add(&c.tally)
		b.sizes = b.sizes.plus(c.sizes)
		b.logged += c.logged
	}
}

// addLogged adds samples that storage has lost behind the last chunk.
func (b *batch) addLogged(n int) {
	b.logged += n
	b.chunks[len(b.chunks)-1].logged += n
}

// whole makes one chunk of all, which is to be packed.
func (b *batch) whole(h home) *chunk {
	c := &chunk{
		tally: b.tally, protocol: b.protocol, sizes: b.sizes, accepted: b.accepted, logged: b.logged, life: b.life,
		after: b.chunks[len(b.chunks)-1].after, entry: b.chunks[0].entry, pending: b.chunks, packing: make(chan struct{}), home: h,
	}
	b.chunks, b.packed = []*chunk{c}, b.Samples
	return c
}

// grown says whether enough has come since the batch was made one chunk that it is worth to make one again.
func (b *batch) grown() bool { return b.Samples-b.packed >= b.packed/packedGrowth }

// packedGrowth is the part of what is packed that may wait beside it as it is. If all were packed again with each few samples, an
// outage would take much time.
const packedGrowth = 8

// leave says of all chunks that they are in no queue any more, and returns what they cost there.
func (b *batch) leave() (cost int64) {
	cost = chunksCost(b.chunks)
	for _, c := range b.chunks {
		c.leave()
	}
	return cost
}
