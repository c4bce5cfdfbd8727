// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"context"
	"encoding/binary"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/extension/xextension/storage"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/storagetest"
)

func layout(lanes int) Layout { return Layout{Lanes: lanes, Secret: []byte("secret")} }

func open(t *testing.T, m *storagetest.Disk, lanes int) *Log {
	t.Helper()
	l, err := Open(t.Context(), m.Client(), layout(lanes))
	require.NoError(t, err)
	return l
}

func appendAll(t *testing.T, l *Log, runs []Run) {
	t.Helper()
	_, err := l.Append(t.Context(), runs)
	require.NoError(t, err)
}

// emptyKeys are those of a log that keeps nothing.
var emptyKeys = []string{headKeys[0], headKeys[1], ownerKey}

func torn([]byte) []byte { return []byte("torn") }

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
		records, next, damaged, err := l.Read(t.Context(), from, end, 500)
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
	m := new(storagetest.Disk)
	l := open(t, m, 3)
	appendAll(t, l, []Run{run(0, 0, 10), run(2, 0, 5), run(0, 10, 1)})
	appendAll(t, l, []Run{run(0, 11, 4)})
	l.Acknowledge(0, 10)
	require.NoError(t, l.Flush(t.Context()))

	again := open(t, m, 3)
	assert.Equal(t, map[int][]uint64{0: {10, 11}, 2: {0}}, all(t, again))
	assert.EqualValues(t, 10, again.Sizes().Samples)
	assert.Equal(t, l.Life()+1, again.Life())
	assert.Equal(t, l.Sizes().Live, again.Sizes().Live)
}

func TestRecordsAreDeletedOnceAllIsAcknowledged(t *testing.T) {
	m := new(storagetest.Disk)
	l := open(t, m, 1)
	for i := range uint64(1000) {
		appendAll(t, l, []Run{run(0, i, 1)})
	}
	l.Acknowledge(0, 1000)
	for range 5 {
		require.NoError(t, l.Flush(t.Context()))
	}
	assert.Zero(t, l.Sizes())
	assert.Equal(t, emptyKeys, m.Keys(), "heads only")
	writes := m.Writes()
	require.NoError(t, l.Flush(t.Context()))
	assert.Equal(t, writes, m.Writes(), "nothing is written when nothing has changed")
}

func TestLayoutPrevailsUntilTheLogIsEmpty(t *testing.T) {
	m := new(storagetest.Disk)
	l := open(t, m, 2)
	appendAll(t, l, []Run{run(1, 0, 3)})

	other := Layout{Lanes: 8, Secret: []byte("another")}
	l, err := Open(t.Context(), m.Client(), other)
	require.NoError(t, err)
	assert.Equal(t, layout(2), l.InUse())
	l.Acknowledge(1, 3)
	require.NoError(t, l.Flush(t.Context()))

	l, err = Open(t.Context(), m.Client(), other)
	require.NoError(t, err)
	assert.Equal(t, other, l.InUse())
	appendAll(t, l, []Run{run(7, 0, 3)})
	assert.Equal(t, map[int][]uint64{7: {0}}, all(t, l))
}

func TestDamageCostsItself(t *testing.T) {
	m := new(storagetest.Disk)
	l := open(t, m, 1)
	for i := range uint64(5) {
		appendAll(t, l, []Run{run(0, 10*i, 10)})
	}
	m.Change(recordKey(1), func(b []byte) []byte { b[60]++; return b })
	m.Change(recordKey(3), func(b []byte) []byte { return b[:20] })

	again := open(t, m, 1)
	from, end := again.Bounds()
	records, next, damaged, err := again.Read(t.Context(), from, end, 1<<20)
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
	assert.Equal(t, emptyKeys, m.Keys(), "damaged records are deleted too")
}

func TestATornHeadLeavesTheOther(t *testing.T) {
	m := new(storagetest.Disk)
	l := open(t, m, 1)
	for i := range uint64(3) {
		appendAll(t, l, []Run{run(0, i, 1)})
	}
	m.Change(headKeys[l.generation%2], torn)
	again := open(t, m, 1)
	assert.Equal(t, map[int][]uint64{0: {0, 1, 2}}, all(t, again), "the record of the lost head too")
}

