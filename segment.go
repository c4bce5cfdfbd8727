// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"cmp"
	"slices"
	"unsafe"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/block"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/buffers"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// segment is what one payload holds for one partition. It fills up like a batch; what fills a batch is sealed and
// compressed by the caller's goroutine, before any lock is taken.
//
// In 1.0 its bytes are compressed in blocks, as they come, while they are still in the processor's cache: they are never
// together in memory. Compared with compressing whole batches this takes a fifth off the way from pdata to the request.
type segment struct {
	// tally is of what is not sealed yet.
	tally
	protocol wire.Protocol
	limits   *BatchConfig
	// sizes are those of the message that the segment would be, besides the symbols of 2.0.
	sizes sizes
	// plain is drafts without a symbol table in 2.0, and in 1.0 the series that are not compressed yet.
	plain []byte
	// elements are compressed series of 1.0 that come before those of plain.
	elements []byte
	// followers are series of 1.0 between those of plain that are compressed without having been plain.
	followers followers
	// table has the symbols of drafts.
	table wire.PartSymbols
	draft wire.Draft
	// base is the label set that is the base of drafts, and metric the metric that the draft's metadata is of; 0 is none.
	base, metric uint64
	// memo is where the base is from, and baseRefs the number of its references.
	memo     *planMemo
	baseRefs int
	// changed is scratch.
	changed []int
	// scratch and histogram are where points are encoded.
	scratch, histogram []byte
	// index is of the series that are not cut yet, in their order.
	index []indexEntry
	// chunks are what the payload brings for the partition, once the segment is finished.
	chunks []indexedChunk
	// part is where the last chunk of 2.0 stands while it is small.
	part []byte
}

func (s *segment) empty() bool {
	return s.Empty() && len(s.chunks) == 0
}

// capacity is the bytes of the segment's buffers.
func (s *segment) capacity() int {
	return cap(s.plain) + cap(s.elements) + s.followers.capacity() + cap(s.scratch) + cap(s.histogram) +
		cap(s.index)*int(unsafe.Sizeof(indexEntry{})) + cap(s.part) + cap(s.chunks)*int(unsafe.Sizeof(indexedChunk{})) + cap(s.changed)*8 + s.table.Capacity()
}

// received is the number of samples of a finished segment that were received.
func (s *segment) received() int {
	n := 0
	for i := range s.chunks {
		n += s.chunks[i].received()
	}
	return n
}

// openSizes are those of the message that is not cut yet.
func (s *segment) openSizes() sizes {
	if s.protocol == wire.V1 {
		return s.sizes
	}
	return s.sizes.plus(sizes{plain: s.table.Size(), symbols: s.table.Len()})
}

// cost is the bytes that a finished segment adds to a queue, or more.
func (s *segment) cost() int64 {
	n := int64(0)
	for i := range s.chunks {
		n += s.chunks[i].cost()
	}
	return n
}

// plainSize is the most bytes of a finished segment's messages before compression.
func (s *segment) plainSize() (n int64) {
	for i := range s.chunks {
		n += s.chunks[i].sizes.bytes()
	}
	return n
}

// reset empties the segment for a payload that is encoded as p; its buffers stay.
func (s *segment) reset(p wire.Protocol) {
	clear(s.chunks)
	s.chunks = s.chunks[:0]
	s.restart(p)
	s.index = s.index[:0]
}

// restart empties the message.
func (s *segment) restart(p wire.Protocol) {
	s.tally, s.protocol, s.sizes = tally{}, p, sizes{}
	s.plain, s.elements = s.plain[:0], s.elements[:0]
	s.followers.reset()
	s.table.Reset()
	s.base, s.metric, s.memo = 0, 0, nil
}

// makeRoom cuts what the segment holds if the series would not fit into the same request, and returns it.
func (s *segment) makeRoom(sr *series) (cut *chunk) {
	labels, rest := sr.labelsSize(), sr.point.maxSize()
	added := sizes{plain: labels + rest + wire.MaxSeriesHeaderLen}
	if s.protocol == wire.V2 {
		// This is enough even if every string is new to the table: a label's strings and references take at most twice
		// what the label takes in 1.0, where no string takes less than two bytes.
		added.plain += labels + wire.MaxMetadataLen + s.table.Size()
		if s.metric != sr.metadata.serial {
			added.plain += len(sr.metadata.help) + len(sr.metadata.unit)
		}
		added.symbols = s.table.Len() + (labels+rest)/2
	}
	if s.limits.admit(s.Samples, s.sizes, 1, added) {
		return nil
	}
	s.cut()
	return &s.chunks[len(s.chunks)-1].chunk
}

