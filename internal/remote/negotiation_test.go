// SPDX-License-Identifier: Apache-2.0

package remote

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

var (
	written    = Written{Present: true}
	read       = &Answer{Status: 204, Written: written}
	bare       = &Answer{Status: 200}
	media      = &Answer{Status: 415}
	bad        = &Answer{Status: 400}
	partial    = &Answer{Status: 400, Written: written}
	overloaded = &Answer{Status: 503}
	epoch      = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
)

// TestDecideOnAnswersTo2 is what becomes of a 2.0 message, by what is known of the endpoint.
func TestDecideOnAnswersTo2(t *testing.T) {
	var (
		request   = Decision{Verdict: VerdictFallback}
		forGood   = Decision{Verdict: VerdictFallback, Reach: ReachAll}
		onTrial   = Decision{Verdict: VerdictFallback, Reach: ReachTrial}
		rejected  = Decision{Verdict: VerdictDrop, Reason: account.ReasonRejected}
		exhausted = Decision{Verdict: VerdictDrop, Reason: account.ReasonRetriesExhausted}
		again     = Decision{Verdict: VerdictRetry, Delay: 30 * time.Millisecond}
		later     = Decision{Verdict: VerdictFallback, Delay: 30 * time.Millisecond}
		delivered = Decision{Verdict: VerdictDelivered}
		fatal     = Decision{Verdict: VerdictFail, Reason: account.ReasonFatal, Permanent: true}
	)
	off := func(p *Policy) { p.Fallback = false }
	needs := func(p *Policy) { p.NeedsV2 = true }
	once := func(p *Policy) { p.BackOff.Enabled = false }
	for _, tt := range []struct {
		name     string
		standing []Standing
		answers  []*Answer
		edit     []func(*Policy)
		want     Decision
	}{
		{"what has Written headers was read, whatever is known", []Standing{StandingUnproven, StandingTried, StandingProven, StandingFallen}, []*Answer{read}, nil, delivered},
		{"and a refusal with them is about the data", []Standing{StandingUnproven, StandingTried, StandingProven, StandingFallen}, []*Answer{partial}, nil, rejected},
		{"an endpoint that has proved nothing has not read it: 1.0 for good", []Standing{StandingUnproven, StandingTried}, []*Answer{media, bare}, nil, forGood},
		{"a 415 counts whatever headers it has", []Standing{StandingUnproven}, []*Answer{{Status: 415, Written: written}}, nil, forGood},
		{"a 400 justifies a trial", []Standing{StandingUnproven}, []*Answer{bad}, nil, onTrial},
		{"but one", []Standing{StandingTried}, []*Answer{bad}, nil, rejected},
		{"and none of an endpoint that reads 2.0", []Standing{StandingProven}, []*Answer{bad}, nil, rejected},
		{"which a stray 415 does not refute: this request goes as 1.0", []Standing{StandingProven}, []*Answer{media}, nil, request},
		{"nor a bare 2xx, which as 1.0 would look like a success: it is no answer", []Standing{StandingProven}, []*Answer{bare}, nil, again},
		{"and ends like none", []Standing{StandingProven}, []*Answer{bare}, []func(*Policy){once}, exhausted},
		{"whatever fallback is", []Standing{StandingProven}, []*Answer{bare}, []func(*Policy){off}, again},
		{"without fallback what is not read is lost", []Standing{StandingUnproven, StandingTried}, []*Answer{media, bare}, []func(*Policy){off}, rejected},
		{"also by a stray 415", []Standing{StandingProven}, []*Answer{media}, []func(*Policy){off}, rejected},
		{"and a 400 has no trial", []Standing{StandingUnproven}, []*Answer{bad}, []func(*Policy){off}, rejected},
		{"where 2.0 is needed it stays", []Standing{StandingUnproven, StandingTried}, []*Answer{media, bare}, []func(*Policy){needs}, request},
		{"and so there is no trial", []Standing{StandingUnproven}, []*Answer{bad}, []func(*Policy){needs}, rejected},
		{"a probe that is not read goes as 1.0", []Standing{StandingFallen}, []*Answer{media, bare, bad, {Status: 406}, {Status: 413}, {Status: 422}}, nil, request},
		{"so does one that fails otherwise, after the delay of a retry", []Standing{StandingFallen}, []*Answer{overloaded, {Status: 500}, {Status: 429}, {Err: errors.New("reset")}}, nil, later},
		{"if there are retries", []Standing{StandingFallen}, []*Answer{overloaded}, []func(*Policy){once}, exhausted},
		{"and credentials are as wrong as with any other", []Standing{StandingFallen, StandingProven}, []*Answer{{Status: 401}}, nil, fatal},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := testPolicy(append([]func(*Policy){func(p *Policy) { p.Fallback = true }}, tt.edit...)...)
			for _, standing := range tt.standing {
				for _, a := range tt.answers {
					got := p.Decide(a, Attempt{Number: 1, Protocol: wire.V2, Standing: standing})
					assert.Equal(t, tt.want, got, "status %d, standing %d", a.Status, standing)
				}
			}
		})
	}
}

