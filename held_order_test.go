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
// samples of each series come into both lanes. With every value of out_of_order, few partitions and places, outages and, with
// storage, restarts, no sample is sent before an older one of its series that was accepted before it, but for late ones.
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

func orderOfHeldSeries(t *testing.T, rnd *rand.Rand) {
	var b backend
	var outages []time.Duration
	start := time.Now()
	for range rnd.IntN(4) {
		outages = append(outages, time.Duration(rnd.IntN(200))*time.Second)
	}
	refuses, small := rnd.IntN(2) == 0, rnd.IntN(2) == 0
	var mu sync.Mutex
	b.Script = func(r rwtest.Request) rwtest.Answer {
		mu.Lock()
		defer mu.Unlock()
		a := rwtest.Answer{Latency: time.Duration(rnd.IntN(100)) * time.Millisecond}
		for _, at := range outages {
			if since := time.Since(start); since > at && since < at+20*time.Second {
				a.Status = pickOne(rnd, 500, 503, 429)
			}
		}
		if rnd.IntN(20) == 0 {
			a.Status = pickOne(rnd, 500, 502, 503)
		}
		if a.Status == 0 && refuses && time.Since(start)/time.Minute%2 == 1 && slices.ContainsFunc(r.Series, refusable) {
			a.Status = 400
		}
		return a
	}
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
		if rnd.IntN(3) == 0 {
			stored(c)
		}
	}
	cfg := configOf(settings)
	fixed := func(c *Config) {
		c.OutOfOrder, c.Partitions, c.MaxInFlight, c.ProtobufMessage = cfg.OutOfOrder, cfg.Partitions, cfg.MaxInFlight, cfg.ProtobufMessage
		c.Batch, c.MaxFuture, c.MaxPast, c.Retry, c.Queue, c.ShutdownTimeout, c.OnError = cfg.Batch, cfg.MaxFuture, cfg.MaxPast, cfg.Retry, cfg.Queue, cfg.ShutdownTimeout, cfg.OnError
	}
	m := newMachine(t, &b, fixed)
	m.edit = m.edit[1:]
	m.boot()
	t.Logf("out_of_order %s, partitions %d, max_in_flight %d, %s, max_samples %d, max_future %v, max_past %v, storage %v, refuses %v, %d bytes, %s, outages %v",
		cfg.OutOfOrder, cfg.Partitions, cfg.MaxInFlight, cfg.ProtobufMessage, cfg.Batch.MaxSamples, cfg.MaxFuture, cfg.MaxPast, cfg.Queue.Storage != nil, refuses, cfg.Queue.MaxSizeBytes, cfg.Queue.OnFull, outages)

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
			complete: !small, maxFuture: cfg.MaxFuture, maxPast: cfg.MaxPast, inLine: cfg.OutOfOrder == OutOfOrderSend, series: make([]acceptedSeries, 4),
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
				m.now.stop()
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
	delivered := b.Delivered()
	for _, c := range clients {
		for i := range c.series {
			c.check(t, i, delivered[rwtest.SeriesKey([]prompb.Label{
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

// check looks at what has arrived of a series.
func (c *wrongClock) check(t *testing.T, series int, arrived []rwtest.Sample) {
	at := make(map[int64]int, len(arrived))
	for i, s := range arrived {
		at[s.Timestamp] = i
	}
	samples := c.series[series].samples
	for j, later := range samples {
		for _, earlier := range samples[:j] {
			before, ok := at[earlier.ts]
			after, too := at[later.ts]
			switch {
			case !ok || !too:
			case c.inLine && !earlier.ahead && !later.ahead:
				require.Less(t, before, after, "%.7s, series %d: the sample at %v was accepted before that at %v", c.name, series,
					time.UnixMilli(earlier.ts), time.UnixMilli(later.ts))
			case earlier.late || later.late || earlier.ts >= later.ts:
			case earlier.ahead && !later.ahead && later.ts <= later.behind:
				// It is older than another one that was ahead of the clock, and does not wait for them.
			default:
				require.Less(t, before, after, "%.7s, series %d: the sample at %v (ahead %v) was accepted before that at %v (ahead %v)", c.name, series,
					time.UnixMilli(earlier.ts), earlier.ahead, time.UnixMilli(later.ts), later.ahead)
			}
		}
	}
	for _, s := range samples {
		if _, ok := at[s.ts]; !ok && !s.late && series != 3 && c.complete {
			require.Failf(t, "missing", "%.7s, series %d: %v", c.name, series, time.UnixMilli(s.ts))
		}
	}
}
