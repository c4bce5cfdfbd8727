// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"math/rand/v2"
	"slices"
	"strings"
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

// TestSortByStringIsStable has strings that begin alike, of which one may be the beginning of another, and zero bytes.
func TestSortByStringIsStable(t *testing.T) {
	type pair struct {
		key string
		at  int
	}
	byKey := func(a, b pair) int { return strings.Compare(a.key, b.key) }
	for n := range 300 {
		common := strings.Repeat("a", rand.IntN(20))
		var sorted []pair
		for i := range n {
			rest := make([]byte, rand.IntN(12))
			for j := range rest {
				rest[j] = "\x00ab\xff"[rand.IntN(4)]
			}
			if i > 0 && rand.IntN(4) == 0 {
				rest = []byte(sorted[rand.IntN(i)].key)[len(common):]
			}
			sorted = append(sorted, pair{common + string(rest), i})
		}
		want := slices.Clone(sorted)
		slices.SortStableFunc(want, byKey)
		key := func(p pair) string { return p.key }
		sortByString(sorted, key)
		assert.Equal(t, want, sorted)
		sortByString(sorted, key)
		assert.Equal(t, want, sorted, "what is in order already")
	}
}
