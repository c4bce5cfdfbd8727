// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestSpansAreASet compares spans with a set of numbers.
func TestSpansAreASet(t *testing.T) {
	const size = 40
	for seed := range uint64(200) {
		rng := rand.New(rand.NewPCG(seed, 0))
		var s spans
		var set [size]bool
		for range 50 {
			of := span{from: rng.Uint64N(size), to: rng.Uint64N(size)}
			adds := rng.IntN(2) == 0
			if adds {
				s.add(of)
			} else {
				s.remove(of)
			}
			for n := of.from; n < of.to; n++ {
				set[n] = adds
			}
			for n := range set {
				require.Equal(t, set[n], s.has(uint64(n)), "seed %d: %d in %v", seed, n, s)
			}
			for i := 1; i < len(s); i++ {
				require.Less(t, s[i-1].to, s[i].from, "seed %d", seed)
			}
		}
	}
}