// TestUnprovenUntilWrittenHeaders: an answer to 2.0 with one of the headers, whatever its status, shows that it was read.
func TestUnprovenUntilWrittenHeaders(t *testing.T) {
	for _, tt := range []struct {
		answer *Answer
		want   Standing
	}{
		{read, StandingProven},
		{partial, StandingProven},
		{&Answer{Status: 503, Written: written}, StandingProven},
		{&Answer{Status: 415, Written: written}, StandingUnproven},
		{bare, StandingUnproven},
		{bad, StandingUnproven},
		{overloaded, StandingUnproven},
		{&Answer{Err: errors.New("reset")}, StandingUnproven},
	} {
		var n Negotiation
		assert.Equal(t, NoNews, n.Learn(tt.answer, false, epoch))
		assert.Equal(t, tt.want, n.Standing(epoch), "status %d", tt.answer.Status)
	}
}

// TestProofLapses when nothing was read for a while, in several requests.
func TestProofLapses(t *testing.T) {
	for _, tt := range []struct {
		name    string
		answers []*Answer
		every   time.Duration
		want    Standing
	}{
		{"two strays, far apart", []*Answer{media, bare}, time.Hour, StandingProven},
		{"many strays in a minute", []*Answer{media, bare, media, bare, media, bare, media, bare, media, bare, media, bare}, 5 * time.Second, StandingProven},
		{"strays with a message that was read between", []*Answer{media, media, media, media, read, media, media, media, media}, time.Hour, StandingProven},
		{"as many strays as it takes, in the time that it takes", []*Answer{media, bare, media, bare, media}, 30 * time.Second, StandingUnproven},
		{"other failures say nothing, in either direction", []*Answer{media, overloaded, bad, media, media, media}, time.Minute, StandingProven},
		{"and do not interrupt either", []*Answer{media, overloaded, bad, media, media, media, bare}, time.Minute, StandingUnproven},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var n Negotiation
			n.Learn(read, false, epoch)
			now := epoch
			for _, a := range tt.answers {
				now = now.Add(tt.every)
				n.Learn(a, false, now)
			}
			assert.Equal(t, tt.want, n.Standing(now))
			n.Learn(read, false, now)
			assert.Equal(t, StandingProven, n.Standing(now), "what is read proves it again")
		})
	}
}

