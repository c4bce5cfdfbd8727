// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/otlptranslator"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/block"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
)

// messageV2 configures Remote-Write 2.0.
func messageV2(c *Config) { c.ProtobufMessage = MessageV2 }

// recorder is a receiver that remembers the requests, in the order of their arrival.
type recorder struct {
	rwtest.Receiver
	mu       sync.Mutex
	requests []rwtest.Request
}

// record returns a recorder that answers as the script says; nil is success.
func record(script func(rwtest.Request) rwtest.Answer) *recorder {
	r := &recorder{}
	r.Script = func(q rwtest.Request) rwtest.Answer {
		r.mu.Lock()
		r.requests = append(r.requests, q)
		r.mu.Unlock()
		if script == nil {
			return rwtest.Answer{}
		}
		return script(q)
	}
	return r
}

// versions are those of the requests, one after the other.
func (r *recorder) versions() []int {
	var versions []int
	for _, q := range r.requests {
		versions = append(versions, q.Version)
	}
	return versions
}

// mixed makes a payload of one point for each of some gauges and some native histograms.
func mixed(ts time.Time, gauges, histograms int) pmetric.Metrics {
	md := gauge(ts, gauges)
	m := md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().AppendEmpty()
	exponentialOf("native")(m)
	for i := range histograms {
		dp := m.ExponentialHistogram().DataPoints().AppendEmpty()
		exponential(3, 1, []uint64{1, 2, 3}, with("series", i), exampled(1.5, withTrace))(dp)
		dp.SetTimestamp(pcommon.NewTimestampFromTime(ts))
		dp.SetStartTimestamp(pcommon.NewTimestampFromTime(ts.Add(-time.Hour)))
		dp.Exemplars().At(0).SetTimestamp(pcommon.NewTimestampFromTime(ts.Add(-time.Second)))
	}
	return md
}

// withTrace gives an exemplar a trace and a span.
func withTrace(e pmetric.Exemplar) {
	e.SetTraceID(pcommon.TraceID{15: 1})
	e.SetSpanID(pcommon.SpanID{7: 2})
}

// filtered gives an exemplar attributes.
func filtered(keysAndValues ...any) func(pmetric.Exemplar) {
	return func(e pmetric.Exemplar) { putAll(e.FilteredAttributes(), keysAndValues) }
}

// everything makes a payload of all types of metrics, with a start, exemplars and a resource.
func everything(ts time.Time) pmetric.Metrics {
	bounds, counts := []float64{0.5, 1}, []uint64{2, 3, 4}
	md := metricsOf([]any{"service.name", "shop", "service.instance.id", "a", "host.name", "h"},
		withUnit("Cel", gaugeOf("room.temperature", number(21.5, with("room", "hall")))),
		sumOf("queue.length", false, number(7, with("room", "hall"))),
		withUnit("s", sumOf("cpu.time", true, number(12.5, with("room", "hall"), exampled(1, withTrace)))),
		withUnit("By", histogramOf("request.size", buckets(bounds, counts, with("room", "hall"), exampled(0.7, withTrace), exampled(9, withTrace)))),
		exponentialOf("request.time", exponential(0, 2, counts, with("room", "hall"), exampled(5, withTrace))),
		summaryOf("gc.pause", quantiles([]float64{0.5, 0.99}, with("room", "hall"))),
	)
	retime(md, ts)
	return md
}

