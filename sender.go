package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"time"

	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.uber.org/zap"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
)

// sender sends the batches of one partition, one after the other. Nothing of the partition is sent before what was
// accepted earlier has its outcome, because there is no other goroutine that sends for it.
type sender struct {
	*orderedExporter
	partition *partition
}

// run sends until the partition is closed and empty, ctx is done or the exporter has failed.
func (s *sender) run(ctx context.Context) {
	for {
		b := s.partition.next(ctx, s.ledger)
		if b == nil {
			return
		}
		s.standard.request(ctx, func(ctx context.Context, span *requestSpan) {
			s.deliver(ctx, b, span)
		})
		s.partition.done()
		if s.failed() {
			return
		}
	}
}

// unit is a batch or a part of one that is sent in one request.
type unit struct {
	// message's raw bytes are nil: body has them.
	message
	body []byte
	// trial is the refusal of the same samples as a 2.0 message, after which 1.0 is used for good if the endpoint takes it;
	// or else nil.
	trial *answer
}

func newUnit(m message) unit {
	u := unit{message: m}
	if !m.empty() {
		u.body = m.compressed()
		u.raw = nil
	}
	return u
}

// contents takes the unit apart.
func (u *unit) contents() contents {
	return takeApart(u.protocol, decompress(u.body))
}

// example renders the unit's first series for the log.
func (u *unit) example() string {
	return renderFirst(u.protocol, decompress(u.body))
}

// split returns the first and the second half of the unit's series. Each series has one sample, so that no half has a
// sample that is older than one of the same series in the other's past.
func (u *unit) split() (first, second unit) {
	c := u.contents()
	indices := make([]int, c.len())
	for i := range indices {
		indices[i] = i
	}
	half := len(indices) / 2
	return newUnit(c.message(indices[:half])), newUnit(c.message(indices[half:]))
}

// cutOld separates the samples that are older than a timestamp.
func (u *unit) cutOld(oldest int64) (kept, old unit) {
	c := u.contents()
	var keep, cut []int
	for i := range c.len() {
		if ts, _ := c.point(i); ts < oldest {
			cut = append(cut, i)
		} else {
			keep = append(keep, i)
		}
	}
	kept, old = newUnit(c.message(keep)), newUnit(c.message(cut))
	kept.trial = u.trial
	return kept, old
}

// fate is what becomes of a unit.
type fate uint8

const (
	fateDelivered fate = iota
	fateDropped
	fateSplit
	// fateUnread is for a 2.0 message that the endpoint cannot read.
	fateUnread
	// fateFailed is fateDropped with the end of the exporter.
	fateFailed
	// fateAborted is fateDropped because ctx is done.
	fateAborted
)

// outcome is the fate of a unit with what is told about it.
type outcome struct {
	fate   fate
	reason account.Reason
	answer *answer
	// attempts is how many requests were sent.
	attempts int
	// trial is that of the decision.
	trial bool
}

// err is why the samples were dropped.
func (o *outcome) err() error {
	if o.answer == nil {
		return consumererror.NewPermanent(errors.New(o.reason.String()))
	}
	return consumererror.NewPermanent(o.answer)
}

// deliver brings each sample of the batch to its outcome: in one request, or in several if it must be split. They are
// sent one after the other and in order.
func (s *sender) deliver(ctx context.Context, b *batch, span *requestSpan) {
	units := []unit{{message: b.message, body: b.body}}
	for sent := 0; len(units) > 0; {
		u := units[len(units)-1]
		units = units[:len(units)-1]
		if u = s.dropOld(ctx, u, span); u.empty() {
			continue
		}
		if u.protocol == protocolV2 && s.fellBack.Load() {
			if u = s.asV1(ctx, u, span); u.empty() {
				continue
			}
		}
		sent++
		o := s.sendUnit(ctx, &u, span)
		if o.fate == fateUnread {
			if !o.trial {
				s.fallBack(o.answer)
			}
			again := s.asV1(ctx, u, span)
			if again.empty() {
				continue
			}
			if o.trial {
				again.trial = o.answer
			}
			units = append(units, again)
			continue
		}
		if u.trial != nil && o.fate == fateDelivered {
			s.fallBack(u.trial)
		}
		if o.fate == fateSplit {
			switch {
			case u.samples == 1:
				o.fate = fateDropped
			case sent+len(units)+2 > s.policy.onError.MaxIsolationRequests:
				o.fate, o.reason = fateDropped, account.ReasonIsolationLimit
			default:
				first, second := u.split()
				units = append(units, second, first)
				continue
			}
		}
		s.settle(ctx, &u, o, span)
		if o.fate == fateFailed || o.fate == fateAborted {
			s.settleRest(ctx, units, span)
			return
		}
	}
}

