// SPDX-License-Identifier: Apache-2.0

package journal // import "github.com/orderedremotewrite/orderedremotewriteexporter/internal/journal"

import (
	"cmp"
	"slices"
)

// span is the numbers from one on and before another.
type span struct{ from, to uint64 }

func (s span) empty() bool { return s.from >= s.to }

// spans are a set of numbers: the spans of it that do not touch, the first ones first.
type spans []span

// next is the first span of the set from a number on, without what is before that number.
func (s spans) next(number uint64) (of span, ok bool) {
	i, _ := slices.BinarySearchFunc(s, number, func(of span, number uint64) int { return cmp.Compare(of.to, number+1) })
	if i == len(s) {
		return span{}, false
	}
	return span{max(s[i].from, number), s[i].to}, true
}

func (s spans) has(number uint64) bool {
	of, ok := s.next(number)
	return ok && of.from == number
}

// add puts a span into the set.
func (s *spans) add(of span) {
	if of.empty() {
		return
	}
	*s = slices.DeleteFunc(*s, func(o span) bool {
		if o.to < of.from || o.from > of.to {
			return false
		}
		of = span{min(of.from, o.from), max(of.to, o.to)}
		return true
	})
	at, _ := slices.BinarySearchFunc(*s, of, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	*s = slices.Insert(*s, at, of)
}

// remove takes a span out of the set.
func (s *spans) remove(of span) {
	if of.empty() {
		return
	}
	var left spans
	for _, o := range *s {
		if before := (span{o.from, min(o.to, of.from)}); !before.empty() {
			left = append(left, before)
		}
		if after := (span{max(o.from, of.to), o.to}); !after.empty() {
			left = append(left, after)
		}
	}
	*s = left
}
