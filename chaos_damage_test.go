package orderedremotewriteexporter

import (
	"math"
	"math/rand/v2"
	"strings"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// damager puts errors into sound payloads.
type damager struct {
	*chaos
	rnd  *rand.Rand
	next func() (pmetric.Metrics, bool)
	// permille is the probability of an error in a point.
	permille int
	before   []pmetric.Metrics
}

// damaged is the next payload with some errors in it.
func (d *damager) damaged() (pmetric.Metrics, bool) {
	if n := len(d.before); n > 0 && d.happens() {
		d.count("payload again")
		return d.before[d.rnd.IntN(n)], true
	}
	md, ok := d.next()
	if !ok {
		return md, false
	}
	for _, rm := range md.ResourceMetrics().All() {
		if d.happens() {
			d.count("bad resource")
			d.badLabel(rm.Resource().Attributes())
		}
		for _, sm := range rm.ScopeMetrics().All() {
			for _, m := range sm.Metrics().All() {
				d.metric(m)
			}
		}
	}
	d.before = append(d.before, md)
	if len(d.before) > 5 {
		d.before = d.before[1:]
	}
	return md, true
}

func (d *damager) happens() bool { return d.rnd.IntN(1000) < d.permille }

func (d *damager) count(kind string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.damages[kind]++
}

func (d *damager) metric(m pmetric.Metric) {
	if d.happens() {
		d.count("bad name")
		m.SetName(pick(d.rnd, "", "9lives", "a\xff", "a.b-c", "温度", "target_info", strings.Repeat("n", 3000)))
	}
	if d.happens() {
		d.count("unit")
		m.SetUnit(pick(d.rnd, "s", "By", "1", "{request}", "\xff", "m/s"))
	}
	temporality := pmetric.AggregationTemporalityCumulative
	if d.happens() {
		d.count("temporality")
		temporality = pick(d.rnd, pmetric.AggregationTemporalityDelta, pmetric.AggregationTemporalityUnspecified)
	}
	switch m.Type() {
	case pmetric.MetricTypeGauge:
		d.numbers(m.Gauge().DataPoints())
	case pmetric.MetricTypeSum:
		m.Sum().SetAggregationTemporality(temporality)
		d.numbers(m.Sum().DataPoints())
	case pmetric.MetricTypeHistogram:
		m.Histogram().SetAggregationTemporality(temporality)
		points := m.Histogram().DataPoints()
		for i := range points.Len() {
			if d.happens() {
				d.count("bounds")
				points.At(i).ExplicitBounds().FromRaw(pick(d.rnd, nil, []float64{1}, []float64{3, 2, 1}, []float64{math.NaN(), 1, 2}, []float64{1, 2, math.Inf(1)}))
			}
			if d.happens() {
				d.count("no buckets")
				points.At(i).BucketCounts().FromRaw(nil)
			}
			if d.point(points.At(i)) {
				points.At(i).CopyTo(points.AppendEmpty())
			}
		}
	case pmetric.MetricTypeExponentialHistogram:
		m.ExponentialHistogram().SetAggregationTemporality(temporality)
		points := m.ExponentialHistogram().DataPoints()
		for i := range points.Len() {
			if d.happens() {
				d.count("count")
				points.At(i).SetCount(d.rnd.Uint64N(5))
			}
			if d.happens() {
				d.count("scale")
				points.At(i).SetScale(d.rnd.Int32N(60) - 30)
			}
			if d.point(points.At(i)) {
				points.At(i).CopyTo(points.AppendEmpty())
			}
		}
	case pmetric.MetricTypeSummary:
		points := m.Summary().DataPoints()
		for i := range points.Len() {
			if d.point(points.At(i)) {
				points.At(i).CopyTo(points.AppendEmpty())
			}
		}
	}
}

func (d *damager) numbers(points pmetric.NumberDataPointSlice) {
	for i := range points.Len() {
		dp := points.At(i)
		if d.happens() {
			d.count("value")
			switch d.rnd.IntN(3) {
			case 0:
				dp.SetDoubleValue(pick(d.rnd, math.NaN(), math.Inf(1), math.Inf(-1), wire.StaleNaN, math.Copysign(0, -1)))
			case 1:
				dp.SetIntValue(math.MaxInt64)
			default:
				bare := pmetric.NewNumberDataPoint()
				dp.Attributes().CopyTo(bare.Attributes())
				bare.SetTimestamp(dp.Timestamp())
				bare.CopyTo(dp)
			}
		}
		if d.point(dp) {
			again := points.AppendEmpty()
			dp.CopyTo(again)
			if d.rnd.IntN(2) == 0 {
				again.SetDoubleValue(d.rnd.Float64())
			}
		}
	}
}

// point damages what all points have, and says whether the point shall stand in the payload twice.
func (d *damager) point(dp interface {
	Attributes() pcommon.Map
	Timestamp() pcommon.Timestamp
	SetTimestamp(pcommon.Timestamp)
	SetFlags(pmetric.DataPointFlags)
},
) (twice bool) {
	if !d.happens() {
		return false
	}
	switch kind := pick(d.rnd, "older", "older", "twice", "no time", "future", "label", "label", "UTF-8", "huge label", "stale"); kind {
	case "older":
		d.count("out of order")
		dp.SetTimestamp(dp.Timestamp() - pcommon.Timestamp(d.rnd.Int64N(int64(time.Minute))))
	case "twice":
		d.count("duplicate")
		return true
	case "no time":
		d.count("unset timestamp")
		dp.SetTimestamp(pick[pcommon.Timestamp](d.rnd, 0, 0, 999_999))
	case "future":
		d.count("future timestamp")
		dp.SetTimestamp(pick[pcommon.Timestamp](d.rnd, 4102444800e9, math.MaxInt64, math.MaxUint64))
	case "label":
		d.count("bad label")
		d.badLabel(dp.Attributes())
	case "UTF-8":
		d.count("bad UTF-8")
		dp.Attributes().PutStr(pick(d.rnd, "zone", "other", "\xff"), pick(d.rnd, "\xff", "ok\xc3", "\xed\xa0\x80"))
	case "huge label":
		d.count("huge label")
		noise := make([]byte, 1+d.rnd.IntN(3*minBatchSize))
		for i := range noise {
			noise[i] = byte('!' + d.rnd.IntN(90))
		}
		dp.Attributes().PutStr("huge", string(noise))
	case "stale":
		d.count("stale")
		dp.SetFlags(pmetric.DefaultDataPointFlags.WithNoRecordedValue(true))
	}
	return false
}

func (d *damager) badLabel(attributes pcommon.Map) {
	key := pick(d.rnd, "", "__name__", "__x", "le", "quantile", "job", "9", "a.b", "a-b", "\xff", "日本", "_")
	attributes.PutStr(key, pick(d.rnd, "", "x", "y", "a;b", "0.5"))
}
