// SPDX-License-Identifier: Apache-2.0

package rwtest // import "github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"

import (
	"encoding/binary"
	"math/bits"
	"math/rand/v2"
)

// The primes of XXH64.
const (
	xxPrime1 = 0x9e3779b185ebca87
	xxPrime2 = 0xc2b2ae3d27d4eb4f
	xxPrime3 = 0x165667b19e3779f9
	xxPrime4 = 0x85ebca77c2b2ae63
	xxPrime5 = 0x27d4eb2f165667c5
)

// UnkeyedLen is the length of the strings of Unkeyed and Forge.
const UnkeyedLen = 16

// Unkeyed is the XXH64 of a string of UnkeyedLen bytes, an example of a hash that everybody can compute.
func Unkeyed(s string) uint64 {
	h := uint64(xxPrime5 + UnkeyedLen)
	for i := 0; i < UnkeyedLen; i += 8 {
		h = bits.RotateLeft64(h^xxRound(binary.LittleEndian.Uint64([]byte(s[i:]))), 27)*xxPrime1 + xxPrime4
	}
	h ^= h >> 33
	h *= xxPrime2
	h ^= h >> 29
	h *= xxPrime3
	return h ^ h>>32
}

func xxRound(k uint64) uint64 { return bits.RotateLeft64(k*xxPrime2, 31) * xxPrime1 }

// Forge returns an ASCII string of UnkeyedLen bytes with that Unkeyed hash. Every step of the hash can be undone, so the
// second half of a string follows from its first half and the hash: after a few hundred first halves one is ASCII.
func Forge(r *rand.Rand, hash uint64) string {
	h := hash ^ hash>>32
	h *= Inverse(xxPrime3)
	h ^= h>>29 ^ h>>58
	h *= Inverse(xxPrime2)
	h ^= h >> 33
	end := bits.RotateLeft64((h-xxPrime4)*Inverse(xxPrime1), -27)
	const ascii = 0x7f7f7f7f7f7f7f7f
	for {
		first := r.Uint64() & ascii
		state := bits.RotateLeft64((xxPrime5+UnkeyedLen)^xxRound(first), 27)*xxPrime1 + xxPrime4
		second := bits.RotateLeft64((end^state)*Inverse(xxPrime1), -31) * Inverse(xxPrime2)
		if second&^ascii == 0 {
			b := binary.LittleEndian.AppendUint64(nil, first)
			return string(binary.LittleEndian.AppendUint64(b, second))
		}
	}
}

// Inverse is what undoes the multiplication by an odd number, modulo 2^64.
func Inverse(odd uint64) uint64 {
	inverse := odd // right in three bits, which Newton's method doubles each time
	for range 5 {
		inverse *= 2 - odd*inverse
	}
	return inverse
}