// retime gives all points the time, a start one hour earlier, and descriptions to their metrics.
func retime(md pmetric.Metrics, ts time.Time) {
	at, start := pcommon.NewTimestampFromTime(ts), pcommon.NewTimestampFromTime(ts.Add(-time.Hour))
	number := func(points pmetric.NumberDataPointSlice) {
		for _, dp := range points.All() {
			dp.SetTimestamp(at)
			dp.SetStartTimestamp(start)
		}
	}
	for _, rm := range md.ResourceMetrics().All() {
		for _, sm := range rm.ScopeMetrics().All() {
			for _, m := range sm.Metrics().All() {
				m.SetDescription("About " + m.Name() + ".")
				switch m.Type() {
				case pmetric.MetricTypeGauge:
					number(m.Gauge().DataPoints())
				case pmetric.MetricTypeSum:
					number(m.Sum().DataPoints())
				case pmetric.MetricTypeHistogram:
					for _, dp := range m.Histogram().DataPoints().All() {
						dp.SetTimestamp(at)
						dp.SetStartTimestamp(start)
					}
				case pmetric.MetricTypeExponentialHistogram:
					for _, dp := range m.ExponentialHistogram().DataPoints().All() {
						dp.SetTimestamp(at)
						dp.SetStartTimestamp(start)
					}
				case pmetric.MetricTypeSummary:
					for _, dp := range m.Summary().DataPoints().All() {
						dp.SetTimestamp(at)
						dp.SetStartTimestamp(start)
					}
				}
			}
		}
	}
}

// samplesOfEverything is what everything becomes: a gauge, two sums, 3 buckets with sum and count, a native histogram, two
// quantiles with sum and count, and target_info.
const samplesOfEverything = 1 + 2 + 5 + 1 + 4 + 1

func TestTooLargeV2IsSplit(t *testing.T) {
	for _, most := range []int{100, 3, 1, 0} {
		t.Run(fmt.Sprintf("at most %d", most), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := record(func(q rwtest.Request) rwtest.Answer {
					if q.Samples() > most {
						return rwtest.Answer{Status: http.StatusRequestEntityTooLarge}
					}
					return rwtest.Answer{}
				})
				h := newHarness(t, r, onePartition, messageV2)
				const each = 20
				for i := range 3 {
					h.consume(mixed(time.Now().Add(time.Duration(i)*time.Second), each/2, each/2))
				}
				time.Sleep(time.Minute)
				h.shutdown()
				if most == 0 {
					assert.Equal(t, map[string]int64{"too_large 413": 3 * each}, h.dropped())
				} else {
					assert.Equal(t, int64(3*each), h.delivered())
					assert.Empty(t, h.dropped())
				}
				assert.Empty(t, r.Problems(), "each part has a symbol table of its own")
				assert.NotContains(t, r.versions(), 1)
			})
		})
	}
}

// TestIsolationOfV2 splits the requests of an endpoint that refuses without saying what it has written. The endpoint has
// shown before that it reads 2.0.
func TestIsolationOfV2(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := record(func(q rwtest.Request) rwtest.Answer {
			for _, key := range q.Series {
				if strings.Contains(key, `series="13"`) {
					return rwtest.Answer{Status: 400, Body: "bad series"}
				}
			}
			return rwtest.Answer{}
		})
		h := newHarness(t, r, onePartition, messageV2, func(c *Config) { c.OnError.Rejected = OnRejectedIsolate })
		h.consume(mixed(time.Now(), 5, 5))
		time.Sleep(time.Minute)
		h.consume(mixed(time.Now(), 100, 100))
		time.Sleep(time.Minute)
		h.shutdown()
		assert.Equal(t, map[string]int64{"rejected 400": 2}, h.dropped())
		assert.Equal(t, int64(10+198), h.delivered())
		assert.Equal(t, int64(r.ConfirmedSamples()), h.delivered())
		assert.Empty(t, r.Problems())
		assert.NotContains(t, r.versions(), 1)
		assert.Less(t, len(r.requests), 40)
	})
}

// TestGuardOfV2 has samples that are taken out of messages that are encoded already, from the open one and from full
// ones. The symbols that only they have used must go too, which the receiver checks.
func TestGuardOfV2(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := record(nil)
		h := newHarness(t, r, onePartition, messageV2, func(c *Config) {
			c.OutOfOrder = OutOfOrderDrop
			c.Batch.MaxSamples = 25
		})
		start := time.Now()
		h.consume(mixed(start, 30, 30))
		h.consume(mixed(start, 2, 3))                     // all of them duplicates
		h.consume(mixed(start.Add(-time.Second), 30, 30)) // all of them old
		late := mixed(start, 10, 10)
		mixed(start.Add(time.Second), 40, 40).ResourceMetrics().MoveAndAppendTo(late.ResourceMetrics())
		h.consume(late) // a mixture, in which each series comes twice
		time.Sleep(time.Minute)
		h.shutdown()
		assert.Equal(t, map[string]int64{"duplicate": 5 + 20, "out_of_order": 60}, h.dropped())
		assert.Equal(t, int64(60+80), h.delivered())
		assert.Equal(t, int64(r.ConfirmedSamples()), h.delivered())
		assert.Empty(t, r.Problems())
	})
}

