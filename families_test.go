// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/prometheus/prompb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.uber.org/zap"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
)

func sendMetadata(c *Config) { c.SendMetadata = true }

// metadataRequests are the requests with metadata, by family.
func (r *recorder) metadataRequests() []map[string]prompb.MetricMetadata {
	r.mu.Lock()
	defer r.mu.Unlock()
	var requests []map[string]prompb.MetricMetadata
	for _, q := range r.requests {
		if len(q.Message.Metadata) == 0 {
			continue
		}
		families := make(map[string]prompb.MetricMetadata)
		for _, m := range q.Message.Metadata {
			families[m.MetricFamilyName] = m
		}
		requests = append(requests, families)
	}
	return requests
}

// TestSendMetadata is what is sent of all types of metrics: once in an interval, whatever the number of payloads.
func TestSendMetadata(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := record(nil)
		h := newHarness(t, r, sendMetadata)
		for range 90 {
			h.consume(everything(time.Now()))
			time.Sleep(time.Second)
		}
		requests := r.metadataRequests()
		require.Len(t, requests, 1, "an interval has passed once")
		of := func(typ prompb.MetricMetadata_MetricType, family, help, unit string) prompb.MetricMetadata {
			return prompb.MetricMetadata{Type: typ, MetricFamilyName: family, Help: help, Unit: unit}
		}
		want := make(map[string]prompb.MetricMetadata)
		for _, m := range []prompb.MetricMetadata{
			of(prompb.MetricMetadata_GAUGE, "room_temperature_celsius", "About room.temperature.", "celsius"),
			of(prompb.MetricMetadata_GAUGE, "queue_length", "About queue.length.", ""),
			of(prompb.MetricMetadata_COUNTER, "cpu_time_seconds_total", "About cpu.time.", "seconds"),
			of(prompb.MetricMetadata_HISTOGRAM, "request_size_bytes", "About request.size.", "bytes"),
			of(prompb.MetricMetadata_HISTOGRAM, "request_time", "About request.time.", ""),
			of(prompb.MetricMetadata_SUMMARY, "gc_pause", "About gc.pause.", ""),
		} {
			want[m.MetricFamilyName] = m
		}
		assert.Equal(t, want, requests[0])
		time.Sleep(time.Minute)
		assert.Len(t, r.metadataRequests(), 2, "there was data after the first interval")
		time.Sleep(time.Hour)
		assert.Len(t, r.metadataRequests(), 2, "without data there is no metadata")
		h.shutdown()
		assert.Equal(t, int64(90*samplesOfEverything), h.delivered(), "metadata is no sample")
		assert.Equal(t, []int{1}, slices.Compact(r.versions()))
		for _, q := range r.requests {
			assert.NotEqual(t, len(q.Message.Metadata) > 0, len(q.Message.Timeseries) > 0, "metadata has requests of its own")
		}
		assert.Empty(t, r.Problems())
	})
}

// TestSendMetadataIsOff by default.
func TestSendMetadataIsOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := record(nil)
		h := newHarness(t, r)
		h.consume(everything(time.Now()))
		time.Sleep(time.Hour)
		h.shutdown()
		assert.Empty(t, r.metadataRequests())
	})
}

// TestRule16SendMetadata: 1.0 says of gauges that Prometheus has other types for what 2.0 says.
func TestRule16SendMetadata(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := record(nil)
		h := newHarness(t, r, sendMetadata)
		var all metrics
		for _, typ := range []string{"unknown", "info", "stateset"} {
			all = append(all, func(m pmetric.Metric) { gaugeOf(typ, number(1))(withHint(m, typ)) })
		}
		md := metricsOf(nil, all...)
		retime(md, time.Now())
		h.consume(md)
		time.Sleep(2 * time.Minute)
		h.shutdown()
		requests := r.metadataRequests()
		require.Len(t, requests, 1)
		assert.Len(t, requests[0], len(all))
		assert.Equal(t, prompb.MetricMetadata_UNKNOWN, requests[0]["unknown"].Type)
		assert.Equal(t, prompb.MetricMetadata_INFO, requests[0]["info"].Type)
		assert.Equal(t, prompb.MetricMetadata_STATESET, requests[0]["stateset"].Type)
		assert.Empty(t, r.Problems())
	})
}

