package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/remote"
)

// logInterval is the least time between two log lines about drops of one reason, or about retries.
const logInterval = 10 * time.Second

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

// dropLog logs drops and retries at a bounded rate. What is left out of the log is counted, and told with the next line
// of the reason or at the end: the numbers in the log add up to those of the counter. It is safe for concurrent use.
type dropLog struct {
	logger *zap.Logger
	// examples says whether lines name a series (log_examples).
	examples bool

	mu      sync.Mutex
	drops   [account.Reasons]throttle
	retries throttle
	// refusedMetadata is for metadata that was not taken.
	refusedMetadata throttle
	// lostLetters is for dropped requests that could not be kept on disk.
	lostLetters throttle
}

// throttle lets a line pass once in an interval.
type throttle struct {
	last time.Time
	// heldBack is the samples, or retries, of the lines that did not pass.
	heldBack int
}

// pass says whether a line may pass, and what was held back since the last one.
func (t *throttle) pass(n int) (heldBack int, ok bool) {
	now := time.Now()
	if !t.last.IsZero() && now.Sub(t.last) < logInterval {
		t.heldBack += n
		return 0, false
	}
	heldBack, t.heldBack, t.last = t.heldBack, 0, now
	return heldBack, true
}

// exampleKey is the name of the example in a log line. The first series of a refused request is mostly a good one.
func (d *drop) exampleKey() string {
	if d.unsure {
		return "first_series"
	}
	return "example"
}

// log logs a drop.
func (l *dropLog) log(d drop) {
	l.mu.Lock()
	heldBack, ok := l.drops[d.key.Reason].pass(d.samples)
	l.mu.Unlock()
	if !ok {
		return
	}
	fields := []zap.Field{
		zap.Stringer("reason", d.key.Reason),
		zap.Int("dropped_samples", d.samples),
		zap.Int("dropped_samples_since_last_line", heldBack),
	}
	if d.key.Status != 0 {
		fields = append(fields, zap.Int("status", d.key.Status))
	}
	if d.answer != nil {
		fields = append(fields, zap.String("answer", d.answer.Error()))
	}
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
func (l *dropLog) retrying(a *remote.Answer, n int, delay time.Duration) {
	l.mu.Lock()
	heldBack, ok := l.retries.pass(1)
	l.mu.Unlock()
	if !ok {
		return
	}
	l.logger.Warn("Sending failed. The same request will be sent again after a delay.",
		zap.Error(a), zap.Int("attempt", n), zap.Duration("delay", delay),
		zap.Int("retries_since_last_line", heldBack))
}

// metadata logs metadata that the endpoint did not take.
func (l *dropLog) metadata(a *remote.Answer, families int) {
	l.mu.Lock()
	_, ok := l.refusedMetadata.pass(families)
	l.mu.Unlock()
	if ok {
		l.logger.Warn("Sending metadata failed. What samples still come for will be sent after metadata_interval.", zap.Error(a), zap.Int("families", families))
	}
}

// flush logs what was held back.
func (l *dropLog) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for r := range l.drops {
		if n := l.drops[r].heldBack; n > 0 {
			l.drops[r].heldBack = 0
			l.logger.Warn("Dropped samples.", zap.Stringer("reason", account.Reason(r)), zap.Int("dropped_samples_since_last_line", n))
		}
	}
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
