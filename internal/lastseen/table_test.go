// SPDX-License-Identifier: Apache-2.0

package lastseen // import "github.com/orderedremotewrite/orderedremotewriteexporter/internal/lastseen"

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const idle = time.Hour

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// TestFetchChangesNothing: of tables of any size, and of series that they know or not.
func TestFetchChangesNothing(t *testing.T) {
	table := New(time.Hour)
	for i, h := range hashes(2000) {
		before := *table
		table.Fetch(h)
		table.Fetch(math.MaxUint64)
		require.Equal(t, before, *table)
		table.Advance(h, int64(i), start)
		table.Fetch(h)
	}
}

func TestFirstTimestampOfASeriesIsNewer(t *testing.T) {
	for _, ts := range []int64{math.MinInt64, -1, 0, 1, 1_700_000_000_000, math.MaxInt64} {
		table := New(idle)
		assert.Equal(t, Newer, table.Advance(1, ts, start))
		assert.Equal(t, Same, table.Advance(1, ts, start))
	}
}

func TestTimestampsAreComparedExactly(t *testing.T) {
	table := New(idle)
	ordered := []int64{
		math.MinInt64, math.MinInt64 + 1, -1 << 53, -1, 0, 1, 1_700_000_000_000, 1_700_000_000_001, 1 << 60, 1<<60 + 1, math.MaxInt64 - 1, math.MaxInt64,
	}
	for i, ts := range ordered {
		require.Equal(t, Newer, table.Advance(1, ts, start))
		require.Equal(t, Same, table.Advance(1, ts, start))
		for _, earlier := range ordered[:i] {
			require.Equal(t, Older, table.Advance(1, earlier, start))
		}
		last, ok := table.Last(1)
		require.True(t, ok)
		require.Equal(t, ts, last)
	}
}

func TestEveryHashIsASeriesOfItsOwn(t *testing.T) {
	table := New(idle)
	hashes := []uint64{0, 1, 2, 63, 64, 1 << 32, 1 << 63, math.MaxUint64 - 1, math.MaxUint64}
	for i, h := range hashes {
		require.Equal(t, Newer, table.Advance(h, int64(i), start))
	}
	require.Equal(t, len(hashes), table.Len())
	for i, h := range hashes {
		ts, ok := table.Last(h)
		require.True(t, ok)
		require.Equal(t, int64(i), ts)
	}
	_, ok := table.Last(3)
	require.False(t, ok)
}

// TestCrowdedHomes has all series share one home, the last of a sub-table or the first: the worst hashes there are.
func TestCrowdedHomes(t *testing.T) {
	for name, high := range map[string]uint64{"first home": 0, "last home": 0xffff_ffff_ffff_0000, "first home of the last sub-table": 0xfc << 56} {
		t.Run(name, func(t *testing.T) {
			const n = 3000
			table := New(idle)
			var hs []uint64
			for i := range uint64(n) {
				hs = append(hs, unspread(high|i))
			}
			rand.Shuffle(n, func(i, j int) { hs[i], hs[j] = hs[j], hs[i] })
			for i, h := range hs {
				require.Equal(t, Newer, table.Advance(h, int64(i), start))
			}
			require.Equal(t, n, table.Len())
			require.LessOrEqual(t, table.Bytes(), int64(4*16*n), "memory must be bounded with such hashes too")
			table.Expire(start.Add(idle / 2))
			for i, h := range hs {
				require.Equal(t, Same, table.Advance(h, int64(i), start.Add(idle/2)))
			}
			table.Expire(start.Add(2 * idle))
			require.Zero(t, table.Len())
		})
	}
}

func TestAgeDoesNotMoveTheHome(t *testing.T) {
	const homes = 3
	key := uint64(math.MaxUint64/homes) &^ ageMask // the last key of the first home
	require.Equal(t, 0, home(key, homes))
	require.Equal(t, 0, home(key|ageMask, homes))
	require.Equal(t, 1, home(key+ageMask+1, homes))
}

