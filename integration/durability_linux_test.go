// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/open-telemetry/opentelemetry-collector-contrib/extension/storage/filestorage"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/extension/xextension/storage"
	"go.uber.org/zap"

	"github.com/orderedremotewrite/orderedremotewriteexporter/integration/internal/otelcol"
)

var (
	durabilityRounds  = flag.Int("durability.rounds", 0, "how often it is measured what durability costs; 0 for not")
	durabilitySamples = flag.Int("durability.samples", 2_000_000, "how many samples each measurement sends")
)

// durabilityCost is what a measurement has shown.
type durabilityCost struct {
	// cpu is the CPU seconds for a million samples, rate the samples a second.
	cpu, rate float64
	// extension and outside are the parts of the CPU seconds, by a profile, in the storage extension and in what makes its writes.
	extension, outside float64
	// writes and bytes are what the storage extension got, and took the part of the time that its writes took.
	writes, bytes int
	took          float64
}

// TestDurability measures, in a real collector, what a queue in storage costs beside one in memory, and what the extension alone
// takes for the same writes. The kinds take turns, so that what else the machine does falls on all of them.
func TestDurability(t *testing.T) {
	if *durabilityRounds == 0 {
		t.Skip("takes minutes: make durability")
	}
	kinds := []string{"memory", "fsync off", "fsync on"}
	costs := make(map[string][]durabilityCost)
	for round := range *durabilityRounds {
		for i := range kinds {
			kind := kinds[(round+i)%len(kinds)]
			c := measureCollector(t, kind)
			costs[kind] = append(costs[kind], c)
			if kind != "memory" {
				alone := measureExtension(t, kind, c)
				costs[kind+", alone"] = append(costs[kind+", alone"], alone)
			}
		}
	}
	median := func(kind string, of func(durabilityCost) float64) float64 {
		values := make([]float64, len(costs[kind]))
		for i, c := range costs[kind] {
			values[i] = of(c)
		}
		slices.Sort(values)
		return values[len(values)/2]
	}
	cpu := func(c durabilityCost) float64 { return c.cpu }
	rate := func(c durabilityCost) float64 { return c.rate }
	memory := median("memory", rate)
	t.Logf("medians of %d rounds of %d samples", *durabilityRounds, *durabilitySamples)
	t.Logf("memory: %.2f CPU-s for a million samples, %.0f samples/s", median("memory", cpu), memory)
	for _, kind := range kinds[1:] {
		r, alone := median(kind, rate), median(kind+", alone", rate)
		t.Logf("%s: %.2f CPU-s for a million samples, by profile %.2f in the extension (%.2f alone) and %.2f outside of it; %.0f samples/s, %.0f%% of memory, %.0f%% of the extension alone; %.0f%% of the time in writes",
			kind, median(kind, cpu), median(kind, func(c durabilityCost) float64 { return c.extension }), median(kind+", alone", cpu),
			median(kind, func(c durabilityCost) float64 { return c.outside }), r, 100*r/memory, 100*r/alone,
			100*median(kind, func(c durabilityCost) float64 { return c.took }))
		assert.Less(t, median(kind, func(c durabilityCost) float64 { return c.outside }), 0.3, "CPU-s for a million samples outside of the extension")
	}
}

