// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/prometheus/prompb"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
)

// Payload is one call's worth of metrics, with what it must become.
type Payload struct {
	Metrics pmetric.Metrics
	// Native is what it becomes as configured, Classic what it becomes after 1.0 was fallen back to.
	Native, Classic Expectation
	// Wild says that nothing is known of what it becomes.
	Wild bool
}

// Expectation is what a payload becomes.
type Expectation struct {
	// Points are the samples in the order of the payload, several of one time included.
	Points []Point
	// Targets are the samples of target_info, which are made for the resources.
	Targets []Point
	// Drops are the points that cannot be translated, by reason.
	Drops map[string]int
}

// total is how many samples a refused payload counts as.
func (e *Expectation) total() int {
	n := len(e.Points) + len(e.Targets)
	for _, dropped := range e.Drops {
		n += dropped
	}
	return n
}

// Payloads makes the payloads of one producer, whose series are its own. It is not for concurrent use.
type Payloads struct {
	rnd      *rand.Rand
	settings *Settings
	left     int
	perTurn  int
	streams  []*stream
	hosts    []string
	// clock is the time of the producer's points.
	clock int64
	PayloadOptions
	before []*Payload
	// damages counts the errors, by kind.
	damages map[string]int

	// The payload in the making. latest is the time of each resource's newest sample.
	payload *Payload
	metrics map[metricKey]pmetric.Metric
	scopes  map[scopeKey]pmetric.MetricSlice
	latest  []int64
}

type metricKey struct {
	scope scopeKey
	name  string
	kind  pmetric.MetricType
	delta pmetric.AggregationTemporality
}

type scopeKey struct {
	resource int
	named    bool
}

// kinds are the types of metrics.
var kinds = []pmetric.MetricType{
	pmetric.MetricTypeGauge, pmetric.MetricTypeSum, pmetric.MetricTypeHistogram, pmetric.MetricTypeExponentialHistogram, pmetric.MetricTypeSummary,
}

// PayloadOptions say what a producer's payloads are like.
type PayloadOptions struct {
	// Kinds are the types of metrics; none are all.
	Kinds []pmetric.MetricType
	// Permille is the probability of an error in a point.
	Permille int
	// Start is the time of the first points.
	Start time.Time
	// Damages are the kinds of errors in points; none are all.
	Damages []string
	// NoExemplars leaves them out.
	NoExemplars bool
	// Pace is the most time between two payloads, by their points, and Jump how far a broken clock jumps at most; 0 is 15 s
	// and an hour.
	Pace, Jump time.Duration
	// Simple leaves out what needs more than attributes, job and instance to translate, and Late makes some points late.
	Simple, Late bool
}

func newPayloads(r *rand.Rand, s *Settings, number int, o *PayloadOptions) *Payloads {
	p := &Payloads{
		rnd: r, settings: s, left: 2 + r.IntN(40), perTurn: 1 + r.IntN(40), clock: o.Start.UnixMilli(), PayloadOptions: *o, damages: make(map[string]int),
	}
	if p.Kinds == nil {
		p.Kinds = kinds
	}
	if p.Damages == nil {
		p.Damages = anyDamage
	}
	if p.Pace == 0 {
		p.Pace, p.Jump = 15*time.Second, time.Hour
	}
	if s.MaxSamples < 20 {
		// What makes many requests anyway.
		p.left, p.perTurn = min(p.left, 10), min(p.perTurn, 8)
	}
	for i := range 1 + r.IntN(2) {
		p.hosts = append(p.hosts, pick(r, "", "h"+strconv.Itoa(i)))
	}
	for i := range 1 + r.IntN(40) {
		st := &stream{
			kind: p.Kinds[i%len(p.Kinds)], resource: r.IntN(len(p.hosts)), named: !p.Simple && r.IntN(3) == 0, monotonic: r.IntN(2) == 0,
			scale: pick[int32](r, 0, 3, 8, 10), last: p.clock,
		}
		st.name(p, number, i)
		p.streams = append(p.streams, st)
	}
	return p
}

func (p *Payloads) happens() bool { return p.rnd.IntN(1000) < p.Permille }

// Next returns the next payload, or nil.
func (p *Payloads) Next() *Payload {
	if p.left--; p.left < 0 {
		return nil
	}
	// With storage nobody could tell which time it was accepted.
	if n := len(p.before); n > 0 && p.happens() && !p.settings.Storage {
		p.damages["payload again"]++
		return p.before[p.rnd.IntN(n)]
	}
	p.begin()
	p.tick()
	p.rnd.Shuffle(len(p.streams), func(i, j int) { p.streams[i], p.streams[j] = p.streams[j], p.streams[i] })
	for _, st := range p.streams[:min(p.perTurn, len(p.streams))] {
		for range 1 + p.rnd.IntN(3) {
			p.point(st)
		}
	}
	p.addTargets()
	if p.before = append(p.before, p.payload); len(p.before) > 5 {
		p.before = p.before[1:]
	}
	return p.payload
}

func (p *Payloads) begin() {
	p.payload = &Payload{
		Metrics: pmetric.NewMetrics(),
		Native:  Expectation{Drops: make(map[string]int)},
		Classic: Expectation{Drops: make(map[string]int)},
	}
	p.metrics, p.scopes = make(map[metricKey]pmetric.Metric), make(map[scopeKey]pmetric.MetricSlice)
	p.latest = make([]int64, len(p.hosts))
	for range p.hosts {
		p.payload.Metrics.ResourceMetrics().AppendEmpty()
	}
}

