// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"errors"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
)

// TestIsolationBudget looks at every minute of an hour in which requests and refusals come at random.
func TestIsolationBudget(t *testing.T) {
	rnd := rand.New(rand.NewPCG(seed(t), 0))
	const hour = 3600
	var budget isolation
	var requests, spent, onOffenders [hour]int
	over := func(of *[hour]int, second int) (n int) {
		for s := max(second-isolationWindow+1, 0); s <= second; s++ {
			n += of[s]
		}
		return n
	}
	start := time.Unix(1_700_000_000, 0)
	refused := false
	for second := range hour {
		now := start.Add(time.Duration(second) * time.Second)
		if rnd.IntN(3) == 0 {
			requests[second] = rnd.IntN(40)
		}
		for range requests[second] {
			budget.request(now)
		}
		most := max(over(&requests, second), leastIsolation)
		for range rnd.IntN(60) {
			n, known := 1+rnd.IntN(2), rnd.IntN(4) > 0
			before, beforeOnOffenders := over(&spent, second), over(&onOffenders, second)
			paid := budget.spend(now, n, known)
			refused = refused || !paid
			require.Equal(t, before+n <= most && (!known || beforeOnOffenders+n <= most/2), paid, "second %d", second)
			if !paid {
				continue
			}
			if spent[second] += n; known {
				onOffenders[second] += n
			}
		}
	}
	assert.True(t, refused, "the budget is spent at times")
}

// TestIsolationAfterTheClockWasSetBack: what was spent in seconds that are ahead of the clock now is no part of the last minute.
func TestIsolationAfterTheClockWasSetBack(t *testing.T) {
	var budget isolation
	start := time.Unix(1_700_000_000, 0)
	require.True(t, budget.spend(start, leastIsolation, false))
	require.False(t, budget.spend(start, 1, false))
	assert.True(t, budget.spend(start.Add(2*time.Minute-time.Hour), 1, false))
}

// withClockSet is a time of a clock that was set forward or back by so much after the process has started.
func withClockSet(at time.Time, by time.Duration) time.Time {
	const hasMonotonic, secondsShift = 1 << 63, 30
	words := (*struct {
		wall uint64
		ext  int64
	})(unsafe.Pointer(&at))
	if words.wall&hasMonotonic == 0 {
		panic("a time without a monotonic clock reading")
	}
	words.wall = uint64(int64(words.wall) + int64(by/time.Second)<<secondsShift)
	return at
}

// TestOffendersAfterTheClockWasSet: when one is tried again, and forgotten, does not depend on what a clock is set to.
func TestOffendersAfterTheClockWasSet(t *testing.T) {
	for _, by := range []time.Duration{-time.Hour, 2 * time.Hour} {
		o := newOffenders(time.Hour, 32)
		start := time.Now()
		o.add(1, start)
		later := withClockSet(start.Add(tryOffenderAfter-1), by)
		assert.False(t, o.due(1, later), by)
		o.expire(later)
		assert.True(t, o.has(1), by)
		assert.True(t, o.due(1, later.Add(1)), by)
		o.expire(withClockSet(start.Add(time.Hour), by))
		assert.False(t, o.has(1), by)
	}
}

// TestOffendersAreBounded in number, by when they were refused, and in time.
func TestOffendersAreBounded(t *testing.T) {
	o := newOffenders(time.Hour, 32)
	start := time.Unix(1_700_000_000, 0)
	for i := range 10_000 {
		o.add(uint64(i), start.Add(time.Duration(i)*time.Millisecond))
	}
	assert.Len(t, o.refused, mostOffenders/32)
	assert.True(t, o.has(9_999))
	assert.False(t, o.has(0), "the one that was refused longest ago is forgotten")
	assert.False(t, o.due(9_999, start.Add(time.Minute)))
	assert.True(t, o.due(9_999, start.Add(time.Minute+10*time.Second)))
	o.expire(start.Add(time.Hour))
	assert.True(t, o.has(9_999))
	o.expire(start.Add(time.Hour + 10*time.Second))
	assert.Empty(t, o.refused)
}

