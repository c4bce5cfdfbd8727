package orderedremotewriteexporter

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/otlptranslator"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
)

// chaos is one round.
type chaos struct {
	seed, round uint64
	rnd         *rand.Rand
	cfg         *Config
	h           *harness
	wire        *chaosWire
	faults      *chaosFaults
	memory      *boundMemory
	// lossless says that nothing can be lost but what cannot be sent, and exact that the fate of every sample can be told
	// from what was on the wire.
	lossless, exact bool
	// abrupt ends the round while producers are still at work.
	abrupt  bool
	balance account.Balance
	// statuses are the component's.
	statuses []componentstatus.Status
	start    time.Time
	took     time.Duration

	mu       sync.Mutex
	found    []string
	more     int
	attempts []*attemptOf
	expected map[string][]rwtest.Sample
	damages  map[string]int
}

// maxProblems bounds what is told of one round.
const maxProblems = 10

// problem reports a broken promise.
func (c *chaos) problem(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.found) < maxProblems {
		c.found = append(c.found, fmt.Sprintf(format, args...))
	} else {
		c.more++
	}
}

func (c *chaos) problems() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.more > 0 {
		return append(c.found[:len(c.found):len(c.found)], fmt.Sprintf("and %d more", c.more))
	}
	return c.found
}

// run is the round, in a bubble of its own.
func (c *chaos) run(t *testing.T) {
	c.start = time.Now()
	c.rnd = rand.New(rand.NewPCG(c.seed, c.round))
	c.lossless = c.rnd.IntN(5) < 2
	c.expected, c.damages = make(map[string][]rwtest.Sample), make(map[string]int)
	c.faults = newChaosFaults(c.rnd, c.rnd.Uint64(), c.lossless)
	c.wire = newChaosWire(c, c.faults)
	c.h = newHarness(t, c.wire, func(cfg *Config) {
		c.cfg = cfg
		c.configure(t)
		c.configureMessage()
	})
	c.memory = newBoundMemory(c.cfg.SeriesIdleTimeout)
	c.abrupt = !c.lossless && c.rnd.IntN(5) == 0

	var producers, others sync.WaitGroup
	for _, p := range c.producers() {
		producers.Go(func() { p.run(t) })
	}
	ended := make(chan struct{})
	watch := rand.New(rand.NewPCG(c.seed, c.round+1))
	others.Go(func() { c.watch(watch, ended) })
	if c.abrupt {
		time.Sleep(time.Duration(c.rnd.IntN(20_000)) * time.Millisecond)
	} else {
		producers.Wait()
	}
	c.shutdown()
	producers.Wait()
	close(ended)
	others.Wait()
	synctest.Wait()
	c.check()
	c.took = time.Since(c.start)
}

