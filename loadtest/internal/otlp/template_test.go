// SPDX-License-Identifier: Apache-2.0

package otlp

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"

	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/schedule"
)

const attributes = 12

// decoded is a data point of any type, as pdata reads it.
type decoded struct {
	instance    string
	attributes  pcommon.Map
	start, time pcommon.Timestamp
	stale       bool
	values      []float64 // by part
	total       float64   // the sum of an exponential histogram
	delta       bool
}

func (d decoded) series(t *testing.T) string {
	v, ok := d.attributes.Get(SeriesKey)
	require.True(t, ok)
	return v.Str()
}

func decode(t *testing.T, body []byte) (points []decoded) {
	t.Helper()
	r := pmetricotlp.NewExportRequest()
	require.NoError(t, r.UnmarshalProto(body))
	for _, rm := range r.Metrics().ResourceMetrics().All() {
		instance, ok := rm.Resource().Attributes().Get("service.instance.id")
		require.True(t, ok)
		for _, m := range rm.ScopeMetrics().At(0).Metrics().All() {
			for _, p := range decodeMetric(m) {
				p.instance = instance.Str()
				points = append(points, p)
			}
		}
	}
	return points
}

func decodeMetric(m pmetric.Metric) (points []decoded) {
	numbers := func(dps pmetric.NumberDataPointSlice, delta bool) {
		for _, dp := range dps.All() {
			points = append(points, decoded{
				attributes: dp.Attributes(), start: dp.StartTimestamp(), time: dp.Timestamp(),
				stale: dp.Flags().NoRecordedValue(), values: []float64{dp.DoubleValue()}, delta: delta,
			})
		}
	}
	switch m.Type() {
	case pmetric.MetricTypeGauge:
		numbers(m.Gauge().DataPoints(), false)
	case pmetric.MetricTypeSum:
		numbers(m.Sum().DataPoints(), m.Sum().AggregationTemporality() == pmetric.AggregationTemporalityDelta)
	case pmetric.MetricTypeHistogram:
		for _, dp := range m.Histogram().DataPoints().All() {
			d := decoded{
				attributes: dp.Attributes(), start: dp.StartTimestamp(), time: dp.Timestamp(),
				stale: dp.Flags().NoRecordedValue(), delta: m.Histogram().AggregationTemporality() == pmetric.AggregationTemporalityDelta,
			}
			sum := uint64(0)
			for _, n := range dp.BucketCounts().All() {
				sum += n
				d.values = append(d.values, float64(sum))
			}
			d.values = append(d.values, dp.Sum(), float64(dp.Count()))
			points = append(points, d)
		}
	case pmetric.MetricTypeExponentialHistogram:
		for _, dp := range m.ExponentialHistogram().DataPoints().All() {
			sum := uint64(0)
			for _, n := range dp.Positive().BucketCounts().All() {
				sum += n
			}
			points = append(points, decoded{
				attributes: dp.Attributes(), start: dp.StartTimestamp(), time: dp.Timestamp(),
				stale: dp.Flags().NoRecordedValue(), values: []float64{float64(dp.Count())}, total: dp.Sum(),
				delta: m.ExponentialHistogram().AggregationTemporality() == pmetric.AggregationTemporalityDelta || sum != dp.Count(),
			})
		}
	case pmetric.MetricTypeSummary:
		for _, dp := range m.Summary().DataPoints().All() {
			d := decoded{attributes: dp.Attributes(), start: dp.StartTimestamp(), time: dp.Timestamp(), stale: dp.Flags().NoRecordedValue()}
			for _, q := range dp.QuantileValues().All() {
				d.values = append(d.values, q.Value())
			}
			d.values = append(d.values, dp.Sum(), float64(dp.Count()))
			points = append(points, d)
		}
	}
	return points
}

func newSchedule(kind schedule.Kind) *schedule.Schedule {
	return &schedule.Schedule{Kind: kind, Streams: 60, PerResource: 5, PerRequest: 20, Start: 1_800_000_000_000, Interval: 1000, Steps: 30}
}

// Streams that are counted from another number differ in nothing but the labels that tell them and their resources apart.
func TestFirstStream(t *testing.T) {
	s := newSchedule(schedule.Gauge)
	far := *s
	far.First = schedule.MaxStreams - s.Streams
	near, err := New(s, attributes)
	require.NoError(t, err)
	other, err := New(&far, attributes)
	require.NoError(t, err)
	var counts Counts
	near.Set(2, 3, &counts)
	other.Set(2, 3, &counts)
	points := decode(t, near.Body())
	for i, p := range decode(t, other.Body()) {
		requireScheduled(t, s, 40+i, 3, points[i])
		assert.Equal(t, points[i].values, p.values)
		assert.Equal(t, fmt.Sprintf("s%08d", far.First+40+i), p.series(t))
		assert.NotEqual(t, points[i].instance, p.instance)
	}
	far.First++
	assert.Error(t, far.Check())
}

