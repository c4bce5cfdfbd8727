// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/journal"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/storagetest"
)

// unobserved is for a storage of which nobody asks.
type unobserved struct{}

func (unobserved) wrote(time.Duration, int64, error) {}
func (unobserved) works()                            {}
func (unobserved) damaged(int, int)                  {}

// store makes a pipeline keep what it accepts on a disk that costs nothing but a copy.
func (p *benchPipeline) store(b *testing.B, cfg *Config) {
	log, err := journal.Open(context.Background(), new(storagetest.Disk).Client(), layoutOf(cfg.Partitions, testSecret))
	require.NoError(b, err)
	s := &storedQueue{log: log, durable: newDurable(log, int64(cfg.Queue.MaxDiskBytes), unobserved{}), watch: new(storageWatch)}
	p.q.keepIn(s.durable)
	s.start()
	b.Cleanup(func() { require.NoError(b, s.close(context.Background())) })
}

// BenchmarkStorage is the whole way from pdata to ready requests with the queue in memory, and with one in a storage extension that
// costs nothing: the difference is what durability costs outside the extension.
func BenchmarkStorage(b *testing.B) {
	for _, load := range benchLoads {
		for _, stored := range []bool{false, true} {
			b.Run(load.name+map[bool]string{false: "/memory", true: "/storage"}[stored], func(b *testing.B) {
				cfg := createDefaultConfig().(*Config)
				payloads := load.payloads()
				p := newBenchPipeline(cfg)
				if stored {
					p.store(b, cfg)
				}
				p.measure(b, payloads, load.samples)
			})
		}
	}
}
