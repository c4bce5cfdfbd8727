// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
)

// lateScheduler is a scheduler with a clock that the test sets.
type lateScheduler struct {
	*scheduler
	now time.Time
}

func newLateScheduler(partitions, places int, limits BatchConfig) *lateScheduler {
	s := &scheduler{limits: &limits, limit: newLimit(places)}
	for i := range partitions {
		s.partitions = append(s.partitions, &partition{index: i})
	}
	return &lateScheduler{s, time.Unix(1_700_000_000, 0)}
}

// add puts samples into a partition.
func (s *lateScheduler) add(p *partition, late bool, samples int) {
	p.appendRunLocked(run{chunk: &chunk{
		tally: tally{Counts: account.Counts{Samples: samples}}, plain: make([]byte, samples), accepted: s.now,
	}, late: late}, s.limits, nil)
}

// finish gives all of a delivery its outcome.
func (s *lateScheduler) finish(d *delivery) {
	s.leave(d)
	for i := range d.parts {
		p := d.parts[i].partition
		p.busy, p.lane(d.late).idleSince = false, s.now
	}
}

// TestLateSamplesHaveAnEighth of the limit over all partitions, while good ones wait in any of them, and all of it otherwise.
func TestLateSamplesHaveAnEighth(t *testing.T) {
	s := newLateScheduler(64, 64, BatchConfig{MaxSamples: 10, MaxSizeBytes: 1 << 20, FlushTimeout: time.Second})
	s.limit.current = 32
	leave := func() (late, good int) {
		for {
			d, _ := s.next(s.now)
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
		s.add(p, true, 10)
	}
	s.add(s.partitions[60], false, 1)
	late, good := leave()
	assert.Equal(t, 4, late, "an eighth of 32 while a good sample waits elsewhere, although it is not due")
	assert.Zero(t, good)

	s.now = s.now.Add(time.Second)
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
	s := newLateScheduler(8, places, BatchConfig{MaxSamples: 10, MaxSizeBytes: 1 << 20, FlushTimeout: time.Second})
	for _, p := range s.partitions[:late] {
		for range 10 {
			s.add(p, true, 10)
		}
	}
	s.now = s.now.Add(time.Second)
	for _, p := range s.partitions[:good] {
		for range 5 {
			s.add(p, false, 10)
		}
	}
	var order []bool
	for range 10*late + 5*good {
		d, _ := s.next(s.now)
		require.NotNil(t, d)
		order = append(order, d.late)
		s.now = s.now.Add(time.Millisecond)
		s.finish(d)
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
			s := newLateScheduler(8, 1, BatchConfig{MaxSamples: 1000, MaxSizeBytes: 1 << 20, FlushTimeout: 100 * time.Millisecond})
			var d *delivery
			for step := range 1000 {
				s.now = s.now.Add(20 * time.Millisecond)
				for _, p := range s.partitions {
					s.add(p, false, 1)
				}
				if step == 50 {
					for range replay {
						s.add(s.partitions[0], true, 1000)
					}
					s.add(s.partitions[7], true, 1)
				}
				if d != nil && step%15 == 0 {
					s.finish(d)
					d = nil
				}
				if d == nil {
					d, _ = s.next(s.now)
				}
			}
			assert.True(t, s.partitions[7].late.empty())
		})
	}
}
