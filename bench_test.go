// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"runtime"
	runtimemetrics "runtime/metrics"
	"testing"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/prompb"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/block"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/remote"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// benchPayloads makes payloads of 1,000 points for a number of series each. All series of a payload are different.
func benchGauges(series, attrs int) []pmetric.Metrics {
	const perPayload = 1000
	payloads := make([]pmetric.Metrics, 0, series/perPayload)
	for at := 0; at < series; at += perPayload {
		md, m := benchMetric()
		m.SetName("http.server.active_requests")
		points := m.SetEmptyGauge().DataPoints()
		for i := range perPayload {
			dp := points.AppendEmpty()
			dp.SetDoubleValue(float64(i) * 1.5)
			benchAttributes(dp.Attributes(), attrs, at+i)
		}
		payloads = append(payloads, md)
	}
	return payloads
}

func benchHistograms(series, buckets int) []pmetric.Metrics {
	const perPayload = 100
	payloads := make([]pmetric.Metrics, 0, series/perPayload)
	bounds := make([]float64, buckets)
	for i := range bounds {
		bounds[i] = 0.005 * float64(int(1)<<i)
	}
	for at := 0; at < series; at += perPayload {
		md, m := benchMetric()
		m.SetName("http.server.request.duration")
		m.SetUnit("s")
		h := m.SetEmptyHistogram()
		h.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
		for i := range perPayload {
			dp := h.DataPoints().AppendEmpty()
			dp.SetCount(uint64(1000 + i))
			dp.SetSum(float64(i) * 12.5)
			dp.ExplicitBounds().FromRaw(bounds)
			counts := make([]uint64, buckets+1)
			for j := range counts {
				counts[j] = uint64(i*j) % 97
			}
			dp.BucketCounts().FromRaw(counts)
			benchAttributes(dp.Attributes(), 20, at+i)
		}
		payloads = append(payloads, md)
	}
	return payloads
}

func benchMetric() (pmetric.Metrics, pmetric.Metric) {
	md := pmetric.NewMetrics()
	rm := md.ResourceMetrics().AppendEmpty()
	rm.Resource().Attributes().PutStr("service.name", "checkout")
	rm.Resource().Attributes().PutStr("service.instance.id", "checkout-7f9d4c5b6-x2x9z")
	sm := rm.ScopeMetrics().AppendEmpty()
	return md, sm.Metrics().AppendEmpty()
}

// benchAttributes gives attributes of about 36 bytes each, four of which tell the series apart.
func benchAttributes(m pcommon.Map, n, series int) {
	m.EnsureCapacity(n)
	for i := range n {
		value := fmt.Sprintf("value-of-label-%02d", i)
		if i < 4 {
			value = fmt.Sprintf("value-%02d-%08d", i, series>>(i*2))
		}
		m.PutStr(fmt.Sprintf("attribute.name.%02d", i), value)
	}
}

// setTimes gives all points a new timestamp.
func setTimes(md pmetric.Metrics, ts pcommon.Timestamp) {
	m := md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0)
	if m.Type() == pmetric.MetricTypeGauge {
		for _, dp := range m.Gauge().DataPoints().All() {
			dp.SetTimestamp(ts)
		}
		return
	}
	for _, dp := range m.Histogram().DataPoints().All() {
		dp.SetTimestamp(ts)
	}
}

// benchPipeline is the way from pdata to ready requests, without a network: what is ready is thrown away.
type benchPipeline struct {
	q        *queue
	t        *translator
	protocol wire.Protocol
	// unguarded hides the series from the guard.
	unguarded bool
	// ready are the deliveries that the queue has started. The queue's lock guards them.
	ready []*delivery
}

func newBenchPipeline(cfg *Config) *benchPipeline {
	p := &benchPipeline{
		q: newQueue(cfg.queueOptions(), account.NewLedger()),
		t: newTranslator(testTranslation(cfg), newBoundMemory(time.Hour), nil),
	}
	p.q.start(func(d *delivery) { p.ready = append(p.ready, d) })
	return p
}

func (p *benchPipeline) consume(b *testing.B, md pmetric.Metrics) (bytes int) {
	p.admit(b, p.t, md)
	p.t.reset()
	return p.compose()
}

// admit is what a caller does.
func (p *benchPipeline) admit(b *testing.B, t *translator, md pmetric.Metrics) {
	if err := t.translate(b.Context(), md, p.protocol); err != nil {
		b.Error(err)
	}
	if p.unguarded {
		hideSeries(t)
	}
	if _, err := p.q.admit(b.Context(), &t.payload); err != nil {
		b.Error(err)
	}
}

