// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	cryptorand "crypto/rand"
	"encoding/binary"
	"math/bits"

	"github.com/dchest/siphash"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// Two hashes stand for a label set. Clients choose names and values, so neither may be one that a client can compute: with
// such a hash somebody finds in microseconds a value that makes another client's sample a duplicate, series that all share
// a partition, or a payload that makes a hash table a list.
//
// The identity says which samples are of one series: to the guard, to the set of seen samples, to remembered bounds and
// to symbol tables. Its strings are hashed by hash/maphash, whose seed is made for the process.
//
// The partition key says where a series goes. Its strings are hashed by SipHash, whose secret can be stored: whoever has it
// finds the same partitions again.
//
// Both are sums, modulo 2^64, of a part for each label, so that a changed label costs the hash of its value alone. A part is
// combine(hash of the name, hash of the value), both of which depend on a secret. Two label sets with the same sum cannot be
// made without it: if a string is in one label of only one of them, its hash, which is as good as random, is in only one
// part; combine is a bijection in it, so the part, and with it the difference of the sums, is as random, and 0 once in
// 2^64. If the two have the same strings in other places, like exchanged values, the parts that differ are outputs of a
// mixing permutation for inputs that nobody can choose, or choose the differences of, which cancel as seldom.

// hashSeed separates the parts that a hash is combined from.
const hashSeed = 0x9e3779b97f4a7c15

// combine mixes two hashes. It is a bijection in each of them, so that it adds no collisions of its own. It is no secret: at
// least one of the hashes must be, and it must not be the only thing that keeps values apart that somebody can choose.
func combine(a, b uint64) uint64 {
	h := a ^ bits.RotateLeft64(b*hashSeed, 31)
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

// nameHash is what the parts of a label's identity with that name begin with.
func nameHash(name string) uint64 {
	return combine(hashSeed, wire.Hash(name))
}

// labelHash is the part of a label in the identity of its series, made of those of its name and value.
func labelHash(name, value uint64) uint64 {
	return combine(name, value)
}

// partitionSecret is the key of the hash by which series are given to partitions. Series keep their partitions as long as
// the secret and the number of partitions are the same.
type partitionSecret struct{ k0, k1 uint64 }

// newPartitionSecret makes a secret of its own for an exporter.
func newPartitionSecret() partitionSecret {
	var b [16]byte
	// Read never returns an error.
	_, _ = cryptorand.Read(b[:])
	return partitionSecret{binary.LittleEndian.Uint64(b[:]), binary.LittleEndian.Uint64(b[8:])}
}

// hash is SipHash-2-4.
func (s partitionSecret) hash(b []byte) uint64 { return siphash.Hash(s.k0, s.k1, b) }

// name is what the parts of a label's partition key with that name begin with.
func (s partitionSecret) name(name string) uint64 {
	return combine(hashSeed, s.hash([]byte(name)))
}

// label is the part of a label in the partition key, made of that of its name and of its value.
func (s partitionSecret) label(name uint64, value []byte) uint64 {
	return combine(name, s.hash(value))
}
