package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.uber.org/zap"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/deadletter"
)

// deadLetters keeps dropped requests on disk, if the configuration asks for that. The nil pointer keeps none.
type deadLetters struct {
	store     *deadletter.Store
	endpoint  string
	userAgent string
	drops     *dropLog
}

// openDeadLetters opens the directory. It returns nil if none is configured.
func openDeadLetters(cfg *Config, id component.ID, userAgent string, drops *dropLog) (*deadLetters, error) {
	if cfg.DeadLetter.Directory == "" {
		return nil, nil
	}
	store, err := deadletter.Open(deadletter.Options{
		Directory: cfg.DeadLetter.Directory,
		Exporter:  id.String(),
		MaxBytes:  int64(cfg.DeadLetter.MaxSizeBytes),
		OnError:   drops.notKept,
	})
	if err != nil {
		return nil, fmt.Errorf("dead_letter.directory: %w", err)
	}
	return &deadLetters{store: store, endpoint: redacted(cfg.HTTP.Endpoint), userAgent: userAgent, drops: drops}, nil
}

// keep hands a unit over to be written, and returns the path that it will have, or "" if it is not kept.
func (d *deadLetters) keep(u *unit, o *outcome) string {
	if d == nil {
		return ""
	}
	header := make(http.Header)
	setHeaders(header, u.protocol, d.userAgent)
	r := deadletter.Record{
		Time:            time.Now(),
		Reason:          o.reason.String(),
		Samples:         u.samples,
		Attempts:        o.attempts,
		Endpoint:        d.endpoint,
		ProtobufMessage: string(u.protocol.message()),
		Headers:         make(map[string]string, len(header)),
		Body:            u.body,
	}
	for name := range header {
		r.Headers[name] = header.Get(name)
	}
	if o.answer != nil {
		r.Status, r.AnswerBody = o.answer.status, o.answer.body
	}
	path, err := d.store.Put(r)
	if err != nil {
		d.drops.notKept(err)
		return ""
	}
	return path
}

// close waits until what was kept is written, but not longer than ctx.
func (d *deadLetters) close(ctx context.Context) {
	if d == nil {
		return
	}
	if err := d.store.Close(ctx); err != nil {
		d.drops.notKept(err)
	}
}

// stats returns what became of the dead letters.
func (d *deadLetters) stats() deadletter.Stats {
	if d == nil {
		return deadletter.Stats{}
	}
	return d.store.Stats()
}

// notKept logs that a dropped request could not be kept.
func (l *dropLog) notKept(err error) {
	l.mu.Lock()
	heldBack, ok := l.lostLetters.pass(1)
	l.mu.Unlock()
	if ok {
		l.logger.Warn("A dropped request could not be kept.", zap.Error(err), zap.Int("not_kept_since_last_line", heldBack))
	}
}
