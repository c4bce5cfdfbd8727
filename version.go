// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/remote"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// version is the version of Remote-Write in use: the configured one, or 1.0 while the endpoint does not read 2.0. It is
// safe for concurrent use.
type version struct {
	configured wire.Protocol
	// needsV2 says that the configuration makes what 1.0 cannot carry.
	needsV2 bool
	logger  *zap.Logger

	mu sync.Mutex
	n  remote.Negotiation
	// decided is closed when the trial that runs has ended.
	decided chan struct{}
	// unread lets the line pass that says that needsV2 and the endpoint do not go together.
	unread throttle
}

// protocol is the version in which payloads are encoded now.
func (v *version) protocol() wire.Protocol {
	if v.configured == wire.V1 {
		return wire.V1
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.n.Protocol(time.Now())
}

func (v *version) fellBack() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.n.Fallen()
}

// inUse is the version that the endpoint is sent, besides probes.
func (v *version) inUse() wire.Protocol {
	if v.configured == wire.V1 || v.fellBack() {
		return wire.V1
	}
	return wire.V2
}

// maySend says whether a 2.0 message may be sent now, and whether it is a probe. With 1.0 there are some that an earlier process has
// stored.
func (v *version) maySend() (ok, probe bool) {
	if v.configured == wire.V1 {
		return false, false
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.n.MaySend(time.Now())
}

// learn takes note of what an answer to a 2.0 message shows.
func (v *version) learn(a *remote.Answer, probe bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	switch v.n.Learn(a, probe, time.Now()) {
	case remote.NewsReads2:
		v.logger.Info("The endpoint reads Remote-Write 2.0, which is in use again.")
	case remote.NewsStillUnread:
		v.logger.Debug("Remote-Write 2.0 was tried again without success.", zap.Error(a), zap.Time("next_try", v.n.NextProbe()))
	}
	if v.n.Trying() && v.provenLocked() {
		// Who waits for the trial need not: it may last.
		v.releaseLocked()
	}
}

// releaseLocked has those go on who wait for a trial.
func (v *version) releaseLocked() {
	close(v.decided)
	v.decided = make(chan struct{})
}

func (v *version) provenLocked() bool {
	return v.n.Standing(time.Now()) == remote.StandingProven
}

// standing is that of the endpoint now.
func (v *version) standing() remote.Standing {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.n.Standing(time.Now())
}

// fallBack makes 1.0 the version of what follows.
func (v *version) fallBack(a *remote.Answer) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.fallBackLocked(a)
}

func (v *version) fallBackLocked(a *remote.Answer) {
	if !v.n.FallBack(time.Now()) {
		return
	}
	v.logger.Warn("The endpoint does not read Remote-Write 2.0: everything is sent as 1.0, and 2.0 is tried again from time to time. To send 1.0 for good, set protobuf_message: "+wire.MessageV1,
		zap.Int("status", a.Status), zap.String("answer", a.Error()), zap.Time("next_try", v.n.NextProbe()))
}

// unfit logs that the endpoint did not read a message, although the configuration needs 2.0.
func (v *version) unfit(a *remote.Answer, kept, lost int) {
	v.mu.Lock()
	_, ok := v.unread.pass(1)
	v.mu.Unlock()
	if !ok {
		return
	}
	v.logger.Error("The endpoint has not read a message of Remote-Write 2.0, which translation_strategy or convert_explicit_histograms_to_nhcb needs. "+
		"What 1.0 can carry of it is sent as 1.0, and the rest is dropped. Use an endpoint that reads 2.0; or set protobuf_message: "+wire.MessageV1+
		", with a translation_strategy that escapes names and without custom buckets",
		zap.Int("status", a.Status), zap.String("answer", a.Error()), zap.Int("sent_as_1.0", kept), zap.Int("dropped_samples", lost))
}

// try begins a trial, if none runs and none has been decided since the standing was asked for. Otherwise it returns what
// is closed when the standing says what to do.
func (v *version) try(a *remote.Answer) (t *trial, decided <-chan struct{}) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.n.Try(time.Now()) {
		v.decided = make(chan struct{})
		return &trial{refusal: a, parts: 1}, nil
	}
	if v.n.Trying() {
		return nil, v.decided
	}
	now := make(chan struct{})
	close(now)
	return nil, now
}

// split adds a part to a trial, one of whose parts is sent as two.
func (v *version) split(t *trial) {
	if t != nil {
		v.mu.Lock()
		t.parts++
		v.mu.Unlock()
	}
}

// yield has another trial begin, if a part of this one fails again and again: it may be the cause itself. That this one is taken
// decides all the same.
func (v *version) yield(t *trial) {
	if t == nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if t.yielded {
		return
	}
	t.yielded = true
	v.n.Tried(false, time.Now())
	v.releaseLocked()
}

// tried takes note of what became of a part of a trial. The first part that the endpoint takes decides it, unless the endpoint has
// shown meanwhile that it reads 2.0.
func (v *version) tried(t *trial, o *outcome) {
	if t == nil {
		return
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	t.parts--
	switch {
	case o.verdict == remote.VerdictDelivered:
		t.taken = true
		if !v.provenLocked() {
			v.fallBackLocked(t.refusal)
		}
		// The rest may last.
		v.releaseLocked()
	case o.reason == account.ReasonRejected, o.reason == account.ReasonRefusedAfterUnknown, o.reason == account.ReasonIsolationLimit, o.reason == account.ReasonTooLarge:
		t.refused = true
	}
	if t.parts == 0 && !t.yielded {
		v.n.Tried(t.refused && !t.taken, time.Now())
		v.releaseLocked()
	}
}