// TestIdentityOfLabels is the same when it is made of a message as when the guard sees the series.
func TestIdentityOfLabels(t *testing.T) {
	forEachMessage(t, func(t *testing.T, message func(*Config)) {
		tr := newTestTranslator(configOf(message))
		for seed := range uint64(200) {
			tr.translate(rwtest.Hostile(rand.New(rand.NewPCG(seed, 1))))
			for i := range tr.segments {
				for j := range tr.segments[i].chunks {
					c := &tr.segments[i].chunks[j]
					contents := c.contents()
					require.Equal(t, len(c.index), contents.len())
					for series, e := range c.index {
						require.Equal(t, e.identity, identityOf(contents.labels(series)))
					}
				}
			}
			tr.reset()
		}
	})
}

// refuser refuses requests with samples of bad series, as a receiver that keeps nothing of them does.
type refuser struct {
	mu  sync.Mutex
	bad func(series string) bool
	seen
}

// seen is how many requests have come, were refused, and had good series beside bad ones.
type seen struct{ requests, refused, mixed int }

// since is what has come since.
func (r *refuser) since(before seen) seen {
	r.mu.Lock()
	defer r.mu.Unlock()
	return seen{r.requests - before.requests, r.refused - before.refused, r.mixed - before.mixed}
}

func (r *refuser) answer(req rwtest.Request) rwtest.Answer {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests++
	good, bad := 0, 0
	for _, ts := range req.Message.Timeseries {
		for _, l := range ts.Labels {
			switch {
			case l.Name != "series":
			case r.bad(l.Value):
				bad++
			default:
				good++
			}
		}
	}
	if bad == 0 {
		return rwtest.Answer{}
	}
	r.refused++
	if good > 0 {
		r.mixed++
	}
	return rwtest.Answer{Status: 400}
}

// isolating is a configuration that isolates, and gives up nothing because of one request alone.
func isolating(c *Config) {
	c.OnError.Rejected = OnRejectedIsolate
	c.OnError.MaxIsolationRequests = 1 << 20
}

// TestOffendersTravelApart: of 200 series, five are refused for five minutes. They cost others their requests once; then they
// travel apart, and the budget is hardly touched. When they are good again, they are taken again.
func TestOffendersTravelApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mended atomic.Bool
		r := &refuser{bad: func(series string) bool {
			return !mended.Load() && len(series) == 2 && series[1:] == "7" && series < "6"
		}}
		receiver := &rwtest.Receiver{Script: r.answer}
		h := newHarness(t, receiver, isolating)
		seconds := func(n int) seen {
			before := r.since(seen{})
			for range n {
				h.consume(gauge(time.Now(), 200))
				time.Sleep(time.Second)
			}
			time.Sleep(10 * time.Second)
			return r.since(before)
		}
		first := seconds(10)
		settled := seconds(290)
		t.Logf("the first 10 s: %d requests, %d refused, %d with good series; the next 290 s: %d, %d, %d",
			first.requests, first.refused, first.mixed, settled.requests, settled.refused, settled.mixed)
		assert.Positive(t, first.mixed)
		assert.Zero(t, settled.mixed, "no good sample pays for an offender that is known")
		assert.LessOrEqual(t, settled.requests, 290*4+5*5*2, "four for a payload, and each offender is tried again once a minute")
		lost := h.dropped()
		assert.Equal(t, int64(300*(200-5)), h.delivered(), "no good sample is lost")
		assert.Equal(t, int64(5*300), lost["rejected 400"]+lost["isolation_limit 400"])

		mended.Store(true)
		seconds(120)
		after := h.dropped()
		back := seconds(60)
		assert.Equal(t, after, h.dropped(), "nothing is lost of what is good again")
		assert.LessOrEqual(t, back.requests, 2*70, "all travel together again")
		h.shutdown()
		t.Logf("lost in all: %v", h.dropped())
		assert.Empty(t, receiver.Problems())
	})
}

// TestOffendersThatAreGoodAgainAreFoundAmongOthers: what is refused together does not keep one of them from being taken again.
func TestOffendersThatAreGoodAgainAreFoundAmongOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mended atomic.Bool
		r := &refuser{bad: func(series string) bool { return len(series) == 1 && !(series == "4" && mended.Load()) }}
		receiver := &rwtest.Receiver{Script: r.answer}
		h := newHarness(t, receiver, isolating, onePartition)
		seconds := func(n int) {
			for range n {
				h.consume(gauge(time.Now(), 100))
				time.Sleep(time.Second)
			}
			time.Sleep(10 * time.Second)
		}
		seconds(120)
		mended.Store(true)
		before := len(seriesOf(receiver, 4))
		assert.Zero(t, before)
		seconds(75)
		taken := len(seriesOf(receiver, 4))
		assert.NotZero(t, taken)
		seconds(60)
		assert.Len(t, seriesOf(receiver, 4), taken+60, "nothing of it is lost any more")
		h.shutdown()
		assert.Empty(t, receiver.Problems())
	})
}

