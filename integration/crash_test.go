// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"

	"github.com/orderedremotewrite/orderedremotewriteexporter/integration/internal/otelcol"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
)

var crashes = flag.Int("crashes", 10, "how often the crash test kills a collector")

// machine runs one collector after the other, with the same storage.
type machine struct {
	t         *testing.T
	directory string
	configs   []string

	mu   sync.Mutex
	otlp string
	now  *otelcol.Collector
}

// newMachine is for collectors that keep the queue of an exporter to an endpoint with file_storage.
func newMachine(t *testing.T, endpoint string, configs ...string) *machine {
	m := &machine{t: t, directory: t.TempDir()}
	m.configs = append([]string{
		minimal,
		"yaml:exporters::ordered_remote_write::http::endpoint: " + endpoint,
		"yaml:exporters::ordered_remote_write::queue::storage: file_storage",
		"yaml:extensions::file_storage::directory: " + m.directory,
		"yaml:service::extensions: [file_storage]",
	}, configs...)
	return m
}

func (m *machine) boot() *otelcol.Collector {
	otlp := otelcol.FreeAddress(m.t)
	c := startCollector(m.t, nil, append(m.configs, ownPorts(otlp)...)...)
	c.WaitReady(m.t)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.otlp, m.now = otlp, c
	return c
}

func (m *machine) kill() {
	m.mu.Lock()
	c := m.now
	m.otlp = ""
	m.mu.Unlock()
	c.Kill()
}

// send hands a payload over until a collector has accepted it.
func (m *machine) send(md pmetric.Metrics) {
	body, err := pmetricotlp.NewExportRequestFromMetrics(md).MarshalProto()
	if !assert.NoError(m.t, err) {
		return
	}
	for !m.sendOnce(body) {
		time.Sleep(5 * time.Millisecond)
	}
}

func (m *machine) sendOnce(body []byte) bool {
	m.mu.Lock()
	otlp := m.otlp
	m.mu.Unlock()
	if otlp == "" {
		return false
	}
	return accepts(otlp, body)
}

// accepts says whether a collector accepts a payload over OTLP.
func accepts(otlp string, body []byte) bool {
	answer, err := http.Post("http://"+otlp+"/v1/metrics", "application/x-protobuf", bytes.NewReader(body))
	if err != nil {
		return false
	}
	return answer.Body.Close() == nil && answer.StatusCode == http.StatusOK
}

// newSwitched is a server in front of a receiver that refuses everything while it is away.
func newSwitched(t *testing.T, receiver *rwtest.Receiver) (*httptest.Server, *atomic.Bool) {
	away := new(atomic.Bool)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if away.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		receiver.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return server, away
}

// TestKilledCollectorsLoseNothing kills collectors with SIGKILL at random moments, under load, with a backend that answers
// late, fails, and drops answers, and that is away now and then. Everything acknowledged arrives, each series in order.
func TestKilledCollectorsLoseNothing(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	receiver := &rwtest.Receiver{Faults: rwtest.Faults{
		Seed: seed, ServerError: 50, StoredServerError: 10, DropAnswer: 10, MinLatency: time.Millisecond, MaxLatency: 100 * time.Millisecond,
	}}
	server, away := newSwitched(t, receiver)
	m := newMachine(t, server.URL,
		"yaml:exporters::ordered_remote_write::batch: {max_samples: 500, max_size_bytes: 65536, flush_timeout: 100ms}",
		"yaml:exporters::ordered_remote_write::queue::max_size_bytes: 262144",
		"yaml:exporters::ordered_remote_write::retry_on_failure::max_retry_after: 200ms",
		"yaml:exporters::ordered_remote_write::max_future: 24h",
		"yaml:exporters::ordered_remote_write::max_past: 24h",
	)
	number := len(m.configs)
	boot := func() {
		// Each process may have another number of partitions, which takes effect when there is nothing in storage.
		m.configs = append(m.configs[:number:number], fmt.Sprintf("yaml:exporters::ordered_remote_write::partitions: %d", 1+rnd.IntN(64)))
		m.boot()
	}
	boot()

	var stop atomic.Bool
	expected := make(map[string][]rwtest.Sample)
	var done sync.WaitGroup
	var mu sync.Mutex
	for i := range 4 {
		done.Go(func() {
			for round := 0; !stop.Load(); round++ {
				// One producer has the streams of a round for itself; the next round has others.
				p := rwtest.Payloads{
					Seed: seed + uint64(1000*round+i), Streams: 50, Points: 50, StreamsPerPayload: 25, Start: time.Now().Add(-5 * time.Minute),
					Kinds: []pmetric.MetricType{pmetric.MetricTypeGauge, pmetric.MetricTypeSum},
				}.Split()[0]
				for md, ok := p.Next(); ok; md, ok = p.Next() {
					rename(md, fmt.Sprintf("-%d-%d", i, round))
					m.send(md)
					time.Sleep(20 * time.Millisecond)
				}
				mu.Lock()
				for key, samples := range p.Expected() {
					expected[strings.Replace(key, `instance="producer-0"`, fmt.Sprintf(`instance="producer-0-%d-%d"`, i, round), 1)] = samples
				}
				mu.Unlock()
			}
		})
	}
	for range *crashes {
		away.Store(rnd.IntN(3) == 0)
		time.Sleep(time.Duration(200+rnd.IntN(800)) * time.Millisecond)
		m.kill()
		// What the backend has got from a process that is dead comes to its end.
		time.Sleep(200 * time.Millisecond)
		boot()
	}
	away.Store(false)
	stop.Store(true)
	done.Wait()
	samples := 0
	for _, s := range expected {
		samples += len(s)
	}
	delivered := func() (n int) {
		for _, s := range receiver.Delivered() {
			n += len(s)
		}
		return n
	}
	for before := -1; delivered() != before; {
		before = delivered()
		time.Sleep(5 * time.Second)
	}
	m.now.MustStop(t)
	require.Equal(t, samples, delivered(), "samples delivered")

	got := receiver.Delivered()
	for key := range maps.Keys(expected) {
		require.Equal(t, expected[key], got[key], "series %s", key)
	}
	assert.Len(t, got, len(expected), "series")
	assert.Empty(t, receiver.Violations())
	assert.Empty(t, receiver.OutOfOrder())
	assert.Empty(t, receiver.Overlaps())
	assert.Empty(t, receiver.Conflicting())
	assert.NotContains(t, m.now.Log(), "panic")
	t.Logf("%d kills, %d series, %d samples, %d delivered again, %d requests", *crashes, len(expected), samples, receiver.Redelivered(), receiver.Requests())
}