// add appends a series for which makeRoom has made room. In 2.0 the segment must be based on its labels.
func (s *segment) add(sr *series) {
	if s.protocol == wire.V2 {
		s.appendDraft(sr)
	} else {
		s.appendSeries(sr)
	}
	full := len(s.plain) >= block.Size || s.followers.serial != 0 && len(s.plain)+s.followers.inserts.Len() >= block.Size
	if s.protocol == wire.V1 && full {
		s.pack(min(len(s.plain), block.Size))
	}
	p := sr.point
	s.count(p.timestamp, p.histogram != nil, len(p.exemplars))
	s.index = append(s.index, sr.entry())
}

// appendSeries is the 1.0 encoding of add.
func (s *segment) appendSeries(sr *series) {
	f, at := &s.followers, s.sizes.plain
	if f.serial != 0 {
		if end, ok := f.addAlike(sr, at); ok {
			s.sizes.plain = end
			return
		}
	}
	p, b := sr.point, s.scratch[:0]
	if p.histogram == nil {
		b = wire.AppendSample(b, p.value, p.timestamp)
	} else {
		b, s.histogram = wire.AppendHistogram(b, p.histogram, p.timestamp, s.histogram)
	}
	sample := len(b)
	for i := range p.exemplars {
		b = wire.AppendExemplar(b, &p.exemplars[i])
	}
	if s.scratch = s.scratch[:0]; cap(b) > cap(s.scratch) {
		s.scratch = b
	}
	if f.takes(sr, at) {
		s.sizes.plain = f.add(sr, b, sample, at)
		return
	}
	if f.serial != 0 {
		f.inserts.Close(len(s.plain))
	}
	start, size := len(s.plain), sr.labelsSize()+len(b)
	plain := buffers.Room(&s.plain, wire.MaxSeriesHeaderLen+size)
	plain = append(sr.appendLabels(wire.AppendSeriesHeader(plain, size)), b...)
	s.plain = s.plain[:len(plain)]
	s.sizes.plain += len(plain) - start
	f.leads(sr, at, size, sample)
}

// pack compresses the first n bytes of plain, or all if there are followers between them.
func (s *segment) pack(n int) {
	if in := &s.followers.inserts; !in.Empty() {
		in.Close(len(s.plain))
		s.elements = in.AppendElements(s.elements, s.plain)
		s.plain = s.plain[:0]
		in.Reset()
		return
	}
	s.elements = block.AppendElements(s.elements, s.plain[:n])
	s.plain = s.plain[:copy(s.plain, s.plain[n:])]
}

// finish cuts what is left. Nothing can be added until the segment is reset. A small chunk has the segment's own bytes, which
// the queue copies when it keeps them.
func (s *segment) finish() {
	if s.Empty() {
		return
	}
	c := s.chunk()
	switch {
	case c.packed != nil:
	case s.protocol == wire.V1:
		c.plain, c.borrowed = s.plain, true
	case s.partSize() < maxJoined:
		s.part = s.appendPart(s.part[:0])
		c.plain, c.borrowed = s.part, true
	default:
		c.plain = s.appendPart(buffers.Sized(s.partSize()))
	}
	s.end(c)
	// The chunk has the index until the segment is reset, and then the segment uses it again.
	s.index = c.index
}

// cut ends a chunk with what the segment holds so far.
func (s *segment) cut() {
	c := s.chunk()
	switch {
	case c.packed != nil:
	case s.protocol == wire.V2:
		c.plain = s.appendPart(buffers.Sized(s.partSize()))
	default:
		c.plain = buffers.Copy(s.plain)
	}
	s.end(c)
}

// partSize is the bytes that appendPart appends.
func (s *segment) partSize() int {
	return partHeaderLen + len(s.plain) + s.table.TableSize()
}

// chunk is what the segment holds, packed if it is large or has followers, or else still without its bytes.
func (s *segment) chunk() indexedChunk {
	c := indexedChunk{chunk: chunk{tally: s.tally, protocol: s.protocol, sizes: s.openSizes()}, index: s.index}
	if s.protocol == wire.V1 && (len(s.elements) > 0 || len(s.plain) >= minPacked || !s.followers.inserts.Empty()) {
		s.pack(len(s.plain))
		c.packed, c.size = buffers.Copy(s.elements), s.sizes.plain
	}
	return c
}

func (s *segment) end(c indexedChunk) {
	s.chunks = append(s.chunks, c)
	s.restart(s.protocol)
	s.index = nil
}

// appendPart appends the drafts with their symbol table, as a chunk has them.
func (s *segment) appendPart(b []byte) []byte {
	b, start := beginPart(b)
	b = append(s.table.AppendTable(b), s.plain...)
	endPart(b, start)
	return b
}

// based says whether the label set of that serial is the base of the drafts that follow.
func (s *segment) based(serial uint64) bool {
	return s.base == serial
}