// unspread returns the hash that spreads to the key.
func unspread(key uint64) uint64 {
	inverse := uint64(1)
	for range 6 { // Newton's method doubles the number of right bits each time
		inverse *= 2 - spread*inverse
	}
	return key * inverse
}

func TestActivityOfAnyOrderKeepsASeries(t *testing.T) {
	for _, order := range []Order{Newer, Same, Older} {
		table := New(idle)
		table.Advance(1, 1000, start)
		now, ts := start, int64(1000)
		for range 10 {
			now = now.Add(idle - 1)
			switch order {
			case Newer:
				ts++
			case Older:
				ts = 999
			}
			require.Equal(t, order, table.Advance(1, ts, now))
		}
	}
}

func TestIdleSeriesIsForgottenInTime(t *testing.T) {
	// The sweeps of different sub-tables and of different starts are out of step, so that the limits are met from all
	// sides.
	for _, h := range hashes(100) {
		for offset := time.Duration(0); offset < idle/2; offset += idle / 37 {
			table := New(idle)
			table.Advance(^h, 0, start)
			last := start.Add(offset)
			table.Advance(h, 1000, last)

			table.Expire(last.Add(idle - 1))
			_, ok := table.Last(h)
			require.True(t, ok, "a series must not be forgotten before its idle time is over")

			table.Expire(last.Add(idle + idle/4))
			_, ok = table.Last(h)
			require.False(t, ok, "a series must be forgotten after 1.25 times its idle time")
		}
	}
}

func TestAdvanceForgetsInTimeHoweverRareItIs(t *testing.T) {
	for _, h := range hashes(100) {
		table := New(idle)
		table.Advance(h, 1000, start)
		require.Equal(t, Newer, table.Advance(h, 1, start.Add(idle+idle/4)), "the series must be forgotten, although nothing was swept in between")
	}
}

func TestAdvanceOfOtherSeriesForgets(t *testing.T) {
	table := New(idle)
	hs := hashes(10_000)
	for _, h := range hs {
		table.Advance(h, 1, start)
	}
	now := start.Add(idle + idle/4)
	for range subTables {
		table.Advance(hs[0], 2, now)
	}
	require.Equal(t, 1, table.Len())
}

func TestAdvanceSweepsABoundedPart(t *testing.T) {
	table := New(idle)
	hs := hashes(64_000)
	for _, h := range hs {
		table.Advance(h, 1, start)
	}
	now := start.Add(100 * idle)
	table.Advance(hs[0], 2, now)
	require.GreaterOrEqual(t, table.Len(), 64_000*61/64, "one call must not sweep more than two sub-tables")
}

func TestTimeThatGoesBackIsTheLatestSoFar(t *testing.T) {
	table := New(idle)
	table.Advance(1, 1, start)
	table.Advance(2, 1, start.Add(idle/2))
	require.Equal(t, Same, table.Advance(1, 1, start.Add(-time.Hour)))
	require.Equal(t, Same, table.Advance(1, 1, start.Add(idle+idle/4)), "activity with an early time must count as activity")
	require.Equal(t, 2, table.Len())
}

func TestIdleTimesOutOfTheOrdinary(t *testing.T) {
	for _, idle := range []time.Duration{math.MinInt64, 0, 1, time.Millisecond, math.MaxInt64} {
		table := New(idle)
		require.Equal(t, Newer, table.Advance(1, 1, start))
		require.Equal(t, Same, table.Advance(1, 1, start.Add(time.Millisecond-1)))
		table.Expire(start.Add(100 * 365 * 24 * time.Hour))
		_, ok := table.Last(1)
		require.Equal(t, idle == math.MaxInt64, ok)
	}
}

// model is a table that cannot be wrong, but for a series that has been idle for idle to 1.5 times idle: there the table is
// free to have forgotten it.
type model struct {
	t      *testing.T
	table  *Table
	series map[uint64]modelSeries
	now    time.Time
}

type modelSeries struct {
	ts     int64
	active time.Time
}

func newModel(t *testing.T) *model {
	return &model{t: t, table: New(idle), series: map[uint64]modelSeries{}, now: start}
}

