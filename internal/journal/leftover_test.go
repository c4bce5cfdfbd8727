// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/storagetest"
)

// TestRewritingTellsOfNothingThatItLeaves: a process that dies right after records were written again leaves none that the next one
// does not know of.
func TestRewritingTellsOfNothingThatItLeaves(t *testing.T) {
	m := new(storagetest.Disk)
	l := open(t, m, 2)
	appendAll(t, l, []Run{run(0, 0, 1)})
	for i := range uint64(9) {
		appendAll(t, l, []Run{run(0, 1+i, 1), run(1, i, 1)})
	}
	// The first record is not needed any more, and half of each other one.
	l.Acknowledge(0, 10)
	done, err := l.Rewrite(t.Context(), time.Now(), 1<<20, 1)
	require.NoError(t, err)
	require.True(t, done)
	l = open(t, m, 2)
	assert.Len(t, all(t, l)[1], 9)
	l.Acknowledge(1, 9)
	require.NoError(t, l.Flush(t.Context()))
	assert.Len(t, m.Keys(), 3, "nothing is left but heads and the owner")
}

// TestRewritingChoosesARecordOnce: where little is known the search comes around, and finds the same records again.
func TestRewritingChoosesARecordOnce(t *testing.T) {
	m := new(storagetest.Disk)
	l := open(t, m, 2)
	for i := range uint64(12) {
		appendAll(t, l, []Run{run(0, i, 1), run(1, i, 1)})
	}
	l.Trim(2, 1)
	require.Equal(t, 2, l.Sizes().Known)
	l.Acknowledge(0, 12)
	done, err := l.Rewrite(t.Context(), time.Now(), 1<<20, 1)
	require.NoError(t, err)
	require.True(t, done)
	assert.Equal(t, bytesOnDisk(m), l.Sizes().Stored)
}

// TestEmptyLogDeletesWhatItDoesNotKnow: what an earlier process has written and nobody has read is deleted once nothing is kept.
func TestEmptyLogDeletesWhatItDoesNotKnow(t *testing.T) {
	m := new(storagetest.Disk)
	l := open(t, m, 1)
	for i := range uint64(10) {
		appendAll(t, l, []Run{run(0, i, 1)})
	}
	l = open(t, m, 1)
	l.Acknowledge(0, 10)
	require.NoError(t, l.Flush(t.Context()))
	assert.Len(t, m.Keys(), 3, "nothing is left but heads and the owner")
}

// bytesOnDisk is what all records of a disk take.
func bytesOnDisk(m *storagetest.Disk) (n int64) {
	for _, key := range m.Keys() {
		m.Change(key, func(b []byte) []byte {
			if strings.HasPrefix(key, recordPrefix) {
				n += int64(len(b))
			}
			return b
		})
	}
	return n
}

// TestStoredCountsWhatIsNotDeletedYet: a process that dies while it deletes many records leaves a head that counts those that are left.
func TestStoredCountsWhatIsNotDeletedYet(t *testing.T) {
	for _, empty := range []bool{false, true} {
		m := new(storagetest.Disk)
		l := open(t, m, 1)
		for i := range uint64(1000) {
			appendAll(t, l, []Run{run(0, i, 1)})
		}
		l.Acknowledge(0, 999)
		if empty {
			l.Acknowledge(0, 1)
		}
		writes := 0
		m.Before = func(storagetest.Batch) (f storagetest.Fault) {
			if writes++; writes > 1 {
				f.Err = storagetest.ErrInjected
			}
			return f
		}
		require.Error(t, l.Flush(t.Context()))
		assert.Equal(t, bytesOnDisk(m), l.Sizes().Stored)
		m.Before = nil
		if l = open(t, m, 1); !empty {
			all(t, l)
		}
		l.Acknowledge(0, 0)
		require.NoError(t, l.Flush(t.Context()))
		assert.Equal(t, bytesOnDisk(m), l.Sizes().Stored)
		assert.Len(t, all(t, open(t, m, 1))[0], len(m.Keys())-3)
	}
}

