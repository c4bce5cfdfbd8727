// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/extension/xextension/storage"
	"go.uber.org/zap"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
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

// storedQueue is what an exporter has of a storage extension.
type storedQueue struct {
	log     *journal.Log
	durable *durable
	backlog *backlog
	watch   *storageWatch
}

// openLog opens the log that an exporter has in the extension that queue.storage names.
func openLog(ctx context.Context, host component.Host, named, owner component.ID, l journal.Layout) (*journal.Log, error) {
	client, err := storageClient(ctx, host, named, owner)
	if err != nil {
		return nil, err
	}
	log, err := journal.Open(ctx, client, l)
	if err != nil {
		_ = client.Close(ctx)
		return nil, fmt.Errorf("queue.storage: opening the log in %q: %w", named, err)
	}
	return log, nil
}

// start begins to write and to read. The queue must keep in the log what it accepts.
func (s *storedQueue) start() {
	s.durable.idle = exchanger{s.durable}.exchangePartitions
	s.backlog = startBacklog(s.durable)
	s.durable.start()
}

// close stores what is not stored yet.
func (s *storedQueue) close(ctx context.Context) error {
	defer s.watch.flush()
	s.backlog.stop(ctx)
	return s.durable.close(ctx)
}

// storageWatch tells what happens to storage in metrics, in the log and in the status.
type storageWatch struct {
	telemetry *telemetry
	standard  *standard
	status    *statusReporter
	logger    *zap.Logger
	// refuse closes the queue for a reason.
	refuse func(error)

	failed, corrupt, taken throttle
}

func newStorageWatch(e *orderedExporter) *storageWatch {
	e.telemetry.beginStorage()
	w := &storageWatch{telemetry: e.telemetry, standard: e.standard, status: e.status, logger: e.logger, refuse: e.queue.refuse}
	w.failed.tell = func(heldBack int) {
		w.logger.Warn("Storage fails (queue.storage).", zap.Int("failures_since_last_line", heldBack))
	}
	w.corrupt.tell = func(heldBack int) {
		w.logger.Error("Storage has lost or changed what it should keep (queue.storage).", zap.Int("lost_samples_since_last_line", heldBack))
	}
	return w
}

// flush tells what was held back.
func (w *storageWatch) flush() {
	w.failed.flush()
	w.corrupt.flush()
}

var _ storageObserver = (*storageWatch)(nil)

func (w *storageWatch) wrote(took time.Duration, bytes int64, err error) {
	if err == nil {
		w.status.storage(nil)
		w.telemetry.stored(context.Background(), took, bytes)
		return
	}
	w.telemetry.storageFailed(context.Background())
	if errors.Is(err, journal.ErrTaken) {
		w.lost(err)
		return
	}
	w.status.storage(err)
	if heldBack, ok := w.failed.pass(1); ok {
		w.logger.Warn("Storage fails. What it should have is tried again, and callers wait or are refused (queue.storage).",
			zap.Error(err), zap.Int("failures_since_last_line", heldBack))
	}
}

func (w *storageWatch) works() { w.status.storage(nil) }

// lost is told that another process has the log. What is in it, that one has recovered, and sends.
func (w *storageWatch) lost(err error) {
	err = fmt.Errorf("queue.storage: %w", err)
	w.status.permanent(err)
	w.refuse(err)
	if _, ok := w.taken.pass(1); ok {
		w.logger.Error("Another collector uses the storage of this exporter, and has what is in it. Nothing is accepted or sent here until this collector "+
			"is restarted. Give each collector a directory, a database or a prefix of its own, or the exporter another ID (queue.storage).", zap.Error(err))
	}
}

func (w *storageWatch) damaged(samples, records int) {
	if samples > 0 {
		ctx := context.Background()
		w.standard.outcome(ctx, samples, consumererror.NewPermanent(errors.New(account.ReasonStorageCorrupt.String())))
	}
	if heldBack, ok := w.corrupt.pass(samples); ok {
		w.logger.Error("Storage has lost or changed what it should keep. What can be read is sent (queue.storage).",
			zap.Int("lost_samples", samples), zap.Int("damaged_records", records), zap.Int("lost_samples_since_last_line", heldBack))
	}
}

// storedDrainTimeout is how long a shutdown waits for answers if everything else stays in storage.
const storedDrainTimeout = 5 * time.Second
