// SPDX-License-Identifier: Apache-2.0

package buffers // import "github.com/orderedremotewrite/orderedremotewriteexporter/internal/buffers"

import "slices"

// Room returns b, which has room for n more elements. What appends to it and then sets the length of b writes no pointer, unless b grows:
// while garbage is collected, each pointer that is written to the heap costs a barrier.
func Room[T any](b *[]T, n int) []T {
	if cap(*b)-len(*b) < n {
		*b = slices.Grow(*b, n)
	}
	return *b
}
