// SPDX-License-Identifier: Apache-2.0

// Package schedule is what the generator and the receiver both know: which points exist, what their values are at each
// time, and which of them are wrong on purpose. All of it follows from a few numbers, so that nobody has to remember what
// was sent.
//
// A stream is what a data point belongs to: its attributes and those of its resource. Streams are numbered from 0, and so
// are the steps of time; each stream has one point at each step. The parts of a stream are the Remote-Write series that
// its points become.
package schedule

import (
	"errors"
	"fmt"
	"math"
	"slices"
)

// Kind is a type of metrics.
type Kind string

// The kinds that OTLP has.
const (
	Gauge                Kind = "gauge"
	Sum                  Kind = "sum"
	Histogram            Kind = "histogram"
	ExponentialHistogram Kind = "exponential_histogram"
	Summary              Kind = "summary"
)

// Kinds are all of them.
func Kinds() []Kind { return []Kind{Gauge, Sum, Histogram, ExponentialHistogram, Summary} }

const (
	// Bounds is how many explicit bounds a histogram has; with +Inf, it has one bucket more.
	Bounds = 15
	// ExponentialBuckets is how many positive buckets an exponential histogram has.
	ExponentialBuckets = 20
	// ExponentialScale is its scale, and ExponentialOffset the index of the first of them.
	ExponentialScale  = 3
	ExponentialOffset = -4
	// Quantiles is how many quantiles a summary has.
	Quantiles = 5
)

// Metric is the name of the kind's metric in OTLP.
func (k Kind) Metric() string { return "loadtest." + string(k) }

// Parts is how many series a stream of the kind becomes.
func (k Kind) Parts() int {
	switch k {
	case Histogram:
		return Bounds + 3
	case Summary:
		return Quantiles + 2
	default:
		return 1
	}
}

// The last two parts of a histogram and of a summary; before them come its buckets or quantiles.
const (
	sumPart   = 2
	countPart = 1
)

// SumPart is the number of the part that is the sum, of kinds that have several parts.
func (k Kind) SumPart() int { return k.Parts() - sumPart }

// CountPart is the number of the part that is the count.
func (k Kind) CountPart() int { return k.Parts() - countPart }

// Bound is the upper bound of a histogram's bucket: the last one's is infinite.
func Bound(bucket int) float64 {
	if bucket == Bounds {
		return math.Inf(1)
	}
	return 0.005 * float64(int(1)<<bucket)
}

// Quantile is one of a summary's quantiles.
func Quantile(i int) float64 { return [Quantiles]float64{0, 0.5, 0.9, 0.99, 1}[i] }

// Schedule says what the streams of one kind have at each step.
type Schedule struct {
	Kind    Kind `json:"kind"`
	Streams int  `json:"streams"`
	// First is added to the numbers of the streams where they are told apart, so that several generators can have streams of
	// their own. Everything else about a stream follows from its number without it.
	First int `json:"first_stream"`
	// PerResource is how many streams a resource has, consecutive ones.
	PerResource int `json:"streams_per_resource"`
	// PerRequest is how many points a request has, of consecutive streams.
	PerRequest int `json:"points_per_request"`
	// Start is the time of step 0, and Interval the time between two steps, both in milliseconds.
	Start    int64 `json:"start_unix_ms"`
	Interval int64 `json:"interval_ms"`
	// Steps is how many steps there were; it is not known before the end if a duration was asked for.
	Steps int `json:"steps"`
	// Lifetime is how many steps a resource lives before another one takes its place, or 0 for ever.
	Lifetime int    `json:"lifetime_steps"`
	Errors   Errors `json:"errors"`
}

// MaxStreams is how many streams there are numbers for.
const MaxStreams = 100_000_000

// Check tells of what cannot be.
func (s *Schedule) Check() error {
	switch {
	case s.Streams <= 0 || s.PerResource <= 0 || s.PerRequest <= 0:
		return errors.New("there must be at least one stream, of one resource, in one request")
	case !slices.Contains(Kinds(), s.Kind):
		return fmt.Errorf("there is no type %q", s.Kind)
	case s.First < 0 || s.Streams > MaxStreams-s.First:
		return fmt.Errorf("streams have numbers from 0 to %d", MaxStreams-1)
	case s.Streams%s.PerResource != 0 || s.Streams%s.PerRequest != 0:
		return fmt.Errorf("%d streams are no multiple of %d of a resource and %d of a request", s.Streams, s.PerResource, s.PerRequest)
	case s.Interval <= 0:
		return errors.New("interval: must be at least 1ms")
	case s.Interval < 4 && s.Errors.offGrid():
		return errors.New("interval: must be at least 4ms with points that are late or of the future")
	case s.Lifetime < 0 || s.Steps < 0:
		return errors.New("lifetime and steps must not be negative")
	}
	return s.Errors.check()
}

