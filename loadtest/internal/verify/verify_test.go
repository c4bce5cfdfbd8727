// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/schedule"
	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/wire"
)

func newSchedule(kind schedule.Kind) schedule.Schedule {
	return schedule.Schedule{Kind: kind, Streams: 10, PerResource: 10, PerRequest: 10, Start: 1_800_000_000_000, Interval: 1000}
}

// run is a verifier and what it is told.
type run struct {
	t *testing.T
	*Verifier
	schedule schedule.Schedule
}

func newRun(t *testing.T, s schedule.Schedule) *run {
	r := &run{t, New(), s}
	require.NoError(t, r.SetSchedules([]schedule.Schedule{s}))
	return r
}

// gauge is a sample of a stream.
func (r *run) gauge(stream, step int) prompb.TimeSeries {
	return prompb.TimeSeries{
		Labels:  []prompb.Label{{Name: "__name__", Value: "loadtest_gauge"}, {Name: "series", Value: fmt.Sprintf("s%08d", stream)}},
		Samples: []prompb.Sample{{Value: r.schedule.Value(stream, 0, step), Timestamp: r.schedule.Time(step)}},
	}
}

func (r *run) arrive(ctx context.Context, series ...prompb.TimeSeries) *Flight {
	r.t.Helper()
	message, err := (&prompb.WriteRequest{Timeseries: series}).Marshal()
	require.NoError(r.t, err)
	var request wire.Request
	require.NoError(r.t, request.Parse(1, message))
	f := &Flight{}
	r.Arrive(ctx, f, &request)
	return f
}

// deliver takes a request through all of its way.
func (r *run) deliver(series ...prompb.TimeSeries) {
	r.t.Helper()
	r.finish(r.arrive(r.t.Context(), series...), true, true)
}

func (r *run) finish(f *Flight, stored, acknowledged bool) {
	if stored {
		r.Store(f)
	}
	r.Land(f)
	r.Settle(f, acknowledged)
}

// found checks that these violations were found, and nothing else.
func (r *run) found(want map[Violation]int) Report {
	r.t.Helper()
	report := r.Report()
	assert.Equal(r.t, want, report.Violations, report.Examples)
	return report
}

var nothing = map[Violation]int{}

func TestWhatIsRightIsNoViolation(t *testing.T) {
	r := newRun(t, newSchedule(schedule.Gauge))
	for step := range 5 {
		for stream := range 10 {
			r.deliver(r.gauge(stream, step))
		}
	}
	r.schedule.Steps = 5
	require.NoError(t, r.SetSchedules([]schedule.Schedule{r.schedule}))
	report := r.found(nothing)
	assert.Equal(t, []int{50, 50, 50, 0}, []int{report.Delivered, report.Expected, report.Scheduled, report.Missing})
	assert.Equal(t, 10, report.Series)
}

func TestMissing(t *testing.T) {
	r := newRun(t, newSchedule(schedule.Gauge))
	r.schedule.Steps = 2
	require.NoError(t, r.SetSchedules([]schedule.Schedule{r.schedule}))
	for stream := range 10 {
		r.deliver(r.gauge(stream, 1))
	}
	report := r.found(nothing)
	assert.Equal(t, 10, report.Missing)
	assert.Contains(t, report.Examples[0], "stream 0")
}

func TestOutOfOrder(t *testing.T) {
	r := newRun(t, newSchedule(schedule.Gauge))
	r.deliver(r.gauge(1, 3))
	r.deliver(r.gauge(2, 2), r.gauge(1, 2))
	r.found(map[Violation]int{OutOfOrder: 1})
}

// What is refused has not been delivered, but it has been sent.
func TestOutOfOrderInARequest(t *testing.T) {
	r := newRun(t, newSchedule(schedule.Gauge))
	r.finish(r.arrive(t.Context(), r.gauge(1, 3), r.gauge(2, 0), r.gauge(1, 2)), false, false)
	both := r.gauge(3, 1)
	both.Samples = append(both.Samples, both.Samples[0])
	r.finish(r.arrive(t.Context(), both), false, false)
	r.found(map[Violation]int{InRequest: 2})
	r.deliver(r.gauge(1, 2))
	r.deliver(r.gauge(1, 3))
	r.found(map[Violation]int{InRequest: 2})
}

func TestOverlaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRun(t, newSchedule(schedule.Gauge))
		first := r.arrive(t.Context(), r.gauge(1, 0), r.gauge(2, 0))
		other := r.arrive(t.Context(), r.gauge(3, 0))
		r.finish(other, true, true)
		second := r.arrive(t.Context(), r.gauge(1, 1), r.gauge(2, 1))
		r.finish(first, true, true)
		r.finish(second, true, true)
		r.found(map[Violation]int{Overlap: 1})

		// A client that has given up may send again, though its server learns it later.
		ctx, giveUp := context.WithCancel(t.Context())
		first = r.arrive(ctx, r.gauge(1, 2))
		r.Store(first)
		again := r.arrive(t.Context(), r.gauge(1, 2))
		giveUp()
		r.finish(again, true, true)
		r.Land(first)
		r.Settle(first, false)
		report := r.found(map[Violation]int{Overlap: 1})
		assert.Equal(t, 1, report.Redelivered)

		// It must not do so before.
		ctx, giveUp = context.WithCancel(t.Context())
		first = r.arrive(ctx, r.gauge(1, 3))
		r.deliver(r.gauge(1, 4))
		time.Sleep(2 * grace)
		giveUp()
		r.finish(first, false, false)
		r.found(map[Violation]int{Overlap: 2})
	})
}

func TestResent(t *testing.T) {
	r := newRun(t, newSchedule(schedule.Gauge))
	r.deliver(r.gauge(1, 0))
	r.deliver(r.gauge(1, 0))
	r.found(map[Violation]int{Resent: 1})
}

func TestWhatWasNotAcknowledgedMayComeAgain(t *testing.T) {
	r := newRun(t, newSchedule(schedule.Gauge))
	both := r.gauge(1, 0)
	both.Samples = append(both.Samples, r.gauge(1, 1).Samples...)
	r.finish(r.arrive(t.Context(), both), true, false)
	assert.Equal(t, 2, r.Report().InDoubt)
	r.finish(r.arrive(t.Context(), both), true, false)
	r.deliver(both)
	report := r.found(nothing)
	assert.Equal(t, []int{2, 4, 0}, []int{report.Delivered, report.Redelivered, report.InDoubt})
	r.deliver(both)
	r.found(map[Violation]int{Resent: 1, OutOfOrder: 1})
}

// Of a request of which half is stored, the sender does not know which half.
func TestHalfOfARequest(t *testing.T) {
	r := newRun(t, newSchedule(schedule.Gauge))
	all := []prompb.TimeSeries{r.gauge(1, 0), r.gauge(2, 0), r.gauge(3, 0), r.gauge(4, 0)}
	f := r.arrive(t.Context(), all...)
	floats, histograms := r.StoreHalf(f)
	assert.Equal(t, []int{2, 0}, []int{floats, histograms})
	r.Land(f)
	r.Settle(f, false)
	assert.Equal(t, []int{2, 2}, []int{r.Report().Delivered, r.Report().InDoubt})
	r.deliver(all...)
	report := r.found(nothing)
	assert.Equal(t, []int{4, 2, 0}, []int{report.Delivered, report.Redelivered, report.InDoubt})
	r.deliver(all...)
	r.found(map[Violation]int{Resent: 4})
}

func TestLabels(t *testing.T) {
	for name, change := range map[string]func([]prompb.Label) []prompb.Label{
		"unsorted":   func(l []prompb.Label) []prompb.Label { return append(l, prompb.Label{Name: "a", Value: "b"}) },
		"repeated":   func(l []prompb.Label) []prompb.Label { return append(l, l[1]) },
		"no name":    func(l []prompb.Label) []prompb.Label { return l[1:] },
		"empty":      func(l []prompb.Label) []prompb.Label { return append(l, prompb.Label{Name: "z"}) },
		"bad UTF-8":  func(l []prompb.Label) []prompb.Label { return append(l, prompb.Label{Name: "z", Value: "\xff"}) },
		"bad name":   func(l []prompb.Label) []prompb.Label { return append(l, prompb.Label{Name: "z.z", Value: "1"}) },
		"reserved":   func(l []prompb.Label) []prompb.Label { return append(l[:1:1], prompb.Label{Name: "__x__", Value: "1"}) },
		"bad metric": func(l []prompb.Label) []prompb.Label { l[0].Value = "0.1"; return l },
	} {
		t.Run(name, func(t *testing.T) {
			r := newRun(t, newSchedule(schedule.Gauge))
			s := r.gauge(1, 0)
			s.Labels = change(s.Labels)
			r.deliver(s)
			// The labels are looked at once.
			s.Samples[0].Timestamp++
			assert.Equal(t, map[Violation]int{Labels: 1}, r.Report().Violations)
		})
	}
}

func TestWrongValue(t *testing.T) {
	r := newRun(t, newSchedule(schedule.Gauge))
	s := r.gauge(1, 0)
	s.Samples[0].Value++
	r.deliver(s)
	r.found(map[Violation]int{WrongValue: 1})
}

