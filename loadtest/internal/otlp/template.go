// SPDX-License-Identifier: Apache-2.0

// Package otlp makes OTLP requests of a schedule's points. A request is built once; then the times, the values and the
// digits that tell streams and resources apart are changed in place, because to marshal each request would cost more than
// most of what is to be measured.
package otlp

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/schedule"
)

// Template is a request of PerRequest points of one schedule. It must not be used concurrently.
type Template struct {
	schedule *schedule.Schedule
	body     []byte
	points   []point
	// resources are the places of what tells a resource from others, temporality that of the metric's temporality for each
	// of them.
	resources     []resource
	temporalities []int
}

// point has the places of what changes of a point.
type point struct {
	field              int // the tag of the point in its metric
	start, time, flags int
	series             int // the letter and the digits of the series attribute
	key, text          int // of the attribute that can go bad
	value              int // the value of a number, or the first bucket or quantile
	count, sum         int
}

func (p *point) move(by int) {
	for _, at := range []*int{&p.field, &p.start, &p.time, &p.flags, &p.series, &p.key, &p.text, &p.value, &p.count, &p.sum} {
		*at += by
	}
}

// resource has the places of a resource's identity.
type resource struct{ instance, pod, uid, node int }

func (r *resource) move(by int) {
	for _, at := range []*int{&r.instance, &r.pod, &r.uid, &r.node} {
		*at += by
	}
}

// flexibleVarint is how many bytes a varint takes whose value can be changed in place.
const flexibleVarint = 5

// New builds the request of a schedule, with so many attributes for each point.
func New(s *schedule.Schedule, attributes int) (*Template, error) {
	if err := s.Check(); err != nil {
		return nil, err
	}
	if attributes < 2 {
		return nil, fmt.Errorf("attributes: must be at least 2, not %d", attributes)
	}
	t := &Template{schedule: s}
	perResource := min(s.PerResource, s.PerRequest)
	for first := 0; first < s.PerRequest; first += perResource {
		t.appendResource(perResource, attributes)
	}
	return t, nil
}

// appendResource adds ResourceMetrics of so many points to the request.
func (t *Template) appendResource(points, attributes int) {
	var data []byte
	var made []point
	for i := range points {
		b, p := t.point(i, attributes)
		data = protowire.AppendTag(data, 1, protowire.BytesType)
		field := len(data) - 1
		data = protowire.AppendVarint(data, uint64(len(b)))
		p.move(len(data))
		p.field = field
		data = append(data, b...)
		made = append(made, p)
	}
	temporality := -1
	if t.schedule.Kind.Temporal() {
		data = protowire.AppendTag(data, 2, protowire.VarintType)
		temporality = len(data)
		data = append(data, cumulative)
	}
	if t.schedule.Kind == schedule.Sum {
		data = append(protowire.AppendTag(data, 3, protowire.VarintType), 1)
	}
	// What is already there moves behind what each message has in front of it.
	moved := 0
	nest := func(front []byte, field protowire.Number) {
		head := protowire.AppendVarint(protowire.AppendTag(front, field, protowire.BytesType), uint64(len(data)))
		data = append(head, data...)
		moved += len(head)
	}
	nest(t.metricHead(), metricData[t.schedule.Kind])
	scope := appendString(nil, 1, "github.com/example/instrumentation")
	nest(appendNested(nil, 1, appendString(scope, 2, "1.4.2")), 2)
	identity, r := resourceAttributes()
	front := appendNested(nil, 1, identity)
	r.move(len(front) - len(identity))
	nest(front, 2)
	t.body = protowire.AppendVarint(protowire.AppendTag(t.body, 1, protowire.BytesType), uint64(len(data)))
	base := len(t.body)
	t.body = append(t.body, data...)

	r.move(base)
	t.resources = append(t.resources, r)
	for _, p := range made {
		p.move(base + moved)
		t.points = append(t.points, p)
	}
	if temporality >= 0 {
		t.temporalities = append(t.temporalities, base+moved+temporality)
	}
}

// The values of AggregationTemporality.
const (
	delta      = 1
	cumulative = 2
)

// metricData is the field of a Metric that has the points of a kind.
var metricData = map[schedule.Kind]protowire.Number{
	schedule.Gauge: 5, schedule.Sum: 7, schedule.Histogram: 9, schedule.ExponentialHistogram: 10, schedule.Summary: 11,
}