// configure makes a random configuration.
func (c *chaos) configure(t *testing.T) {
	r, cfg := c.rnd, c.cfg
	duration := func(least, most time.Duration) time.Duration {
		return least + time.Duration(r.Int64N(int64(most-least)+1))
	}
	cfg.Partitions = 1 + r.IntN(9)
	cfg.Batch.MaxSamples = pick(r, 1, 1+r.IntN(10), 1+r.IntN(300), 2000)
	cfg.Batch.MaxSizeBytes = pick[ByteSize](r, minBatchSize, minBatchSize, 4*minBatchSize, 3_000_000)
	cfg.Batch.FlushTimeout = pick(r, time.Millisecond, 20*time.Millisecond, time.Second, 5*time.Second)
	cfg.Queue.MaxSizeBytes = ByteSize(cfg.Partitions)*cfg.Batch.MaxSizeBytes*ByteSize(2+r.IntN(3)) + ByteSize(r.Int64N(100))
	cfg.Queue.OnFull = pick(r, OnFullBlock, OnFullReject)
	cfg.Queue.BlockTimeout = pick(r, duration(time.Second, 20*time.Second), time.Hour)
	cfg.HTTP.Timeout = duration(time.Second, 10*time.Second)
	cfg.Retry.BackOff.InitialInterval = duration(time.Millisecond, 200*time.Millisecond)
	cfg.Retry.BackOff.MaxInterval = cfg.Retry.BackOff.InitialInterval + duration(0, 5*time.Second)
	cfg.Retry.BackOff.Multiplier = 1 + 2*r.Float64()
	cfg.Retry.BackOff.RandomizationFactor = pick(r, 0, 0.5, 1)
	cfg.Retry.BackOff.MaxElapsedTime = 0
	cfg.Retry.MaxRetryAfter = duration(time.Second, time.Minute)
	cfg.OnError.Fatal = OnFatalRetry
	cfg.OnError.Rejected = pick(r, OnRejectedDiscard, OnRejectedIsolate)
	cfg.OnError.MaxIsolationRequests = 1 << 20
	cfg.OutOfOrder = pick(r, OutOfOrderSend, OutOfOrderDrop)
	cfg.SeriesIdleTimeout = pick(r, time.Hour, time.Hour, 10*time.Second, 500*time.Millisecond)
	cfg.ShutdownTimeout = 24 * time.Hour
	c.configureTranslation()
	if c.lossless {
		return
	}
	cfg.Queue.OnFull = pick(r, OnFullBlock, OnFullReject, OnFullDropNewest, OnFullDropOldest)
	cfg.Queue.MaxAge = pick[time.Duration](r, 0, 0, 0, duration(10*time.Second, 5*time.Minute))
	cfg.Retry.BackOff.Enabled = r.IntN(6) > 0
	cfg.Retry.BackOff.MaxElapsedTime = pick[time.Duration](r, 0, 0, duration(max(time.Second, cfg.Retry.BackOff.MaxInterval), time.Minute))
	cfg.Retry.MaxRetries = pick(r, 0, r.IntN(5), 1+r.IntN(10))
	cfg.RetryOn429 = r.IntN(3) > 0
	cfg.OnError.RetriesExhausted = pick(r, OnRetriesExhaustedDiscard, OnRetriesExhaustedDiscard, OnRetriesExhaustedDiscard, OnRetriesExhaustedFail)
	cfg.OnError.Fatal = pick(r, OnFatalDiscard, OnFatalDiscard, OnFatalFail)
	if cfg.Retry.BackOff.Enabled {
		cfg.OnError.Fatal = pick(r, OnFatalDiscard, OnFatalDiscard, OnFatalFail, OnFatalRetry)
	}
	cfg.OnError.MaxIsolationRequests = pick(r, 2+r.IntN(60), 1000)
	cfg.ShutdownTimeout = pick(r, duration(time.Millisecond, 20*time.Second), 24*time.Hour)
	if r.IntN(20) == 0 {
		cfg.DeadLetter.Directory = t.TempDir()
	}
}

// configureMessage chooses the version of the protocol, and what is wrong with it.
func (c *chaos) configureMessage() {
	r, cfg, f := c.rnd, c.cfg, c.faults
	if r.IntN(2) == 0 {
		// What an answer to a 1.0 message says of written samples means nothing.
		f.lie = pick(r, 0, r.IntN(100))
		return
	}
	cfg.ProtobufMessage = MessageV2
	cfg.Fallback = r.IntN(3) > 0
	cfg.SendMetadata = false
	cfg.TranslationStrategy = pick(r, cfg.TranslationStrategy, cfg.TranslationStrategy, otlptranslator.NoUTF8EscapingWithSuffixes, otlptranslator.NoTranslation)
	cfg.ConvertExplicitHistogramsToNHCB = r.IntN(3) == 0
	cfg.KeepClassicHistograms = cfg.ConvertExplicitHistogramsToNHCB && r.IntN(2) == 0
	if !c.lossless {
		f.lie, f.silent = pick(r, 0, r.IntN(50), r.IntN(500)), pick(r, 0, 0, r.IntN(50))
	}
	if c.lossless && !(c.carriesV1() && cfg.Fallback) {
		return
	}
	f.unreadable = pick(r, "", "", "", "", "415", "400 for 2.0", "unread 2xx")
	if c.lossless && f.unreadable == "400 for 2.0" {
		f.unreadable = "415"
	}
}

