// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"cmp"
	"slices"
	"strings"
)

// sortStable sorts as slices.SortStableFunc does, which takes n log² n steps where a client chooses n. This takes n log n, and
// n for what is in order already.
func sortStable[T any](s []T, compare func(a, b T) int) {
	if slices.IsSortedFunc(s, compare) {
		return
	}
	type element struct {
		value T
		at    int
	}
	elements := make([]element, len(s))
	for i, value := range s {
		elements[i] = element{value, i}
	}
	slices.SortFunc(elements, func(a, b element) int {
		if c := compare(a.value, b.value); c != 0 {
			return c
		}
		return cmp.Compare(a.at, b.at)
	})
	for i := range elements {
		s[i] = elements[i].value
	}
}

// insertionSorted is up to how many elements slices.SortStableFunc does without anything but insertion.
const insertionSorted = 20

// sortByString is sortStable by a string of each element. Of many it sorts the strings, because the elements may be large.
func sortByString[T any](s []T, of func(T) string) {
	compare := func(a, b T) int { return strings.Compare(of(a), of(b)) }
	if len(s) <= insertionSorted {
		slices.SortStableFunc(s, compare)
		return
	}
	if slices.IsSortedFunc(s, compare) {
		return
	}
	type element struct {
		text string
		at   int
	}
	elements := make([]element, len(s))
	for i, value := range s {
		elements[i] = element{of(value), i}
	}
	slices.SortFunc(elements, func(a, b element) int {
		if c := strings.Compare(a.text, b.text); c != 0 {
			return c
		}
		return cmp.Compare(a.at, b.at)
	})
	unsorted := slices.Clone(s)
	for i := range elements {
		s[i] = unsorted[elements[i].at]
	}
}
