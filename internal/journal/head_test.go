// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"encoding/binary"
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestOldHeads: what earlier formats have stored is read.
func TestOldHeads(t *testing.T) {
	for was, lanes := range map[byte][]uint64{
		oneHole:   {10, 20, 5, 15, 400, 2, 1, 0, 0, 50},
		unbounded: {10, 20, 1, 5, 5, 400, 2, 1, 0, 50},
	} {
		checkOldHead(t, was, lanes)
	}
}

func checkOldHead(t *testing.T, was byte, lanes []uint64) {
	want := head{generation: 7, life: 3, Layout: Layout{Lanes: 2}, first: 5, next: 9, stored: 1234}
	want.lanes = []lane{
		{acked: 10, end: 30, holes: []hole{{Hole: Hole{From: 15, To: 20}, record: math.MaxUint64}}, bytes: 400},
		{acked: 2, end: 3, bytes: 50},
	}
	b := binary.AppendUvarint(binary.AppendUvarint(nil, want.generation), want.life)
	b = want.Layout.append(b)
	for _, n := range append([]uint64{5, 9, 1234}, lanes...) {
		b = binary.AppendUvarint(b, n)
	}
	b = sealed(b)
	b[0] = was
	got, err := decodeHead(b)
	require.NoError(t, err)
	assert.Equal(t, want.generation, got.generation)
	assert.True(t, want.Layout.equal(got.Layout))
	assert.Equal(t, want.lanes, got.lanes)
	assert.Equal(t, []any{want.life, want.first, want.next, want.stored}, []any{got.life, got.first, got.next, got.stored})

	assert.Empty(t, got.steps)
	assert.Empty(t, got.skipped)
	got.steps, got.skipped = steps{{3, 10}, {300, 21}}, []uint64{5, 8}
	again, err := decodeHead(got.encode())
	require.NoError(t, err)
	assert.Equal(t, want.lanes, again.lanes)
	assert.Equal(t, got.steps, again.steps)
	assert.Equal(t, got.skipped, again.skipped)
}
