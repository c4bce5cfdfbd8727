// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/prometheus/prompb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
)

var roundsFlag = flag.Uint64("rounds", 0, "rounds of tests that take few of them by default")

// TestOrderOfHeldSeries: clients whose clocks are wrong by what max_future and max_past are, give or take a little, so that the
// samples of each series come into both lanes. With every value of out_of_order, few partitions and places, receivers of all kinds and,
// with storage, processes that end and die, no sample is sent before an older one of its series that was accepted before it has its
// outcome, but for late ones.
func TestOrderOfHeldSeries(t *testing.T) {
	first, rounds := seed(t), uint64(24)
	if raceDetector {
		rounds = 6
	}
	if *roundsFlag > 0 {
		rounds = *roundsFlag
	}
	for round := range rounds {
		ok := t.Run(strconv.FormatUint(round, 10), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { orderOfHeldSeries(t, rand.New(rand.NewPCG(first, round))) })
		})
		if !ok {
			return
		}
	}
}

// wrongClock is a client with one, whose series nobody else has.
type wrongClock struct {
	rnd                *rand.Rand
	name               string
	maxFuture, maxPast time.Duration
	// complete says that the queue has room for everything.
	complete bool
	// inLine says that late samples are sent in their turn.
	inLine bool
	series []acceptedSeries
}

// acceptedSeries is what was accepted of a series, in its order.
type acceptedSeries struct {
	samples []acceptedSample
	newest  int64
	// ahead is the newest time that was too far ahead of the clock.
	ahead int64
}

type acceptedSample struct {
	ts int64
	// late says that a newer one was accepted before, and ahead that it was too far ahead of the clock.
	late, ahead bool
	// behind is the newest time of those ahead of the clock that were accepted before.
	behind int64
}

// sends is where the samples of a series were in requests.
type sends map[int64][]sentAt

// sentAt is where a sample was in a request.
type sentAt struct{ life, request, index int }

// before says whether a sample was sent before another one of its series for the first time, and again, if it was, before that one was
// sent without it. What an earlier process has sent may be sent again at any time.
func (s sends) before(earlier, later int64) bool {
	of, after := s[earlier], s[later]
	if of[0].request > after[0].request || of[0].request == after[0].request && of[0].index > after[0].index {
		return false
	}
	with := make(map[int]bool)
	for _, e := range of {
		with[e.request] = true
	}
	for _, l := range after {
		for _, e := range of {
			if e.life == l.life && of[0].life == l.life && e.request > l.request && !with[l.request] {
				return false
			}
		}
	}
	return true
}

// strange is a receiver with faults of many kinds.
type strange struct {
	backend
	mu    sync.Mutex
	rnd   *rand.Rand
	start time.Time
	// outages and unread are when everything fails, and when no message of 2.0 is read.
	outages, unread []time.Duration
	// unreadable is what answers those.
	unreadable rwtest.Answer
	// refuses says that it refuses some series at times, partial that it keeps some samples of a message of 2.0 at times, and stores that
	// it may have what it has answered with an error, or not at all. most is how many samples a request may have; 0 is any number.
	refuses, partial, stores bool
	most                     int
	// life is the process, and sends what was sent by all of them.
	life  int
	sends map[string]sends
}

func newStrange(rnd *rand.Rand) *strange {
	b := &strange{rnd: rnd, start: time.Now(), sends: make(map[string]sends)}
	for range rnd.IntN(4) {
		b.outages = append(b.outages, time.Duration(rnd.IntN(200))*time.Second)
	}
	for range rnd.IntN(3) {
		b.unread = append(b.unread, time.Duration(rnd.IntN(200))*time.Second)
	}
	b.unreadable = pickOne(rnd, rwtest.Answer{Status: 415}, rwtest.Answer{Written: rwtest.WrittenNever}, rwtest.Answer{Status: 400})
	b.refuses, b.partial, b.stores = rnd.IntN(2) == 0, rnd.IntN(3) == 0, rnd.IntN(2) == 0
	b.most = pickOne(rnd, 0, 0, 1, 5, 30)
	b.Script = b.answer
	return b
}

// loses says whether the receiver's answers may cost samples.
func (b *strange) loses() bool { return b.partial || b.unreadable.Status == 400 }

func (b *strange) answer(r rwtest.Request) rwtest.Answer {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.note(r)
	during := func(times []time.Duration, d time.Duration) bool {
		since := time.Since(b.start)
		return slices.ContainsFunc(times, func(at time.Duration) bool { return since > at && since < at+d })
	}
	a := rwtest.Answer{Latency: time.Duration(b.rnd.IntN(100)) * time.Millisecond}
	switch {
	case during(b.outages, 20*time.Second):
		a.Status = pickOne(b.rnd, 500, 503, 429)
	case b.rnd.IntN(20) == 0:
		a.Status, a.Stored = pickOne(b.rnd, 500, 502, 503), b.stores && b.rnd.IntN(2) == 0
	case b.stores && b.rnd.IntN(20) == 0:
		a.Fault, a.Stored = rwtest.Reset, b.rnd.IntN(2) == 0
	case r.Version == 2 && during(b.unread, time.Minute):
		a.Status, a.Written = b.unreadable.Status, b.unreadable.Written
	case b.most > 0 && r.Samples() > b.most:
		a.Status = 413
	case b.partial && b.rnd.IntN(5) == 0:
		a.Status = pickOne(b.rnd, 0, 400, 500)
		a.Keep = func(_ string, s rwtest.Sample) bool { return s.Timestamp%2 == 0 }
	case b.refuses && time.Since(b.start)/time.Minute%2 == 1 && slices.ContainsFunc(r.Series, refusable):
		a.Status = 400
	}
	return a
}

