// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"context"
	"runtime"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/extension/xextension/storage"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/storagetest"
)

func TestHeadsAreRebuiltFromRecords(t *testing.T) {
	m := new(storagetest.Disk)
	l := open(t, m, 2)
	for i := range uint64(4) {
		appendAll(t, l, []Run{run(0, i, 1), run(1, 2*i, 2)})
	}
	l.Acknowledge(0, 4)
	require.NoError(t, l.Flush(t.Context()))
	for _, key := range headKeys {
		m.Change(key, torn)
	}
	again := open(t, m, 7)
	assert.Equal(t, layout(2), again.InUse())
	assert.Equal(t, map[int][]uint64{0: {0, 1, 2, 3}, 1: {0, 2, 4, 6}}, all(t, again), "acknowledgements are lost with the heads")
	assert.Greater(t, again.Life(), l.Life())
}

func gone([]byte) []byte { return nil }

// TestHeadsThatAreGoneAreRebuilt: storage may lose keys as a whole, like a cache that makes room. What else is there is deleted.
func TestHeadsThatAreGoneAreRebuilt(t *testing.T) {
	var foreign []byte
	m := new(storagetest.Disk)
	appendAll(t, open(t, m, 9), []Run{run(8, 0, 1)})
	m.Change(recordKey(0), func(b []byte) []byte { foreign = b; return b })
	m = new(storagetest.Disk)
	l := open(t, m, 2)
	for i := range uint64(8) {
		appendAll(t, l, []Run{run(0, i, 1), run(1, 2*i, 2)})
	}
	l.Acknowledge(0, 3)
	l.Acknowledge(1, 6)
	require.NoError(t, l.Flush(t.Context()))
	require.Len(t, m.Keys(), 3+5)
	m.Change(recordKey(0), func([]byte) []byte { return foreign })
	m.Change(recordKey(1), torn)
	m.Change(recordKey(5), torn)
	for _, key := range headKeys {
		m.Change(key, gone)
	}
	l = open(t, m, 7)
	assert.Equal(t, bytesOnDisk(m), l.Sizes().Stored)
	from, end := l.Bounds()
	records, _, damaged, err := l.Read(t.Context(), from, end, 1<<20)
	require.NoError(t, err)
	assert.Len(t, records, 4)
	assert.Equal(t, 1, damaged)
	assert.EqualValues(t, 5+10, l.Sizes().Samples, "the gap shows what was lost")
	l.Acknowledge(0, 5)
	l.Acknowledge(1, 10)
	require.NoError(t, l.Flush(t.Context()))
	assert.Equal(t, emptyKeys, m.Keys())
	assert.Zero(t, l.Sizes())
}

// TestDamagedRecordsWithoutHeadsAreDeleted: what is written then is not deleted with them.
func TestDamagedRecordsWithoutHeadsAreDeleted(t *testing.T) {
	for readable := range uint64(2) {
		m := new(storagetest.Disk)
		l := open(t, m, 1)
		for i := range uint64(2 * maxDeletes) {
			appendAll(t, l, []Run{run(0, i, 1)})
		}
		for _, key := range m.Keys() {
			if readable == 0 || key != recordKey(3) {
				m.Change(key, torn)
			}
		}
		l = open(t, m, 1)
		end := l.Lane(0).End
		require.Equal(t, readable, l.Sizes().Samples)
		for i := range uint64(10) {
			appendAll(t, l, []Run{run(0, end+i, 1)})
		}
		kept := 0
		for from, end := l.Bounds(); from < end; {
			records, next, _, err := l.Read(t.Context(), from, end, 1<<20)
			require.NoError(t, err)
			kept, from = kept+len(records), next
		}
		assert.EqualValues(t, 10+readable, kept)
		l.Acknowledge(0, kept)
		require.NoError(t, l.Flush(t.Context()))
		assert.Equal(t, emptyKeys, m.Keys())
		assert.Zero(t, l.Sizes())
	}
}

// TestNewerRecordsWithoutHeadsAreRefused: what they hold is not for an older version to count as lost.
func TestNewerRecordsWithoutHeadsAreRefused(t *testing.T) {
	m := new(storagetest.Disk)
	appendAll(t, open(t, m, 2), []Run{run(0, 0, 1)})
	m.Change(recordKey(0), func(b []byte) []byte { b[0] = format + 1; return b })
	for _, key := range headKeys {
		m.Change(key, gone)
	}
	_, err := Open(t.Context(), m.Client(), layout(2))
	require.ErrorIs(t, err, ErrNewer)
}

// unlisted is a client that cannot list its keys.
type unlisted struct{ storage.Client }

// TestHeadsWithoutAList: damaged heads are an error then. A log without any may be one that is just made.
func TestHeadsWithoutAList(t *testing.T) {
	m := new(storagetest.Disk)
	l, err := Open(t.Context(), unlisted{m.Client()}, layout(2))
	require.NoError(t, err)
	appendAll(t, l, []Run{run(0, 0, 1)})
	for _, key := range headKeys {
		m.Change(key, torn)
	}
	_, err = Open(t.Context(), unlisted{m.Client()}, layout(2))
	require.ErrorIs(t, err, errHeads)
}

// listed is a client that lists its values without a copy.
type listed struct {
	storage.Client
	values map[string][]byte
}

func (c listed) Walk(_ context.Context, fn storage.WalkFunc) error {
	for key, value := range c.values {
		if _, err := fn(key, value); err != nil {
			return err
		}
	}
	return nil
}

// TestRebuildingTakesLittleMemory has a log that is much larger than what may be in memory.
func TestRebuildingTakesLittleMemory(t *testing.T) {
	const records, size = 64, 1 << 20
	m := new(storagetest.Disk)
	c := listed{m.Client(), make(map[string][]byte)}
	for i := range uint64(records) {
		r := Record{Number: i, Life: 1, Runs: []Run{{Lane: 1, First: i, Samples: 1, Data: make([]byte, size)}}}
		c.values[recordKey(i)] = r.encode(layout(2))
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	l, err := Open(t.Context(), c, layout(2))
	runtime.ReadMemStats(&after)
	require.NoError(t, err)
	assert.EqualValues(t, records, l.Sizes().Samples)
	assert.EqualValues(t, records*size, l.Sizes().Live)
	assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(size))
}
