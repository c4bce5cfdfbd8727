// SPDX-License-Identifier: Apache-2.0

package buffers // import "github.com/orderedremotewrite/orderedremotewriteexporter/internal/buffers"

import (
	"math/bits"
	"sync"
)

// The slices of Sized have one of eight capacities between a power of two and the next, so that at most an eighth of what a
// slice takes is unused: what holds many of them for long accounts for their lengths. The allocator rounds up by as much.
const (
	stepBits  = 3
	leastBits = 8
	mostBits  = 17
)

// sized are the slices by capacity. What nobody takes is garbage, which the second collection after it was given back frees.
var sized [(mostBits - leastBits) << stepBits]sync.Pool

// class is the number of the least capacity that is enough for n bytes, and that capacity. ok is false for what is too
// small or too large to be used again.
func class(n int) (number, size int, ok bool) {
	if n <= 1<<leastBits || n > 1<<mostBits {
		return 0, n, false
	}
	shift := bits.Len(uint(n-1)) - 1 - stepBits
	step := (n - 1) >> shift
	number = (shift+stepBits-leastBits)<<stepBits + step - 1<<stepBits
	return number, (step + 1) << shift, true
}

// Sized returns an empty slice with room for n bytes, for who keeps it longer than a call. Who takes it owns it, and may give
// it to GiveSized or leave it to the garbage collector.
func Sized(n int) []byte {
	number, size, ok := class(n)
	if ok {
		if b, _ := sized[number].Get().(*[]byte); b != nil {
			return *b
		}
	}
	return make([]byte, 0, size)
}

// Copy is a copy of b in a slice of Sized, or nil for nil.
func Copy(b []byte) []byte {
	if b == nil {
		return nil
	}
	return append(Sized(len(b)), b...)
}

// GiveSized gives back a slice that nobody may use any more. It may be from elsewhere: then it is used again only if Sized
// could have made it.
func GiveSized(b []byte) {
	if number, size, ok := class(cap(b)); ok && size == cap(b) {
		b = b[:0]
		sized[number].Put(&b)
	}
}
