// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
)

// draftParts makes parts of a payload, of series which each have one of some bases. It returns the series too.
func (r random) draftParts(t *testing.T, s *Symbols, parts, n int) (made [][]byte, all []*series) {
	s.Reset()
	for range parts {
		part, of := r.draftPart(t, &PartSymbols{Of: s}, n)
		made, all = append(made, part), append(all, of...)
	}
	return made, all
}

func (r random) draftPart(t *testing.T, s *PartSymbols, n int) (part []byte, all []*series) {
	s.Reset()
	own := []Label{{"__name__", "a"}, {"le", "0.5"}, {"quantile", "0.9"}}
	var drafts, base []byte
	var labels []Label
	var cut [3]int
	for range n {
		switch {
		case base == nil || r.IntN(5) == 0:
			labels, base = nil, []byte{}
			for _, l := range r.labels(8) {
				if l.Name != "" && l.Value != "" {
					labels = append(labels, l)
					base = AppendDraftRefs(base, s.Ref(l.Name), s.Ref(l.Value))
				}
			}
			cut[0] = r.IntN(len(labels)+1) * draftLabelLen
			cut[1] = cut[0] + r.IntN((len(base)-cut[0])/draftLabelLen+1)*draftLabelLen
			cut[2] = cut[1] + r.IntN((len(base)-cut[1])/draftLabelLen+1)*draftLabelLen
			drafts = AppendDraftBase(drafts, base, &cut)
		case r.IntN(2) == 0:
			var changed []int
			labels = append([]Label(nil), labels...)
			for i := range labels {
				if r.IntN(3) == 0 {
					labels[i].Value = pick(r, "v"+r.string(), fmt.Sprint(r.IntN(1+n*n)))
					at := i*draftLabelLen + DraftRefLen
					PutDraftRef(base[at:], s.Ref(labels[i].Value))
					changed = append(changed, at)
				}
			}
			drafts = AppendDraftChange(drafts, base, changed)
		}
		p := r.series()
		p.labels = nil
		d := Draft{Metadata: Metadata{Type: p.metadata, Help: s.Ref(p.help), Unit: s.Ref(p.unit)}}
		at := 0
		for i, l := range own {
			p.labels = append(p.labels, labels[at/draftLabelLen:cut[i]/draftLabelLen]...)
			at = cut[i]
			if i == 0 || r.IntN(2) == 0 {
				p.labels = append(p.labels, l)
				d.Labels[i] = DraftLabel{s.Ref(l.Name), s.Ref(l.Value)}
			}
		}
		p.labels = append(p.labels, labels[at/draftLabelLen:]...)
		if p.histogram == nil {
			d.Point = AppendSampleV2(nil, p.value, p.timestamp, p.start)
		} else {
			d.Point, _ = AppendHistogramV2(nil, p.histogram, p.timestamp, p.start, nil)
		}
		for _, e := range p.exemplars {
			d.Exemplars = AppendDraftExemplar(d.Exemplars, e, s)
		}
		drafts = AppendDraft(drafts, &d)
		all = append(all, p)
	}
	part = s.AppendTable(nil)
	assert.Len(t, part, s.TableSize())
	return append(part, drafts...), all
}

// TestDrafts makes messages of parts, with the symbols that their series use and no others.
func TestDrafts(t *testing.T) {
	var m Merger
	var s Symbols
	repeat(t, 1000, func(t *testing.T, r random) {
		m.Reset()
		var want []*series
		for range 1 + r.IntN(5) {
			parts, all := r.draftParts(t, &s, r.IntN(4), r.IntN(12))
			for _, part := range parts {
				m.AddDrafts(part)
			}
			want = append(want, all...)
		}
		message := m.Message(nil)
		got, plain := unmarshalV2(t, message), writev2Request(want)
		assert.Equal(t, resolve(t, plain), resolve(t, got))
		assert.ElementsMatch(t, plain.Symbols, got.Symbols)

		// The message is not larger than the bounds say.
		size, refs := 0, 0
		for _, p := range want {
			size += MaxSeriesV2Overhead
			refs += 2*len(p.labels) + 2
			if p.histogram == nil {
				size += len(AppendSampleV2(nil, p.value, p.timestamp, p.start))
			} else {
				encoded, _ := AppendHistogramV2(nil, p.histogram, p.timestamp, p.start, nil)
				size += len(encoded)
			}
			for _, e := range p.exemplars {
				size += MaxExemplarV2Overhead
				refs += 2 * len(e.Labels)
			}
		}
		assert.LessOrEqual(t, len(message), size+refs*UvarintLen(uint64(m.symbols.Len()))+m.symbols.Size())
	})
}

// TestDraftsOfOtherProcesses joins parts whose hashes are those of several processes, as they are after restarts with what was
// stored: each string is in the table once all the same.
func TestDraftsOfOtherProcesses(t *testing.T) {
	var m Merger
	var s Symbols
	repeat(t, 100, func(t *testing.T, r random) {
		m.Reset()
		var want []*series
		for process := range 4 {
			parts, all := r.draftParts(t, &s, 2, 1+r.IntN(12))
			for _, part := range parts {
				for entry, n := part[partTableLen:], le.Uint32(part); n > 0; entry, n = entry[symbolEntryLen:], n-1 {
					le.PutUint64(entry, le.Uint64(entry)^uint64(process))
				}
				m.AddDrafts(part)
			}
			want = append(want, all...)
		}
		got, plain := unmarshalV2(t, m.Message(nil)), writev2Request(want)
		assert.Equal(t, resolve(t, plain), resolve(t, got))
		assert.ElementsMatch(t, plain.Symbols, got.Symbols)
	})
}

// TestDraftsOfManySymbols has references that get longer while a part is read.
func TestDraftsOfManySymbols(t *testing.T) {
	r := newRandom(4)
	var s Symbols
	for _, known := range []int{1<<7 - 30, 1<<14 - 30} {
		var m Merger
		var want []*series
		for i := range known {
			m.symbols.Ref(fmt.Sprint("known ", i))
		}
		for range 5 {
			parts, all := r.draftParts(t, &s, 1, 100)
			m.AddDrafts(parts[0])
			want = append(want, all...)
		}
		assert.Greater(t, m.symbols.Len(), known+100)
		assert.Equal(t, resolve(t, writev2Request(want)), resolve(t, unmarshalV2(t, m.Message(nil))))
	}
}

// TestRefBits has what a reference is as a varint.
func TestRefBits(t *testing.T) {
	for _, ref := range []uint32{0, 1, 1<<7 - 1, 1 << 7, 1<<14 - 1, 1 << 14, 1<<21 - 1, 1 << 21, 1<<28 - 1} {
		bits, size := refBits(ref)
		assert.Equal(t, appendRef(nil, ref), le.AppendUint64(nil, bits)[:size])
	}
}

// TestSymbolsReset: a table that was large is emptied completely by either way.
func TestSymbolsReset(t *testing.T) {
	r := newRandom(5)
	var s Symbols
	for range 200 {
		for range pick(r, 3, 50, 5000) {
			s.Ref(r.string())
		}
		s.Reset()
		for i := range s.slots {
			if s.slots[i] != (symbolSlot{}) {
				t.Fatalf("slot %d is in use", i)
			}
		}
	}
}