// TestMaxAgeOfV2 takes what has become too old out of a batch that waits for a retry.
func TestMaxAgeOfV2(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		r := record(func(rwtest.Request) rwtest.Answer {
			if time.Since(start) < 5*time.Minute {
				return rwtest.Answer{Status: 503}
			}
			return rwtest.Answer{}
		})
		h := newHarness(t, r, onePartition, messageV2, func(c *Config) {
			c.Retry.BackOff.MaxElapsedTime = 0
			c.Queue.MaxAge = 10 * time.Minute
		})
		md := mixed(start.Add(-8*time.Minute), 3, 4)
		md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0).SetName("old")
		mixed(start, 5, 6).ResourceMetrics().MoveAndAppendTo(md.ResourceMetrics())
		h.consume(md)
		time.Sleep(10 * time.Minute)
		h.shutdown()
		assert.Equal(t, map[string]int64{"too_old": 7}, h.dropped())
		assert.Equal(t, int64(11), h.delivered())
		assert.Empty(t, r.Problems())
		assert.NotContains(t, r.versions(), 1)
	})
}

// TestSizeLimitCountsSymbols fills requests with long strings of all sorts that nothing else has.
func TestSizeLimitCountsSymbols(t *testing.T) {
	const limit = minBatchSize
	unique := 0
	long := func(n int) string {
		unique++
		return fmt.Sprintf("%06d", unique) + strings.Repeat("x", n)
	}
	for name, payload := range map[string]func(m pmetric.Metric){
		"values": func(m pmetric.Metric) { gaugeOf("a", number(1, with("a", long(300), "b", long(5))))(m) },
		"names":  func(m pmetric.Metric) { gaugeOf("a", number(1, with("a"+long(300), "v")))(m) },
		"help":   func(m pmetric.Metric) { gaugeOf("a"+long(1), number(1))(m); m.SetDescription(long(900)) },
		"units":  func(m pmetric.Metric) { withUnit(long(900), gaugeOf("a"+long(1), number(1)))(m) },
		"exemplars": func(m pmetric.Metric) {
			sumOf("a"+long(1), true, number(1, exampled(1, filtered("k"+long(20), long(20)))))(m)
		},
		"short strings": func(m pmetric.Metric) {
			var points []func(pmetric.NumberDataPoint)
			for range 20 {
				points = append(points, number(1, with("a", unique, "b", -unique, "c", unique%7, "d", long(0))))
			}
			gaugeOf("a", points...)(m)
		},
		// Alone, the references are of one byte each; together with other strings, of two.
		"few strings that are used a lot": func(m pmetric.Metric) {
			var strs []string
			for range 30 {
				strs = append(strs, long(0))
			}
			var points []func(pmetric.NumberDataPoint)
			for i := range 40 {
				labels := []any{"i", i}
				for j, name := range strs {
					labels = append(labels, name, strs[(i+j)%len(strs)])
				}
				points = append(points, number(1, with(labels...)))
			}
			gaugeOf("a", points...)(m)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := record(nil)
				h := newHarness(t, r, onePartition, messageV2, func(c *Config) {
					c.Batch.MaxSizeBytes = limit
					c.Batch.MaxSamples = 1 << 20
				})
				samples := 0
				for _, metrics := range []int{200, 1, 1, 7, 60, 1, 1, 1, 1, 1, 1, 1} {
					md := metricsOf(nil)
					for range metrics {
						payload(md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().AppendEmpty())
					}
					samples += md.DataPointCount()
					retime(md, time.Now())
					h.consume(md)
				}
				h.shutdown()
				assert.Equal(t, int64(samples), h.delivered())
				assert.Empty(t, r.Problems())
				largest := 0
				for _, q := range r.requests {
					largest = max(largest, len(block.Decompress(q.Body)))
				}
				assert.LessOrEqual(t, largest, limit)
				assert.Greater(t, largest, limit/2, "requests are filled")
			})
		})
	}
}

