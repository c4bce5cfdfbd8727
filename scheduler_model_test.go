// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/remote"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// schedulerModel does to a scheduler what can happen to it, in any order, and knows by itself what must come of that. Its time is
// what it says. Samples are known by numbers, which stand in the place of their timestamps.
type schedulerModel struct {
	t   *testing.T
	rnd *rand.Rand
	s   *scheduler
	now time.Time
	// alarm is when the scheduler wants to be asked again, or zero.
	alarm time.Time

	// lines are the numbers of what waits, by partition and lane, and accepted is when each sample was.
	lines    [][2][]int64
	accepted map[int64]time.Time
	// before is, for a late sample, the newest good one of its partition when it came.
	before map[int64]int64
	// settled is the newest good sample of each partition that has its outcome.
	settled []int64
	last    int64
	// holds is which delivery holds a partition, and hadLate are the partitions whose last one had late samples.
	holds   map[*partition]*delivery
	hadLate map[*partition]bool
	// underWay have a place, and parked wait for something else than their turn.
	underWay, parked []*delivery
	// life is that of the process before, while what comes is what it has left.
	life   uint64
	events map[string]int
}

func newSchedulerModel(t *testing.T, rnd *rand.Rand, partitions int) *schedulerModel {
	m := &schedulerModel{
		t: t, rnd: rnd, now: time.Unix(1_700_000_000, 0), lines: make([][2][]int64, partitions), settled: make([]int64, partitions),
		accepted: make(map[int64]time.Time), before: make(map[int64]int64), holds: make(map[*partition]*delivery),
		hadLate: make(map[*partition]bool), events: make(map[string]int),
	}
	limits := &BatchConfig{
		MaxSamples:   []int{1, 2, 10, 10, 40}[rnd.IntN(5)],
		MaxSizeBytes: []ByteSize{minBatchSize, 4 * minBatchSize, 1 << 20}[rnd.IntN(3)],
		FlushTimeout: []time.Duration{time.Millisecond, time.Second, time.Second, time.Minute}[rnd.IntN(4)],
	}
	m.life = rnd.Uint64N(2)
	m.s = &scheduler{limits: limits, size: newSizeLimit(limits), limit: newLimit(1 + rnd.IntN(40))}
	for i := range partitions {
		m.s.partitions = append(m.s.partitions, &partition{index: i})
	}
	return m
}

// step lets one thing happen.
func (m *schedulerModel) step() {
	happens := []struct {
		name string
		odds int
		f    func()
	}{
		{"append", 10, func() { m.append(false) }},
		{"append late", 3, func() { m.append(true) }},
		{"success", 8, m.succeed},
		{"failure", 3, m.fail},
		{"fork", 2, m.fork},
		{"park", 1, m.park},
		{"unpark", 2, m.unpark},
		{"limit", 1, m.changeLimit},
		{"gate", 1, func() { m.s.gate.ask(m.now, m.upTo(5*time.Second)) }},
		{"pause", 1, m.pause},
		{"evict", 1, m.evict},
		{"too large", 1, m.tooLarge},
		{"hurry", 1, func() { m.s.closing = m.rnd.IntN(4) == 0 }},
		{"timer", 4, m.timer},
		{"time", 4, func() { m.now = m.now.Add(m.upTo(300 * time.Millisecond)) }},
	}
	all := 0
	for _, h := range happens {
		all += h.odds
	}
	at := m.rnd.IntN(all)
	for _, h := range happens {
		if at -= h.odds; at < 0 {
			m.events[h.name]++
			h.f()
			break
		}
	}
	m.dispatch()
}

func (m *schedulerModel) upTo(d time.Duration) time.Duration {
	return time.Duration(m.rnd.Int64N(int64(d)))
}

// append adds samples to a lane.
func (m *schedulerModel) append(late bool) {
	p := m.s.partitions[m.rnd.IntN(len(m.s.partitions))]
	n := 1 + m.rnd.IntN(min(4, m.s.limits.MaxSamples))
	if m.rnd.IntN(6) == 0 {
		n = 1 + m.rnd.IntN(min(10, m.s.limits.MaxSamples))
	}
	if m.rnd.IntN(200) == 0 {
		m.life = 0
	}
	c := &chunk{accepted: m.now, plain: make([]byte, n), protocol: wire.V1, life: m.life}
	c.sizes.plain = n * (1 + m.rnd.IntN(2000))
	if m.rnd.IntN(10) == 0 {
		c.protocol = wire.V2
	}
	line := &m.lines[p.index][lane2(late)]
	for range n {
		m.last++
		c.count(m.last, false, 0)
		m.accepted[m.last] = m.now
		if late {
			m.before[m.last] = max(m.newestGood(p), m.settled[p.index])
		}
		*line = append(*line, m.last)
	}
	p.appendRunLocked(run{chunk: c, late: late, alone: m.rnd.IntN(20) == 0}, m.s.limits, nil)
}

