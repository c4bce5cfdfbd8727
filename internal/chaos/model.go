// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"cmp"
	"slices"
	"time"
)

// item is a sample that was accepted.
type item struct {
	Point
	// call accepted it; it is nil for a sample of which nothing is known but that it was sent.
	call *Call
	// apart says that the sample is late, or far from now, and travels apart from the others of its series; late that it is
	// not newer than one that was accepted before.
	apart, late bool
	// optional says that it cannot be told whether the sample was dropped, or made, at all.
	optional bool
	// last is the last request with the sample, and sent are all.
	last *flight
	sent []*flight
	// open says that the process of that has ended, and may have left the sample as one without an outcome. retold says that it
	// came twice until it was accepted, so that it is not known when that was.
	open, retold bool
	// sure says that a sample is optional only because its payload may not have been accepted.
	sure bool
}

// taken says whether the endpoint has taken the last request with the sample.
func (it *item) taken() bool {
	return it.last != nil && it.last.Status/100 == 2
}

// sentAfter says whether the last request with the sample is later than that with another one.
func (it *item) sentAfter(other *item) bool {
	return it.last != nil && (other.last == nil || it.last.Begin > other.last.Begin)
}

// line is the samples of a series in the order in which they were accepted, or those that travel apart from them.
type line struct {
	items []*item
	at    map[sampleAt][]int
	// floor is the index of the first sample that may still be sent.
	floor int
	// request is the last one that had the series, first and latest are the indices of its first and last sample.
	request       *flight
	first, latest int
}

// sampleAt is what tells the samples of a series apart.
type sampleAt struct {
	ts   int64
	bits uint64
	kind bool
}

func (p *Point) at() sampleAt { return sampleAt{p.Timestamp, p.Bits, p.Histogram} }

func (l *line) add(it *item) {
	l.at[it.at()] = append(l.at[it.at()], len(l.items))
	l.items = append(l.items, it)
}

// seriesModel is what is known of a series.
type seriesModel struct {
	line, apart line
	// newest is the time of the newest sample in the line, known if there is one.
	newest int64
	known  bool
	active time.Time
	// unsure says that the exporter may have forgotten, or never have known, the newest one, and fresh that it was perhaps not
	// accepted, or that another process has begun since, which knows it only if it was left in storage.
	unsure, fresh bool
}

// repeats says whether another sample of the series has the same time and was taken: of those that meet in one request only
// one is sent, because a receiver keeps one.
func (s *seriesModel) repeats(it *item) bool {
	for _, l := range []*line{&s.line, &s.apart} {
		for _, other := range l.items {
			if other != it && other.Timestamp == it.Timestamp && other.taken() {
				return true
			}
		}
	}
	return false
}

// model is what the accepted payloads must lead to, by the promises alone.
type model struct {
	record *Record
	series map[string]*seriesModel
	// received is between the two numbers, and refused too.
	received, refused [2]int
	// drops are what is dropped before the queue, and unsure how many more may be, by reason.
	drops, unsure map[string]int
	// wild says that there were payloads of which nothing is known.
	wild bool
	// forgot says that a series came again of which the exporter may not know that it has come before.
	forgot bool
	// lossy says that a full queue may have dropped what the exporter then does not know.
	lossy bool
	// life is the process, and vague are the payloads of which it is not known whether they were accepted, with their samples.
	life  int
	vague map[*Payload][]*item
}

func newModel(r *Record) *model {
	m := &model{record: r, series: make(map[string]*seriesModel), drops: make(map[string]int), unsure: make(map[string]int), vague: make(map[*Payload][]*item)}
	m.lossy = r.final().dropped("queue_full") > 0
	calls := slices.Clone(r.Calls)
	slices.SortFunc(calls, func(a, b *Call) int { return cmp.Compare(a.End, b.End) })
	for _, c := range calls {
		m.call(c)
	}
	return m
}

// call adds what a call leads to.
func (m *model) call(c *Call) {
	if c.Payload.Wild {
		m.wild = true
		return
	}
	m.restart(c)
	e := &c.Payload.Native
	if c.Before {
		e = &c.Payload.Classic
	}
	vague := c.Before != c.After && c.Payload.Native.total() != c.Payload.Classic.total()
	if c.Vague || m.vague[c.Payload] != nil {
		m.retell(c, e)
		return
	}
	if c.Err != nil {
		// Whether those of target_info count that need not be made is not promised.
		m.refused[0] += e.total() - len(e.Targets)
		m.refused[1] += e.total()
		if vague {
			m.refused[1] += c.Payload.Classic.total()
		}
		return
	}
	for reason, n := range e.Drops {
		m.drops[reason] += n
		m.count(n, n)
	}
	m.points(c, e.Points, vague)
	if vague {
		m.points(c, c.Payload.Classic.Points, true)
	}
	m.targets(c, e)
}

func (m *model) targets(c *Call, e *Expectation) {
	for _, target := range e.Targets {
		if m.far(c, target.Timestamp) {
			m.farTarget(c, target, e.Points)
		} else {
			m.target(c, target)
		}
	}
}

func (m *model) count(least, most int) {
	m.received[0] += least
	m.received[1] += most
}

