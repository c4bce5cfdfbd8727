// SPDX-License-Identifier: Apache-2.0

package rwtest

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestUnkeyedIsXXH64(t *testing.T) {
	// As xxhsum says.
	assert.Equal(t, uint64(0x5c5b90c34e376d0b), Unkeyed("0123456789abcdef"))
}

func TestForgedStringsHaveTheHash(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		hash := r.Uint64()
		s := Forge(r, hash)
		assert.Equal(t, hash, Unkeyed(s))
		assert.Len(t, s, UnkeyedLen)
	}
}
