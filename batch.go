package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"slices"
	"sync"
	"time"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/block"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/buffers"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// batch is what waits in a partition for one request: open while it fills up, then sealed, then in flight.
type batch struct {
	tally
	protocol wire.Protocol
	// sizes are those of the message that the batch becomes.
	sizes sizes
	// chunks are the series of an open batch, until body is made of them.
	chunks []*chunk
	// body is the compressed message, the body of the request.
	body []byte
	// accepted is when its first sample was accepted.
	accepted time.Time
	// sealed is closed when body is final. It is nil for a batch whose body was final before it entered the queue.
	sealed chan struct{}
	// excised are the series of body that the guard has taken out, in order, until it is made without them.
	excised []indexEntry
	// evicted says that the batch is not in its queue any more: who compresses it must not account for it again.
	evicted bool
}

// cost is the bytes that the batch takes in a queue.
func (b *batch) cost() int64 {
	n := int64(len(b.body))
	for _, c := range b.chunks {
		n += c.cost()
	}
	return n
}

// admit says whether so much can be added to a message within the limits. Anything fits an empty one, so that a series over
// the limit travels alone.
func (c *BatchConfig) admit(samples int, size sizes, moreSamples int, more sizes) bool {
	return samples == 0 || samples+moreSamples <= c.MaxSamples && size.plus(more).bytes() <= int64(c.MaxSizeBytes)
}

// run is series that a batch takes.
type run interface {
	// compressed returns the series as elements that were size bytes, or a size of 0 if they are plain.
	compressed() (elements []byte, size int)
	// appendPlain appends plain series as a chunk has them, without those that are excised.
	appendPlain(b []byte, excised []indexEntry) []byte
}

// append adds a run, without the series that are excised. In 1.0 it returns the chunk that is full
// then, which must be compressed. capacity is how many bytes are expected in all.
func (b *batch) append(r run, excised []indexEntry, capacity int) (full *chunk) {
	if elements, size := r.compressed(); size > 0 {
		b.chunks = append(b.chunks, &chunk{elements: slices.Clone(elements), size: size, excised: excised})
		return nil
	}
	last := b.lastPlain(capacity)
	last.plain = r.appendPlain(last.plain, excised)
	if b.protocol == wire.V2 || !last.full() {
		return nil
	}
	if rest := last.cut(); len(rest.plain) > 0 {
		b.chunks = append(b.chunks, rest)
	}
	return last
}

// lastPlain returns the chunk at the end if its series are plain and nobody compresses it, or else a new one.
func (b *batch) lastPlain(capacity int) *chunk {
	if n := len(b.chunks); n > 0 {
		if c := b.chunks[n-1]; c.plain != nil && c.compressed == nil {
			return c
		}
	}
	c := &chunk{plain: slices.Grow(buffers.Take(), capacity)}
	b.chunks = append(b.chunks, c)
	return c
}

// example renders the first series of the batch for the log.
func (b *batch) example() string {
	return renderFirst(b.protocol, b.body)
}

// encoded returns the body that the batch must have.
func (b *batch) encoded() []byte {
	switch {
	case b.body != nil:
		return b.excisedBody()
	case b.protocol == wire.V1:
		return joinChunks(b.chunks)
	default:
		return mergeChunks(b.chunks)
	}
}

// excisedBody is the body without the series that are excised.
func (b *batch) excisedBody() []byte {
	c := takeApart(b.protocol, block.Decompress(b.body))
	var kept []int
	excised := b.excised
	for i := range c.len() {
		if len(excised) > 0 && excised[0].number == i {
			excised = excised[1:]
			continue
		}
		kept = append(kept, i)
	}
	return block.Compress(c.encode(kept))
}

// mergeChunks makes the body of a 2.0 message of drafts.
func mergeChunks(chunks []*chunk) []byte {
	merger := mergers.Get().(*wire.Merger)
	defer mergers.Put(merger)
	merger.Reset()
	for _, c := range chunks {
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

// mergers make messages of drafts. Each has an owner from Get to Put.
var mergers = sync.Pool{New: func() any { return new(wire.Merger) }}
