// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// TestDropsAreCountedFromZero for every reason, so that a query sees the first one as an increase; and not twice.
func TestDropsAreCountedFromZero(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHarness(t, answers(400), onePartition)
		counters := func() map[string]int64 {
			m, err := h.telemetry.GetMetric("otelcol_exporter_ordered_remote_write_dropped_samples")
			require.NoError(t, err)
			n := make(map[string]int64)
			for _, dp := range m.Data.(metricdata.Sum[int64]).DataPoints {
				reason, _ := dp.Attributes.Value(attribute.Key(reasonKey))
				status, _ := dp.Attributes.Value(attribute.Key(statusCodeKey))
				key := reason.AsString() + " " + status.String()
				require.NotContains(t, n, key)
				n[key] = dp.Value
			}
			return n
		}
		before := counters()
		seen := make(map[string]bool)
		for key, n := range before {
			assert.Zero(t, n, key)
			for _, reason := range reasons() {
				seen[reason] = seen[reason] || len(key) > len(reason) && key[:len(reason)+1] == reason+" "
			}
		}
		for _, reason := range reasons() {
			assert.True(t, seen[reason], reason)
		}
		require.Contains(t, before, "rejected 400")

		h.consume(gauge(time.Now(), 3))
		time.Sleep(time.Minute)
		require.NoError(t, h.Shutdown(context.Background()))
		after := counters()
		assert.Equal(t, int64(3), after["rejected 400"])
		assert.Len(t, after, len(before))
	})
}
