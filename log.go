// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/remote"
)

// Where log lines send their reader.
const (
	pages       = "https://github.com/orderedremotewrite/orderedremotewriteexporter/blob/main/docs/"
	pageReasons = pages + "metrics.md#reasons-for-drops"
	pageAnswers = pages + "delivery.md#what-happens-after-each-answer"
	pagePause   = pages + "delivery.md#a-paused-endpoint"
	pageQueue   = pages + "delivery.md#a-full-queue"
)

// drop is what is logged of dropped samples.
type drop struct {
	samples int
	key     account.Key
	answer  *remote.Answer
	// example renders one of the series, or is nil. It is called only if there is a line to write that will have it.
	example func() string
	// unsure is set if nobody knows which of the samples the endpoint refused, so that example is only the first of them.
	unsure bool
	// kept is the file of the dead letter, or "".
	kept string
}

// eventLog logs drops, retries and what else may happen often, at a bounded rate. What is held back is told when the interval
// is over: the numbers in the log add up to those of the counters. It is safe for concurrent use.
type eventLog struct {
	logger *zap.Logger
	// examples says whether lines name a series (log_examples).
	examples bool

	drops   [account.Reasons]answerThrottle
	retries answerThrottle
	// refused is for payloads that a full queue refuses.
	refused throttle
	// refusedMetadata is for metadata that was not taken.
	refusedMetadata throttle
	// lostLetters is for dropped requests that could not be kept on disk.
	lostLetters throttle
}

// answerThrottle is for what answers of the endpoint lead to.
type answerThrottle struct {
	throttle
	// latest is the answer to the latest of what is held back.
	latest atomic.Pointer[remote.Answer]
}

func newEventLog(logger *zap.Logger, examples bool) *eventLog {
	l := &eventLog{logger: logger, examples: examples}
	for r := range l.drops {
		t := &l.drops[r]
		t.tell = func(heldBack int) {
			d := drop{key: account.Key{Reason: account.Reason(r)}, answer: t.latest.Load()}
			if d.answer != nil {
				d.key.Status = d.answer.Status
			}
			l.logger.Warn("Dropped samples.", d.fields(zap.Int("dropped_samples_since_last_line", heldBack))...)
		}
	}
	l.retries.tell = func(heldBack int) {
		l.logger.Warn("Sending failed. Requests are sent again after a delay.", zap.String("answer", l.retries.latest.Load().Error()),
			zap.Int("retries_since_last_line", heldBack), zap.String("see", pageAnswers))
	}
	l.refused.tell = func(heldBack int) {
		l.logger.Warn("Refused payloads.", zap.Int("refused_samples_since_last_line", heldBack), zap.String("see", pageQueue))
	}
	l.refusedMetadata.tell = func(heldBack int) {
		l.logger.Warn("Sending metadata failed.", zap.Int("families_since_last_line", heldBack), zap.String("see", pageAnswers))
	}
	l.lostLetters.tell = func(heldBack int) {
		l.logger.Warn("Dropped requests could not be kept.", zap.Int("not_kept_since_last_line", heldBack))
	}
	return l
}

// withoutStacks returns a logger whose lines never have a stack trace: what is said of an endpoint's answer is no matter of the
// code.
func withoutStacks(logger *zap.Logger) *zap.Logger {
	return logger.WithOptions(zap.AddStacktrace(zapcore.FatalLevel + 1))
}

// lasting is a field for a duration, with its unit: how a zap.Duration looks is up to the encoder.
func lasting(key string, d time.Duration) zap.Field {
	unit := time.Microsecond
	if d >= time.Second {
		unit = time.Millisecond
	}
	return zap.Stringer(key, d.Round(unit))
}

// fields are those of every line about a drop, with others in between.
func (d *drop) fields(numbers ...zap.Field) []zap.Field {
	fields := append([]zap.Field{zap.Stringer("reason", d.key.Reason)}, numbers...)
	if d.key.Status != 0 {
		fields = append(fields, zap.Int("status", d.key.Status))
	}
	if d.answer != nil {
		fields = append(fields, zap.String("answer", d.answer.Error()))
	}
	return append(fields, zap.String("hint", d.key.Reason.Hint()), zap.String("see", pageReasons))
}

// exampleKey is the name of the example in a log line. The first series of a refused request is mostly a good one.
func (d *drop) exampleKey() string {
	if d.unsure {
		return "first_series"
	}
	return "example"
}

