// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// largePoints are single points of tens of megabytes, of the kinds that need buffers of their own.
var largePoints = map[string]func(pmetric.Metric){
	"native histogram": func(m pmetric.Metric) {
		counts := make([]uint64, 4<<20)
		for i := range counts {
			counts[i] = uint64(i % 3)
		}
		exponentialOf("a", exponential(0, 0, counts))(m)
	},
	"exemplars": func(m pmetric.Metric) {
		sumOf("a", true, number(1, func(dp dataPoint) {
			for range 1 << 18 {
				exampled(1, withTrace, filtered("a", "b"))(dp)
			}
		}))(m)
	},
}

// TestTranslatorsKeepNoLargeBuffers: what a payload of an unusual kind needs is given back with it, by each of as many translators as
// there are processors.
func TestTranslatorsKeepNoLargeBuffers(t *testing.T) {
	for name, point := range largePoints {
		for _, protocol := range []wire.Protocol{wire.V1, wire.V2} {
			t.Run(name+" as "+protocol.Message(), func(t *testing.T) {
				c := newSmallCaches(4<<20, func(cfg *Config) {
					cfg.ProtobufMessage, cfg.ConvertExplicitHistogramsToNHCB, cfg.MaxLabels = MessageV2, true, 0
				})
				before := heapInUse()
				func() {
					md := metricsOf(nil, point)
					retime(md, time.Now())
					tr := c.pool.take()
					require.NoError(t, tr.translate(t.Context(), md, protocol))
					require.NotEmpty(t, tr.touched)
					c.pool.giveBack(tr)
				}()
				held := heapInUse() - before
				t.Logf("%d bytes", held)
				assert.LessOrEqual(t, held, int64(maxScratch+4<<20))
				runtime.KeepAlive(c)
			})
		}
	}
}
