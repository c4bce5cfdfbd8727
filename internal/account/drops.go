// SPDX-License-Identifier: Apache-2.0

package account // import "github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"

// Drops are samples dropped before the queue, by reason.
type Drops [Reasons]struct {
	// Count is the number of samples.
	Count int
	// Example renders one of them for the log, or is nil. It takes time: it is called without a lock, and only for a line
	// that is written, while the payload's segments are still there.
	Example func() string
}

// Add counts n samples. The first example of a reason is kept.
func (d *Drops) Add(r Reason, n int, example func() string) {
	if n == 0 {
		return
	}
	d[r].Count += n
	if d[r].Example == nil {
		d[r].Example = example
	}
}

// Total is the number of all samples dropped.
func (d *Drops) Total() int {
	n := 0
	for i := range d {
		n += d[i].Count
	}
	return n
}
