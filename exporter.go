// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/configretry"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.uber.org/zap"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/remote"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// orderedExporter takes payloads to the queue, and sends what the queue hands out.
type orderedExporter struct {
	id  component.ID
	cfg *Config
	// secret is that of a queue with nothing in storage.
	secret    partitionSecret
	settings  component.TelemetrySettings
	logger    *zap.Logger
	userAgent string

	queue       *queue
	ledger      *account.Ledger
	translators atomic.Pointer[translatorPool]
	bounds      *boundMemory
	telemetry   *telemetry
	standard    *standard
	status      *statusReporter
	events      *eventLog
	letters     *letters
	version     *version
	// families is nil unless send_metadata is set.
	families *families

	// storage is nil without queue.storage. Start sets it.
	storage *storedQueue
	// client and abort are set by Start. abort ends all requests and waits.
	client      *remote.Client
	abort       context.CancelFunc
	sendingDone context.Context
	// sending are the goroutines of deliveries, others those that end only when abort is called.
	sending, others sync.WaitGroup
	failed          atomic.Bool
	stopped         sync.Once
}

var _ exporter.Metrics = (*orderedExporter)(nil)

func newExporter(ctx context.Context, set exporter.Settings, cfg *Config, secret partitionSecret) (*orderedExporter, error) {
	set.Logger = withoutStacks(set.Logger)
	e := &orderedExporter{
		id:        set.ID,
		cfg:       cfg,
		secret:    secret,
		settings:  set.TelemetrySettings,
		logger:    set.Logger,
		userAgent: userAgent(set.BuildInfo),
		ledger:    account.NewLedger(),
		status:    newStatusReporter(),
		events:    newEventLog(set.Logger, cfg.LogExamples),
		version:   &version{configured: cfg.protocol(), needsV2: cfg.needsV2(), logger: set.Logger},
	}
	e.letters = newLetters(cfg, set.ID, e.userAgent, e.events)
	options := cfg.queueOptions()
	if cfg.DeadLetter.Directory != "" {
		options.keep = e.letters.keepBatch
	}
	options.dropped = func(samples int, r account.Reason) { e.logDropped(context.WithoutCancel(ctx), samples, r, nil) }
	e.queue = newQueue(options, e.ledger)
	if cfg.SendMetadata {
		e.families = newFamilies()
	}
	e.bounds = newBoundMemory(cfg.SeriesIdleTimeout)
	e.usePartitions(cfg.Partitions, secret)
	var err error
	if e.standard, err = newStandard(ctx, set); err != nil {
		return nil, err
	}
	if e.telemetry, err = newTelemetry(set, observed{
		ledger: e.ledger, queue: e.queue, version: e.version, letters: e.letters,
	}); err != nil {
		return nil, err
	}
	return e, nil
}

// protocol is the version of the configured message.
func (c *Config) protocol() wire.Protocol {
	if c.ProtobufMessage == MessageV2 {
		return wire.V2
	}
	return wire.V1
}

// needsV2 says whether the configuration makes series that 1.0 cannot carry: names in UTF-8, or custom buckets.
func (c *Config) needsV2() bool {
	return !c.TranslationStrategy.ShouldEscape() || c.ConvertExplicitHistogramsToNHCB
}

func (c *Config) queueOptions() queueOptions {
	policy := c.policy()
	return queueOptions{
		partitions:   c.Partitions,
		limits:       c.Batch,
		maxSize:      int64(c.Queue.MaxSizeBytes),
		onFull:       c.Queue.OnFull,
		blockTimeout: c.Queue.BlockTimeout,
		maxInFlight:  c.maxInFlight(),
		doubt:        func(failures int) time.Duration { return policy.Doubt(failures, rand.Float64()) },
		asked:        func(a *remote.Answer) time.Duration { return policy.Asked(a, time.Now()) },
		guard: guardOptions{
			outOfOrder: c.OutOfOrder,
			maxFuture:  c.MaxFuture,
			maxPast:    c.MaxPast,
			idle:       c.SeriesIdleTimeout,
			partitions: c.Partitions,
		},
	}
}

