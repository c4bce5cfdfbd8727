// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/open-telemetry/opentelemetry-collector-contrib/extension/storage/filestorage"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/extension/extensiontest"
	"go.opentelemetry.io/collector/extension/xextension/storage"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/orderedremotewrite/orderedremotewriteexporter/integration/internal/rig"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
)

// keptInFile has the exporter keep its queue with file_storage, and take old samples for good ones.
const keptInFile = `
queue: {storage: file_storage}
max_future: 24h
max_past: 24h
`

// pageSize is that of the files of file_storage, and metaPages how many of their pages say where the others are.
const pageSize, metaPages = 4096, 2

// fileStorage is the extension with its own options.
func fileStorage(t *testing.T, logger *zap.Logger, edit func(*filestorage.Config)) storage.Extension {
	t.Helper()
	factory := filestorage.NewFactory()
	cfg := factory.CreateDefaultConfig().(*filestorage.Config)
	edit(cfg)
	cfg.Compaction.Directory = cfg.Directory
	settings := extensiontest.NewNopSettings(factory.Type())
	settings.Logger = logger
	extension, err := factory.Create(t.Context(), settings, cfg)
	require.NoError(t, err)
	require.NoError(t, extension.Start(t.Context(), componenttest.NewNopHost()))
	return extension.(storage.Extension)
}

func startInFile(t *testing.T, extension storage.Extension, endpoint string, configs ...string) *rig.Exporter {
	t.Helper()
	extensions := map[component.ID]component.Component{component.MustNewID("file_storage"): extension}
	return rig.StartWith(t, extensions, endpoint, append([]string{keptInFile}, configs...)...)
}

func storedGauges(points int) *rwtest.Producer {
	return rwtest.Payloads{
		Seed: 1, Streams: 100, Points: points, Start: time.Now().Add(-time.Hour), Kinds: []pmetric.MetricType{pmetric.MetricTypeGauge},
	}.Split()[0]
}

// TestFileIsCompactedBelowTheQueue has file_storage write its file anew all the time below an exporter whose endpoint is away half of the
// time, or once at the start: what does the one races with the other in file_storage. Everything arrives, each series in order.
func TestFileIsCompactedBelowTheQueue(t *testing.T) {
	var receiver rwtest.Receiver
	server, away := newSwitched(t, &receiver)
	directory := t.TempDir()
	observed, logs := observer.New(zap.InfoLevel)
	p, expected := storedGauges(400), 0
	for run := range 4 {
		e := startInFile(t, fileStorage(t, zap.New(observed), func(c *filestorage.Config) {
			c.Directory, c.FSync = directory, run < 2
			c.Compaction.OnStart, c.Compaction.OnRebound, c.Compaction.CleanupOnStart = run%2 == 1, run%2 == 0, true
			c.Compaction.ReboundNeededThresholdMiB, c.Compaction.ReboundTriggerThresholdMiB = 0, 1000
			c.Compaction.CheckInterval = 5 * time.Millisecond
		}), server.URL, "retry_on_failure: {max_retry_after: 10ms}", "batch: {max_samples: 200, max_size_bytes: 64KiB}", "queue: {max_size_bytes: 256KiB}")
		for range 60 {
			md, ok := p.Next()
			require.True(t, ok)
			away.Store(p.Points()/1000%2 == 0)
			e.Send(md)
		}
		expected = p.Points()
		if run == 3 {
			away.Store(false)
			e.Settle()
		}
		e.Stop()
		assert.Empty(t, e.Accounts().Dropped)
	}
	delivered := 0
	for _, samples := range receiver.Delivered() {
		delivered += len(samples)
	}
	assert.Equal(t, expected, delivered)
	assert.Empty(t, receiver.Problems())
	compacted := logs.FilterMessage("finished compaction").Len()
	assert.Greater(t, compacted, 10)
	assert.Len(t, files(t, directory), 1, "nothing is left of what was written anew")
	t.Logf("the file was written anew %d times below %d samples", compacted, delivered)
}

func files(t *testing.T, directory string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(directory, "*"))
	require.NoError(t, err)
	return names
}