func TestANewerFormatIsRefused(t *testing.T) {
	for _, key := range headKeys {
		m := new(storagetest.Disk)
		l := open(t, m, 1)
		appendAll(t, l, []Run{run(0, 0, 1)})
		m.Change(key, func(b []byte) []byte { b[0] = format + 1; return b })
		_, err := Open(t.Context(), m.Client(), layout(1))
		require.ErrorIs(t, err, ErrNewer)
	}
}

func TestRewritingLeavesOutWhatIsOfNoUse(t *testing.T) {
	m := new(storagetest.Disk)
	l := open(t, m, 32)
	for i := range uint64(200) {
		var runs []Run
		for lane := range 32 {
			runs = append(runs, run(lane, 10*i, 10))
		}
		appendAll(t, l, runs)
		for lane := 1; lane < 32; lane++ {
			l.Acknowledge(lane, 10)
		}
	}
	before := l.Sizes()
	done, err := l.Rewrite(t.Context(), time.Now().Add(-time.Hour), 1<<20, 1<<40)
	require.NoError(t, err)
	assert.False(t, done, "all is newer")
	for done = true; done; {
		done, err = l.Rewrite(t.Context(), time.Now(), 1<<20, 1<<40)
		require.NoError(t, err)
	}
	require.NoError(t, l.Flush(t.Context()))
	after := l.Sizes()
	assert.Less(t, after.Stored, before.Stored/10)
	assert.LessOrEqual(t, after.Stored, 2*after.Live+after.Live/2)
	assert.Len(t, all(t, open(t, m, 32))[0], 200)
}

// TestForgottenSamplesLeaveAHole forgets samples behind some that must be kept.
func TestForgottenSamplesLeaveAHole(t *testing.T) {
	m := new(storagetest.Disk)
	l := open(t, m, 2)
	for i := range uint64(10) {
		appendAll(t, l, []Run{run(0, 10*i, 10)})
	}
	live := l.Sizes().Live
	l.Acknowledge(0, 10)
	l.Forget(0, 5, 35)
	l.Forget(0, 5, 20)
	for range 3 {
		require.NoError(t, l.Flush(t.Context()))
	}
	assert.EqualValues(t, 100-10-55, l.Sizes().Samples)
	assert.Less(t, l.Sizes().Live, live/2)
	assert.Len(t, m.Keys(), 3+4, "the record in which the hole begins, and those that come after it")

	again := open(t, m, 2)
	of := again.Lane(0)
	assert.Equal(t, []uint64{10, 100, 35}, []uint64{of.Acknowledged, of.End, of.Open})
	assert.Equal(t, []Hole{{15, 70}}, again.Holes(0))
	again.Acknowledge(0, 5)
	assert.EqualValues(t, 70, again.Lane(0).Acknowledged)
	again.Acknowledge(0, 30)
	from, end := again.Bounds()
	_, _, _, err := again.Read(t.Context(), from, end, 1<<20)
	require.NoError(t, err)
	for range 3 {
		require.NoError(t, again.Flush(t.Context()))
	}
	assert.Equal(t, emptyKeys, m.Keys())
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
	m := new(storagetest.Disk)
	tears := true
	m.Before = func(b storagetest.Batch) storagetest.Fault {
		kinds := 3
		if tears {
			kinds = 4
		}
		switch of := rng.IntN(4 * kinds); {
		case !b.Writes || of >= kinds:
			return storagetest.Fault{}
		case of == 3:
			first := rng.IntN(len(b.Operations))
			tears = false
			return storagetest.Fault{Err: storagetest.ErrInjected, Torn: &first}
		default:
			// A write that was done after all, and is torn when it is repeated, is more than the model has a place for.
			tears = false
			return storagetest.Fault{Err: storagetest.ErrInjected, Applied: of == 1}
		}
	}
	const lanes = 3
	reopen := func() *Log {
		for {
			l, err := Open(ctx, m.Client(), layout(lanes))
			if err == nil {
				return l
			}
			require.ErrorIs(t, err, storagetest.ErrInjected)
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
			_, err := l.Append(ctx, joined)
			if err == nil {
				tears = true
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
				before, tore := acked, tears
				tears = false
				if done, err := l.Rewrite(ctx, time.Now(), 1000, 1<<40); done && err == nil {
					stored, tears = before, true
				} else if err == nil {
					tears = tore
				}
			} else if l.Flush(ctx) == nil {
				stored, tears = before, true
			}
		default:
			l = reopen()
			tears = true
			checkRecovered(t, m, l, &acked, &stored, &ended, &joined)
		}
	}
}

