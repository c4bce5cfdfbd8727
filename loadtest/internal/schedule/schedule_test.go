// SPDX-License-Identifier: Apache-2.0

package schedule

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func example() *Schedule {
	return &Schedule{Kind: Histogram, Streams: 1000, PerResource: 10, PerRequest: 10, Start: 1_800_000_000_000, Interval: 1000, Steps: 200}
}

func TestStepsAndTimes(t *testing.T) {
	s := example()
	require.NoError(t, s.Check())
	for step := range s.Steps {
		got, ok := s.Step(s.Time(step))
		require.True(t, ok)
		require.Equal(t, step, got)
	}
	for _, millis := range []int64{s.Start - 1000, s.Start + 1, s.Start + 999} {
		_, ok := s.Step(millis)
		assert.False(t, ok)
	}
}

// Each of the cumulative parts grows until its stream starts again.
func TestCumulativePartsGrow(t *testing.T) {
	s := example()
	s.Errors.Resets = 0.02
	resets := 0
	for stream := range 20 {
		for part := range s.Kind.Parts() {
			for step := 1; step < s.Steps; step++ {
				before, now := s.Value(stream, part, step-1), s.Value(stream, part, step)
				if s.Age(stream, step) == 1 {
					resets++
				} else {
					require.LessOrEqual(t, before, now)
				}
			}
		}
	}
	assert.InDelta(t, 20*s.Kind.Parts()*s.Steps/50, resets, 0.2*float64(resets))
}

// Streams start again as often as is asked for, whether or not that is once in a whole number of steps.
func TestResetsComeAsOftenAsTheyAreWanted(t *testing.T) {
	for _, p := range []float64{0.0013, 0.02, 0.29, 0.4, 0.5, 0.7, 0.99, 1} {
		s := example()
		s.Errors.Resets = p
		require.NoError(t, s.Check())
		resets := 0
		for stream := range s.Streams {
			before := s.Age(stream, 0)
			for step := 1; step < s.Steps; step++ {
				age := s.Age(stream, step)
				if age == 1 {
					resets++
				} else if age != before+1 {
					t.Fatalf("stream %d is %d steps old at step %d, and %d before", stream, age, step, before)
				}
				before = age
			}
		}
		assert.InEpsilon(t, p*float64(s.Streams*(s.Steps-1)), resets, 0.03, p)
	}
}

// Points of the future are an hour ahead, however far the steps are apart.
func TestFutureIsAhead(t *testing.T) {
	for _, interval := range []int64{4, 1000, 40 * 60_000, 3600_001, 5 * 3600_000} {
		s := example()
		s.Interval = interval
		ahead := s.PointTime(3, Future) - s.Time(3)
		assert.GreaterOrEqual(t, ahead, int64(Ahead), interval)
		assert.LessOrEqual(t, ahead, Ahead+interval, interval)
		_, on := s.Step(s.PointTime(3, Future))
		assert.False(t, on)
	}
}

func TestFaultsComeAsOftenAsTheyAreWanted(t *testing.T) {
	s := example()
	s.Errors = Errors{Seed: 7, OutOfOrder: 0.02, Duplicates: 0.02, BadLabels: 0.02, BadUTF8: 0.02, Gaps: 0.02, Future: 0.02, Stale: 0.02, Delta: 0.02}
	require.NoError(t, s.Check())
	var counts [faults]int
	for stream := range s.Streams {
		expected := 0
		for step := range s.Steps {
			f := s.Fault(stream, step)
			counts[f]++
			if f.Expected() {
				expected++
			}
			if f == Duplicate {
				require.Equal(t, None, s.Fault(stream, step-1))
			}
		}
		require.Equal(t, expected, s.Expected(stream))
	}
	points := float64(s.Streams * s.Steps)
	for _, f := range Faults() {
		assert.InDelta(t, 0.02*points, counts[f], 0.2*0.02*points, f)
	}
	// The seed decides.
	other := *s
	other.Errors.Seed = 8
	same := 0
	for step := range s.Steps {
		if s.Fault(1, step) == other.Fault(1, step) {
			same++
		}
	}
	assert.Less(t, same, s.Steps)
}

func TestResourcesAreReplaced(t *testing.T) {
	s := example()
	s.Lifetime = 50
	for resource := range 100 {
		assert.Equal(t, 4, s.Generation(resource, s.Steps)-s.Generation(resource, 0))
	}
	s.Lifetime = 0
	assert.Zero(t, s.Generation(1, 1000))
}

func TestWhatCannotBeIsRefused(t *testing.T) {
	for _, change := range []func(*Schedule){
		func(s *Schedule) { s.Streams = 0 },
		func(s *Schedule) { s.PerResource = 7 },
		func(s *Schedule) { s.PerRequest = 7 },
		func(s *Schedule) { s.Interval = 0 },
		func(s *Schedule) { s.Interval, s.Errors.Future = 1, 0.1 },
		func(s *Schedule) { s.Lifetime = -1 },
		func(s *Schedule) { s.Errors.Gaps = 1.5 },
		func(s *Schedule) { s.Errors.Gaps, s.Errors.Stale = 0.6, 0.6 },
		func(s *Schedule) { s.Errors.Resets = 1.1 },
	} {
		s := example()
		change(s)
		assert.Error(t, s.Check())
	}
}