func (t *Template) metricHead() []byte {
	b := appendString(nil, 1, t.schedule.Kind.Metric())
	return appendString(b, 2, "Made for the load test.")
}

// appendTime adds the fields of the start and the time.
func (p *point) appendTime(b []byte) []byte {
	b = protowire.AppendFixed64(protowire.AppendTag(b, 2, protowire.Fixed64Type), 0)
	p.start = len(b) - 8
	b = protowire.AppendFixed64(protowire.AppendTag(b, 3, protowire.Fixed64Type), 0)
	p.time = len(b) - 8
	return b
}

// fixed adds a field of 8 bytes and returns its place.
func fixed(b []byte, field protowire.Number, v uint64) ([]byte, int) {
	b = protowire.AppendFixed64(protowire.AppendTag(b, field, protowire.Fixed64Type), v)
	return b, len(b) - 8
}

// point encodes the point number i of its resource.
func (t *Template) point(i, attributes int) ([]byte, point) {
	var p point
	b := p.appendTime(nil)
	kind := t.schedule.Kind
	attributesField, flagsField := protowire.Number(7), protowire.Number(8)
	switch kind {
	case schedule.Gauge, schedule.Sum:
		b, p.value = fixed(b, 4, 0)
	case schedule.Histogram:
		attributesField, flagsField = 9, 10
		b, p.count = fixed(b, 4, 0)
		b, p.sum = fixed(b, 5, 0)
		b = protowire.AppendVarint(protowire.AppendTag(b, 6, protowire.BytesType), 8*(schedule.Bounds+1))
		p.value = len(b)
		b = append(b, make([]byte, 8*(schedule.Bounds+1))...)
		b = protowire.AppendVarint(protowire.AppendTag(b, 7, protowire.BytesType), 8*schedule.Bounds)
		for bucket := range schedule.Bounds {
			b = protowire.AppendFixed64(b, math.Float64bits(schedule.Bound(bucket)))
		}
	case schedule.ExponentialHistogram:
		attributesField, flagsField = 1, 10
		b, p.count = fixed(b, 4, 0)
		b, p.sum = fixed(b, 5, 0)
		b = protowire.AppendVarint(protowire.AppendTag(b, 6, protowire.VarintType), protowire.EncodeZigZag(schedule.ExponentialScale))
		counts := make([]byte, flexibleVarint*schedule.ExponentialBuckets)
		positive := protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), protowire.EncodeZigZag(schedule.ExponentialOffset))
		positive = appendNested(positive, 2, counts)
		b = appendNested(b, 8, positive)
		p.value = len(b) - len(counts)
	case schedule.Summary:
		b, p.count = fixed(b, 4, 0)
		b, p.sum = fixed(b, 5, 0)
		for q := range schedule.Quantiles {
			quantile, _ := fixed(nil, 1, math.Float64bits(schedule.Quantile(q)))
			quantile, _ = fixed(quantile, 2, 0)
			b = appendNested(b, 6, quantile)
			if q == 0 {
				p.value = len(b) - 8
			}
		}
	}
	b = p.appendAttributes(b, attributesField, i, attributes)
	b = append(protowire.AppendTag(b, flagsField, protowire.VarintType), 0)
	p.flags = len(b) - 1
	return b, p
}

// quantileSize is how far the values of two quantiles are apart: two fields of 8 bytes, and the head of their message.
const quantileSize = 2 + 2*9

// Body is the request as it was set last. It is valid until the next call of Set.
func (t *Template) Body() []byte { return t.body }

// Points is how many points the request has, those that are gaps included.
func (t *Template) Points() int { return len(t.points) }

// Set makes the request the one of that number at a step, and counts its points by their faults.
func (t *Template) Set(request, step int, counts *Counts) {
	s := t.schedule
	first := request * s.PerRequest
	for i := range t.resources {
		r := first/s.PerResource + i
		t.setResource(&t.resources[i], s.First+r, s.Generation(r, step))
	}
	temporality := byte(cumulative)
	if s.IsDelta(request, step) {
		temporality = delta
	}
	for _, at := range t.temporalities {
		t.body[at] = temporality
	}
	if s.Errors.Any() {
		for i := range t.points {
			f := s.Fault(first+i, step)
			counts[f]++
			t.setWrong(&t.points[i], first+i, step, f)
		}
		return
	}
	counts[schedule.None] += len(t.points)
	for i := range t.points {
		p := &t.points[i]
		t.setIdentity(p, 's', s.First+first+i)
		t.setPoint(p, first+i, step, s.Time(step))
	}
}