func lane2(late bool) int {
	if late {
		return 1
	}
	return 0
}

// newestGood is the newest good sample of a partition that has no outcome, or 0.
func (m *schedulerModel) newestGood(p *partition) (newest int64) {
	if line := m.lines[p.index][0]; len(line) > 0 {
		return line[len(line)-1]
	}
	if d := m.holds[p]; d != nil && !d.late {
		for i := range d.parts {
			if d.parts[i].partition == p {
				newest = d.parts[i].batch.newest
			}
		}
	}
	return newest
}

// some takes one of the deliveries off a list, or returns nil if it is empty.
func (m *schedulerModel) some(of *[]*delivery) *delivery {
	if len(*of) == 0 {
		return nil
	}
	i := m.rnd.IntN(len(*of))
	d := (*of)[i]
	*of = slices.Delete(*of, i, i+1)
	return d
}

// succeed gives a delivery its outcome.
func (m *schedulerModel) succeed() {
	d := m.some(&m.underWay)
	if d == nil {
		return
	}
	m.s.limit.succeeded(m.s.inFlight)
	m.s.gate.resume(m.now)
	m.s.gate.pass(m.now)
	m.s.leave(d)
	m.free(d, m.rnd.IntN(8) == 0)
}

func (m *schedulerModel) free(d *delivery, slow bool) {
	for i := range d.parts {
		p := d.parts[i].partition
		delete(m.holds, p)
		p.busy, p.busyLate, p.suspect, p.lane(d.late).idleSince = false, false, slow, m.now
		if !d.late {
			m.settled[p.index] = max(m.settled[p.index], d.parts[i].batch.newest)
		}
	}
}

// fail lets a delivery wait for its next attempt.
func (m *schedulerModel) fail() {
	d := m.some(&m.underWay)
	if d == nil {
		return
	}
	if m.rnd.IntN(3) == 0 {
		m.s.limit.overloaded(d.number)
	}
	if m.rnd.IntN(3) == 0 {
		m.s.gate.ask(m.now, m.upTo(2*time.Second))
	}
	m.s.gate.failed(m.now, m.now, func(failures int) time.Duration {
		return min(time.Duration(failures)*100*time.Millisecond, 3*time.Second)
	})
	d.attempted = m.now
	m.wait(d, m.upTo(3*time.Second))
}

// wait puts a delivery among those that wait for their next attempt.
func (m *schedulerModel) wait(d *delivery, delay time.Duration) {
	if d.number != 0 {
		m.s.leave(d)
	}
	d.due = m.now.Add(delay)
	m.s.retries = append(m.s.retries, d)
}

// fork makes two of a delivery of several partitions.
func (m *schedulerModel) fork() {
	i := slices.IndexFunc(m.underWay, func(d *delivery) bool { return len(d.parts) > 1 })
	if i < 0 {
		return
	}
	d := m.underWay[i]
	half := 1 + m.rnd.IntN(len(d.parts)-1)
	other := &delivery{parts: d.parts[half:], late: d.late, attempted: d.attempted}
	d.parts = d.parts[:half:half]
	for i := range other.parts {
		m.holds[other.parts[i].partition] = other
	}
	m.wait(other, 0)
}

func (m *schedulerModel) park() {
	if d := m.some(&m.underWay); d != nil {
		m.s.leave(d)
		m.parked = append(m.parked, d)
	}
}

func (m *schedulerModel) unpark() {
	if d := m.some(&m.parked); d != nil {
		m.wait(d, 0)
	}
}

func (m *schedulerModel) changeLimit() {
	if m.rnd.IntN(2) == 0 {
		m.s.limit.overloaded(m.s.limit.begun)
	} else {
		m.s.limit.succeeded(m.s.limit.ceiling)
	}
}

// pause is an answer that judges the sender: its samples are dropped, and the endpoint is paused.
func (m *schedulerModel) pause() {
	if d := m.some(&m.underWay); d != nil {
		m.s.gate.refused(m.now, m.now, &remote.Answer{Status: 401})
		m.s.leave(d)
		m.free(d, false)
	}
}

