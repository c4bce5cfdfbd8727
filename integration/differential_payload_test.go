// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"math"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// second is a time of points in nanoseconds: a fixed one, so that what is found is always the same.
const second pcommon.Timestamp = 1767225600e9

type (
	metricOf  = func(pmetric.Metric)
	dataPoint interface {
		Attributes() pcommon.Map
		SetTimestamp(pcommon.Timestamp)
		SetStartTimestamp(pcommon.Timestamp)
		SetFlags(pmetric.DataPointFlags)
	}
	pointEdit = func(dataPoint)
)

// payload is one of a resource, given as keys and values, and of a scope without a name.
func payload(resource []any, metrics ...metricOf) pmetric.Metrics {
	return scoped(resource, func(pmetric.ScopeMetrics) {}, metrics...)
}

// scoped is a payload of a scope that is edited.
func scoped(resource []any, scope func(pmetric.ScopeMetrics), metrics ...metricOf) pmetric.Metrics {
	md := pmetric.NewMetrics()
	rm := md.ResourceMetrics().AppendEmpty()
	put(rm.Resource().Attributes(), resource)
	sm := rm.ScopeMetrics().AppendEmpty()
	scope(sm)
	for _, m := range metrics {
		m(sm.Metrics().AppendEmpty())
	}
	return md
}

// joined is one payload of several.
func joined(payloads ...pmetric.Metrics) pmetric.Metrics {
	md := pmetric.NewMetrics()
	for _, p := range payloads {
		p.ResourceMetrics().MoveAndAppendTo(md.ResourceMetrics())
	}
	return md
}

// put puts attributes, given as keys and values.
func put(m pcommon.Map, keysAndValues []any) {
	for i := 0; i < len(keysAndValues); i += 2 {
		if err := m.PutEmpty(keysAndValues[i].(string)).FromRaw(keysAndValues[i+1]); err != nil {
			panic(err)
		}
	}
}

func gauge(name string, points ...func(pmetric.NumberDataPoint)) metricOf {
	return func(m pmetric.Metric) {
		m.SetName(name)
		each(m.SetEmptyGauge().DataPoints().AppendEmpty, points)
	}
}

func sum(name string, monotonic bool, points ...func(pmetric.NumberDataPoint)) metricOf {
	return func(m pmetric.Metric) {
		m.SetName(name)
		m.SetEmptySum().SetIsMonotonic(monotonic)
		m.Sum().SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
		each(m.Sum().DataPoints().AppendEmpty, points)
	}
}

func explicit(name string, points ...func(pmetric.HistogramDataPoint)) metricOf {
	return func(m pmetric.Metric) {
		m.SetName(name)
		m.SetEmptyHistogram().SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
		each(m.Histogram().DataPoints().AppendEmpty, points)
	}
}

func exponential(name string, points ...func(pmetric.ExponentialHistogramDataPoint)) metricOf {
	return func(m pmetric.Metric) {
		m.SetName(name)
		m.SetEmptyExponentialHistogram().SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
		each(m.ExponentialHistogram().DataPoints().AppendEmpty, points)
	}
}

func summary(name string, points ...func(pmetric.SummaryDataPoint)) metricOf {
	return func(m pmetric.Metric) {
		m.SetName(name)
		each(m.SetEmptySummary().DataPoints().AppendEmpty, points)
	}
}

func each[T any](add func() T, points []func(T)) {
	for _, p := range points {
		p(add())
	}
}

// of is a metric with a unit and a description.
func of(unit string, metric metricOf) metricOf {
	return func(m pmetric.Metric) {
		metric(m)
		m.SetUnit(unit)
		m.SetDescription("About " + m.Name() + ".")
	}
}

// wasOf is a metric that had a type in Prometheus.
func wasOf(typ string, metric metricOf) metricOf {
	return func(m pmetric.Metric) {
		metric(m)
		m.Metadata().PutStr("prometheus.type", typ)
	}
}

// temporal is a metric of another temporality.
func temporal(t pmetric.AggregationTemporality, metric metricOf) metricOf {
	return func(m pmetric.Metric) {
		metric(m)
		switch m.Type() {
		case pmetric.MetricTypeSum:
			m.Sum().SetAggregationTemporality(t)
		case pmetric.MetricTypeHistogram:
			m.Histogram().SetAggregationTemporality(t)
		default:
			m.ExponentialHistogram().SetAggregationTemporality(t)
		}
	}
}

