package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"encoding/binary"
	"slices"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/block"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/buffers"
)

// chunk is a run of series of an open batch, plain or compressed. In 1.0 plain bytes are series as a message has them. In
// 2.0 they are parts: drafts with the symbol table that they refer to, each with its length in front.
//
// A chunk does not lock anything: its owner is the batch that it is in, or while it is compressed the job that does so.
type chunk struct {
	// plain is the bytes of the series, in a buffer of the chunk's own, or nil once they are compressed.
	plain []byte
	// elements are the compressed series, without the size that the block format begins with, in as many bytes as they take.
	elements []byte
	// size is how many bytes the elements were before compression.
	size int
	// excised are series of the elements that the guard has taken out, in order. They are cut out when the batch is sealed.
	excised []indexEntry
	// compressed is closed when the elements are there, or nil if nobody makes them.
	compressed chan struct{}
}

// chunkOverhead is what a chunk counts in a queue besides its bytes.
const chunkOverhead = 64

// queueCost is what n bytes of a chunk count in a queue until they are compressed: what does not compress grows by a few
// bytes, and a queue that is full already has no room for them.
func queueCost(n int) int64 {
	return int64(n + block.MaxGrowth(n) + chunkOverhead)
}

// cost is what the chunk counts in a queue.
func (c *chunk) cost() int64 {
	if c.plain == nil {
		return int64(len(c.elements) + chunkOverhead)
	}
	return queueCost(len(c.plain))
}

// minPacked is how many bytes of series are worth to be compressed for themselves. What is less waits for more of the
// partition: compressed on its own it would take more room.
const minPacked = block.Size / 2

// full says that an open chunk of 1.0 has as many bytes as Snappy compresses together.
func (c *chunk) full() bool {
	return len(c.plain) >= block.Size
}

// cut makes the chunk as long as Snappy compresses together, and returns the rest as a chunk of its own. Who calls it must
// have the chunk compressed.
func (c *chunk) cut() *chunk {
	rest := &chunk{plain: append(slices.Grow(buffers.Take(), block.Size+minPacked), c.plain[block.Size:]...)}
	c.plain, c.size = c.plain[:block.Size], block.Size
	c.compressed = make(chan struct{})
	return rest
}

// joinChunks makes the body of a 1.0 message, and waits for chunks that others compress.
func joinChunks(chunks []*chunk) []byte {
	elements, size := buffers.Take(), 0
	defer func() { buffers.Give(elements) }()
	for _, c := range chunks {
		if c.compressed != nil {
			<-c.compressed
		}
		switch {
		case c.plain != nil:
			elements = block.AppendElements(elements, c.plain)
			size += len(c.plain)
		case c.excised == nil:
			elements = append(elements, c.elements...)
			size += c.size
		default:
			plain := excise(nil, block.Decompress(block.WithSize(c.elements, c.size)), c.excised)
			elements = block.AppendElements(elements, plain)
			size += len(plain)
		}
	}
	return block.WithSize(elements, size)
}

// release gives the buffers of chunks back, which nobody may use any more.
func release(chunks []*chunk) {
	for _, c := range chunks {
		buffers.Give(c.plain)
		c.plain = nil
	}
}

// excise appends the bytes of series to b, without those that are excised.
func excise(b, series []byte, excised []indexEntry) []byte {
	at := 0
	for _, e := range excised {
		b = append(b, series[at:e.start]...)
		at = e.end
	}
	return append(b, series[at:]...)
}

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
