package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/remote"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// sender brings each sample that a partition hands to it to its outcome.
type sender struct {
	client   *remote.Client
	policy   remote.Policy
	version  *version
	ledger   *account.Ledger
	standard *standard
	drops    *dropLog
	letters  *letters
	status   *statusReporter
	// maxAge is the age from which samples are not sent any more, or 0.
	maxAge time.Duration
	// maxIsolation is the most requests that are spent on one batch.
	maxIsolation int
	// fail ends the exporter after an answer.
	fail func(*remote.Answer)
}

// run sends a partition's batches, one after the other, until the partition is closed and empty, ctx is done or an answer
// was fatal. Nothing of the partition is sent before what was accepted earlier has its outcome, because only one goroutine
// runs for it.
func (s *sender) run(ctx context.Context, p *partition) {
	for {
		b := p.next(ctx, s.ledger)
		if b == nil {
			return
		}
		failed := false
		s.standard.request(ctx, func(ctx context.Context, span *requestSpan) {
			d := delivery{sender: s, partition: p.index, span: span}
			failed = !d.deliver(ctx, requestOf(b))
		})
		p.done()
		if failed {
			return
		}
	}
}

// delivery is the sending of one batch.
type delivery struct {
	*sender
	partition int
	span      *requestSpan
}

// deliver brings each sample of a batch to its outcome: in one request, or in several if it must be split. They are sent
// one after the other and in order. It returns false if the sender must not send anything more.
func (d *delivery) deliver(ctx context.Context, r request) bool {
	waiting := []request{r}
	for sent := 0; len(waiting) > 0; {
		r := waiting[len(waiting)-1]
		waiting = waiting[:len(waiting)-1]
		o := outcome{verdict: remote.VerdictDrop}
		if r = d.prepared(ctx, r); !r.Empty() {
			sent++
			o = d.send(ctx, &r)
		}
		switch {
		case r.Empty():
		case o.verdict == remote.VerdictFallback:
			waiting = append(waiting, d.fallenBack(ctx, r, &o))
			continue
		case o.verdict == remote.VerdictSplit && r.Samples > 1 && sent+len(waiting)+2 <= d.maxIsolation:
			first, second := r.split()
			d.version.split(r.trial)
			waiting = append(waiting, second, first)
			continue
		case o.verdict == remote.VerdictSplit && r.Samples > 1:
			o.reason = account.ReasonIsolationLimit
		}
		d.settle(ctx, &r, &o)
		if o.aborted || o.verdict == remote.VerdictFail {
			for i := range waiting {
				d.settle(ctx, &waiting[i], &outcome{verdict: remote.VerdictDrop, reason: account.ReasonShutdown})
			}
			return false
		}
	}
	return true
}

// prepared returns the request as it can be sent now.
func (d *delivery) prepared(ctx context.Context, r request) request {
	if r = d.dropOld(ctx, r); r.Empty() || r.protocol == wire.V1 {
		return r
	}
	ok, probe := d.version.maySend()
	if !ok {
		return d.asV1(ctx, r)
	}
	r.probe = probe
	return r
}

// fallenBack returns as 1.0 a request that the endpoint has not read.
func (d *delivery) fallenBack(ctx context.Context, r request, o *outcome) request {
	if o.reach == remote.ReachAll {
		d.version.fallBack(o.answer)
	}
	again := d.asV1(ctx, r)
	again.trial = o.trial
	if d.version.needsV2 {
		d.version.unfit(o.answer, again.Samples, r.Samples-again.Samples)
	}
	return again
}

