// SPDX-License-Identifier: Apache-2.0

package lastseen // import "github.com/orderedremotewrite/orderedremotewriteexporter/internal/lastseen"

import (
	"fmt"
	"hash/maphash"
	"testing"
	"time"
)

var seed = maphash.MakeSeed()

// hashes returns n distinct hashes such as the exporter makes them.
func hashes(n int) []uint64 {
	hs := make([]uint64, n)
	for i := range hs {
		hs[i] = maphash.Comparable(seed, i)
	}
	return hs
}

// BenchmarkAdvance advances all series in turn, as scrapes do; in memory each is far from the one before.
func BenchmarkAdvance(b *testing.B) {
	for _, n := range []int{10_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint("series=", n), func(b *testing.B) {
			hs := hashes(n)
			now := time.Now()
			table := New(time.Hour)
			for _, h := range hs {
				table.Advance(h, 0, now)
			}
			b.ReportAllocs()
			i, ts := 0, int64(1)
			for b.Loop() {
				table.Advance(hs[i], ts, now)
				if i++; i == n {
					i, ts = 0, ts+1
				}
			}
			b.ReportMetric(float64(table.Bytes())/float64(n), "B/series")
		})
	}
}

// BenchmarkInsert adds series to an empty table, growth included.
func BenchmarkInsert(b *testing.B) {
	for _, n := range []int{10_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint("series=", n), func(b *testing.B) {
			hs := hashes(n)
			now := time.Now()
			var table *Table
			i := n
			for b.Loop() {
				if i == n {
					i, table = 0, New(time.Hour)
				}
				table.Advance(hs[i], 0, now)
				i++
			}
		})
	}
}

// BenchmarkSweep sweeps one of 1,000,000 series' sub-tables: the most that a sweep adds to a call of Advance.
func BenchmarkSweep(b *testing.B) {
	now := time.Now()
	table := New(time.Hour)
	for _, h := range hashes(1_000_000) {
		table.Advance(h, 0, now)
	}
	for b.Loop() {
		table.subs[0].age(0)
	}
}

// BenchmarkGrow copies one of 1,000,000 series' sub-tables: the most that growth adds to a call of Advance.
func BenchmarkGrow(b *testing.B) {
	now := time.Now()
	table := New(time.Hour)
	for _, h := range hashes(1_000_000) {
		table.Advance(h, 0, now)
	}
	full := table.subs[0]
	for b.Loop() {
		s := full
		homes := s.homes + s.homes/8
		s.resize(homes, spare(homes))
	}
}