// TestSeriesThatIsTooLargeTravelsAlone in 2.0 too.
func TestSeriesThatIsTooLargeTravelsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := record(nil)
		h := newHarness(t, r, onePartition, messageV2, func(c *Config) { c.Batch.MaxSizeBytes = minBatchSize })
		huge := strings.Repeat("x", 2*minBatchSize)
		h.consume(metricsOf(nil, gaugeOf("a", number(1)), gaugeOf("b", number(1, with("x", huge))), gaugeOf("c", number(1))))
		time.Sleep(time.Minute)
		h.shutdown()
		assert.Equal(t, int64(3), h.delivered())
		assert.Empty(t, r.Problems())
		var samples []int
		for _, q := range r.requests {
			samples = append(samples, q.Samples())
		}
		assert.Equal(t, []int{1, 1, 1}, samples)
	})
}

// TestBothMessagesSayTheSame translates payloads to 1.0 and to 2.0: series, values, times and exemplars must be the same,
// and what 2.0 has besides must not keep a 2.0 message from being turned into that of 1.0, byte by byte.
func TestBothMessagesSayTheSame(t *testing.T) {
	defer func(siblings, symbols int) { minSiblings, mostSymbols = siblings, symbols }(minSiblings, mostSymbols)
	minSiblings = 3
	first := seed(t)
	for i := range uint64(60) {
		mostSymbols = 20 << (i % 10)
		cfg := variedConfig(first + i)
		if !cfg.TranslationStrategy.ShouldEscape() {
			cfg.TranslationStrategy = otlptranslator.UnderscoreEscapingWithSuffixes
		}
		cfg.ConvertExplicitHistogramsToNHCB, cfg.KeepClassicHistograms = false, false
		cfg.Batch = BatchConfig{MaxSamples: 1 << 20, MaxSizeBytes: 1 << 30}
		of := make(map[wire.Protocol]*translator)
		for _, p := range []wire.Protocol{wire.V1, wire.V2} {
			of[p] = newTranslator(testTranslation(cfg), newBoundMemory(time.Hour), nil)
		}
		ordinary := rwtest.Payloads{Seed: first + i, Streams: 40, Points: 9}.Split()[0]
		for j := range uint64(60) {
			md, more := ordinary.Next()
			if j%2 == 0 || !more {
				md = hostilePayload(first + i*60 + j)
			}
			v1, v2 := of[wire.V1], of[wire.V2]
			require.NoError(t, v1.translate(t.Context(), md, wire.V1))
			require.NoError(t, v2.translate(t.Context(), md, wire.V2))
			require.Equal(t, v1.touched, v2.touched)
			assert.Equal(t, renderedDrops(&v1.drops), renderedDrops(&v2.drops))
			for _, touched := range v1.touched {
				want, from := &v1.segments[touched], &v2.segments[touched]
				r := request{tally: talliesOf(from), protocol: wire.V2, body: bodyOf(from), shares: []int{talliesOf(from).Samples}}
				all, sent, message := talliesOf(want), tally{}, []byte(nil)
				for most := int64(400 << (j % 20)); !r.Empty(); {
					got, unfit, later := r.asV1(most)
					assert.True(t, unfit.Empty(), "1.0 can carry everything")
					assert.True(t, got.Samples == 1 || got.size() <= most, "%d samples of %d bytes", got.Samples, got.size())
					sent.add(&got.tally)
					message = append(message, block.Decompress(got.body)...)
					r = later
				}
				all.Exemplars, sent.Exemplars = 0, 0 // nobody counts those of 1.0 that is taken apart
				assert.Equal(t, all, sent)
				assert.True(t, bytes.Equal(block.Decompress(bodyOf(want)), message), "the messages as 1.0")
			}
			v1.reset()
			v2.reset()
			if t.Failed() {
				t.Fatalf("configuration %d, payload %d", first+i, first+i*60+j)
			}
		}
	}
}