// settleRest drops what was not sent because the exporter ends.
func (s *sender) settleRest(ctx context.Context, units []unit, span *requestSpan) {
	for i := range units {
		s.settle(ctx, &units[i], outcome{fate: fateDropped, reason: account.ReasonShutdown}, span)
	}
}

// settle accounts for the samples of a unit. It is the one place where samples that were in flight get their outcome.
func (s *sender) settle(ctx context.Context, u *unit, o outcome, span *requestSpan) {
	if u.empty() {
		return
	}
	if o.fate == fateDelivered {
		// What is lost then, a 2.0 receiver does not say that it has written, although it has taken the request.
		o.reason = account.ReasonRejected
	}
	key := account.Key{Reason: o.reason}
	delivered := 0
	if o.answer != nil {
		key.Status = o.answer.status
		delivered = o.answer.confirmed(&u.message)
	}
	if delivered > 0 {
		s.ledger.Deliver(delivered)
		span.delivered(ctx, delivered)
	}
	lost := u.samples - delivered
	if lost == 0 {
		return
	}
	s.ledger.Drop(lost, key)
	span.dropped(ctx, lost, o.err())
	s.drops.log(drop{
		samples:   lost,
		key:       key,
		answer:    o.answer,
		example:   u.example,
		unsure:    o.answer != nil && u.samples > 1,
		partition: s.partition.index,
		kept:      s.letters.Load().keep(u, &o),
	})
}

// asV1 returns the unit as a 1.0 message, and drops what that cannot carry.
func (s *sender) asV1(ctx context.Context, u unit, span *requestSpan) unit {
	c := u.contents()
	v1, rest := c.asV1()
	lost := newUnit(rest)
	s.settle(ctx, &lost, outcome{fate: fateDropped, reason: account.ReasonNeedsV2}, span)
	return newUnit(v1)
}

// fallBack makes 1.0 the version of all messages, for as long as the process lives.
func (e *orderedExporter) fallBack(a *answer) {
	if e.fellBack.Swap(true) {
		return
	}
	e.logger.Warn("The endpoint does not read Remote-Write 2.0. Everything is sent as 1.0 from now on.",
		zap.Int("status", a.status), zap.String("answer", a.Error()))
}

// dropOld drops the samples that are older than queue.max_age, and returns the others.
func (s *sender) dropOld(ctx context.Context, u unit, span *requestSpan) unit {
	if s.maxAge == 0 {
		return u
	}
	oldest := time.Now().Add(-s.maxAge).UnixMilli()
	if u.oldest >= oldest {
		return u
	}
	kept, old := u.cutOld(oldest)
	if old.samples > 0 {
		s.settle(ctx, &old, outcome{fate: fateDropped, reason: account.ReasonTooOld}, span)
	}
	return kept
}

