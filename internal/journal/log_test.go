// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"context"
	"encoding/binary"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func layout(lanes int) Layout { return Layout{Lanes: lanes, Secret: []byte("secret")} }

func open(t *testing.T, m *memory, lanes int) *Log {
	t.Helper()
	l, err := Open(t.Context(), m, layout(lanes))
	require.NoError(t, err)
	return l
}

// run makes a run whose data says which samples it has.
func run(lane int, first uint64, samples int) Run {
	data := binary.AppendUvarint(nil, uint64(lane))
	data = binary.AppendUvarint(data, first)
	data = append(data, make([]byte, 100+samples)...)
	return Run{Lane: lane, Samples: samples, Data: data}
}

// all reads what is kept of each lane: the first sample's number of each run.
func all(t *testing.T, l *Log) map[int][]uint64 {
	t.Helper()
	got := make(map[int][]uint64)
	from, end := l.Bounds()
	for from < end {
		records, next, damaged, err := l.Read(t.Context(), from, 500)
		require.NoError(t, err)
		require.Zero(t, damaged)
		require.Greater(t, next, from)
		for _, r := range records {
			for _, run := range r.Runs {
				lane, n := binary.Uvarint(run.Data)
				first, _ := binary.Uvarint(run.Data[n:])
				require.EqualValues(t, run.Lane, lane)
				require.Equal(t, run.First, first)
				if run.End() > l.Lane(run.Lane).Acknowledged {
					got[run.Lane] = append(got[run.Lane], run.First)
				}
			}
		}
		from = next
	}
	return got
}

func TestWhatIsNotAcknowledgedIsReadAgain(t *testing.T) {
	m := newMemory()
	l := open(t, m, 3)
	require.NoError(t, l.Append(t.Context(), []Run{run(0, 0, 10), run(2, 0, 5), run(0, 10, 1)}))
	require.NoError(t, l.Append(t.Context(), []Run{run(0, 11, 4)}))
	l.Acknowledge(0, 10)
	require.NoError(t, l.Flush(t.Context()))

	again := open(t, m, 3)
	assert.Equal(t, map[int][]uint64{0: {10, 11}, 2: {0}}, all(t, again))
	assert.EqualValues(t, 10, again.Sizes().Samples)
	assert.Equal(t, l.Life()+1, again.Life())
	assert.Equal(t, l.Sizes().Live, again.Sizes().Live)
}

func TestRecordsAreDeletedOnceAllIsAcknowledged(t *testing.T) {
	m := newMemory()
	l := open(t, m, 1)
	for i := range uint64(1000) {
		require.NoError(t, l.Append(t.Context(), []Run{run(0, i, 1)}))
	}
	l.Acknowledge(0, 1000)
	for range 5 {
		require.NoError(t, l.Flush(t.Context()))
	}
	assert.Zero(t, l.Sizes())
	assert.Len(t, m.values, 2, "heads only: %v", slices.Sorted(maps.Keys(m.values)))
	writes := m.writes
	require.NoError(t, l.Flush(t.Context()))
	assert.Equal(t, writes, m.writes, "nothing is written when nothing has changed")
}

func TestLayoutPrevailsUntilTheLogIsEmpty(t *testing.T) {
	m := newMemory()
	l := open(t, m, 2)
	require.NoError(t, l.Append(t.Context(), []Run{run(1, 0, 3)}))

	other := Layout{Lanes: 8, Secret: []byte("another")}
	l, err := Open(t.Context(), m, other)
	require.NoError(t, err)
	assert.Equal(t, layout(2), l.InUse())
	l.Acknowledge(1, 3)
	require.NoError(t, l.Flush(t.Context()))

	l, err = Open(t.Context(), m, other)
	require.NoError(t, err)
	assert.Equal(t, other, l.InUse())
	require.NoError(t, l.Append(t.Context(), []Run{run(7, 0, 3)}))
	assert.Equal(t, map[int][]uint64{7: {0}}, all(t, l))
}

