package orderedremotewriteexporter

import (
	"cmp"
	"context"
	"strings"
	"time"

	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/block"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// chaosModel says what a producer's payloads become. It translates like the exporter does, and shares nothing with it.
type chaosModel struct {
	translator *translator
}

// modelPoint is a point that a payload becomes.
type modelPoint struct {
	wirePoint
	partition int
	guard     guardKind
	// target is the target of a target_info.
	target string
}

// attemptOf is one call of ConsumeMetrics.
type attemptOf struct {
	producer int
	points   []modelPoint
	drops    [account.Reasons]int
	// samples is all of the payload, dropped or not.
	samples int
	// returned is when the call returned, and err what.
	returned time.Time
	err      error
}

// translate takes down what the payload becomes.
func (m *chaosModel) translate(md pmetric.Metrics, p wire.Protocol) (*attemptOf, error) {
	t := m.translator
	defer t.reset()
	if err := t.translate(context.Background(), md, p); err != nil {
		return nil, err
	}
	a := &attemptOf{samples: t.points}
	for r := range t.drops {
		a.drops[r] = t.drops[r].Count
	}
	for _, i := range t.touched {
		s := &t.segments[i]
		for _, f := range s.full {
			if err := m.add(a, i, p, block.Decompress(f.batch.body), f.index); err != nil {
				return nil, err
			}
		}
		if s.Samples > 0 {
			if err := m.add(a, i, p, block.Decompress(s.body()), s.index); err != nil {
				return nil, err
			}
		}
	}
	return a, nil
}

// add adds the points of one message of a partition.
func (m *chaosModel) add(a *attemptOf, partition int, p wire.Protocol, raw []byte, index []indexEntry) error {
	points, _, err := decodePoints(p, raw)
	if err != nil {
		return err
	}
	kinds := make(map[int]guardKind)
	for _, e := range index {
		kinds[e.number] = e.guard
	}
	for i, pt := range points {
		mp := modelPoint{wirePoint: pt, partition: partition, guard: kinds[i]}
		if mp.guard > guarded {
			mp.target = "target " + labelOf(pt.series, jobLabel) + labelOf(pt.series, instanceLabel)
		}
		a.points = append(a.points, mp)
	}
	return nil
}

// labelOf returns the quoted value of a label in a series key, or "".
func labelOf(series, name string) string {
	for _, start := range []string{"{" + name + `="`, "," + name + `="`} {
		_, rest, ok := strings.Cut(series, start)
		if !ok {
			continue
		}
		for i := 0; i < len(rest); i++ {
			switch rest[i] {
			case '\\':
				i++
			case '"':
				return rest[:i+1]
			}
		}
	}
	return `""`
}

// seriesHistory is the points of a series in the order in which they were accepted.
type seriesHistory struct {
	partition int
	points    []pointValue
	accepted  []time.Time
	at        map[pointValue][]int
	// last is the last request with each point.
	last []*exchange
	// floor is the index of the first point that may still be sent.
	floor int
	// request is the last one that had the series, first and latest the indices of its points.
	request       *exchange
	first, latest int
}

// prediction is what the accepted payloads must lead to.
type prediction struct {
	series map[string]*seriesHistory
	// received and drops count what was received, and dropped before the queue.
	received int
	drops    [account.Reasons]int
	// refused counts what was refused.
	refused int
	// forgot says that the guard has or may have forgotten a series that came again.
	forgot bool
	// vague says that what the guard did cannot be told from outside: the series have all that it may have let pass.
	vague bool
}

// guardState is what the guard knows of a series.
type guardState struct {
	last   int64
	active time.Time
	// unsure says that the guard may also know an earlier timestamp as the last one.
	unsure bool
}

// predict applies the guard to what was accepted, in its order.
func (c *chaos) predict() *prediction {
	p := &prediction{series: make(map[string]*seriesHistory)}
	// A payload for which there is no room, even after older ones were evicted, does not pass the guard.
	p.vague = c.droppedFor(account.ReasonQueueFull) > 0
	guard := make(map[string]*guardState)
	for _, a := range c.attempts {
		if a.err != nil {
			p.refused += a.samples
			continue
		}
		for r, n := range a.drops {
			p.drops[r] += n
			p.received += n
		}
		for i := range a.points {
			mp := &a.points[i]
			if p.passes(guard, a.returned, mp, c.cfg) {
				p.accept(mp, a.returned)
			}
		}
	}
	return p
}

// passes says whether the guard lets a point pass, and counts it if not. If that cannot be told, it passes.
func (p *prediction) passes(guard map[string]*guardState, now time.Time, mp *modelPoint, cfg *Config) bool {
	ts := mp.value.timestamp
	if mp.guard == madeTarget && p.order(guard, now, mp.target, ts, cfg.SeriesIdleTimeout) <= 0 {
		return false // without being counted
	}
	if cfg.OutOfOrder == OutOfOrderDrop {
		switch order := p.order(guard, now, mp.series, ts, cfg.SeriesIdleTimeout); {
		case order > 0:
		case mp.guard == madeTarget:
			return false
		default:
			r := account.ReasonOutOfOrder
			if order == 0 {
				r = account.ReasonDuplicate
			}
			p.drops[r]++
			p.received++
			return false
		}
	}
	if mp.guard == receivedTarget {
		p.order(guard, now, mp.target, ts, cfg.SeriesIdleTimeout)
	}
	return true
}

// order compares a timestamp with the last one of what the guard knows by that name: it is positive if it is newer, or if
// that cannot be told.
func (p *prediction) order(guard map[string]*guardState, now time.Time, name string, ts int64, idle time.Duration) int {
	g, known := guard[name]
	if !known {
		guard[name] = &guardState{last: ts, active: now}
		return 1
	}
	since := now.Sub(g.active)
	g.active = now
	p.forgot = p.forgot || since >= idle
	switch {
	case ts > g.last, since >= idle+idle/2:
		g.last, g.unsure = ts, p.vague && ts <= g.last
		return 1
	case since >= idle, g.unsure, p.vague:
		p.vague, g.unsure = true, true
		return 1
	}
	return cmp.Compare(ts, g.last)
}

func (p *prediction) accept(mp *modelPoint, now time.Time) {
	p.received++
	s := p.series[mp.series]
	if s == nil {
		s = &seriesHistory{partition: mp.partition, at: make(map[pointValue][]int)}
		p.series[mp.series] = s
	}
	s.at[mp.value] = append(s.at[mp.value], len(s.points))
	s.points = append(s.points, mp.value)
	s.accepted = append(s.accepted, now)
	s.last = append(s.last, nil)
}