// note takes note of what is sent.
func (b *strange) note(r rwtest.Request) {
	for i, key := range r.Series {
		if b.sends[key] == nil {
			b.sends[key] = make(sends)
		}
		for j, s := range r.Message.Timeseries[i].Samples {
			b.sends[key][s.Timestamp] = append(b.sends[key][s.Timestamp], sentAt{b.life, r.Seq, i + j})
		}
	}
}

func orderOfHeldSeries(t *testing.T, rnd *rand.Rand) {
	b := newStrange(rand.New(rand.NewPCG(rnd.Uint64(), 0)))
	small := rnd.IntN(2) == 0
	settings := func(c *Config) {
		isolating(c)
		c.OutOfOrder = pickOne(rnd, OutOfOrderSeparate, OutOfOrderDrop, OutOfOrderSend)
		c.Partitions = pickOne(rnd, 1, 2, 32)
		c.MaxInFlight = pickOne(rnd, 0, 1)
		c.ProtobufMessage = pickOne(rnd, MessageV1, MessageV2)
		c.Batch.MaxSamples = pickOne(rnd, 1, 10, 2000)
		c.MaxFuture = pickOne(rnd, time.Second, 10*time.Minute)
		c.MaxPast = pickOne(rnd, time.Second, 45*time.Minute)
		c.Retry.BackOff.MaxElapsedTime = 0
		c.ShutdownTimeout = time.Hour
		if small {
			c.Batch.MaxSizeBytes, c.Queue.MaxSizeBytes, c.Queue.MaxDiskBytes = minBatchSize, 4*minBatchSize, 4*minBatchSize
			c.Queue.OnFull = pickOne(rnd, OnFullReject, OnFullDropNewest, OnFullDropOldest)
		}
		c.Queue.MaxAge = pickOne(rnd, 0, 0, 0, 10*time.Minute)
		if rnd.IntN(2) == 0 {
			stored(c)
		}
	}
	cfg := configOf(settings)
	fixed := func(c *Config) {
		c.OutOfOrder, c.Partitions, c.MaxInFlight, c.ProtobufMessage = cfg.OutOfOrder, cfg.Partitions, cfg.MaxInFlight, cfg.ProtobufMessage
		c.Batch, c.MaxFuture, c.MaxPast, c.Retry, c.Queue, c.ShutdownTimeout, c.OnError = cfg.Batch, cfg.MaxFuture, cfg.MaxPast, cfg.Retry, cfg.Queue, cfg.ShutdownTimeout, cfg.OnError
	}
	m := newMachine(t, b, fixed)
	m.edit = m.edit[1:]
	m.boot()
	kills := cfg.Queue.OnFull != OnFullDropOldest && rnd.IntN(2) == 0
	t.Logf("out_of_order %s, partitions %d, max_in_flight %d, %s, max_samples %d, max_future %v, max_past %v, max_age %v, storage %v, kills %v, %d bytes, %s",
		cfg.OutOfOrder, cfg.Partitions, cfg.MaxInFlight, cfg.ProtobufMessage, cfg.Batch.MaxSamples, cfg.MaxFuture, cfg.MaxPast, cfg.Queue.MaxAge, cfg.Queue.Storage != nil,
		kills, cfg.Queue.MaxSizeBytes, cfg.Queue.OnFull)
	t.Logf("refuses %v, partial %v, stores %v, most %d, outages %v, unread %v: %d", b.refuses, b.partial, b.stores, b.most, b.outages, b.unread, b.unreadable.Status)

	clients := make([]*wrongClock, 3)
	var all sync.WaitGroup
	// Who calls has one of the turns, and who restarts all: a mutex would keep the clock from going on.
	turns := make(chan struct{}, len(clients))
	for range clients {
		turns <- struct{}{}
	}
	for i := range clients {
		clients[i] = &wrongClock{
			rnd: rand.New(rand.NewPCG(rnd.Uint64(), 0)), name: fmt.Sprintf("client%d%s", i, incompressible(300)),
			complete: !small && !b.loses() && cfg.Queue.MaxAge == 0, maxFuture: cfg.MaxFuture, maxPast: cfg.MaxPast, inLine: cfg.OutOfOrder == OutOfOrderSend, series: make([]acceptedSeries, 4),
		}
	}
	pauses := rand.New(rand.NewPCG(rnd.Uint64(), 0))
	for i := range clients {
		all.Go(func() {
			for range 60 {
				<-turns
				clients[i].consume(t, m.now)
				turns <- struct{}{}
				time.Sleep(time.Duration(clients[i].rnd.IntN(8000)) * time.Millisecond)
			}
		})
	}
	if cfg.Queue.Storage != nil {
		all.Go(func() {
			for range pauses.IntN(4) {
				time.Sleep(time.Duration(pauses.IntN(100)) * time.Second)
				for range clients {
					<-turns
				}
				if kills && pauses.IntN(2) == 0 {
					m.kill()
				} else {
					m.now.stop()
					m.note(m.now)
				}
				b.mu.Lock()
				b.life++
				b.mu.Unlock()
				cfg.Partitions = pickOne(pauses, cfg.Partitions, 1, 2, 32)
				cfg.ProtobufMessage = pickOne(pauses, MessageV1, MessageV2)
				m.boot()
				for range clients {
					turns <- struct{}{}
				}
			}
		})
	}
	all.Wait()
	m.now.settle()
	m.now.stop()
	m.note(m.now)
	t.Logf("%d requests, dropped %v", b.Requests(), m.dropped)
	for _, c := range clients {
		for i := range c.series {
			c.check(t, i, b.sends[rwtest.SeriesKey([]prompb.Label{
				{Name: nameLabel, Value: "gauge"}, {Name: "client", Value: c.name}, {Name: "series", Value: strconv.Itoa(i)},
			})])
		}
	}
	assert.Empty(t, b.Violations())
	assert.Empty(t, b.Overlaps())
	assert.Empty(t, b.Conflicting())
}

