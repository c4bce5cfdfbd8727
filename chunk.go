// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"encoding/binary"
	"slices"
	"sync"
	"time"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/block"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/buffers"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// chunk is a run of series, plain or packed. In 1.0 plain bytes are series as a message has them, and packed ones are
// elements of the Snappy block format, without the size that it begins with. In 2.0 plain bytes are parts: drafts with the
// symbol table that they refer to, each with its length in front; packed is a compressed message.
//
// A chunk does not lock anything. Who holds it owns it: a segment, then a batch, then the request that takes the batch.
type chunk struct {
	tally
	protocol wire.Protocol
	// sizes are those of the message that the chunk would be.
	sizes sizes
	// accepted is when its first sample was accepted.
	accepted time.Time
	// plain is nil once the series are packed.
	plain []byte
	// packed are the compressed series, which were size bytes before.
	packed []byte
	size   int
	// logged is how many samples of a log the chunk stands for: its own, and those before it that storage has lost.
	logged int
	// life is 0, or that of the earlier process that has accepted the samples. They have perhaps been sent.
	life uint64
	// entry is the number of the append with which the first of late samples came.
	entry uint64
	// after is the number of the last good batch that must have its outcome before late samples leave.
	after uint64
	// borrowed says that plain is a segment's, and must be copied by who keeps the chunk.
	borrowed bool
	// pending are the chunks that this one is being packed from, if it is not packed from its own plain bytes.
	pending []*chunk
	// packing is closed when a job has packed the chunk; it is nil if none does.
	packing chan struct{}
	// home is where the chunk is counted. The queue's lock guards it.
	home home
}

// home is the sizes of the partition and of the lane in which a chunk waits, for who must account for a change of its own. The
// zero value is that of a chunk that is in no queue.
type home struct{ partition, lane *int64 }

// chunkOverhead is what a chunk counts in a queue besides its bytes.
const chunkOverhead = 256

// minPacked is how many bytes of series are worth to be compressed for themselves. What is less waits for more of the
// partition: compressed on its own it would take more room.
const minPacked = 8 << 10

// queueCost is what n plain bytes count in a queue: what does not compress grows by a few bytes, and a queue that is full
// already has no room for them.
func queueCost(n int) int64 {
	return int64(n + block.MaxGrowth(n) + chunkOverhead)
}

// cost is the bytes that the chunk holds. The last plain chunk of a partition may have room for as many more as fill it.
func (c *chunk) cost() int64 {
	switch {
	case c.pending != nil:
		return chunksCost(c.pending)
	case c.plain == nil:
		return int64(len(c.packed) + chunkOverhead)
	default:
		return queueCost(len(c.plain))
	}
}

func chunksCost(chunks []*chunk) int64 {
	n := int64(0)
	for _, c := range chunks {
		n += c.cost()
	}
	return n
}

// maxJoined is how many bytes of 2.0 are too many to be copied: to be compressed they need not stand together.
const maxJoined = 2 << 10

// joins says whether the plain bytes of another chunk may be copied to the end of this one: small runs are, so that many
// of them do not take more for themselves than for their bytes.
func (c *chunk) joins(o *chunk) bool {
	most := minPacked
	if o.protocol == wire.V2 {
		most = maxJoined
	}
	return c.packing == nil && c.plain != nil && o.plain != nil && c.protocol == o.protocol && c.after == o.after &&
		len(o.plain) < most && len(c.plain) < block.Size
}

// join copies another chunk to the end. There is room for as much again then: append would copy five times as many bytes.
func (c *chunk) join(o *chunk) {
	if len(c.plain)+len(o.plain) > cap(c.plain) {
		outgrown := c.plain
		c.plain = append(buffers.Sized(len(c.plain)+max(len(c.plain), len(o.plain))), outgrown...)
		buffers.GiveSized(outgrown)
	}
	c.plain = append(c.plain, o.plain...)
	c.sizes = c.sizes.plus(o.sizes)
	c.logged += o.logged
	c.add(&o.tally)
}

// full says that a chunk of 1.0 has as many plain bytes as Snappy compresses together.
func (c *chunk) full() bool {
	return c.protocol == wire.V1 && c.packing == nil && len(c.plain) >= block.Size
}

// pack compresses the plain series of 1.0 that nobody else knows yet.
func (c *chunk) pack() {
	c.packed, c.size = slices.Clip(block.AppendElements(nil, c.plain)), len(c.plain)
	c.plain = nil
}

// leave says that the chunk is in no queue any more.
func (c *chunk) leave() {
	c.home = home{}
	for _, p := range c.pending {
		p.leave()
	}
}

