package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"unsafe"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/block"
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
	// elements are compressed series of 1.0 that come before those of plain, and packed is how many bytes they were.
	elements []byte
	packed   int
	table    wire.Symbols
	draft    wire.Draft
	// base is the label set that is the base of drafts, and metric the metric that the draft's metadata is of; 0 is none.
	base, metric uint64
	// memo is where the base is from, and baseRefs the number of its references.
	memo     *planMemo
	baseRefs int
	// scratch and histogram are where points are encoded.
	scratch, histogram []byte
	// index is the series that the guard must look at.
	index []indexEntry
	full  []fullSegment
	// dropped says that there is no room for the segment in its queue, and queue.on_full drops it.
	dropped bool
}

// fullSegment is a sealed part of a segment.
type fullSegment struct {
	batch *batch
	index []indexEntry
}

func (s *segment) empty() bool {
	return s.Empty() && len(s.full) == 0
}

// capacity is the bytes of the segment's buffers.
func (s *segment) capacity() int {
	return cap(s.plain) + cap(s.elements) + cap(s.scratch) + cap(s.histogram) + cap(s.index)*int(unsafe.Sizeof(indexEntry{})) +
		s.table.Capacity()
}

// received is the number of samples that were received. A target_info that the translation has made is not: nothing is lost
// with it if it is dropped.
func (s *segment) received() int {
	n := s.Samples - made(s.index)
	for i := range s.full {
		n += s.full[i].batch.Samples - made(s.full[i].index)
	}
	return n
}

// made is how many of the series the translation has made by itself.
func made(index []indexEntry) (n int) {
	for i := range index {
		if index[i].guard == madeTarget {
			n++
		}
	}
	return n
}

// openSizes are those of the message that is not sealed yet.
func (s *segment) openSizes() sizes {
	if s.protocol == wire.V1 {
		return s.sizes
	}
	return s.sizes.plus(sizes{plain: s.table.Size(), symbols: s.table.Len()})
}

// cost is the bytes that the segment adds to a queue, or more.
func (s *segment) cost() int64 {
	n := int64(0)
	for i := range s.full {
		n += s.full[i].batch.cost()
	}
	switch {
	case s.Empty():
	case s.protocol == wire.V2:
		n += queueCost(len(s.plain) + partHeaderLen + s.table.DraftSize())
	default:
		// An open chunk may be cut in two by it.
		n += queueCost(len(s.plain)+len(s.elements)) + chunkOverhead + int64(block.MaxGrowth(0))
	}
	return n
}

// reset empties the segment for a payload that is encoded as p; its buffers stay.
func (s *segment) reset(p wire.Protocol) {
	clear(s.full)
	s.full, s.dropped = s.full[:0], false
	s.restart(p)
	s.index = s.index[:0]
}

// restart empties the message.
func (s *segment) restart(p wire.Protocol) {
	s.tally, s.protocol, s.sizes = tally{}, p, sizes{}
	s.plain, s.elements, s.packed = s.plain[:0], s.elements[:0], 0
	s.table.Reset()
	s.base, s.metric, s.memo = 0, 0, nil
}

// makeRoom seals what the segment holds if the series would not fit into the same request.
func (s *segment) makeRoom(sr *series) {
	labels, rest := sr.labelsSize(), sr.point.maxSize()
	added := sizes{plain: labels + rest + wire.MaxSeriesHeaderLen}
	if s.protocol == wire.V2 {
		// This is enough even if every string is new to the table: a label's strings and references take at most twice
		// what the label takes in 1.0, where no string takes less than two bytes.
		added.plain += labels + len(sr.metadata.help) + len(sr.metadata.unit) + wire.MaxMetadataLen + s.table.Size()
		added.symbols = s.table.Len() + (labels+rest)/2
	}
	if !s.limits.admit(s.Samples, s.sizes, 1, added) {
		s.seal()
	}
}

// add appends a series for which makeRoom has made room. In 2.0 the segment must be based on its labels.
func (s *segment) add(sr *series) {
	start := s.packed + len(s.plain)
	if s.protocol == wire.V2 {
		s.appendDraft(sr)
	} else {
		s.appendSeries(sr)
		s.sizes.plain = s.packed + len(s.plain)
	}
	end := s.packed + len(s.plain)
	if s.protocol == wire.V1 && len(s.plain) >= block.Size {
		s.pack(block.Size)
	}
	number, p := s.Samples, sr.point
	s.count(p.timestamp, p.histogram != nil, len(p.exemplars))
	if sr.guard == unguarded {
		return
	}
	s.index = append(s.index, indexEntry{
		identity: sr.identity, target: sr.target, timestamp: p.timestamp, number: number, start: start, end: end,
		guard: sr.guard, histogram: p.histogram != nil, exemplars: len(p.exemplars),
	})
}

