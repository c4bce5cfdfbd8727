// SPDX-License-Identifier: Apache-2.0

package journal

import (
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
	assert.Len(t, m.Keys(), 2, "nothing is left but heads")
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
	assert.Len(t, m.Keys(), 2, "nothing is left but heads")
}
