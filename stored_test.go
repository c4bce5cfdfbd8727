// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// storedRuns are the runs of a payload, with the guard's knowledge of each.
func storedRuns(t *testing.T, p wire.Protocol) []indexedChunk {
	t.Helper()
	tr := newTranslator(testTranslation(createDefaultConfig().(*Config)), newBoundMemory(time.Hour), nil)
	md := benchGauges(1000, 10)[0]
	setTimes(md, pcommon.NewTimestampFromTime(time.Now()))
	require.NoError(t, tr.translate(t.Context(), md, p))
	var chunks []indexedChunk
	for _, i := range tr.touched {
		chunks = append(chunks, tr.segments[i].chunks...)
	}
	require.NotEmpty(t, chunks)
	return chunks
}

// TestStoredRunsAreReadAsTheyWere: series, counts, time and marks, and what the guard must know is what it knew.
func TestStoredRunsAreReadAsTheyWere(t *testing.T) {
	for _, p := range []wire.Protocol{wire.V1, wire.V2} {
		for _, c := range storedRuns(t, p) {
			c.accepted = time.Now().Add(-time.Minute).Round(0)
			r := run{chunk: &c.chunk, alone: true, holds: true}
			got, index, err := readRecovered(appendStored(nil, &r), time.Now())
			require.NoError(t, err)
			assert.True(t, got.alone)
			assert.True(t, got.holds)
			assert.True(t, c.accepted.Equal(got.chunk.accepted))
			assert.NotEqual(t, got.chunk.accepted.Round(0), got.chunk.accepted, "its age does not depend on the clock")
			assert.Equal(t, c.tally, got.chunk.tally)
			assert.Equal(t, c.sizes, got.chunk.sizes)
			assert.Equal(t, body(p, []*chunk{&c.chunk}), body(p, []*chunk{got.chunk}))
			require.Len(t, index, len(c.index))
			for i := range index {
				assert.Equal(t, c.index[i].identity, index[i].identity)
				assert.Equal(t, c.index[i].timestamp, index[i].timestamp)
			}
		}
	}
}

// TestStoredTimeIsNeverAhead: after the clock was set back, what was accepted before does not wait for it.
func TestStoredTimeIsNeverAhead(t *testing.T) {
	c := storedRuns(t, wire.V1)[0]
	now := time.Now()
	c.accepted = now.Add(time.Hour)
	got, err := readStored(appendStored(nil, &run{chunk: &c.chunk}), now)
	require.NoError(t, err)
	assert.Equal(t, now, got.chunk.accepted)
}

// TestDamagedRunsAreErrors: whatever the bytes are, nothing else happens.
func TestDamagedRunsAreErrors(t *testing.T) {
	for _, p := range []wire.Protocol{wire.V1, wire.V2} {
		c := storedRuns(t, p)[0]
		whole := appendStored(nil, &run{chunk: &c.chunk})
		for cut := range whole {
			if _, _, err := readRecovered(whole[:cut], time.Now()); err == nil {
				t.Errorf("%d of %d bytes are read", cut, len(whole))
			}
		}
	}
}