func TestDamageCostsItself(t *testing.T) {
	m := newMemory()
	l := open(t, m, 1)
	for i := range uint64(5) {
		require.NoError(t, l.Append(t.Context(), []Run{run(0, 10*i, 10)}))
	}
	m.values[recordKey(1)][60]++
	m.values[recordKey(3)] = m.values[recordKey(3)][:20]

	again := open(t, m, 1)
	from, end := again.Bounds()
	records, next, damaged, err := again.Read(t.Context(), from, 1<<20)
	require.NoError(t, err)
	assert.Equal(t, end, next)
	assert.Equal(t, 2, damaged)
	var firsts []uint64
	for _, r := range records {
		firsts = append(firsts, r.Runs[0].First)
	}
	assert.Equal(t, []uint64{0, 20, 40}, firsts, "the gaps show what was lost")
	again.Acknowledge(0, 50)
	for range 3 {
		require.NoError(t, again.Flush(t.Context()))
	}
	assert.Len(t, m.values, 2, "damaged records are deleted too")
}

func TestATornHeadLeavesTheOther(t *testing.T) {
	m := newMemory()
	l := open(t, m, 1)
	for i := range uint64(3) {
		require.NoError(t, l.Append(t.Context(), []Run{run(0, i, 1)}))
	}
	m.values[headKeys[l.generation%2]] = []byte("torn")
	again := open(t, m, 1)
	assert.Equal(t, map[int][]uint64{0: {0, 1, 2}}, all(t, again), "the record of the lost head too")
}

func TestHeadsAreRebuiltFromRecords(t *testing.T) {
	m := newMemory()
	l := open(t, m, 2)
	for i := range uint64(4) {
		require.NoError(t, l.Append(t.Context(), []Run{run(0, i, 1), run(1, 2*i, 2)}))
	}
	l.Acknowledge(0, 4)
	require.NoError(t, l.Flush(t.Context()))
	for _, key := range headKeys {
		m.values[key] = []byte("torn")
	}
	again := open(t, m, 7)
	assert.Equal(t, layout(2), again.InUse())
	assert.Equal(t, map[int][]uint64{0: {0, 1, 2, 3}, 1: {0, 2, 4, 6}}, all(t, again), "acknowledgements are lost with the heads")
	assert.Greater(t, again.Life(), l.Life())
}

func TestANewerFormatIsRefused(t *testing.T) {
	for _, key := range headKeys {
		m := newMemory()
		l := open(t, m, 1)
		require.NoError(t, l.Append(t.Context(), []Run{run(0, 0, 1)}))
		m.values[key][0] = format + 1
		_, err := Open(t.Context(), m, layout(1))
		require.ErrorIs(t, err, ErrNewer)
	}
}

func TestRewritingLeavesOutWhatIsOfNoUse(t *testing.T) {
	m := newMemory()
	l := open(t, m, 32)
	for i := range uint64(200) {
		var runs []Run
		for lane := range 32 {
			runs = append(runs, run(lane, 10*i, 10))
		}
		require.NoError(t, l.Append(t.Context(), runs))
		for lane := 1; lane < 32; lane++ {
			l.Acknowledge(lane, 10)
		}
	}
	before := l.Sizes()
	for done := true; done; {
		var err error
		done, err = l.Rewrite(t.Context(), 1<<20)
		require.NoError(t, err)
	}
	require.NoError(t, l.Flush(t.Context()))
	after := l.Sizes()
	assert.Less(t, after.Stored, before.Stored/10)
	assert.LessOrEqual(t, after.Stored, 2*after.Live+after.Live/2)
	assert.Len(t, all(t, open(t, m, 32))[0], 200)
}

// TestLogUnderFaults appends, acknowledges, rewrites and dies at random, with a storage that fails and tears writes, and
// compares what is read with what must be there.
func TestLogUnderFaults(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	for round := range 300 {
		t.Run(fmt.Sprintf("seed %d", seed+uint64(round)), func(t *testing.T) { testLogUnderFaults(t, rand.New(rand.NewPCG(seed+uint64(round), 0))) })
	}
}

