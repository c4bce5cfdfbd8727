// SPDX-License-Identifier: Apache-2.0

package rwtest

import (
	"maps"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/prometheus/prompb"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// Payloads describes sound metrics: streams of points, divided among producers, each with increasing timestamps that no
// two points of a stream share in milliseconds. A zero field has the default that its comment names.
type Payloads struct {
	// Seed decides about everything random.
	Seed uint64
	// Producers is the number of producers; 1.
	Producers int
	// Streams is the number of streams of all producers together; 1,000. A gauge or a sum is one series on the wire; the
	// other kinds of metric are several.
	Streams int
	// Points is the number of points of each stream; 100.
	Points int
	// StreamsPerPayload is how many streams a payload has points of, at most; 50.
	StreamsPerPayload int
	// Kinds are the types of metric, which the streams take in turn; all five.
	Kinds []pmetric.MetricType
	// Start is the earliest possible timestamp; 2026-01-01.
	Start time.Time
}

// Producer generates the payloads of its own streams. It is not for concurrent use; producers are independent.
type Producer struct {
	rnd       *rand.Rand
	instance  string
	perTurn   int
	remaining []*stream
	points    int
	expected  map[string][]Sample
}

// stream is one OTLP stream with its state.
type stream struct {
	kind      pmetric.MetricType
	monotonic bool
	metric    string
	id, zone  string
	series    string // its SeriesKey, if it is a single series
	left      int
	millis    int64
	start     pcommon.Timestamp
	value     float64
	count     uint64
	buckets   [4]uint64
}

// Split returns the producers, which together generate all payloads.
func (p Payloads) Split() []*Producer {
	setDefault(&p.Producers, 1)
	setDefault(&p.Streams, 1000)
	setDefault(&p.Points, 100)
	setDefault(&p.StreamsPerPayload, 50)
	if len(p.Kinds) == 0 {
		p.Kinds = []pmetric.MetricType{
			pmetric.MetricTypeGauge, pmetric.MetricTypeSum, pmetric.MetricTypeHistogram,
			pmetric.MetricTypeExponentialHistogram, pmetric.MetricTypeSummary,
		}
	}
	if p.Start.IsZero() {
		p.Start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	}
	producers := make([]*Producer, p.Producers)
	for i := range producers {
		producers[i] = &Producer{
			rnd:      rand.New(rand.NewPCG(p.Seed, uint64(i))),
			instance: "producer-" + strconv.Itoa(i),
			perTurn:  p.StreamsPerPayload,
			expected: make(map[string][]Sample),
		}
	}
	for i := range p.Streams {
		producer := producers[i%len(producers)]
		s := &stream{
			kind:   p.Kinds[i/len(producers)%len(p.Kinds)],
			id:     strconv.Itoa(i),
			zone:   "zone-" + strconv.Itoa(i%3),
			left:   p.Points,
			millis: p.Start.UnixMilli() + int64(producer.rnd.IntN(60_000)),
			start:  pcommon.NewTimestampFromTime(p.Start),
		}
		s.name(producer)
		producer.remaining = append(producer.remaining, s)
	}
	return producers
}

func setDefault(n *int, to int) {
	if *n == 0 {
		*n = to
	}
}

// name gives the stream a metric name that any translation strategy leaves as it is.
func (s *stream) name(p *Producer) {
	family := strconv.Itoa(p.rnd.IntN(7))
	switch s.kind {
	case pmetric.MetricTypeGauge:
		s.metric = "rwtest_gauge_" + family
	case pmetric.MetricTypeSum:
		s.metric = "rwtest_sum_" + family
		if s.monotonic = p.rnd.IntN(2) == 0; s.monotonic {
			s.metric += "_total"
		}
	case pmetric.MetricTypeHistogram:
		s.metric = "rwtest_histogram_" + family
	case pmetric.MetricTypeExponentialHistogram:
		s.metric = "rwtest_exponential_" + family
	case pmetric.MetricTypeSummary:
		s.metric = "rwtest_summary_" + family
	}
	if s.kind == pmetric.MetricTypeGauge || s.kind == pmetric.MetricTypeSum {
		s.series = SeriesKey([]prompb.Label{
			{Name: "__name__", Value: s.metric},
			{Name: "instance", Value: p.instance},
			{Name: "job", Value: "rwtest"},
			{Name: "stream", Value: s.id},
			{Name: "zone", Value: s.zone},
		})
	}
}

// Next returns the next payload: one to three further points of some random streams. It returns false when all streams
// are exhausted.
func (p *Producer) Next() (pmetric.Metrics, bool) {
	if len(p.remaining) == 0 {
		return pmetric.Metrics{}, false
	}
	md := pmetric.NewMetrics()
	rm := md.ResourceMetrics().AppendEmpty()
	rm.Resource().Attributes().PutStr("service.name", "rwtest")
	rm.Resource().Attributes().PutStr("service.instance.id", p.instance)
	metrics := rm.ScopeMetrics().AppendEmpty().Metrics() // a scope without a name gives no labels
	byName := make(map[string]pmetric.Metric)

	p.rnd.Shuffle(len(p.remaining), func(i, j int) { p.remaining[i], p.remaining[j] = p.remaining[j], p.remaining[i] })
	for _, s := range p.remaining[:min(p.perTurn, len(p.remaining))] {
		m, ok := byName[s.metric]
		if !ok {
			m = metrics.AppendEmpty()
			s.describe(m)
			byName[s.metric] = m
		}
		for range min(s.left, 1+p.rnd.IntN(3)) {
			p.point(s, m)
		}
	}
	p.remaining = slices.DeleteFunc(p.remaining, func(s *stream) bool { return s.left == 0 })
	return md, true
}

// Points returns the number of points in the payloads so far.
func (p *Producer) Points() int { return p.points }

// Expected returns the samples that the gauges and sums in the payloads so far must become, in order and by SeriesKey,
// if nothing is added to their labels.
func (p *Producer) Expected() map[string][]Sample { return maps.Clone(p.expected) }

// describe makes m a metric of the stream's kind.
func (s *stream) describe(m pmetric.Metric) {
	m.SetName(s.metric)
	switch s.kind {
	case pmetric.MetricTypeGauge:
		m.SetEmptyGauge()
	case pmetric.MetricTypeSum:
		m.SetEmptySum().SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
		m.Sum().SetIsMonotonic(s.monotonic)
	case pmetric.MetricTypeHistogram:
		m.SetEmptyHistogram().SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	case pmetric.MetricTypeExponentialHistogram:
		m.SetEmptyExponentialHistogram().SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	case pmetric.MetricTypeSummary:
		m.SetEmptySummary()
	}
}

// point appends the next point of the stream to m.
func (p *Producer) point(s *stream, m pmetric.Metric) {
	s.left--
	s.millis += 1 + p.rnd.Int64N(15_000)
	p.points++
	when := pcommon.Timestamp(s.millis*1e6 + p.rnd.Int64N(1e6)) // whose nanoseconds are cut off
	attributes := func(m pcommon.Map) {
		m.PutStr("zone", s.zone)
		m.PutStr("stream", s.id)
	}
	switch s.kind {
	case pmetric.MetricTypeGauge:
		dp := m.Gauge().DataPoints().AppendEmpty()
		attributes(dp.Attributes())
		dp.SetTimestamp(when)
		dp.SetDoubleValue(p.rnd.NormFloat64())
		p.expect(s, dp.DoubleValue())
	case pmetric.MetricTypeSum:
		dp := m.Sum().DataPoints().AppendEmpty()
		attributes(dp.Attributes())
		dp.SetTimestamp(when)
		dp.SetStartTimestamp(s.start)
		s.count += uint64(p.rnd.IntN(1000))
		dp.SetIntValue(int64(s.count))
		p.expect(s, float64(s.count))
	case pmetric.MetricTypeHistogram:
		s.observe(p.rnd)
		dp := m.Histogram().DataPoints().AppendEmpty()
		attributes(dp.Attributes())
		dp.SetTimestamp(when)
		dp.SetStartTimestamp(s.start)
		dp.ExplicitBounds().FromRaw([]float64{0.1, 1, 10})
		dp.BucketCounts().FromRaw(s.buckets[:])
		dp.SetCount(s.count)
		dp.SetSum(s.value)
	case pmetric.MetricTypeExponentialHistogram:
		s.observe(p.rnd)
		dp := m.ExponentialHistogram().DataPoints().AppendEmpty()
		attributes(dp.Attributes())
		dp.SetTimestamp(when)
		dp.SetStartTimestamp(s.start)
		dp.SetScale(3)
		dp.SetZeroCount(s.buckets[0])
		dp.Positive().SetOffset(-2)
		dp.Positive().BucketCounts().FromRaw(s.buckets[1:])
		dp.SetCount(s.count)
		dp.SetSum(s.value)
	case pmetric.MetricTypeSummary:
		s.observe(p.rnd)
		dp := m.Summary().DataPoints().AppendEmpty()
		attributes(dp.Attributes())
		dp.SetTimestamp(when)
		dp.SetStartTimestamp(s.start)
		for _, q := range []float64{0.5, 0.9, 0.99} {
			v := dp.QuantileValues().AppendEmpty()
			v.SetQuantile(q)
			v.SetValue(q * p.rnd.Float64())
		}
		dp.SetCount(s.count)
		dp.SetSum(s.value)
	}
}

func (p *Producer) expect(s *stream, value float64) {
	p.expected[s.series] = append(p.expected[s.series], Sample{Timestamp: s.millis, Bits: math.Float64bits(value)})
}

// observe adds an observation to each of some buckets.
func (s *stream) observe(rnd *rand.Rand) {
	for i := range s.buckets {
		n := uint64(rnd.IntN(3))
		s.buckets[i] += n
		s.count += n
		s.value += float64(n) * rnd.Float64()
	}
}
