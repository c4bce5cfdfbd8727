// SPDX-License-Identifier: Apache-2.0

package journal // import "github.com/orderedremotewrite/orderedremotewriteexporter/internal/journal"

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
)

// steps bound the bytes of records of which nothing else is known, so that as many small ones are read at once as have room. The
// first ones first.
type steps []step

// step says that each record from a number on, and before the next step, has less than 1<<bits bytes.
type step struct {
	from uint64
	bits int
}

// mostSteps is how many a head has at most.
const mostSteps = 16

// with are the steps with a further record, behind all others. Those that are before the first record are left out.
func (s steps) with(number uint64, bytes int, first uint64) steps {
	n := bits.Len(uint(bytes))
	if len(s) > 0 && s[len(s)-1].bits == n {
		return s
	}
	s = append(slices.Clone(s), step{number, n})
	for len(s) > 1 && s[1].from <= first {
		s = s[1:]
	}
	if len(s) > mostSteps {
		s = s.joined()
	}
	return s
}

// joined has one step less: two become one where that adds least to the bytes that all records seem to have.
func (s steps) joined() steps {
	at, least := 0, uint64(math.MaxUint64)
	for i := range len(s) - 1 {
		smaller := uint64(1)
		switch {
		case s[i].bits < s[i+1].bits:
			smaller = s[i+1].from - s[i].from
		case i+2 < len(s):
			smaller = s[i+2].from - s[i+1].from
		}
		low, high := min(s[i].bits, s[i+1].bits), max(s[i].bits, s[i+1].bits)
		if more := smaller * (1<<high - 1<<low); more < least {
			at, least = i, more
		}
	}
	s[at].bits = max(s[at].bits, s[at+1].bits)
	return slices.Delete(s, at+1, at+2)
}

// most is how many bytes a record may have, if there is a step for it.
func (s steps) most(number uint64) (bytes int64, ok bool) {
	i, found := slices.BinarySearchFunc(s, number, func(of step, number uint64) int { return cmp.Compare(of.from, number) })
	if !found {
		i--
	}
	if i < 0 {
		return 0, false
	}
	return 1 << s[i].bits, true
}