// compose makes the requests that are due, and takes them for delivered.
func (p *benchPipeline) compose() (bytes int) {
	for d := p.next(); d != nil; d = p.next() {
		d.begun = time.Now()
		size := d.compose()
		bytes += size
		p.q.composed(d, size)
		p.q.answered(d, &outcome{answer: &remote.Answer{Status: 204}}, 0)
		p.q.finished(d)
	}
	return bytes
}

// hideSeries takes away what the guard looks at.
func hideSeries(t *translator) {
	for _, i := range t.touched {
		for j := range t.segments[i].chunks {
			t.segments[i].chunks[j].index = nil
		}
	}
}

func (p *benchPipeline) next() (d *delivery) {
	p.q.mu.Lock()
	defer p.q.mu.Unlock()
	if n := len(p.ready); n > 0 {
		d = p.ready[n-1]
		p.ready = p.ready[:n-1]
	}
	return d
}

var benchLoads = []struct {
	name     string
	payloads func() []pmetric.Metrics
	samples  int // for each point
}{
	{"gauges/attributes=10", func() []pmetric.Metrics { return benchGauges(10_000, 10) }, 1},
	{"gauges/attributes=20", func() []pmetric.Metrics { return benchGauges(10_000, 20) }, 1},
	{"histograms/buckets=15", func() []pmetric.Metrics { return benchHistograms(1_000, 15) }, 18},
}

// BenchmarkExporter is the whole way from pdata to ready requests.
func BenchmarkExporter(b *testing.B) {
	for _, load := range benchLoads {
		for _, version := range []wire.Protocol{wire.V1, wire.V2} {
			b.Run(fmt.Sprintf("%s/message=%d", load.name, 1+version), func(b *testing.B) {
				payloads := load.payloads()
				p := newBenchPipeline(createDefaultConfig().(*Config))
				p.protocol = version
				p.measure(b, payloads, load.samples)
			})
		}
	}
}

// measure consumes the payloads in turn, with new times in each turn, and reports what a sample costs.
func (p *benchPipeline) measure(b *testing.B, payloads []pmetric.Metrics, samplesOfPoint int) {
	samples := payloads[0].DataPointCount() * samplesOfPoint
	ts := pcommon.NewTimestampFromTime(time.Now())
	total := 0
	b.ReportAllocs()
	b.ResetTimer()
	b.StopTimer()
	m := newMeter(b)
	for i := 0; i < b.N; i += len(payloads) {
		ts += 1_000_000
		for _, md := range payloads {
			setTimes(md, ts)
		}
		m.start()
		for j := i; j < min(i+len(payloads), b.N); j++ {
			total += p.consume(b, payloads[j%len(payloads)])
		}
		m.stop()
	}
	m.report(samples, total)
}

// BenchmarkDecoded is the way from an encoded request of OTLP to ready requests. That of the exporter comes after the decoding, as in a
// collector: attributes are in other places in memory each time, and there is garbage to be collected. Both take turns, so that
// the one as a part of the other says much even if the machine has more to do.
func BenchmarkDecoded(b *testing.B) {
	for _, load := range benchLoads {
		for _, version := range []wire.Protocol{wire.V1, wire.V2} {
			b.Run(fmt.Sprintf("%s/message=%d", load.name, 1+version), func(b *testing.B) {
				payloads := load.payloads()
				samples := payloads[0].DataPointCount() * load.samples
				encoded := make([]*encodedPayload, len(payloads))
				for i, md := range payloads {
					encoded[i] = encodePayload(b, md)
				}
				p := newBenchPipeline(createDefaultConfig().(*Config))
				p.protocol = version
				ts := uint64(time.Now().UnixNano())
				total, decoding := 0, time.Duration(0)
				b.ReportAllocs()
				b.ResetTimer()
				b.StopTimer()
				m := newMeter(b)
				for i := range b.N {
					ts += 1_000_000
					e := encoded[i%len(encoded)]
					e.setTimes(ts)
					m.start()
					md, err := new(pmetric.ProtoUnmarshaler).UnmarshalMetrics(e.request)
					require.NoError(b, err)
					decoding += cpuTime() - m.started
					total += p.consume(b, md)
					m.stop()
				}
				m.report(samples, total)
				own := m.cpu - decoding
				b.ReportMetric(float64(own)/float64(samples*b.N), "own-ns/sample")
				b.ReportMetric(float64(own)/float64(decoding), "of-decoding")
			})
		}
	}
}

