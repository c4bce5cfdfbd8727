// SPDX-License-Identifier: Apache-2.0

package verify

import (
	"math"

	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/schedule"
	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/wire"
)

// minTime is before all times.
const minTime = math.MinInt64

// staleNaN has the bits of a stale marker (Remote-Write 1.0, "Stale Markers").
const staleNaN = 0x7ff0000000000002

// store judges a sample that is stored.
func (v *Verifier) store(n uint32, r *wire.Request, of *wire.Series, sample *wire.Sample) {
	s := &v.series[n]
	p, at, planned := v.planOf(s, sample.Time)
	if planned && p == nil {
		if !v.redelivered(n, sample) {
			v.unexpected(s, r, of, sample)
		}
		return
	}
	if sample.Time <= s.newest {
		if v.redelivered(n, sample) {
			return
		}
		if p != nil && p.Has(at.step+1) && p.Fault(at.stream, at.step+1) == schedule.Duplicate {
			v.report.OnPurpose[schedule.Duplicate.String()]++
			return
		}
		if sample.Time == s.newest {
			v.violation(Resent, "%s: %d", v.describe(r, of), sample.Time)
			return
		}
		v.violation(OutOfOrder, "%s: %d after %d", v.describe(r, of), sample.Time, s.newest)
	}
	s.newest = max(s.newest, sample.Time)
	v.report.Delivered++
	if p == nil {
		return
	}
	p.delivered[at.slot]++
	if !p.right(at, sample, r.NativeOf(sample)) {
		v.violation(WrongValue, "%s: %v at step %d", v.describe(r, of), math.Float64frombits(sample.Bits), at.step)
	}
}

// placeOf is where a sample stands in a plan.
type placeOf struct{ slot, stream, part, step int }

// planOf finds the plan by which a series has a sample at that time, and where. Planned says whether there is a plan of the
// series at all.
func (v *Verifier) planOf(s *series, millis int64) (_ *plan, at placeOf, planned bool) {
	plans := v.plans[s.kind]
	for i := len(plans) - 1; i >= 0; i-- {
		p := plans[i]
		if !p.holds(s) {
			continue
		}
		planned = true
		at = p.place(s)
		var on bool
		if at.step, on = p.Step(millis); on && p.Has(at.step) && (!p.faulty || p.Fault(at.stream, at.step).Expected()) {
			return p, at, true
		}
	}
	return nil, at, planned
}

// holds says whether a series is of a stream of the plan, with sound labels.
func (p *plan) holds(s *series) bool {
	slot := int(s.slot) - p.First*p.Kind.Parts()
	return !s.hostile && slot >= 0 && slot < len(p.delivered)
}

// place is that of a series, without a step.
func (p *plan) place(s *series) placeOf {
	parts := p.Kind.Parts()
	slot := int(s.slot) - p.First*parts
	return placeOf{slot: slot, stream: slot / parts, part: slot % parts}
}

// redelivered says whether a sample comes again that its sender was not told to be stored.
func (v *Verifier) redelivered(n uint32, sample *wire.Sample) bool {
	id := sampleID{n, sample.Time}
	if _, ok := v.doubtful[id]; !ok {
		return false
	}
	delete(v.doubtful, id)
	v.report.Redelivered++
	return true
}

// right says whether a sample has the value that the schedule says. Native is what it has besides as a native histogram.
func (p *plan) right(at placeOf, sample *wire.Sample, native *wire.Native) bool {
	if p.faulty && p.Fault(at.stream, at.step) == schedule.Stale {
		return sample.Bits == staleNaN || native != nil && math.Float64bits(native.Sum) == staleNaN
	}
	if p.Kind == schedule.ExponentialHistogram && (native == nil || !rightBuckets(at.stream, p.Age(at.stream, at.step), native)) {
		return false
	}
	return math.Float64frombits(sample.Bits) == p.Value(at.stream, at.part, at.step)
}

// rightBuckets says whether a native histogram has the sum and the buckets of an exponential histogram of that age. (Bucket i
// of OpenTelemetry is bucket i+1 of Prometheus.)
func rightBuckets(stream, age int, native *wire.Native) bool {
	buckets := uint64(0)
	for i := range schedule.ExponentialBuckets {
		count := float64(age * schedule.Increment(stream, i))
		buckets += wire.Bucket(schedule.ExponentialScale, int64(schedule.ExponentialOffset+i+1), count)
	}
	return native.Sum == schedule.Total(stream, age) && native.Buckets == buckets
}

// unexpected finds out why a sample has come whose stream has none at its time.
func (v *Verifier) unexpected(s *series, r *wire.Request, of *wire.Series, sample *wire.Sample) {
	for _, p := range v.plans[s.kind] {
		if !p.holds(s) {
			continue
		}
		for _, f := range []schedule.Fault{schedule.OutOfOrder, schedule.Future, schedule.Delta} {
			// The time of the step whose point it can be.
			millis := sample.Time + p.Time(0) - p.PointTime(0, f)
			if step, on := p.Step(millis); on && p.Has(step) && p.Fault(p.place(s).stream, step) == f {
				v.report.OnPurpose[f.String()]++
				return
			}
		}
	}
	v.violation(Unscheduled, "%s: %d", v.describe(r, of), sample.Time)
}
