package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"slices"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/block"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/buffers"
)

// job is what is compressed when the partition's lock is free again, by who has filled it: a chunk of an open batch, or a
// sealed batch if chunk is nil.
type job struct {
	owner owner
	batch *batch
	chunk *chunk
}

// owner accounts for what a batch takes.
type owner interface {
	// resize changes a batch under the owner's lock.
	resize(b *batch, change func())
}

// run compresses, and then accounts for what that has changed.
func (j job) run() {
	if j.chunk != nil {
		j.compressChunk()
		return
	}
	b, body := j.batch, j.batch.encoded()
	chunks := b.chunks
	j.owner.resize(b, func() { b.body, b.chunks, b.excised = body, nil, nil })
	close(b.sealed)
	release(chunks)
}

func (j job) compressChunk() {
	c, plain := j.chunk, j.chunk.plain
	elements := slices.Clip(block.AppendElements(nil, plain))
	j.owner.resize(j.batch, func() { c.plain, c.elements = nil, elements })
	close(c.compressed)
	buffers.Give(plain)
}
