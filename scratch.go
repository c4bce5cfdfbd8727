// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

// maxKept is how long a slice may be that is kept for the next payload, whose elements refer to this one's.
const maxKept = 1 << 10

// emptied returns the slice without its elements, or none at all if it has become long: a large payload must not make all
// that follow pay for it.
func emptied[T any](s []T) []T {
	if cap(s) > maxKept {
		return nil
	}
	clear(s[:cap(s)])
	return s[:0]
}
