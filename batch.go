package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/golang/snappy"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
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
	return b.cost() + int64(len(b.body))
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
	encoded := encodeSnappy(takeBuffer(), raw)
	defer giveBuffer(encoded)
	return slices.Clone(encoded)
}

// encodeSnappy is snappy.Encode that uses all of a buffer, whatever is in it.
func encodeSnappy(buf, raw []byte) []byte {
	buf = slices.Grow(buf[:0], snappy.MaxEncodedLen(len(raw)))
	return snappy.Encode(buf[:cap(buf)], raw)
}

// blockSize is how many bytes Snappy looks at together: what is compressed in blocks of this size takes as many bytes as
// in one piece.
const blockSize = 1 << 16

// appendElements appends compressed bytes without the size that the Snappy block format begins with. The format's elements
// refer to nothing before the bytes that were compressed together, so that elements can be joined: they are what the bytes
// become in a row (Snappy, "format_description.txt", 1 and 2).
func appendElements(b, raw []byte) []byte {
	encoded := encodeSnappy(takeBuffer(), raw)
	defer giveBuffer(encoded)
	return append(b, encoded[wire.UvarintLen(uint64(len(raw))):]...)
}

// withSize makes the Snappy block format of elements.
func withSize(elements []byte, size int) []byte {
	b := make([]byte, 0, wire.UvarintLen(uint64(size))+len(elements))
	return append(binary.AppendUvarint(b, uint64(size)), elements...)
}

// joinParts makes the body of a 1.0 message of its parts.
func joinParts(raw []byte, parts []part) []byte {
	elements, size, at := takeBuffer(), 0, 0
	for _, p := range parts {
		if p.piece != nil {
			<-p.piece.done
			elements = append(elements, p.piece.elements...)
			size += p.piece.size
			continue
		}
		series := raw[at:p.end]
		at = p.end
		if p.packed > 0 && p.excised == nil {
			elements = append(elements, series...)
			size += p.packed
			continue
		}
		if p.packed > 0 {
			series = excise(nil, decompress(withSize(series, p.packed)), p.excised)
		}
		elements = appendElements(elements, series)
		size += len(series)
	}
	defer giveBuffer(elements)
	return withSize(elements, size)
}

// piece is as many plain bytes of an open batch as Snappy compresses together. Who has filled it up compresses it, outside the
// partition's lock, so that an open batch is never large.
type piece struct {
	partition *partition
	// raw and elements are the bytes before and after compression. The partition's lock guards which of them it is.
	raw, elements []byte
	// size is how many bytes there are before compression.
	size int
	// gone says that the piece is not in the partition's queue any more.
	gone bool
	// done is closed when it is compressed.
	done chan struct{}
}

// cost is what the piece counts in a queue, as message.cost.
func (p *piece) cost() int64 {
	if p.raw == nil {
		return int64(len(p.elements))
	}
	return int64(p.size + p.size>>10 + 16)
}

// encode compresses the piece.
func (p *piece) encode() {
	elements := slices.Clip(appendElements(nil, p.raw))
	p.partition.mu.Lock()
	raw, before := p.raw, p.cost()
	p.raw, p.elements = nil, elements
	if !p.gone {
		p.partition.size += p.cost() - before
		p.partition.signalSpace()
	}
	p.partition.mu.Unlock()
	close(p.done)
	giveBuffer(raw)
}

// detach takes a block of plain bytes out of the message if it ends with as many.
func (m *message) detach(p *partition) *piece {
	last := len(m.parts) - 1
	start := 0
	if last > 0 {
		start = m.parts[last-1].end
	}
	if m.parts[last].packed > 0 || len(m.raw)-start < blockSize {
		return nil
	}
	piece := &piece{partition: p, size: blockSize, done: make(chan struct{})}
	// The piece keeps the buffer, if it is all that is in it but for a rest, which is less to copy.
	spare := slices.Grow(takeBuffer(), blockSize+minPacked)
	if start == 0 {
		piece.raw, m.raw = m.raw[:blockSize], append(spare, m.raw[blockSize:]...)
	} else {
		piece.raw = append(spare, m.raw[start:start+blockSize]...)
		m.raw = append(m.raw[:start], m.raw[start+blockSize:]...)
	}
	m.parts[last] = part{end: start, piece: piece}
	if len(m.raw) > start {
		m.parts = append(m.parts, part{end: len(m.raw)})
	}
	return piece
}

// forget says of a message's pieces that they are not in the queue any more. The partition's lock must be held.
func (m *message) forget() {
	for i := range m.parts {
		if p := m.parts[i].piece; p != nil {
			p.gone = true
		}
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

// decompress undoes compress.
func decompress(body []byte) []byte {
	raw, err := snappy.Decode(nil, body)
	if err != nil {
		// It was made by compress and has not left the process since.
		panic(fmt.Sprintf("a batch cannot be decompressed: %v", err))
	}
	return raw
}