// rename gives the resources of a payload an instance of their own.
func rename(md pmetric.Metrics, suffix string) {
	for _, rm := range md.ResourceMetrics().All() {
		instance, _ := rm.Resource().Attributes().Get("service.instance.id")
		instance.SetStr("producer-0" + suffix)
	}
}

// TestTwoCollectorsNeverShareALog starts a second collector with the storage of one that runs.
func TestTwoCollectorsNeverShareALog(t *testing.T) {
	m := newMachine(t, "http://127.0.0.1:1/write")
	m.boot()
	second := startCollector(t, nil, append(m.configs, ownPorts(otelcol.FreeAddress(t))...)...)
	assert.NotZero(t, second.Wait(t))
	assert.Contains(t, second.Log(), "queue.storage: ")
	m.now.Kill()
}

// TestFullDiskIsEmptied fills the storage while the backend is away: its own limit, and a small file system to its last byte.
// Clients are refused, nothing is lost, and when the backend is back everything arrives and there is room again, although the collector was
// killed meanwhile.
func TestFullDiskIsEmptied(t *testing.T) {
	for name, prepare := range map[string]func(t *testing.T, m *machine){
		"max_size": func(_ *testing.T, m *machine) {
			m.configs = append(m.configs, "yaml:extensions::file_storage::max_size: 2097152")
		},
		"file system": func(t *testing.T, m *machine) { mountSmall(t, m.directory, 2<<20) },
	} {
		t.Run(name, func(t *testing.T) {
			receiver := &rwtest.Receiver{}
			server, away := newSwitched(t, receiver)
			away.Store(true)
			m := newMachine(t, server.URL,
				"yaml:exporters::ordered_remote_write::queue::block_timeout: 500ms",
				"yaml:exporters::ordered_remote_write::max_future: 24h",
				"yaml:exporters::ordered_remote_write::max_past: 24h",
			)
			prepare(t, m)
			m.boot()
			p := rwtest.Payloads{
				Seed: 1, Streams: 2000, Points: 200, StreamsPerPayload: 2000, Start: time.Now().Add(-time.Hour),
				Kinds: []pmetric.MetricType{pmetric.MetricTypeGauge},
			}.Split()[0]
			var waiting []byte
			for refused := 0; refused < 3; {
				md, ok := p.Next()
				require.True(t, ok, "the disk does not fill")
				var err error
				waiting, err = pmetricotlp.NewExportRequestFromMetrics(md).MarshalProto()
				require.NoError(t, err)
				for refused < 3 && !m.sendOnce(waiting) {
					refused++
				}
			}
			points := p.Points()
			// What is in a full storage is sent after a restart too.
			m.kill()
			m.boot()
			away.Store(false)
			require.Eventually(t, func() bool { return m.sendOnce(waiting) }, time.Minute, 100*time.Millisecond, "there is room again")
			count := func() (n int) {
				for _, s := range receiver.Delivered() {
					n += len(s)
				}
				return n
			}
			require.Eventually(t, func() bool { return count() == points }, time.Minute, 100*time.Millisecond, "%d points", points)
			m.now.MustStop(t)
			assert.Empty(t, receiver.Violations())
			assert.Empty(t, receiver.OutOfOrder())
			assert.Empty(t, receiver.Overlaps())
			assert.Empty(t, receiver.Conflicting())
			assert.NotContains(t, m.now.Log(), "panic")
			t.Logf("%d points before the disk was full", points)
		})
	}
}