// checkRecovered compares a log that was opened again with the model, which then goes on with what the log has.
func checkRecovered(t *testing.T, m *storagetest.Disk, l *Log, acked, stored, ended *[3]uint64, joined *[]Run) {
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
		records, next, _, err := l.Read(context.Background(), from, end, 1000)
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
			require.Equal(t, l.Lane(lane).End, reached[lane], "lane %d: %s", lane, strings.Join(m.Keys(), " "))
		}
	}
}

// TestTrimmedRecordsAreReadAgain has a log of which the index knows the beginning and the end. Everything is read, and deleted once it is
// acknowledged, whether anybody has read it or not.
func TestTrimmedRecordsAreReadAgain(t *testing.T) {
	for _, reads := range []bool{true, false} {
		m := new(storagetest.Disk)
		l := open(t, m, 2)
		for i := range uint64(500) {
			appendAll(t, l, []Run{run(0, 10*i, 10), run(1, 10*i, 10)})
			l.Trim(20, 50)
			assert.LessOrEqual(t, len(l.index), 20+50)
		}
		if reads {
			assert.Len(t, all(t, l)[0], 500)
		}
		l.Acknowledge(0, 5000)
		l.Acknowledge(1, 4000)
		for range 20 {
			require.NoError(t, l.Learn(t.Context(), 5000))
			l.Acknowledge(0, 0)
			require.NoError(t, l.Flush(t.Context()))
		}
		assert.Len(t, m.Keys(), 3+100)
		assert.Len(t, all(t, l)[1], 100)
		l = open(t, m, 2)
		assert.Len(t, all(t, l)[1], 100)
		l.Acknowledge(1, 1000)
		for range 20 {
			require.NoError(t, l.Learn(t.Context(), 5000))
			l.Acknowledge(0, 0)
			require.NoError(t, l.Flush(t.Context()))
		}
		assert.Zero(t, l.Sizes().Stored)
	}
}

// TestReadingAheadForgetsNothing reads what this process has written before what an earlier one has left.
func TestReadingAheadForgetsNothing(t *testing.T) {
	m := new(storagetest.Disk)
	l := open(t, m, 2)
	for i := range uint64(20) {
		appendAll(t, l, []Run{run(0, 10*i, 10)})
	}
	l = open(t, m, 2)
	for i := range uint64(10) {
		appendAll(t, l, []Run{run(1, 10*i, 10)})
	}
	records, _, _, err := l.Read(t.Context(), 21, 31, 1<<20)
	require.NoError(t, err)
	assert.Len(t, records, 10)
	l.Acknowledge(1, 100)
	for range 3 {
		require.NoError(t, l.Flush(t.Context()))
		l.Acknowledge(1, 0)
	}
	records, _, _, err = l.Read(t.Context(), 0, 20, 1<<20)
	require.NoError(t, err)
	assert.Len(t, records, 20)
}

// TestReadingIsBounded has an earlier process leave many small records and then large ones. What is read at once is a few of these at
// most.
func TestReadingIsBounded(t *testing.T) {
	const small, large, size = 5000, 100, 100_000
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
	// As an earlier version has left it.
	l.steps = nil
	from, end := l.Bounds()
	for from < end {
		records, next, _, err := l.Read(t.Context(), from, end, 1<<20)
		require.NoError(t, err)
		from = next
		bytes := 0
		for _, r := range records {
			bytes += len(r.Runs[0].Data)
		}
		require.LessOrEqual(t, bytes, maxUnknown*(size+200))
	}
}

// TestRewritingGoesByBytes has most lanes stuck, with a small part of the bytes of each record. What is delivered of the large rest does
// not stay.
func TestRewritingGoesByBytes(t *testing.T) {
	const lanes = 32
	m := new(storagetest.Disk)
	l := open(t, m, lanes)
	for i := range uint64(100) {
		var runs []Run
		for lane := range lanes {
			runs = append(runs, run(lane, i, 1))
		}
		runs[0].Data = append(runs[0].Data, make([]byte, 50_000)...)
		appendAll(t, l, runs)
		l.Acknowledge(0, 1)
	}
	for range 200 {
		_, err := l.Rewrite(t.Context(), time.Now(), 1<<20, 1<<40)
		require.NoError(t, err)
	}
	assert.LessOrEqual(t, l.Sizes().Stored, 2*l.Sizes().Live)
	assert.Len(t, all(t, open(t, m, lanes))[lanes-1], 100)
}

