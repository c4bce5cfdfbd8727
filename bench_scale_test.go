// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"runtime"
	runtimemetrics "runtime/metrics"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/block"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// BenchmarkSeries shows what a sample costs by the number of known series, with the guard and without a look at it, and what
// the guard holds for each series.
func BenchmarkSeries(b *testing.B) {
	for _, guard := range []bool{false, true} {
		for _, series := range []int{10_000, 100_000, 1_000_000, 10_000_000} {
			b.Run(fmt.Sprintf("guard=%v/series=%d", guard, series), func(b *testing.B) {
				p := newBenchPipeline(createDefaultConfig().(*Config))
				p.unguarded = !guard
				md := benchGauges(1000, 10)[0]
				points := md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0).Gauge().DataPoints()
				ts := pcommon.NewTimestampFromTime(time.Now())
				next := 0
				// turn makes the payload the next thousand series.
				turn := func() {
					for _, dp := range points.All() {
						if next%series == 0 {
							ts += 1_000_000
						}
						benchIdentity(dp.Attributes(), next%series)
						dp.SetTimestamp(ts)
						next++
					}
				}
				for range series / 1000 {
					turn()
					p.consume(b, md)
				}
				b.ReportAllocs()
				b.ResetTimer()
				b.StopTimer()
				m := newMeter(b)
				for range b.N {
					turn()
					m.start()
					p.consume(b, md)
					m.stop()
				}
				m.report(1000, 0)
				if guard {
					held := int64(0)
					for _, part := range p.q.partitions {
						held += part.guard.series.Bytes()
					}
					b.ReportMetric(float64(held)/float64(series), "guard-B/series")
				}
			})
		}
	}
}

// BenchmarkGuard is the guard's look at all series in turn, as scrapes bring them: some for each partition.
func BenchmarkGuard(b *testing.B) {
	const partitions, each = 32, 31
	for _, series := range []int{10_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprintf("series=%d", series), func(b *testing.B) {
			now := time.Now()
			guards, indices := make([]*guard, partitions), make([][]indexEntry, partitions)
			for p := range guards {
				guards[p] = newGuard(createDefaultConfig().(*Config).queueOptions().guard)
				indices[p] = make([]indexEntry, series/partitions)
				for i := range indices[p] {
					indices[p][i] = indexEntry{identity: rand.Uint64(), timestamp: now.UnixMilli() - 1_000_000}
				}
				guards[p].sortLocked(indices[p], now)
			}
			b.ReportAllocs()
			b.ResetTimer()
			b.StopTimer()
			m := newMeter(b)
			m.start()
			at := 0
			for n := 0; n < b.N; n++ {
				part := indices[n%partitions][at : at+each]
				for i := range part {
					part[i].timestamp++
				}
				if !guards[n%partitions].sortLocked(part, now).all {
					b.Fatal("a sample is not good")
				}
				if n%partitions == partitions-1 {
					if at += each; at+each > series/partitions {
						at = 0
					}
				}
			}
			m.stop()
			m.report(each, 0)
		})
	}
}

// benchIdentity sets the attribute that tells series apart.
func benchIdentity(m pcommon.Map, series int) {
	v, _ := m.Get("attribute.name.00")
	v.SetStr(fmt.Sprintf("value-00-%08d", series))
}

// BenchmarkPartitions shows what a sample costs by the number of partitions.
func BenchmarkPartitions(b *testing.B) {
	payloads := benchGauges(10_000, 10)
	for _, partitions := range []int{1, 8, 64, 256} {
		b.Run(fmt.Sprintf("partitions=%d", partitions), func(b *testing.B) {
			cfg := createDefaultConfig().(*Config)
			cfg.Partitions = partitions
			p := newBenchPipeline(cfg)
			ts := pcommon.NewTimestampFromTime(time.Now())
			b.ReportAllocs()
			b.ResetTimer()
			b.StopTimer()
			m := newMeter(b)
			for i := range b.N {
				ts += 1_000_000
				setTimes(payloads[i%len(payloads)], ts)
				m.start()
				p.consume(b, payloads[i%len(payloads)])
				m.stop()
			}
			m.report(1000, 0)
		})
	}
}

// BenchmarkPayloadSize shows what a sample costs by the size of its payload: the last one is of about 10 MB.
func BenchmarkPayloadSize(b *testing.B) {
	for _, version := range []wire.Protocol{wire.V1, wire.V2} {
		for _, points := range []int{10, 100, 1000, 4000, 16_000} {
			b.Run(fmt.Sprintf("message=%d/points=%d", 1+version, points), func(b *testing.B) {
				p := newBenchPipeline(createDefaultConfig().(*Config))
				p.protocol = version
				p.measure(b, []pmetric.Metrics{benchPayload(points)}, 1)
			})
		}
	}
}

// benchPayload is a payload of so many gauges with 20 attributes.
func benchPayload(points int) pmetric.Metrics {
	payloads := benchGauges(max(points, 1000), 20)
	gauge := func(md pmetric.Metrics) pmetric.NumberDataPointSlice {
		return md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0).Gauge().DataPoints()
	}
	all, n := gauge(payloads[0]), 0
	for _, more := range payloads[1:] {
		gauge(more).MoveAndAppendTo(all)
	}
	all.RemoveIf(func(pmetric.NumberDataPoint) bool { n++; return n > points })
	return payloads[0]
}