// carriesV1 says whether 1.0 can carry all that is translated for 2.0.
func (c *chaos) carriesV1() bool {
	return c.cfg.TranslationStrategy.ShouldEscape() && !c.cfg.ConvertExplicitHistogramsToNHCB
}

// configureTranslation chooses what concerns the contents of requests.
func (c *chaos) configureTranslation() {
	r, cfg := c.rnd, c.cfg
	cfg.SendMetadata = r.IntN(3) == 0
	cfg.MetadataInterval = pick(r, 100*time.Millisecond, 5*time.Second, time.Minute)
	cfg.TranslationStrategy = pick(r, otlptranslator.UnderscoreEscapingWithSuffixes, otlptranslator.UnderscoreEscapingWithoutSuffixes)
	cfg.Namespace = pick(r, "", "", "ns")
	cfg.ExternalLabels = pick(r, nil, nil, map[string]string{"region": "eu", "zz": "external"})
	cfg.ResourceConstantLabels = pick(r, ResourceConstantLabelsConfig{}, ResourceConstantLabelsConfig{},
		ResourceConstantLabelsConfig{Included: []string{"host.*"}})
	cfg.DisableScopeInfo = r.IntN(3) == 0
	cfg.TargetInfo.Enabled = r.IntN(4) > 0
}

// shutdown shuts the exporter down within the time that it has.
func (c *chaos) shutdown() {
	limit := c.cfg.ShutdownTimeout
	ctx := context.Background()
	if !c.lossless && c.rnd.IntN(4) == 0 {
		limit = min(limit, time.Duration(c.rnd.IntN(5000))*time.Millisecond)
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	start := time.Now()
	if err := c.h.Shutdown(ctx); err != nil {
		c.problem("shutdown: %v", err)
	}
	if took := time.Since(start); took > limit {
		c.problem("the shutdown took %v of %v", took, limit)
	}
	b := c.h.ledger.Snapshot()
	if b.Queued != 0 || b.InFlight != 0 {
		c.problem("after the shutdown %d samples are queued and %d in flight", b.Queued, b.InFlight)
	}
	for _, p := range c.h.queues.partitions {
		if size := p.state().size; size != 0 {
			c.problem("after the shutdown partition %d holds %d bytes", p.index, size)
		}
	}
	requests := c.wire.requests()
	time.Sleep(time.Minute)
	if n := c.wire.requests(); n != requests {
		c.problem("%d requests were sent after the shutdown", n-requests)
	}
}

func (w *chaosWire) requests() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.exchanges)
}

// watch checks at random moments what must hold at every moment.
func (c *chaos) watch(rnd *rand.Rand, ended <-chan struct{}) {
	pause := 10 * time.Millisecond
	for {
		select {
		case <-ended:
			return
		case <-time.After(time.Duration(rnd.Int64N(int64(pause)))):
		}
		c.checkBalance()
		c.statuses = append(c.statuses, c.h.host.statuses()...)
		if rnd.IntN(10) == 0 {
			c.checkCollection()
		}
		pause += pause / 20
	}
}

// chaosProducer gives its payloads to the exporter, one after the other.
type chaosProducer struct {
	*chaos
	number int
	rnd    *rand.Rand
	model  chaosModel
	next   func() (pmetric.Metrics, bool)
	// sound is nil if payloads are damaged.
	sound *rwtest.Producer
	// patience is how often a payload is tried again, and deadline how long each call may take.
	patience int
	deadline time.Duration
	calm     int
}