// TestSendMetadataOfTheLatest has metadata that change.
func TestSendMetadataOfTheLatest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := record(nil)
		h := newHarness(t, r, sendMetadata, func(c *Config) { c.MetadataInterval = 10 * time.Second })
		for i := range 3 {
			md := everything(time.Now())
			for _, m := range md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().All() {
				m.SetDescription(fmt.Sprintf("Version %d\xff.", i))
			}
			h.consume(md)
			time.Sleep(time.Second)
		}
		time.Sleep(time.Minute)
		h.shutdown()
		requests := r.metadataRequests()
		require.Len(t, requests, 1)
		for _, m := range requests[0] {
			assert.Equal(t, "Version 2\uFFFD.", m.Help)
		}
		assert.Empty(t, r.Problems())
	})
}

// TestSendMetadataInParts has more families than a request may have samples.
func TestSendMetadataInParts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const families, most = 25, 10
		r := record(nil)
		h := newHarness(t, r, sendMetadata, func(c *Config) { c.Batch.MaxSamples = most })
		var metrics []func(pmetric.Metric)
		for i := range families {
			metrics = append(metrics, gaugeOf(fmt.Sprintf("family_%d", i), number(1)))
		}
		md := metricsOf(nil, metrics...)
		retime(md, time.Now())
		h.consume(md)
		time.Sleep(2 * time.Minute)
		h.shutdown()
		all := make(map[string]prompb.MetricMetadata)
		for _, families := range r.metadataRequests() {
			assert.LessOrEqual(t, len(families), most)
			maps.Copy(all, families)
		}
		assert.Len(t, r.metadataRequests(), 3)
		assert.Len(t, all, families)
	})
}

// TestSendMetadataIsNoSample: what the endpoint thinks of metadata drops and stops nothing. It is sent again when the next interval
// has passed.
func TestSendMetadataIsNoSample(t *testing.T) {
	for _, answer := range []rwtest.Answer{{Status: 400, Body: "no metadata, please"}, {Status: 403}, {Status: 503}, {Fault: rwtest.Reset}, {Fault: rwtest.Hang}} {
		t.Run(fmt.Sprintf("%d %d", answer.Status, answer.Fault), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := record(func(q rwtest.Request) rwtest.Answer {
					if len(q.Message.Metadata) > 0 {
						return answer
					}
					return rwtest.Answer{}
				})
				h := newHarness(t, r, sendMetadata, func(c *Config) { c.HTTP.Timeout = 5 * time.Second })
				time.Sleep(time.Second)
				for range 4 {
					h.consume(everything(time.Now()))
					time.Sleep(time.Minute)
				}
				h.shutdown()
				assert.Equal(t, int64(4*samplesOfEverything), h.delivered())
				assert.Empty(t, h.dropped())
				assert.Len(t, r.metadataRequests(), 4, "not retried before the next interval")
				assert.Empty(t, h.host.statuses())
				lines := h.logs.FilterMessage("Sending metadata failed. What samples still come for will be sent after metadata_interval.").All()
				require.NotEmpty(t, lines)
				assert.Equal(t, int64(6), lines[0].ContextMap()["families"])
				if answer.Body != "" {
					assert.Contains(t, lines[0].ContextMap()["answer"], answer.Body)
				}
			})
		})
	}
}

// TestSendMetadataEndsWithTheExporter in the middle of a request that is not answered.
func TestSendMetadataEndsWithTheExporter(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := record(func(q rwtest.Request) rwtest.Answer {
			if len(q.Message.Metadata) > 0 {
				return rwtest.Answer{Fault: rwtest.Hang}
			}
			return rwtest.Answer{Status: http.StatusOK}
		})
		h := newHarness(t, r, sendMetadata, func(c *Config) { c.HTTP.Timeout = time.Hour })
		h.consume(everything(time.Now()))
		time.Sleep(2 * time.Minute)
		start := time.Now()
		h.shutdown()
		assert.Zero(t, time.Since(start))
		assert.Equal(t, int64(samplesOfEverything), h.delivered())
	})
}