// renderedDrops is the number of drops and their example, by reason.
func renderedDrops(d *account.Drops) map[string]string {
	rendered := make(map[string]string)
	for r := range d {
		if d[r].Count == 0 && d[r].Example == nil {
			continue
		}
		example := ""
		if d[r].Example != nil {
			example = d[r].Example()
		}
		rendered[account.Reason(r).String()] = fmt.Sprint(d[r].Count, " ", example)
	}
	return rendered
}

// TestCustomBuckets compares histograms with custom buckets with what Prometheus accepts as such, and with the counts that
// went in.
func TestCustomBuckets(t *testing.T) {
	s := seed(t)
	rnd := rand.New(rand.NewPCG(s, 0))
	cfg := configOf(func(c *Config) {
		c.ProtobufMessage, c.ConvertExplicitHistogramsToNHCB, c.Partitions = MessageV2, true, 1
	})
	tr := newTranslator(testTranslation(cfg), newBoundMemory(time.Hour), nil)
	for range 3000 {
		bounds := make([]float64, rnd.IntN(20))
		for i := range bounds {
			bounds[i] = float64(i-3) + rnd.Float64()
		}
		counts := make([]uint64, len(bounds)+1)
		for i := range counts {
			if rnd.IntN(3) > 0 {
				counts[i] = uint64(rnd.IntN(10)) << rnd.IntN(40)
			}
		}
		require.NoError(t, tr.translate(t.Context(), metricsOf(nil, histogramOf("h", buckets(bounds, counts, with("le", "an attribute")))), wire.V2))
		body := bodyOf(&tr.segments[0])
		tr.reset()
		message, err := rwtest.ValidateV2(body)
		require.NoError(t, err)
		require.Len(t, message.Timeseries, 1)
		require.Len(t, message.Timeseries[0].Histograms, 1)
		h := message.Timeseries[0].Histograms[0].ToIntHistogram()
		require.NoError(t, h.Validate())
		assert.Equal(t, len(bounds), len(h.CustomValues))
		if len(bounds) > 0 {
			assert.Equal(t, bounds, h.CustomValues)
		}
		assert.InDelta(t, 100, h.Sum, 0)
		got := make([]uint64, len(counts))
		for it := h.PositiveBucketIterator(); it.Next(); {
			b := it.At()
			got[b.Index] = b.Count
		}
		assert.Equal(t, counts, got)
		if t.Failed() {
			t.FailNow()
		}
	}
}

