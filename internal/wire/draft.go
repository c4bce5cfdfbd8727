// SPDX-License-Identifier: Apache-2.0

package wire // import "github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"

import (
	"encoding/binary"
	"math"
	"slices"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/buffers"
)

// A draft is a series of a 2.0 message before it is known in which message it goes, and so before its references are. It
// refers to the symbol table of its payload. A part is drafts with the symbols that they use, so that it needs nothing else. A
// Merger makes a message of parts.
//
// Parts are bytes, so that to queue them is a copy, and all their numbers have four bytes, so that a reference is exchanged
// by a look into a table instead of reading a message anew:
//
//	part:     number of symbols, size of the strings, generation of the payload's table (8 bytes), for each symbol its Hash (8
//	          bytes), its reference and where it ends, the strings, then bases and drafts
//	base:     0, its size, where it is cut (3 numbers), references of name and value of each label
//	change:   0, 2^32-1, the number of labels that are changed in the last base, for each where it stands and its new value
//	draft:    size of the point, size of the exemplars, metadata's type, help and unit, the labels that go where the base is
//	          cut, the point, the exemplars
//	exemplar: size of its labels, size of its other fields, references, other encoded fields of an Exemplar
//
// The labels of a draft are those of the last base before it, with its own put in between: the series of a histogram's point
// differ only there, and share the work for the others.

// Draft is what a series has of its own.
type Draft struct {
	// Labels go where the base is cut.
	Labels [3]DraftLabel
	// Point is the encoded field of a sample or a histogram.
	Point []byte
	// Exemplars are as by AppendDraftExemplar.
	Exemplars []byte
	Metadata  Metadata
}

// DraftLabel is a label as references; the zero value is none.
type DraftLabel struct{ Name, Value uint32 }

const (
	draftBaseLen   = 5 * 4
	draftChangeLen = 3 * 4
	draftHeaderLen = 5*4 + 3*draftLabelLen
	partTableLen   = 2*4 + 8
	symbolEntryLen = 8 + 2*4
	draftLabelLen  = 2 * DraftRefLen
)

// DraftRefLen is the bytes of a reference in a base.
const DraftRefLen = 4

var le = binary.LittleEndian

// MaxSeriesV2Overhead is the most bytes that a series takes besides references, its point and exemplars.
const MaxSeriesV2Overhead = 2*(1+binary.MaxVarintLen32) + 2 + 2 + 2

// MaxExemplarV2Overhead is the most bytes that an exemplar takes besides references.
const MaxExemplarV2Overhead = 2*(1+binary.MaxVarintLen32) + 9 + 1 + binary.MaxVarintLen64

// AppendDraftBase appends a base for the drafts that follow: labels as by AppendDraftRefs, and where to cut them.
func AppendDraftBase(b, labels []byte, cut *[3]int) []byte {
	b = le.AppendUint32(b, 0)
	b = le.AppendUint32(b, uint32(len(labels)))
	for _, c := range cut {
		b = le.AppendUint32(b, uint32(c))
	}
	return append(b, labels...)
}

// AppendDraftChange makes labels, which differ from those of the last base in values only, the base for the drafts that
// follow. changed are where in labels the references of these values stand.
func AppendDraftChange(b, labels []byte, changed []int) []byte {
	b = le.AppendUint32(b, 0)
	b = le.AppendUint32(b, math.MaxUint32)
	b = le.AppendUint32(b, uint32(len(changed)))
	for _, at := range changed {
		b = le.AppendUint32(b, uint32(at/draftLabelLen))
		b = append(b, labels[at:at+DraftRefLen]...)
	}
	return b
}

// DraftChangeLen is how many bytes AppendDraftChange appends.
func DraftChangeLen(changed int) int { return draftChangeLen + 8*changed }

// Len is how many bytes AppendDraft appends.
func (d *Draft) Len() int { return draftHeaderLen + len(d.Point) + len(d.Exemplars) }

// AppendDraft appends a draft to the bases and drafts of a part.
func AppendDraft(b []byte, d *Draft) []byte {
	b = le.AppendUint32(b, uint32(len(d.Point)))
	b = le.AppendUint32(b, uint32(len(d.Exemplars)))
	b = le.AppendUint32(b, uint32(d.Metadata.Type))
	b = le.AppendUint32(b, d.Metadata.Help)
	b = le.AppendUint32(b, d.Metadata.Unit)
	for _, l := range d.Labels {
		b = AppendDraftRefs(b, l.Name, l.Value)
	}
	b = append(b, d.Point...)
	return append(b, d.Exemplars...)
}

