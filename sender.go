// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/remote"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// sender brings each sample that the queue hands to it to its outcome.
type sender struct {
	queue    *queue
	client   *remote.Client
	policy   remote.Policy
	version  *version
	ledger   *account.Ledger
	standard *standard
	events   *eventLog
	story    *story
	// waited records how long a delivery has waited in the queue.
	waited  func(context.Context, time.Duration)
	letters *letters
	status  *statusReporter
	// maxAge is the age from which samples are not sent any more, or 0.
	maxAge time.Duration
	// idle is when the guard forgets a series: what has waited for longer may be out of order without its knowledge.
	idle time.Duration
	// maxIsolation is the most requests that are spent on what was claimed together.
	maxIsolation int
	// durable says that what is not settled when the exporter ends stays in storage.
	durable bool
	// isolation is the budget of such requests for all deliveries.
	isolation *isolation
	// fail ends the exporter after an answer.
	fail func(*remote.Answer)
	// spawn runs a function that Shutdown waits for.
	spawn func(func())
}

// start begins a delivery that has a place.
func (s *sender) start(ctx context.Context, d *delivery) {
	s.spawn(func() { s.run(ctx, d, nil) })
}

// run brings all of a delivery to its outcome, from its turn on if it has to wait for one.
func (s *sender) run(ctx context.Context, d *delivery, turn <-chan struct{}) {
	s.standard.request(ctx, func(ctx context.Context, span *requestSpan) {
		v := voyage{sender: s, delivery: d, span: span}
		if d.requests == nil {
			s.waited(ctx, d.claimed.Sub(d.accepted))
			s.queue.composed(d, d.compose())
			switch {
			case d.late:
				v.sortByTime(ctx)
				v.cutOffenders()
			case d.claimed.Sub(d.accepted) >= s.idle:
				d.cutDisorder()
			}
		}
		if !waitFor(ctx, turn) {
			v.abandon(ctx)
		}
		for len(d.requests) > 0 {
			v.step(ctx)
		}
	})
	s.status.recovered(d)
	s.queue.finished(d)
}

func waitFor(ctx context.Context, turn <-chan struct{}) bool {
	if turn == nil {
		return true
	}
	select {
	case <-turn:
		return ctx.Err() == nil
	case <-ctx.Done():
		return false
	}
}

// voyage is one delivery on its way.
type voyage struct {
	*sender
	*delivery
	span *requestSpan
}

// step sends the next request once, and does what the answer demands.
func (v *voyage) step(ctx context.Context) {
	if v.prepare(ctx); v.next().Empty() {
		v.settle(ctx, v.next(), &outcome{verdict: remote.VerdictDrop})
		v.settled()
		return
	}
	if ctx.Err() != nil {
		v.abandon(ctx)
		return
	}
	r := v.next()
	v.attempts++
	v.attempted = time.Now()
	if v.begun.IsZero() {
		v.begun = v.attempted
	}
	if v.tried.IsZero() {
		v.tried, v.pausedBefore = v.attempted, v.queue.pausedFor(v.attempted)
	}
	v.size = 0
	if r.Samples > 1 {
		v.size = r.size()
	}
	if v.planned.Load() == 1 && !r.refused {
		v.isolation.request(v.attempted)
	}
	a := v.client.Post(ctx, r.protocol, r.body, v.attempts)
	if a.Status == 0 && ctx.Err() != nil {
		v.events.request(r, a, v.attempts, time.Since(v.attempted), remote.VerdictDrop)
		v.abort(ctx, outcome{verdict: remote.VerdictDrop, reason: account.ReasonShutdownInFlight, answer: a, attempts: v.attempts})
		return
	}
	now := time.Now()
	o, delay := v.judge(ctx, r, a, remote.Attempt{
		Number: v.attempts, Elapsed: v.elapsed(now), Random: rand.Float64(), Now: now, Protocol: r.protocol,
	})
	if o.aborted {
		v.abort(ctx, o)
		return
	}
	v.events.request(r, a, v.attempts, now.Sub(v.attempted), o.verdict)
	e := v.queue.answered(v.delivery, &o, delay)
	if e.resumed {
		v.status.mended()
	}
	v.story.tell(e)
	v.act(ctx, r, o, delay)
}