// TestIsolationIsBoundedOverTime: whatever is refused, in no minute do requests become more than twice as many, or 300 more.
func TestIsolationIsBoundedOverTime(t *testing.T) {
	const series = 200
	for _, tt := range []struct {
		name string
		bad  int
		// others says that there are other series each second.
		others bool
	}{
		{"few are bad", 5, false},
		{"many are bad", 30, false},
		{"all are bad", 200, false},
		{"other ones are bad each second", 20, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &refuser{bad: func(name string) bool {
					n, err := strconv.Atoi(name)
					assert.NoError(t, err)
					return n%series < tt.bad
				}}
				receiver := &rwtest.Receiver{Script: r.answer}
				h := newHarness(t, receiver, isolating)
				for minute := range 4 {
					before := r.since(seen{})
					for second := range 60 {
						md := gauge(time.Now(), series)
						if tt.others {
							for i, dp := range md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0).Gauge().DataPoints().All() {
								dp.Attributes().PutStr("series", strconv.Itoa((60*minute+second)*series+i))
							}
						}
						h.consume(md)
						time.Sleep(time.Second)
					}
					sent := r.since(before)
					t.Logf("minute %d: %d requests, %d refused, %d with good series; dropped %v",
						minute, sent.requests, sent.refused, sent.mixed, h.dropped())
					// Good samples, late ones and offenders leave twice a second at most.
					assert.LessOrEqual(t, sent.requests, 3*2*60+leastIsolation)
				}
				h.shutdown()
				assert.Empty(t, receiver.Problems())
				if tt.bad < series && !tt.others {
					assert.GreaterOrEqual(t, h.delivered(), int64((series-tt.bad)*3*60), "good samples are lost in the first minute at most")
				}
				d := h.dropped()
				assert.Equal(t, int64(series*240), h.delivered()+d["rejected 400"]+d["isolation_limit 400"])
			})
		})
	}
}

// TestOffendersDoNotFillTheQueue: when four fifths of what comes are offenders, and the endpoint is slow, no payload is refused and no
// good sample lost.
func TestOffendersDoNotFillTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var latency atomic.Int64
		r := &refuser{bad: func(series string) bool { return series[len(series)-1] > '1' }}
		receiver := &rwtest.Receiver{Script: func(req rwtest.Request) rwtest.Answer {
			a := r.answer(req)
			a.Latency = time.Duration(latency.Load())
			return a
		}}
		h := newHarness(t, receiver, isolating, func(c *Config) {
			c.Partitions = 4
			c.Batch.MaxSamples = 50
			c.Batch.MaxSizeBytes = minBatchSize
			// While offenders are tried again, up to 225 good samples of a partition have waited, of a kB each. It may have half of the queue.
			c.Queue.MaxSizeBytes = 56 * minBatchSize
			c.Queue.OnFull = OnFullReject
		})
		feed := func(seconds int) {
			for range seconds {
				h.consume(noise(time.Now(), 0, 50))
				time.Sleep(time.Second)
			}
			time.Sleep(time.Minute)
		}
		feed(120) // so that all are known
		before, lost := h.delivered(), h.dropped()
		latency.Store(int64(2 * time.Second))
		feed(300)
		after := h.dropped()
		assert.Equal(t, before+300*10, h.delivered(), "good samples")
		assert.Greater(t, after["isolation_limit"], lost["isolation_limit"], "offenders find no room")
		t.Logf("dropped %v", after)
		h.shutdown()
		assert.Empty(t, receiver.Problems())
	})
}

// TestRefusalOfWhatWasPerhapsSent is isolated outside of the budget, and says nothing of the series.
func TestRefusalOfWhatWasPerhapsSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &refuser{bad: func(string) bool { return true }}
		receiver := &rwtest.Receiver{Script: r.answer}
		h := newHarness(t, receiver, isolating, onePartition)
		h.perhapsSent()
		h.consume(gauge(time.Now(), 1000))
		time.Sleep(time.Minute)
		assert.Equal(t, 2*1000-1, r.since(seen{}).requests)
		assert.Equal(t, map[string]int64{"refused_after_unknown 400": 1000}, h.dropped())
		assert.Empty(t, h.queue.partitions[0].guard.offenders.refused)
		h.shutdown()
	})
}