// packedForm is what the chunk becomes when it is packed: its bytes, how many there were before, and what they were made from.
// It waits for jobs that pack what it consists of.
func (c *chunk) packedForm() (packed []byte, size int, from []*chunk) {
	from = c.pending
	if from == nil {
		from = []*chunk{{protocol: c.protocol, plain: c.plain}}
	}
	if c.protocol == wire.V2 {
		return mergedBody(from), 0, from
	}
	j := joinChunks(from)
	defer joiners.Put(j)
	return buffers.Copy(j.Elements()), j.Size(), from
}

// giveBytes gives back the bytes of chunks that nobody else knows any more, and of which something else was made. That may be
// the bytes of the only one, which stay then.
func giveBytes(chunks []*chunk, made []byte) {
	for _, c := range chunks {
		buffers.GiveSized(c.plain)
		if len(c.packed) > 0 && &c.packed[0] != &made[0] {
			buffers.GiveSized(c.packed)
		}
		c.plain, c.packed = nil, nil
	}
}

// body is the message that the chunks are together, in their order.
func body(p wire.Protocol, chunks []*chunk) []byte {
	if p == wire.V2 {
		return mergedBody(chunks)
	}
	return joinedBody(chunks)
}

// joinedBody is the body of a 1.0 message.
func joinedBody(chunks []*chunk) []byte {
	j := joinChunks(chunks)
	defer joiners.Put(j)
	return block.WithSize(j.Elements(), j.Size())
}

// joiners join the elements of chunks. Each has an owner from Get to Put.
var joiners = sync.Pool{New: func() any { return new(block.Joiner) }}

// joinChunks joins the elements of chunks in a row. Neighbouring plain runs are compressed together.
func joinChunks(chunks []*chunk) *block.Joiner {
	j := joiners.Get().(*block.Joiner)
	j.Reset()
	plain := buffers.Take()
	flush := func(least int) {
		for len(plain) > least {
			n := min(len(plain), block.Size)
			j.AddPlain(plain[:n])
			plain = plain[:copy(plain, plain[n:])]
		}
	}
	for _, c := range chunks {
		c.wait()
		if c.plain != nil {
			plain = append(plain, c.plain...)
			flush(block.Size)
			continue
		}
		flush(0)
		j.Add(c.packed, c.size)
	}
	flush(0)
	buffers.Give(plain)
	return j
}

// wait waits until nobody packs the chunk any more.
func (c *chunk) wait() {
	if c.packing != nil {
		<-c.packing
	}
}

// mergedBody is the body of a 2.0 message, with one symbol table for all.
func mergedBody(chunks []*chunk) []byte {
	for _, c := range chunks {
		c.wait()
	}
	if len(chunks) == 1 && chunks[0].plain == nil {
		return chunks[0].packed
	}
	merger := mergers.Get().(*wire.Merger)
	defer mergers.Put(merger)
	merger.Reset()
	for _, c := range chunks {
		if c.plain == nil {
			parsed := takeApartV2(block.Decompress(c.packed))
			mustRead(merger.Add(&parsed.ParsedV2, parsed.Series))
		}
		for rest := c.plain; len(rest) > 0; {
			var part []byte
			part, rest = nextPart(rest)
			merger.AddDrafts(part)
		}
	}
	merged := merger.Message(buffers.Take())
	defer buffers.Give(merged)
	return block.Compress(merged)
}

// contents takes a chunk apart.
func (c *chunk) contents() contents {
	return takeApart(c.protocol, block.Decompress(body(c.protocol, []*chunk{c})))
}

// part is a packed chunk of some of the series of another one's contents.
func (c *chunk) part(from contents, indices []int) *chunk {
	p := &chunk{tally: tallyOf(from, indices), protocol: c.protocol, accepted: c.accepted}
	if p.Empty() {
		return p
	}
	message := from.encode(indices)
	// What is packed in 2.0 counts its symbols as bytes.
	p.size, p.sizes.plain = len(message), len(message)
	if c.protocol == wire.V2 {
		p.packed = block.Compress(message)
		return p
	}
	p.packed = slices.Clip(block.AppendElements(nil, message))
	return p
}

// example renders the first series for the log.
func (c *chunk) example() string {
	return renderFirst(c.protocol, body(c.protocol, []*chunk{c}))
}

// mergers make messages of drafts. Each has an owner from Get to Put.
var mergers = sync.Pool{New: func() any { return new(wire.Merger) }}

// beginPart appends room for the length of a part of drafts, which endPart writes.
func beginPart(b []byte) (_ []byte, start int) {
	return append(b, 0, 0, 0, 0), len(b)
}

func endPart(b []byte, start int) {
	binary.LittleEndian.PutUint32(b[start:], uint32(len(b)-start-partHeaderLen))
}

const partHeaderLen = 4

// nextPart takes the first part off a chunk of drafts.
func nextPart(plain []byte) (part, rest []byte) {
	n := partHeaderLen + int(binary.LittleEndian.Uint32(plain))
	return plain[partHeaderLen:n], plain[n:]
}
