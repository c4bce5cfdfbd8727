// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"math"

	"go.opentelemetry.io/collector/pdata/pmetric"
)

// damage is what is wrong with a point.
type damage struct {
	kind string
	// What changes the point. A value is one that is no ordinary number; a label makes it one of another series.
	stale, empty, contradicts, coarse, sumless bool
	value                                      *float64
	label                                      string
	// older is how much older the point is than it should be; at is its time, if it is not 0.
	older, at int64
	untimed   bool
	twice     bool
	nameless  bool
	// temporality is that of a metric that Prometheus does not know.
	temporality pmetric.AggregationTemporality
	// reason is for what cannot be translated.
	reason string
}

// more is the labels that the damage adds.
func (d *damage) more() []string {
	if d.label == "" {
		return nil
	}
	return []string{"huge", d.label}
}

// damages of any point.
var anyDamage = []string{
	"out of order", "out of order", "same time", "twice", "twice", "no timestamp", "future", "past", "huge label", "stale", "no name", "temporality", "contents",
}

// damaged chooses what is wrong with the next point of a stream, if anything.
func (p *Payloads) damaged(st *stream) *damage {
	d := &damage{temporality: pmetric.AggregationTemporalityCumulative}
	if p.Late && p.rnd.IntN(10) == 0 {
		d.older = 1 + p.rnd.Int64N(60_000)
		return d
	}
	if !p.happens() {
		return d
	}
	switch d.kind = pick(p.rnd, p.Damages...); d.kind {
	case "out of order":
		d.older = 1 + p.rnd.Int64N(60_000)
	case "same time":
		d.at = st.last
	case "twice":
		d.twice = true
	case "no timestamp":
		d.untimed, d.reason = true, "no_timestamp"
	case "future":
		d.at = p.clock + pick[int64](p.rnd, 24*3_600_000, 1000*24*3_600_000)
	case "past":
		d.at = p.clock - 48*3_600_000
	case "huge label":
		noise := make([]byte, 1+p.rnd.IntN(3*minBatchSize))
		for i := range noise {
			noise[i] = byte('!' + p.rnd.IntN(90))
		}
		d.label = string(noise)
	case "stale":
		d.stale = true
	case "no name":
		// With a namespace or a suffix even that is a name.
		if p.settings.Namespace == "" && st.unit == "" && !(st.kind == pmetric.MetricTypeSum && st.monotonic) {
			d.nameless, d.reason = true, "invalid_name"
		}
	case "temporality":
		p.damageTemporality(st, d)
	default:
		p.damageContents(st, d)
	}
	p.damages[d.kind]++
	return d
}

func (p *Payloads) damageTemporality(st *stream, d *damage) {
	if st.kind == pmetric.MetricTypeGauge || st.kind == pmetric.MetricTypeSummary {
		return
	}
	d.temporality, d.reason = pmetric.AggregationTemporalityDelta, "delta_temporality"
	if p.rnd.IntN(3) == 0 {
		d.temporality, d.reason = pmetric.AggregationTemporalityUnspecified, "unspecified_temporality"
	}
}

// damageContents damages what points of the stream's kind have for themselves.
func (p *Payloads) damageContents(st *stream, d *damage) {
	switch st.kind {
	case pmetric.MetricTypeGauge, pmetric.MetricTypeSum:
		if p.rnd.IntN(3) == 0 {
			d.empty, d.reason = true, "no_value"
			return
		}
		value := pick(p.rnd, math.NaN(), math.Inf(1), math.Inf(-1), math.Float64frombits(staleBits), math.Copysign(0, -1))
		d.value = &value
	case pmetric.MetricTypeHistogram:
		d.contradicts, d.reason = true, "invalid_histogram"
	case pmetric.MetricTypeExponentialHistogram:
		switch p.rnd.IntN(3) {
		case 0:
			d.contradicts, d.reason = true, "invalid_histogram"
		case 1:
			d.coarse, d.reason = true, "scale_too_low"
		default:
			d.sumless, d.reason = true, "no_sum"
		}
	}
}

// point adds the next point of a stream.
func (p *Payloads) point(st *stream) {
	d := p.damaged(st)
	ts := max(st.last+1+p.rnd.Int64N(1000), p.clock)
	switch {
	case d.untimed:
		ts = 0
	case d.at != 0:
		ts = d.at
	case d.older != 0:
		ts -= d.older
	default:
		st.last = ts
	}
	name := st.given
	if d.nameless {
		name = ""
	}
	m := p.metric(st, name, d.temporality)
	for range 1 + map[bool]int{true: 1}[d.twice] {
		native, classic := st.add(p, m, ts, d)
		if d.reason != "" {
			p.expectDrop(d.reason)
		} else {
			p.expect(st, native, classic)
		}
	}
}
