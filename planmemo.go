// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import "unsafe"

// planMemo is the last label set of a plan in a partition, as references to the symbol table of the partition's segment.
// Names and constants are the same for all points of the plan, and the values of most attributes are those of the point
// before.
type planMemo struct {
	// generation is one more than that of the symbol table that the references are good for, so that 0 is none.
	generation uint64
	// serial is that of the label set.
	serial uint64
	// refs are cut like labelSet.buf, and at is where in them the values of the plan's attribute labels stand.
	refs []byte
	cut  [3]int
	at   []int
	// changed is where refs differs from the label set before, unless built is set: then it was made anew.
	changed []int
	built   bool
	// held is what the memo takes of the caches' budget.
	held int
}

// memoSize is the bytes of a memo, of which a plan has one for each partition, used or not.
const memoSize = int(unsafe.Sizeof(planMemo{}))

// cost is the bytes that the memo refers to.
func (m *planMemo) cost() int {
	return cap(m.refs) + (cap(m.at)+len(m.at))*8 + 3*allocation
}