// evict takes the oldest that waits off a partition, as queue.on_full: drop_oldest does.
func (m *schedulerModel) evict() {
	p := m.s.partitions[m.rnd.IntN(len(m.s.partitions))]
	if !p.waits() {
		return
	}
	good, old := m.lines[p.index][0], m.lines[p.index][1]
	late := len(good) == 0 || len(old) > 0 && m.accepted[old[0]].Before(m.accepted[good[0]])
	require.Equal(m.t, late, p.oldestIsLate())
	b := p.lane(late).popFront()
	line := &m.lines[p.index][lane2(late)]
	require.Equal(m.t, (*line)[0], b.oldest, "first in, first out")
	*line = (*line)[b.Samples:]
	if !late {
		m.settled[p.index] = max(m.settled[p.index], b.newest)
	}
}

// tooLarge is a 413, or a success that lets the size grow again.
func (m *schedulerModel) tooLarge() {
	size := m.rnd.Int64N(2 * int64(m.s.size.ceiling))
	if m.rnd.IntN(2) == 0 {
		m.s.size.answered(&remote.Answer{Status: 413}, size, m.now)
	} else {
		m.s.size.answered(&remote.Answer{Status: 204}, size, m.now)
	}
}

// timer lets the time come at which the scheduler wants to be asked.
func (m *schedulerModel) timer() {
	if m.alarm.After(m.now) {
		m.now = m.alarm
	}
}

// dispatch takes what the scheduler hands out, as the queue does after each event.
func (m *schedulerModel) dispatch() {
	for {
		before := m.look()
		d, wake := m.s.next(m.now)
		if d == nil {
			if !wake.IsZero() {
				m.alarm = wake
			}
			m.checkIdle(&before, wake)
			return
		}
		m.check(d, &before)
		m.underWay = append(m.underWay, d)
	}
}

// view is what the model knows of the state before the scheduler is asked.
type view struct {
	open, free   bool
	goodWaits    bool
	late, eighth int
	// retry is one that is due, and next when something will be.
	retry *delivery
	next  time.Time
	// due is a partition whose front must leave, and dueLate says of which lane. goodDue are those whose good samples are due.
	due     *partition
	dueLate bool
	goodDue map[*partition]bool
	// fill is how many samples the open batches have that may be combined, at the least that a request can be made of.
	fill int
}

func (m *schedulerModel) look() view {
	s := m.s
	v := view{open: !m.now.Before(s.gate.opens()), free: len(m.underWay) < s.places(), eighth: max(s.places()/8, 1), goodDue: make(map[*partition]bool)}
	for _, d := range m.underWay {
		if d.late {
			v.late++
		}
	}
	for i := range m.lines {
		v.goodWaits = v.goodWaits || len(m.lines[i][0]) > 0
	}
	mayBeLate := !v.goodWaits || v.late < v.eighth
	for _, d := range s.retries {
		switch {
		case d.late && !mayBeLate:
		case d.due.After(m.now):
			v.next = earliest(v.next, d.due)
		default:
			v.retry = d
		}
	}
	var open []int
	for i, p := range s.partitions {
		if m.holds[p] != nil {
			continue
		}
		m.front(&v, p, false)
		if late := m.lines[i][1]; len(late) > 0 && mayBeLate && m.turnOf(p) {
			m.front(&v, p, true)
		}
		if l := &p.good; !l.empty() && l.front() == l.open && !p.suspect {
			open = append(open, l.open.Samples)
		}
	}
	slices.Sort(open)
	for _, n := range open[:min(len(open), m.most())] {
		v.fill += n
	}
	return v
}

// most is half of the partitions.
func (m *schedulerModel) most() int { return max(len(m.s.partitions)/2, 1) }

// front looks whether the front of a lane must leave, or when.
func (m *schedulerModel) front(v *view, p *partition, late bool) {
	line := m.lines[p.index][lane2(late)]
	if len(line) == 0 {
		return
	}
	at := m.accepted[line[0]]
	if l := p.lane(late); l.front() == l.open && !m.s.closing {
		at = at.Add(m.s.limits.FlushTimeout)
	}
	if at.After(m.now) {
		v.next = earliest(v.next, at)
		return
	}
	v.due, v.dueLate = p, late
	if !late {
		v.goodDue[p] = true
	}
}

// turnOf says whether the first late batch of an idle partition has its turn: the good samples that were accepted before its last
// one have their outcome.
func (m *schedulerModel) turnOf(p *partition) bool {
	b := p.late.front()
	return m.before[b.newest] <= m.settled[p.index]
}

