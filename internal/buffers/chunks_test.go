// SPDX-License-Identifier: Apache-2.0

package buffers

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestClass: each number is of one capacity, in rising order, which is enough and at most an eighth more than that.
func TestClass(t *testing.T) {
	last, lastSize := -1, 0
	for n := range 1<<mostBits + 2 {
		number, size, ok := class(n)
		if n <= 1<<leastBits || n > 1<<mostBits {
			require.False(t, ok, n)
			require.Equal(t, n, size)
			continue
		}
		require.True(t, ok, n)
		require.GreaterOrEqual(t, size, n)
		require.LessOrEqual(t, size-n, n/8, n)
		if number != last {
			require.Equal(t, last+1, number, n)
			require.Greater(t, size, lastSize)
			last, lastSize = number, size
		}
		require.Equal(t, lastSize, size, n)
	}
	assert.Equal(t, len(sized)-1, last)
}

// TestSizedIsUsedAgain: a slice is only lent again when it was given back, and has room for what was asked for.
func TestSizedIsUsedAgain(t *testing.T) {
	for _, n := range []int{0, 1, 300, 4096, 4097, 11_600, 1 << 17, 1<<17 + 1} {
		b := Copy(make([]byte, n))
		require.Len(t, b, n)
		GiveSized(b)
		first, second := Sized(n), Sized(n)
		require.Empty(t, first)
		require.GreaterOrEqual(t, cap(first), n)
		require.GreaterOrEqual(t, cap(second), n)
		if n > 0 {
			first, second = append(first, 1), append(second, 2)
			assert.Equal(t, []byte{1, 2}, []byte{first[0], second[0]}, "two owners have the same bytes")
		}
	}
	GiveSized(make([]byte, 0, 1000))
	assert.GreaterOrEqual(t, cap(Sized(1000)), 1000)
}
