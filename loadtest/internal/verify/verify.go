// SPDX-License-Identifier: Apache-2.0

// Package verify checks what a sender makes of the samples that the schedules say: the order of each series by first
// delivery and inside of a request, that no two requests in flight have samples of a series, the form of the labels, the
// values, and in the end that nothing is missing.
package verify

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/schedule"
	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/wire"
)

// Violation is a kind of what a sender must not do.
type Violation string

// The violations.
const (
	// OutOfOrder is a sample whose first delivery comes after a later one of its series.
	OutOfOrder Violation = "out_of_order"
	// InRequest is a sample that stands behind one in the same request that is not older.
	InRequest Violation = "out_of_order_in_request"
	// Overlap is a request that arrives while another one that has one of its series is in flight.
	Overlap Violation = "overlaps"
	// Labels is a series whose labels are not as the specification wants them.
	Labels Violation = "labels"
	// Resent is a sample that comes again though its delivery was acknowledged.
	Resent Violation = "resent"
	// WrongValue is a sample with another value than that of the schedule.
	WrongValue Violation = "wrong_values"
	// Unscheduled is a sample that nobody has sent.
	Unscheduled Violation = "unscheduled"
	// Malformed is a request that is no Remote-Write message, or has not the headers of one.
	Malformed Violation = "malformed"
)

// maxExamples is how many violations are described, and maxExample with how many bytes each.
const (
	maxExamples = 20
	maxExample  = 1000
)

// grace is how late a server may learn that a client has given up.
const grace = time.Second

// Verifier remembers of each series what it needs: about 60 bytes.
type Verifier struct {
	mu     sync.Mutex // guards what follows
	table  table
	series []series
	plans  [kinds][]*plan // the newest ones last
	epoch  int            // how often everything was forgotten
	// flights are the requests that have arrived and are not answered, by their numbers.
	flights map[uint32]*Flight
	last    uint32 // flight
	// doubtful are the samples that are stored, but which their sender has not been told to be.
	doubtful map[sampleID]struct{}
	report   Report
}

// series is what is known of a series.
type series struct {
	newest int64  // time of the newest sample that is stored, of those that are not wrong on purpose
	sent   int64  // time of the last sample in the last request
	flight uint32 // the last request
	identity
}

type sampleID struct {
	series uint32
	time   int64
}

// plan is a schedule and what has come of it.
type plan struct {
	schedule.Schedule
	faulty    bool     // some points are wrong on purpose
	delivered []uint32 // by stream and part
}

// kinds is the number of kinds, and of none.
const kinds = 6

// numberOf is the number of a kind, from 1.
func numberOf(kind schedule.Kind) uint8 { return uint8(1 + slices.Index(schedule.Kinds(), kind)) }

// Report is what was found.
type Report struct {
	Series    int `json:"series"`
	Delivered int `json:"delivered"` // samples, once each
	// Redelivered are the samples that came again because their sender could not know that they are stored; InDoubt are
	// those that have not come again yet.
	Redelivered int `json:"redelivered"`
	InDoubt     int `json:"in_doubt"`
	// OnPurpose are the samples of points that were wrong on purpose and came all the same.
	OnPurpose  map[string]int    `json:"wrong_on_purpose"`
	Violations map[Violation]int `json:"violations"`
	Examples   []string          `json:"examples"`
	// Expected is how many samples must have come by the schedules, Scheduled how many of them have, and Missing how many
	// have not. They are 0 before the number of steps is known.
	Expected  int `json:"expected"`
	Scheduled int `json:"scheduled"`
	Missing   int `json:"missing"`
}

// Total is the number of violations of all kinds.
func (r *Report) Total() (n int) {
	for _, v := range r.Violations {
		n += v
	}
	return n
}

// New returns a verifier that has seen nothing.
func New() *Verifier {
	v := &Verifier{}
	v.Reset()
	return v
}