// Time is the time of a step in milliseconds.
func (s *Schedule) Time(step int) int64 { return s.Start + int64(step)*s.Interval }

// Step is the step of a time, and false if there is none at that time.
func (s *Schedule) Step(millis int64) (int, bool) {
	since := millis - s.Start
	if since < 0 || since%s.Interval != 0 {
		return 0, false
	}
	return int(since / s.Interval), true
}

// Generation is how many resources were in the place of the one that the stream has at that step.
func (s *Schedule) Generation(resource, step int) int {
	if s.Lifetime == 0 {
		return 0
	}
	phase := int(Mix(uint64(resource), 0x9e) % uint64(s.Lifetime))
	return (step + phase) / s.Lifetime
}

// Age is how many steps a cumulative stream has counted, this one included.
func (s *Schedule) Age(stream, step int) int {
	p := s.Errors.Resets
	if p <= 0 {
		return step + 1
	}
	// It starts again where a line that rises by the probability reaches the next whole number. The conversion keeps
	// compilers from rounding only once, so that generator and receiver compute the same on any processor.
	phase := float64(Mix(uint64(stream), 0x5e)>>11) / (1 << 53)
	passed := func(step int) float64 { return math.Floor(float64(float64(step)*p) + phase) }
	at := int(math.Ceil((passed(step) - phase) / p))
	for passed(at) < passed(step) {
		at++
	}
	for passed(at-1) == passed(step) {
		at--
	}
	if at < 1 {
		return step + 1
	}
	return step - at + 1
}

// Increment is how much a bucket counts at each step.
func Increment(stream, bucket int) int { return (stream + 3*bucket) % 10 }

// cumulated has the sums of Increment up to a bucket, for histograms of any kind.
var cumulated = func() (sums [10][max(Bounds, ExponentialBuckets) + 1]int) {
	for stream := range sums {
		sum := 0
		for bucket := range sums[stream] {
			sum += Increment(stream, bucket)
			sums[stream][bucket] = sum
		}
	}
	return sums
}()

// Count is what a histogram of that age has counted in its buckets up to this one.
func Count(stream, bucket, age int) int { return age * cumulated[stream%10][bucket] }

// Total is the sum of what a histogram or a summary of that age has observed.
func Total(stream, age int) float64 { return float64(age*(stream%10+1)) / 4 }

// Observations is the count of a summary of that age.
func Observations(stream, age int) int { return age * (stream%10 + 1) }

// Level is the value of a gauge, or of a summary's quantile.
func Level(stream, step, quantile int) float64 {
	return float64((stream*31+step*17+quantile*1009)%10007) / 4
}

// Added is the value of a sum of that age.
func Added(stream, age int) float64 { return float64(age * (stream%97 + 1)) }

// Value is the value of a part of a stream at a step, of an exponential histogram its count.
func (s *Schedule) Value(stream, part, step int) float64 {
	age := s.Age(stream, step)
	switch s.Kind {
	case Gauge:
		return Level(stream, step, 0)
	case Sum:
		return Added(stream, age)
	case ExponentialHistogram:
		return float64(Count(stream, ExponentialBuckets-1, age))
	case Histogram:
		switch part {
		case s.Kind.SumPart():
			return Total(stream, age)
		case s.Kind.CountPart():
			return float64(Count(stream, Bounds, age))
		}
		return float64(Count(stream, part, age))
	default: // Summary
		switch part {
		case s.Kind.SumPart():
			return Total(stream, age)
		case s.Kind.CountPart():
			return float64(Observations(stream, age))
		}
		return Level(stream, step, part)
	}
}

// Has says whether a step is one of the schedule, as far as is known.
func (s *Schedule) Has(step int) bool { return step >= 0 && (s.Steps == 0 || step < s.Steps) }

// Expected is how many samples a receiver must get of one part of a stream.
func (s *Schedule) Expected(stream int) int {
	if !s.Errors.Any() {
		return s.Steps
	}
	n := 0
	for step := range s.Steps {
		if s.Fault(stream, step).Expected() {
			n++
		}
	}
	return n
}

// Mix is a number that depends on all bits of both (the finalizer of splitmix64).
func Mix(a, b uint64) uint64 {
	z := a*0x9e3779b97f4a7c15 + b*0xd1b54a32d192ed03 + 0x2545f4914f6cdd1d
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}