// refusable says whether a receiver refuses a series at times.
func refusable(key string) bool { return strings.Contains(key, `series="3"`) }

func pickOne[T any](rnd *rand.Rand, from ...T) T { return from[rnd.IntN(len(from))] }

// consume gives an exporter the next payload, with some samples of some series, in the order of time.
func (c *wrongClock) consume(t *testing.T, h *harness) {
	md := pmetric.NewMetrics()
	accepted := slices.Clone(c.series)
	points := gaugesOf(md, "gauge")
	now := time.Now()
	for i := range c.series {
		var times []int64
		for range c.rnd.IntN(3) {
			near := time.Duration(c.rnd.IntN(4000)-2000) * time.Millisecond
			times = append(times, now.Add(near+pickOne(c.rnd, 0, 0, 0, c.maxFuture, c.maxFuture, -c.maxPast, -c.maxPast)).UnixMilli())
		}
		slices.Sort(times)
		for _, ts := range times {
			if slices.ContainsFunc(accepted[i].samples, func(a acceptedSample) bool { return a.ts == ts }) {
				continue
			}
			dp := points.AppendEmpty()
			dp.SetTimestamp(pcommon.NewTimestampFromTime(time.UnixMilli(ts)))
			dp.SetIntValue(ts)
			dp.Attributes().PutStr("client", c.name)
			dp.Attributes().PutStr("series", strconv.Itoa(i))
			accepted[i].accept(ts, now.Add(c.maxFuture).UnixMilli())
		}
	}
	if err := h.ConsumeMetrics(t.Context(), md); err == nil {
		c.series = accepted
	} else {
		assert.ErrorIs(t, err, errQueueFull)
	}
}

// accept takes note of a sample, of which one that is newer than a time is too far ahead of the clock.
func (s *acceptedSeries) accept(ts, newest int64) {
	a := acceptedSample{ts: ts, ahead: ts > newest, behind: s.ahead}
	if a.ahead {
		s.ahead = max(s.ahead, ts)
	} else {
		a.late = ts <= s.newest
		s.newest = max(s.newest, ts)
	}
	s.samples = append(s.samples, a)
}

// check looks at what was sent of a series.
func (c *wrongClock) check(t *testing.T, series int, sent sends) {
	samples := c.series[series].samples
	for j, later := range samples {
		for _, earlier := range samples[:j] {
			switch {
			case sent[earlier.ts] == nil || sent[later.ts] == nil:
			case c.inLine && !earlier.ahead && !later.ahead:
				require.True(t, sent.before(earlier.ts, later.ts), "%.7s, series %d: the sample at %v was accepted before that at %v: %v, %v", c.name, series,
					time.UnixMilli(earlier.ts), time.UnixMilli(later.ts), sent[earlier.ts], sent[later.ts])
			case earlier.late || later.late || earlier.ts >= later.ts:
			case earlier.ahead && !later.ahead && later.ts <= later.behind:
				// It is older than another one that was ahead of the clock, and does not wait for them.
			default:
				require.True(t, sent.before(earlier.ts, later.ts), "%.7s, series %d: the sample at %v (ahead %v) was accepted before that at %v (ahead %v): %v, %v", c.name, series,
					time.UnixMilli(earlier.ts), earlier.ahead, time.UnixMilli(later.ts), later.ahead, sent[earlier.ts], sent[later.ts])
			}
		}
	}
	for _, s := range samples {
		if sent[s.ts] == nil && !s.late && series != 3 && c.complete {
			require.Failf(t, "missing", "%.7s, series %d: %v", c.name, series, time.UnixMilli(s.ts))
		}
	}
}