// encodedPayload is a payload of OTLP of which all points have the same time.
type encodedPayload struct {
	request []byte
	// times are where in request the times stand.
	times []int
}

func encodePayload(b *testing.B, md pmetric.Metrics) *encodedPayload {
	const mark = 0x0123456789abcdef
	setTimes(md, mark)
	request, err := new(pmetric.ProtoMarshaler).MarshalMetrics(md)
	require.NoError(b, err)
	e := &encodedPayload{request: request}
	marked := binary.LittleEndian.AppendUint64(nil, mark)
	for at := 0; ; at += len(marked) {
		i := bytes.Index(request[at:], marked)
		if i < 0 {
			require.Len(b, e.times, md.DataPointCount())
			return e
		}
		at += i
		e.times = append(e.times, at)
	}
}

func (e *encodedPayload) setTimes(ns uint64) {
	for _, at := range e.times {
		binary.LittleEndian.PutUint64(e.request[at:], ns)
	}
}

// BenchmarkFloor is prompb's Marshal and Snappy over the same series, in requests of the same size.
func BenchmarkFloor(b *testing.B) {
	for _, load := range benchLoads {
		b.Run(load.name, func(b *testing.B) {
			var requests []*prompb.WriteRequest
			ts := pcommon.NewTimestampFromTime(time.Now())
			for _, md := range load.payloads() {
				setTimes(md, ts)
				requests = append(requests, decodedSeries(b, md))
			}
			samples := len(requests[0].Timeseries)
			var buf, dst []byte
			total := 0
			b.ReportAllocs()
			b.ResetTimer()
			m := newMeter(b)
			m.start()
			for i := 0; i < b.N; i++ {
				r := requests[i%len(requests)]
				if n := r.Size(); cap(buf) < n {
					buf = make([]byte, n)
				}
				n, err := r.MarshalToSizedBuffer(buf[:r.Size()])
				if err != nil {
					b.Fatal(err)
				}
				dst = snappy.Encode(dst[:cap(dst)], buf[:n])
				total += len(dst)
			}
			m.stop()
			m.report(samples, total)
		})
	}
}

// decodedSeries is what the payload becomes, as a request of prompb's types.
func decodedSeries(tb testing.TB, md pmetric.Metrics) *prompb.WriteRequest {
	cfg := createDefaultConfig().(*Config)
	cfg.Partitions = 1
	cfg.Batch.MaxSamples = 1 << 20
	cfg.Batch.MaxSizeBytes = 1 << 30
	t := newTranslator(testTranslation(cfg), newBoundMemory(time.Hour), nil)
	require.NoError(tb, t.translate(tb.Context(), md, wire.V1))
	var r prompb.WriteRequest
	require.NoError(tb, r.Unmarshal(block.Decompress(bodyOf(&t.segments[0]))))
	return &r
}

// meter measures the CPU time of the process, garbage collection included, which other processes on a shared machine
// disturb less than the time of a clock.
type meter struct {
	b       *testing.B
	started time.Duration
	cpu     time.Duration
	// collecting is the time that garbage collection had taken before.
	collecting time.Duration
}

func newMeter(b *testing.B) *meter { return &meter{b: b, collecting: collectingTime()} }

// collectingTime is the CPU time of garbage collection, but for that of processors which had nothing else to do.
func collectingTime() time.Duration {
	samples := []runtimemetrics.Sample{{Name: "/cpu/classes/gc/total:cpu-seconds"}, {Name: "/cpu/classes/gc/mark/idle:cpu-seconds"}}
	runtimemetrics.Read(samples)
	return time.Duration((samples[0].Value.Float64() - samples[1].Value.Float64()) * float64(time.Second))
}

// start goes on measuring, and stop pauses.
func (m *meter) start() { m.b.StartTimer(); m.started = cpuTime() }
func (m *meter) stop()  { m.cpu += cpuTime() - m.started; m.b.StopTimer() }

func (m *meter) report(samples, bytes int) {
	n := float64(samples) * float64(m.b.N)
	m.b.ReportMetric(float64(m.cpu)/n, "cpu-ns/sample")
	m.b.ReportMetric(n/m.cpu.Seconds(), "samples/cpu-s")
	m.b.ReportMetric(100*float64(collectingTime()-m.collecting)/float64(m.cpu), "gc-%")
	m.b.ReportMetric(float64(bytes)/n, "wire-B/sample")
}

// heapInUse is the bytes of live objects.
func heapInUse() int64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
