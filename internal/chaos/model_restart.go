// SPDX-License-Identifier: Apache-2.0

package chaos

import "slices"

// of are the settings of a process.
func (r *Record) of(life int) *Settings {
	if len(r.Lives) == 0 {
		return r.Settings
	}
	return r.Lives[life].Settings
}

// restart takes note of the process of a call: a new one may know no series.
func (m *model) restart(c *Call) {
	if c.Life <= m.life {
		return
	}
	m.life = c.Life
	for _, s := range m.series {
		s.fresh = true
	}
}

// retell adds a payload of which it is not known whether it was accepted, and what its next calls tell of it. If it was, all that comes
// again is a duplicate, or late where the payload has more of the series. A producer gives nothing else of a series meanwhile.
func (m *model) retell(c *Call, e *Expectation) {
	items, told := m.vague[c.Payload]
	if c.Err != nil && !c.Vague {
		m.refused[1] += e.total()
		return
	}
	n := 0
	for reason, dropped := range e.Drops {
		m.unsure[reason] += dropped
		n += dropped
	}
	m.count(0, n)
	if !told {
		items = m.addVague(c, e)
	} else {
		m.count(0, len(e.Points)+len(e.Targets))
		m.unsure["duplicate"] += len(e.Points)
		m.unsure["out_of_order"] += len(e.Points)
		for _, pt := range slices.Concat(e.Points, e.Targets) {
			m.repeat(c, pt)
		}
	}
	if c.Vague {
		m.vague[c.Payload] = items
		return
	}
	delete(m.vague, c.Payload)
	if e.total() == c.Payload.Native.total() {
		m.received[0] += e.total() - len(e.Targets)
	}
	for _, it := range items {
		// Another process may have another rule for it, and it may have become old since.
		sameRule := m.record.of(c.Life).OutOfOrder == m.record.of(it.call.Life).OutOfOrder
		if !it.apart && it.sure && sameRule && !m.far(c, it.Timestamp) {
			it.optional = false
		}
		// It is in the queue now, or has been dropped for what the exporter knew of its series.
		it.call = &Call{Begin: it.call.Begin, Start: it.call.Start, End: c.End, Ended: c.Ended, Life: c.Life}
	}
}

// addVague adds the samples of a payload, none of which may have been accepted.
func (m *model) addVague(c *Call, e *Expectation) (items []*item) {
	before := m.received[0]
	drops := make(map[string]int)
	for reason, n := range m.drops {
		drops[reason] = n
	}
	m.points(c, e.Points, false)
	m.targets(c, e)
	m.received[0] = before
	for reason, n := range m.drops {
		m.unsure[reason] += n - drops[reason]
		m.drops[reason] = drops[reason]
	}
	for _, s := range m.series {
		for _, it := range slices.Concat(s.line.items, s.apart.items) {
			if it.call == c {
				it.sure, it.optional, it.retold = !it.optional, true, true
				items = append(items, it)
				s.fresh = true
			}
		}
	}
	return items
}

// repeat adds what a sample may be when it comes again: late, or far from now, or neither, if nobody knows its series any more.
func (m *model) repeat(c *Call, pt Point) {
	s := m.of(pt.Series)
	s.apart.add(&item{Point: pt, call: c, apart: true, optional: true, retold: true})
	if s.fresh || m.record.of(c.Life).OutOfOrder == "send" {
		s.line.add(&item{Point: pt, call: c, optional: true, retold: true})
	}
}