// TestCustomBucketsAtTheirEdges are the histograms that the loop above does not make.
func TestCustomBucketsAtTheirEdges(t *testing.T) {
	native := func(md pmetric.Metrics, keep bool) (converted []*histogram.Histogram, message *writev2.Request, drops map[account.Reason]int) {
		cfg := configOf(func(c *Config) {
			c.ProtobufMessage, c.ConvertExplicitHistogramsToNHCB, c.KeepClassicHistograms, c.Partitions = MessageV2, true, keep, 1
		})
		tr := newTranslator(testTranslation(cfg), newBoundMemory(time.Hour), nil)
		require.NoError(t, tr.translate(t.Context(), md, wire.V2))
		drops = make(map[account.Reason]int)
		for r := range tr.drops {
			if n := tr.drops[r].Count; n > 0 {
				drops[account.Reason(r)] = n
			}
		}
		if tr.segments[0].empty() {
			return nil, nil, drops
		}
		message, err := rwtest.ValidateV2(bodyOf(&tr.segments[0]))
		require.NoError(t, err)
		for i := range message.Timeseries {
			for j := range message.Timeseries[i].Histograms {
				h := message.Timeseries[i].Histograms[j].ToIntHistogram()
				assert.NoError(t, h.Validate())
				converted = append(converted, h)
			}
		}
		return converted, message, drops
	}
	bounds, counts := []float64{1, 2}, []uint64{1, 0, 3}

	t.Run("classic series are kept if asked for", func(t *testing.T) {
		for keep, series := range map[bool]int{false: 1, true: 1 + 5} {
			h, message, _ := native(metricsOf(nil, histogramOf("h", buckets(bounds, counts))), keep)
			assert.Len(t, h, 1)
			assert.Len(t, message.Timeseries, series)
		}
	})
	t.Run("a stale histogram ends the series", func(t *testing.T) {
		for keep, series := range map[bool]int{false: 1, true: 1 + 5} {
			h, message, _ := native(metricsOf(nil, histogramOf("h", buckets(bounds, counts, noRecordedValue))), keep)
			require.Len(t, h, 1)
			assert.Equal(t, "stale", floatString(h[0].Sum))
			assert.Len(t, message.Timeseries, series)
			for _, ts := range message.Timeseries {
				for _, s := range ts.Samples {
					assert.Equal(t, "stale", floatString(s.Value))
				}
			}
		}
	})
	t.Run("a bound of +Inf is that of every histogram", func(t *testing.T) {
		h, _, _ := native(metricsOf(nil, histogramOf("h", buckets([]float64{1, math.Inf(1)}, []uint64{1, 2, 0}))), false)
		require.Len(t, h, 1)
		assert.Equal(t, []float64{1}, h[0].CustomValues)
		assert.Equal(t, uint64(3), h[0].Count)
	})
	t.Run("without buckets there is one", func(t *testing.T) {
		h, _, _ := native(metricsOf(nil, histogramOf("h", func(dp pmetric.HistogramDataPoint) {
			dp.SetTimestamp(1e9)
			dp.SetCount(7)
			dp.SetSum(1)
		})), false)
		require.Len(t, h, 1)
		assert.Empty(t, h[0].CustomValues)
		assert.Equal(t, []int64{7}, h[0].PositiveBuckets)
	})
	t.Run("what Prometheus would refuse is dropped", func(t *testing.T) {
		broken := func(edit func(pmetric.HistogramDataPoint)) pmetric.Metrics {
			return metricsOf(nil, histogramOf("h", buckets(bounds, counts, func(p dataPoint) { edit(p.(pmetric.HistogramDataPoint)) })))
		}
		for _, md := range []pmetric.Metrics{
			broken(func(dp pmetric.HistogramDataPoint) { dp.BucketCounts().SetAt(0, 1<<63) }),
			broken(func(dp pmetric.HistogramDataPoint) { dp.ExplicitBounds().SetAt(0, 2) }),
		} {
			h, _, drops := native(md, false)
			assert.Empty(t, h)
			assert.Equal(t, map[account.Reason]int{account.ReasonInvalidHistogram: 1}, drops)
		}
	})
	t.Run("exemplars travel with it", func(t *testing.T) {
		_, message, _ := native(metricsOf(nil, histogramOf("h", buckets(bounds, counts, exampled(0.5, withTrace), exampled(3, withTrace)))), false)
		assert.Len(t, message.Timeseries[0].Exemplars, 2)
	})
}

// TestSymbolsOfARequest are as few as can be, whatever was merged to it: each request is checked by the receiver. Here it is
// that payloads share what they have in common.
func TestSymbolsOfARequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := record(nil)
		h := newHarness(t, r, onePartition, messageV2)
		for i := range 20 {
			h.consume(everything(time.Now().Add(time.Duration(i) * time.Millisecond)))
		}
		time.Sleep(time.Minute)
		h.shutdown()
		require.Len(t, r.requests, 1)
		assert.Equal(t, 20*samplesOfEverything, r.requests[0].Samples())
		first := len(r.requests[0].MessageV2.Symbols)
		assert.Less(t, first, 70, "%q", r.requests[0].MessageV2.Symbols)
		assert.Empty(t, r.Problems())
		assert.True(t, slices.IsSorted(r.versions()))
	})
}

func namesOf(labels []prompb.Label) []string {
	var names []string
	for _, l := range labels {
		names = append(names, l.Name)
	}
	return names
}
