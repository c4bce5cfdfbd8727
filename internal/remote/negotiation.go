// SPDX-License-Identifier: Apache-2.0

package remote // import "github.com/orderedremotewrite/orderedremotewriteexporter/internal/remote"

import (
	"net/http"
	"time"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// Negotiation is what the answers to 2.0 messages say of the endpoint, and the version that is in use because of them. The
// zero value uses 2.0 and knows nothing. It has no clock, and is not safe for concurrent use.
type Negotiation struct {
	// fallen says that 1.0 is in use; proven that the endpoint has sent Written headers, and that nothing speaks against it
	// since.
	fallen, proven bool
	// strays are the unread messages since the last proof, and strayed is when the first was answered.
	strays  int
	strayed time.Time
	// probing says that a 2.0 message is on its way while 1.0 is in use; trying that a 1.0 one is on trial.
	probing, trying bool
	// probe is when 2.0 is tried again, trial when 1.0 may be tried again after a 400.
	probe, trial schedule
}

// Standing is what is known of an endpoint when it answers a 2.0 message.
type Standing uint8

const (
	// StandingUnproven is that of an endpoint that has not shown that it reads 2.0.
	StandingUnproven Standing = iota
	// StandingTried is the same, but what it refused with 400 as 2.0 it has refused as 1.0 too: a 400 is about the data.
	StandingTried
	// StandingProven is that of an endpoint that reads 2.0: it has sent Written headers.
	StandingProven
	// StandingFallen is that of one that is sent 1.0. The message was on its way, or finds out whether 2.0 is read again.
	StandingFallen
)

// News is what an answer changes.
type News uint8

// The news.
const (
	// NoNews changes nothing that anybody must know.
	NoNews News = iota
	// NewsReads2 brings 2.0 back.
	NewsReads2
	// NewsStillUnread is a probe's: 1.0 stays.
	NewsStillUnread
)

// An endpoint that has proved itself is taken for one that does not read 2.0 when it has read none of so many messages in
// a row, in so long a time. It is less than the time that a request is tried for by default, and longer than most proxies
// take for a restart.
const (
	minStrays  = 5
	strayPhase = 2 * time.Minute
)

// Bounds of the delay after which 2.0, or after a 400 1.0, is tried again. It doubles with each refusal.
const (
	firstDelay = 10 * time.Minute
	lastDelay  = 4 * time.Hour
)

// schedule is when something is tried again.
type schedule struct {
	next time.Time
	// delay is the last one.
	delay time.Duration
}

func (s *schedule) due(now time.Time) bool { return !now.Before(s.next) }

// postpone sets the next time, after a longer delay than the last one if that time has brought a refusal.
func (s *schedule) postpone(now time.Time, refused bool) {
	if refused {
		s.delay *= 2
	}
	s.delay = min(max(s.delay, firstDelay), lastDelay)
	s.next = now.Add(s.delay)
}

// Fallen says whether 1.0 is in use although 2.0 is configured.
func (n *Negotiation) Fallen() bool { return n.fallen }

// NextProbe is when 2.0 is tried again.
func (n *Negotiation) NextProbe() time.Time { return n.probe.next }

// Standing returns what is known now.
func (n *Negotiation) Standing(now time.Time) Standing {
	switch {
	case n.fallen:
		return StandingFallen
	case n.proven:
		return StandingProven
	case !n.trying && !n.trial.due(now):
		return StandingTried
	default:
		return StandingUnproven
	}
}

// Protocol is the version in which data is encoded now. It is 2.0 too when a probe is due, which must be a message that
// was never one of 1.0: that lacks what 2.0 demands.
func (n *Negotiation) Protocol(now time.Time) wire.Protocol {
	if n.fallen && (n.probing || !n.probe.due(now)) {
		return wire.V1
	}
	return wire.V2
}

// MaySend says whether a 2.0 message may be sent as it is, and not as 1.0. The first one when a probe is due is the probe.
func (n *Negotiation) MaySend(now time.Time) (ok, probe bool) {
	switch {
	case !n.fallen:
		return true, false
	case n.probing || !n.probe.due(now):
		return false, false
	default:
		n.probing = true
		return true, true
	}
}

// Learn takes note of the answer to a 2.0 message.
func (n *Negotiation) Learn(a *Answer, probe bool, now time.Time) News {
	if probe {
		n.probing = false
	}
	switch {
	case a.proves():
		n.proven, n.strays = true, 0
		if n.fallen {
			n.fallen, n.probe = false, schedule{}
			return NewsReads2
		}
	case probe:
		n.probe.postpone(now, a.Unread() || a.Status == http.StatusBadRequest)
		return NewsStillUnread
	case a.Unread() && n.proven:
		if n.strays++; n.strays == 1 {
			n.strayed = now
		}
		n.proven = n.strays < minStrays || now.Sub(n.strayed) < strayPhase
	}
	return NoNews
}

// FallBack puts 1.0 in use, and says whether it was not.
func (n *Negotiation) FallBack(now time.Time) bool {
	if n.fallen {
		return false
	}
	n.fallen, n.proven = true, false
	n.probe.postpone(now, false)
	return true
}

// Try begins a trial of 1.0 for data that was refused with 400 as 2.0, and says whether there is to be one. There is one
// at a time.
func (n *Negotiation) Try(now time.Time) bool {
	if n.trying || n.Standing(now) != StandingUnproven {
		return false
	}
	n.trying = true
	return true
}

// Trying says whether a trial runs.
func (n *Negotiation) Trying() bool { return n.trying }

// Tried ends the trial. If 1.0 was refused too, there is no other one for a long time: each would be a request that is
// refused twice. But there is one in the end, because an endpoint for which nothing was proved has not taken anything yet,
// and the data of the trial may have been bad in any version.
func (n *Negotiation) Tried(refused bool, now time.Time) {
	n.trying = false
	if refused {
		n.trial.postpone(now, true)
	}
}