// Every template is set to many requests and steps, one after the other, so that nothing of one may stay for the next.
func TestPdataFindsTheSchedule(t *testing.T) {
	for _, kind := range schedule.Kinds() {
		t.Run(string(kind), func(t *testing.T) {
			s := newSchedule(kind)
			s.Lifetime = 7
			s.Errors = schedule.Errors{Resets: 0.1}
			template, err := New(s, attributes)
			require.NoError(t, err)
			instances := map[string]bool{}
			for step := range s.Steps {
				for request := range s.Streams / s.PerRequest {
					var counts Counts
					template.Set(request, step, &counts)
					assert.Equal(t, Counts{schedule.None: s.PerRequest}, counts)
					points := decode(t, template.Body())
					require.Len(t, points, s.PerRequest)
					for i, p := range points {
						stream := request*s.PerRequest + i
						requireScheduled(t, s, stream, step, p)
						instances[p.instance] = true
					}
				}
			}
			// Each of the 12 resources is replaced four times, or five if the first one was old.
			assert.GreaterOrEqual(t, len(instances), 12*4)
			assert.LessOrEqual(t, len(instances), 12*6)
		})
	}
}

func requireScheduled(t *testing.T, s *schedule.Schedule, stream, step int, p decoded) {
	t.Helper()
	require.Equal(t, fmt.Sprintf("s%08d", stream), p.series(t))
	require.Equal(t, attributes, p.attributes.Len())
	require.Equal(t, s.Time(step), p.time.AsTime().UnixMilli())
	require.Len(t, p.values, s.Kind.Parts())
	for part, v := range p.values {
		require.Equal(t, s.Value(stream, part, step), v, "stream %d, part %d, step %d", stream, part, step)
	}
	require.False(t, p.delta)
	if s.Kind == schedule.ExponentialHistogram {
		require.Equal(t, schedule.Total(stream, s.Age(stream, step)), p.total)
	}
	if s.Kind != schedule.Gauge {
		require.Equal(t, s.Time(step-s.Age(stream, step)), p.start.AsTime().UnixMilli())
	}
}

func TestFaultsAreWhatTheySay(t *testing.T) {
	for _, kind := range schedule.Kinds() {
		t.Run(string(kind), func(t *testing.T) {
			s := newSchedule(kind)
			s.Errors = schedule.Errors{Seed: 3, OutOfOrder: 0.1, Duplicates: 0.1, BadLabels: 0.1, BadUTF8: 0.1, Gaps: 0.1, Future: 0.1, Stale: 0.1, Delta: 0.1}
			template, err := New(s, attributes)
			require.NoError(t, err)
			var all Counts
			for step := range s.Steps {
				for request := range s.Streams / s.PerRequest {
					var counts Counts
					template.Set(request, step, &counts)
					points := decode(t, template.Body())
					require.Len(t, points, s.PerRequest-counts[schedule.Gap])
					for i := range s.PerRequest {
						stream := request*s.PerRequest + i
						f := s.Fault(stream, step)
						all[f]++
						if f == schedule.Gap {
							continue
						}
						requireFault(t, s, stream, step, f, points[0])
						points = points[1:]
					}
					for f, n := range counts {
						all[f] -= n
					}
				}
			}
			assert.Equal(t, Counts{}, all, "what was counted is not what there was")
		})
	}
}

func requireFault(t *testing.T, s *schedule.Schedule, stream, step int, f schedule.Fault, p decoded) {
	t.Helper()
	require.Equal(t, s.PointTime(step, f), p.time.AsTime().UnixMilli())
	require.Equal(t, f == schedule.Stale, p.stale)
	require.Equal(t, f.Hostile(), strings.HasPrefix(p.series(t), "x"))
	require.Equal(t, f == schedule.Delta, p.delta)
	_, bad := p.attributes.Get(badKey)
	require.Equal(t, f == schedule.BadLabel, bad)
	valid := true
	for _, v := range p.attributes.All() {
		valid = valid && utf8.ValidString(v.Str())
	}
	require.Equal(t, f == schedule.BadUTF8, !valid)
	_, scheduled := s.Step(p.time.AsTime().UnixMilli())
	require.Equal(t, f != schedule.OutOfOrder && f != schedule.Future, scheduled)
	if f == schedule.Duplicate {
		require.Equal(t, s.Value(stream, 0, step-1), p.values[0])
	}
}

func TestBadBytesHaveTheSameLength(t *testing.T) {
	assert.Len(t, badKey, len(goodKey))
	assert.Len(t, badText, len(goodText))
}

func TestCountsOfExponentialHistogramsHaveRoom(t *testing.T) {
	b := make([]byte, flexibleVarint)
	putVarint(b, math.MaxUint32)
	var v uint64
	for i := range b {
		v |= uint64(b[i]&0x7f) << (7 * i)
	}
	assert.Equal(t, uint64(math.MaxUint32), v)
	assert.Less(t, b[flexibleVarint-1], byte(0x80))
}

func BenchmarkSet(b *testing.B) {
	for _, kind := range schedule.Kinds() {
		b.Run(string(kind), func(b *testing.B) {
			s := &schedule.Schedule{Kind: kind, Streams: 100_000, PerResource: 1000, PerRequest: 1000, Interval: 1000}
			template, err := New(s, 20)
			if err != nil {
				b.Fatal(err)
			}
			var counts Counts
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				template.Set(i%100, i/100, &counts)
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*1000), "ns/point")
		})
	}
}