// policy is what the configuration says of answers.
func (c *Config) policy() remote.Policy {
	p := remote.Policy{
		BackOff:       configretry.BackOffConfig(c.Retry.BackOff),
		MaxRetries:    c.Retry.MaxRetries,
		MaxRetryAfter: c.Retry.MaxRetryAfter,
		RetryOn429:    c.RetryOn429,
		Exhausted:     remote.VerdictDrop,
		Fatal:         remote.VerdictPause,
		Isolate:       c.OnError.Rejected == OnRejectedIsolate,
		Fallback:      c.Fallback,
		NeedsV2:       c.needsV2(),
	}
	if c.OnError.RetriesExhausted == OnRetriesExhaustedFail {
		p.Exhausted = remote.VerdictFail
	}
	switch c.OnError.Fatal {
	case OnFatalRetry:
		p.Fatal = remote.VerdictRetry
	case OnFatalDiscard:
		p.Fatal = remote.VerdictDrop
	case OnFatalFail:
		p.Fatal = remote.VerdictFail
	}
	return p
}

// Capabilities says that payloads are only read.
func (*orderedExporter) Capabilities() consumer.Capabilities {
	return consumer.Capabilities{MutatesData: false}
}

// Start makes the HTTP client and starts the senders.
func (e *orderedExporter) Start(ctx context.Context, host component.Host) error {
	e.status.start(host)
	client, url, err := e.cfg.httpClient(ctx, host, e.settings)
	if err != nil {
		return fmt.Errorf("http: %w", err)
	}
	if err := e.letters.open(); err != nil {
		return err
	}
	if err := e.openStorage(ctx, host); err != nil {
		return err
	}
	e.client = remote.NewClient(client, url, e.userAgent, e.telemetry.request)
	// The senders live until Shutdown, not until the context of Start ends.
	sending, abort := context.WithCancel(context.WithoutCancel(ctx))
	e.abort, e.sendingDone = abort, sending
	s := e.newSender()
	e.queue.start(func(d *delivery) { s.start(sending, d) })
	e.others.Go(func() { e.expire(sending) })
	if e.families != nil {
		f := &familySender{
			families: e.families, client: e.client, interval: e.cfg.MetadataInterval, limits: &e.cfg.Batch, events: e.events,
			open: e.queue.open, asked: e.queue.askedToWait,
		}
		e.others.Go(func() { f.run(sending) })
	}
	e.logger.Info("Writing to a Remote-Write endpoint.",
		zap.String("endpoint", remote.Redacted(e.cfg.HTTP.Endpoint)), zap.Int("partitions", e.cfg.Partitions))
	return nil
}

func (e *orderedExporter) newSender() *sender {
	return &sender{
		queue:        e.queue,
		story:        &story{logger: e.logger, endpoint: remote.Redacted(e.cfg.HTTP.Endpoint)},
		spawn:        e.sending.Go,
		waited:       e.telemetry.waited,
		client:       e.client,
		policy:       e.cfg.policy(),
		version:      e.version,
		ledger:       e.ledger,
		standard:     e.standard,
		events:       e.events,
		letters:      e.letters,
		status:       e.status,
		maxAge:       e.cfg.Queue.MaxAge,
		idle:         e.cfg.SeriesIdleTimeout,
		maxIsolation: e.cfg.OnError.MaxIsolationRequests,
		durable:      e.storage != nil,
		isolation:    new(isolation),
		fail:         e.fail,
	}
}

// expire gives memory back, several times in series_idle_timeout, of which idle series made use. It returns when ctx is done.
func (e *orderedExporter) expire(ctx context.Context) {
	ticker := time.NewTicker(max(e.cfg.SeriesIdleTimeout/16, time.Second))
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := time.Now()
		e.queue.expire(now)
		e.bounds.expire(now)
	}
}

