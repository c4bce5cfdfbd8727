// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"context"
	"errors"
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
	outcomeKey    = "outcome"
	dataTypeKey   = "data_type"
	dataType      = "metrics"
	messageKey    = "protobuf_message"
)

// telemetry is the exporter's own metrics. What counts samples is observed from the ledger when it is collected, so that
// there is no second count.
type telemetry struct {
	*metadata.TelemetryBuilder
	id       attribute.KeyValue
	exporter metric.MeasurementOption
	// standard has the attributes of the metrics that all exporters have.
	standard metric.MeasurementOption
}

// observed is what the metrics show besides requests.
type observed struct {
	ledger  *account.Ledger
	queue   *queue
	version *version
	letters *letters
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
		standard:         metric.WithAttributeSet(attribute.NewSet(id, attribute.String(dataTypeKey, dataType))),
	}
	if err := errors.Join(t.observeLedger(metadata.Meter(set.TelemetrySettings), o.ledger), t.observeQueue(o.queue), t.observeVersion(o.version), t.observeDeadLetters(o.letters)); err != nil {
		builder.Shutdown()
		return nil, err
	}
	t.begin()
	return t, nil
}

// begin lets the counters of what may never happen begin with 0: the first value of a series is no increase.
func (t *telemetry) begin() {
	ctx := context.Background()
	t.refused(ctx, 0)
	t.ExporterOrderedRemoteWriteRetries.Add(ctx, 0, t.exporter)
	t.ExporterOrderedRemoteWriteReorderedPayloads.Add(ctx, 0, t.exporter)
}

// beginStorage does the same for what is only there with storage.
func (t *telemetry) beginStorage() {
	t.ExporterOrderedRemoteWriteStorageErrors.Add(context.Background(), 0, t.exporter)
}

// observeLedger registers the counters of samples, with one callback for all of them: what a reader collects is the balance of
// one moment, also while another reader collects.
func (t *telemetry) observeLedger(meter metric.Meter, l *account.Ledger) error {
	expected := account.Expected()
	_, err := meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		b := l.Snapshot()
		o.ObserveInt64(t.ExporterOrderedRemoteWriteReceivedSamples, b.Received, t.exporter)
		o.ObserveInt64(t.ExporterOrderedRemoteWriteRecoveredSamples, b.Recovered, t.exporter)
		o.ObserveInt64(t.ExporterOrderedRemoteWriteDeliveredSamples, b.Delivered, t.exporter)
		o.ObserveInt64(t.ExporterOrderedRemoteWriteQueuedSamples, b.Queued, t.exporter)
		o.ObserveInt64(t.ExporterOrderedRemoteWriteInFlightSamples, b.InFlight, t.exporter)
		// Begins at 0 with what has never happened.
		for _, key := range expected {
			b.Dropped[key] += 0
		}
		for key, n := range b.Dropped {
			attrs := append(t.attributes(key.Status), attribute.String(reasonKey, key.Reason.String()))
			o.ObserveInt64(t.ExporterOrderedRemoteWriteDroppedSamples, n, metric.WithAttributes(attrs...))
		}
		return nil
	},
		t.ExporterOrderedRemoteWriteReceivedSamples, t.ExporterOrderedRemoteWriteRecoveredSamples,
		t.ExporterOrderedRemoteWriteDeliveredSamples, t.ExporterOrderedRemoteWriteDroppedSamples,
		t.ExporterOrderedRemoteWriteQueuedSamples, t.ExporterOrderedRemoteWriteInFlightSamples,
	)
	return err
}