func (m *model) advance(h uint64, ts int64) {
	last, known := m.series[h]
	got := m.table.Advance(h, ts, m.now)
	free := false
	if known {
		quiet := m.now.Sub(last.active)
		known = quiet < idle
		free = !known && quiet <= idle+idle/4
	}
	want := Newer
	if (known || free) && ts == last.ts {
		want = Same
	} else if (known || free) && ts < last.ts {
		want = Older
	}
	if !(free && got == Newer) {
		require.Equal(m.t, want, got, "series %#x, timestamp %d after %d", h, ts, last.ts)
	}
	if got == Newer {
		last.ts = ts
	}
	m.series[h] = modelSeries{ts: last.ts, active: m.now}
}

// check compares all series, after it has made the table forget what is due.
func (m *model) check() {
	m.table.Expire(m.now)
	known := 0
	for h, s := range m.series {
		quiet := m.now.Sub(s.active)
		ts, ok := m.table.Last(h)
		if ok {
			known++
			require.Equal(m.t, s.ts, ts)
			require.LessOrEqual(m.t, quiet, idle+idle/4, "the series must have been forgotten")
			continue
		}
		require.GreaterOrEqual(m.t, quiet, idle, "the series must not have been forgotten")
		delete(m.series, h)
	}
	require.Equal(m.t, known, m.table.Len())
	checkStructure(m.t, m.table)
}

// checkStructure checks what subTable promises about its slots.
func checkStructure(t *testing.T, table *Table) {
	for i := range table.subs {
		s := &table.subs[i]
		n, previous, gap := 0, uint64(0), -1
		for at, e := range s.slots {
			if e.key == 0 {
				gap = at
				continue
			}
			n++
			first, age := home(e.key, s.homes), e.key&ageMask
			switch { // cheaper than requiring each
			case e.key&^ageMask < previous:
				require.Fail(t, "slots must be in the order of their keys, and no key twice")
			case at < first, gap >= first:
				require.Fail(t, "a series must be in its home, or after it without a gap")
			case age < fresh, age > oldest:
				require.Fail(t, "the age must be in its range")
			}
			previous = e.key&^ageMask + 1
		}
		require.Equal(t, n, s.n)
		require.LessOrEqual(t, n, limit(s.homes), "searches must stay short")
	}
}

func TestTableAgreesWithAMap(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	m := newModel(t)
	for range 40 {
		// Each phase has a population of its own, which in part is that of earlier phases.
		population := 1 + rng.Uint64N(1<<rng.IntN(16))
		step := time.Duration(rng.Int64N(int64(idle) / 100))
		if rng.IntN(4) == 0 {
			step = 0
		}
		for range 2000 {
			m.advance(rng.Uint64N(population)*0x123456789abcdef, rng.Int64N(10))
			if step > 0 && rng.IntN(20) == 0 {
				m.now = m.now.Add(time.Duration(rng.Int64N(int64(step))))
			}
		}
		if rng.IntN(5) == 0 {
			m.now = m.now.Add(time.Duration(rng.Int64N(int64(3 * idle))))
		}
		if rng.IntN(2) == 0 {
			m.check()
		}
	}
	m.now = m.now.Add(idle + idle/4)
	m.check()
	require.Zero(t, m.table.Len())
	require.Equal(t, New(idle).Bytes(), m.table.Bytes(), "an empty table must hold no more than a new one")
}

func FuzzTableAgreesWithAMap(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 1, 0, 0, 1, 2, 0, 0, 2, 0, 0, 0, 0})
	f.Add(slices.Repeat([]byte{3, 7, 1, 9, 250, 255, 2, 3}, 20))
	f.Fuzz(func(t *testing.T, data []byte) {
		m := newModel(t)
		for ; len(data) >= 4; data = data[4:] {
			n := uint64(binary.LittleEndian.Uint16(data[1:]))
			ts := int64(int8(data[3]))
			switch data[0] % 8 {
			case 0, 1, 2:
				m.advance(n, ts)
			case 3: // many series at neighbouring places
				m.advance(unspread(n), ts)
			case 4: // many series at the end of the last sub-table
				m.advance(unspread(math.MaxUint64-n), ts)
			case 5:
				m.advance(n<<48, math.MaxInt64+ts)
			case 6:
				m.now = m.now.Add(time.Duration(n) * idle / 10_000)
			case 7:
				m.check()
			}
		}
		m.check()
	})
}