// producers are some with sound payloads, some with damaged ones, and possibly one with hostile ones.
func (c *chaos) producers() []*chaosProducer {
	r := c.rnd
	payloads := rwtest.Payloads{
		Seed: r.Uint64(), Producers: 1 + r.IntN(5), Streams: 3 + r.IntN(60), Points: 2 + r.IntN(20), StreamsPerPayload: 1 + r.IntN(40),
		Start: time.Now().Add(-time.Duration(r.IntN(600)) * time.Second),
	}
	var all []*chaosProducer
	add := func(next func() (pmetric.Metrics, bool)) *chaosProducer {
		p := &chaosProducer{
			chaos: c, number: len(all), next: next,
			rnd:      rand.New(rand.NewPCG(r.Uint64(), 0)),
			model:    chaosModel{translator: newTranslator(testTranslation(c.cfg), c.memory, nil)},
			patience: 1 << 30, deadline: time.Duration(1+r.IntN(60)) * time.Second, calm: 1 + r.IntN(10),
		}
		if !c.lossless {
			p.patience = r.IntN(5)
		}
		all = append(all, p)
		return p
	}
	damaged := r.IntN(3)
	for i, p := range payloads.Split() {
		describe := r.IntN(2) == 0
		next := func() (pmetric.Metrics, bool) {
			md, ok := p.Next()
			if ok && describe {
				md.ResourceMetrics().At(0).Resource().Attributes().PutStr("host.name", "chaos")
			}
			return md, ok
		}
		if i < damaged {
			d := &damager{chaos: c, rnd: rand.New(rand.NewPCG(r.Uint64(), 0)), next: next, permille: 1 + r.IntN(200)}
			add(d.damaged)
		} else {
			add(next).sound = p
		}
	}
	if r.IntN(2) == 0 {
		left := r.IntN(30)
		hostile := rand.New(rand.NewPCG(r.Uint64(), 0))
		add(func() (pmetric.Metrics, bool) {
			left--
			return rwtest.Hostile(hostile), left >= 0
		})
	}
	return all
}

func (p *chaosProducer) run(t *testing.T) {
	for md, ok := p.next(); ok; md, ok = p.next() {
		if !p.deliver(t, md) {
			return
		}
		switch n := p.rnd.IntN(10 * p.calm); {
		case n < 8:
			time.Sleep(time.Duration(p.rnd.IntN(100)) * time.Millisecond)
		case n < 10:
			time.Sleep(time.Duration(p.rnd.IntN(10_000)) * time.Millisecond)
		}
	}
	if p.sound != nil {
		p.mu.Lock()
		defer p.mu.Unlock()
		maps.Copy(p.expected, p.sound.Expected())
	}
}

// deliver tries a payload until it is accepted or there is no sense in it. It returns false when the exporter has ended.
func (p *chaosProducer) deliver(t *testing.T, md pmetric.Metrics) bool {
	for n := 0; ; n++ {
		a, err := p.model.translate(md, p.h.version.protocol())
		require.NoError(t, err)
		p.wire.expect(a.points)
		err = p.consume(md)
		a.producer, a.returned, a.err = p.number, time.Now(), err
		p.mu.Lock()
		p.attempts = append(p.attempts, a)
		p.mu.Unlock()
		switch {
		case err == nil:
			return true
		case errors.Is(err, errStopped), errors.Is(err, errClosed):
			return false
		case consumererror.IsPermanent(err):
			return true
		case errors.Is(err, errQueueFull), errors.Is(err, context.DeadlineExceeded):
		default:
			p.problem("ConsumeMetrics: %v", err)
		}
		if n >= p.patience {
			return true
		}
		time.Sleep(time.Duration(1+p.rnd.IntN(3000)) * time.Millisecond)
	}
}

// consume passes a payload on. The exporter does not keep it for longer than it may.
func (p *chaosProducer) consume(md pmetric.Metrics) error {
	ctx, cancel := context.WithTimeout(context.Background(), p.deadline)
	defer cancel()
	start := time.Now()
	err := p.h.ConsumeMetrics(ctx, md)
	most := time.Duration(0)
	if p.cfg.Queue.OnFull == OnFullBlock {
		most = min(p.deadline, p.cfg.Queue.BlockTimeout)
	}
	if took := time.Since(start); took > most {
		p.problem("ConsumeMetrics took %v, and may take %v", took, most)
	}
	return err
}