// Counts are numbers of points by their faults.
type Counts [schedule.Delta + 1]int

// Sent is how many of the points are sent: all but the gaps.
func (c *Counts) Sent() (n int) {
	for f, points := range c {
		if schedule.Fault(f) != schedule.Gap {
			n += points
		}
	}
	return n
}

// setPoint sets times and values of the point.
func (t *Template) setPoint(p *point, stream, step int, millis int64) {
	s, b := t.schedule, t.body
	put := binary.LittleEndian.PutUint64
	put(b[p.time:], uint64(millis)*1e6)
	if s.Kind == schedule.Gauge {
		put(b[p.value:], math.Float64bits(schedule.Level(stream, step, 0)))
		return
	}
	age := s.Age(stream, step)
	put(b[p.start:], uint64(s.Time(step-age))*1e6)
	switch s.Kind {
	case schedule.Sum:
		put(b[p.value:], math.Float64bits(schedule.Added(stream, age)))
	case schedule.Histogram:
		put(b[p.count:], uint64(schedule.Count(stream, schedule.Bounds, age)))
		put(b[p.sum:], math.Float64bits(schedule.Total(stream, age)))
		counts := b[p.value : p.value+8*(schedule.Bounds+1)]
		for bucket := 0; bucket <= schedule.Bounds; bucket++ {
			put(counts[8*bucket:], uint64(age*schedule.Increment(stream, bucket)))
		}
	case schedule.ExponentialHistogram:
		put(b[p.count:], uint64(schedule.Count(stream, schedule.ExponentialBuckets-1, age)))
		put(b[p.sum:], math.Float64bits(schedule.Total(stream, age)))
		for bucket := range schedule.ExponentialBuckets {
			putVarint(b[p.value+flexibleVarint*bucket:], uint64(age*schedule.Increment(stream, bucket)))
		}
	case schedule.Summary:
		put(b[p.count:], uint64(schedule.Observations(stream, age)))
		put(b[p.sum:], math.Float64bits(schedule.Total(stream, age)))
		for q := range schedule.Quantiles {
			put(b[p.value+quantileSize*q:], math.Float64bits(schedule.Level(stream, step, q)))
		}
	}
}

// putVarint writes a number as a varint of flexibleVarint bytes, most of which may say nothing.
func putVarint(b []byte, v uint64) {
	for i := range flexibleVarint - 1 {
		b[i] = byte(v) | 0x80
		v >>= 7
	}
	b[flexibleVarint-1] = byte(v) & 0x7f
}

// What the tag of a point is made to hide it: a field that OTLP does not have, which readers skip.
const (
	pointTag  = 1<<3 | byte(protowire.BytesType)
	hiddenTag = 15<<3 | byte(protowire.BytesType)
)

// setWrong sets everything of a point that may be wrong.
func (t *Template) setWrong(p *point, stream, step int, f schedule.Fault) {
	s, b := t.schedule, t.body
	letter, valuesOf := byte('s'), step
	if f.Hostile() {
		letter = 'x'
	}
	if f == schedule.Duplicate {
		valuesOf = step - 1
	}
	t.setIdentity(p, letter, s.First+stream)
	t.setPoint(p, stream, valuesOf, s.PointTime(step, f))
	b[p.field], b[p.flags] = pointTag, 0
	copy(b[p.key:], goodKey)
	copy(b[p.text:], goodText)
	switch f {
	case schedule.Gap:
		b[p.field] = hiddenTag
	case schedule.Stale:
		b[p.flags] = 1
	case schedule.BadLabel:
		copy(b[p.key:], badKey)
	case schedule.BadUTF8:
		copy(b[p.text:], badText)
	}
}

func appendNested(b []byte, field protowire.Number, content []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, field, protowire.BytesType), content)
}

func appendString(b []byte, field protowire.Number, s string) []byte {
	return appendNested(b, field, []byte(s))
}

// Clone returns a template that can be changed independently.
func (t *Template) Clone() *Template {
	c := *t
	c.body = slices.Clone(t.body)
	return &c
}
