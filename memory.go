// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

// memory is the bytes that a queue holds. The queue's lock guards it.
type memory struct {
	capacity, used int64
}

// resizeLocked counts bytes that come or leave in the size of a partition.
func (m *memory) resizeLocked(size *int64, n int64) {
	*size += n
	m.used += n
}