func TestUnscheduled(t *testing.T) {
	r := newRun(t, newSchedule(schedule.Gauge))
	s := r.gauge(1, 0)
	s.Samples[0].Timestamp++
	r.deliver(s)
	r.found(map[Violation]int{Unscheduled: 1})
}

func TestMalformed(t *testing.T) {
	r := newRun(t, newSchedule(schedule.Gauge))
	r.Malformed(errors.New("rubbish"))
	r.found(map[Violation]int{Malformed: 1})
}

// A sender that passes on what is wrong on purpose, or drops it, does nothing wrong.
func TestWhatIsWrongOnPurpose(t *testing.T) {
	s := newSchedule(schedule.Sum)
	s.Errors = schedule.Errors{OutOfOrder: 0.1, Duplicates: 0.1, BadLabels: 0.1, BadUTF8: 0.1, Gaps: 0.1, Future: 0.1, Stale: 0.1, Delta: 0.1}
	s.Steps = 100
	for _, passes := range []bool{false, true} {
		r := newRun(t, s)
		counts := map[string]int{}
		for step := range s.Steps {
			for stream := range s.Streams {
				f := s.Fault(stream, step)
				if f == schedule.Gap || !passes && f != schedule.None && f != schedule.Stale {
					continue
				}
				ts := r.gauge(stream, step)
				ts.Labels[0].Value = "loadtest_sum_total"
				ts.Samples[0].Timestamp = s.PointTime(step, f)
				switch {
				case f == schedule.Stale:
					ts.Samples[0].Value = math.Float64frombits(staleNaN)
				case f.Hostile():
					ts.Labels[1].Value = fmt.Sprintf("x%08d", stream)
					ts.Labels = append(ts.Labels, prompb.Label{Name: "z", Value: f.String()})
				case f != schedule.None:
					counts[f.String()]++
				}
				r.deliver(ts)
			}
		}
		report := r.found(nothing)
		assert.Zero(t, report.Missing)
		assert.Equal(t, counts, report.OnPurpose)
		assert.Equal(t, report.Expected, report.Scheduled)
	}
}

// A label of a sender that makes it up leads to no stream.
func TestStreamsThatAreNoNumbers(t *testing.T) {
	r := newRun(t, newSchedule(schedule.Gauge))
	for _, number := range []string{"s-0000001", "s+0000001", "s99999999"} {
		s := r.gauge(1, 0)
		s.Labels[1].Value = number
		r.deliver(s)
	}
	assert.Zero(t, r.found(nothing).Scheduled)
}

// A generator that starts again does not make wrong what is still on its way of the one before.
func TestGeneratorsAfterEachOther(t *testing.T) {
	first := newSchedule(schedule.Gauge)
	first.Errors.Future, first.Errors.OutOfOrder = 0.1, 0.1
	r := newRun(t, first)
	second := first
	second.Start += 3_100
	require.NoError(t, r.SetSchedules([]schedule.Schedule{second}))
	again := &run{t, r.Verifier, second}
	futures := 0
	for stream := range first.Streams {
		for step := range 3 {
			ts := r.gauge(stream, step)
			if f := first.Fault(stream, step); f != schedule.None {
				ts.Samples[0].Timestamp = first.PointTime(step, f)
				futures++
			}
			r.deliver(ts)
		}
		if second.Fault(stream, 0) == schedule.None {
			r.deliver(again.gauge(stream, 0))
		}
	}
	require.Positive(t, futures)
	r.found(nothing)
	first.Steps, second.Steps = 4, 1
	require.NoError(t, r.SetSchedules([]schedule.Schedule{second}))
	require.NoError(t, r.SetSchedules([]schedule.Schedule{first}))
	report := r.found(nothing)
	missing := 0 // what the first should have sent at its last step
	for stream := range first.Streams {
		if first.Fault(stream, 3) == schedule.None {
			missing++
		}
	}
	assert.Equal(t, []int{missing, futures}, []int{report.Missing, report.OnPurpose["future"]})

	late := r.gauge(1, 5)
	r.deliver(late)
	r.found(map[Violation]int{Unscheduled: 1})
}