// Reset forgets everything, the schedules too.
func (v *Verifier) Reset() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.table, v.series, v.plans = newTable(), nil, [kinds][]*plan{}
	v.epoch++
	v.flights, v.doubtful = make(map[uint32]*Flight), make(map[sampleID]struct{})
	v.report = Report{OnPurpose: make(map[string]int), Violations: make(map[Violation]int)}
}

// SetSchedules says what is sent besides what is known. A schedule that is known but for its number of steps is only
// completed.
func (v *Verifier) SetSchedules(schedules []schedule.Schedule) error {
	for i := range schedules {
		if err := schedules[i].Check(); err != nil {
			return err
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, s := range schedules {
		plans := &v.plans[numberOf(s.Kind)]
		at := slices.IndexFunc(*plans, func(p *plan) bool {
			known := p.Schedule
			known.Steps = s.Steps
			return known == s
		})
		if at >= 0 {
			(*plans)[at].Schedule = s
			continue
		}
		*plans = append(*plans, &plan{s, s.Errors.Any(), make([]uint32, s.Streams*s.Kind.Parts())})
	}
	return nil
}

// Flight is a request between its arrival and its answer.
type Flight struct {
	// Dice is the least of the numbers that the labels of its series are hashed to.
	Dice uint32

	number    uint32
	epoch     int
	ctx       context.Context
	request   *wire.Request
	series    []uint32 // the numbers of the request's series
	stored    bool
	half      bool // only half of the series are stored
	doubted   bool
	overtaken []overtake
}

// overtake is the arrival of another request with samples of the same series.
type overtake struct {
	number uint32
	series string
	at     time.Time
}

// Arrive takes up a request. What its context says is whether its client still waits for the answer. The flight can be one
// that has been settled.
func (v *Verifier) Arrive(ctx context.Context, f *Flight, r *wire.Request) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.last++
	*f = Flight{Dice: 1<<32 - 1, number: v.last, epoch: v.epoch, ctx: ctx, request: r, series: f.series[:0]}
	v.flights[f.number] = f
	// A loop of its own, because the processor then waits for the memory of many series at once.
	for i := range r.Series {
		f.series = append(f.series, v.lookup(r, &r.Series[i]))
	}
	for i, n := range f.series {
		s := &v.series[n]
		f.Dice = min(f.Dice, s.dice)
		if s.flight != f.number {
			if s.flight != 0 {
				v.overtake(s, f, &r.Series[i])
			}
			s.flight, s.sent = f.number, minTime
		}
		for _, sample := range r.Series[i].Samples {
			if sample.Time <= s.sent {
				v.violation(InRequest, "%s: %d after %d", v.describe(r, &r.Series[i]), sample.Time, s.sent)
			}
			s.sent = sample.Time
		}
	}
}

// overtake notes that a request has a series of one before it, if that is still in flight.
func (v *Verifier) overtake(s *series, f *Flight, of *wire.Series) {
	other := v.flights[s.flight]
	if other == nil {
		return
	}
	v.doubt(other)
	if n := len(other.overtaken); n == 0 || other.overtaken[n-1].number != f.number {
		other.overtaken = append(other.overtaken, overtake{f.number, v.describe(f.request, of), time.Now()})
	}
}

// Store stores the samples of a flight, unless everything was forgotten since it has arrived.
func (v *Verifier) Store(f *Flight) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if f.epoch != v.epoch {
		return
	}
	f.stored = true
	for i, n := range f.series {
		of := &f.request.Series[i]
		for j := range of.Samples {
			v.store(n, f.request, of, &of.Samples[j])
		}
	}
}

// StoreHalf stores the samples of half of all series, always the same ones, and returns how many samples these are.
func (v *Verifier) StoreHalf(f *Flight) (floats, histograms int) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if f.epoch != v.epoch {
		return 0, 0
	}
	f.stored, f.half = true, true
	for i, n := range f.series {
		if !f.has(n) {
			continue
		}
		of := &f.request.Series[i]
		for j := range of.Samples {
			if f.request.NativeOf(&of.Samples[j]) != nil {
				histograms++
			} else {
				floats++
			}
			v.store(n, f.request, of, &of.Samples[j])
		}
	}
	return floats, histograms
}