// ConsumeMetrics accepts the payload as a whole, or refuses it as a whole and returns an error. What cannot be translated
// is dropped and counted, and does not keep the rest from being accepted.
func (e *orderedExporter) ConsumeMetrics(ctx context.Context, md pmetric.Metrics) error {
	if e.storage != nil {
		e.storage.durable.heldBack(ctx, &e.queue.mu)
	}
	for {
		if err := e.consume(ctx, md); !errors.Is(err, errExchanged) {
			return err
		}
	}
}

// usePartitions makes what is translated from now on have the partitions of a secret.
func (e *orderedExporter) usePartitions(n int, secret partitionSecret) {
	tr := newTranslation(e.cfg, secret)
	tr.partitions = n
	e.translators.Store(newTranslatorPool(tr, e.bounds, e.families))
}

// consume is ConsumeMetrics, and returns errExchanged if the queue has other partitions than the translator.
func (e *orderedExporter) consume(ctx context.Context, md pmetric.Metrics) error {
	pool := e.translators.Load()
	t := pool.take()
	defer pool.giveBack(t)
	if err := t.translate(ctx, md, e.version.protocol()); err != nil {
		n := md.DataPointCount()
		e.telemetry.refused(ctx, n)
		if consumererror.IsPermanent(err) {
			e.refusing(n, err)
		}
		return err
	}
	evicted, err := e.queue.admit(ctx, &t.payload)
	if errors.Is(err, errExchanged) {
		return err
	}
	if t.reordered {
		e.telemetry.reordered(ctx)
	}
	if errors.Is(err, errUnstored) {
		// What joined a commit is accepted, whether the caller waits for it or not.
		e.reportDrops(ctx, evicted, &t.drops)
		return err
	}
	if err != nil {
		e.telemetry.refused(ctx, t.points)
		if e.failed.Load() {
			return errStopped
		}
		if !errors.Is(err, errClosed) {
			e.refusing(t.points, err)
		}
		return err
	}
	e.reportDrops(ctx, evicted, &t.drops)
	return nil
}

// refusing logs that a payload of n points is refused.
func (e *orderedExporter) refusing(n int, err error) {
	size, capacity := e.queue.accepted()
	e.events.refusing(n, err, size, capacity)
}

// reportDrops logs what was dropped while a payload was accepted, and counts it as failed. The ledger has it already.
func (e *orderedExporter) reportDrops(ctx context.Context, evicted int, drops *account.Drops) {
	if evicted > 0 {
		e.logDropped(ctx, evicted, account.ReasonQueueFull, nil)
	}
	for r := range drops {
		if d := &drops[r]; d.Count > 0 {
			e.logDropped(ctx, d.Count, account.Reason(r), d.Example)
		}
	}
	e.letters.tell()
}

// logDropped reports samples that were dropped before they were sent.
func (e *orderedExporter) logDropped(ctx context.Context, n int, r account.Reason, example func() string) {
	e.standard.outcome(ctx, n, consumererror.NewPermanent(errors.New(r.String())))
	e.events.drop(drop{
		samples: n,
		key:     account.Key{Reason: r},
		example: example,
	})
}

// errStopped is returned for payloads that come after a fatal answer.
var errStopped = errors.New("exporter has stopped after a fatal answer")

// fail stops the collector: the endpoint's answer says that going on is of no use, and the configuration asks to stop
// then.
func (e *orderedExporter) fail(a *remote.Answer) {
	if e.failed.Swap(true) {
		return
	}
	e.logger.Error("Stopping: the endpoint's answer is fatal by configuration (on_error).", zap.String("answer", a.Error()), zap.String("see", pagePause))
	e.queue.close()
	e.abort()
	e.status.fatal(a)
}

// Shutdown sends what is queued until ctx is done or shutdown_timeout has passed, whatever the transport does. What is left
// then is dropped and counted; so is everything if Start has failed or was never called. The metrics stay registered until
// the collector's meter provider ends: it collects once more after this.
func (e *orderedExporter) Shutdown(ctx context.Context) error {
	e.stopped.Do(func() { e.shutdown(ctx) })
	return nil
}

