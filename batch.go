package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"fmt"
	"sync"
	"time"

	"github.com/golang/snappy"
)

// batch is a sealed message on its way through the queue.
type batch struct {
	message
	// body is the compressed message, the body of the request. The message itself is let go when body is there.
	body []byte
	// accepted is when its first sample was accepted.
	accepted time.Time
	// ready is closed when body is final. It is nil for a batch whose body was final before it entered the queue.
	ready chan struct{}
	// excised are the series that the guard has taken out, in order, until body is made without them.
	excised []indexEntry
	// evicted is set under the partition's lock when the batch is dropped from the queue.
	evicted bool
}

// size is the bytes that the batch takes in a queue.
func (b *batch) size() int64 {
	return cost(len(b.raw)) + int64(len(b.body))
}

// cost is what a message of n bytes counts in a queue until it is compressed: what does not compress grows by a few
// bytes, and a queue that is full already has no room for them.
func cost(n int) int64 {
	if n == 0 {
		return 0
	}
	return int64(n + n>>10 + 16)
}

// encoded returns the body that the batch shall have.
func (b *batch) encoded() []byte {
	if b.body == nil {
		return b.compressed()
	}
	c := takeApart(b.protocol, decompress(b.body))
	var kept []int
	excised := b.excised
	for i := range c.len() {
		if len(excised) > 0 && excised[0].number == i {
			excised = excised[1:]
			continue
		}
		kept = append(kept, i)
	}
	m := c.message(kept)
	return m.compressed()
}

// example renders the first series of the batch for the log.
func (b *batch) example() string {
	return renderFirst(b.protocol, decompress(b.body))
}

// buffers are for messages and for their compression. Who takes one owns it until it is given back.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

func takeBuffer() []byte {
	return (*buffers.Get().(*[]byte))[:0]
}

func giveBuffer(b []byte) {
	if cap(b) > 0 {
		buffers.Put(&b)
	}
}

// compress returns the Snappy block format of a message (Remote-Write 1.0, "Protocol"), in exactly as many bytes as it
// takes: it is what the queue holds.
func compress(raw []byte) []byte {
	scratch := takeBuffer()
	if n := snappy.MaxEncodedLen(len(raw)); cap(scratch) < n {
		scratch = make([]byte, n)
	}
	encoded := snappy.Encode(scratch[:cap(scratch)], raw)
	body := make([]byte, len(encoded))
	copy(body, encoded)
	giveBuffer(scratch)
	return body
}

// decompress undoes compress.
func decompress(body []byte) []byte {
	raw, err := snappy.Decode(nil, body)
	if err != nil {
		// It was made by compress and has not left the process since.
		panic(fmt.Sprintf("a batch cannot be decompressed: %v", err))
	}
	return raw
}
