// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
)

// TestLateSamplesHaveAnEighth of the limit over all partitions, while good ones wait in any of them, and all of it otherwise.
func TestLateSamplesHaveAnEighth(t *testing.T) {
	limits := &BatchConfig{MaxSamples: 10, MaxSizeBytes: 1 << 20, FlushTimeout: time.Second}
	s := &scheduler{limits: limits, limit: newLimit(64)}
	s.limit.current = 32
	for i := range 64 {
		s.partitions = append(s.partitions, &partition{index: i})
	}
	now := time.Unix(1_700_000_000, 0)
	add := func(p *partition, late bool, samples int) {
		p.appendRunLocked(run{chunk: &chunk{
			tally: tally{Counts: account.Counts{Samples: samples}}, plain: make([]byte, samples), accepted: now,
		}, late: late}, limits, nil)
	}
	leave := func() (late, good int) {
		for {
			d, _ := s.next(now)
			switch {
			case d == nil:
				return late, good
			case d.late:
				late++
			default:
				good++
			}
		}
	}
	for _, p := range s.partitions[:40] {
		add(p, true, 10)
	}
	add(s.partitions[60], false, 1)
	late, good := leave()
	assert.Equal(t, 4, late, "an eighth of 32 while a good sample waits elsewhere, although it is not due")
	assert.Zero(t, good)

	now = now.Add(time.Second)
	late, good = leave()
	assert.Equal(t, 1, good)
	assert.Equal(t, 32-4-1, late, "no good sample waits")
	assert.Equal(t, 31, s.lateInFlight)
}

// TestLateSamplesTakeTurns with good ones that wait: one place is not all theirs, and neither is a partition.
func TestLateSamplesTakeTurns(t *testing.T) {
	t.Run("one place", func(t *testing.T) { lateSamplesTakeTurns(t, 1, 4, 2) })
	t.Run("one partition", func(t *testing.T) { lateSamplesTakeTurns(t, 1, 1, 1) })
	t.Run("one partition of many", func(t *testing.T) { lateSamplesTakeTurns(t, 32, 1, 1) })
}

// lateSamplesTakeTurns has ten full requests of late samples in some partitions of eight, and five of good ones in some of these.
func lateSamplesTakeTurns(t *testing.T, places, late, good int) {
	limits := &BatchConfig{MaxSamples: 10, MaxSizeBytes: 1 << 20, FlushTimeout: time.Second}
	s := &scheduler{limits: limits, limit: newLimit(places)}
	for i := range 8 {
		s.partitions = append(s.partitions, &partition{index: i})
	}
	now := time.Unix(1_700_000_000, 0)
	add := func(p *partition, late bool) {
		p.appendRunLocked(run{chunk: &chunk{
			tally: tally{Counts: account.Counts{Samples: 10}}, plain: make([]byte, 10), accepted: now,
		}, late: late}, limits, nil)
	}
	for _, p := range s.partitions[:late] {
		for range 10 {
			add(p, true)
		}
	}
	now = now.Add(time.Second)
	for _, p := range s.partitions[:good] {
		for range 5 {
			add(p, false)
		}
	}
	var order []bool
	for range 10*late + 5*good {
		d, _ := s.next(now)
		require.NotNil(t, d)
		order = append(order, d.late)
		now = now.Add(time.Millisecond)
		s.leave(d)
		p := d.parts[0].partition
		p.busy, p.lane(d.late).idleSince = false, now
	}
	for i, late := range order {
		assert.Equal(t, i >= 10*good || i%2 == 0, late, "request %d", i)
	}
}

// TestLateSamplesLeaveBesideGoodOnes that are always due, in one place: neither those of other partitions, with which the good ones of
// theirs travel, nor the late ones of another partition keep them for good.
func TestLateSamplesLeaveBesideGoodOnes(t *testing.T) {
	for name, replay := range map[string]int{"good ones alone": 0, "another partition has many late ones": 100} {
		t.Run(name, func(t *testing.T) {
			limits := &BatchConfig{MaxSamples: 1000, MaxSizeBytes: 1 << 20, FlushTimeout: 100 * time.Millisecond}
			s := &scheduler{limits: limits, limit: newLimit(1)}
			for i := range 8 {
				s.partitions = append(s.partitions, &partition{index: i})
			}
			now := time.Unix(1_700_000_000, 0)
			add := func(p *partition, late bool, samples int) {
				p.appendRunLocked(run{chunk: &chunk{
					tally: tally{Counts: account.Counts{Samples: samples}}, plain: make([]byte, samples), accepted: now,
				}, late: late}, limits, nil)
			}
			var d *delivery
			for step := range 1000 {
				now = now.Add(20 * time.Millisecond)
				for _, p := range s.partitions {
					add(p, false, 1)
				}
				if step == 50 {
					for range replay {
						add(s.partitions[0], true, 1000)
					}
					add(s.partitions[7], true, 1)
				}
				if d != nil && step%15 == 0 {
					s.leave(d)
					for i := range d.parts {
						p := d.parts[i].partition
						p.busy, p.lane(d.late).idleSince = false, now
					}
					d = nil
				}
				if d == nil {
					d, _ = s.next(now)
				}
			}
			assert.True(t, s.partitions[7].late.empty())
		})
	}
}
