// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
)

// TestLateSamplesDoNotWaitForNewerOnes: late samples wait for the good ones that were accepted before them, and not for those before
// other late ones that have come since. With payloads in step with the flush timeout they would wait for ever.
func TestLateSamplesDoNotWaitForNewerOnes(t *testing.T) {
	cfg := createDefaultConfig().(*Config)
	cfg.Partitions = 1
	q := newQueue(cfg.queueOptions(), account.NewLedger())
	p := q.partitions[0]
	add := func(l *lane) {
		c := &chunk{tally: tally{Counts: account.Counts{Samples: 1}}, accepted: time.Now(), plain: make([]byte, 100)}
		p.appendLocked(l, c, &q.limits, nil)
	}
	for range 3 {
		add(&p.good)
		add(&p.late)
		assert.False(t, p.lateReady(), "the good sample before it is still there")
		p.good.popFront()
		assert.True(t, p.lateReady())
		add(&p.good)
		add(&p.late)
		assert.True(t, p.lateReady(), "the first late sample does not wait for what has come since")
		taken := p.late.open.take(&q.limits, 0, sizes{}, p.unsettled())
		require.NotNil(t, taken)
		p.late.taken(taken)
		assert.Equal(t, 1, taken.Samples)
		assert.False(t, p.lateReady())
		p.good.popFront()
		p.late.popFront()
	}
}
