// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/storagetest"
)

// TestAcknowledgingGoesAcrossAHole: a later process may send together what is before and behind a hole that an earlier one has left.
func TestAcknowledgingGoesAcrossAHole(t *testing.T) {
	m := new(storagetest.Disk)
	l := open(t, m, 1)
	appendAll(t, l, []Run{run(0, 0, 10), run(0, 10, 5), run(0, 15, 10)})
	l.Forget(0, 10, 5)
	require.NoError(t, l.Flush(t.Context()))
	l = open(t, m, 1)
	assert.EqualValues(t, 20, l.Sizes().Samples)
	l.Acknowledge(0, 20)
	assert.Zero(t, l.Sizes().Samples)
	assert.EqualValues(t, 25, l.Lane(0).Acknowledged)
}

// TestHolesFollowAModel appends, sends, forgets what is behind that, and dies at random, and compares what must be kept with what the
// log says.
func TestHolesFollowAModel(t *testing.T) {
	for seed := range uint64(500) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) { testHoles(t, rand.New(rand.NewPCG(seed, 0))) })
	}
}

func testHoles(t *testing.T, rng *rand.Rand) {
	m := new(storagetest.Disk)
	l := open(t, m, 1)
	// kept are the runs that must be kept, of which the first ones are in flight.
	var kept []Run
	total, inFlight := uint64(0), 0
	samples := func(runs []Run) (n int) {
		for i := range runs {
			n += runs[i].Samples
		}
		return n
	}
	for range 60 {
		switch op := rng.IntN(6); {
		case op < 2:
			r := run(0, total, 1+rng.IntN(5))
			appendAll(t, l, []Run{r})
			r.First = total
			total += uint64(r.Samples)
			kept = append(kept, r)
		case op == 2 && inFlight == 0 && len(kept) > 0:
			inFlight = 1 + rng.IntN(min(3, len(kept)))
		case op == 3:
			l.Acknowledge(0, samples(kept[:inFlight]))
			kept, inFlight = kept[inFlight:], 0
		case op == 4 && len(kept) > inFlight:
			l.Forget(0, samples(kept[:inFlight]), kept[inFlight].Samples)
			kept = append(kept[:inFlight:inFlight], kept[inFlight+1:]...)
		case op == 5:
			require.NoError(t, l.Flush(t.Context()))
			l = open(t, m, 1)
			if inFlight = 0; len(kept) == 0 {
				total = 0 // The counts begin anew.
			}
			checkKept(t, l, kept)
		}
		require.EqualValues(t, samples(kept), l.Sizes().Samples)
	}
}

// checkKept reads a log of one lane, and compares what must be kept of it.
func checkKept(t *testing.T, l *Log, kept []Run) {
	t.Helper()
	var want, got []uint64
	for i := range kept {
		want = append(want, kept[i].First)
	}
	from, end := l.Bounds()
	for from < end {
		records, next, damaged, err := l.Read(t.Context(), from, end, 1<<20)
		require.NoError(t, err)
		require.Zero(t, damaged)
		from = next
		for _, r := range records {
			for i := range r.Runs {
				if l.lanes[0].needsRun(&r.Runs[i]) {
					got = append(got, r.Runs[i].First)
				}
			}
		}
	}
	require.Equal(t, want, got)
}
