// SPDX-License-Identifier: Apache-2.0

// Package output keeps what programs and loggers write.
package output

import (
	"bytes"
	"sync"
)

// Buffer is a bytes.Buffer that a process or a logger may write while a test reads.
type Buffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (b *Buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

// Sync implements zapcore.WriteSyncer.
func (*Buffer) Sync() error { return nil }

// String returns what was written.
func (b *Buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