// observeQueue registers the gauges of the queue.
func (t *telemetry) observeQueue(q *queue) error {
	with := func(attributes metric.MeasurementOption) func(func(*queueState) int64) metric.Int64Callback {
		return func(n func(*queueState) int64) metric.Int64Callback {
			return func(_ context.Context, o metric.Int64Observer) error {
				s := q.state()
				o.Observe(n(&s), attributes)
				return nil
			}
		}
	}
	gauge, standard := with(t.exporter), with(t.standard)
	capacity := func(*queueState) int64 { return q.capacity }
	size := func(s *queueState) int64 { return s.size }
	ifStored := func(stored func(*storedState) int64, otherwise func(*queueState) int64) func(*queueState) int64 {
		return func(s *queueState) int64 {
			if s.stored != nil {
				return stored(s.stored)
			}
			return otherwise(s)
		}
	}
	storage := func(n func(*storedState) int64) metric.Int64Callback {
		return func(_ context.Context, o metric.Int64Observer) error {
			if s := q.state(); s.stored != nil {
				o.Observe(n(s.stored), t.exporter)
			}
			return nil
		}
	}
	return errors.Join(
		t.RegisterExporterOrderedRemoteWriteStorageCapacityCallback(storage(func(s *storedState) int64 { return s.capacity })),
		t.RegisterExporterOrderedRemoteWriteStorageRecordsSizeCallback(storage(func(s *storedState) int64 { return s.records })),
		t.RegisterExporterOrderedRemoteWriteStorageSizeCallback(storage(func(s *storedState) int64 { return s.live })),
		t.RegisterExporterOrderedRemoteWriteQueueCapacityCallback(gauge(capacity)),
		t.RegisterExporterQueueCapacityCallback(standard(ifStored(func(s *storedState) int64 { return s.capacity }, capacity))),
		t.RegisterExporterOrderedRemoteWriteQueueSizeCallback(gauge(size)),
		t.RegisterExporterQueueSizeCallback(standard(ifStored(func(s *storedState) int64 { return s.live }, size))),
		t.RegisterExporterOrderedRemoteWriteLargestPartitionCallback(gauge(func(s *queueState) int64 { return s.largest })),
		t.RegisterExporterOrderedRemoteWritePartitionsCallback(gauge(func(s *queueState) int64 { return int64(s.partitions) })),
		t.RegisterExporterOrderedRemoteWriteRequestsInFlightCallback(gauge(func(s *queueState) int64 { return int64(s.inFlight) })),
		t.RegisterExporterOrderedRemoteWriteInFlightLimitCallback(gauge(func(s *queueState) int64 { return int64(s.limit) })),
		t.RegisterExporterOrderedRemoteWriteInFlightCeilingCallback(gauge(func(*queueState) int64 { return int64(q.maxInFlight) })),
		t.RegisterExporterOrderedRemoteWriteGateClosedCallback(gauge(func(s *queueState) int64 { return boolean(s.closed) })),
		t.RegisterExporterOrderedRemoteWritePausedCallback(gauge(func(s *queueState) int64 { return boolean(s.paused) })),
		t.RegisterExporterOrderedRemoteWriteOldestSampleAgeCallback(func(_ context.Context, o metric.Float64Observer) error {
			age := 0.0
			if s := q.state(); !s.oldest.IsZero() {
				age = time.Since(s.oldest).Seconds()
			}
			o.Observe(age, t.exporter)
			return nil
		}),
	)
}

func boolean(set bool) int64 {
	if set {
		return 1
	}
	return 0
}

func (t *telemetry) observeVersion(v *version) error {
	return errors.Join(
		t.RegisterExporterOrderedRemoteWriteFallbackCallback(func(_ context.Context, o metric.Int64Observer) error {
			o.Observe(boolean(v.fellBack()), t.exporter)
			return nil
		}),
		t.RegisterExporterOrderedRemoteWriteProtobufMessageCallback(func(_ context.Context, o metric.Int64Observer) error {
			inUse := v.inUse()
			for _, p := range []wire.Protocol{wire.V1, wire.V2} {
				o.Observe(boolean(p == inUse), metric.WithAttributes(t.id, attribute.String(messageKey, p.Message())))
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
	t.ExporterEnqueueFailedMetricPoints.Add(ctx, int64(samples), t.standard)
}

// waited records how long the oldest sample of a delivery has waited in the queue.
func (t *telemetry) waited(ctx context.Context, d time.Duration) {
	t.ExporterOrderedRemoteWriteQueueDuration.Record(ctx, d.Seconds(), t.exporter)
}

// reordered records a payload whose samples were put in the order of time.
func (t *telemetry) reordered(ctx context.Context) {
	t.ExporterOrderedRemoteWriteReorderedPayloads.Add(ctx, 1, t.exporter)
}

// stored records a write to storage.
func (t *telemetry) stored(ctx context.Context, took time.Duration, bytes int64) {
	t.ExporterOrderedRemoteWriteStorageWriteDuration.Record(ctx, took.Seconds(), t.exporter)
	t.ExporterOrderedRemoteWriteStorageWriteSize.Record(ctx, bytes, t.exporter)
}

// storageFailed records a read or a write that storage has failed.
func (t *telemetry) storageFailed(ctx context.Context) {
	t.ExporterOrderedRemoteWriteStorageErrors.Add(ctx, 1, t.exporter)
}