// judge returns what is done after an answer, and after which delay.
func (v *voyage) judge(ctx context.Context, r *request, a *remote.Answer, at remote.Attempt) (outcome, time.Duration) {
	o := outcome{answer: a, attempts: at.Number}
	if r.protocol == wire.V2 {
		v.version.learn(a, r.probe)
	}
	for {
		at.Standing = v.version.standing()
		at.Unsure = r.perhapsSent
		decision := v.policy.Decide(a, at)
		o.verdict, o.reason, o.reach = decision.Verdict, decision.Reason, decision.Reach
		switch {
		case o.verdict == remote.VerdictFail:
			// A fatal status follows, and none that may heal is told before.
		case decision.Permanent:
			v.status.wrong(a)
		case o.verdict == remote.VerdictDelivered:
			v.status.mended()
		}
		if decision.Reach != remote.ReachTrial {
			return o, decision.Delay
		}
		var decided <-chan struct{}
		if o.trial, decided = v.version.try(a); o.trial != nil {
			return o, 0
		}
		// What becomes of the trial of another request decides about this one too. That one needs a place meanwhile.
		v.queue.park(v.delivery)
		if !waitFor(ctx, decided) || !waitFor(ctx, v.queue.retry(v.delivery, 0)) {
			o.verdict, o.reason, o.aborted = remote.VerdictDrop, account.ReasonShutdown, true
			return o, 0
		}
	}
}

// act does what was decided about the next request.
func (v *voyage) act(ctx context.Context, r *request, o outcome, delay time.Duration) {
	r.perhapsSent = r.perhapsSent || o.answer.Unknown()
	switch o.verdict {
	case remote.VerdictRetry:
		v.retry(ctx, o.answer, delay)
		return
	case remote.VerdictFallback:
		v.fallBack(ctx, &o)
		if delay > 0 {
			v.wait(ctx, delay)
		}
		return
	case remote.VerdictSplit:
		if v.takeApart(ctx, &o) {
			return
		}
	case remote.VerdictFail:
		v.fail(o.answer)
	}
	v.spent = v.spent || o.reason == account.ReasonRetriesExhausted
	v.redeem(r, &o)
	v.settle(ctx, r, &o)
	v.settled()
	switch {
	case o.verdict == remote.VerdictFail:
		v.abandon(ctx)
	case o.verdict == remote.VerdictPause && len(v.requests) > 0:
		v.wait(ctx, 0)
	}
}

// wait gives the place back until the delay is over and the endpoint may be asked again.
func (v *voyage) wait(ctx context.Context, delay time.Duration) {
	if !waitFor(ctx, v.queue.retry(v.delivery, delay)) {
		v.abandon(ctx)
	}
}

// maxProbe is the most samples of a request to a paused endpoint, which will probably refuse it.
const maxProbe = 100

// split cuts the next request in two: by partition, as deliveries of their own, as long as there are several, and then within
// a partition, one after the other. They count as sent so many times.
func (v *voyage) split(ctx context.Context, attempts int) {
	v.version.split(v.next().trial)
	if !v.shared() {
		first, second := v.next().split()
		v.settled(first, second)
		v.attempts = attempts
		return
	}
	other := v.fork()
	v.attempts, other.attempts = attempts, attempts
	turn := v.queue.fork(other)
	v.spawn(func() { v.run(ctx, other, turn) })
}

