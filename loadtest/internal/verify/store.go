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
	p := v.plans[s.kind]
	if p != nil && (s.hostile || int(s.slot) >= len(p.delivered)) {
		p = nil
	}
	step, stream := 0, 0
	if p != nil {
		stream = int(s.slot) / p.Kind.Parts()
		var on bool
		if step, on = p.Step(sample.Time); !on || p.faulty && !p.Fault(stream, step).Expected() {
			if !v.redelivered(n, sample) {
				v.unexpected(p, stream, r, of, sample)
			}
			return
		}
	}
	if sample.Time <= s.newest {
		if v.redelivered(n, sample) {
			return
		}
		if p != nil && p.Fault(stream, step+1) == schedule.Duplicate {
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
	p.delivered[s.slot]++
	if !p.right(stream, int(s.slot)%p.Kind.Parts(), step, sample) {
		v.violation(WrongValue, "%s: %v at step %d", v.describe(r, of), math.Float64frombits(sample.Bits), step)
	}
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

// right says whether a sample has the value that the schedule says.
func (p *plan) right(stream, part, step int, sample *wire.Sample) bool {
	if p.faulty && p.Fault(stream, step) == schedule.Stale {
		return sample.Bits == staleNaN || sample.Native && math.Float64bits(sample.Sum) == staleNaN
	}
	if sample.Native && sample.Sum != schedule.Total(stream, p.Age(stream, step)) {
		return false
	}
	return math.Float64frombits(sample.Bits) == p.Value(stream, part, step)
}

// unexpected finds out why a sample has come whose stream has none at its time.
func (v *Verifier) unexpected(p *plan, stream int, r *wire.Request, of *wire.Series, sample *wire.Sample) {
	for _, f := range []schedule.Fault{schedule.OutOfOrder, schedule.Future, schedule.Delta} {
		// The time of the step whose point it can be.
		millis := sample.Time + p.Time(0) - p.PointTime(0, f)
		if step, on := p.Step(millis); on && p.Fault(stream, step) == f {
			v.report.OnPurpose[f.String()]++
			return
		}
	}
	v.violation(Unscheduled, "%s: %d", v.describe(r, of), sample.Time)
}