// TestRefusalAfterALostAnswer has an endpoint like Prometheus, which takes the newest sample of a series once more, and refuses a
// request with an older one as a whole. What it has stored without an answer is taken apart when it is refused, whatever
// on_error.rejected says, and what comes after it is delivered as always.
func TestRefusalAfterALostAnswer(t *testing.T) {
	forEachMessage(t, func(t *testing.T, message func(*Config)) {
		for _, rejected := range []OnRejected{OnRejectedDiscard, OnRejectedIsolate} {
			t.Run(string(rejected), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					p := &likePrometheus{newest: make(map[string]int64)}
					receiver := &rwtest.Receiver{Script: p.answer}
					h := newHarness(t, receiver, onePartition, message, func(c *Config) {
						c.OnError.Rejected, c.OnError.MaxIsolationRequests = rejected, 2
						c.Batch.FlushTimeout = time.Minute
					})
					now := time.Now()
					p.lose.Store(true)
					for i := range 3 {
						h.consume(gauge(now.Add(time.Duration(i)*time.Second), 100))
					}
					time.Sleep(time.Minute + 10*time.Second)
					assert.Equal(t, map[string]int64{"refused_after_unknown 400": 200}, h.dropped())
					assert.Equal(t, int64(100), h.delivered())
					assert.Empty(t, h.queue.partitions[0].guard.offenders.refused)

					h.consume(gauge(now.Add(time.Minute), 100))
					h.shutdown()
					assert.Equal(t, int64(200), h.delivered())
					assert.Len(t, seriesOf(receiver, 7), 4, "samples are stored")
					assert.Empty(t, receiver.OutOfOrder())
				})
			})
		}
	})
}

// TestRefusalAfterALostAnswerGivesNoBudget: what finds out which samples of such a request are refused does not count as requests
// that isolate nothing, which would let isolation send as many more.
func TestRefusalAfterALostAnswerGivesNoBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var lost atomic.Bool
		r := &refuser{bad: func(string) bool { return true }}
		receiver := &rwtest.Receiver{Script: func(req rwtest.Request) rwtest.Answer {
			if !lost.Swap(true) {
				return rwtest.Answer{Fault: rwtest.Reset, Stored: true}
			}
			return r.answer(req)
		}}
		h := newHarness(t, receiver, isolating, onePartition)
		h.consume(gauge(time.Now(), 1000))
		time.Sleep(10 * time.Second)
		before := r.since(seen{})
		assert.Equal(t, 2*1000-1, before.requests)
		h.consume(gauge(time.Now(), 1000))
		time.Sleep(10 * time.Second)
		assert.LessOrEqual(t, r.since(before).requests, leastIsolation+1)
		h.shutdown()
	})
}

// likePrometheus refuses requests with samples older than the newest of their series. It loses the answer to a request.
type likePrometheus struct {
	lose atomic.Bool

	mu     sync.Mutex
	newest map[string]int64
}

func (p *likePrometheus) answer(r rwtest.Request) rwtest.Answer {
	p.mu.Lock()
	defer p.mu.Unlock()
	newest := maps.Clone(p.newest)
	for i, series := range r.Series {
		for _, s := range r.Message.Timeseries[i].Samples {
			if last, ok := newest[series]; ok && s.Timestamp < last {
				return rwtest.Answer{Status: 400, Body: "out of order sample"}
			}
			newest[series] = s.Timestamp
		}
	}
	p.newest = newest
	if p.lose.Swap(false) {
		return rwtest.Answer{Fault: rwtest.Reset, Stored: true}
	}
	return rwtest.Answer{}
}

// TestRefusalAfterNoConnection is of what was certainly not sent before: it is as any other refusal.
func TestRefusalAfterNoConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &refuser{bad: func(string) bool { return true }}
		receiver := &rwtest.Receiver{Script: r.answer}
		b := &unreachable{RoundTripper: receiver}
		b.away.Store(true)
		h := newHarness(t, b, onePartition)
		h.consume(gauge(time.Now(), 100))
		time.Sleep(10 * time.Second)
		b.away.Store(false)
		h.shutdown()
		assert.Equal(t, 1, r.since(seen{}).requests)
		assert.Equal(t, map[string]int64{"rejected 400": 100}, h.dropped())
	})
}