// check looks at a delivery that got a place.
func (m *schedulerModel) check(d *delivery, before *view) {
	t := m.t
	require.True(t, before.open, "the gate is open")
	require.True(t, before.free, "a place is free")
	require.LessOrEqual(t, len(m.underWay)+1, m.s.places(), "places")
	require.Equal(t, len(m.underWay)+1, m.s.inFlight, "in flight")
	if d.late && before.goodWaits {
		require.Less(t, before.late, before.eighth, "late samples have an eighth of the limit while good ones wait")
	}
	if d == m.holds[d.parts[0].partition] {
		require.NotContains(t, m.underWay, d)
		require.NotContains(t, m.s.retries, d)
		require.False(t, d.due.After(m.now), "a retry is due")
		return
	}
	require.LessOrEqual(t, len(d.parts), m.most(), "a request takes half of the partitions at most")
	samples, size := 0, sizes{}
	for i := range d.parts {
		pt := &d.parts[i]
		p, b := pt.partition, pt.batch
		require.Equal(t, d.recovered, b.life > 0, "recovered samples travel with recovered ones")
		size = size.plus(b.sizes)
		require.Nil(t, m.holds[p], "partition %d is busy, and is claimed", p.index)
		m.holds[p] = d
		line := &m.lines[p.index][lane2(d.late)]
		require.Equal(t, (*line)[0], b.oldest, "first in, first out")
		require.Equal(t, (*line)[b.Samples-1], b.newest, "first in, first out")
		*line = (*line)[b.Samples:]
		if d.late {
			require.LessOrEqual(t, m.before[b.newest], m.settled[p.index], "good samples that were accepted before late ones have their outcome")
			require.False(t, m.hadLate[p] && before.goodDue[p], "late samples take each turn of partition %d", p.index)
		}
		m.hadLate[p] = d.late
		require.Equal(t, d.parts[0].batch.protocol, b.protocol, "one protocol")
		require.False(t, p.suspect && len(d.parts) > 1, "suspects travel alone")
		samples += b.Samples
	}
	require.LessOrEqual(t, samples, m.s.limits.MaxSamples)
	if len(d.parts) > 1 {
		require.LessOrEqual(t, size.bytes(), int64(m.s.limits.MaxSizeBytes))
	}
}

// checkIdle looks at a state in which the scheduler hands out nothing.
func (m *schedulerModel) checkIdle(v *view, wake time.Time) {
	t := m.t
	if !v.open {
		require.Equal(t, m.s.gate.opens(), wake, "the gate opens")
		return
	}
	if !v.free {
		return
	}
	require.Nil(t, v.retry, "a retry is due, a place is free and the gate open, but nothing leaves")
	if v.due != nil {
		require.Failf(t, "nothing leaves", "a sample of partition %d (late: %v) is due, a place is free and the gate open", v.due.index, v.dueLate)
	}
	require.Less(t, v.fill, m.s.limits.MaxSamples, "a full request's worth waits in idle partitions, but nothing leaves")
	if !v.next.IsZero() {
		require.False(t, wake.IsZero(), "the scheduler must be asked again at %v", v.next)
		require.False(t, wake.After(v.next), "the scheduler wants to be asked too late")
	}
}

// end closes the scheduler, and lets everything pass.
func (m *schedulerModel) end() {
	m.s.closing = true
	m.dispatch()
	for range 100_000 {
		m.unpark()
		m.succeed()
		m.dispatch()
		if len(m.underWay) == 0 {
			m.timer()
			m.dispatch()
		}
		if len(m.holds) == 0 && !slices.ContainsFunc(m.s.partitions, (*partition).waits) {
			return
		}
	}
	m.t.Fatal("not everything leaves")
}

// TestSchedulerModel: whenever something is due, a place free and the gate open, a request leaves; a busy partition is never claimed;
// a request takes half of the partitions at most.
func TestSchedulerModel(t *testing.T) {
	first := seed(t)
	rounds, steps := uint64(60), 2000
	if raceDetector {
		rounds = 10
	}
	events := make(map[string]int)
	for round := range rounds {
		rnd := rand.New(rand.NewPCG(first, round))
		partitions := []int{1, 2, 3, 8, 32, 256}[round%6]
		ok := t.Run(fmt.Sprintf("round %d, %d partitions", round, partitions), func(t *testing.T) {
			m := newSchedulerModel(t, rnd, partitions)
			for range steps {
				m.step()
			}
			m.end()
			for name, n := range m.events {
				events[name] += n
			}
			assert.Zero(t, m.s.inFlight)
			assert.Zero(t, m.s.lateInFlight)
		})
		if !ok {
			return
		}
	}
	t.Log(events)
}
