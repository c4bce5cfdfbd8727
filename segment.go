package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// segment is what one payload holds for one partition. It fills up like a batch; what fills a batch is sealed and
// compressed by the caller's goroutine, before any lock is taken.
type segment struct {
	// message's raw bytes are the series alone; in 2.0 the symbols that they refer to stand apart until it is sealed.
	message
	partition int
	table     wire.Symbols
	scratch   refScratch
	// index is those series of raw that the guard must look at.
	index []indexEntry
	full  []fullSegment
}

// fullSegment is a sealed part of a segment.
type fullSegment struct {
	batch *batch
	index []indexEntry
}

// indexEntry is what the guard must know of an encoded series.
type indexEntry struct {
	hash      uint64
	timestamp int64
	// number is that of the series in its message; start and end are where it stands in the segment's bytes.
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
	// targetEntry is a target_info that was received as a metric: guarded whatever the configuration.
	targetEntry
	// madeTargetEntry is a target_info that the translation made. It is left out without being counted: nothing was
	// received that is lost.
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

// openSize is the bytes of the message that is not sealed yet.
func (s *segment) openSize() int {
	if s.protocol == protocolV2 && s.samples > 0 {
		return len(s.raw) + s.table.Size()
	}
	return len(s.raw)
}

// size is the bytes that the segment adds to a queue.
func (s *segment) size() int64 {
	n := cost(s.openSize())
	for i := range s.full {
		n += s.full[i].batch.size()
	}
	return n
}

// reset empties the segment for a payload that is encoded as p; its buffers stay.
func (s *segment) reset(p protocol) {
	clear(s.full)
	s.full = s.full[:0]
	s.restart(p)
	s.index = s.index[:0]
}

// restart empties the message.
func (s *segment) restart(p protocol) {
	s.message = message{raw: s.raw[:0], protocol: p}
	s.table.Reset()
}

// add appends the translator's current point as a series of its own.
func (s *segment) add(t *translator, ls *labelSet, name *seriesName, le, quantile *extraLabel, hash uint64) {
	labels := len(ls.buf) + len(name.label) + len(le.label) + len(quantile.label)
	size := labels + t.point.maxSize() + wire.MaxSeriesHeaderLen
	if s.protocol == protocolV2 {
		// This is enough even if every string is new to the table: a label's strings and references take at most twice
		// what the label takes in 1.0.
		size += labels + len(t.metadata.help) + len(t.metadata.unit) + wire.MaxMetadataLen + s.table.Size()
	}
	if !s.fits(&t.limits, size, 1) {
		s.seal()
	}
	start := len(s.raw)
	if s.protocol == protocolV2 {
		s.appendV2(t, ls, name, le, quantile)
	} else {
		t.encodePoint()
		s.raw = wire.AppendSeriesHeader(s.raw, labels+len(t.buf))
		s.raw = appendLabels(s.raw, ls, name, le, quantile)
		s.raw = append(s.raw, t.buf...)
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
		hash: hash, timestamp: t.point.timestamp, number: number, start: start, end: len(s.raw),
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

// refScratch keeps references that the series of a point, and the points of a metric, have in common. They are good for
// one generation of the symbol table.
type refScratch struct {
	generation uint64
	// set is the label set that base is of, base its references without name, le and quantile, cut as labelSet.buf is.
	set  uint64
	base []byte
	cut  [3]int
	// metric is the metric that metadata is of.
	metric   uint64
	metadata []byte

	labels []byte
	rest   []byte
	buf    []byte
}

// appendV2 is the 2.0 encoding of add.
func (s *segment) appendV2(t *translator, ls *labelSet, name *seriesName, le, quantile *extraLabel) {
	r := &s.scratch
	if r.generation != s.table.Generation() {
		*r = refScratch{generation: s.table.Generation(), base: r.base, metadata: r.metadata, labels: r.labels, rest: r.rest, buf: r.buf}
	}
	if r.set != ls.serial {
		r.base = t.labeler.appendRefs(r.base[:0], &r.cut, &s.table, s.partition, t.partitions)
		r.set = ls.serial
	}
	labels := append(r.labels[:0], r.base[:r.cut[0]]...)
	labels = wire.AppendRefs(labels, s.table.RefHashed(nameLabel, nameLabelHash), s.table.RefHashed(name.name, name.hash))
	labels = append(labels, r.base[r.cut[0]:r.cut[1]]...)
	if le.value != "" {
		labels = wire.AppendRefs(labels, s.table.Ref(leLabel), s.table.RefHashed(le.value, le.hash))
	}
	labels = append(labels, r.base[r.cut[1]:r.cut[2]]...)
	if quantile.value != "" {
		labels = wire.AppendRefs(labels, s.table.Ref(quantileLabel), s.table.RefHashed(quantile.value, quantile.hash))
	}
	r.labels = append(labels, r.base[r.cut[2]:]...)

	p := &t.point
	if p.histogram == nil {
		r.rest = wire.AppendSampleV2(r.rest[:0], p.value, p.timestamp, p.start)
	} else {
		r.rest, r.buf = wire.AppendHistogramV2(r.rest[:0], p.histogram, p.timestamp, p.start, r.buf)
	}
	for i := range p.exemplars {
		r.rest, r.buf = wire.AppendExemplarV2(r.rest, &p.exemplars[i], &s.table, r.buf)
	}
	if r.metric != t.metadata.serial {
		r.metric = t.metadata.serial
		r.metadata = wire.AppendMetadata(r.metadata[:0], wire.Metadata{
			Type: t.metadata.typ, Help: s.table.Ref(t.metadata.help), Unit: s.table.Ref(t.metadata.unit),
		})
	}
	r.rest = append(r.rest, r.metadata...)
	// The references have at least a byte each, those of the metadata are two, and lengths may get longer with them.
	s.refs += len(r.labels) + 2 + 4
	for i := range p.exemplars {
		s.refs += 2 * len(p.exemplars[i].Labels)
	}
	s.raw = wire.AppendSeriesV2(s.raw, r.labels, r.rest)
}

// seal makes a batch of what the segment holds so far.
func (s *segment) seal() {
	if s.protocol == protocolV2 {
		whole := s.appendTo(takeBuffer(), nil)
		s.full = append(s.full, fullSegment{batch: s.batch(whole), index: s.index})
		giveBuffer(whole)
	} else {
		s.full = append(s.full, fullSegment{batch: s.batch(s.raw), index: s.index})
	}
	s.restart(s.protocol)
	s.index = nil
}

// batch makes a sealed batch of the message, whose encoding is given.
func (s *segment) batch(encoded []byte) *batch {
	b := &batch{message: s.message, body: compress(encoded)}
	b.raw = nil
	return b
}

// appendTo appends the message to b as a Remote-Write message, without the series that are excised.
func (s *segment) appendTo(b []byte, excised []indexEntry) []byte {
	if s.protocol == protocolV2 {
		b = s.table.AppendTo(b)
	}
	at := 0
	for _, e := range excised {
		b = append(b, s.raw[at:e.start]...)
		at = e.end
	}
	return append(b, s.raw[at:]...)
}

// example renders the first series of the segment for the log.
func (s *segment) example() string {
	if len(s.full) > 0 {
		return s.full[0].batch.example()
	}
	return renderFirst(s.protocol, s.appendTo(nil, nil))
}

// exampleOf renders the series of an entry of the index.
func (s *segment) exampleOf(e indexEntry) string {
	c := takeApart(s.protocol, s.appendTo(nil, nil))
	return renderLabels(c.labels(e.number))
}
