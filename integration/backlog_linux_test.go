// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var (
	backlogBytes  = flag.Int64("backlog.bytes", 24<<20, "how much the backlog test has in storage")
	backlogPoints = flag.Int("backlog.points", 1000, "how many samples a payload of the backlog test has")
	backlogRandom = flag.Int("backlog.random", 200, "how many bytes of each sample nothing compresses")
)

// TestBacklog fills the storage of a collector while its endpoint is away, starts it anew, and has it send what it has beside what
// clients go on to send. Memory does not grow with the backlog. The long form shows how soon it starts and how fast it drains.
func TestBacklog(t *testing.T) {
	endpoint := newLoadEndpoint(t)
	endpoint.away.Store(true)
	directory := t.TempDir()
	configs := []string{
		minimal, "yaml:exporters::ordered_remote_write::http::endpoint: " + endpoint.URL,
		"yaml:exporters::ordered_remote_write::queue::storage: file_storage",
		"yaml:exporters::ordered_remote_write::queue::max_size_bytes: 64MiB",
		fmt.Sprintf("yaml:exporters::ordered_remote_write::queue::max_disk_bytes: %d", 4**backlogBytes+64<<20),
		"yaml:extensions::file_storage::directory: " + directory,
		"yaml:service::extensions: [file_storage]",
		// The short form is over in seconds, and the long one takes many minutes.
		"yaml:exporters::ordered_remote_write::max_future: 24h",
		"yaml:exporters::ordered_remote_write::max_past: 24h",
	}
	l := startLoaded(t, configs...)
	filling := l.watchMemory()
	const senders = 8
	points := *backlogPoints
	start, began := time.Now().Add(-time.Hour), time.Now()
	var accepted atomic.Int64
	var done sync.WaitGroup
	for i := range senders {
		p := newLoadPayload(t, fmt.Sprintf("load-%d", i), points, *backlogRandom)
		done.Go(func() {
			for n := 0; n%8 > 0 || l.metric("storage_size") < float64(*backlogBytes); n++ {
				body := p.at(start.Add(time.Duration(n) * time.Millisecond))
				for !l.send(body) {
					time.Sleep(time.Millisecond)
				}
				accepted.Add(int64(points))
			}
		})
	}
	done.Wait()
	size := l.metric("storage_size")
	t.Logf("%d samples, %.0f MiB, in %v; at most %d MiB of memory", accepted.Load(), size/(1<<20), time.Since(began).Round(time.Second), filling()>>20)
	l.MustStop(t)

	endpoint.away.Store(false)
	endpoint.reset()
	l = startLoaded(t, configs...)
	draining := l.watchMemory()
	assert.InDelta(t, accepted.Load(), l.metric("recovered_samples"), 0)
	live, slowest := liveLoad(t, l)
	for l.metric("recovered_samples")+l.metric("received_samples") > 0 && l.metric("delivered_samples") < float64(accepted.Load()) {
		time.Sleep(200 * time.Millisecond)
	}
	drained := time.Now()
	arrived := l.metric("delivered_samples")
	sent := live()
	for l.metric("queued_samples")+l.metric("in_flight_samples") > 0 {
		time.Sleep(50 * time.Millisecond)
	}
	first, _, _ := endpoint.taken()
	took := drained.Sub(first).Seconds()
	peak := draining()
	t.Logf("the first request %v after the start; drained in %.1f s, %.0f samples/s, %.1f MiB/s, beside %d live samples, of which a payload waited %v at most; at most %d MiB of memory",
		first.Sub(l.started).Round(time.Millisecond), took, arrived/took, size/took/(1<<20), sent, slowest().Round(time.Millisecond), peak>>20)
	assert.InDelta(t, accepted.Load()+sent, l.metric("delivered_samples"), 0)
	assert.Zero(t, l.metric("dropped_samples"))
	assert.Less(t, peak, int64(512<<20), "bytes of memory")
	l.MustStop(t)
	logSize(t, directory)
}

// liveLoad sends 5,000 samples a second, until live is called, which returns how many.
func liveLoad(t *testing.T, l *loaded) (live func() int64, slowest func() time.Duration) {
	p := newLoadPayload(t, "live", 500, 0)
	stop, done := make(chan struct{}), make(chan struct{})
	var n int64
	var longest time.Duration
	go func() {
		defer close(done)
		ticker := time.NewTicker(100 * time.Millisecond)
		defer ticker.Stop()
		for {
			select {
			case <-stop:
				return
			case <-ticker.C:
			}
			began := time.Now()
			for body := p.at(began); !l.send(body); {
				time.Sleep(time.Millisecond)
			}
			n += int64(p.points)
			longest = max(longest, time.Since(began))
		}
	}()
	live = func() int64 { close(stop); <-done; return n }
	return live, func() time.Duration { return longest }
}

// logSize tells how large the files of a storage extension are.
func logSize(t *testing.T, directory string) {
	files, err := filepath.Glob(filepath.Join(directory, "*"))
	require.NoError(t, err)
	for _, f := range files {
		info, err := os.Stat(f)
		require.NoError(t, err)
		t.Logf("%s has %d MiB", filepath.Base(f), info.Size()>>20)
	}
}