// appendSeries is the 1.0 encoding of add.
func (s *segment) appendSeries(sr *series) {
	p, b := sr.point, s.scratch[:0]
	if p.histogram == nil {
		b = wire.AppendSample(b, p.value, p.timestamp)
	} else {
		b, s.histogram = wire.AppendHistogram(b, p.histogram, p.timestamp, s.histogram)
	}
	for i := range p.exemplars {
		b = wire.AppendExemplar(b, &p.exemplars[i])
	}
	s.plain = wire.AppendSeriesHeader(s.plain, sr.labelsSize()+len(b))
	s.plain = append(sr.appendLabels(s.plain), b...)
	s.scratch = b
}

// pack compresses the first n bytes of plain.
func (s *segment) pack(n int) {
	s.elements = block.AppendElements(s.elements, s.plain[:n])
	s.packed += n
	s.plain = s.plain[:copy(s.plain, s.plain[n:])]
}

// finish packs what is left once the segment holds minPacked bytes. A segment is packed whole or not at all.
func (s *segment) finish() {
	if s.protocol == wire.V1 && s.packed+len(s.plain) >= minPacked {
		s.pack(len(s.plain))
	}
}

// based says whether the label set is the base of the drafts that follow.
func (s *segment) based(ls *labelSet) bool {
	return s.base == ls.serial
}

// rebase makes a label set, whose references are m, the base of the drafts that follow. The base is not part of a series:
// when that is excised, others may need it.
func (s *segment) rebase(ls *labelSet, m *planMemo) {
	s.base = ls.serial
	if m.built || m != s.memo {
		s.plain = wire.AppendDraftBase(s.plain, m.refs, &m.cut)
	} else {
		s.plain = wire.AppendDraftChange(s.plain, m.refs, m.changed)
	}
	s.memo, s.baseRefs = m, len(m.refs)/wire.DraftRefLen
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
	if p.histogram == nil {
		d.Point = wire.AppendSampleV2(d.Point[:0], p.value, p.timestamp, p.start)
	} else {
		d.Point, s.histogram = wire.AppendHistogramV2(d.Point[:0], p.histogram, p.timestamp, p.start, s.histogram)
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
	s.plain = wire.AppendDraft(s.plain, d)
	s.sizes.plain += wire.MaxSeriesV2Overhead + len(d.Point) + len(p.exemplars)*wire.MaxExemplarV2Overhead
	s.sizes.refs += refs
}

// seal makes a batch of what the segment holds so far.
func (s *segment) seal() {
	b := &batch{tally: s.tally, protocol: s.protocol, sizes: s.openSizes()}
	if s.protocol == wire.V1 {
		s.pack(len(s.plain))
		b.body = block.WithSize(s.elements, s.packed)
	} else {
		b.body = s.body()
	}
	s.full = append(s.full, fullSegment{batch: b, index: s.index})
	s.restart(s.protocol)
	s.index = nil
}

// body is the request that what is not sealed would be on its own. The segment must be finished.
func (s *segment) body() []byte {
	open := batch{protocol: s.protocol}
	open.append(s, nil, 0)
	body := open.encoded()
	release(open.chunks)
	return body
}

var (
	_ run      = (*segment)(nil)
	_ renderer = (*segment)(nil)
)

// compressed implements run.
func (s *segment) compressed() (elements []byte, size int) {
	return s.elements, s.packed
}

// appendPlain implements run.
func (s *segment) appendPlain(b []byte, excised []indexEntry) []byte {
	if s.protocol == wire.V1 {
		return excise(b, s.plain, excised)
	}
	b, start := beginPart(b)
	b = excise(s.table.AppendDraftTable(b), s.plain, excised)
	endPart(b, start)
	return b
}

// example renders the first series of the segment for the log.
func (s *segment) example() string {
	if len(s.full) > 0 {
		return s.full[0].batch.example()
	}
	return renderFirst(s.protocol, s.body())
}

// exampleOf implements renderer.
func (s *segment) exampleOf(e indexEntry) string {
	return renderLabels(takeApart(s.protocol, block.Decompress(s.body())).labels(e.number))
}
