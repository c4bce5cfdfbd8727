// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"context"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/collector/component"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/deadletter"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/remote"
)

// letters keeps dropped requests on disk, if the configuration asks for that.
type letters struct {
	config    DeadLetterConfig
	exporter  string
	endpoint  string
	userAgent string
	events    *eventLog
	// store is nil until the directory is open, and if none is configured. Metrics are read before Start and after it.
	store atomic.Pointer[deadletter.Store]
}

func newLetters(cfg DeadLetterConfig, id component.ID, endpoint, userAgent string, events *eventLog) *letters {
	return &letters{config: cfg, exporter: id.String(), endpoint: remote.Redacted(endpoint), userAgent: userAgent, events: events}
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
	header := make(http.Header)
	remote.SetHeaders(header, r.protocol, l.userAgent)
	record := deadletter.Record{
		Time:            time.Now(),
		Reason:          key.Reason.String(),
		Status:          key.Status,
		Samples:         r.Samples,
		Attempts:        o.attempts,
		Endpoint:        l.endpoint,
		ProtobufMessage: r.protocol.Message(),
		Headers:         make(map[string]string, len(header)),
		Body:            r.body,
	}
	for name := range header {
		record.Headers[name] = header.Get(name)
	}
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

// closeTimeout is how long a shutdown waits for dropped requests to be written, after its time for sending has ended.
const closeTimeout = 2 * time.Second

// close waits until what was kept is written, but not longer than closeTimeout.
func (l *letters) close(ctx context.Context) {
	store := l.store.Load()
	if store == nil {
		return
	}
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
