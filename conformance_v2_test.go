// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

func TestConformanceV2Samples(t *testing.T) {
	requests := captured(t, messageV2)
	t.Run("samples MUST be sent in timestamp order", func(t *testing.T) {
		newest := make(map[string]int64)
		eachSeries(requests, func(s *capturedSeries) {
			timestamps, _, _ := s.points()
			key := fmt.Sprint(s.labels)
			for _, ts := range timestamps {
				assert.Greater(t, ts, newest[key], "%s", key)
				newest[key] = ts
			}
		})
	})
	t.Run("MAY send requests for different series in parallel", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := record(func(rwtest.Request) rwtest.Answer { return rwtest.Answer{Latency: time.Second} })
			h := newHarness(t, r, messageV2)
			h.consume(mixed(time.Now(), 100, 100))
			h.shutdown()
			assert.Equal(t, 2, r.MaxParallel(), "no request takes more than half of the partitions")
			assert.Empty(t, r.Problems())
		})
	})
	t.Run("start timestamps SHOULD be provided for types that follow counter semantics", func(t *testing.T) {
		eachSeries(requests, func(s *capturedSeries) {
			timestamps, starts, values := s.points()
			for i, start := range starts {
				counts := s.Metadata.Type != writev2.Metadata_METRIC_TYPE_GAUGE
				if strings.HasPrefix(s.name, "rwtest_") || math.Float64bits(values[i]) == 0x7ff0000000000002 {
					continue // they have other starts
				}
				if counts {
					assert.Equal(t, timestamps[i]-time.Hour.Milliseconds(), start, s.name)
				} else {
					assert.Zero(t, start, s.name)
				}
			}
		})
	})
	t.Run("0 MUST be an unset start timestamp", func(t *testing.T) {
		cfg := configOf(func(c *Config) { c.Partitions = 1 })
		for start, want := range map[pcommon.Timestamp]int64{0: 0, 5_000_000: 5, 3e9: 0} { // 3 s is after the sample
			tr := newTranslator(testTranslation(cfg), newBoundMemory(time.Hour), nil)
			require.NoError(t, tr.translate(t.Context(), metricsOf(nil, sumOf("a", true, number(1, at(2e9), func(p dataPoint) {
				p.(pmetric.NumberDataPoint).SetStartTimestamp(start)
			}))), wire.V2))
			message, err := rwtest.ValidateV2(bodyOf(&tr.segments[0]))
			require.NoError(t, err)
			assert.Equal(t, want, message.Timeseries[0].Samples[0].StartTimestamp)
		}
	})
}

func TestConformanceV2MetadataAndExemplars(t *testing.T) {
	requests := captured(t, messageV2)
	t.Run("metadata SHOULD follow the guidelines for type and help", func(t *testing.T) {
		eachSeries(requests, func(s *capturedSeries) {
			if s.name == "cpu_time_seconds_total" {
				assert.Equal(t, "About cpu.time.", s.metadata.help)
			}
			if strings.HasSuffix(s.name, "_total") {
				assert.Equal(t, writev2.Metadata_METRIC_TYPE_COUNTER, s.Metadata.Type, s.name)
			}
		})
	})
	exemplars := 0
	t.Run("an exemplar MUST contain a value and a timestamp", func(t *testing.T) {
		eachSeries(requests, func(s *capturedSeries) {
			for _, e := range s.Exemplars {
				exemplars++
				assert.NotZero(t, e.Value)
				assert.NotZero(t, e.Timestamp)
			}
		})
		assert.Positive(t, exemplars)
	})
	t.Run("a trace SHOULD use the label trace_id", func(t *testing.T) {
		eachSeries(requests, func(s *capturedSeries) {
			for _, e := range s.Exemplars {
				assert.Contains(t, s.resolve(e.LabelsRefs), [2]string{"trace_id", "00000000000000000000000000000001"})
			}
		})
	})
	t.Run("its labels should be sorted", func(t *testing.T) {
		eachSeries(requests, func(s *capturedSeries) {
			for _, e := range s.Exemplars {
				assert.True(t, slices.IsSortedFunc(s.resolve(e.LabelsRefs), func(a, b [2]string) int { return strings.Compare(a[0], b[0]) }))
			}
		})
	})
}
