// SPDX-License-Identifier: Apache-2.0

package wire // import "github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"

import (
	"slices"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/buffers"
)

// PartSymbols are the symbols of a payload's table that a part uses. A string is looked up once in a payload, and copied into
// each part that uses it.
type PartSymbols struct {
	// Of is the payload's table. It may be reset when the part is made.
	Of *Symbols
	// entries and strings are as a part has them.
	entries, strings []byte
	// size is the bytes that the symbols take in a message.
	size int
	// used has a bit for each reference of the payload's table.
	used []uint64
}

// Len is the number of strings that a message with the symbols has.
func (p *PartSymbols) Len() int { return 1 + len(p.entries)/symbolEntryLen }

// Size is the bytes of the symbols in a message.
func (p *PartSymbols) Size() int { return emptySymbol + p.size }

// Capacity is the bytes that are held, used or not.
func (p *PartSymbols) Capacity() int { return cap(p.entries) + cap(p.strings) + 8*cap(p.used) }

// Reset makes it that of a part without symbols.
func (p *PartSymbols) Reset() {
	for e := p.entries; len(e) > 0; e = e[symbolEntryLen:] {
		p.used[le.Uint32(e[8:])/64] = 0
	}
	p.entries, p.strings, p.size = p.entries[:0], p.strings[:0], 0
}

// Ref returns the reference of a string in the payload's table, and says that the part uses it.
func (p *PartSymbols) Ref(symbol string) uint32 { return p.Use(p.Of.Ref(symbol)) }

// RefHashed is Ref for a string that is not empty and whose Hash is known.
func (p *PartSymbols) RefHashed(symbol string, hash uint64) uint32 {
	return p.Use(p.Of.RefHashed(symbol, hash))
}

// UseRefs says that the part uses all references of labels that AppendDraftRefs has appended.
func (p *PartSymbols) UseRefs(labels []byte) {
	for ; len(labels) > 0; labels = labels[DraftRefLen:] {
		p.Use(le.Uint32(labels))
	}
}

// Use says that the part uses a reference of the payload's table, and returns it.
func (p *PartSymbols) Use(ref uint32) uint32 {
	if word := int(ref / 64); word >= len(p.used) || p.used[word]>>(ref%64)&1 == 0 {
		p.add(ref)
	}
	return ref
}

// add copies a symbol that is new to the part.
func (p *PartSymbols) add(ref uint32) {
	word := int(ref / 64)
	if word >= len(p.used) {
		p.used = append(p.used, make([]uint64, word+1-len(p.used))...)
	}
	p.used[word] |= 1 << (ref % 64)
	if ref == 0 {
		return
	}
	span := &p.Of.spans[ref-1]
	strings := append(buffers.Room(&p.strings, int(span.end-span.start)), p.Of.encoded[span.start:span.end]...)
	p.strings = p.strings[:len(strings)]
	entries := le.AppendUint64(buffers.Room(&p.entries, symbolEntryLen), span.hash)
	entries = le.AppendUint64(entries, uint64(ref)|uint64(len(strings))<<32)
	p.entries = p.entries[:len(entries)]
	p.size += lenFieldLen(int(span.end - span.start))
}

// TableSize is how many bytes AppendTable appends.
func (p *PartSymbols) TableSize() int { return partTableLen + len(p.entries) + len(p.strings) }

// AppendTable appends the symbols as they stand at the beginning of a part.
func (p *PartSymbols) AppendTable(b []byte) []byte {
	b = slices.Grow(b, p.TableSize())
	b = le.AppendUint32(b, uint32(len(p.entries)/symbolEntryLen))
	b = le.AppendUint32(b, uint32(len(p.strings)))
	b = le.AppendUint64(b, p.Of.Generation())
	return append(append(b, p.entries...), p.strings...)
}

// payloadRefs are the references in a message's table of the symbols of payloads, so that a string of a payload is looked up once
// for all of its parts in a message.
type payloadRefs struct {
	// number is where in refs those of a payload are, by the generation of its table.
	number map[uint64]int
	// refs are 0 where not yet known.
	refs [][]uint32
}

// mostKeptRefs is how many references are kept room for.
const mostKeptRefs = 1 << 18

func (p *payloadRefs) reset() {
	clear(p.number)
	kept := 0
	p.refs = p.refs[:cap(p.refs)]
	for i := range p.refs {
		if kept += cap(p.refs[i]); kept > mostKeptRefs {
			p.refs[i] = nil
		}
	}
	p.refs = p.refs[:0]
}

// of returns those of a payload.
func (p *payloadRefs) of(generation uint64) *[]uint32 {
	n, ok := p.number[generation]
	if !ok {
		if p.number == nil {
			p.number = make(map[uint64]int)
		}
		n = len(p.refs)
		p.number[generation] = n
		p.refs = slices.Grow(p.refs, 1)[:n+1]
		// Nothing refers to the empty string but by 0.
		p.refs[n] = append(p.refs[n][:0], 0)
	}
	return &p.refs[n]
}

// exchange adds the symbols of a part to the table, and returns their references by those of the payload's table, and the rest of
// the part.
func (m *Merger) exchange(part []byte) (refs []uint32, rest []byte) {
	symbols, size := int(le.Uint32(part)), int(le.Uint32(part[4:]))
	known := m.payloads.of(le.Uint64(part[8:]))
	refs, part = *known, part[partTableLen:]
	entries, part := part[:symbols*symbolEntryLen], part[symbols*symbolEntryLen:]
	strings, rest := part[:size], part[size:]
	// The hashes of a part that another process has made, and stored, are not those of this one.
	foreign := symbols > 0 && le.Uint64(entries) != HashBytes(strings[:le.Uint32(entries[12:])])
	start := 0
	for ; len(entries) > 0; entries = entries[symbolEntryLen:] {
		ref, end := int(le.Uint32(entries[8:])), int(le.Uint32(entries[12:]))
		if ref >= len(refs) {
			refs = append(refs, make([]uint32, ref+1-len(refs))...)
		}
		if refs[ref] == 0 {
			hash := le.Uint64(entries)
			if foreign {
				hash = HashBytes(strings[start:end])
			}
			refs[ref] = refHashed(&m.symbols, strings[start:end], hash)
		}
		start = end
	}
	*known = refs
	return refs, rest
}