// rebase makes a label set, whose references are m, the base of the drafts that follow. The base is not part of a series: when
// that is excised, others may need it.
func (s *segment) rebase(ls *labelSet, m *planMemo) {
	if m != s.memo || m.built > s.base {
		s.table.UseRefs(m.refs)
		s.plain = wire.AppendDraftBase(s.plain, m.refs, &m.cut)
	} else {
		s.changed = s.changed[:0]
		changed := m.changedSince(buffers.Room(&s.changed, len(ls.values)), ls, s.base)
		for _, at := range changed {
			s.table.UseRefs(m.refs[at : at+wire.DraftRefLen])
		}
		plain := wire.AppendDraftChange(buffers.Room(&s.plain, wire.DraftChangeLen(len(changed))), m.refs, changed)
		s.plain = s.plain[:len(plain)]
	}
	if s.base, s.baseRefs = ls.serial, len(m.refs)/wire.DraftRefLen; s.memo != m {
		s.memo = m
	}
}

// appendDraft is the 2.0 encoding of add.
func (s *segment) appendDraft(sr *series) {
	d, t := &s.draft, &s.table
	d.Labels = [3]wire.DraftLabel{{Name: t.RefHashed(nameLabel, nameLabelHash), Value: t.RefHashed(sr.name.name, sr.name.hash)}}
	if le := sr.le; le.value != "" {
		d.Labels[1] = wire.DraftLabel{Name: t.RefHashed(leLabel, leLabelHash), Value: t.RefHashed(le.value, le.hash)}
	}
	if q := sr.quantile; q.value != "" {
		d.Labels[2] = wire.DraftLabel{Name: t.RefHashed(quantileLabel, quantileLabelHash), Value: t.RefHashed(q.value, q.hash)}
	}
	p := sr.point
	if d.Point = d.Point[:0]; p.histogram == nil {
		sample := wire.AppendSampleV2(buffers.Room(&d.Point, wire.MaxSampleLen), p.value, p.timestamp, p.start)
		d.Point = d.Point[:len(sample)]
	} else {
		d.Point, s.histogram = wire.AppendHistogramV2(d.Point, p.histogram, p.timestamp, p.start, s.histogram)
	}
	d.Exemplars = d.Exemplars[:0]
	refs := s.baseRefs + 2*len(d.Labels) + 2
	for i := range p.exemplars {
		d.Exemplars = wire.AppendDraftExemplar(d.Exemplars, &p.exemplars[i], t)
		refs += 2 * len(p.exemplars[i].Labels)
	}
	if m := sr.metadata; s.metric != m.serial {
		s.metric = m.serial
		d.Metadata = wire.Metadata{Type: m.typ, Help: t.Ref(m.help), Unit: t.Ref(m.unit)}
	}
	plain := wire.AppendDraft(buffers.Room(&s.plain, d.Len()), d)
	s.plain = s.plain[:len(plain)]
	s.sizes.plain += wire.MaxSeriesV2Overhead + len(d.Point) + len(p.exemplars)*wire.MaxExemplarV2Overhead
	s.sizes.refs += refs
}

// example renders the first series of a finished segment for the log.
func (s *segment) example() string {
	return s.chunks[0].example()
}

// sortByTime puts the series of a finished segment in the order of their timestamps. It drops those for which first returns
// false: a series and time that came before.
func (s *segment) sortByTime(first func(indexEntry) bool, drop func(e indexEntry, example func() string)) {
	var chunks []*chunk
	var index []indexEntry
	for i := range s.chunks {
		chunks = append(chunks, &s.chunks[i].chunk)
		index = append(index, s.chunks[i].index...)
	}
	c := takeApart(s.protocol, block.Decompress(body(s.protocol, chunks)))
	order := upTo(0, len(index))
	sortStable(order, func(a, b int) int { return cmp.Compare(index[a].timestamp, index[b].timestamp) })
	order = slices.DeleteFunc(order, func(i int) bool {
		duplicate := !first(index[i])
		if duplicate {
			drop(index[i], func() string { return renderLabels(c.labels(i)) })
		}
		return duplicate
	})
	s.chunks = s.chunks[:0]
	for most := s.limits.MaxSamples; len(order) > 0; {
		var sorted indexedChunk
		sorted, order = s.chunkOf(c, index, order, most)
		s.chunks = append(s.chunks, sorted)
		// What is tried and does not fit is encoded in vain, so the next chunk is not tried with many more.
		most = min(2*sorted.Samples, s.limits.MaxSamples)
	}
}

// chunkOf makes a chunk of as many of the series as fit, but no more than most, in the given order, and returns the others.
func (s *segment) chunkOf(c contents, index []indexEntry, order []int, most int) (_ indexedChunk, rest []int) {
	all := chunk{protocol: s.protocol}
	n := min(len(order), most)
	part := all.part(c, order[:n])
	for n > 1 && part.sizes.bytes() > int64(s.limits.MaxSizeBytes) {
		n /= 2
		part = all.part(c, order[:n])
	}
	sorted := indexedChunk{chunk: *part}
	for _, i := range order[:n] {
		sorted.index = append(sorted.index, index[i])
	}
	return sorted, order[n:]
}
