// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/extension/xextension/storage"
	"go.uber.org/zap"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/journal"
)

// storageName is the name of the exporter's part of a storage extension.
const storageName = "queue"

// storageClient gets the client of the extension that queue.storage names.
func storageClient(ctx context.Context, host component.Host, named, owner component.ID) (storage.Client, error) {
	extension, ok := host.GetExtensions()[named]
	if !ok {
		return nil, fmt.Errorf("queue.storage: there is no extension %q, it must be in extensions and in service.extensions", named)
	}
	s, ok := extension.(storage.Extension)
	if !ok {
		return nil, fmt.Errorf("queue.storage: the extension %q is no storage extension", named)
	}
	client, err := s.GetClient(ctx, component.KindExporter, owner, storageName)
	if err != nil {
		return nil, fmt.Errorf("queue.storage: %w", err)
	}
	return client, nil
}

// openStorage makes the queue keep in storage what it accepts, if that is configured. A log that holds something prevails over
// the number of partitions: a series must stay in its own.
func (e *orderedExporter) openStorage(ctx context.Context, host component.Host) error {
	named := e.cfg.Queue.Storage
	if named == nil {
		return nil
	}
	client, err := storageClient(ctx, host, *named, e.id)
	if err != nil {
		return err
	}
	log, err := journal.Open(ctx, client, layoutOf(e.cfg.Partitions, e.secret))
	if err != nil {
		_ = client.Close(ctx)
		return fmt.Errorf("queue.storage: opening the log in %q: %w", named, err)
	}
	partitions, secret := partitionsOf(log.InUse())
	if secret != e.secret || partitions != e.cfg.Partitions {
		tr := newTranslation(e.cfg, secret)
		tr.partitions = partitions
		e.translators = newTranslatorPool(tr, e.bounds, e.families)
		e.queue.repartition(partitions)
	}
	watch := &storageWatch{telemetry: e.telemetry, status: e.status, logger: e.logger}
	d := newDurable(e.queue, log, int64(e.cfg.Queue.MaxDiskBytes), watch)
	if n := log.Sizes().Samples; n > 0 {
		e.logger.Info("Recovered samples from storage, which are sent before what comes now. An earlier process may have sent some of them.",
			zap.Uint64("samples", n), zap.Int64("bytes", log.Sizes().Live), zap.Int("partitions", partitions))
	}
	if partitions != e.cfg.Partitions {
		e.logger.Warn("The configured number of partitions takes effect when the exporter starts with nothing in storage.",
			zap.Int("configured", e.cfg.Partitions), zap.Int("in_use", partitions))
	}
	d.start()
	return nil
}

// layoutOf is the layout of a log: two lanes for each partition, and the secret with which series find their partition again.
func layoutOf(partitions int, s partitionSecret) journal.Layout {
	secret := binary.LittleEndian.AppendUint64(nil, s.k0)
	return journal.Layout{Lanes: 2 * partitions, Secret: binary.LittleEndian.AppendUint64(secret, s.k1)}
}

func partitionsOf(l journal.Layout) (partitions int, s partitionSecret) {
	return l.Lanes / 2, partitionSecret{binary.LittleEndian.Uint64(l.Secret), binary.LittleEndian.Uint64(l.Secret[8:])}
}

// storageWatch tells what happens to storage in metrics, in the log and in the status.
type storageWatch struct {
	telemetry *telemetry
	status    *statusReporter
	logger    *zap.Logger

	mu              sync.Mutex
	failed, corrupt throttle
}

var _ storageObserver = (*storageWatch)(nil)

func (w *storageWatch) wrote(took time.Duration, bytes int64, err error) {
	w.status.storage(err)
	if err == nil {
		w.telemetry.stored(context.Background(), took, bytes)
		return
	}
	w.telemetry.storageFailed(context.Background())
	w.mu.Lock()
	heldBack, ok := w.failed.pass(1)
	w.mu.Unlock()
	if ok {
		w.logger.Warn("Storage fails. What it should have is tried again, and callers wait or are refused (queue.storage).",
			zap.Error(err), zap.Int("failures_since_last_line", heldBack))
	}
}

func (w *storageWatch) damaged(samples, records int) {
	w.mu.Lock()
	heldBack, ok := w.corrupt.pass(samples)
	w.mu.Unlock()
	if ok {
		w.logger.Error("Storage has lost or changed what it should keep. What can be read is sent (queue.storage).",
			zap.Int("lost_samples", samples), zap.Int("damaged_records", records), zap.Int("lost_samples_since_last_line", heldBack))
	}
}

// storedDrainTimeout is how long a shutdown waits for answers if everything else stays in storage.
const storedDrainTimeout = 5 * time.Second

// drainTimeout bounds how long a shutdown waits for samples to be delivered.
func (e *orderedExporter) drainTimeout() time.Duration {
	if e.queue.durable != nil {
		return min(e.cfg.ShutdownTimeout, storedDrainTimeout)
	}
	return e.cfg.ShutdownTimeout
}

// closeStorage stores what is not stored yet, and says what stays.
func (e *orderedExporter) closeStorage(ctx context.Context) {
	d := e.queue.durable
	if d == nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, e.cfg.ShutdownTimeout)
	defer cancel()
	if err := d.close(ctx); err != nil {
		e.logger.Warn("Closing storage failed (queue.storage).", zap.Error(err))
	}
	e.logger.Info("Closed. What is not delivered stays in storage.", zap.Int64("samples", e.ledger.Queued()))
}