// TestMemoryIsBounded holds the table to 24 bytes for each series at every size, while it grows and while it shrinks.
func TestMemoryIsBounded(t *testing.T) {
	const (
		least, most   = 100_000, 1_000_000
		bytesPerEntry = 24
	)
	hs := hashes(most)
	before := heap()
	table := New(idle)
	worst := 0.0
	check := func() {
		perSeries := float64(table.Bytes()) / float64(table.Len())
		worst = max(worst, perSeries)
		require.LessOrEqual(t, perSeries, float64(bytesPerEntry), "%d series", table.Len())
	}
	for i, h := range hs {
		table.Advance(h, 1, start)
		if n := i + 1; n >= least && n%1000 == 0 {
			check()
		}
	}
	t.Logf("growing from %d to %d series: at most %.1f bytes each, %.1f at the end", least, most, worst, float64(table.Bytes())/most)
	held := heap() - before
	require.InEpsilon(t, held, table.Bytes(), 0.01, "Bytes must be what the heap says")

	worst = 0
	now := start
	for n := most; n >= least; n -= n / 4 {
		// All but n series fall idle.
		for range 2 {
			now = now.Add(3 * idle / 4)
			for _, h := range hs[:n] {
				table.Advance(h, 1, now)
			}
		}
		require.Equal(t, n, table.Len())
		check()
	}
	t.Logf("shrinking: at most %.1f bytes each", worst)
	held = heap() - before
	require.InEpsilon(t, held, table.Bytes(), 0.01, "Bytes must be what the heap says")
	runtime.KeepAlive(table)
	runtime.KeepAlive(hs)
}

// TestMemoryOfASubTableIsBounded is the same for every single size of a sub-table: those of a table may all have an unlucky
// one at the same time.
func TestMemoryOfASubTableIsBounded(t *testing.T) {
	const (
		least, most   = 100_000 / subTables, 1_000_000 / subTables
		bytesPerEntry = 24
		// A sub-table of which the end is full early, as one hash seed of thousands makes it, has more slots there, and takes the
		// allocator's next step with fewer series.
		bytesIfEndIsFull = 27
	)
	check := func(s *subTable) {
		limit := bytesPerEntry
		if uint64(len(s.slots))-s.homes > spare(most) {
			limit = bytesIfEndIsFull
		}
		require.LessOrEqual(t, len(s.slots)*16, limit*s.n, "%d series", s.n)
	}
	hs := hashes(most)
	var s subTable
	for _, h := range hs {
		i, _ := s.find(h &^ ageMask)
		s.insert(i, slot{key: h&^ageMask | fresh})
		if s.n >= least {
			check(&s)
		}
	}
	for n := most; n >= least; n -= 10 {
		for i := range s.slots {
			if k := &s.slots[i].key; *k != 0 {
				*k = *k&^ageMask | fresh
			}
		}
		for _, h := range hs[n-10 : n] {
			i, known := s.find(h &^ ageMask)
			require.True(t, known)
			s.slots[i].key += oldest - fresh
		}
		s.age(1)
		require.Equal(t, n-10, s.n)
		check(&s)
	}
}

// heap returns the bytes of all objects that are in use.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

func TestAdvanceAllocatesNothingInSteadyState(t *testing.T) {
	table := New(idle)
	hs := hashes(10_000)
	ts := int64(0)
	now := start
	advance := func() {
		ts++
		now = now.Add(time.Minute)
		for _, h := range hs {
			table.Advance(h, ts, now)
		}
	}
	advance()
	require.Zero(t, testing.AllocsPerRun(300, advance), "sweeps included")
}
