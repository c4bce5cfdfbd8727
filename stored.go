// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/block"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/buffers"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// The stored form of a run is its chunk with its numbers in front. Series are always compressed in it; those of 2.0 that are
// not a message yet are marked.
const (
	storedAlone = 1 << iota
	storedDrafts
	storedHolds
	storedAhead
)

var errStoredRun = errors.New("a stored run cannot be read")

// appendStored appends the stored form of a run.
func appendStored(b []byte, r *run) []byte {
	c := r.chunk
	flags := byte(0)
	if r.alone {
		flags |= storedAlone
	}
	if r.holds {
		flags |= storedHolds
	}
	if r.ahead {
		flags |= storedAhead
	}
	packed, size := c.packed, c.size
	switch {
	case c.plain == nil:
	case c.protocol == wire.V1:
		elements := block.AppendElements(buffers.Take(), c.plain)
		defer buffers.Give(elements)
		packed, size = elements, len(c.plain)
	default:
		flags |= storedDrafts
		packed = block.Compress(c.plain)
	}
	b = append(b, flags, byte(c.protocol))
	for _, n := range []int{c.Samples, c.Histograms, c.Exemplars, c.sizes.plain, c.sizes.refs, c.sizes.symbols, size} {
		b = binary.AppendUvarint(b, uint64(n))
	}
	for _, n := range []int64{c.oldest, c.newest, c.accepted.UnixNano()} {
		b = binary.AppendVarint(b, n)
	}
	return append(b, packed...)
}

// readStored reads a stored run. The bytes are copied: they are a small part of a large record.
func readStored(b []byte, now time.Time) (run, error) {
	if len(b) < 2 || wire.Protocol(b[1]) != wire.V1 && wire.Protocol(b[1]) != wire.V2 {
		return run{}, errStoredRun
	}
	flags := b[0]
	c := &chunk{protocol: wire.Protocol(b[1])}
	b = b[2:]
	for _, n := range []*int{&c.Samples, &c.Histograms, &c.Exemplars, &c.sizes.plain, &c.sizes.refs, &c.sizes.symbols, &c.size} {
		v, read := binary.Uvarint(b)
		if read <= 0 {
			return run{}, errStoredRun
		}
		*n, b = int(v), b[read:]
	}
	accepted := int64(0)
	for _, n := range []*int64{&c.oldest, &c.newest, &accepted} {
		v, read := binary.Varint(b)
		if read <= 0 {
			return run{}, errStoredRun
		}
		*n, b = v, b[read:]
	}
	// The clock may have been set back, or be so later. What waits must not wait for it: its age counts.
	c.accepted = now.Add(-max(now.Sub(time.Unix(0, accepted)), 0))
	if flags&storedDrafts != 0 {
		c.plain = block.Decompress(b)
	} else {
		c.packed = slices.Clone(b)
	}
	return run{chunk: c, alone: flags&storedAlone != 0, holds: flags&storedHolds != 0, ahead: flags&storedAhead != 0}, nil
}

// readRecovered reads what an earlier process has stored, with what the guard must know of it. An earlier version may have had a
// fault, which must not keep a later one from starting: unlike contents of this process these may be unreadable.
func readRecovered(b []byte, now time.Time) (r run, index []indexEntry, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("%w: %v", errStoredRun, v)
		}
	}()
	if r, err = readStored(b, now); err != nil {
		return r, nil, err
	}
	of := r.chunk.contents()
	index = make([]indexEntry, of.len())
	for i := range index {
		index[i].timestamp, _ = of.point(i)
		index[i].identity = of.identity(i)
	}
	return r, index, nil
}