// tick moves the producer's clock, which jumps now and then if it is a broken one.
func (p *Payloads) tick() {
	p.clock += p.rnd.Int64N(p.Pace.Milliseconds())
	if p.happens() {
		p.damages["clock jumps"]++
		p.clock += pick[int64](p.rnd, -1, 1) * p.rnd.Int64N(p.Jump.Milliseconds())
	}
}

// metricsOf returns the metrics of a stream's resource and scope.
func (p *Payloads) metricsOf(st *stream) pmetric.MetricSlice {
	key := scopeKey{st.resource, st.named}
	if slice, ok := p.scopes[key]; ok {
		return slice
	}
	rm := p.payload.Metrics.ResourceMetrics().At(st.resource)
	attributes := rm.Resource().Attributes()
	attributes.PutStr("service.name", "chaos")
	attributes.PutStr("service.instance.id", st.instance)
	if host := p.hosts[st.resource]; host != "" {
		attributes.PutStr("host", host)
	}
	sm := rm.ScopeMetrics().AppendEmpty()
	if st.named {
		sm.Scope().SetName("lib")
		sm.Scope().SetVersion("1.2")
	}
	p.scopes[key] = sm.Metrics()
	return sm.Metrics()
}

// expect adds what a point becomes.
func (p *Payloads) expect(st *stream, native, classic []Point) {
	p.payload.Native.Points = append(p.payload.Native.Points, native...)
	p.payload.Classic.Points = append(p.payload.Classic.Points, classic...)
	p.latest[st.resource] = max(p.latest[st.resource], native[0].Timestamp)
}

// expectDrop adds a point that cannot be translated.
func (p *Payloads) expectDrop(reason string) {
	p.payload.Native.Drops[reason]++
	p.payload.Classic.Drops[reason]++
}

// addTargets adds target_info: one sample for each resource that has other attributes than those of job and instance, with
// the time of the resource's newest sample (OpenTelemetry, "Prometheus and OpenMetrics Compatibility", "Resource Attributes").
func (p *Payloads) addTargets() {
	for i, ts := range p.latest {
		host := p.hosts[i]
		if ts == 0 || host == "" || !p.settings.TargetInfo {
			continue
		}
		labels := []prompb.Label{{Name: "__name__", Value: p.prefixed("target_info")}, {Name: "host", Value: host}}
		for _, st := range p.streams {
			if st.resource == i {
				labels = append(labels, prompb.Label{Name: "job", Value: "chaos"}, prompb.Label{Name: "instance", Value: st.instance})
				break
			}
		}
		target := Point{rwtest.SeriesKey(p.external(labels)), floatSample(ts, 1)}
		p.payload.Native.Targets = append(p.payload.Native.Targets, target)
		p.payload.Classic.Targets = append(p.payload.Classic.Targets, target)
	}
}

func (p *Payloads) prefixed(name string) string {
	if p.settings.Namespace != "" {
		return p.settings.Namespace + "_" + name
	}
	return name
}

// external adds the external labels, of which a label of the same name takes the place.
func (p *Payloads) external(labels []prompb.Label) []prompb.Label {
	for name, value := range p.settings.ExternalLabels {
		if !slices.ContainsFunc(labels, func(l prompb.Label) bool { return l.Name == name }) {
			labels = append(labels, prompb.Label{Name: name, Value: value})
		}
	}
	return labels
}

// metric returns the metric to which a stream's next point goes. Points of one metric may be those of several streams.
func (p *Payloads) metric(st *stream, name string, temporality pmetric.AggregationTemporality) pmetric.Metric {
	key := metricKey{scopeKey{st.resource, st.named}, name + strconv.FormatBool(st.monotonic), st.kind, temporality}
	if m, ok := p.metrics[key]; ok {
		return m
	}
	m := p.metricsOf(st).AppendEmpty()
	m.SetName(name)
	m.SetUnit(st.unit)
	m.SetDescription("what chaos makes")
	switch st.kind {
	case pmetric.MetricTypeGauge:
		m.SetEmptyGauge()
	case pmetric.MetricTypeSum:
		m.SetEmptySum().SetAggregationTemporality(temporality)
		m.Sum().SetIsMonotonic(st.monotonic)
	case pmetric.MetricTypeHistogram:
		m.SetEmptyHistogram().SetAggregationTemporality(temporality)
	case pmetric.MetricTypeExponentialHistogram:
		m.SetEmptyExponentialHistogram().SetAggregationTemporality(temporality)
	default:
		m.SetEmptySummary()
	}
	p.metrics[key] = m
	return m
}

// wildPayloads are hostile metrics of which nobody says what they become. From a time on, if it is given, no two payloads
// have points of one time.
func wildPayloads(r *rand.Rand, left int, from time.Time) func() *Payload {
	shift := time.Duration(0)
	return func() *Payload {
		if left--; left < 0 {
			return nil
		}
		md := rwtest.Hostile(r)
		if shift += time.Second; !from.IsZero() {
			rwtest.EachPoint(md, func(_ pmetric.Metric, dp rwtest.Point) {
				if ts := dp.Timestamp(); ts != 0 {
					dp.SetTimestamp(pcommon.NewTimestampFromTime(from.Add(shift)) + ts%1e6)
				}
			})
		}
		return &Payload{Metrics: md, Wild: true}
	}
}
