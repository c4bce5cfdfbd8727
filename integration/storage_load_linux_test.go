// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"

	"github.com/orderedremotewrite/orderedremotewriteexporter/integration/internal/otelcol"
)

// A measured collector is under full load, so payloads are marshalled once, and the endpoint looks at nothing.

// loadMark is a timestamp that occurs nowhere else in a payload.
const loadMark = 0x5ea7_0f7e_57ed_da7a

// loadPayload is a marshalled payload of gauges whose time can be changed.
type loadPayload struct {
	body   []byte
	times  []int
	points int
}

// newLoadPayload makes a payload with series of its own. Each has ten attributes, and one more of random bytes, which nothing
// compresses.
func newLoadPayload(t *testing.T, source string, points, random int) *loadPayload {
	t.Helper()
	md := pmetric.NewMetrics()
	rm := md.ResourceMetrics().AppendEmpty()
	rm.Resource().Attributes().PutStr("service.name", "load")
	rm.Resource().Attributes().PutStr("service.instance.id", source)
	m := rm.ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
	m.SetName("http.server.active_requests")
	rnd := rand.New(rand.NewPCG(1, uint64(len(source))))
	dps := m.SetEmptyGauge().DataPoints()
	for i := range points {
		dp := dps.AppendEmpty()
		dp.SetTimestamp(loadMark)
		dp.SetDoubleValue(float64(i) * 1.5)
		for j := range 10 {
			value := fmt.Sprintf("value-of-label-%02d", j)
			if j < 4 {
				value = fmt.Sprintf("value-%02d-%08d", j, i>>(j*2))
			}
			dp.Attributes().PutStr(fmt.Sprintf("attribute.name.%02d", j), value)
		}
		if random > 0 {
			text := make([]byte, random)
			for k := range text {
				text[k] = byte('0' + rnd.IntN(75))
			}
			dp.Attributes().PutStr("random", string(text))
		}
	}
	body, err := pmetricotlp.NewExportRequestFromMetrics(md).MarshalProto()
	require.NoError(t, err)
	p := &loadPayload{body: body, points: points}
	mark := binary.LittleEndian.AppendUint64(nil, loadMark)
	for from := 0; ; {
		i := bytes.Index(body[from:], mark)
		if i < 0 {
			break
		}
		p.times = append(p.times, from+i)
		from += i + len(mark)
	}
	require.Len(t, p.times, points)
	return p
}

// at is the payload with another time.
func (p *loadPayload) at(ts time.Time) []byte {
	for _, i := range p.times {
		binary.LittleEndian.PutUint64(p.body[i:], uint64(ts.UnixNano()))
	}
	return p.body
}

// loadEndpoint takes everything, or refuses it while it is away.
type loadEndpoint struct {
	*httptest.Server
	away atomic.Bool

	mu sync.Mutex
	// first and last are when it took requests.
	first, last time.Time
	requests    int
}

func newLoadEndpoint(t *testing.T) *loadEndpoint {
	e := &loadEndpoint{}
	e.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if e.away.Load() {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		w.WriteHeader(http.StatusNoContent)
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.last = time.Now(); e.requests == 0 {
			e.first = e.last
		}
		e.requests++
	}))
	t.Cleanup(e.Close)
	return e
}

// taken is when the first and the last request were, and how many there were.
func (e *loadEndpoint) taken() (first, last time.Time, requests int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.first, e.last, e.requests
}

func (e *loadEndpoint) reset() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.requests = 0
}

// loaded is a collector under load.
type loaded struct {
	*otelcol.Collector
	t               *testing.T
	otlp, telemetry string
	// started is when its process was.
	started time.Time
}

// startLoaded starts a collector and waits until it takes payloads.
func startLoaded(t *testing.T, configs ...string) *loaded {
	t.Helper()
	l := &loaded{t: t, otlp: otelcol.FreeAddress(t), telemetry: otelcol.FreeAddress(t)}
	_, port, err := net.SplitHostPort(l.telemetry)
	require.NoError(t, err)
	configs = append(configs, ownPorts(l.otlp)...)
	configs = append(configs, fmt.Sprintf(`yaml:{service: {telemetry: {metrics: {level: normal, readers: [{pull: {exporter: {prometheus: {
		host: 127.0.0.1, port: %s, without_scope_info: true, without_type_suffix: true, without_units: true}}}}]}}}}`, port))
	l.started = time.Now()
	l.Collector = startCollector(t, nil, configs...)
	l.WaitReady(t)
	return l
}

// send hands a payload over once, and says whether it was accepted.
func (l *loaded) send(body []byte) bool {
	answer, err := http.Post("http://"+l.otlp+"/v1/metrics", "application/x-protobuf", bytes.NewReader(body))
	if err != nil {
		return false
	}
	_, _ = io.Copy(io.Discard, answer.Body)
	return answer.Body.Close() == nil && answer.StatusCode == http.StatusOK
}

// metric is the sum of one of the exporter's own metrics.
func (l *loaded) metric(name string) (sum float64) {
	l.t.Helper()
	answer, err := http.Get("http://" + l.telemetry + "/metrics")
	require.NoError(l.t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	require.NoError(l.t, err)
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "otelcol_exporter_ordered_remote_write_"+name+"{"); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(rest[strings.LastIndexByte(rest, '}')+1:]), 64)
			require.NoError(l.t, err)
			sum += v
		}
	}
	return sum
}

// cpu is what the process has used of the processors.
func (l *loaded) cpu() time.Duration {
	l.t.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", l.Pid()))
	require.NoError(l.t, err)
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	ticks := 0
	for _, f := range fields[11:13] {
		n, err := strconv.Atoi(f)
		require.NoError(l.t, err)
		ticks += n
	}
	return time.Duration(ticks) * time.Second / 100
}

// memory is the bytes of memory that the process has for itself: the file of file_storage, which is mapped, counts among what is
// resident, and is given back to whoever needs memory.
func (l *loaded) memory() int64 {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", l.Pid()))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "RssAnon:"); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), "kB")), 10, 64)
			require.NoError(l.t, err)
			return n << 10
		}
	}
	return 0
}

// watchMemory returns what ends the watching, and returns the most memory that the process had meanwhile.
func (l *loaded) watchMemory() (most func() int64) {
	stop, done := make(chan struct{}), make(chan struct{})
	peak := int64(0)
	go func() {
		defer close(done)
		ticker := time.NewTicker(50 * time.Millisecond)
		defer ticker.Stop()
		for {
			peak = max(peak, l.memory())
			select {
			case <-ticker.C:
			case <-stop:
				return
			}
		}
	}()
	return func() int64 { close(stop); <-done; return peak }
}