// edited is at one second, unless an edit says otherwise.
func edited(dp dataPoint, edits []pointEdit) {
	dp.SetTimestamp(second)
	for _, e := range edits {
		e(dp)
	}
}

// number is a point with an int, a float64, or nil for no value.
func number(value any, edits ...pointEdit) func(pmetric.NumberDataPoint) {
	return func(dp pmetric.NumberDataPoint) {
		switch v := value.(type) {
		case int:
			dp.SetIntValue(int64(v))
		case float64:
			dp.SetDoubleValue(v)
		}
		edited(dp, edits)
	}
}

// buckets is a point whose count is that of its buckets, and whose sum is 12.5.
func buckets(bounds []float64, counts []uint64, edits ...pointEdit) func(pmetric.HistogramDataPoint) {
	return func(dp pmetric.HistogramDataPoint) {
		dp.ExplicitBounds().FromRaw(bounds)
		dp.BucketCounts().FromRaw(counts)
		dp.SetCount(total(counts))
		dp.SetSum(12.5)
		edited(dp, edits)
	}
}

// changed is a point that is changed after it has been made.
func changed[P any](point func(P), change func(P)) func(P) {
	return func(dp P) {
		point(dp)
		change(dp)
	}
}

// scaled is a point with positive buckets whose count is that of its buckets, and whose sum is 12.5.
func scaled(scale, offset int32, counts []uint64, edits ...pointEdit) func(pmetric.ExponentialHistogramDataPoint) {
	return func(dp pmetric.ExponentialHistogramDataPoint) {
		dp.SetScale(scale)
		dp.Positive().SetOffset(offset)
		dp.Positive().BucketCounts().FromRaw(counts)
		dp.SetCount(total(counts))
		dp.SetSum(12.5)
		edited(dp, edits)
	}
}

func total(counts []uint64) (sum uint64) {
	for _, n := range counts {
		sum += n
	}
	return sum
}

// quantiles is a point with the given quantiles, whose values are ten times as much.
func quantiles(of []float64, edits ...pointEdit) func(pmetric.SummaryDataPoint) {
	return func(dp pmetric.SummaryDataPoint) {
		for _, q := range of {
			v := dp.QuantileValues().AppendEmpty()
			v.SetQuantile(q)
			v.SetValue(10 * q)
		}
		dp.SetCount(7)
		dp.SetSum(12.5)
		edited(dp, edits)
	}
}

// with gives a point attributes.
func with(keysAndValues ...any) pointEdit {
	return func(dp dataPoint) { put(dp.Attributes(), keysAndValues) }
}

// at is a time after the first second.
func at(after pcommon.Timestamp) pointEdit {
	return func(dp dataPoint) { dp.SetTimestamp(second + after) }
}

// began is a start time, which is none if it is 0.
func began(ts pcommon.Timestamp) pointEdit {
	return func(dp dataPoint) { dp.SetStartTimestamp(ts) }
}

func timeless(dp dataPoint) { dp.SetTimestamp(0) }

func stale(dp dataPoint) {
	dp.SetFlags(pmetric.DefaultDataPointFlags.WithNoRecordedValue(true))
}

// exampled adds an exemplar to a point, half a second before its default time.
func exampled(value float64, edits ...func(pmetric.Exemplar)) pointEdit {
	return func(dp dataPoint) {
		e := dp.(interface{ Exemplars() pmetric.ExemplarSlice }).Exemplars().AppendEmpty()
		e.SetTimestamp(second - 5e8)
		e.SetDoubleValue(value)
		for _, edit := range edits {
			edit(e)
		}
	}
}

func traced(e pmetric.Exemplar) {
	e.SetTraceID(pcommon.TraceID{15: 1})
	e.SetSpanID(pcommon.SpanID{7: 2})
}

// filtered gives an exemplar attributes.
func filtered(keysAndValues ...any) func(pmetric.Exemplar) {
	return func(e pmetric.Exemplar) { put(e.FilteredAttributes(), keysAndValues) }
}

// staleBits is a recorded value that looks like a stale marker.
var staleBits = math.Float64frombits(0x7ff0000000000002)