// retry gives the place back until the next attempt. What has failed several times may be a poison: it is cut, so that what
// is good in it passes.
func (v *voyage) retry(ctx context.Context, a *remote.Answer, delay time.Duration) {
	if v.attempts >= poisonAfter && time.Since(v.tried) >= yieldAfter {
		v.version.yield(v.next().trial)
	}
	poison := v.queue.poisonous(v.delivery, a)
	if poison && v.spent && v.next().Samples == 1 {
		// The partition has waited for another one as long as it may.
		v.giveUp(ctx, a)
		return
	}
	v.status.retrying(v.delivery, a)
	v.events.retrying(a, v.attempts, delay)
	if poison && v.next().Samples > 1 {
		v.cut = time.Now()
		v.split(ctx, v.attempts)
	}
	if !waitFor(ctx, v.queue.retry(v.delivery, delay)) {
		v.abort(ctx, outcome{verdict: remote.VerdictDrop, reason: account.ReasonShutdown, answer: a, attempts: v.attempts})
		return
	}
	// The gate may have kept the retry for longer than the policy reckoned with.
	if v.policy.Expired(v.elapsed(time.Now())) {
		v.giveUp(ctx, a)
	}
}

// giveUp ends the retries of the next request.
func (v *voyage) giveUp(ctx context.Context, a *remote.Answer) {
	v.act(ctx, v.next(), outcome{
		verdict: v.policy.Exhausted, reason: account.ReasonRetriesExhausted, answer: a, attempts: v.attempts,
	}, 0)
}

// elapsed is how long the next request has been tried, without the time in which the endpoint was paused. With storage only the time
// counts in which others pass: while nothing does it is an outage, which may last.
func (v *voyage) elapsed(now time.Time) time.Duration {
	if !v.durable {
		return now.Sub(v.tried) - (v.queue.pausedFor(now) - v.pausedBefore)
	}
	if !v.queue.passesSince(v.tried) {
		v.passing = time.Time{}
		return 0
	}
	if v.passing.IsZero() {
		v.passing = now
	}
	return now.Sub(v.passing)
}

// abort gives the next request an outcome because the time to send is over, and abandons the rest.
func (v *voyage) abort(ctx context.Context, o outcome) {
	v.settle(ctx, v.next(), &o)
	v.settled()
	v.abandon(ctx)
}

// abandon drops what is not going to be sent.
func (v *voyage) abandon(ctx context.Context) {
	for len(v.requests) > 0 {
		v.settle(ctx, v.next(), &outcome{verdict: remote.VerdictDrop, reason: account.ReasonShutdown})
		v.settled()
	}
}

// prepare makes the next request what can be sent now.
func (v *voyage) prepare(ctx context.Context) {
	r := v.next()
	*r = v.dropOld(ctx, *r)
	if v.attempts == 0 {
		v.cutLarge(v.queue.mostBytes())
		v.cutLong(v.queue.limits.MaxSamples)
		r = v.next()
	}
	if r.Samples > maxProbe && v.queue.paused() {
		v.version.split(r.trial)
		first, rest := r.splitAt(maxProbe)
		v.settled(first, rest)
		r = v.next()
	}
	if !r.Empty() && r.protocol == wire.V2 && v.attempts == 0 {
		if ok, probe := v.version.maySend(); ok {
			r.probe = probe
		} else {
			v.asV1(ctx)
		}
	}
}

// cutLarge makes several requests of the next one, sent one after the other, if it is larger than what the endpoint takes.
func (v *voyage) cutLarge(most int64) {
	for v.next().Samples > 1 && v.next().size() > most {
		pieces := v.next().pieces(most)
		for range pieces[1:] {
			v.version.split(pieces[0].trial)
		}
		v.settled(pieces...)
	}
}

// cutLong cuts the next request if it has more samples than batch.max_samples: an earlier process may have stored them with another one.
func (v *voyage) cutLong(most int) {
	for r := v.next(); r.Samples > most; r = v.next() {
		v.version.split(r.trial)
		// In halves: if one request after the other were cut off, all that is left would be encoded each time.
		requests := (r.Samples + most - 1) / most
		first, rest := r.splitAt(requests / 2 * most)
		v.settled(first, rest)
	}
}