// TestRewritingTellsHowMuchIsStored: the head that is written together with records knows their sizes.
func TestRewritingTellsHowMuchIsStored(t *testing.T) {
	m := new(storagetest.Disk)
	l := open(t, m, 2)
	for i := range uint64(100) {
		appendAll(t, l, []Run{run(0, i, 1), run(1, i, 1)})
	}
	l.Acknowledge(0, 100)
	done, err := l.Rewrite(t.Context(), time.Now(), 1<<20, 1)
	require.NoError(t, err)
	require.True(t, done)
	assert.Equal(t, bytesOnDisk(m), l.Sizes().Stored)
	assert.Equal(t, bytesOnDisk(m), open(t, m, 2).Sizes().Stored)
}

// TestEmptyLogDeletesNothingTwice has one record that must be kept for long, while all of many others are deleted.
func TestEmptyLogDeletesNothingTwice(t *testing.T) {
	m := new(storagetest.Disk)
	l := open(t, m, 2)
	appendAll(t, l, []Run{run(0, 0, 1)})
	for i := range uint64(20 * maxDeletes) {
		appendAll(t, l, []Run{run(1, i, 1)})
		l.Acknowledge(1, 1)
	}
	require.NoError(t, l.Flush(t.Context()))
	l.Acknowledge(0, 1)
	before := m.Writes()
	require.NoError(t, l.Flush(t.Context()))
	assert.Equal(t, before+1, m.Writes())
	assert.Len(t, m.Keys(), 3, "nothing is left but heads and the owner")
}

// TestRewritingLeavesOthersAlone: bytes of another log, or of another record, are not taken for the record that they stand for.
func TestRewritingLeavesOthersAlone(t *testing.T) {
	var foreign []byte
	m := new(storagetest.Disk)
	appendAll(t, open(t, m, 9), []Run{run(8, 0, 1)})
	m.Change(recordKey(0), func(b []byte) []byte { foreign = b; return b })
	m = new(storagetest.Disk)
	l := open(t, m, 2)
	for i := range uint64(3) {
		appendAll(t, l, []Run{run(0, i, 1), run(1, i, 1)})
	}
	var first []byte
	m.Change(recordKey(0), func(b []byte) []byte { first = b; return foreign })
	m.Change(recordKey(1), func([]byte) []byte { return first })
	l.Acknowledge(0, 3)
	_, err := l.Rewrite(t.Context(), time.Now(), 1<<20, 1)
	require.NoError(t, err)
	m.Change(recordKey(0), func(b []byte) []byte { assert.Equal(t, foreign, b); return b })
	m.Change(recordKey(1), func(b []byte) []byte { assert.Equal(t, first, b); return b })
}

// TestRewritingThatFailsIsCountedOnce: storage may tell of an error and have written the records again all the same.
func TestRewritingThatFailsIsCountedOnce(t *testing.T) {
	m := new(storagetest.Disk)
	l := open(t, m, 2)
	for i := range uint64(100) {
		appendAll(t, l, []Run{run(0, i, 1), run(1, i, 1)})
	}
	l.Acknowledge(0, 100)
	for _, fails := range []bool{true, false} {
		m.Before = func(b storagetest.Batch) (f storagetest.Fault) {
			if fails && b.Writes {
				f = storagetest.Fault{Err: storagetest.ErrInjected, Applied: true}
			}
			return f
		}
		done, err := l.Rewrite(t.Context(), time.Now(), 1<<20, 1)
		require.Equal(t, fails, err != nil)
		require.Equal(t, !fails, done)
	}
	assert.Equal(t, bytesOnDisk(m), l.Sizes().Stored)
	assert.Equal(t, bytesOnDisk(m), open(t, m, 2).Sizes().Stored)
}
