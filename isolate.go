// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"context"
	"time"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/remote"
)

// takeApart sends the next request, which was refused, in smaller ones. It returns false if there is no smaller one, or no
// budget: then the outcome has the reason.
func (v *voyage) takeApart(ctx context.Context, o *outcome) bool {
	r := v.next()
	if o.reason == account.ReasonRefusedAfterUnknown && r.Samples > 1 {
		// Only that finds out which samples the endpoint does not have. It is no new offence, and costs no budget.
		v.split(ctx)
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
	if known || isolated && !v.pay(r, 2) || v.planned.Add(2) > int32(v.maxIsolation) {
		o.reason = account.ReasonIsolationLimit
		return false
	}
	v.split(ctx)
	return true
}

// pay takes so many requests off the budget of isolation.
func (v *voyage) pay(r *request, n int) bool {
	return v.perhapsSent || v.isolation.spend(time.Now(), n, r.offenders)
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
			if which(&g.offenders, identityOf(c.labels(series))) {
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
	if v.perhapsSent || v.late && !r.offenders {
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