// BenchmarkProducers shows whether producers hinder each other: with as many processors as producers, the samples per
// second should grow with their number, and a thousand should cost what two do. It also shows how long they wait for locks.
// Each has payloads of its own, and they share translators as the callers of an exporter do.
func BenchmarkProducers(b *testing.B) {
	const points = 100
	for _, producers := range []int{1, 2, 1000} {
		b.Run(fmt.Sprintf("producers=%d", producers), func(b *testing.B) {
			cfg := createDefaultConfig().(*Config)
			p := newBenchPipeline(cfg)
			pool := newTranslatorPool(testTranslation(cfg), newBoundMemory(time.Hour), nil)
			payloads := make([][]pmetric.Metrics, producers)
			for i := range payloads {
				for j := range max(1, 100/producers) {
					md := benchPayload(points)
					attributes := md.ResourceMetrics().At(0).Resource().Attributes()
					attributes.PutStr("service.instance.id", fmt.Sprint(i, "-", j))
					payloads[i] = append(payloads[i], md)
				}
			}
			start := pcommon.NewTimestampFromTime(time.Now())
			waited := lockWaits()
			b.ReportAllocs()
			b.ResetTimer()
			m := newMeter(b)
			m.start()
			var wg sync.WaitGroup
			var next, bytes atomic.Int64
			for i := range producers {
				wg.Go(func() {
					for j := next.Add(1); j <= int64(b.N); j = next.Add(1) {
						md := payloads[i][j%int64(len(payloads[i]))]
						setTimes(md, start+pcommon.Timestamp(j)*1_000_000)
						t := pool.take()
						p.admit(b, t, md)
						pool.giveBack(t)
						bytes.Add(int64(p.compose()))
					}
				})
			}
			wg.Wait()
			m.stop()
			m.report(points, int(bytes.Load()))
			samples := float64(points * b.N)
			b.ReportMetric(float64(lockWaits()-waited)/samples, "lock-wait-ns/sample")
			b.ReportMetric(samples/b.Elapsed().Seconds(), "samples/s")
		})
	}
}

// lockWaits is how long goroutines have waited for locks since the process began.
func lockWaits() time.Duration {
	s := []runtimemetrics.Sample{{Name: "/sync/mutex/wait/total:seconds"}}
	runtimemetrics.Read(s)
	return time.Duration(s[0].Value.Float64() * float64(time.Second))
}

// BenchmarkIsolation shows what finding bad samples costs beside a batch of 2,000 samples that is simply delivered, from
// the queue to the last outcome.
func BenchmarkIsolation(b *testing.B) {
	for _, bad := range []int{0, 1, 10} {
		b.Run(fmt.Sprintf("bad=%d", bad), func(b *testing.B) {
			requests := 0
			var refuse [][]byte
			for i := range bad {
				refuse = append(refuse, wire.AppendLabel(nil, "series", strconv.Itoa(100+190*i)))
			}
			receiver := roundTripper(func(r *http.Request) (*http.Response, error) {
				requests++
				body, err := io.ReadAll(r.Body)
				if err != nil {
					return nil, err
				}
				status := http.StatusNoContent
				if bad > 0 && anyRefused(body, refuse) {
					status = http.StatusBadRequest
				}
				return &http.Response{StatusCode: status, Header: http.Header{}, Body: http.NoBody, Request: r}, nil
			})
			h := newHarness(b, receiver, onePartition, func(c *Config) { c.OnError.Rejected = OnRejectedIsolate })
			// So that there is no budget, and the bad samples are found in each batch anew.
			h.perhapsSent()
			b.ResetTimer()
			b.StopTimer()
			m := newMeter(b)
			for i := range b.N {
				md := gauge(time.UnixMilli(int64(i+1)), 2000)
				m.start()
				h.consume(md)
				for h.ledger.Snapshot().Queued+h.ledger.Snapshot().InFlight > 0 {
					time.Sleep(time.Microsecond)
				}
				m.stop()
			}
			m.report(2000, 0)
			b.ReportMetric(float64(requests)/float64(b.N), "requests/batch")
			h.shutdown()
		})
	}
}

// anyRefused says whether a request holds one of the series. It is quick, so that the sender's work is what is measured.
func anyRefused(body []byte, refuse [][]byte) bool {
	raw := block.Decompress(body)
	return slices.ContainsFunc(refuse, func(label []byte) bool { return bytes.Contains(raw, label) })
}

// BenchmarkQueuedMemory shows what the queues hold for each sample that waits, beside its share of the compressed body.
func BenchmarkQueuedMemory(b *testing.B) {
	for range b.N {
		cfg := createDefaultConfig().(*Config)
		p := newBenchPipeline(cfg)
		payloads := benchGauges(10_000, 20)
		before := heapInUse()
		ts := pcommon.NewTimestampFromTime(time.Now())
		samples := 0
		for range 40 {
			ts += 1_000_000
			for _, md := range payloads {
				setTimes(md, ts)
				if err := p.t.translate(b.Context(), md, wire.V1); err != nil {
					b.Fatal(err)
				}
				if _, err := p.q.admit(b.Context(), &p.t.payload); err != nil {
					b.Fatal(err)
				}
				p.t.reset()
				samples += 1000
			}
		}
		held := heapInUse() - before
		runtime.KeepAlive(payloads)
		body := p.q.state().size
		b.ReportMetric(float64(held)/float64(samples), "heap-B/sample")
		b.ReportMetric(float64(held)/float64(body), "heap/compressed")
		// Its timer would keep the queue for the next round, in which it would be missed when it goes.
		p.q.discard()
	}
}
