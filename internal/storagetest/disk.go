// SPDX-License-Identifier: Apache-2.0

// Package storagetest is a storage extension in memory that survives the exporters that use it, fails when it is told to, and
// can be taken away from a process like a machine that dies.
package storagetest // import "github.com/orderedremotewrite/orderedremotewriteexporter/internal/storagetest"

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/extension/xextension/storage"
)

// ErrInjected is the error of a fault.
var ErrInjected = errors.New("injected")

// Fault is what becomes of a batch.
type Fault struct {
	// Err fails the batch. With Applied it fails after all of it is done.
	Err     error
	Applied bool
	// Torn does the first so many operations, and cuts the value of the next one, besides what Err says.
	Torn *int
}

// Batch is what a fault is decided for.
type Batch struct {
	Operations []*storage.Operation
	// Writes says whether the batch changes anything.
	Writes bool
}

// Size is the bytes that the batch brings.
func (b *Batch) Size() int {
	n := 0
	for _, op := range b.Operations {
		if op.Type == storage.Set {
			n += len(op.Value)
		}
	}
	return n
}

// Disk is a storage extension. The zero value is empty. It is safe for concurrent use.
type Disk struct {
	// Before is called for each batch, without a lock, and may wait. It decides about a fault.
	Before func(Batch) Fault
	// Closing is called, without a lock, when a user closes its client, and may wait.
	Closing func()
	// Shared gives the disk to several users at once, like storage on a network. None of them can lose it.
	Shared bool

	mu     sync.Mutex
	values map[string][]byte
	client *client
	// writes and reads count batches.
	writes, reads int
	// written is when the last write that succeeded had begun.
	written time.Time
}

var (
	_ storage.Extension = (*Disk)(nil)
	_ storage.Walker    = (*client)(nil)
)

// Start implements component.Component.
func (*Disk) Start(context.Context, component.Host) error { return nil }

// Shutdown implements component.Component.
func (*Disk) Shutdown(context.Context) error { return nil }

// GetClient gives the disk to its one user, until that closes the client or the disk is taken away from it.
func (d *Disk) GetClient(_ context.Context, _ component.Kind, id component.ID, name string) (storage.Client, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.client != nil && !d.Shared {
		return nil, fmt.Errorf("%s of %s is in use", name, id)
	}
	d.client = &client{disk: d}
	return d.client, nil
}

// Client is GetClient for tests of clients alone.
func (d *Disk) Client() storage.Client {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.client = &client{disk: d}
	return d.client
}

// Crash takes the disk away from its user, all of whose later calls fail.
func (d *Disk) Crash() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.client = nil
}

// Keys are those of all values, in order.
func (d *Disk) Keys() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Sorted(maps.Keys(d.values))
}

// Size is the bytes of all values.
func (d *Disk) Size() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	n := 0
	for _, v := range d.values {
		n += len(v)
	}
	return n
}

// Change replaces a value, or removes it if change returns nil.
func (d *Disk) Change(key string, change func([]byte) []byte) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if value := change(slices.Clone(d.values[key])); value != nil {
		d.values[key] = value
		return
	}
	delete(d.values, key)
}

// Snapshot returns what puts the disk back into the state of now.
func (d *Disk) Snapshot() (restore func()) {
	d.mu.Lock()
	defer d.mu.Unlock()
	values := maps.Clone(d.values)
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.values = maps.Clone(values)
	}
}

// Writes is how many batches have changed something.
func (d *Disk) Writes() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.writes
}

// Written is when the last write that succeeded had begun: what its user knew before is on the disk.
func (d *Disk) Written() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.written
}

// client is a user of a disk.
type client struct{ disk *Disk }

// errGone is for users from whom the disk was taken away.
var errGone = errors.New("the disk is gone")

func (c *client) Get(ctx context.Context, key string) ([]byte, error) {
	op := storage.GetOperation(key)
	err := c.Batch(ctx, op)
	return op.Value, err
}

func (c *client) Set(ctx context.Context, key string, value []byte) error {
	return c.Batch(ctx, storage.SetOperation(key, value))
}

func (c *client) Delete(ctx context.Context, key string) error {
	return c.Batch(ctx, storage.DeleteOperation(key))
}

func (c *client) Batch(_ context.Context, ops ...*storage.Operation) error {
	d, began := c.disk, time.Now()
	b := Batch{Operations: ops, Writes: slices.ContainsFunc(ops, func(op *storage.Operation) bool { return op.Type != storage.Get })}
	var f Fault
	if d.Before != nil {
		f = d.Before(b)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.client != c && !d.Shared {
		return errGone
	}
	if b.Writes {
		d.writes++
	} else {
		d.reads++
	}
	if f.Err != nil && !f.Applied && f.Torn == nil {
		return f.Err
	}
	last := len(ops)
	if f.Torn != nil {
		last = *f.Torn
	}
	for i, op := range ops[:min(last+1, len(ops))] {
		d.do(op, i == last)
	}
	if b.Writes && f.Err == nil && f.Torn == nil {
		d.written = began
	}
	return f.Err
}

func (d *Disk) do(op *storage.Operation, cut bool) {
	switch op.Type {
	case storage.Get:
		op.Value = slices.Clone(d.values[op.Key])
	case storage.Delete:
		delete(d.values, op.Key)
	case storage.Set:
		value := slices.Clone(op.Value)
		if cut {
			value = value[:len(value)/2]
		}
		if d.values == nil {
			d.values = make(map[string][]byte)
		}
		d.values[op.Key] = value
	}
}

func (c *client) Walk(_ context.Context, fn storage.WalkFunc) error {
	for _, key := range c.disk.Keys() {
		value, err := c.Get(context.Background(), key)
		if err != nil {
			return err
		}
		if _, err := fn(key, value); err != nil {
			return err
		}
	}
	return nil
}

func (c *client) Close(context.Context) error {
	if c.disk.Closing != nil {
		c.disk.Closing()
	}
	c.disk.mu.Lock()
	defer c.disk.mu.Unlock()
	if c.disk.client == c {
		c.disk.client = nil
	}
	return nil
}
