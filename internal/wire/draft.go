package wire // import "github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"

import (
	"encoding/binary"
	"slices"
)

// A draft is a series of a 2.0 message before it is known in which message it goes, and so before its references are. It
// refers to the symbol table of its part: a part is a table and the drafts that use it. A Merger makes a message of parts.
//
// Parts are bytes, so that a queue of them is a copy, and all their numbers have four bytes, so that a reference is
// exchanged by a look into a table instead of reading a message anew:
//
//	part:     number of symbols, size of the strings, for each symbol xxhash (8 bytes), start and end, the strings, drafts
//	draft:    sizes of labels, point and exemplars, metadata's type, help and unit, labels, point, exemplars
//	labels:   references
//	point:    an encoded field of a TimeSeries
//	exemplar: sizes of its labels and of its other fields, labels, other encoded fields of an Exemplar

// Draft is a series in parts.
type Draft struct {
	// Labels are references as by AppendDraftRefs.
	Labels []byte
	// Point is the encoded field of a sample or a histogram.
	Point []byte
	// Exemplars are as by AppendDraftExemplar.
	Exemplars []byte
	Metadata  Metadata
}

const (
	draftHeaderLen = 6 * 4
	symbolEntryLen = 8 + 2*4
)

var le = binary.LittleEndian

// MaxSeriesV2Overhead is the most bytes that a series takes besides references, its point and exemplars.
const MaxSeriesV2Overhead = 2*(1+binary.MaxVarintLen32) + 2 + 2 + 2

// MaxExemplarV2Overhead is the most bytes that an exemplar takes besides references.
const MaxExemplarV2Overhead = 2*(1+binary.MaxVarintLen32) + 9 + 1 + binary.MaxVarintLen64

// AppendDraft appends a draft to the drafts of a part.
func AppendDraft(b []byte, d *Draft) []byte {
	b = le.AppendUint32(b, uint32(len(d.Labels)))
	b = le.AppendUint32(b, uint32(len(d.Point)))
	b = le.AppendUint32(b, uint32(len(d.Exemplars)))
	b = le.AppendUint32(b, uint32(d.Metadata.Type))
	b = le.AppendUint32(b, d.Metadata.Help)
	b = le.AppendUint32(b, d.Metadata.Unit)
	b = append(b, d.Labels...)
	b = append(b, d.Point...)
	return append(b, d.Exemplars...)
}

// DraftRefLen is the bytes of a reference in a draft.
const DraftRefLen = 4

// AppendDraftRefs appends the references of a label's name and value as a draft has them.
func AppendDraftRefs(b []byte, name, value uint32) []byte {
	return le.AppendUint64(b, uint64(name)|uint64(value)<<32)
}

// PutDraftRef writes a reference to where AppendDraftRefs has put one.
func PutDraftRef(b []byte, ref uint32) { le.PutUint32(b, ref) }

// AppendDraftExemplar appends an exemplar to those of a draft.
func AppendDraftExemplar(b []byte, e *Exemplar, s *Symbols) []byte {
	b = le.AppendUint64(b, 0)
	start := len(b)
	for _, l := range e.Labels {
		b = AppendDraftRefs(b, s.Ref(l.Name), s.Ref(l.Value))
	}
	le.PutUint32(b[start-8:], uint32(len(b)-start))
	fields := len(b)
	b = appendDouble(b, 2, e.Value)
	b = appendUint(b, 3, uint64(e.Timestamp))
	le.PutUint32(b[start-4:], uint32(len(b)-fields))
	return b
}

// DraftSize is how many bytes AppendDraftTable appends.
func (s *Symbols) DraftSize() int { return 8 + len(s.spans)*symbolEntryLen + len(s.encoded) }