// sortByTime puts the request of a late delivery in the order of time.
func (v *voyage) sortByTime(ctx context.Context) {
	r := v.next()
	kept, duplicates := r.sortByTime()
	v.settle(ctx, &duplicates, &outcome{verdict: remote.VerdictDrop, reason: account.ReasonDuplicate})
	*r = kept
}

// fallBack makes 1.0 of the next request, which the endpoint has not read.
func (v *voyage) fallBack(ctx context.Context, o *outcome) {
	if o.reach == remote.ReachAll {
		v.version.fallBack(o.answer)
	}
	lost := v.asV1(ctx)
	again := v.next()
	again.trial = o.trial
	if v.version.needsV2 {
		v.version.unfit(o.answer, again.Samples, lost)
	}
}

// settle accounts for the samples of a request. It is the one place where samples that were in flight get their outcome.
func (v *voyage) settle(ctx context.Context, r *request, o *outcome) {
	v.version.tried(r.trial, o)
	if r.Empty() {
		return
	}
	if v.durable && (o.reason == account.ReasonShutdown || o.reason == account.ReasonShutdownInFlight) {
		v.kept = true
		v.ledger.Keep(r.Samples)
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
		v.ledger.Deliver(delivered)
		v.span.delivered(ctx, delivered)
	}
	lost := r.Samples - delivered
	if lost == 0 {
		return
	}
	v.ledger.Drop(lost, key)
	v.span.dropped(ctx, lost, o.err())
	v.events.drop(drop{
		samples: lost,
		key:     key,
		answer:  o.answer,
		example: r.example,
		unsure:  o.answer != nil && r.Samples > 1,
		kept:    v.letters.keep(r, key, o),
	})
}

// asV1 makes the next request one of 1.0, and drops what that cannot carry. What does not fit into one waits behind it as 2.0: as
// 1.0 it can be many times as large. It returns how many samples it has dropped.
func (v *voyage) asV1(ctx context.Context) (lost int) {
	v1, unfit, later := v.next().asV1(v.queue.mostBytes())
	v.settle(ctx, &unfit, &outcome{verdict: remote.VerdictDrop, reason: account.ReasonNeedsV2})
	if later.Empty() {
		v.settled(v1)
	} else {
		v.settled(v1, later)
	}
	return unfit.Samples
}

// dropOld drops the samples that are older than queue.max_age, and returns the others.
func (v *voyage) dropOld(ctx context.Context, r request) request {
	if v.maxAge == 0 {
		return r
	}
	oldest := time.Now().Add(-v.maxAge).UnixMilli()
	if r.Empty() || r.oldest >= oldest {
		return r
	}
	kept, old := r.cutOld(oldest)
	v.settle(ctx, &old, &outcome{verdict: remote.VerdictDrop, reason: account.ReasonTooOld})
	return kept
}

// takeApart sends the next request, which was refused, in smaller ones. It returns false if there is no smaller one, or no
// budget: then the outcome has the reason.
func (v *voyage) takeApart(ctx context.Context, o *outcome) bool {
	r := v.next()
	if o.reason == account.ReasonRefusedAfterUnknown && r.Samples > 1 {
		// Only that finds out which samples the endpoint does not have. It is no new offence, and costs no budget.
		r.refused = true
		v.split(ctx, 0)
		return true
	}
	isolated := o.reason == account.ReasonRejected
	if r.Samples == 1 {
		if isolated {
			v.offended(r)
		}
		return false
	}
	if isolated && r.offenders && !r.retried && v.retryOffenders(ctx, o) {
		return true
	}
	// Offenders that are not due are known to be refused, and cost nothing.
	known := isolated && r.offenders && !r.retried
	if known || isolated && !v.pay(r, 2) || int(v.planned.Add(2)) > v.maxIsolation {
		o.reason = account.ReasonIsolationLimit
		return false
	}
	v.split(ctx, 0)
	return true
}