func testLogUnderFaults(t *testing.T, rng *rand.Rand) {
	ctx := context.Background()
	m := newMemory()
	faults := int(torn) + 1
	m.fault = func() fault {
		if rng.IntN(4) > 0 {
			return noFault
		}
		return fault(rng.IntN(faults))
	}
	const lanes = 3
	reopen := func() *Log {
		for {
			l, err := Open(ctx, m, layout(lanes))
			if err == nil {
				return l
			}
			require.ErrorIs(t, err, errInjected)
		}
	}
	l := reopen()
	// acked is what was acknowledged, of which stored must be so after a crash; ended is what was appended.
	var acked, stored, ended [lanes]uint64
	var joined []Run
	for range 200 {
		switch op := rng.IntN(10); {
		case op < 4 && joined == nil:
			for lane := range lanes {
				if rng.IntN(2) == 0 {
					joined = append(joined, run(lane, ended[lane], 1+rng.IntN(20)))
				}
			}
			fallthrough
		case op < 6:
			if joined == nil {
				continue
			}
			before := acked
			err := l.Append(ctx, joined)
			// What nobody was told is stored may be, and torn when it is written again. The model has no place for that.
			faults = int(torn)
			if err == nil {
				faults = int(torn) + 1
				for _, r := range joined {
					ended[r.Lane] += uint64(r.Samples)
				}
				stored, joined = before, nil
			}
		case op < 8:
			lane := rng.IntN(lanes)
			if open := ended[lane] - acked[lane]; open > 0 {
				n := 1 + rng.Uint64N(open)
				l.Acknowledge(lane, int(n))
				acked[lane] += n
			}
		case op == 8:
			before := acked
			if rng.IntN(2) == 0 {
				// A torn batch would lose what is written again in place.
				faults = int(torn)
				if done, err := l.Rewrite(ctx, 1000); done && err == nil {
					stored = before
				}
			} else if l.Flush(ctx) == nil {
				stored = before
			}
		default:
			l = reopen()
			faults = int(torn) + 1
			checkRecovered(t, m, l, &acked, &stored, &ended, &joined)
		}
	}
}

// checkRecovered compares a log that was opened again with the model, which then goes on with what the log has.
func checkRecovered(t *testing.T, m *memory, l *Log, acked, stored, ended *[3]uint64, joined *[]Run) {
	for _, r := range *joined {
		// An append that failed may have been done.
		if l.Lane(r.Lane).End > ended[r.Lane] {
			for _, r := range *joined {
				ended[r.Lane] += uint64(r.Samples)
			}
			break
		}
	}
	*joined = nil
	from, end := l.Bounds()
	var reached [3]uint64
	for lane := range reached {
		of := l.Lane(lane)
		reached[lane] = of.Acknowledged
		if l.Sizes().Samples == 0 {
			// The counts begin anew.
			acked[lane], stored[lane], ended[lane], reached[lane] = 0, 0, 0, 0
			continue
		}
		require.GreaterOrEqual(t, of.Acknowledged, stored[lane], "an acknowledgement is lost")
		require.LessOrEqual(t, of.Acknowledged, acked[lane])
		acked[lane], stored[lane] = of.Acknowledged, of.Acknowledged
		require.Equal(t, ended[lane], of.End, "lane %d", lane)
	}
	for from < end {
		records, next, _, err := l.Read(context.Background(), from, 1000)
		require.NoError(t, err)
		from = next
		for _, r := range records {
			for _, run := range r.Runs {
				if run.End() <= reached[run.Lane] {
					continue
				}
				require.LessOrEqual(t, run.First, reached[run.Lane], "lane %d has lost samples", run.Lane)
				reached[run.Lane] = run.End()
			}
		}
	}
	for lane := range reached {
		if l.Sizes().Samples > 0 {
			require.Equal(t, l.Lane(lane).End, reached[lane], "lane %d: %s", lane, strings.Join(slices.Sorted(maps.Keys(m.values)), " "))
		}
	}
}
