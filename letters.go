// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/collector/component"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/deadletter"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/remote"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// letters keeps dropped requests and batches on disk, if the configuration asks for that.
type letters struct {
	config    DeadLetterConfig
	exporter  string
	endpoint  string
	userAgent string
	events    *eventLog
	// store is nil until the directory is open, and if none is configured. Metrics are read before Start and after it.
	store atomic.Pointer[deadletter.Store]
	// missed is why the last batch was not kept that nobody has been told of, or nil.
	missed atomic.Pointer[error]
	limits *BatchConfig

	// mu guards what follows. The queue may be locked before it.
	mu sync.Mutex
	// batches were dropped for the reason and will be kept together, when they are enough or the timer ends.
	batches []*batch
	reason  account.Reason
	samples int
	sizes   sizes
	timer   *time.Timer
}

// keeper keeps what is dropped before it was part of a request. One that is nil keeps nothing.
type keeper func(*batch, account.Reason)

func (k keeper) batch(b *batch, reason account.Reason) {
	if k != nil {
		k(b, reason)
	}
}

// segment keeps a copy of a finished segment's chunks.
func (k keeper) segment(s *segment, reason account.Reason) {
	if k == nil {
		return
	}
	b := &batch{protocol: s.protocol}
	for i := range s.chunks {
		b.append(&s.chunks[i].chunk, home{})
	}
	k(b, reason)
}

func newLetters(cfg *Config, id component.ID, userAgent string, events *eventLog) *letters {
	return &letters{
		config: cfg.DeadLetter, exporter: id.String(), endpoint: remote.Redacted(cfg.HTTP.Endpoint), userAgent: userAgent,
		events: events, limits: &cfg.Batch,
	}
}

// open opens the directory, if one is configured.
func (l *letters) open() error {
	if l.config.Directory == "" {
		return nil
	}
	store, err := deadletter.Open(deadletter.Options{
		Directory: l.config.Directory,
		Exporter:  l.exporter,
		MaxBytes:  int64(l.config.MaxSizeBytes),
		OnError:   l.events.notKept,
	})
	if err != nil {
		return fmt.Errorf("dead_letter.directory: %w", err)
	}
	l.store.Store(store)
	return nil
}

// keep hands a request over to be written, and returns the path that it will have, or "" if it is not kept. Duplicates are not:
// the other sample of the time was sent.
func (l *letters) keep(r *request, key account.Key, o *outcome) string {
	store := l.store.Load()
	if store == nil || key.Reason == account.ReasonDuplicate {
		return ""
	}
	record := l.record(r.protocol, key.Reason, r.Samples)
	record.Status, record.Attempts, record.Body = key.Status, o.attempts, r.body
	if o.answer != nil {
		record.AnswerBody = o.answer.Body
	}
	path, err := store.Put(record)
	if err != nil {
		l.events.notKept(err)
		return ""
	}
	return path
}

// keepBatch keeps what was dropped before it was part of a request. What comes together is kept together, as much as a request
// may have. The queue is locked: the body is made later, and tell tells of an error.
func (l *letters) keepBatch(b *batch, reason account.Reason) {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := len(l.batches)
	if n > 0 && (l.reason != reason || l.batches[0].protocol != b.protocol || !l.limits.admit(l.samples, l.sizes, b.Samples, b.sizes)) {
		l.putBatchesLocked()
	}
	if len(l.batches) == 0 {
		l.timer = time.AfterFunc(time.Second, l.putBatches)
	}
	l.reason, l.batches = reason, append(l.batches, b)
	l.samples += b.Samples
	l.sizes = l.sizes.plus(b.sizes)
}

func (l *letters) putBatches() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.putBatchesLocked()
}

// putBatchesLocked hands over the batches that are kept together.
func (l *letters) putBatchesLocked() {
	batches, samples := l.batches, l.samples
	l.batches, l.samples, l.sizes = nil, 0, sizes{}
	store := l.store.Load()
	if len(batches) == 0 || store == nil {
		return
	}
	l.timer.Stop()
	protocol := batches[0].protocol
	record := l.record(protocol, l.reason, samples)
	var chunks []*chunk
	for _, b := range batches {
		chunks = append(chunks, b.chunks...)
		record.Size += int64(b.sizes.plain)
	}
	record.Compose = func() []byte { return body(protocol, chunks) }
	if _, err := store.Put(record); err != nil {
		l.missed.Store(&err)
	}
}

// tell logs that batches were not kept.
func (l *letters) tell() {
	if err := l.missed.Swap(nil); err != nil {
		l.events.notKept(*err)
	}
}

// record is what all records have.
func (l *letters) record(p wire.Protocol, reason account.Reason, samples int) deadletter.Record {
	header := make(http.Header)
	remote.SetHeaders(header, p, l.userAgent)
	record := deadletter.Record{
		Time:            time.Now(),
		Reason:          reason.String(),
		Samples:         samples,
		Endpoint:        l.endpoint,
		ProtobufMessage: p.Message(),
		Headers:         make(map[string]string, len(header)),
	}
	for name := range header {
		record.Headers[name] = header.Get(name)
	}
	return record
}

// last says that nothing comes but what the queue still holds. However much it is, it takes no memory that the queue has not
// taken.
func (l *letters) last() {
	if store := l.store.Load(); store != nil {
		store.Last()
	}
}

// closeTimeout is how long a shutdown waits for dropped requests to be written, after its time for sending has ended.
const closeTimeout = 2 * time.Second

// close waits until what was kept is written, but not longer than closeTimeout.
func (l *letters) close(ctx context.Context) {
	store := l.store.Load()
	if store == nil {
		return
	}
	l.putBatches()
	l.tell()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
	defer cancel()
	if err := store.Close(ctx); err != nil {
		l.events.notKept(err)
	}
}

// stats returns what became of the dead letters.
func (l *letters) stats() deadletter.Stats {
	store := l.store.Load()
	if store == nil {
		return deadletter.Stats{}
	}
	return store.Stats()
}