// measureCollector sends samples through a collector as fast as it takes them.
func measureCollector(t *testing.T, kind string) (c durabilityCost) {
	endpoint := newLoadEndpoint(t)
	configs := []string{
		minimal, "yaml:exporters::ordered_remote_write::http::endpoint: " + endpoint.URL,
		"yaml:exporters::ordered_remote_write::max_past: 45m",
	}
	extensions := "pprof"
	if kind != "memory" {
		extensions += ", file_storage"
		configs = append(configs,
			"yaml:exporters::ordered_remote_write::queue::storage: file_storage",
			"yaml:extensions::file_storage::directory: "+t.TempDir(),
			fmt.Sprintf("yaml:extensions::file_storage::fsync: %t", kind == "fsync on"),
		)
	}
	pprof := otelcol.FreeAddress(t)
	l := startLoaded(t, append(configs, "yaml:service::extensions: ["+extensions+"]", "yaml:extensions::pprof::endpoint: "+pprof)...)
	const senders, points = 16, 1000
	loads := make([]*loadPayload, senders)
	for i := range loads {
		loads[i] = newLoadPayload(t, fmt.Sprintf("load-%d", i), points, 0)
	}
	start := time.Now().Add(-30 * time.Minute)
	send := func(first, payloads int) {
		var done sync.WaitGroup
		for _, p := range loads {
			done.Go(func() {
				for n := range payloads {
					body := p.at(start.Add(time.Duration(first+n) * 100 * time.Millisecond))
					for !l.send(body) {
						time.Sleep(time.Millisecond)
					}
				}
			})
		}
		done.Wait()
	}
	settled := func() {
		for l.metric("queued_samples")+l.metric("in_flight_samples") > 0 {
			time.Sleep(20 * time.Millisecond)
		}
	}
	const warm = 20
	send(0, warm)
	settled()
	writes, written, took := l.metric("storage_write_duration_count"), l.metric("storage_write_size_sum"), l.metric("storage_write_duration_sum")
	cpu, began := l.cpu(), time.Now()
	var profiled sync.WaitGroup
	profile := ""
	profiled.Go(func() { profile = saveProfile(t, pprof) })
	n := *durabilitySamples / senders / points
	send(warm, n)
	settled()
	_, last, _ := endpoint.taken()
	samples := float64(n * senders * points)
	c = durabilityCost{
		cpu: (l.cpu() - cpu).Seconds() / samples * 1e6, rate: samples / last.Sub(began).Seconds(),
		writes: int(l.metric("storage_write_duration_count") - writes), bytes: int(l.metric("storage_write_size_sum") - written),
		took: (l.metric("storage_write_duration_sum") - took) / last.Sub(began).Seconds(),
	}
	profiled.Wait()
	c.extension = c.cpu * profiledShare(t, profile, `filestorage\.`, "none")
	c.outside = c.cpu * profiledShare(t, profile, `exporter\.\(\*(durable|backlog)\)|internal/journal`, `filestorage\.`)
	require.Equal(t, samples+warm*senders*points, l.metric("delivered_samples"))
	l.MustStop(t)
	t.Logf("%s: %.2f CPU-s for a million samples, %.0f samples/s; %d writes of %d bytes", kind, c.cpu, c.rate, c.writes, c.bytes/max(c.writes, 1))
	return c
}

// saveProfile saves a CPU profile of five seconds.
func saveProfile(t *testing.T, address string) (path string) {
	answer, err := http.Get("http://" + address + "/debug/pprof/profile?seconds=5")
	if !assert.NoError(t, err) {
		return ""
	}
	defer answer.Body.Close()
	path = filepath.Join(t.TempDir(), "cpu.pprof")
	f, err := os.Create(path)
	if !assert.NoError(t, err) {
		return ""
	}
	_, err = io.Copy(f, answer.Body)
	assert.NoError(t, err)
	assert.NoError(t, f.Close())
	return path
}

// profiledShare is the part of a profile in what is called by functions that match, unless others that match are called by these.
func profiledShare(t *testing.T, profile, focus, ignore string) float64 {
	out, err := exec.Command("go", "tool", "pprof", "-top", "-nodecount=100000", "-nodefraction=0", "-focus="+focus, "-ignore="+ignore, profile).CombinedOutput()
	if strings.Contains(string(out), "matches no samples") {
		return 0
	}
	require.NoError(t, err, string(out))
	match := regexp.MustCompile(`accounting for [0-9.a-z]+, ([0-9.]+)% of`).FindStringSubmatch(string(out))
	require.NotNil(t, match, string(out))
	percent, err := strconv.ParseFloat(match[1], 64)
	require.NoError(t, err)
	return percent / 100
}

// measureExtension has the extension alone take as many writes of as many bytes as it did in a collector: a record, a head and a
// record that is deleted.
func measureExtension(t *testing.T, kind string, like durabilityCost) durabilityCost {
	extension := fileStorage(t, zap.NewNop(), func(c *filestorage.Config) { c.Directory, c.FSync = t.TempDir(), kind == "fsync on" })
	client, err := extension.GetClient(t.Context(), component.KindExporter, component.MustNewID("alone"), "")
	require.NoError(t, err)
	value := make([]byte, like.bytes/like.writes)
	_, _ = rand.Read(value)
	head := make([]byte, 1200)
	cpu, began := usedCPU(t), time.Now()
	const kept = 20
	for i := range like.writes {
		require.NoError(t, client.Batch(context.Background(),
			storage.SetOperation(fmt.Sprintf("record.%020d", i), value),
			storage.SetOperation(fmt.Sprintf("head.%d", i%2), head),
			storage.DeleteOperation(fmt.Sprintf("record.%020d", i-kept)),
		))
	}
	took := time.Since(began)
	samples := float64(*durabilitySamples)
	c := durabilityCost{cpu: (usedCPU(t) - cpu).Seconds() / samples * 1e6, rate: samples / took.Seconds()}
	require.NoError(t, client.Close(t.Context()))
	require.NoError(t, extension.Shutdown(t.Context()))
	t.Logf("%s, alone: %.2f CPU-s for a million samples, %.0f samples/s", kind, c.cpu, c.rate)
	return c
}

// usedCPU is what the test's own process has used of the processors.
func usedCPU(t *testing.T) time.Duration {
	var u syscall.Rusage
	require.NoError(t, syscall.Getrusage(syscall.RUSAGE_SELF, &u))
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