// Generators at the same time have streams of their own.
func TestGeneratorsNextToEachOther(t *testing.T) {
	one, other := newSchedule(schedule.Gauge), newSchedule(schedule.Gauge)
	other.First, other.Start = 10, other.Start+1
	r := newRun(t, one)
	require.NoError(t, r.SetSchedules([]schedule.Schedule{other}))
	for step := range 2 {
		for stream := range 10 {
			r.deliver(r.gauge(stream, step))
			ts := (&run{t, r.Verifier, other}).gauge(stream, step)
			ts.Labels[1].Value = fmt.Sprintf("s%08d", 10+stream)
			r.deliver(ts)
		}
	}
	one.Steps, other.Steps = 2, 3
	require.NoError(t, r.SetSchedules([]schedule.Schedule{one, other}))
	report := r.found(nothing)
	assert.Equal(t, []int{50, 40, 10}, []int{report.Expected, report.Scheduled, report.Missing})
}

// What is in flight when everything is forgotten is forgotten too.
func TestResetWhileRequestsAreInFlight(t *testing.T) {
	r := newRun(t, newSchedule(schedule.Gauge))
	arrived, stored := r.arrive(t.Context(), r.gauge(1, 0), r.gauge(2, 0)), r.arrive(t.Context(), r.gauge(3, 0))
	r.Store(stored)
	r.Reset()
	require.NoError(t, r.SetSchedules([]schedule.Schedule{r.schedule}))
	r.deliver(r.gauge(4, 0))
	r.finish(arrived, true, true)
	r.Land(stored)
	r.Settle(stored, false)
	r.deliver(r.gauge(4, 0))
	report := r.found(map[Violation]int{Resent: 1})
	assert.Equal(t, []int{1, 0}, []int{report.Delivered, report.InDoubt})
}

func TestSchedulesThatCannotBeAreRefused(t *testing.T) {
	for _, change := range []func(*schedule.Schedule){
		func(s *schedule.Schedule) { s.Kind = "smoke" },
		func(s *schedule.Schedule) { s.Streams, s.PerResource, s.PerRequest = math.MaxInt, 1, 1 },
		func(s *schedule.Schedule) { s.First = 99_999_999 },
		func(s *schedule.Schedule) { s.First = -1 },
	} {
		s := newSchedule(schedule.Gauge)
		change(&s)
		assert.Error(t, New().SetSchedules([]schedule.Schedule{s}))
	}
}

// Every part of every kind is found again by the names that the specifications give it.
func TestEveryPartHasItsPlace(t *testing.T) {
	for _, kind := range schedule.Kinds() {
		seen := map[int]bool{}
		name := "loadtest_" + string(kind)
		var bounds []float64
		suffix := ""
		switch kind {
		case schedule.Histogram:
			suffix = "_bucket"
			for bucket := range schedule.Bounds + 1 {
				bounds = append(bounds, schedule.Bound(bucket))
			}
		case schedule.Summary:
			for q := range schedule.Quantiles {
				bounds = append(bounds, schedule.Quantile(q))
			}
		}
		find := func(name, bound string) {
			got, part, ok := place(name, bound)
			require.True(t, ok, name+bound)
			require.Equal(t, kind, got)
			seen[part] = true
		}
		for _, bound := range bounds {
			find(name+suffix, fmt.Sprint(bound))
		}
		if len(bounds) > 0 {
			find(name+"_sum", "")
			find(name+"_count", "")
		} else {
			find(name, "")
		}
		assert.Len(t, seen, kind.Parts())
	}
	for _, name := range []string{"target_info", "loadtest_other", "loadtest_gauge_sum", "loadtest_histogram"} {
		_, _, ok := place(name, "")
		assert.False(t, ok, name)
	}
}