// points adds the samples of a payload. In vague ones it is not known in which form they were made.
func (m *model) points(c *Call, points []Point, vague bool) {
	if m.record.Rules.SortsPayloads {
		points = slices.Clone(points)
		slices.SortStableFunc(points, func(a, b Point) int { return cmp.Compare(a.Timestamp, b.Timestamp) })
	}
	taken := make(map[seriesTime]bool)
	for _, pt := range points {
		key := seriesTime{pt.Series, pt.Timestamp}
		if taken[key] {
			m.drop("duplicate", vague)
			continue
		}
		taken[key] = true
		m.point(c, pt, vague)
	}
}

type seriesTime struct {
	series string
	ts     int64
}

func (m *model) drop(reason string, unsure bool) {
	if unsure {
		m.unsure[reason]++
		m.count(0, 1)
		return
	}
	m.drops[reason]++
	m.count(1, 1)
}

func (m *model) of(series string) *seriesModel {
	s := m.series[series]
	if s == nil {
		s = &seriesModel{line: line{at: make(map[sampleAt][]int)}, apart: line{at: make(map[sampleAt][]int)}}
		m.series[series] = s
	}
	return s
}

// advance says whether a sample is newer than all before it, and makes it the newest one.
func (m *model) advance(s *seriesModel, c *Call, ts int64) bool {
	if s.known && c.Ended.Sub(s.active) >= m.record.Settings.SeriesIdleTimeout {
		s.unsure = true
	}
	m.forgot = m.forgot || s.known && s.unsure
	s.active = c.Ended
	if s.known && ts <= s.newest {
		return false
	}
	s.newest, s.known, s.unsure, s.fresh = ts, true, m.lossy, false
	return true
}

// point adds a sample to its series.
func (m *model) point(c *Call, pt Point, vague bool) {
	least := 1
	if vague {
		least = 0
	}
	s := m.of(pt.Series)
	it := &item{Point: pt, call: c, optional: vague}
	if m.far(c, pt.Timestamp) {
		s.unsure = s.unsure || m.perhapsNear(c, pt.Timestamp)
		m.apart(s, it, least)
		return
	}
	newer := m.advance(s, c, pt.Timestamp)
	reason := "out_of_order"
	if pt.Timestamp == s.newest {
		reason = "duplicate"
	}
	rule := m.record.of(c.Life).OutOfOrder
	unsure := s.unsure || s.fresh
	switch dropped := rule == "drop" || reason == "duplicate" && (rule == "separate" || m.record.Rules.DropsRepeats); {
	case newer:
	case dropped && !unsure:
		m.drop(reason, vague)
		return
	case dropped, unsure && rule == "send" && m.record.Rules.DropsRepeats:
		// Whoever forgot the series takes any of its times for the newest one, and what has the same for a duplicate.
		it.optional = true
		m.unsure["out_of_order"]++
		m.unsure["duplicate"]++
	case rule == "separate":
		it.late = !s.fresh
		m.apart(s, it, least)
		return
	}
	s.unsure = s.unsure || vague
	m.count(least, 1)
	s.line.add(it)
}

// apart adds a sample that travels apart. There is little room for those, and what there is none for may be dropped.
func (m *model) apart(s *seriesModel, it *item, least int) {
	it.apart, it.optional = true, true
	s.apart.add(it)
	m.count(least, 1)
	m.unsure["out_of_order"]++
	m.unsure["duplicate"]++
}

// far says whether a sample's time is so far from now, before or after the call, that it travels apart.
func (m *model) far(c *Call, ts int64) bool {
	future, past := m.record.maxFuture(), m.record.maxPast()
	at := time.UnixMilli(ts)
	return future > 0 && at.Sub(c.Start) > future || past > 0 && c.Ended.Sub(at) > past
}

// perhapsNear says whether a time that was too far ahead of the clock when a call began was not any more when the call ended. If the
// payload waited for room, it is not known whether the sample is the newest one of its series.
func (m *model) perhapsNear(c *Call, ts int64) bool {
	limit := m.record.maxFuture()
	at := time.UnixMilli(ts)
	return limit > 0 && at.Sub(c.Start) > limit && at.Sub(c.Ended) <= limit
}

// target adds a sample of target_info, which is left out without a trace if it is not newer than the last one.
func (m *model) target(c *Call, pt Point) {
	s := m.of(pt.Series)
	it := &item{Point: pt, call: c}
	switch newer := m.advance(s, c, pt.Timestamp); {
	case newer && !m.lossy:
		m.count(1, 1)
	case newer, s.unsure || s.fresh:
		// A full queue need not count what was made and not received.
		it.optional = true
		m.count(0, 1)
	default:
		return
	}
	s.line.add(it)
}

// farTarget adds the target_info of a resource whose newest sample is far from now: it may have the time of any other one.
func (m *model) farTarget(c *Call, pt Point, points []Point) {
	s := m.of(pt.Series)
	times := []int64{pt.Timestamp}
	for _, other := range points {
		times = append(times, other.Timestamp)
	}
	slices.Sort(times)
	for _, ts := range slices.Compact(times) {
		if newer := m.advance(s, c, ts); newer || s.unsure || s.fresh {
			s.unsure = true
			s.line.add(&item{Point: Point{pt.Series, floatSample(ts, 1)}, call: c, optional: true})
		}
	}
	m.count(0, 1)
}

// ambiguous says whether a sample was accepted twice, so that requests with it cannot be told apart.
func (m *model) ambiguous() bool {
	for _, s := range m.series {
		if len(s.line.at) < len(s.line.items) || len(s.apart.at) < len(s.apart.items) {
			return true
		}
		for at := range s.apart.at {
			if len(s.line.at[at]) > 0 {
				return true
			}
		}
	}
	return m.record.Ambiguous
}
