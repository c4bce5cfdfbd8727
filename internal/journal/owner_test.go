// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/extension/xextension/storage"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/storagetest"
)

// TestTheLastToOpenHasTheLog has one process after the other open a log in storage that they share. The one before goes on to write, at any
// step of the opening or after it, until it finds out. All that was written without an error is there in the end, once.
func TestTheLastToOpenHasTheLog(t *testing.T) {
	for seed := range uint64(300) {
		random := rand.New(rand.NewPCG(seed, 0))
		m := &storagetest.Disk{Shared: true}
		var kept []uint64
		write := func(l *Log) error {
			first := l.Lane(0).End
			_, err := l.Append(t.Context(), []Run{run(0, first, 1+random.IntN(3))})
			if err == nil {
				kept = append(kept, first)
			}
			return err
		}
		last := open(t, m, 1)
		for range 20 {
			var err error
			batches, at := 0, random.IntN(8)
			m.Before = func(storagetest.Batch) storagetest.Fault {
				if batches++; batches-1 == at {
					m.Before = nil
					err = write(last)
				}
				return storagetest.Fault{}
			}
			l := open(t, m, 1)
			m.Before = nil
			for range random.IntN(4) {
				require.NoError(t, write(l))
			}
			if err == nil {
				err = write(last)
			}
			require.ErrorIs(t, err, ErrTaken)
			require.ErrorIs(t, write(last), ErrTaken)
			if first, next := last.Bounds(); first < next {
				_, _, _, err = last.Read(t.Context(), first, next, 1<<20)
				require.ErrorIs(t, err, ErrTaken)
			}
			for range random.IntN(4) {
				require.NoError(t, write(l))
			}
			last = l
		}
		last = open(t, m, 1)
		require.Equal(t, kept, all(t, last)[0], "seed %d", seed)
		last.Acknowledge(0, int(last.Lane(0).End))
		for range 2 {
			require.NoError(t, last.Flush(t.Context()))
			last.Acknowledge(0, 0)
		}
		require.Equal(t, emptyKeys, m.Keys())
	}
}

// TestTornRecordIsDeleted: storage that does not keep the operations of a batch together may leave a part of a record.
func TestTornRecordIsDeleted(t *testing.T) {
	m := new(storagetest.Disk)
	l := open(t, m, 1)
	appendAll(t, l, []Run{run(0, 0, 1)})
	m.Before = func(b storagetest.Batch) storagetest.Fault {
		at := slices.IndexFunc(b.Operations, func(op *storage.Operation) bool { return op.Type == storage.Set })
		return storagetest.Fault{Torn: &at, Err: storagetest.ErrInjected}
	}
	_, err := l.Append(t.Context(), []Run{run(0, 1, 1)})
	require.ErrorIs(t, err, storagetest.ErrInjected)
	require.Len(t, m.Keys(), 3+2)
	m.Before = nil
	l = open(t, m, 1)
	assert.Equal(t, map[int][]uint64{0: {0}}, all(t, l))
	assert.Len(t, m.Keys(), 3+1)
}

// TestTwoOpenALogAtOnce: one of them has it.
func TestTwoOpenALogAtOnce(t *testing.T) {
	for step := range 5 {
		m := &storagetest.Disk{Shared: true}
		appendAll(t, open(t, m, 1), []Run{run(0, 0, 3)})
		var second *Log
		batches := 0
		m.Before = func(storagetest.Batch) storagetest.Fault {
			if batches++; batches == step+1 {
				m.Before = nil
				second = open(t, m, 1)
				appendAll(t, second, []Run{run(0, 3, 1)})
			}
			return storagetest.Fault{}
		}
		first, err := Open(t.Context(), m.Client(), layout(1))
		require.NotNil(t, second, "step %d", step)
		if err == nil {
			_, err = first.Append(t.Context(), []Run{run(0, 4, 1)})
		}
		_, other := second.Append(t.Context(), []Run{run(0, 4, 1)})
		assert.NotEqual(t, err == nil, other == nil, "step %d: %v, %v", step, err, other)
		assert.ErrorIs(t, errors.Join(err, other), ErrTaken)
		assert.Equal(t, []uint64{0, 3, 4}, all(t, open(t, m, 1))[0], "step %d", step)
	}
}

// TestOwnersThatAreNone: a log stays with its process if what is stored of the owner is missing or damaged, and if storage was full when
// it was opened.
func TestOwnersThatAreNone(t *testing.T) {
	m := &storagetest.Disk{Shared: true}
	l := open(t, m, 1)
	for i, change := range []func([]byte) []byte{
		func([]byte) []byte { return nil }, torn, func(b []byte) []byte { return b[:len(b)-1] }, func([]byte) []byte { return sealed(nil) },
	} {
		m.Change(ownerKey, change)
		appendAll(t, l, []Run{run(0, uint64(i), 1)})
	}
	full := true
	m.Before = func(b storagetest.Batch) (f storagetest.Fault) {
		if full && b.Size() > 0 {
			f.Err = storage.ErrStorageFull
		}
		return f
	}
	l = open(t, m, 1)
	assert.Len(t, all(t, l)[0], 4)
	full = false
	appendAll(t, l, []Run{run(0, 4, 1)})
	assert.True(t, slices.Contains(m.Keys(), ownerKey))
	open(t, m, 1)
	_, err := l.Append(t.Context(), []Run{run(0, 5, 1)})
	require.ErrorIs(t, err, ErrTaken)
	require.Regexp(t, `another process has opened this log and has it now: "process \d+ on .+, since \d{4}-.+Z"`, err.Error())
}