// pay takes so many requests off the budget of isolation.
func (v *voyage) pay(r *request, n int) bool {
	return r.perhapsSent || v.isolation.spend(time.Now(), n, r.offenders)
}

// mostRetried is how many offenders of a request are tried again for themselves. It is few, because the good samples of their
// partition wait meanwhile.
const mostRetried = 4

// retryOffenders tries some of a refused request's offenders again for themselves, which are due for it, and drops the others. It
// returns false if none is due, or if these are all: then the request is marked as one of such.
func (v *voyage) retryOffenders(ctx context.Context, o *outcome) bool {
	r, now := v.next(), time.Now()
	c := r.contents()
	chosen := make(map[uint64]bool)
	due := v.offending(r, c, func(known *offenders, identity uint64) bool {
		if len(chosen) < mostRetried && known.due(identity, now) {
			chosen[identity] = true
		}
		return chosen[identity]
	})
	if due == nil {
		return false
	}
	retried, rest := r.divide(c, func(i int) bool { return due[i] })
	if rest.Empty() {
		r.retried = true
		return false
	}
	if !v.pay(r, 1) {
		return false
	}
	v.version.split(r.trial)
	retried.trial, rest.trial = r.trial, r.trial
	retried.retried = true
	dropped := *o
	dropped.verdict, dropped.reason = remote.VerdictDrop, account.ReasonIsolationLimit
	v.settle(ctx, &rest, &dropped)
	v.settled(retried)
	return true
}

// offending returns for which of a request's series, whose contents are c, a function of the offenders of their partition
// returns true; nil is none.
func (v *voyage) offending(r *request, c contents, which func(known *offenders, identity uint64) bool) (is []bool) {
	start := 0
	for i, n := range r.shares {
		g := v.parts[i].partition.guard
		g.mu.Lock()
		for series := start; series < start+n; series++ {
			if which(&g.offenders, c.identity(series)) {
				if is == nil {
					is = make([]bool, c.len())
				}
				is[series] = true
			}
		}
		g.mu.Unlock()
		start += n
	}
	return is
}

// offended remembers the series of a request that was refused alone. A late sample says nothing of its series, of which others
// are good, and one that was perhaps sent may be refused because the endpoint has it.
func (v *voyage) offended(r *request) {
	if r.perhapsSent || v.late && !r.offenders {
		return
	}
	now := time.Now()
	v.offending(r, r.contents(), func(known *offenders, identity uint64) bool {
		known.add(identity, now)
		return false
	})
}

// cutOffenders makes a request of its own of the offenders among the samples of a late delivery, sent after the others.
func (v *voyage) cutOffenders() {
	r := v.next()
	if r.Empty() || !v.anyOffenders() {
		return
	}
	c := r.contents()
	known := v.offending(r, c, (*offenders).has)
	if known == nil {
		return
	}
	of, others := r.divide(c, func(i int) bool { return known[i] })
	of.offenders = true
	if others.Empty() {
		v.settled(of)
		return
	}
	v.settled(others, of)
}

// anyOffenders says whether any are known of the delivery's partitions.
func (v *voyage) anyOffenders() bool {
	for i := range v.parts {
		g := v.parts[i].partition.guard
		g.mu.Lock()
		n := len(g.offenders.refused)
		g.mu.Unlock()
		if n > 0 {
			return true
		}
	}
	return false
}

// redeem forgets the offenders of a request if all of it was taken.
func (v *voyage) redeem(r *request, o *outcome) {
	if !r.offenders || o.verdict != remote.VerdictDelivered || o.answer.Confirmed(r.protocol, r.Counts) < r.Samples {
		return
	}
	v.offending(r, r.contents(), func(known *offenders, identity uint64) bool {
		known.taken(identity)
		return false
	})
}