// has says whether the samples of a series are among those that are stored.
func (f *Flight) has(n uint32) bool { return !f.half || n%2 == 1 }

// Land ends a flight, before its answer is sent: what a client sends once it has seen the answer overtakes nothing.
func (v *Verifier) Land(f *Flight) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.flights, f.number)
	for _, o := range f.overtaken {
		if f.ctx.Err() == nil || time.Since(o.at) > grace {
			v.violation(Overlap, "%s: two requests in flight", o.series)
		}
	}
}

// Settle says whether the client has been told that the samples are stored.
func (v *Verifier) Settle(f *Flight, acknowledged bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if !acknowledged && f.epoch == v.epoch {
		v.doubt(f)
	}
}

// doubt notes that the samples of a flight may be sent again.
func (v *Verifier) doubt(f *Flight) {
	if !f.stored || f.doubted {
		return
	}
	f.doubted = true
	for i, n := range f.series {
		if !f.has(n) {
			continue
		}
		for _, sample := range f.request.Series[i].Samples {
			v.doubtful[sampleID{n, sample.Time}] = struct{}{}
		}
	}
}

// Malformed counts a request that cannot be read, or whose headers are wrong.
func (v *Verifier) Malformed(err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.violation(Malformed, "%v", err)
}

func (v *Verifier) violation(kind Violation, format string, args ...any) {
	v.report.Violations[kind]++
	if len(v.report.Examples) < maxExamples {
		text := fmt.Sprintf("%s: ", kind) + fmt.Sprintf(format, args...)
		v.report.Examples = append(v.report.Examples, text[:min(len(text), maxExample)])
	}
}

// describe names a series, unless nobody would read it.
func (v *Verifier) describe(r *wire.Request, s *wire.Series) string {
	if len(v.report.Examples) >= maxExamples {
		return ""
	}
	labels, err := r.Labels(s)
	if err != nil {
		return err.Error()
	}
	return rwtest.SeriesKey(labels)
}

// Delivered is how many samples were stored, once each, those that are wrong on purpose included.
func (v *Verifier) Delivered() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	n := v.report.Delivered
	for _, wrong := range v.report.OnPurpose {
		n += wrong
	}
	return n
}

// Report says what was found until now.
func (v *Verifier) Report() Report {
	r, plans := v.snapshot()
	// Outside of the lock, because it takes seconds for many points of which some are wrong on purpose.
	for _, p := range plans {
		p.complete(&r)
	}
	return r
}

// snapshot copies the report and the plans.
func (v *Verifier) snapshot() (Report, []*plan) {
	v.mu.Lock()
	defer v.mu.Unlock()
	r := v.report
	r.Series, r.InDoubt = len(v.series), len(v.doubtful)
	r.OnPurpose, r.Violations = maps.Clone(r.OnPurpose), maps.Clone(r.Violations)
	r.Examples = append([]string{}, r.Examples...)
	var plans []*plan
	for _, of := range v.plans {
		for _, p := range of {
			plans = append(plans, &plan{p.Schedule, p.faulty, slices.Clone(p.delivered)})
		}
	}
	return r, plans
}

// complete adds what of a plan has come and what is missing.
func (p *plan) complete(r *Report) {
	parts := p.Kind.Parts()
	for stream := range p.Streams {
		expected := p.Expected(stream)
		r.Expected += expected * parts
		for part, n := range p.delivered[stream*parts : (stream+1)*parts] {
			r.Scheduled += int(n)
			missing := expected - int(n)
			if p.Steps == 0 || missing <= 0 {
				continue
			}
			r.Missing += missing
			if len(r.Examples) < maxExamples {
				r.Examples = append(r.Examples, fmt.Sprintf("missing: %s, stream %d, part %d: %d of %d samples", p.Kind, p.First+stream, part, missing, expected))
			}
		}
	}
}