// The sum, the count and each bucket of a native histogram are compared, however its empty buckets are encoded.
func TestNativeHistograms(t *testing.T) {
	s := newSchedule(schedule.ExponentialHistogram)
	r := newRun(t, s)
	step := -1
	send := func(change func(h *writev2.Histogram)) {
		step++
		h := writev2.Histogram{
			Count: &writev2.Histogram_CountInt{CountInt: uint64(s.Value(3, 0, step))}, Sum: schedule.Total(3, step+1), Timestamp: s.Time(step),
			Schema: 3, PositiveSpans: []writev2.BucketSpan{{Offset: -3, Length: schedule.ExponentialBuckets}},
		}
		before := 0
		for i := range schedule.ExponentialBuckets {
			n := (step + 1) * schedule.Increment(3, i)
			h.PositiveDeltas, before = append(h.PositiveDeltas, int64(n-before)), n
		}
		change(&h)
		msg := &writev2.Request{Symbols: []string{"", "__name__", "loadtest_exponential_histogram", "series", "s00000003"}}
		msg.Timeseries = []writev2.TimeSeries{{LabelsRefs: []uint32{1, 2, 3, 4}, Histograms: []writev2.Histogram{h}}}
		message, err := msg.Marshal()
		require.NoError(t, err)
		var request wire.Request
		require.NoError(t, request.Parse(2, message))
		f := &Flight{}
		r.Arrive(t.Context(), f, &request)
		r.finish(f, true, true)
	}
	send(func(*writev2.Histogram) {})
	send(func(h *writev2.Histogram) { // without the bucket in the middle that is empty
		empty := slices.Index(bucketCounts(h.PositiveDeltas), 0)
		require.Positive(t, empty)
		h.PositiveSpans = []writev2.BucketSpan{{Offset: -3, Length: uint32(empty)}, {Offset: 1, Length: uint32(schedule.ExponentialBuckets - empty - 1)}}
		h.PositiveDeltas[empty+1] += h.PositiveDeltas[empty]
		h.PositiveDeltas = slices.Delete(h.PositiveDeltas, empty, empty+1)
	})
	send(func(h *writev2.Histogram) { // as floats
		h.PositiveCounts, h.PositiveDeltas = bucketCounts(h.PositiveDeltas), nil
		h.Count = &writev2.Histogram_CountFloat{CountFloat: s.Value(3, 0, step)}
	})
	r.found(nothing)
	for i, change := range []func(h *writev2.Histogram){
		func(h *writev2.Histogram) { h.Sum++ },
		func(h *writev2.Histogram) { h.Count = &writev2.Histogram_CountInt{CountInt: 1} },
		func(h *writev2.Histogram) { h.Schema = 2 },
		func(h *writev2.Histogram) { h.PositiveSpans[0].Offset++ },
		func(h *writev2.Histogram) { h.PositiveSpans[0].Length -= 2 },
		func(h *writev2.Histogram) { h.PositiveDeltas[4]++; h.PositiveDeltas[5]-- },
		func(h *writev2.Histogram) { h.ZeroCount = &writev2.Histogram_ZeroCountInt{ZeroCountInt: 1} },
		func(h *writev2.Histogram) {
			h.NegativeSpans, h.NegativeDeltas = h.PositiveSpans, h.PositiveDeltas
		},
	} {
		send(change)
		r.found(map[Violation]int{WrongValue: i + 1})
	}
	assert.Equal(t, step+1, r.Report().Scheduled)

	step++
	number := r.gauge(3, step)
	number.Labels[0].Value = "loadtest_exponential_histogram"
	r.deliver(number)
	assert.Equal(t, 9, r.Report().Violations[WrongValue], "the count alone is no histogram")
}

func bucketCounts(deltas []int64) (counts []float64) {
	n := int64(0)
	for _, d := range deltas {
		n += d
		counts = append(counts, float64(n))
	}
	return counts
}

func TestPoisonIsAMatterOfLabels(t *testing.T) {
	r := newRun(t, newSchedule(schedule.Gauge))
	one, two := r.arrive(t.Context(), r.gauge(1, 0)).Dice, r.arrive(t.Context(), r.gauge(2, 0)).Dice
	assert.NotEqual(t, one, two)
	assert.Equal(t, min(one, two), r.arrive(t.Context(), r.gauge(2, 1), r.gauge(1, 1)).Dice)
}

func BenchmarkVerify(b *testing.B) {
	s := schedule.Schedule{Kind: schedule.Gauge, Streams: 1_000_000, PerResource: 1000, PerRequest: 1000, Interval: 1000}
	v := New()
	require.NoError(b, v.SetSchedules([]schedule.Schedule{s}))
	const perRequest = 2000
	var requests []*wire.Request
	for first := 0; first < s.Streams; first += perRequest {
		msg := &prompb.WriteRequest{}
		for i := range perRequest {
			msg.Timeseries = append(msg.Timeseries, prompb.TimeSeries{
				Labels:  []prompb.Label{{Name: "__name__", Value: "loadtest_gauge"}, {Name: "series", Value: fmt.Sprintf("s%08d", first+i)}},
				Samples: []prompb.Sample{{}},
			})
		}
		message, err := msg.Marshal()
		require.NoError(b, err)
		r := &wire.Request{}
		require.NoError(b, r.Parse(1, message))
		requests = append(requests, r)
	}
	var f Flight
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		r, step := requests[i%len(requests)], i/len(requests)
		for j := range r.Series {
			stream := i%len(requests)*perRequest + j
			r.Series[j].Samples[0] = wire.Sample{Time: s.Time(step), Bits: math.Float64bits(s.Value(stream, 0, step))}
		}
		v.Arrive(b.Context(), &f, r)
		v.Store(&f)
		v.Land(&f)
		v.Settle(&f, true)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*perRequest), "ns/sample")
	require.Zero(b, len(v.Report().Violations))
}