// photographed is file_storage with a copy of its file after each write.
type photographed struct {
	storage.Extension
	directory string

	mu sync.Mutex
	// pictures are the copies. What was accepted when the next write began is in the last one.
	pictures []picture
	accepted int
}

type picture struct {
	file     []byte
	accepted int
}

type photographedClient struct {
	storage.Client
	of *photographed
}

func (p *photographed) GetClient(ctx context.Context, kind component.Kind, id component.ID, name string) (storage.Client, error) {
	client, err := p.Extension.GetClient(ctx, kind, id, name)
	return &photographedClient{client, p}, err
}

func (c *photographedClient) Batch(ctx context.Context, ops ...*storage.Operation) error {
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	if n := len(c.of.pictures); n > 0 {
		c.of.pictures[n-1].accepted = c.of.accepted
	}
	err := c.Client.Batch(ctx, ops...)
	names, globErr := filepath.Glob(filepath.Join(c.of.directory, "*"))
	if err != nil || globErr != nil || len(names) != 1 {
		panic(fmt.Sprint(err, globErr, names))
	}
	file, err := os.ReadFile(names[0])
	c.of.pictures = append(c.of.pictures, picture{file: file})
	return err
}

// photograph has an exporter accept gauges for an endpoint that is away, and returns what its file was like in between.
func photograph(t *testing.T, name *string) []picture {
	t.Helper()
	server, away := newSwitched(t, &rwtest.Receiver{})
	away.Store(true)
	directory := t.TempDir()
	of := &photographed{directory: directory, Extension: fileStorage(t, zap.NewNop(), func(c *filestorage.Config) { c.Directory = directory })}
	e := startInFile(t, of, server.URL)
	for p := storedGauges(30); ; {
		md, ok := p.Next()
		if !ok {
			break
		}
		e.Send(md)
		of.mu.Lock()
		of.accepted = p.Points()
		of.mu.Unlock()
	}
	e.Stop()
	*name = filepath.Base(files(t, directory)[0])
	assert.Equal(t, "exporter_ordered_remote_write__queue", *name, "as docs/storage.md has it")
	return of.pictures
}

// blend is a file of which a machine that died has written a part of the pages.
func blend(before, after []byte, first int, written func() bool) []byte {
	file := bytes.Clone(after)
	for at := first * pageSize; at < len(after); at += pageSize {
		if !written() {
			clear(file[at : at+pageSize])
			if at < len(before) {
				copy(file[at:at+pageSize], before[at:])
			}
		}
	}
	copy(file[:first*pageSize], before)
	return file
}

// TestFileOfAMachineThatDiedInAWrite has of the last write any part of the pages, but not those that say where the others are: with fsync
// these are written once the others are on the disk. Everything that was accepted before is sent.
func TestFileOfAMachineThatDiedInAWrite(t *testing.T) {
	var name string
	pictures := photograph(t, &name)
	rnd := rand.New(rand.NewPCG(rand.Uint64(), 0))
	for range 8 {
		at := 1 + rnd.IntN(len(pictures)-1)
		before, after := pictures[at-1], pictures[at]
		directory := t.TempDir()
		file := blend(before.file, after.file, metaPages, func() bool { return rnd.IntN(2) == 0 })
		require.NoError(t, os.WriteFile(filepath.Join(directory, name), file, 0o600))
		accounts := sendFile(t, directory)
		assert.GreaterOrEqual(t, accounts.Delivered, int64(before.accepted), "after write %d of %d", at, len(pictures))
		assert.Empty(t, accounts.Dropped)
	}
}

// sendFile starts an exporter on a file, and has it send what is in there and some samples more.
func sendFile(t *testing.T, directory string) rig.Accounts {
	t.Helper()
	var receiver rwtest.Receiver
	server := httptest.NewServer(&receiver)
	defer server.Close()
	e := startInFile(t, fileStorage(t, zap.NewNop(), func(c *filestorage.Config) { c.Directory, c.Recreate = directory, true }), server.URL)
	e.Settle()
	accounts := e.Accounts()
	e.SendAndSettle(rig.NewPayload().Gauge("after", time.Now(), 1).Metrics)
	e.Close()
	assert.Empty(t, receiver.Problems())
	return accounts
}

