// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
)

// TestSortIsStable: what is equal stays in its order, whatever the order was.
func TestSortIsStable(t *testing.T) {
	type pair struct{ key, at int }
	byKey := func(a, b pair) int { return a.key - b.key }
	for n := range 300 {
		var sorted, want []pair
		for i := range n {
			sorted = append(sorted, pair{rand.IntN(1 + n/3), i})
		}
		want = slices.Clone(sorted)
		slices.SortStableFunc(want, byKey)
		sortStable(sorted, byKey)
		assert.Equal(t, want, sorted)
		sortStable(sorted, byKey)
		assert.Equal(t, want, sorted, "what is in order already")
	}
}
