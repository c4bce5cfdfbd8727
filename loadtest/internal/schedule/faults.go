// SPDX-License-Identifier: Apache-2.0

package schedule

import (
	"fmt"
	"math"
)

// Fault is what is wrong with a point. A wrong point takes the place of the one that the schedule has there.
type Fault int

// The faults of a single point, and Delta, which is one of a whole request.
const (
	None       Fault = iota
	OutOfOrder       // its time is before that of points which were sent already
	Duplicate        // it is the point before, again
	BadLabel         // a key of its attributes is no label name
	BadUTF8          // a value of its attributes is no UTF-8
	Gap              // it is not sent
	Future           // its time is an hour later
	Stale            // it says that there is no value
	Delta            // its temporality is delta, like that of all points of its request
	faults           // how many there are
)

// String is the key of the fault in JSON and the name of its flag.
func (f Fault) String() string {
	return [faults]string{"none", "out_of_order", "duplicates", "bad_labels", "bad_utf8", "gaps", "future", "stale_markers", "delta"}[f]
}

// Faults are all but None.
func Faults() []Fault {
	return []Fault{OutOfOrder, Duplicate, BadLabel, BadUTF8, Gap, Future, Stale, Delta}
}

// Expected says whether a receiver must get the samples of a point with the fault, at the time of its step: a stale
// marker is a good sample.
func (f Fault) Expected() bool { return f == None || f == Stale }

// Hostile says whether the point is in the place of its stream under other labels.
func (f Fault) Hostile() bool { return f == BadLabel || f == BadUTF8 }

// Ahead is how far points of the future are ahead at least, in milliseconds, and Behind how many steps late ones are behind.
const (
	Ahead  = 3600_000
	Behind = 5
)

// Errors are the probabilities of faults, each from 0 to 1.
type Errors struct {
	Seed       uint64  `json:"seed"`
	OutOfOrder float64 `json:"out_of_order"`
	Duplicates float64 `json:"duplicates"`
	BadLabels  float64 `json:"bad_labels"`
	BadUTF8    float64 `json:"bad_utf8"`
	Gaps       float64 `json:"gaps"`
	Future     float64 `json:"future"`
	Stale      float64 `json:"stale_markers"`
	Delta      float64 `json:"delta"`
	// Resets is how often a cumulative stream starts again from 0. That is no fault: the values are what they must be.
	Resets float64 `json:"resets"`
}

func (e *Errors) probabilities() [faults]float64 {
	return [faults]float64{0, e.OutOfOrder, e.Duplicates, e.BadLabels, e.BadUTF8, e.Gaps, e.Future, e.Stale, e.Delta}
}

func (e *Errors) check() error {
	sum := -e.Delta // of points alone
	for f, p := range e.probabilities() {
		if p < 0 || p > 1 || math.IsNaN(p) {
			return fmt.Errorf("%v: the probability must be from 0 to 1, not %v", Fault(f), p)
		}
		sum += p
	}
	if sum > 1 {
		return fmt.Errorf("the probabilities of errors add up to %v, which is more than 1", sum)
	}
	if !(e.Resets >= 0 && e.Resets <= 1) {
		return fmt.Errorf("resets: the probability must be from 0 to 1, not %v", e.Resets)
	}
	return nil
}

// Any says whether some points are wrong.
func (e *Errors) Any() bool { return e.probabilities() != [faults]float64{} }

// offGrid says whether some points have times between those of the steps.
func (e *Errors) offGrid() bool { return e.OutOfOrder > 0 || e.Future > 0 }

// unit is a random number from 0 to 1 that the arguments decide.
func (e *Errors) unit(of, step int, salt uint64) float64 {
	return float64(Mix(Mix(uint64(of), e.Seed^salt), uint64(step))>>11) / (1 << 53)
}

// draw is what the dice say of a point alone.
func (e *Errors) draw(stream, step int) Fault {
	u := e.unit(stream, step, 0)
	for f, p := range e.probabilities() {
		if Fault(f) == Delta {
			break
		}
		if u < p {
			return Fault(f)
		}
		u -= p
	}
	return None
}

// Fault says what is wrong with the point of a stream at a step.
func (s *Schedule) Fault(stream, step int) Fault {
	if !s.Errors.Any() {
		return None
	}
	if s.IsDelta(stream/s.PerRequest, step) {
		return Delta
	}
	f := s.Errors.draw(stream, step)
	switch {
	case f == OutOfOrder && step <= Behind:
		return None
	case f == Duplicate && !s.repeatable(stream, step-1):
		return None
	}
	return f
}

// repeatable says whether the point of a step can be sent again at the next one: only if it was sent as it must be, and its
// resource still lives.
func (s *Schedule) repeatable(stream, step int) bool {
	resource := stream / s.PerResource
	return step >= 0 && !s.IsDelta(stream/s.PerRequest, step) && s.Errors.draw(stream, step) == None &&
		s.Generation(resource, step) == s.Generation(resource, step+1)
}

// IsDelta says whether a request has delta temporality at a step.
func (s *Schedule) IsDelta(request, step int) bool {
	return s.Errors.Delta > 0 && s.Kind.Temporal() && s.Errors.unit(request, step, 0xde17a) < s.Errors.Delta
}

// Temporal says whether metrics of the kind have a temporality.
func (k Kind) Temporal() bool { return k == Sum || k == Histogram || k == ExponentialHistogram }

// PointTime is the time that the point of a step has with a fault. Times that are wrong are between those of steps, at a
// place that tells late ones from those of the future.
func (s *Schedule) PointTime(step int, f Fault) int64 {
	switch f {
	case OutOfOrder:
		return s.Time(step-Behind) - s.Interval/2
	case Duplicate:
		return s.Time(step - 1)
	case Future:
		return s.Time(step) + (Ahead+s.Interval/4+s.Interval-1)/s.Interval*s.Interval - s.Interval/4
	default:
		return s.Time(step)
	}
}
