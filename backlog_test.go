// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/journal"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/storagetest"
)

// TestReaderWaitsForARecordThatIsHandedOver: a partition that has read all records before one that is being handed over is not
// caught up, as what that one has for it was left to the reader. It would count as lost.
func TestReaderWaitsForARecordThatIsHandedOver(t *testing.T) {
	cfg := createDefaultConfig().(*Config)
	log, err := journal.Open(t.Context(), new(storagetest.Disk).Client(), layoutOf(cfg.Partitions, testSecret))
	require.NoError(t, err)
	q := newQueue(cfg.queueOptions(), account.NewLedger())
	d := newDurable(log, int64(cfg.Queue.MaxDiskBytes), unobserved{})
	q.keepIn(d)
	b := &backlog{durable: d}
	p := q.partitions[0]

	const number = 7
	d.processed, d.handing = number, number+1
	p.kept.reading, p.kept.cursor = true, number
	b.caughtUpLocked(p, nil)
	assert.True(t, p.kept.reading)

	d.processed, p.kept.cursor = number+1, number+1
	b.caughtUpLocked(p, nil)
	assert.False(t, p.kept.reading)
}