// drop logs a drop.
func (l *eventLog) drop(d drop) {
	t := &l.drops[d.key.Reason]
	heldBack, ok := t.pass(d.samples)
	if !ok {
		t.latest.Store(d.answer)
		return
	}
	fields := d.fields(zap.Int("dropped_samples", d.samples), zap.Int("dropped_samples_since_last_line", heldBack))
	if l.examples && d.example != nil {
		if example := d.example(); example != "" {
			fields = append(fields, zap.String(d.exampleKey(), example))
		}
	}
	if d.kept != "" {
		fields = append(fields, zap.String("dead_letter", d.kept))
	}
	l.logger.Warn("Dropped samples.", fields...)
}

// retrying logs a retry.
func (l *eventLog) retrying(a *remote.Answer, n int, delay time.Duration) {
	l.retries.latest.Store(a)
	heldBack, ok := l.retries.pass(1)
	if !ok {
		return
	}
	l.logger.Warn("Sending failed. The same request will be sent again after a delay.",
		zap.String("answer", a.Error()), zap.Int("attempt", n), lasting("delay", delay),
		zap.Int("retries_since_last_line", heldBack), zap.String("see", pageAnswers))
}

// refusing logs a payload that the queue has not accepted.
func (l *eventLog) refusing(samples int, err error, size, capacity int64) {
	heldBack, ok := l.refused.pass(samples)
	if !ok {
		return
	}
	l.logger.Warn("Refused a payload. A client that sends it again loses nothing.", zap.Error(err),
		zap.Int("refused_samples", samples), zap.Int("refused_samples_since_last_line", heldBack),
		zap.Int64("queue_size", size), zap.Int64("queue_capacity", capacity),
		zap.String("hint", account.ReasonQueueFull.Hint()), zap.String("see", pageQueue))
}

// metadata logs metadata that the endpoint did not take.
func (l *eventLog) metadata(a *remote.Answer, families int) {
	if heldBack, ok := l.refusedMetadata.pass(families); ok {
		l.logger.Warn("Sending metadata failed. What samples still come for will be sent after metadata_interval.",
			zap.String("answer", a.Error()), zap.Int("families", families), zap.Int("families_since_last_line", heldBack))
	}
}

// notKept logs that a dropped request could not be kept.
func (l *eventLog) notKept(err error) {
	if heldBack, ok := l.lostLetters.pass(1); ok {
		l.logger.Warn("A dropped request could not be kept.", zap.Error(err), zap.Int("not_kept_since_last_line", heldBack))
	}
}

// request logs each request and what came of it, at debug level.
func (l *eventLog) request(r *request, a *remote.Answer, attempt int, took time.Duration, v remote.Verdict) {
	if line := l.logger.Check(zap.DebugLevel, "Sent a request."); line != nil {
		line.Write(zap.Int("samples", r.Samples), zap.Int("bytes", len(r.body)), zap.String("protobuf_message", r.protocol.Message()),
			zap.Int("attempt", attempt), lasting("took", took), zap.Stringer("verdict", v), answerField(a))
	}
}

// metadataRequest does the same for a request without samples.
func (l *eventLog) metadataRequest(families, size int, a *remote.Answer, took time.Duration) {
	if line := l.logger.Check(zap.DebugLevel, "Sent metadata."); line != nil {
		line.Write(zap.Int("families", families), zap.Int("bytes", size), lasting("took", took), answerField(a))
	}
}

// answerField is what came of a request.
func answerField(a *remote.Answer) zap.Field {
	if a.Success() && a.Err == nil {
		return zap.Int("status", a.Status)
	}
	return zap.String("answer", a.Error())
}

// flush tells what was held back.
func (l *eventLog) flush() {
	for r := range l.drops {
		l.drops[r].flush()
	}
	l.retries.flush()
	l.refused.flush()
	l.refusedMetadata.flush()
	l.lostLetters.flush()
}

// sum tells at the end what became of all samples.
func (l *eventLog) sum(b account.Balance) {
	fields := []zap.Field{
		zap.Int64("received_samples", b.Received), zap.Int64("delivered_samples", b.Delivered), zap.Int64("queued_samples", b.Queued+b.InFlight),
	}
	if b.Recovered > 0 {
		fields = append(fields, zap.Int64("recovered_samples", b.Recovered))
	}
	dropped, byReason := int64(0), make(map[string]int64)
	for key, n := range b.Dropped {
		dropped += n
		byReason[key.Reason.String()] += n
	}
	fields = append(fields, zap.Int64("dropped_samples", dropped))
	if dropped > 0 {
		fields = append(fields, zap.Any("dropped_samples_by_reason", byReason), zap.String("see", pageReasons))
	}
	l.logger.Info("Shut down.", fields...)
}
