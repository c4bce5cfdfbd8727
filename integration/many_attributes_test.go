// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	contrib "github.com/open-telemetry/opentelemetry-collector-contrib/pkg/translator/prometheusremotewrite"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/orderedremotewrite/orderedremotewriteexporter/integration/internal/rig"
)

// onePoint is the only point of a payload, or the sum's whose exemplar has the attributes.
func onePoint(md pmetric.Metrics) pmetric.NumberDataPoint {
	m := md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0)
	if m.Type() == pmetric.MetricTypeSum {
		return m.Sum().DataPoints().At(0)
	}
	return m.Gauge().DataPoints().At(0)
}

// The places that can have attributes.
var attributePlaces = map[string]func(pmetric.Metrics) pcommon.Map{
	"point": func(md pmetric.Metrics) pcommon.Map { return onePoint(md).Attributes() },
	"scope": func(md pmetric.Metrics) pcommon.Map {
		return md.ResourceMetrics().At(0).ScopeMetrics().At(0).Scope().Attributes()
	},
	"resource": func(md pmetric.Metrics) pcommon.Map { return md.ResourceMetrics().At(0).Resource().Attributes() },
	"promoted": func(md pmetric.Metrics) pcommon.Map { return md.ResourceMetrics().At(0).Resource().Attributes() },
	"exemplar": func(md pmetric.Metrics) pcommon.Map {
		sum("m", true, number(1.0))(md.ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0))
		exemplar := onePoint(md).Exemplars().AppendEmpty()
		exemplar.SetDoubleValue(1)
		return exemplar.FilteredAttributes()
	},
}

// Keys, and how they become labels.
var attributeKeys = map[string]func(i int) string{
	"": func(i int) string { return fmt.Sprintf("key%06d", i) },
	"one label": func(i int) string {
		return "a" + strings.NewReplacer("0", ".", "1", "-").Replace(fmt.Sprintf("%017b", i)) + "b"
	},
	"pairs of one label": func(i int) string { return fmt.Sprintf("key%06d%c", i/2, "._"[i%2]) },
}

// BenchmarkManyAttributes is payloads of one point with very many attributes, and of half as many: in this exporter up to the
// queue, encoded and compressed, and beside it in contrib's translator, which neither encodes nor compresses. The figures are
// the least CPU time of b.N rounds.
func BenchmarkManyAttributes(b *testing.B) {
	for _, place := range []string{"point", "scope", "resource", "promoted", "exemplar"} {
		for _, keys := range []string{"", "one label", "pairs of one label"} {
			b.Run(strings.TrimSuffix(place+", "+keys, ", "), func(b *testing.B) { manyAttributes(b, place, keys) })
		}
	}
}

func manyAttributes(b *testing.B, place, keys string) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
	defer server.Close()
	config := "{max_labels: 0, protobuf_message: prometheus.WriteRequest}"
	if place == "promoted" {
		config = `{max_labels: 0, protobuf_message: prometheus.WriteRequest, resource_constant_labels: {included: ["*"]}}`
	}
	exporter := rig.Start(b, server.URL, config)
	const most = 80_000
	var payloads, theirs [2]pmetric.Metrics
	for i, n := range []int{most / 2, most} {
		md := payload([]any{"service.name", "shop"}, gauge("m", number(1.0)))
		attributes := map[string]any{"service.name": "shop"}
		for j := range n {
			attributes[attributeKeys[keys](j)] = "value"
		}
		if err := attributePlaces[place](md).FromRaw(attributes); err != nil {
			b.Fatal(err)
		}
		payloads[i], theirs[i] = md, md
		if place == "promoted" {
			// Contrib copies the attributes to the points before it translates.
			theirs[i] = pmetric.NewMetrics()
			md.CopyTo(theirs[i])
			attributePlaces["resource"](md).CopyTo(onePoint(theirs[i]).Attributes())
		}
	}
	here, there := [2]time.Duration{time.Hour, time.Hour}, [2]time.Duration{time.Hour, time.Hour}
	for range b.N {
		// One after the other, so that what else the machine does disturbs all alike.
		for i, md := range payloads {
			here[i] = min(here[i], cpuOf(func() {
				onePoint(md).SetTimestamp(pcommon.NewTimestampFromTime(time.Now()))
				exporter.Send(md)
			}))
			exporter.Settle()
			// It may have an error for what it leaves out.
			there[i] = min(there[i], cpuOf(func() { _, _ = contrib.FromMetrics(theirs[i], contrib.Settings{}) }))
		}
	}
	exporter.Close()
	b.ReportMetric(here[1].Seconds()*1000, "ms")
	b.ReportMetric(there[1].Seconds()*1000, "contrib-ms")
	b.ReportMetric(here[1].Seconds()/here[0].Seconds(), "twice/once")
	b.ReportMetric(there[1].Seconds()/there[0].Seconds(), "contrib-twice/once")
	b.ReportMetric(here[1].Seconds()/there[1].Seconds(), "of-contrib")
	b.ReportMetric(0, "ns/op")
}

// cpuOf is the CPU time that f takes, with its share of the collection of garbage: in a single run there is one or none.
func cpuOf(f func()) time.Duration {
	const runs = 5
	runtime.GC()
	began := cpuTime()
	for range runs {
		f()
	}
	return (cpuTime() - began) / runs
}