// died names the directory of the file from which a process of its own starts.
const died = "FILE_OF_A_MACHINE_THAT_DIED"

// TestFileOfAMachineThatDied has any part of the pages of several writes, as a machine can leave them that dies with fsync: false. If
// file_storage can open such a file, what is lost is counted as far as its neighbours are there, and nothing wrong is sent. Often it
// cannot: recreate: true helps if it panics where it can see that, and otherwise the process ends, again and again.
func TestFileOfAMachineThatDied(t *testing.T) {
	if directory := os.Getenv(died); directory != "" {
		accounts := sendFile(t, directory)
		t.Logf("started and sent %d", accounts.Delivered)
		return
	}
	var name string
	pictures := photograph(t, &name)
	rnd := rand.New(rand.NewPCG(rand.Uint64(), 0))
	const machines = 12
	recreated, ended := 0, 0
	for range machines {
		at := rnd.IntN(len(pictures) - 5)
		before, after := pictures[at], pictures[at+1+rnd.IntN(5)]
		directory := t.TempDir()
		part := 50 + rnd.IntN(50)
		file := blend(before.file, after.file, 0, func() bool { return rnd.IntN(100) < part })
		require.NoError(t, os.WriteFile(filepath.Join(directory, name), file, 0o600))
		process := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v")
		process.Env = append(os.Environ(), died+"="+directory)
		out, _ := process.CombinedOutput()
		// Where file_storage recovers, it leaves a goroutine, and bbolt has raced with itself, which are no failures here.
		if text := string(out); !strings.Contains(text, "started and sent") {
			ended++
			assert.Contains(t, text, "go.etcd.io/bbolt")
			assert.Regexp(t, "panic: |fault", text)
			continue
		}
		assert.NotContains(t, string(out), "Error Trace")
		if len(files(t, directory)) > 1 {
			recreated++
		}
	}
	t.Logf("of the files of %d machines that died, %d could be opened, %d were put aside, and with %d the process ended", machines, machines-recreated-ended, recreated, ended)
}

// TestFileThatIsCut has a file of which a few bytes are left, with recreate: true as well, and one of which none are.
func TestFileThatIsCut(t *testing.T) {
	var name string
	pictures := photograph(t, &name)
	file := pictures[len(pictures)-1].file
	for bytes, want := range map[int]string{100: "invalid database", pageSize: "file size too small"} {
		directory := t.TempDir()
		require.NoError(t, os.WriteFile(filepath.Join(directory, name), file[:bytes], 0o600))
		extension := fileStorage(t, zap.NewNop(), func(c *filestorage.Config) { c.Directory, c.Recreate = directory, true })
		_, err := extension.GetClient(t.Context(), component.KindExporter, component.MustNewID("ordered_remote_write"), "queue")
		require.ErrorContains(t, err, want)
	}
	directory := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(directory, name), nil, 0o600))
	accounts := sendFile(t, directory)
	assert.Zero(t, accounts.Recovered)
	assert.Empty(t, accounts.Dropped)
}

// TestFileWithoutHeads has lost what tells how far everything is delivered. All of the rest is sent.
func TestFileWithoutHeads(t *testing.T) {
	var name string
	pictures := photograph(t, &name)
	last := pictures[len(pictures)-2]
	directory := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(directory, name), last.file, 0o600))
	extension := fileStorage(t, zap.NewNop(), func(c *filestorage.Config) { c.Directory = directory })
	client, err := extension.GetClient(t.Context(), component.KindExporter, component.MustNewID("ordered_remote_write"), "queue")
	require.NoError(t, err)
	require.NoError(t, client.Batch(t.Context(), storage.DeleteOperation("head.0"), storage.DeleteOperation("head.1")))
	require.NoError(t, client.Close(t.Context()))
	accounts := sendFile(t, directory)
	assert.Equal(t, accounts.Recovered, accounts.Delivered)
	assert.GreaterOrEqual(t, accounts.Delivered, int64(last.accepted))
	assert.NotZero(t, last.accepted)
}