// AppendDraftTable appends the table as it stands at the beginning of a part.
func (s *Symbols) AppendDraftTable(b []byte) []byte {
	b = slices.Grow(b, s.DraftSize())
	b = le.AppendUint32(b, uint32(len(s.spans)))
	b = le.AppendUint32(b, uint32(len(s.encoded)))
	for i := range s.spans {
		span := &s.spans[i]
		b = le.AppendUint64(b, span.hash)
		b = le.AppendUint64(b, uint64(span.start)|uint64(span.end)<<32)
	}
	return append(b, s.encoded...)
}

// draftTable is the symbol table of the part that a Merger reads.
type draftTable struct {
	entries, strings []byte
	// metadata is the last metadata of the part, and encoded what it became. That of neighbours is mostly the same.
	metadata Metadata
	encoded  []byte
}

// AddDrafts adds the series of a part, which must be as the functions above have made it.
func (m *Merger) AddDrafts(part []byte) {
	symbols, size := int(le.Uint32(part)), int(le.Uint32(part[4:]))
	part = part[8:]
	t := &m.drafts
	t.entries, part = part[:symbols*symbolEntryLen], part[symbols*symbolEntryLen:]
	t.strings, part = part[:size], part[size:]
	t.encoded = t.encoded[:0]
	m.refs = slices.Grow(m.refs[:0], symbols+1)[:symbols+1]
	clear(m.refs)
	for len(part) > 0 {
		labels, point, exemplars := int(le.Uint32(part)), int(le.Uint32(part[4:])), int(le.Uint32(part[8:]))
		md := Metadata{Type: MetricType(le.Uint32(part[12:])), Help: le.Uint32(part[16:]), Unit: le.Uint32(part[20:])}
		part = part[draftHeaderLen:]
		m.labels = m.exchange(m.labels[:0], part[:labels])
		part = part[labels:]
		m.rest = append(m.rest[:0], part[:point]...)
		part = part[point:]
		m.draftExemplars(part[:exemplars])
		part = part[exemplars:]
		if len(t.encoded) == 0 || t.metadata != md {
			t.metadata = md
			t.encoded = AppendMetadata(t.encoded[:0], Metadata{Type: md.Type, Help: m.draftRef(md.Help), Unit: m.draftRef(md.Unit)})
		}
		m.rest = append(m.rest, t.encoded...)
		m.series = AppendSeriesV2(m.series, m.labels, m.rest)
	}
}

// exchange appends the new references for those of a draft, packed. Where drafts are merged, most of the time goes here.
func (m *Merger) exchange(to, refs []byte) []byte {
	to = slices.Grow(to, len(refs)/DraftRefLen*binary.MaxVarintLen32)
	for ; len(refs) >= DraftRefLen; refs = refs[DraftRefLen:] {
		old := le.Uint32(refs)
		ref := m.refs[old]
		if ref == 0 {
			ref = m.draftRef(old)
		}
		to = appendRef(to, ref)
	}
	return to
}

// draftRef returns the new reference for one of the part.
func (m *Merger) draftRef(old uint32) uint32 {
	if old == 0 || m.refs[old] != 0 {
		return m.refs[old]
	}
	entry := m.drafts.entries[(old-1)*symbolEntryLen:]
	symbol := m.drafts.strings[le.Uint32(entry[8:]):le.Uint32(entry[12:])]
	m.refs[old] = refHashed(&m.symbols, symbol, le.Uint64(entry))
	return m.refs[old]
}

func (m *Merger) draftExemplars(exemplars []byte) {
	for len(exemplars) > 0 {
		labels, fields := int(le.Uint32(exemplars)), int(le.Uint32(exemplars[4:]))
		exemplars = exemplars[8:]
		e := m.scratch[:0]
		if labels > 0 {
			m.packed = m.exchange(m.packed[:0], exemplars[:labels])
			e = appendBytes(e, 1, m.packed)
		}
		m.scratch = append(e, exemplars[labels:labels+fields]...)
		m.rest = appendBytes(m.rest, seriesExemplarsV2, m.scratch)
		exemplars = exemplars[labels+fields:]
	}
}