func TestRoughSizeIsNear(t *testing.T) {
	for n := 0; n < 1<<26; n += 1 + n/50 {
		got := newRoughSize(n).bytes()
		require.LessOrEqual(t, got, int64(n))
		require.GreaterOrEqual(t, got, int64(n-n/8))
	}
}

// TestFullStorageCanBeOpened: what is in storage that is full is read and sent, which makes room.
func TestFullStorageCanBeOpened(t *testing.T) {
	for _, why := range []error{storage.ErrStorageFull, &fs.PathError{Op: "write", Err: syscall.ENOSPC}, syscall.EDQUOT} {
		m := new(storagetest.Disk)
		for i := range uint64(3) {
			appendAll(t, open(t, m, 1), []Run{run(0, i, 1)})
		}
		full := true
		m.Before = func(b storagetest.Batch) (f storagetest.Fault) {
			if full && b.Size() > 0 {
				f.Err = why
			}
			return f
		}
		l := open(t, m, 1)
		assert.Equal(t, map[int][]uint64{0: {0, 1, 2}}, all(t, l))
		l.Acknowledge(0, 2)
		require.ErrorIs(t, l.Flush(t.Context()), why)
		full = false
		require.NoError(t, l.Flush(t.Context()))
		assert.Equal(t, map[int][]uint64{0: {2}}, all(t, open(t, m, 1)))
	}
}

// TestIndexIsBounded has one lane stuck for long beside others that are acknowledged, at once or late, and a reader that waits for the
// stuck one. Both what is known and what is stored have their bounds, and in the end nothing is left.
func TestIndexIsBounded(t *testing.T) {
	for name, late := range map[string]int{"at once": 0, "later than known": 300} {
		t.Run(name, func(t *testing.T) {
			const most, lanes, records, read, room = 100, 8, 5000, 10, 1 << 40
			m := new(storagetest.Disk)
			l := open(t, m, lanes)
			known, useless := 0, int64(0)
			step := func(i int) {
				for lane := 1; lane < lanes && i >= late; lane++ {
					l.Acknowledge(lane, 1)
				}
				_, err := l.Rewrite(t.Context(), time.Now(), 1<<16, room)
				require.NoError(t, err)
				l.Trim(read, most)
				known = max(known, len(l.index))
				useless = max(useless, l.Sizes().Stored-2*l.Sizes().Live)
			}
			for i := range records {
				var runs []Run
				for lane := range lanes {
					runs = append(runs, run(lane, uint64(i), 1))
				}
				appendAll(t, l, runs)
				step(i)
			}
			for i := range late {
				step(records + i)
			}
			assert.LessOrEqual(t, known, read+most*3/2, "records known")
			assert.LessOrEqual(t, useless, l.Sizes().Live/8, "bytes besides twice what must be kept")
			t.Logf("at most %d of %d records known, %d bytes of %d needed, at most %d besides twice that", known, records, l.Sizes().Live, l.Sizes().Stored, useless)
			assert.Len(t, all(t, l)[0], records)
			require.NoError(t, l.Flush(t.Context()))
			l = open(t, m, lanes)
			assert.Len(t, all(t, l)[0], records)
			l.Acknowledge(0, records)
			require.NoError(t, l.Flush(t.Context()))
			assert.Equal(t, emptyKeys, m.Keys(), "nothing is left but heads")
		})
	}
}

// TestSearchForRewritingEnds has records of which more than half is needed, in which bytes of their own take more than that, so that all
// of them look as if many were of no use. Who searches them does so once.
func TestSearchForRewritingEnds(t *testing.T) {
	m := new(storagetest.Disk)
	l := open(t, m, 2)
	for i := range uint64(1000) {
		r := run(0, i, 1)
		r.Data = r.Data[:4]
		appendAll(t, l, []Run{r})
		l.Trim(10, 50)
	}
	require.Greater(t, l.Sizes().Stored, 2*l.Sizes().Live)
	for range 100 {
		_, err := l.Rewrite(t.Context(), time.Now(), 1<<20, 1<<40)
		require.NoError(t, err)
		l.Trim(10, 50)
	}
	reads := 0
	m.Before = func(b storagetest.Batch) (f storagetest.Fault) {
		if !b.Writes {
			reads++
		}
		return f
	}
	for range 100 {
		_, err := l.Rewrite(t.Context(), time.Now(), 1<<20, 1<<40)
		require.NoError(t, err)
	}
	assert.Zero(t, reads)
}
