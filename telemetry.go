package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"context"
	"errors"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/metadata"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/remote"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

const (
	exporterKey   = "exporter"
	reasonKey     = "reason"
	statusCodeKey = "http.response.status_code"
	partitionKey  = "partition"
	outcomeKey    = "outcome"
	messageKey    = "protobuf_message"
)

// telemetry is the exporter's own metrics. What counts samples is observed from the ledger when it is collected, so that
// there is no second count.
type telemetry struct {
	*metadata.TelemetryBuilder
	id       attribute.KeyValue
	exporter metric.MeasurementOption
}

// observed is what the metrics show besides requests.
type observed struct {
	ledger     *account.Ledger
	partitions []*partition
	version    *version
	letters    *letters
}

func newTelemetry(set exporter.Settings, o observed) (*telemetry, error) {
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
	if err := errors.Join(t.observeLedger(o.ledger), t.observePartitions(o.partitions), t.observeVersion(o.version), t.observeDeadLetters(o.letters)); err != nil {
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

func (t *telemetry) observeVersion(v *version) error {
	is := func(yes bool) int64 {
		if yes {
			return 1
		}
		return 0
	}
	return errors.Join(
		t.RegisterExporterOrderedRemoteWriteFallbackCallback(func(_ context.Context, o metric.Int64Observer) error {
			o.Observe(is(v.fellBack()), t.exporter)
			return nil
		}),
		t.RegisterExporterOrderedRemoteWriteProtobufMessageCallback(func(_ context.Context, o metric.Int64Observer) error {
			inUse := v.inUse()
			for _, p := range []wire.Protocol{wire.V1, wire.V2} {
				o.Observe(is(p == inUse), metric.WithAttributes(t.id, attribute.String(messageKey, p.Message())))
			}
			return nil
		}),
	)
}

func (t *telemetry) observeDeadLetters(l *letters) error {
	return errors.Join(
		t.RegisterExporterOrderedRemoteWriteDeadLetterSizeCallback(func(_ context.Context, o metric.Int64Observer) error {
			o.Observe(l.stats().Bytes, t.exporter)
			return nil
		}),
		t.RegisterExporterOrderedRemoteWriteDeadLettersCallback(func(_ context.Context, o metric.Int64Observer) error {
			s := l.stats()
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

// request records a request.
func (t *telemetry) request(ctx context.Context, x remote.Exchange) {
	t.ExporterOrderedRemoteWriteRequests.Add(ctx, 1, metric.WithAttributes(t.attributes(x.Status)...))
	t.ExporterOrderedRemoteWriteRequestDuration.Record(ctx, x.Took.Seconds(), t.exporter)
	t.ExporterOrderedRemoteWriteRequestSize.Record(ctx, int64(x.Size), t.exporter)
	if x.Attempt > 1 {
		t.ExporterOrderedRemoteWriteRetries.Add(ctx, 1, t.exporter)
	}
}

// refused records the samples of a payload that was not accepted.
func (t *telemetry) refused(ctx context.Context, samples int) {
	t.ExporterOrderedRemoteWriteRefusedSamples.Add(ctx, int64(samples), t.exporter)
}
