package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/exporterhelper"
	"go.opentelemetry.io/collector/exporter/exporterhelper/xexporterhelper"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"
	nooptrace "go.opentelemetry.io/otel/trace/noop"
	"go.uber.org/zap"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/metadata"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
)

const (
	exporterKey   = "exporter"
	reasonKey     = "reason"
	statusCodeKey = "http.response.status_code"
	partitionKey  = "partition"
	outcomeKey    = "outcome"
)

// telemetry is the exporter's own metrics. What counts samples is observed from the ledger when it is collected, so that
// there is no second count.
type telemetry struct {
	*metadata.TelemetryBuilder
	id       attribute.KeyValue
	exporter metric.MeasurementOption
}

func newTelemetry(set exporter.Settings, e *orderedExporter) (*telemetry, error) {
	builder, err := metadata.NewTelemetryBuilder(set.TelemetrySettings)
	if err != nil {
		return nil, err
	}
	id := attribute.String(exporterKey, set.ID.String())
	t := &telemetry{
		TelemetryBuilder: builder,
		id:               id,
		exporter:         metric.WithAttributeSet(attribute.NewSet(id)),
	}
	if err := errors.Join(t.observeLedger(e.ledger), t.observePartitions(e.queues.partitions), t.observeFallback(&e.fellBack), t.observeDeadLetters(e)); err != nil {
		builder.Shutdown()
		return nil, err
	}
	return t, nil
}

// observeLedger registers the counters of samples. A collection calls the callbacks in the order of their registration:
// the first takes a snapshot and the others show the same one, so that what is collected adds up.
func (t *telemetry) observeLedger(l *account.Ledger) error {
	var latest atomic.Pointer[account.Balance]
	latest.Store(&account.Balance{})
	show := func(n func(*account.Balance) int64) metric.Int64Callback {
		return func(_ context.Context, o metric.Int64Observer) error {
			o.Observe(n(latest.Load()), t.exporter)
			return nil
		}
	}
	return errors.Join(
		t.RegisterExporterOrderedRemoteWriteReceivedSamplesCallback(func(ctx context.Context, o metric.Int64Observer) error {
			b := l.Snapshot()
			latest.Store(&b)
			return show(func(b *account.Balance) int64 { return b.Received })(ctx, o)
		}),
		t.RegisterExporterOrderedRemoteWriteDeliveredSamplesCallback(show(func(b *account.Balance) int64 { return b.Delivered })),
		t.RegisterExporterOrderedRemoteWriteQueuedSamplesCallback(show(func(b *account.Balance) int64 { return b.Queued })),
		t.RegisterExporterOrderedRemoteWriteInFlightSamplesCallback(show(func(b *account.Balance) int64 { return b.InFlight })),
		t.RegisterExporterOrderedRemoteWriteDroppedSamplesCallback(func(_ context.Context, o metric.Int64Observer) error {
			for key, n := range latest.Load().Dropped {
				attrs := append(t.attributes(key.Status), attribute.String(reasonKey, key.Reason.String()))
				o.Observe(n, metric.WithAttributes(attrs...))
			}
			return nil
		}),
	)
}

func (t *telemetry) observePartitions(partitions []*partition) error {
	options := make([]metric.MeasurementOption, len(partitions))
	for i := range partitions {
		options[i] = metric.WithAttributeSet(attribute.NewSet(t.id, attribute.Int(partitionKey, i)))
	}
	each := func(n func(*partition) int64) metric.Int64Callback {
		return func(_ context.Context, o metric.Int64Observer) error {
			for i, p := range partitions {
				o.Observe(n(p), options[i])
			}
			return nil
		}
	}
	return errors.Join(
		t.RegisterExporterOrderedRemoteWriteQueueCapacityCallback(each(func(p *partition) int64 { return p.capacity })),
		t.RegisterExporterOrderedRemoteWriteQueueSizeCallback(each(func(p *partition) int64 { return p.state().size })),
		t.RegisterExporterOrderedRemoteWriteOldestSampleAgeCallback(func(_ context.Context, o metric.Float64Observer) error {
			for i, p := range partitions {
				age := 0.0
				if oldest := p.state().oldest; !oldest.IsZero() {
					age = time.Since(oldest).Seconds()
				}
				o.Observe(age, options[i])
			}
			return nil
		}),
	)
}

func (t *telemetry) observeFallback(fellBack *atomic.Bool) error {
	return t.RegisterExporterOrderedRemoteWriteFallbackCallback(func(_ context.Context, o metric.Int64Observer) error {
		n := int64(0)
		if fellBack.Load() {
			n = 1
		}
		o.Observe(n, t.exporter)
		return nil
	})
}

func (t *telemetry) observeDeadLetters(e *orderedExporter) error {
	return errors.Join(
		t.RegisterExporterOrderedRemoteWriteDeadLetterSizeCallback(func(_ context.Context, o metric.Int64Observer) error {
			o.Observe(e.letters.Load().stats().Bytes, t.exporter)
			return nil
		}),
		t.RegisterExporterOrderedRemoteWriteDeadLettersCallback(func(_ context.Context, o metric.Int64Observer) error {
			s := e.letters.Load().stats()
			for outcome, n := range map[string]int64{"written": s.Written, "failed": s.Failed, "skipped": s.Skipped, "removed": s.Removed} {
				o.Observe(n, metric.WithAttributes(t.id, attribute.String(outcomeKey, outcome)))
			}
			return nil
		}),
	)
}

