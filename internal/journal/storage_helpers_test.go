// SPDX-License-Identifier: Apache-2.0

package journal

import (
	"context"
	"errors"
	"maps"
	"math/rand/v2"
	"slices"

	"go.opentelemetry.io/collector/extension/xextension/storage"
)

var errInjected = errors.New("injected")

// memory is a storage client whose batches are atomic, unless a fault is asked for.
type memory struct {
	values map[string][]byte
	// fault decides about the next batch that writes.
	fault func() fault
	// writes and reads count batches.
	writes, reads int
}

type fault int

const (
	noFault fault = iota
	// lost fails without an effect, applied fails after all of it, and torn after some of it, the last of which is cut.
	lost
	applied
	torn
)

func newMemory() *memory {
	return &memory{values: make(map[string][]byte), fault: func() fault { return noFault }}
}

func (m *memory) Get(ctx context.Context, key string) ([]byte, error) {
	op := storage.GetOperation(key)
	err := m.Batch(ctx, op)
	return op.Value, err
}

func (m *memory) Set(ctx context.Context, key string, value []byte) error {
	return m.Batch(ctx, storage.SetOperation(key, value))
}

func (m *memory) Delete(ctx context.Context, key string) error {
	return m.Batch(ctx, storage.DeleteOperation(key))
}

func (m *memory) Batch(_ context.Context, ops ...*storage.Operation) error {
	writes := slices.ContainsFunc(ops, func(op *storage.Operation) bool { return op.Type != storage.Get })
	f := noFault
	if writes {
		m.writes++
		f = m.fault()
	} else {
		m.reads++
	}
	if f == lost {
		return errInjected
	}
	last := len(ops)
	if f == torn {
		last = rand.IntN(len(ops))
	}
	for i, op := range ops {
		switch {
		case i > last:
		case op.Type == storage.Get:
			op.Value = slices.Clone(m.values[op.Key])
		case op.Type == storage.Delete:
			delete(m.values, op.Key)
		case i == last:
			m.values[op.Key] = slices.Clone(op.Value[:len(op.Value)/2])
		default:
			m.values[op.Key] = slices.Clone(op.Value)
		}
	}
	if f != noFault {
		return errInjected
	}
	return nil
}

func (m *memory) Walk(_ context.Context, fn storage.WalkFunc) error {
	for _, key := range slices.Sorted(maps.Keys(m.values)) {
		if _, err := fn(key, m.values[key]); err != nil {
			return err
		}
	}
	return nil
}

func (*memory) Close(context.Context) error { return nil }

func (m *memory) clone() *memory {
	c := newMemory()
	maps.Copy(c.values, m.values)
	return c
}