// settle accounts for the samples of a request. It is the one place where samples that were in flight get their outcome.
func (d *delivery) settle(ctx context.Context, r *request, o *outcome) {
	d.version.tried(r.trial, o)
	if r.Empty() {
		return
	}
	key := account.Key{Reason: o.reason}
	if o.verdict == remote.VerdictDelivered {
		// What is lost then, a 2.0 receiver does not say that it has written, although it has taken the request.
		key.Reason = account.ReasonRejected
	}
	delivered := 0
	if o.answer != nil {
		key.Status = o.answer.Status
		delivered = o.answer.Confirmed(r.protocol, r.Counts)
	}
	if delivered > 0 {
		d.ledger.Deliver(delivered)
		d.span.delivered(ctx, delivered)
	}
	lost := r.Samples - delivered
	if lost == 0 {
		return
	}
	d.ledger.Drop(lost, key)
	d.span.dropped(ctx, lost, o.err())
	d.drops.log(drop{
		samples:   lost,
		key:       key,
		answer:    o.answer,
		example:   r.example,
		unsure:    o.answer != nil && r.Samples > 1,
		partition: d.partition,
		kept:      d.letters.keep(r, key, o),
	})
}

// asV1 returns the request as a 1.0 message, and drops what that cannot carry.
func (d *delivery) asV1(ctx context.Context, r request) request {
	v1, rest := r.asV1()
	d.settle(ctx, &rest, &outcome{verdict: remote.VerdictDrop, reason: account.ReasonNeedsV2})
	return v1
}

// dropOld drops the samples that are older than queue.max_age, and returns the others.
func (d *delivery) dropOld(ctx context.Context, r request) request {
	if d.maxAge == 0 {
		return r
	}
	oldest := time.Now().Add(-d.maxAge).UnixMilli()
	if r.Empty() || r.oldest >= oldest {
		return r
	}
	kept, old := r.cutOld(oldest)
	d.settle(ctx, &old, &outcome{verdict: remote.VerdictDrop, reason: account.ReasonTooOld})
	return kept
}

// send sends the request, again and again if need be, until there is a verdict other than to retry. It may take samples out
// of the request that become too old meanwhile.
func (d *delivery) send(ctx context.Context, r *request) outcome {
	defer d.status.recovered(d.partition)
	start := time.Now()
	for n := 1; ; n++ {
		a := d.client.Post(ctx, r.protocol, r.body, n)
		if a.Status == 0 && ctx.Err() != nil {
			return outcome{verdict: remote.VerdictDrop, reason: account.ReasonShutdownInFlight, answer: a, attempts: n, aborted: true}
		}
		now := time.Now()
		o, delay := d.judge(ctx, r, a, remote.Attempt{
			Number: n, Elapsed: now.Sub(start), Random: rand.Float64(), Now: now, Protocol: r.protocol,
		})
		switch {
		case o.verdict == remote.VerdictFail:
			d.fail(a)
		case o.verdict == remote.VerdictDelivered:
			d.status.delivered()
		}
		if o.verdict != remote.VerdictRetry && delay == 0 {
			return o
		}
		d.status.retrying(d.partition, a)
		d.drops.retrying(a, n, delay, d.partition)
		if !sleep(ctx, delay) {
			return outcome{verdict: remote.VerdictDrop, reason: account.ReasonShutdown, answer: a, attempts: n, aborted: true}
		}
		if o.verdict != remote.VerdictRetry {
			return o
		}
		if *r = d.dropOld(ctx, *r); r.Empty() {
			return outcome{verdict: remote.VerdictDrop}
		}
	}
}

// judge returns what is done after an answer, and after which delay.
func (d *delivery) judge(ctx context.Context, r *request, a *remote.Answer, at remote.Attempt) (outcome, time.Duration) {
	o := outcome{answer: a, attempts: at.Number}
	if r.protocol == wire.V2 {
		d.version.learn(a, r.probe)
	}
	for {
		at.Standing = d.version.standing()
		decision := d.policy.Decide(a, at)
		if decision.Verdict == remote.VerdictDrop && decision.Permanent {
			d.status.wrong(a)
		}
		o.verdict, o.reason, o.reach = decision.Verdict, decision.Reason, decision.Reach
		if decision.Reach != remote.ReachTrial {
			return o, decision.Delay
		}
		var decided <-chan struct{}
		if o.trial, decided = d.version.try(a); o.trial != nil {
			return o, 0
		}
		// What becomes of the trial of another request decides about this one too.
		select {
		case <-decided:
		case <-ctx.Done():
			o.verdict, o.reason, o.aborted = remote.VerdictDrop, account.ReasonShutdown, true
			return o, 0
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