// AppendDraftRefs appends the references of a label's name and value as a base has them.
func AppendDraftRefs(b []byte, name, value uint32) []byte {
	return le.AppendUint64(b, uint64(name)|uint64(value)<<32)
}

// PutDraftRef writes a reference to where AppendDraftRefs has put one.
func PutDraftRef(b []byte, ref uint32) { le.PutUint32(b, ref) }

// AppendDraftExemplar appends an exemplar to those of a draft.
func AppendDraftExemplar(b []byte, e *Exemplar, s *PartSymbols) []byte {
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

// draftPart is what a Merger keeps of the part that it reads.
type draftPart struct {
	// refs are the references of the payload's symbols in the new table, of those at least that the part has.
	refs []uint32

	// labels are the base, and cut where it is cut. They are exchanged when a draft needs them: a table has no symbols that
	// no series uses. exchanged is what they become, and ends where that is cut.
	labels    []exchangedLabel
	exchanged []byte
	cut, ends [3]int
	// stale are the labels that have changed since. If whole is false exchanged must be written from the start.
	stale []int
	whole bool

	// metadata is the last one of the part, and encoded what it became.
	metadata Metadata
	encoded  []byte
}

// exchangedLabel is a label of a base and what it becomes: the first size bytes of encoded.
type exchangedLabel struct {
	label, encoded uint64
	size           int
	// at is where it stands in exchanged.
	at    int
	stale bool
}

// AddDrafts adds the series of a part, which must be as the functions above have made it.
func (m *Merger) AddDrafts(part []byte) {
	d := &m.drafts
	d.refs, part = m.exchange(part)
	d.labels, d.stale, d.encoded = d.labels[:0], d.stale[:0], d.encoded[:0]
	for len(part) > 0 {
		point := int(le.Uint32(part))
		if point == 0 {
			part = d.rebase(part)
			continue
		}
		exemplars := int(le.Uint32(part[4:]))
		if !d.whole || len(d.stale) > 0 {
			d.exchangeBase()
		}
		md := Metadata{Type: MetricType(le.Uint32(part[8:])), Help: le.Uint32(part[12:]), Unit: le.Uint32(part[16:])}
		if len(d.encoded) == 0 || d.metadata != md {
			d.metadata = md
			d.encoded = AppendMetadata(d.encoded[:0], Metadata{Type: md.Type, Help: d.refs[md.Help], Unit: d.refs[md.Unit]})
		}
		own := part[20:draftHeaderLen]
		part = part[draftHeaderLen:]
		m.draftExemplars(part[point : point+exemplars])
		m.appendDraft(own, part[:point])
		part = part[point+exemplars:]
	}
}

// appendDraft appends a series of the message: the base with the draft's own labels where it is cut, and the rest.
func (m *Merger) appendDraft(own, point []byte) {
	d := &m.drafts
	var labels [len(d.cut)]uint64
	var sizes [len(d.cut)]int
	size := len(d.exchanged)
	for i := range labels {
		if l := le.Uint64(own[i*draftLabelLen:]); l != 0 {
			labels[i], sizes[i] = d.labelBits(l)
			size += sizes[i]
		}
	}
	all := lenFieldLen(size) + len(point) + len(m.rest) + len(d.encoded)
	// A label is written in eight bytes, of which what follows overwrites those that are too much.
	b := append(buffers.Room(&m.series, lenFieldLen(all)+8), requestTimeseriesV2<<3|wireLen)
	b = binary.AppendUvarint(b, uint64(all))
	b = binary.AppendUvarint(append(b, seriesLabelsRefs<<3|wireLen), uint64(size))
	at := 0
	for i := range labels {
		b = append(b, d.exchanged[at:d.ends[i]]...)
		b = le.AppendUint64(b, labels[i])
		b = b[:len(b)-8+sizes[i]]
		at = d.ends[i]
	}
	b = append(b, d.exchanged[at:]...)
	b = append(b, point...)
	b = append(b, m.rest...)
	b = append(b, d.encoded...)
	m.series = m.series[:len(b)]
}

// rebase reads a base or a change of it, and returns the rest of the part.
func (d *draftPart) rebase(part []byte) []byte {
	if le.Uint32(part[4:]) == math.MaxUint32 {
		n := int(le.Uint32(part[8:]))
		for part = part[draftChangeLen:]; n > 0; n, part = n-1, part[8:] {
			i := int(le.Uint32(part))
			d.labels[i].set(d.labels[i].label&math.MaxUint32 | uint64(le.Uint32(part[4:]))<<32)
			d.stale = append(d.stale, i)
		}
		return part
	}
	size := int(le.Uint32(part[4:]))
	for i := range d.cut {
		d.cut[i] = int(le.Uint32(part[8+4*i:]))
	}
	base := part[draftBaseLen:][:size]
	known := len(d.labels)
	d.labels = slices.Grow(d.labels[:0], size/draftLabelLen)[:size/draftLabelLen]
	clear(d.labels[min(known, len(d.labels)):])
	for i := range d.labels {
		d.labels[i].set(le.Uint64(base[i*draftLabelLen:]))
	}
	d.stale, d.whole = d.stale[:0], false
	return part[draftBaseLen+size:]
}

func (l *exchangedLabel) set(label uint64) {
	if l.label != label {
		l.label, l.stale = label, true
	}
}

// exchangeBase exchanges the references of the base that have changed.
func (d *draftPart) exchangeBase() {
	for _, i := range d.stale {
		l := &d.labels[i]
		size := l.size
		d.exchangeLabel(l)
		if d.whole = d.whole && l.size == size; d.whole {
			for j := range size {
				d.exchanged[l.at+j] = byte(l.encoded >> (8 * j))
			}
		}
	}
	d.stale = d.stale[:0]
	if d.whole {
		return
	}
	d.whole = true
	to, run := d.exchanged[:0], 0
	for i := range d.labels {
		for run < len(d.cut) && d.cut[run] == i*draftLabelLen {
			d.ends[run] = len(to)
			run++
		}
		l := &d.labels[i]
		d.exchangeLabel(l)
		l.at = len(to)
		to = le.AppendUint64(to, l.encoded)[:l.at+l.size]
	}
	for ; run < len(d.ends); run++ {
		d.ends[run] = len(to)
	}
	d.exchanged = to
}

// exchangeLabel exchanges the references of a label if they have changed.
func (d *draftPart) exchangeLabel(l *exchangedLabel) {
	if !l.stale {
		return
	}
	l.encoded, l.size = d.labelBits(l.label)
	l.stale = false
}

// labelBits is a label with its new references as varints, of size bytes together, the first of which is the lowest.
func (d *draftPart) labelBits(label uint64) (bits uint64, size int) {
	name, n := refBits(d.refs[uint32(label)])
	value, v := refBits(d.refs[label>>32])
	return name | value<<(8*n), n + v
}

// refBits is a reference as a varint of size bytes, the first of which is the lowest. It is good up to 2^28: a message has
// fewer symbols.
func refBits(r uint32) (bits uint64, size int) {
	v := uint64(r)
	switch {
	case v < 1<<7:
		return v, 1
	case v < 1<<14:
		return v&0x7f | 0x80 | v>>7<<8, 2
	case v < 1<<21:
		return v&0x7f | 0x80 | (v>>7&0x7f|0x80)<<8 | v>>14<<16, 3
	default:
		return v&0x7f | 0x80 | (v>>7&0x7f|0x80)<<8 | (v>>14&0x7f|0x80)<<16 | v>>21<<24, 4
	}
}

// draftExemplars makes m.rest the exemplars of a draft.
func (m *Merger) draftExemplars(exemplars []byte) {
	m.rest = m.rest[:0]
	for len(exemplars) > 0 {
		labels, fields := int(le.Uint32(exemplars)), int(le.Uint32(exemplars[4:]))
		exemplars = exemplars[8:]
		m.packed = m.packed[:0]
		for refs := exemplars[:labels]; len(refs) > 0; refs = refs[DraftRefLen:] {
			m.packed = appendRef(m.packed, m.drafts.refs[le.Uint32(refs)])
		}
		e := m.scratch[:0]
		if labels > 0 {
			e = appendBytes(e, 1, m.packed)
		}
		m.scratch = append(e, exemplars[labels:labels+fields]...)
		m.rest = appendBytes(m.rest, seriesExemplarsV2, m.scratch)
		exemplars = exemplars[labels+fields:]
	}
}