// sendUnit sends the unit, again and again if need be, until it has a fate. It may take samples out of the unit that
// become too old meanwhile.
func (s *sender) sendUnit(ctx context.Context, u *unit, span *requestSpan) outcome {
	defer s.status.recovered(s.partition.index)
	start := time.Now()
	for n := 1; ; n++ {
		a := s.send(ctx, u, n)
		if a.status == 0 && ctx.Err() != nil {
			return outcome{fate: fateAborted, reason: account.ReasonShutdownInFlight, answer: a, attempts: n}
		}
		now := time.Now()
		d := s.policy.decide(a, attempt{
			number: n, elapsed: now.Sub(start), random: rand.Float64(), now: now,
			protocol: u.protocol, proven: s.provenV2.Load(),
		})
		o := outcome{reason: d.reason, answer: a, attempts: n, trial: d.trial}
		switch d.verdict {
		case verdictDelivered:
			return o
		case verdictSplit:
			o.fate = fateSplit
			return o
		case verdictFallback:
			o.fate = fateUnread
			return o
		case verdictFail:
			o.fate = fateFailed
			s.fail(a)
			return o
		case verdictDrop:
			o.fate = fateDropped
			if d.permanent {
				s.status.permanent(a)
			}
			return o
		}
		s.status.retrying(s.partition.index, a)
		s.drops.retrying(a, n, d.delay, s.partition.index)
		if !sleep(ctx, d.delay) {
			return outcome{fate: fateAborted, reason: account.ReasonShutdown, answer: a, attempts: n}
		}
		if *u = s.dropOld(ctx, *u, span); u.empty() {
			return outcome{fate: fateDropped}
		}
	}
}

// sleep returns false if ctx is done before d has passed.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// Bounds on what is read of an answer's body, and for how long once the status is known. The status decides; a body that
// comes slowly must not hold up a partition.
const (
	maxAnswerBody  = 1 << 10
	maxDrainedBody = 16 << 10
	maxBodyWait    = time.Second
)

// send sends one request and returns what came of it.
func (s *sender) send(ctx context.Context, u *unit, n int) *answer {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.endpoint, bytes.NewReader(u.body))
	if err != nil {
		return &answer{err: err}
	}
	setHeaders(req.Header, u.protocol, s.userAgent)
	start := time.Now()
	resp, err := s.client.Do(req)
	a := &answer{err: err}
	if err == nil {
		a.status = resp.StatusCode
	} else {
		a.err = withoutURL(err)
	}
	s.telemetry.request(ctx, a.status, len(u.body), time.Since(start), n)
	if err != nil {
		return a
	}
	defer resp.Body.Close()
	a.retryAfter = resp.Header.Get("Retry-After")
	if u.protocol == protocolV2 {
		if a.written = readWritten(resp.Header); a.written.present {
			s.provenV2.Store(true)
		}
	}
	slow := time.AfterFunc(maxBodyWait, cancel)
	defer slow.Stop()
	if a.status > 299 {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBody))
		a.body = printable(text)
	}
	// A body that is read to its end lets the connection be used again.
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxDrainedBody))
	return a
}

// setHeaders sets the headers of Remote-Write 1.0 and 2.0, "Required Headers".
func setHeaders(h http.Header, p protocol, userAgent string) {
	h.Set("Content-Encoding", "snappy")
	h.Set("User-Agent", userAgent)
	if p == protocolV2 {
		h.Set("Content-Type", "application/x-protobuf;proto="+string(MessageV2))
		h.Set("X-Prometheus-Remote-Write-Version", "2.0.0")
		return
	}
	h.Set("Content-Type", "application/x-protobuf")
	h.Set("X-Prometheus-Remote-Write-Version", "0.1.0")
}

// printable makes an answer's body fit for a log line.
func printable(text []byte) string {
	return string(bytes.TrimSpace(bytes.ToValidUTF8(text, []byte("\uFFFD"))))
}

// fail stops the collector: the endpoint's answer says that going on is of no use, and the configuration asks to stop
// then.
func (e *orderedExporter) fail(a *answer) {
	if e.hasFailed.Swap(true) {
		return
	}
	e.logger.Error("Stopping: the endpoint's answer is fatal by configuration (on_error).", zap.Error(a))
	for _, p := range e.queues.partitions {
		p.close()
	}
	e.abort()
	e.status.fatal(a)
}

func (e *orderedExporter) failed() bool {
	return e.hasFailed.Load()
}

// errStopped is returned for payloads that come after a fatal answer.
var errStopped = errors.New("exporter has stopped after a fatal answer")
