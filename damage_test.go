// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// TestAnyDamageIsSurvived has storage lose, cut, change, exchange and take back any of what it should keep between processes. What can be
// read is sent in order, the accounts add up, and nothing is left.
func TestAnyDamageIsSurvived(t *testing.T) {
	first := seed(t)
	for i := range uint64(60) {
		t.Run(fmt.Sprint("seed ", first+i), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { damage(t, rand.New(rand.NewPCG(first+i, 0))) })
		})
	}
}

func damage(t *testing.T, rnd *rand.Rand) {
	indexAtMost(t, 1+rnd.IntN(50))
	var b backend
	most := 1 + rnd.IntN(60)
	m := newMachine(t, &b, func(c *Config) {
		c.Partitions = 1 + rnd.IntN(6)
		c.Batch.MaxSizeBytes, c.Queue.MaxSizeBytes = minBatchSize, 4*minBatchSize
		c.Batch.MaxSamples = most
		c.ProtobufMessage = []ProtobufMessage{MessageV1, MessageV2}[rnd.IntN(2)]
	})
	old := make(map[string][]byte)
	for range 4 {
		h := m.boot()
		for range rnd.IntN(30) {
			b.down.Store(rnd.IntN(3) > 0)
			h.consume(gauge(time.Now(), 1+rnd.IntN(40)))
			time.Sleep(time.Duration(1+rnd.IntN(3000)) * time.Millisecond)
			if rnd.IntN(5) == 0 {
				for _, key := range m.disk.Keys() {
					m.disk.Change(key, func(v []byte) []byte { old[key] = v; return v })
				}
			}
		}
		if rnd.IntN(2) == 0 {
			m.kill()
		} else {
			h.stop()
			m.note(h)
		}
		m.disk.Crash()
		time.Sleep(time.Second)
		part := []int{0, 1, 5, 20, 60}[rnd.IntN(5)]
		keys := m.disk.Keys()
		for _, key := range keys {
			if rnd.IntN(100) >= part {
				continue
			}
			var other []byte
			m.disk.Change(keys[rnd.IntN(len(keys))], func(v []byte) []byte { other = slices.Clone(v); return v })
			m.disk.Change(key, func(v []byte) []byte {
				switch rnd.IntN(5) {
				case 0:
					return nil
				case 1:
					return v[:rnd.IntN(len(v))]
				case 2:
					// Not the format, in the first byte: what a newer version has written is refused.
					if len(v) > 1 {
						v[1+rnd.IntN(len(v)-1)] ^= 1 << rnd.IntN(8)
					}
				case 3:
					return other
				case 4:
					if before := old[key]; before != nil && !strings.HasPrefix(key, "head.") {
						return before
					}
				}
				return v
			})
		}
	}
	b.down.Store(false)
	h := m.boot()
	h.settle()
	h.consume(gauge(time.Now(), 40))
	h.settle()
	h.stop()
	require.NotNil(t, h)
	assert.Len(t, m.disk.Keys(), 3)
	assert.Zero(t, h.ledger.Snapshot().Queued)
	assert.Empty(t, b.Violations())
	assert.Empty(t, b.Overlaps())
	assert.Empty(t, b.Conflicting())
	assert.Empty(t, b.OutOfOrder())
}
