// SPDX-License-Identifier: Apache-2.0

// Package buffers lends byte slices for messages and for their compression.
package buffers // import "github.com/orderedremotewrite/orderedremotewriteexporter/internal/buffers"

import "sync"

var pool = sync.Pool{New: func() any { return new([]byte) }}

// Take returns an empty slice, which may have a capacity. Who takes one owns it until it is given back.
func Take() []byte {
	return (*pool.Get().(*[]byte))[:0]
}

// Give gives a slice back, which nobody may use any more.
func Give(b []byte) {
	if cap(b) > 0 {
		pool.Put(&b)
	}
}
