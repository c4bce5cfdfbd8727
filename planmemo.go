// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

// planMemo is the last label set of a plan, as references to the symbol table of the payload. Names and constants are the same
// for all points of the plan, and the values of most attributes are those of the point before.
type planMemo struct {
	// generation is that of the symbol table that the references are good for; 0 is none.
	generation uint64
	// serial is that of the label set, and built that of the one for which the memo was made anew.
	serial, built uint64
	// refs are cut like labelSet.buf, and at is where in them the values of the plan's attribute labels stand, -1 for none.
	refs []byte
	cut  [3]int
	at   []int
	// held is what the memo takes of the caches' budget.
	held int
}

// cost is the bytes that the memo refers to.
func (m *planMemo) cost() int {
	return cap(m.refs) + cap(m.at)*8 + 2*allocation
}

// changedSince appends where in refs those values stand that have changed since the label set of that serial.
func (m *planMemo) changedSince(changed []int, ls *labelSet, serial uint64) []int {
	for i := range ls.values {
		if ls.values[i].changed > serial && m.at[i] >= 0 {
			changed = append(changed, m.at[i])
		}
	}
	return changed
}
