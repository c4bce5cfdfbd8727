package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/config/configoptional"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.uber.org/zap"
)

// orderedExporter takes payloads to the queues of the partitions, and runs their senders.
type orderedExporter struct {
	cfg       *Config
	settings  component.TelemetrySettings
	logger    *zap.Logger
	endpoint  string
	userAgent string
	policy    policy
	maxAge    time.Duration

	queues      queues
	ledger      *ledger
	translators sync.Pool
	telemetry   *telemetry
	standard    *standard
	status      *statusReporter
	drops       dropLog

	client *http.Client
	// abort ends all requests and waits; it is set by Start.
	abort     context.CancelFunc
	senders   sync.WaitGroup
	hasFailed atomic.Bool
}

var _ exporter.Metrics = (*orderedExporter)(nil)

func newExporter(ctx context.Context, set exporter.Settings, cfg *Config) (*orderedExporter, error) {
	e := &orderedExporter{
		cfg:       cfg,
		settings:  set.TelemetrySettings,
		logger:    set.Logger,
		endpoint:  cfg.HTTP.Endpoint,
		userAgent: userAgent(set.BuildInfo),
		policy:    policy{retry: cfg.Retry, retryOn429: cfg.RetryOn429, onError: cfg.OnError},
		maxAge:    cfg.Queue.MaxAge,
		ledger:    newLedger(),
		status:    newStatusReporter(),
		drops:     dropLog{logger: set.Logger},
	}
	e.queues = queues{onFull: cfg.Queue.OnFull, ledger: e.ledger}
	for i := range cfg.Partitions {
		e.queues.partitions = append(e.queues.partitions, newPartition(i, cfg))
	}
	memory := newBoundMemory(cfg.SeriesIdleTimeout)
	e.translators.New = func() any { return newTranslator(cfg, memory) }
	var err error
	if e.standard, err = newStandard(ctx, set); err != nil {
		return nil, err
	}
	if e.telemetry, err = newTelemetry(set, &e.queues); err != nil {
		return nil, err
	}
	return e, nil
}

// Capabilities says that payloads are only read.
func (*orderedExporter) Capabilities() consumer.Capabilities {
	return consumer.Capabilities{MutatesData: false}
}

// Start makes the HTTP client, which may need extensions of the host, and starts the senders.
func (e *orderedExporter) Start(ctx context.Context, host component.Host) error {
	client, err := e.clientConfig().ToClient(ctx, host.GetExtensions(), e.settings)
	if err != nil {
		return fmt.Errorf("http: %w", err)
	}
	client.CheckRedirect = refuseRedirect
	e.client = client
	e.status.start(host)
	// The senders live until Shutdown, not until the context of Start ends.
	sending, abort := context.WithCancel(context.WithoutCancel(ctx))
	e.abort = abort
	for _, p := range e.queues.partitions {
		s := &sender{orderedExporter: e, partition: p}
		e.senders.Go(func() { s.run(sending) })
	}
	e.logger.Info("Writing to a Remote-Write endpoint.",
		zap.String("endpoint", redacted(e.endpoint)), zap.Int("partitions", len(e.queues.partitions)))
	return nil
}

// clientConfig is the configuration of the HTTP client, with an idle connection for each partition: Go's default of two
// would open a connection for almost every request.
func (e *orderedExporter) clientConfig() *confighttp.ClientConfig {
	c := e.cfg.HTTP
	if c.DisableKeepAlives {
		return &c
	}
	n := e.cfg.Partitions
	// Unmarshalling leaves the settings of the keepalive section in the deprecated fields.
	keepalive := confighttp.KeepaliveClientConfig{
		IdleConnTimeout:     c.IdleConnTimeout,
		MaxIdleConns:        c.MaxIdleConns,
		MaxIdleConnsPerHost: c.MaxIdleConnsPerHost,
	}
	if set := c.Keepalive.Get(); set != nil {
		keepalive = *set
	}
	if keepalive.MaxIdleConnsPerHost == 0 {
		keepalive.MaxIdleConnsPerHost = n
		if keepalive.MaxIdleConns != 0 {
			keepalive.MaxIdleConns = max(keepalive.MaxIdleConns, n)
		}
	}
	c.Keepalive = configoptional.Some(keepalive)
	return &c
}

// refuseRedirect makes a redirect the answer: Go would turn a redirected POST into a GET without a body, whose success
// would say nothing about the samples.
func refuseRedirect(*http.Request, []*http.Request) error {
	return http.ErrUseLastResponse
}

// ConsumeMetrics accepts the payload as a whole, or refuses it as a whole and returns an error. What cannot be translated
// is dropped and counted, and does not keep the rest from being accepted.
func (e *orderedExporter) ConsumeMetrics(ctx context.Context, md pmetric.Metrics) error {
	if e.failed() {
		return errStopped
	}
	t := e.translators.Get().(*translator)
	defer func() {
		t.reset()
		e.translators.Put(t)
	}()
	t.translate(md)
	if err := e.queues.admit(ctx, t); err != nil {
		e.telemetry.refused(ctx, t.points)
		return err
	}
	e.reportDrops(ctx, t)
	return nil
}

// reportDrops logs what was dropped while a payload was accepted, and counts it as failed. The ledger has it already.
func (e *orderedExporter) reportDrops(ctx context.Context, t *translator) {
	if t.evicted > 0 {
		e.logDropped(ctx, t.evicted, reasonQueueFull, "")
	}
	for r := range t.drops {
		if d := &t.drops[r]; d.count > 0 {
			e.logDropped(ctx, d.count, reason(r), d.example)
		}
	}
}

// logDropped reports samples that were dropped before they were sent.
func (e *orderedExporter) logDropped(ctx context.Context, n int, r reason, example string) {
	e.standard.outcome(ctx, n, consumererror.NewPermanent(errors.New(r.String())))
	e.drops.log(drop{
		samples:   n,
		key:       dropKey{reason: r},
		example:   func() string { return example },
		partition: -1,
	})
}

// Shutdown sends what is queued until ctx is done or shutdown_timeout has passed. What is left then is dropped and
// counted. The metrics stay registered until the collector's meter provider ends: it collects once more after this.
func (e *orderedExporter) Shutdown(ctx context.Context) error {
	if e.abort == nil {
		return nil
	}
	defer e.client.CloseIdleConnections()
	defer e.drops.flush()
	for _, p := range e.queues.partitions {
		p.close()
	}
	ctx, cancel := context.WithTimeout(ctx, e.cfg.ShutdownTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, e.abort)
	e.senders.Wait()
	stop()
	e.abort()
	left := 0
	for _, p := range e.queues.partitions {
		left += p.discard(e.ledger, reasonShutdown)
	}
	if left > 0 {
		e.logDropped(context.WithoutCancel(ctx), left, reasonShutdown, "")
	}
	return nil
}
