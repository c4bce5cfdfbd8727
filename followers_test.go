// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// followerSource makes random series of random points, in a row as the translation does, and what 1.0 has for them.
type followerSource struct {
	*rand.Rand
	t     *translator
	names []seriesName
	extra extraLabel
	// bounds are those of histograms.
	bounds *boundSet
	// message has the bytes of all series.
	message []byte
	s       *segment
}

func newFollowerSource(r *rand.Rand, limits BatchConfig) *followerSource {
	src := &followerSource{Rand: r, t: newTranslator(testTranslation(configOf(nil)), newBoundMemory(time.Hour), nil), s: &segment{limits: &limits}}
	src.bounds = newBoundSet(leLabel, []float64{0.005, 0.01, 0.25, 1, 2.5, 1e6, 0.1 + 0.2})
	for _, name := range []string{"a", "b", "http_server_request_duration_seconds_bucket", "http_server_request_duration_seconds_sum", strings.Repeat("n", 150)} {
		src.names = append(src.names, src.t.namer.seriesName(name))
	}
	src.s.reset(wire.V1)
	src.context()
	return src
}

// value is a label value of some length, mostly one that was there before.
func (r *followerSource) value() string {
	n := r.IntN(1 << (1 + r.IntN(8)))
	if r.IntN(200) == 0 {
		n = r.IntN(40_000)
	}
	return strings.Repeat(pick(r.Rand, "v", "ab", "0123456789", "x-", "\u00e4"), 1+n/4) + fmt.Sprint(r.IntN(1<<r.IntN(12)))
}

// context changes the labels that are not a point's own.
func (r *followerSource) context() {
	var labels []constLabel
	for _, name := range []string{"A", "instance", "job", "zone"} {
		if r.IntN(3) > 0 {
			labels = append(labels, constLabel{name: name, value: r.value()})
		}
	}
	r.t.setContext(labels, nil)
}

// attributes are labels in front of __name__, and between it, le and quantile, and behind.
func (r *followerSource) attributes() pcommon.Map {
	m := pcommon.NewMap()
	for _, key := range []string{"B", "Z", "code", "host", "l", "lf", "path", "quantila", "route", "z"} {
		if r.IntN(8) > 0 {
			m.PutStr(key, pick(r.Rand, r.value(), "const", "const", ""))
		}
	}
	return m
}

func (r *followerSource) bits() float64 {
	return pick(r.Rand, 0, 1, float64(r.IntN(10)), float64(r.IntN(10_000)), r.Float64(), math.Float64frombits(r.Uint64()), wire.StaleNaN, math.Copysign(0, -1))
}

// point adds the series of a point.
func (r *followerSource) point() {
	ls := r.t.labeler.labelSet(r.attributes(), &r.t.context, plainKind)
	n := 1 + r.IntN(2)*r.IntN(1+r.IntN(40))
	p := point{timestamp: 1_700_000_000_000 + r.Int64N(1000), siblings: pick(r.Rand, minSiblings, minSiblings, minSiblings, n)}
	bounds := r.bounds
	quantiles := newBoundSet(quantileLabel, []float64{0, 0.5, 0.99, 1})
	kind, steady := r.IntN(5), r.IntN(4)
	for i := range n {
		p.value = r.bits()
		if steady > 0 && p.value == 0 {
			p.value = float64(i + 1)
		}
		if r.IntN(10) == 0 {
			p.timestamp = pick(r.Rand, 1, -1, p.timestamp+1, r.Int64())
		}
		sr := series{
			labels: ls, name: &r.names[2], le: &noLabel, quantile: &noLabel, point: &p, metadata: &metricMetadata{},
		}
		if steady == 0 || r.IntN(10) == 0 {
			sr.name = &r.names[r.IntN(len(r.names))]
		}
		switch kind {
		case 0:
			sr.le = &bounds.labels[i%len(bounds.labels)]
		case 1:
			sr.quantile = &quantiles.labels[i%len(quantiles.labels)]
		case 2:
			// What has attributes of these names is in the same place each time.
			sr.le = r.extra.set(leLabel, fmt.Sprint(i/2))
		case 3:
			sr.le, sr.quantile = &bounds.labels[i%2], &quantiles.labels[r.IntN(len(quantiles.labels))]
		}
		if i >= len(bounds.labels) && r.IntN(2) == 0 {
			sr.le, sr.quantile = &noLabel, &noLabel
		}
		p.exemplars, p.histogram = nil, nil
		for range r.IntN(8) - 5 {
			p.exemplars = append(p.exemplars, wire.Exemplar{
				Labels: []wire.Label{{Name: "trace_id", Value: fmt.Sprintf("%032x", r.Uint64())}, {Name: "n", Value: r.value()}},
				Value:  r.bits(), Timestamp: p.timestamp,
			})
		}
		if r.IntN(50) == 0 {
			p.histogram = &wire.Histogram{Count: r.Uint64()}
		}
		r.add(&sr)
	}
}