// unreachable is a backend to which no connection can be made while it is away.
type unreachable struct {
	http.RoundTripper
	away atomic.Bool
}

func (u *unreachable) RoundTrip(r *http.Request) (*http.Response, error) {
	if u.away.Load() {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: errors.New("connection refused")}
	}
	return u.RoundTripper.RoundTrip(r)
}

// perhapsSent makes everything that is sent from now on count as perhaps sent before.
func (h *harness) perhapsSent() {
	h.queue.mu.Lock()
	defer h.queue.mu.Unlock()
	deliver := h.queue.deliver
	h.queue.deliver = func(d *delivery) {
		d.recovered = true
		deliver(d)
	}
}

// TestLateSampleMakesNoOffender: what is refused because it is old says nothing of the next sample of its series.
func TestLateSampleMakesNoOffender(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		receiver := &rwtest.Receiver{Script: func(req rwtest.Request) rwtest.Answer {
			for _, ts := range req.Message.Timeseries {
				if ts.Samples[0].Timestamp < start.UnixMilli() {
					return rwtest.Answer{Status: 400}
				}
			}
			return rwtest.Answer{}
		}}
		h := newHarness(t, receiver, isolating, onePartition)
		h.consume(gauge(start, 5))
		h.consume(gauge(start.Add(-time.Second), 5))
		time.Sleep(time.Minute)
		assert.Equal(t, map[string]int64{"rejected 400": 5}, h.dropped())
		assert.Empty(t, h.queue.partitions[0].guard.offenders.refused)
		h.shutdown()
	})
}

// TestMadeTargetInfoOfAnOffenderIsNotReceivedIfItIsDropped: the endpoint refuses the target_info that the exporter makes itself. When late
// samples have no room, nothing that was received is lost with it.
func TestMadeTargetInfoOfAnOffenderIsNotReceivedIfItIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		receiver := &rwtest.Receiver{Script: func(r rwtest.Request) rwtest.Answer {
			if slices.ContainsFunc(r.Series, func(key string) bool { return strings.Contains(key, "target_info") }) {
				return rwtest.Answer{Status: 400}
			}
			return rwtest.Answer{}
		}}
		h := newHarness(t, receiver, onePartition, isolating, func(c *Config) {
			c.Batch.MaxSizeBytes = minBatchSize
			c.Queue.MaxSizeBytes = 4 * minBatchSize
		})
		received := 0
		consume := func() {
			md := metricsOf([]any{"service.name", "shop", "service.instance.id", "a", "long", incompressible(7000)}, gaugeOf("x", number(1)))
			retime(md, time.Now())
			h.consume(md)
			received++
			time.Sleep(10 * time.Second)
		}
		consume()
		assert.Equal(t, map[string]int64{"rejected 400": 1}, h.dropped())
		for range 5 {
			consume()
		}
		h.shutdown()
		assert.Equal(t, int64(received), h.delivered())
		assert.Equal(t, map[string]int64{"rejected 400": 1}, h.dropped())
	})
}

// TestRefusalAfterAPartOfARequestWasKept: a receiver of 2.0 keeps the first half of a request and says so with an error that may pass. The
// second time it refuses what it has. The other half is not lost.
func TestRefusalAfterAPartOfARequestWasKept(t *testing.T) {
	for _, status := range []int{429, 500, 503} {
		synctest.Test(t, func(t *testing.T) {
			var mu sync.Mutex
			kept := make(map[string]bool)
			receiver := &rwtest.Receiver{Script: func(r rwtest.Request) rwtest.Answer {
				mu.Lock()
				defer mu.Unlock()
				if len(kept) == 0 {
					for _, key := range r.Series[:len(r.Series)/2] {
						kept[key] = true
					}
					return rwtest.Answer{Status: status, Keep: func(key string, _ rwtest.Sample) bool { return kept[key] }}
				}
				if slices.ContainsFunc(r.Series, func(key string) bool { return kept[key] }) {
					return rwtest.Answer{Status: 400}
				}
				return rwtest.Answer{}
			}}
			h := newHarness(t, receiver, onePartition, func(c *Config) { c.ProtobufMessage = MessageV2 })
			h.consume(gauge(time.Now(), 100))
			h.shutdown()
			assert.Len(t, receiver.Delivered(), 100)
			assert.Equal(t, int64(50), h.delivered())
			assert.Equal(t, map[string]int64{"refused_after_unknown 400": 50}, h.dropped())
		})
	}
}