// TestLongHelpHarmsNoOtherFamily: a request with metadata has the size of a request with samples at the most, so that a client with
// long descriptions does not make the endpoint refuse those of all others.
func TestLongHelpHarmsNoOtherFamily(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := record(nil)
		h := newHarness(t, r, sendMetadata, func(c *Config) { c.Batch.MaxSizeBytes = minBatchSize })
		var all metrics
		lengths := []int{10, 7000, 7000, 7000, 50_000, 20, 30}
		for i := range lengths {
			all = append(all, gaugeOf(fmt.Sprintf("family_%d", i), number(1)))
		}
		md := metricsOf(nil, all...)
		retime(md, time.Now())
		for i, m := range md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().All() {
			m.SetDescription(strings.Repeat("d", lengths[i]))
		}
		h.consume(md)
		time.Sleep(2 * time.Minute)
		h.shutdown()
		families := 0
		for _, q := range r.requests {
			families += len(q.Message.Metadata)
			if len(q.Message.Metadata) > 1 {
				assert.LessOrEqual(t, q.Message.Size(), minBatchSize)
			}
		}
		assert.Equal(t, 7, families)
	})
}

// TestMetadataThatMustWait: if the endpoint answers metadata with the wish to wait, everybody does, the rest of the metadata included.
// What was not sent goes with the next round.
func TestMetadataThatMustWait(t *testing.T) {
	for _, status := range []int{429, 503} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var mu sync.Mutex
				var refused time.Time
				early := 0
				r := record(func(q rwtest.Request) rwtest.Answer {
					mu.Lock()
					defer mu.Unlock()
					switch {
					case !refused.IsZero() && time.Since(refused) < 50*time.Second:
						early++
					case refused.IsZero() && len(q.Message.Metadata) > 0:
						refused = time.Now()
						return rwtest.Answer{Status: status, Header: http.Header{"Retry-After": {"50"}}}
					}
					return rwtest.Answer{}
				})
				h := newHarness(t, r, sendMetadata, func(c *Config) { c.Batch.MaxSamples = 2 })
				h.consume(everything(time.Now()))
				time.Sleep(90 * time.Second)
				requests := r.metadataRequests()
				require.Len(t, requests, 1, "one of the three parts")
				h.consume(gauge(time.Now(), 10))
				time.Sleep(time.Hour)
				h.shutdown()
				assert.Zero(t, early, "requests while the endpoint asked to wait")
				sent := make(map[string]prompb.MetricMetadata)
				for _, part := range r.metadataRequests()[1:] {
					maps.Copy(sent, part)
				}
				for family := range requests[0] {
					assert.NotContains(t, sent, family, "no samples came for it any more")
				}
				delete(sent, "gauge")
				assert.Len(t, sent, 4)
				assert.Empty(t, h.dropped())
				assert.Empty(t, r.Problems())
			})
		})
	}
}

// TestRefusedMetadataInTheLogAddsUp: each family that was not taken is in one line.
func TestRefusedMetadataInTheLogAddsUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := record(func(q rwtest.Request) rwtest.Answer {
			if len(q.Message.Metadata) > 0 {
				return rwtest.Answer{Status: 400}
			}
			return rwtest.Answer{}
		})
		h := newHarness(t, r, sendMetadata, func(c *Config) { c.Batch.MaxSamples, c.MetadataInterval = 1, 3*time.Second })
		time.Sleep(time.Second)
		for range 10 {
			h.consume(everything(time.Now()))
			time.Sleep(3 * time.Second)
		}
		h.shutdown()
		told := int64(0)
		for _, line := range h.logs.FilterLevelExact(zap.WarnLevel).All() {
			require.Contains(t, line.Message, "Sending metadata failed.")
			fields := line.ContextMap()
			told += fields["families_since_last_line"].(int64)
			if n, ok := fields["families"]; ok {
				told += n.(int64)
			}
		}
		assert.Equal(t, int64(len(r.metadataRequests())), told)
		assert.Equal(t, int64(10*6), told)
	})
}