func (e *orderedExporter) shutdown(ctx context.Context) {
	defer func() {
		e.events.flush()
		e.events.sum(e.ledger.Snapshot())
	}()
	e.status.stopping()
	e.queue.close()
	if e.abort != nil {
		defer e.client.CloseIdleConnections()
		e.drain(ctx)
	}
	e.letters.last()
	left := e.queue.discard()
	e.sending.Wait()
	e.others.Wait()
	if left > 0 {
		e.logDropped(context.WithoutCancel(ctx), left, account.ReasonShutdown, nil)
	}
	e.letters.close(ctx)
	e.closeStorage(ctx)
}

// drain waits until everything is sent, and then ends what is under way: early enough for that to end in time, even if the
// transport does not.
func (e *orderedExporter) drain(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, e.drainTimeout())
	defer cancel()
	deadline, _ := ctx.Deadline()
	left := time.Until(deadline)
	early, cancel := context.WithTimeout(ctx, left-min(remote.AbandonGrace, left/2))
	defer cancel()
	select {
	case <-e.queue.drained:
	case <-early.Done():
	case <-e.sendingDone.Done():
	}
	e.abort()
}

// ExporterHelperBatchingEnabled says that requests are composed here, so that the service, from v0.165 on, warns of a batch
// processor in the same pipeline.
func (e *orderedExporter) ExporterHelperBatchingEnabled() bool { return true }

// openStorage makes the queue keep in storage what it accepts, if that is configured. A log that holds something prevails over
// the number of partitions: a series must stay in its own.
func (e *orderedExporter) openStorage(ctx context.Context, host component.Host) error {
	if e.cfg.Queue.Storage == nil {
		return nil
	}
	log, err := openLog(ctx, host, *e.cfg.Queue.Storage, e.id, layoutOf(e.cfg.Partitions, e.secret))
	if err != nil {
		return err
	}
	partitions, secret := partitionsOf(log.InUse())
	if secret != e.secret || partitions != e.cfg.Partitions {
		e.usePartitions(partitions, secret)
		e.queue.repartition(partitions)
	}
	watch := newStorageWatch(e)
	e.storage = &storedQueue{log: log, durable: newDurable(log, int64(e.cfg.Queue.MaxDiskBytes), watch), watch: watch}
	e.queue.keepIn(e.storage.durable)
	if sizes := log.Sizes(); sizes.Samples > 0 {
		e.logger.Info("Recovered samples from storage, which are sent before what comes now. An earlier process may have sent some of them.",
			zap.Uint64("samples", sizes.Samples), zap.Int64("bytes", sizes.Live), zap.Int("partitions", partitions))
	}
	if partitions != e.cfg.Partitions {
		fields := []zap.Field{zap.Int("configured", e.cfg.Partitions), zap.Int("before", partitions)}
		e.logger.Info("The configured number of partitions takes effect when everything in storage is delivered.", fields...)
		e.storage.durable.exchange = exchange{
			wanted:          e.cfg.Partitions,
			exchangedLocked: func() { e.usePartitions(e.cfg.Partitions, secret) },
			exchanged:       func() { e.logger.Info("The configured number of partitions is in use.", fields...) },
		}
	}
	e.storage.start()
	return nil
}

// drainTimeout bounds how long a shutdown waits for samples to be delivered. With storage it waits for answers only.
func (e *orderedExporter) drainTimeout() time.Duration {
	if e.storage != nil {
		return min(e.cfg.ShutdownTimeout, storedDrainTimeout)
	}
	return e.cfg.ShutdownTimeout
}

// closeStorage stores what is not stored yet.
func (e *orderedExporter) closeStorage(ctx context.Context) {
	if e.storage == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, e.cfg.ShutdownTimeout)
	defer cancel()
	if err := e.storage.close(ctx); err != nil {
		e.logger.Warn("Closing storage failed (queue.storage).", zap.Error(err))
	}
}