// TestProbes: after a fallback 2.0 is tried again after 10 minutes, and then after delays that double up to 4 hours.
func TestProbes(t *testing.T) {
	var n Negotiation
	now := epoch
	require.True(t, n.FallBack(now))
	assert.False(t, n.FallBack(now), "it has fallen back")
	for _, want := range []time.Duration{10, 20, 40, 80, 160, 240, 240, 240} {
		next := now.Add(want * time.Minute)
		assert.Equal(t, next, n.NextProbe())
		now = next.Add(-time.Nanosecond)
		assert.Equal(t, wire.V1, n.Protocol(now))
		ok, probe := n.MaySend(now)
		assert.False(t, ok || probe, "what was encoded as 2.0 goes as 1.0")

		now = next
		assert.Equal(t, wire.V2, n.Protocol(now), "the probe must be encoded as 2.0")
		ok, probe = n.MaySend(now)
		assert.True(t, ok && probe)
		assert.Equal(t, wire.V1, n.Protocol(now), "one probe is enough")
		ok, probe = n.MaySend(now)
		assert.False(t, ok || probe)

		assert.Equal(t, NoNews, n.Learn(media, false, now), "the answer to an earlier message is not the probe's")
		assert.Equal(t, wire.V1, n.Protocol(now))
		assert.Equal(t, NewsStillUnread, n.Learn(bare, true, now))
		assert.Equal(t, StandingFallen, n.Standing(now))
	}
}

// TestProbesThatSayNothing are repeated after the same delay.
func TestProbesThatSayNothing(t *testing.T) {
	var n Negotiation
	n.FallBack(epoch)
	now := epoch
	for range 5 {
		now = now.Add(firstDelay)
		_, probe := n.MaySend(now)
		require.True(t, probe)
		n.Learn(overloaded, true, now)
	}
	assert.Equal(t, now.Add(firstDelay), n.NextProbe())
}

// TestProbeThatIsRead brings 2.0 back, for an endpoint that has proved itself, and forgets the delay.
func TestProbeThatIsRead(t *testing.T) {
	for _, a := range []*Answer{read, partial} {
		var n Negotiation
		n.FallBack(epoch)
		now := epoch.Add(firstDelay)
		n.MaySend(now)
		n.Learn(media, true, now)
		now = n.NextProbe()
		n.MaySend(now)
		assert.Equal(t, NewsReads2, n.Learn(a, true, now))
		assert.False(t, n.Fallen())
		assert.Equal(t, StandingProven, n.Standing(now))
		assert.Equal(t, wire.V2, n.Protocol(now))
		ok, probe := n.MaySend(now)
		assert.True(t, ok)
		assert.False(t, probe)
		n.FallBack(now)
		assert.Equal(t, now.Add(firstDelay), n.NextProbe())
	}
}

// TestOneTrial: there is one at a time, and after its refusal none for a long time.
func TestOneTrial(t *testing.T) {
	var n Negotiation
	now := epoch
	for _, want := range []time.Duration{10, 20, 40, 80, 160, 240, 240} {
		require.True(t, n.Try(now))
		assert.False(t, n.Try(now))
		assert.True(t, n.Trying())
		assert.Equal(t, StandingUnproven, n.Standing(now), "who is refused meanwhile waits for its outcome")
		n.Tried(true, now)
		assert.Equal(t, StandingTried, n.Standing(now))
		assert.False(t, n.Trying() || n.Try(now))
		now = now.Add(want * time.Minute)
		assert.Equal(t, StandingTried, n.Standing(now.Add(-time.Nanosecond)))
		assert.Equal(t, StandingUnproven, n.Standing(now))
	}
	require.True(t, n.Try(now))
	n.Tried(false, now)
	assert.Equal(t, StandingUnproven, n.Standing(now), "one that got no answer has said nothing")
	n.FallBack(now)
	assert.False(t, n.Try(now), "there is nothing to find out")
}

func TestAnswerUnread(t *testing.T) {
	for status := 100; status <= 999; status++ {
		a := &Answer{Status: status}
		assert.Equal(t, status/100 == 2 || status == http.StatusUnsupportedMediaType, a.Unread(), status)
		a.Written.Present = true
		assert.Equal(t, status == http.StatusUnsupportedMediaType, a.Unread(), status)
	}
	assert.EqualError(t, &Answer{Status: 200, Err: errNoWritten},
		"endpoint answered 200 OK with none of the headers that a receiver of 2.0 must send: no X-Prometheus-Remote-Write-*-Written")
}
