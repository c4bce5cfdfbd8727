// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/block"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/remote"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
)

// TestSizeThatPassedIsRemembered: an endpoint that takes 50 kB refuses a few requests, and then one a minute at most. When it takes
// more, requests grow again; when it takes nothing, they do not become smaller than a floor.
func TestSizeThatPassedIsRemembered(t *testing.T) {
	forEachMessage(t, func(t *testing.T, message func(*Config)) {
		synctest.Test(t, func(t *testing.T) {
			most, tooLarge, largest := 50_000, 0, 0
			receiver := &rwtest.Receiver{Script: func(r rwtest.Request) rwtest.Answer {
				size := block.DecompressedSize(r.Body)
				if size > most {
					tooLarge++
					return rwtest.Answer{Status: http.StatusRequestEntityTooLarge}
				}
				largest = max(largest, size)
				return rwtest.Answer{}
			}}
			h := newHarness(t, receiver, message, func(c *Config) {
				c.Batch.MaxSizeBytes = 400_000
				c.Batch.MaxSamples = 10_000
				c.Queue.MaxSizeBytes = 64 << 20
			}, onePartition)
			accepted := 0
			send := func(payloads int, every time.Duration) (refused, requests int) {
				before, requestsBefore := tooLarge, receiver.Requests()
				largest = 0
				for range payloads {
					h.consume(noise(time.Now(), 0, 300))
					accepted += 300
					time.Sleep(every)
				}
				time.Sleep(10 * time.Second)
				return tooLarge - before, receiver.Requests() - requestsBefore
			}
			refused, requests := send(10, time.Second)
			t.Logf("the first 10 s: %d refused of %d requests, the largest that passed has %d bytes", refused, requests, largest)
			assert.LessOrEqual(t, refused, 10)
			refused, requests = send(60, 2*time.Second)
			t.Logf("the next 2 minutes: %d refused of %d requests, the largest that passed has %d bytes", refused, requests, largest)
			assert.LessOrEqual(t, refused, 3)
			assert.Greater(t, largest, 25_000)

			most = 1 << 30
			refused, requests = send(250, 6*time.Second)
			assert.Zero(t, refused)
			send(3, time.Second)
			t.Logf("after 25 minutes with an endpoint that takes all, in %d requests: %d bytes", requests, largest)
			assert.Greater(t, largest, 300_000, "requests have grown again")

			most = 0
			h.consume(noise(time.Now(), 0, 100))
			time.Sleep(10 * time.Second)
			assert.Equal(t, int64(leastSize), h.queue.mostBytes())
			h.shutdown()
			assert.Equal(t, int64(accepted), h.delivered())
			assert.Equal(t, map[string]int64{"too_large 413": 100}, h.dropped())
			assert.Empty(t, receiver.Problems())
		})
	})
}

// TestSizeLimit has single answers.
func TestSizeLimit(t *testing.T) {
	limits := &BatchConfig{MaxSizeBytes: 1 << 20}
	l := newSizeLimit(limits)
	now := time.Unix(1_700_000_000, 0)
	answer := func(status int, size int64) int64 {
		l.answered(&remote.Answer{Status: status}, size, now)
		return l.bytes()
	}
	assert.EqualValues(t, 1<<20, answer(204, 1<<20))
	assert.EqualValues(t, 1<<20-1<<17, answer(413, 1<<20), "what passed once may have been the largest")
	assert.EqualValues(t, 1<<18, answer(413, 1<<19), "but a second refusal halves")
	assert.EqualValues(t, 1<<18, answer(413, 1<<20), "what was composed before says nothing new")
	assert.EqualValues(t, 1<<18, answer(413, 0), "nor does a single series")
	assert.EqualValues(t, 1<<18, answer(204, 1<<18))
	now = now.Add(time.Minute)
	assert.EqualValues(t, 1<<18, answer(204, 1<<10), "a small request shows nothing")
	assert.EqualValues(t, 1<<18+1<<15, answer(204, 1<<18))
	assert.EqualValues(t, 1<<18+1<<15, answer(204, 1<<18), "it grows once a minute")
	for range 10 {
		now = now.Add(time.Minute)
		answer(413, l.bytes())
	}
	assert.EqualValues(t, leastSize, l.bytes())
	for range 100 {
		now = now.Add(time.Minute)
		answer(204, l.bytes())
	}
	assert.EqualValues(t, 1<<20, l.bytes())
}