func (t *telemetry) attributes(status int) []attribute.KeyValue {
	attrs := []attribute.KeyValue{t.id}
	if status != 0 {
		attrs = append(attrs, attribute.Int(statusCodeKey, status))
	}
	return attrs
}

// request records a request, the n-th with the same content.
func (t *telemetry) request(ctx context.Context, status, size int, took time.Duration, n int) {
	t.ExporterOrderedRemoteWriteRequests.Add(ctx, 1, metric.WithAttributes(t.attributes(status)...))
	t.ExporterOrderedRemoteWriteRequestDuration.Record(ctx, took.Seconds(), t.exporter)
	t.ExporterOrderedRemoteWriteRequestSize.Record(ctx, int64(size), t.exporter)
	if n > 1 {
		t.ExporterOrderedRemoteWriteRetries.Add(ctx, 1, t.exporter)
	}
}

// refused records the samples of a payload that was not accepted.
func (t *telemetry) refused(ctx context.Context, samples int) {
	t.ExporterOrderedRemoteWriteRefusedSamples.Add(ctx, int64(samples), t.exporter)
}

// standard gives the metrics and spans that every exporter of the Collector has, in samples. The metrics come from an
// exporterhelper without a queue, whose export is nothing but the report of an outcome: it counts each of its requests
// as either sent or failed as a whole, and a batch that is split ends as both. For the same reason the spans, which cover
// the whole time of a batch with its retries, are made here.
type standard struct {
	helper exporter.Metrics
	tracer trace.Tracer
	name   string
	attrs  []attribute.KeyValue
}

func newStandard(ctx context.Context, set exporter.Settings) (*standard, error) {
	helperSet := set
	// The exporter logs drops itself, at a bounded rate.
	helperSet.Logger = zap.NewNop()
	helperSet.TracerProvider = nooptrace.NewTracerProvider()
	helper, err := xexporterhelper.NewMetricsRequest(ctx, helperSet,
		func(ctx context.Context, _ pmetric.Metrics) (xexporterhelper.Request, error) {
			return ctx.Value(reportKey{}).(*report), nil
		},
		func(ctx context.Context, r xexporterhelper.Request) error {
			return r.(*report).export(ctx)
		},
		exporterhelper.WithTimeout(exporterhelper.TimeoutConfig{}),
	)
	if err != nil {
		return nil, err
	}
	return &standard{
		helper: helper,
		tracer: metadata.Tracer(set.TelemetrySettings),
		name:   "exporter/" + set.ID.String() + "/metrics",
		attrs:  []attribute.KeyValue{attribute.String(exporterKey, set.ID.String()), attribute.String("data_type", "metrics")},
	}, nil
}

// reportKey is the key of a report in a context.
type reportKey struct{}

// report is a request of the exporterhelper.
type report struct {
	samples int
	export  func(context.Context) error
}

var _ xexporterhelper.Request = (*report)(nil)

// ItemsCount returns the number of samples.
func (r *report) ItemsCount() int { return r.samples }

// BytesSize is not asked for without a queue.
func (*report) BytesSize() int { return 0 }

// MergeSplit is not asked for without a queue.
func (r *report) MergeSplit(context.Context, int, exporterhelper.RequestSizerType, xexporterhelper.Request) ([]xexporterhelper.Request, error) {
	return []xexporterhelper.Request{r}, nil
}

func (s *standard) report(ctx context.Context, r *report) {
	_ = s.helper.ConsumeMetrics(context.WithValue(ctx, reportKey{}, r), pmetric.NewMetrics())
}

// outcome counts samples as sent, or as failed if err is not nil.
func (s *standard) outcome(ctx context.Context, samples int, err error) {
	s.report(ctx, &report{samples: samples, export: func(context.Context) error { return err }})
}

// request covers the sending of a batch.
func (s *standard) request(ctx context.Context, send func(context.Context, *requestSpan)) {
	s.report(ctx, &report{export: func(ctx context.Context) error {
		ctx, span := s.tracer.Start(ctx, s.name, trace.WithAttributes(s.attrs...))
		rs := &requestSpan{standard: s, span: span}
		send(ctx, rs)
		span.SetAttributes(attribute.Int("items.sent", rs.sent), attribute.Int("items.failed", rs.failed))
		if rs.err != nil {
			span.SetStatus(codes.Error, rs.err.Error())
		}
		span.End()
		return nil
	}})
}

// requestSpan collects the outcomes of a batch's samples.
type requestSpan struct {
	*standard
	span         trace.Span
	sent, failed int
	err          error
}

func (r *requestSpan) delivered(ctx context.Context, samples int) {
	r.sent += samples
	r.outcome(ctx, samples, nil)
}

func (r *requestSpan) dropped(ctx context.Context, samples int, err error) {
	r.failed += samples
	r.err = err
	r.outcome(ctx, samples, err)
}

// userAgent names the sender and its version (Remote-Write 2.0, "Required Headers").
func userAgent(info component.BuildInfo) string {
	agent := metadata.Type.String() + "/" + info.Version
	if info.Command != "" {
		agent += " " + info.Command
	}
	return agent
}
