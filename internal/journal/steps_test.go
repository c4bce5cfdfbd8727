// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/storagetest"
)

// TestStepsBoundEachRecord has random records, of which the first ones are deleted now and then.
func TestStepsBoundEachRecord(t *testing.T) {
	for seed := range uint64(50) {
		random := rand.New(rand.NewPCG(seed, 0))
		var s steps
		var sizes []int64
		first, largest := uint64(0), 1
		for number := range uint64(2000) {
			if random.IntN(50) == 0 {
				largest = 1 << random.IntN(22)
			}
			bytes := 1 + random.IntN(largest)
			sizes = append(sizes, int64(bytes))
			s = s.with(number, bytes, first)
			require.LessOrEqual(t, len(s), mostSteps)
			if random.IntN(100) == 0 {
				first += random.Uint64N(number - first + 1)
			}
			for _, of := range []uint64{first, number, first + random.Uint64N(number-first+1)} {
				most, ok := s.most(of)
				require.True(t, ok)
				require.Less(t, sizes[of], most)
			}
		}
	}
	_, ok := steps{{5, 1}}.most(4)
	assert.False(t, ok, "an earlier version has written it")
}

// TestSmallRecordsAreReadTogether: after a restart many small records take few reads, and large ones behind them no more memory than
// others.
func TestSmallRecordsAreReadTogether(t *testing.T) {
	const small, large, size, at = 5000, 50, 100_000, 1 << 20
	m := new(storagetest.Disk)
	l := open(t, m, 1)
	for i := range uint64(small + large) {
		r := run(0, i, 1)
		if i >= small {
			r.Data = append(r.Data, make([]byte, size)...)
		}
		appendAll(t, l, []Run{r})
	}
	l = open(t, m, 1)
	reads := 0
	from, end := l.Bounds()
	for from < end {
		records, next, _, err := l.Read(t.Context(), from, end, at)
		require.NoError(t, err)
		from = next
		bytes := 0
		for _, r := range records {
			bytes += len(r.Runs[0].Data)
		}
		require.Less(t, bytes, at+size+1000)
		reads++
	}
	assert.LessOrEqual(t, reads, small/maxReads+1+2*large*size/at+1)
}
