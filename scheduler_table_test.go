// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/remote"
)

// simulation feeds a queue at a steady rate, without translation or a network, on the fake clock of a bubble.
type simulation struct {
	q *queue
	// answer says how long the endpoint takes for a delivery, and what it answers.
	answer func(d *delivery) (time.Duration, *remote.Answer)

	mu                         sync.Mutex
	requests, samples, largest int
	inFlight, mostInFlight     int
	// flight is the sum of the requests in flight at their ends, and delay that of the ages of the oldest samples.
	flight int
	delay  time.Duration
}

func newSimulation(edit func(*Config), answer func(d *delivery) (time.Duration, *remote.Answer)) *simulation {
	cfg := configOf(edit)
	s := &simulation{q: newQueue(cfg.queueOptions(), account.NewLedger()), answer: answer}
	s.q.start(func(d *delivery) { go s.deliver(d) })
	return s
}

// answersIn is an endpoint that takes so long for every request, and takes it.
func answersIn(d time.Duration) func(*delivery) (time.Duration, *remote.Answer) {
	return func(*delivery) (time.Duration, *remote.Answer) { return d, &remote.Answer{Status: 204} }
}

func (s *simulation) deliver(d *delivery) {
	d.begun = time.Now()
	s.mu.Lock()
	s.inFlight++
	s.mostInFlight = max(s.mostInFlight, s.inFlight)
	s.mu.Unlock()
	for {
		d.attempted = time.Now()
		took, a := s.answer(d)
		time.Sleep(took)
		if a.Success() {
			s.q.answered(d, &outcome{answer: a}, 0)
			break
		}
		s.q.answered(d, &outcome{answer: a, verdict: remote.VerdictRetry}, time.Second)
		<-s.q.retry(d, time.Second)
	}
	s.mu.Lock()
	s.requests++
	s.samples += d.samples()
	s.largest = max(s.largest, d.samples())
	s.flight += s.inFlight
	s.inFlight--
	s.delay += time.Since(d.accepted)
	s.mu.Unlock()
	s.q.finished(d)
}

// accept accepts n samples that are spread over all partitions, each of a series of its own.
func (s *simulation) accept(t *testing.T, n int) {
	pl := &payload{segments: make([]segment, len(s.q.partitions))}
	for i := range pl.segments {
		share := n / len(pl.segments)
		if i < n%len(pl.segments) {
			share++
		}
		if share == 0 {
			continue
		}
		pl.touched = append(pl.touched, i)
		c := indexedChunk{chunk: chunk{tally: tally{Counts: account.Counts{Samples: share}}, plain: make([]byte, share), borrowed: true}}
		for series := range share {
			c.index = append(c.index, indexEntry{identity: uint64(i)<<32 + uint64(series) + 1, timestamp: time.Now().UnixMilli()})
		}
		pl.segments[i].chunks = []indexedChunk{c}
	}
	_, err := s.q.admit(context.Background(), pl)
	require.NoError(t, err)
}

// feed accepts so many samples a second, in payloads of at most 1,000, for a time.
func (s *simulation) feed(t *testing.T, rate int, d time.Duration) {
	payload := min(rate/10, 1000)
	every := time.Second * time.Duration(payload) / time.Duration(rate)
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(every) {
		s.accept(t, payload)
	}
}

// held is the bytes that a partition holds.
func (s *simulation) held(partition int) int64 {
	s.q.mu.Lock()
	defer s.q.mu.Unlock()
	return s.q.partitions[partition].size
}

// reset forgets what was measured.
func (s *simulation) reset() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests, s.samples, s.largest, s.flight, s.delay = 0, 0, 0, 0, 0
	s.mostInFlight = s.inFlight
}

// stop ends the simulation when everything has been delivered.
func (s *simulation) stop() {
	s.q.close()
	<-s.q.drained
	s.q.discard()
}

// TestRequestsFollowLoadAndEndpoint is the table of the design: requests a second, samples in each and requests in flight, with
// the default configuration, by the samples that arrive and the time that an answer takes.
func TestRequestsFollowLoadAndEndpoint(t *testing.T) {
	for _, arriving := range []int{1_000, 20_000, 300_000} {
		for _, answer := range []time.Duration{time.Millisecond, 10 * time.Millisecond, 50 * time.Millisecond, 200 * time.Millisecond} {
			t.Run(fmt.Sprintf("%d/s, %v", arriving, answer), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					measured := 10
					if raceDetector {
						measured = 2
					}
					s := newSimulation(nil, answersIn(answer))
					s.feed(t, arriving, 5*time.Second)
					s.reset()
					s.feed(t, arriving, time.Duration(measured)*time.Second)
					s.mu.Lock()
					requests, each := float64(s.requests)/float64(measured), s.samples/s.requests
					inFlight, delay := float64(s.flight)/float64(s.requests), s.delay/time.Duration(s.requests)
					waiting := s.q.ledger.Queued()
					most := s.mostInFlight
					s.mu.Unlock()
					t.Logf("%6.1f requests/s of %4d samples, %4.1f in flight (at most %d), oldest sample %v, %d wait",
						requests, each, inFlight, most, delay.Round(time.Millisecond), waiting)
					assert.LessOrEqual(t, delay, time.Second+2*answer, "the oldest sample leaves after flush_timeout at the latest")
					assert.LessOrEqual(t, waiting, int64(arriving)+20_000, "no backlog grows")
					switch arriving {
					case 1_000:
						assert.LessOrEqual(t, requests, 2.5)
					case 300_000:
						assert.Greater(t, each, 1700, "requests are full")
					}
					s.stop()
				})
			})
		}
	}
}