// metric adds points, each a series or those of a histogram, which differ in some values of the same attributes.
func (r *followerSource) metric() {
	attributes := r.attributes()
	other := r.attributes()
	sr := series{name: &r.names[r.IntN(len(r.names))], le: &noLabel, quantile: &noLabel, metadata: &metricMetadata{}}
	histograms := r.IntN(2) == 0
	for range r.IntN(1 + r.IntN(60)) {
		for key, value := range attributes.All() {
			switch s := value.Str(); {
			case r.IntN(4) > 0:
			case s == "" || r.IntN(4) == 0:
				attributes.PutStr(key, pick(r.Rand, r.value(), r.value(), ""))
			default:
				// Of the same length, as are most.
				b := []byte(s)
				b[r.IntN(len(b))] = byte('a' + r.IntN(26))
				attributes.PutStr(key, string(b))
			}
		}
		of := attributes
		if r.IntN(10) == 0 {
			of = other
		}
		sr.labels = r.t.labeler.labelSet(of, &r.t.context, plainKind)
		sr.point = &point{timestamp: 1_700_000_000_000 + r.Int64N(2), value: r.bits(), siblings: pick(r.Rand, minSiblings, minSiblings, minSiblings, 0)}
		if r.IntN(20) == 0 {
			sr.point.exemplars = []wire.Exemplar{{Value: r.bits(), Timestamp: sr.point.timestamp}}
		}
		if histograms {
			r.histogram(sr)
		} else {
			r.add(&sr)
		}
	}
}

// histogram adds series of a point as those of a histogram.
func (r *followerSource) histogram(sr series) {
	sr.name = &r.names[2]
	for i := range r.bounds.labels {
		sr.le = &r.bounds.labels[i]
		r.add(&sr)
		sr.point.value++
	}
	sr.le = &noLabel
	for _, name := range []int{3, 0} {
		sr.name = &r.names[name]
		r.add(&sr)
	}
}

func (r *followerSource) add(sr *series) {
	r.s.makeRoom(sr)
	r.s.add(sr)
	p, b := sr.point, []byte(nil)
	if p.histogram != nil {
		b, _ = wire.AppendHistogram(b, p.histogram, p.timestamp, nil)
	} else {
		b = wire.AppendSample(b, p.value, p.timestamp)
	}
	for i := range p.exemplars {
		b = wire.AppendExemplar(b, &p.exemplars[i])
	}
	r.message = wire.AppendSeriesHeader(r.message, sr.labelsSize()+len(b))
	r.message = append(sr.appendLabels(r.message), b...)
}

// TestFollowers: what the series of histograms and summaries are written as, with others between them, is what 1.0 has for them,
// byte for byte, for every decoder of Snappy, however it is cut and joined.
func TestFollowers(t *testing.T) {
	s := seed(t)
	for round := range uint64(150) {
		r := rand.New(rand.NewPCG(s, round))
		limits := BatchConfig{MaxSamples: pick(r, 1, 50, 1<<20), MaxSizeBytes: ByteSize(pick(r, 10_000, 1<<30))}
		src := newFollowerSource(r, limits)
		q := newQueue(queueOptions{partitions: 1}, account.NewLedger())
		p := q.partitions[0]
		for range 1 + r.IntN(4) {
			for range r.IntN(1 << r.IntN(8)) {
				if r.IntN(5) == 0 {
					src.context()
				}
				if r.IntN(3) == 0 {
					src.metric()
				} else {
					src.point()
				}
			}
			src.s.finish()
			for i := range src.s.chunks {
				c := &src.s.chunks[i].chunk
				c.accepted = time.Now()
				asked := c.cost()
				q.mu.Lock()
				before := p.size
				work := p.appendLocked(&p.good, c, &BatchConfig{MaxSamples: 1 << 20, MaxSizeBytes: 1 << 30}, nil)
				assert.LessOrEqual(t, p.size-before, asked, "what is asked for is enough")
				q.used += p.size - before
				q.mu.Unlock()
				for _, c := range work {
					go q.pack(c)
				}
			}
			src.s.reset(wire.V1)
		}
		if p.good.open == nil {
			continue
		}
		chunks, size := p.good.open.chunks, 0
		for _, c := range chunks {
			size += c.sizes.plain
		}
		sent := body(wire.V1, chunks)
		requireMessage(t, src.message, sent)
		assert.Equal(t, len(src.message), size, "the size that is counted")
		assert.LessOrEqual(t, len(sent), len(src.message)+len(src.message)/1000+100*len(chunks))
	}
}
