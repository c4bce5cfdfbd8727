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
	id        component.ID
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

	// letters is set by Start; nil keeps none.
	letters atomic.Pointer[deadLetters]
	// metadata is nil unless send_metadata is set.
	metadata *metadataSender

	client *http.Client
	// abort ends all requests and waits; it is set by Start.
	abort context.CancelFunc
	// senders are the goroutines of the partitions, others those that end only when abort is called.
	senders, others sync.WaitGroup
	hasFailed       atomic.Bool
	// fellBack says that 2.0 is configured and 1.0 is sent; provenV2 that the endpoint has shown that it reads 2.0.
	fellBack, provenV2 atomic.Bool
}

var _ exporter.Metrics = (*orderedExporter)(nil)

func newExporter(ctx context.Context, set exporter.Settings, cfg *Config, secret partitionSecret) (*orderedExporter, error) {
	e := &orderedExporter{
		cfg:       cfg,
		id:        set.ID,
		settings:  set.TelemetrySettings,
		logger:    set.Logger,
		endpoint:  cfg.HTTP.Endpoint,
		userAgent: userAgent(set.BuildInfo),
		policy:    policy{retry: cfg.Retry, retryOn429: cfg.RetryOn429, onError: cfg.OnError, fallback: cfg.Fallback},
		maxAge:    cfg.Queue.MaxAge,
		ledger:    newLedger(),
		status:    newStatusReporter(cfg.OnError.RetriesExhausted == OnRetriesExhaustedFail),
		drops:     dropLog{logger: set.Logger},
	}
	e.queues = queues{onFull: cfg.Queue.OnFull, blockTimeout: cfg.Queue.BlockTimeout, ledger: e.ledger}
	for i := range cfg.Partitions {
		e.queues.partitions = append(e.queues.partitions, newPartition(i, cfg))
	}
	memory := newBoundMemory(cfg.SeriesIdleTimeout)
	if cfg.SendMetadata {
		e.metadata = &metadataSender{
			orderedExporter: e, interval: cfg.MetadataInterval, batch: cfg.Batch.MaxSamples,
			families: make(map[string]familyMetadata),
		}
	}
	translation := newTranslation(cfg, secret)
	e.translators.New = func() any { return newTranslator(translation, memory, e.metadata) }
	var err error
	if e.standard, err = newStandard(ctx, set); err != nil {
		return nil, err
	}
	if e.telemetry, err = newTelemetry(set, e); err != nil {
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
	client.Transport = refuseRedirects{client.Transport}
	letters, err := openDeadLetters(e.cfg, e.id, e.userAgent, &e.drops)
	if err != nil {
		return err
	}
	e.letters.Store(letters)
	e.client = client
	e.status.start(host)
	// The senders live until Shutdown, not until the context of Start ends.
	sending, abort := context.WithCancel(context.WithoutCancel(ctx))
	e.abort = abort
	for _, p := range e.queues.partitions {
		s := &sender{orderedExporter: e, partition: p}
		e.senders.Go(func() { s.run(sending) })
	}
	if e.metadata != nil {
		e.others.Go(func() { e.metadata.run(sending) })
	}
	e.logger.Info("Writing to a Remote-Write endpoint.",
		zap.String("endpoint", redacted(e.endpoint)), zap.Int("partitions", len(e.queues.partitions)))
	return nil
}

// clientConfig is the configuration of the HTTP client, with an idle connection for each partition: Go's default of two
// would open a connection for almost every request.
func (e *orderedExporter) clientConfig() *confighttp.ClientConfig {
	c := e.cfg.HTTP
	keepalive := c.Keepalive.Get()
	if keepalive == nil {
		// Depending on a feature gate of confighttp, unmarshalling leaves the keepalive section where it is, so that none
		// means that it is disabled, or moves it into the deprecated fields.
		defaults := confighttp.NewDefaultClientConfig()
		if defaults.Keepalive.HasValue() {
			//lint:ignore SA1019 ToClient looks at it
			c.DisableKeepAlives = true
		}
		//lint:ignore SA1019 see above
		if c.DisableKeepAlives {
			return &c
		}
		keepalive = &confighttp.KeepaliveClientConfig{
			//lint:ignore SA1019 see above
			IdleConnTimeout: c.IdleConnTimeout,
			//lint:ignore SA1019 see above
			MaxIdleConns: c.MaxIdleConns,
			//lint:ignore SA1019 see above
			MaxIdleConnsPerHost: c.MaxIdleConnsPerHost,
		}
	}
	all := *keepalive
	if all.MaxIdleConnsPerHost == 0 {
		all.MaxIdleConnsPerHost = e.cfg.Partitions
		if all.MaxIdleConns != 0 {
			all.MaxIdleConns = max(all.MaxIdleConns, e.cfg.Partitions)
		}
	}
	c.Keepalive = configoptional.Some(all)
	return &c
}

// refuseRedirects makes a redirect the answer: Go would turn a redirected POST into a GET without a body, whose success
// would say nothing about the samples. Without a Location, which Go reads before it asks anybody, there is nothing to
// follow.
type refuseRedirects struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (r refuseRedirects) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := r.RoundTripper.RoundTrip(req)
	if err == nil && resp.StatusCode >= 300 && resp.StatusCode <= 399 {
		resp.Header.Del("Location")
	}
	return resp, err
}

// CloseIdleConnections does what http.Client's method of that name asks for.
func (r refuseRedirects) CloseIdleConnections() {
	if c, ok := r.RoundTripper.(interface{ CloseIdleConnections() }); ok {
		c.CloseIdleConnections()
	}
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
	t.translate(md, e.protocol())
	if err := e.queues.admit(ctx, t); err != nil {
		e.telemetry.refused(ctx, t.points)
		return err
	}
	e.reportDrops(ctx, t)
	return nil
}

// protocol is the version in which payloads are encoded.
func (e *orderedExporter) protocol() protocol {
	if e.cfg.ProtobufMessage == MessageV2 && !e.fellBack.Load() {
		return protocolV2
	}
	return protocolV1
}

// reportDrops logs what was dropped while a payload was accepted, and counts it as failed. The ledger has it already.
func (e *orderedExporter) reportDrops(ctx context.Context, t *translator) {
	if t.evicted > 0 {
		e.logDropped(ctx, t.evicted, reasonQueueFull, nil)
	}
	for r := range t.drops {
		if d := &t.drops[r]; d.count > 0 {
			e.logDropped(ctx, d.count, reason(r), d.example)
		}
	}
}

// logDropped reports samples that were dropped before they were sent.
func (e *orderedExporter) logDropped(ctx context.Context, n int, r reason, example func() string) {
	e.standard.outcome(ctx, n, consumererror.NewPermanent(errors.New(r.String())))
	e.drops.log(drop{
		samples:   n,
		key:       dropKey{reason: r},
		example:   example,
		partition: -1,
	})
}

// deadLetterTimeout is how long a shutdown waits for dropped requests to be written, after its time for sending has
// ended.
const deadLetterTimeout = 2 * time.Second

func (e *orderedExporter) closeDeadLetters(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), deadLetterTimeout)
	defer cancel()
	e.letters.Load().close(ctx)
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
	e.others.Wait()
	left := 0
	for _, p := range e.queues.partitions {
		left += p.discard(e.ledger, reasonShutdown)
	}
	if left > 0 {
		e.logDropped(context.WithoutCancel(ctx), left, reasonShutdown, nil)
	}
	e.closeDeadLetters(ctx)
	return nil
}
