// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// refs returns the references of the label set that was made last to the symbols of its payload. They are valid until the next
// call.
func (l *labeler) refs(s *wire.Symbols) *planMemo {
	p, ls := l.plan, &l.set
	m := &p.memo
	if m.generation != s.Generation() || !m.change(ls, s) {
		m.build(p, ls, s)
		l.hold(p, &m.held, m.cost())
	}
	m.serial = ls.serial
	return m
}

// change makes the references those of a label set by exchanging what is different. It returns false if the two do not have
// the same labels.
func (m *planMemo) change(ls *labelSet, s *wire.Symbols) bool {
	for i := range ls.values {
		v := &ls.values[i]
		if v.changed <= m.serial {
			continue
		}
		value := ls.buf[v.start:v.end]
		if (len(value) == 0) != (m.at[i] < 0) {
			return false
		}
		if len(value) > 0 {
			wire.PutDraftRef(m.refs[m.at[i]:], s.RefBytes(value, v.hash))
		}
	}
	return true
}

// build makes the references of a label set anew.
func (m *planMemo) build(p *plan, ls *labelSet, s *wire.Symbols) {
	m.generation, m.built, m.refs, m.at = s.Generation(), ls.serial, m.refs[:0], m.at[:0]
	run := 0
	for i := range p.items {
		for run < 3 && p.cut[run] == i {
			m.cut[run] = len(m.refs)
			run++
		}
		it := &p.items[i]
		for _, c := range it.constants {
			m.refs = wire.AppendDraftRefs(m.refs, s.Ref(c.name), s.Ref(c.value))
		}
		if it.name == nil {
			continue
		}
		v := &ls.values[len(m.at)]
		at := -1
		switch {
		case v.end > v.start:
			m.refs = wire.AppendDraftRefs(m.refs, s.Ref(it.label), s.RefBytes(ls.buf[v.start:v.end], v.hash))
			at = len(m.refs) - wire.DraftRefLen
		case it.fallback != nil:
			m.refs = wire.AppendDraftRefs(m.refs, s.Ref(it.label), s.Ref(it.fallbackValue))
		}
		m.at = append(m.at, at)
	}
	for ; run < 3; run++ {
		m.cut[run] = len(m.refs)
	}
}
