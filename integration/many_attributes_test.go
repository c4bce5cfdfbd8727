// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	contrib "github.com/open-telemetry/opentelemetry-collector-contrib/pkg/translator/prometheusremotewrite"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/orderedremotewrite/orderedremotewriteexporter/integration/internal/rig"
)

// BenchmarkManyAttributes is payloads of one point with very many attributes, and of half as many: in this exporter up to the
// queue, encoded and compressed, and beside it in contrib's translator, which neither encodes nor compresses.
func BenchmarkManyAttributes(b *testing.B) {
	const most = 80_000
	distinct := func(i int) string { return fmt.Sprintf("key%06d", i) }
	// oneLabel is keys that all become the label a_b.
	oneLabel := func(i int) string {
		return "a" + strings.NewReplacer("0", ".", "1", "-").Replace(fmt.Sprintf("%017b", i)) + "b"
	}
	// pairs become one label each two.
	pairs := func(i int) string { return fmt.Sprintf("key%06d%c", i/2, "._"[i%2]) }
	point := func(md pmetric.Metrics) pcommon.Map {
		return md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0).Gauge().DataPoints().At(0).Attributes()
	}
	scope := func(md pmetric.Metrics) pcommon.Map {
		return md.ResourceMetrics().At(0).ScopeMetrics().At(0).Scope().Attributes()
	}
	resource := func(md pmetric.Metrics) pcommon.Map { return md.ResourceMetrics().At(0).Resource().Attributes() }
	for _, c := range []struct {
		name string
		of   func(pmetric.Metrics) pcommon.Map
		key  func(i int) string
	}{
		{"point", point, distinct},
		{"point, one label", point, oneLabel},
		{"point, pairs of one label", point, pairs},
		{"scope", scope, distinct},
		{"scope, one label", scope, oneLabel},
		{"resource", resource, distinct},
	} {
		b.Run(c.name, func(b *testing.B) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
			defer server.Close()
			exporter := rig.Start(b, server.URL, "{max_labels: 0, protobuf_message: prometheus.WriteRequest}")
			var here, there [2]time.Duration
			for i, n := range []int{most / 2, most} {
				md := payload([]any{"service.name", "shop"}, gauge("m", number(1.0)))
				c.of(md).FromRaw(manyAttributes(n, c.key))
				for range b.N {
					points := md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0).Gauge().DataPoints()
					points.At(0).SetTimestamp(pcommon.NewTimestampFromTime(time.Now()))
					began := time.Now()
					exporter.Send(md)
					here[i] += time.Since(began)
					began = time.Now()
					// It may have an error for what it leaves out.
					_, _ = contrib.FromMetrics(md, contrib.Settings{})
					there[i] += time.Since(began)
				}
			}
			exporter.Close()
			report := func(of time.Duration, unit string) { b.ReportMetric(of.Seconds()*1000/float64(b.N), unit) }
			report(here[1], "ms")
			report(there[1], "contrib-ms")
			b.ReportMetric(here[1].Seconds()/here[0].Seconds(), "twice/once")
			b.ReportMetric(there[1].Seconds()/there[0].Seconds(), "contrib-twice/once")
			b.ReportMetric(here[1].Seconds()/there[1].Seconds(), "of-contrib")
		})
	}
}

func manyAttributes(n int, key func(i int) string) map[string]any {
	attributes := make(map[string]any, n+1)
	attributes["service.name"] = "shop"
	for i := range n {
		attributes[key(i)] = "value"
	}
	return attributes
}
