package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// segment is what one payload holds for one partition. It fills up like a batch; what fills a batch is sealed and
// compressed by the caller's goroutine, before any lock is taken.
//
// In 1.0 its bytes are compressed in blocks, as they come, while they are still in the processor's cache: they are never
// together in memory. Compared with compressing whole batches this takes a fifth off the way from pdata to the request.
type segment struct {
	// message's raw bytes are drafts without a symbol table in 2.0, and in 1.0 the series that are not compressed yet.
	message
	partition int
	// blocks are compressed series of 1.0 that come before those of raw, and packed is how many bytes they were.
	blocks []byte
	packed int
	table  wire.Symbols
	draft  wire.Draft
	// base is the label set that is the base of drafts, and metric the metric that the draft's metadata is of; 0 is none.
	base, metric uint64
	// memo is where the base is from, and baseRefs the number of its references.
	memo     *planMemo
	baseRefs int
	// index is those series of raw that the guard must look at.
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

// indexEntry is what the guard must know of an encoded series.
type indexEntry struct {
	hash uint64
	// target is the target of a target_info.
	target    uint64
	timestamp int64
	// number is that of the series in its message; start and end are where it stands in the segment's bytes, before they
	// are compressed.
	number     int
	start, end int
	kind       entryKind
	histogram  bool
	exemplars  int
}

// entryKind says how the guard treats a series.
type entryKind uint8

const (
	// guardedEntry is dropped and counted if it is not newer than the last one of its series.
	guardedEntry entryKind = iota
	// targetEntry is a target_info that was received as a metric. It is guarded like any other series, and what is made for
	// its target is then newer.
	targetEntry
	// madeTargetEntry is a target_info that the translation made. It is left out, whatever the configuration, if it is not
	// newer than the last one of its target. That is not counted: nothing was received that is lost.
	madeTargetEntry
)

func (s *segment) empty() bool {
	return s.message.empty() && len(s.full) == 0
}

// total is the number of samples.
func (s *segment) total() int {
	n := s.samples
	for i := range s.full {
		n += s.full[i].batch.samples
	}
	return n
}

// openSizes are those of the message that is not sealed yet.
func (s *segment) openSizes() sizes {
	if s.protocol == protocolV1 {
		return s.sizes
	}
	return s.sizes.plus(sizes{plain: s.table.Size(), symbols: s.table.Len()})
}

// size is the bytes that the segment adds to a queue.
func (s *segment) size() int64 {
	n := int64(0)
	for i := range s.full {
		n += s.full[i].batch.size()
	}
	switch {
	case s.message.empty():
	case s.protocol == protocolV2:
		n += cost(len(s.raw)+s.table.DraftSize(), 1)
	default:
		n += cost(len(s.raw)+len(s.blocks), 1)
	}
	return n
}

// reset empties the segment for a payload that is encoded as p; its buffers stay.
func (s *segment) reset(p protocol) {
	clear(s.full)
	s.full, s.dropped = s.full[:0], false
	s.restart(p)
	s.index = s.index[:0]
}

// restart empties the message.
func (s *segment) restart(p protocol) {
	s.message = message{raw: s.raw[:0], protocol: p}
	s.blocks, s.packed = s.blocks[:0], 0
	s.table.Reset()
	s.base, s.metric, s.memo = 0, 0, nil
}

// add appends the translator's current point as a series of its own.
func (s *segment) add(t *translator, ls *labelSet, name *seriesName, le, quantile *extraLabel, hash uint64) {
	labels := len(ls.buf) + len(name.label) + len(le.label) + len(quantile.label)
	rest := t.point.maxSize()
	size := sizes{plain: labels + rest + wire.MaxSeriesHeaderLen}
	if s.protocol == protocolV2 {
		// This is enough even if every string is new to the table: a label's strings and references take at most twice
		// what the label takes in 1.0, where no string takes less than two bytes.
		size.plain += labels + len(t.metadata.help) + len(t.metadata.unit) + wire.MaxMetadataLen + s.table.Size()
		size.symbols = s.table.Len() + (labels+rest)/2
	}
	if !s.fits(&t.limits, size, 1) {
		s.seal()
	}
	if s.protocol == protocolV2 {
		// The base is not part of the series: when that is excised, others may need it.
		s.rebase(t, ls)
	}
	start := s.packed + len(s.raw)
	if s.protocol == protocolV2 {
		s.appendDraft(t, name, le, quantile)
	} else {
		t.encodePoint()
		s.raw = wire.AppendSeriesHeader(s.raw, labels+len(t.buf))
		s.raw = appendLabels(s.raw, ls, name, le, quantile)
		s.raw = append(s.raw, t.buf...)
		s.sizes.plain = s.packed + len(s.raw)
	}
	end := s.packed + len(s.raw)
	if len(s.raw) >= blockSize && s.protocol == protocolV1 {
		s.pack(blockSize)
	}
	number := s.samples
	s.cover(t.point.timestamp, t.point.timestamp)
	s.samples++
	if t.point.histogram != nil {
		s.histograms++
	}
	s.exemplars += len(t.point.exemplars)
	if !t.guard && !name.targetInfo {
		return
	}
	kind := guardedEntry
	switch {
	case name == &t.targetInfoName:
		kind = madeTargetEntry
	case name.targetInfo:
		kind = targetEntry
	}
	s.index = append(s.index, indexEntry{
		hash: hash, target: t.target, timestamp: t.point.timestamp, number: number, start: start, end: end,
		kind: kind, histogram: t.point.histogram != nil, exemplars: len(t.point.exemplars),
	})
}

// appendLabels appends the labels of a series in order.
func appendLabels(b []byte, ls *labelSet, name *seriesName, le, quantile *extraLabel) []byte {
	b = append(b, ls.buf[:ls.cut[0]]...)
	b = append(b, name.label...)
	b = append(b, ls.buf[ls.cut[0]:ls.cut[1]]...)
	b = append(b, le.label...)
	b = append(b, ls.buf[ls.cut[1]:ls.cut[2]]...)
	b = append(b, quantile.label...)
	return append(b, ls.buf[ls.cut[2]:]...)
}

// pack compresses the first n bytes of raw.
func (s *segment) pack(n int) {
	s.blocks = appendElements(s.blocks, s.raw[:n])
	s.packed += n
	s.raw = s.raw[:copy(s.raw, s.raw[n:])]
}

// minPacked is how many bytes of series are worth to be compressed for themselves. What is less waits for more of the
// partition: compressed on its own it would take more room.
const minPacked = blockSize / 2

// finish compresses the rest of series that are so many that they are compressed on their own, so that it is all or none of
// them.
func (s *segment) finish() {
	if s.protocol == protocolV1 && s.packed+len(s.raw) >= minPacked {
		s.pack(len(s.raw))
	}
}

// rebase makes a label set the base of the drafts that follow.
func (s *segment) rebase(t *translator, ls *labelSet) {
	if s.base == ls.serial {
		return
	}
	s.base = ls.serial
	m := t.labeler.refs(&s.table, s.partition, t.partitions)
	if m.built || m != s.memo {
		s.raw = wire.AppendDraftBase(s.raw, m.refs, &m.cut)
	} else {
		s.raw = wire.AppendDraftChange(s.raw, m.refs, m.changed)
	}
	s.memo, s.baseRefs = m, len(m.refs)/wire.DraftRefLen
}

// appendDraft is the 2.0 encoding of add.
func (s *segment) appendDraft(t *translator, name *seriesName, le, quantile *extraLabel) {
	d := &s.draft
	d.Labels = [3]wire.DraftLabel{{Name: s.table.RefHashed(nameLabel, nameLabelHash), Value: s.table.RefHashed(name.name, name.hash)}}
	if le.value != "" {
		d.Labels[1] = wire.DraftLabel{Name: s.table.RefHashed(leLabel, leLabelHash), Value: s.table.RefHashed(le.value, le.hash)}
	}
	if quantile.value != "" {
		d.Labels[2] = wire.DraftLabel{Name: s.table.RefHashed(quantileLabel, quantileLabelHash), Value: s.table.RefHashed(quantile.value, quantile.hash)}
	}
	p := &t.point
	if p.histogram == nil {
		d.Point = wire.AppendSampleV2(d.Point[:0], p.value, p.timestamp, p.start)
	} else {
		d.Point, t.histogram.buf = wire.AppendHistogramV2(d.Point[:0], p.histogram, p.timestamp, p.start, t.histogram.buf)
	}
	d.Exemplars = d.Exemplars[:0]
	refs := s.baseRefs + 2*len(d.Labels) + 2
	for i := range p.exemplars {
		d.Exemplars = wire.AppendDraftExemplar(d.Exemplars, &p.exemplars[i], &s.table)
		refs += 2 * len(p.exemplars[i].Labels)
	}
	if s.metric != t.metadata.serial {
		s.metric = t.metadata.serial
		d.Metadata = wire.Metadata{Type: t.metadata.typ, Help: s.table.Ref(t.metadata.help), Unit: s.table.Ref(t.metadata.unit)}
	}
	s.raw = wire.AppendDraft(s.raw, d)
	s.sizes.plain += wire.MaxSeriesV2Overhead + len(d.Point) + len(p.exemplars)*wire.MaxExemplarV2Overhead
	s.sizes.refs += refs
}

// seal makes a batch of what the segment holds so far.
func (s *segment) seal() {
	b := &batch{message: s.message}
	if s.protocol == protocolV1 {
		s.pack(len(s.raw))
		b.body = withSize(s.blocks, s.packed)
	} else {
		open := message{raw: takeBuffer(), protocol: s.protocol}
		s.appendTo(&open, nil)
		b.body = open.compressed()
		giveBuffer(open.raw)
	}
	b.raw = nil
	s.full = append(s.full, fullSegment{batch: b, index: s.index})
	s.restart(s.protocol)
	s.index = nil
}

// appendTo appends what is not sealed to a message as a part, without the series that are excised.
func (s *segment) appendTo(m *message, excised []indexEntry) {
	switch {
	case s.protocol == protocolV2:
		m.raw = s.table.AppendDraftTable(m.raw)
		m.raw = excise(m.raw, s.raw, excised)
		m.parts = append(m.parts, part{end: len(m.raw)})
	case s.packed > 0:
		m.raw = append(m.raw, s.blocks...)
		m.parts = append(m.parts, part{end: len(m.raw), packed: s.packed, excised: excised})
	default:
		m.raw = excise(m.raw, s.raw, excised)
		if n := len(m.parts); n > 0 && m.parts[n-1].packed == 0 && m.parts[n-1].piece == nil {
			m.parts[n-1].end = len(m.raw)
		} else {
			m.parts = append(m.parts, part{end: len(m.raw)})
		}
	}
}

// body is the request that what is not sealed would be on its own.
func (s *segment) body() []byte {
	m := message{protocol: s.protocol}
	s.appendTo(&m, nil)
	return m.compressed()
}

// example renders the first series of the segment for the log.
func (s *segment) example() string {
	if len(s.full) > 0 {
		return s.full[0].batch.example()
	}
	return renderFirst(s.protocol, decompress(s.body()))
}

// exampleOf renders the series of an entry of the index.
func (s *segment) exampleOf(e indexEntry) string {
	c := takeApart(s.protocol, decompress(s.body()))
	return renderLabels(c.labels(e.number))
}
