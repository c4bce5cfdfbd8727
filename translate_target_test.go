// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"testing"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
)

// described is a resource with a target_info.
var described = []any{"service.name", "shop", "service.instance.id", "i-1", "host.name", "h"}

// TestRule05TargetInfo: which resources have a target_info, with which labels and what time.
func TestRule05TargetInfo(t *testing.T) {
	x, xSeries := gaugeOf("x", number(1)), `x{instance="i-1",job="shop"} 1 @1000`
	runTranslations(t, []translationCase{
		{
			name: "a described resource", resource: described, metrics: metrics{x},
			want: []string{xSeries, `target_info{host_name="h",instance="i-1",job="shop"} 1 @1000`},
		},
		{
			name: "instance alone", resource: []any{"service.instance.id", "i-1", "host.name", "h"}, metrics: metrics{x},
			want: []string{`x{instance="i-1"} 1 @1000`, `target_info{host_name="h",instance="i-1"} 1 @1000`},
		},
		{name: "nothing but its identity", resource: described[:4], metrics: metrics{x}, want: []string{xSeries}},
		{
			name: "no identity", resource: []any{"host.name", "h", "service.namespace", "eu"}, metrics: metrics{x},
			want: []string{`x{} 1 @1000`},
		},
		{
			name: "no value, no key", resource: append(described[:4:4], "host.name", "", "empty", nil, "", "v"), metrics: metrics{x},
			want: []string{xSeries},
		},
		{
			name: "disabled", edit: func(c *Config) { c.TargetInfo.Enabled = false }, resource: described, metrics: metrics{x},
			want: []string{xSeries},
		},
		{
			name: "namespace", edit: func(c *Config) { c.Namespace = "ns" }, resource: described, metrics: metrics{x},
			want: []string{"ns_" + xSeries, `ns_target_info{host_name="h",instance="i-1",job="shop"} 1 @1000`},
		},
		{
			name: "the newest time of what is sent", resource: described,
			metrics: metrics{
				gaugeOf("x", number(1, at(1e9)), number(2, at(3e9)), number(3, at(2e9)), number(nil, at(9e9)), number(4, at(0))),
				histogramOf("broken", buckets([]float64{1}, []uint64{1}, at(9e9))),
				exponentialOf("broken", exponential(-5, 0, nil, at(9e9))),
			},
			want: []string{
				`x{instance="i-1",job="shop"} 1 @1000`, `x{instance="i-1",job="shop"} 2 @3000`, `x{instance="i-1",job="shop"} 3 @2000`,
				`target_info{host_name="h",instance="i-1",job="shop"} 1 @3000`,
			},
			drops: map[account.Reason]int{account.ReasonNoValue: 1, account.ReasonNoTimestamp: 1, account.ReasonInvalidHistogram: 1, account.ReasonScale: 1},
		},
		{name: "no points", resource: described},
		{
			name: "nothing is sent", resource: described, metrics: metrics{gaugeOf("x", number(nil))},
			drops: map[account.Reason]int{account.ReasonNoValue: 1},
		},
		{
			name: "job and instance among the attributes", metrics: metrics{x},
			resource: append(described[:4:4], "job", "j", "instance", "i", "le", "1", "quantile", "2", "exported_job", "e"),
			want: []string{
				xSeries, `target_info{exported_exported_job="j",exported_instance="i",exported_job="e",instance="i-1",job="shop",le="1",quantile="2"} 1 @1000`,
			},
		},
		{
			name: "no scope, no promoted attributes, but external labels", resource: described, metrics: metrics{x},
			edit: func(c *Config) {
				c.ResourceConstantLabels.Included = []string{"host.*"}
				c.ExternalLabels = map[string]string{"host_name": "external", "region": "eu"}
			},
			scope: func(sm pmetric.ScopeMetrics) { sm.Scope().SetName("lib") },
			want: []string{
				`x{host_name="h",instance="i-1",job="shop",otel_scope_name="lib",region="eu"} 1 @1000`,
				`target_info{host_name="h",instance="i-1",job="shop",region="eu"} 1 @1000`,
			},
		},
	})
}

// TestRule19IdentifyingAttributes stay in target_info if they are to, which alone does not make one.
func TestRule19IdentifyingAttributes(t *testing.T) {
	x, xSeries := gaugeOf("x", number(1)), `x{instance="i-1",job="eu/shop"} 1 @1000`
	keep := func(c *Config) { c.TargetInfo.KeepIdentifyingResourceAttributes = true }
	identified := []any{"service.namespace", "eu", "service.name", "shop", "service.instance.id", "i-1"}
	runTranslations(t, []translationCase{
		{
			name: "left out", resource: append(identified, "host.name", "h"), metrics: metrics{x},
			want: []string{xSeries, `target_info{host_name="h",instance="i-1",job="eu/shop"} 1 @1000`},
		},
		{
			name: "kept", edit: keep, resource: append(identified, "host.name", "h", "service.id", "s"), metrics: metrics{x},
			want: []string{
				xSeries,
				`target_info{host_name="h",instance="i-1",job="eu/shop",service_id="s",service_instance_id="i-1",service_name="shop",service_namespace="eu"} 1 @1000`,
			},
		},
		{name: "nothing else", edit: keep, resource: identified, metrics: metrics{x}, want: []string{xSeries}},
	})
}

// TestRule05OneTargetInfoPerTime: for a target at most one target_info of a time is made, whatever its other labels, and none
// if one was received before. Those that were received are told apart by all their labels, like other series. For earlier
// payloads it is TestReceivedTargetInfoSeriesAreSeries.
func TestRule05OneTargetInfoPerTime(t *testing.T) {
	other := append(described[:4:4], "host.name", "other")
	info := gaugeOf("target_info", number(1, with("own", "label")))
	x := func(seconds pcommon.Timestamp) func(pmetric.Metric) { return gaugeOf("x", number(1, at(seconds*1e9))) }
	for name, c := range map[string]struct {
		payload pmetric.Metrics
		want    []string
		drops   map[account.Reason]int
	}{
		"two resources": {
			payload: together(metricsOf(described, x(1)), metricsOf(other, x(2)), metricsOf(other, x(1))),
			want: []string{
				`target_info{host_name="h",instance="i-1",job="shop"} 1 @1000`, `target_info{host_name="other",instance="i-1",job="shop"} 1 @2000`,
				`x{instance="i-1",job="shop"} 1 @1000`, `x{instance="i-1",job="shop"} 1 @2000`,
			},
			drops: map[account.Reason]int{account.ReasonDuplicate: 1}, // x at 1s
		},
		"received before": {
			payload: metricsOf(described, info),
			want:    []string{`target_info{instance="i-1",job="shop",own="label"} 1 @1000`},
		},
		"received after": {
			payload: together(metricsOf(described, x(1)), metricsOf(described[:4], info)),
			want: []string{
				`target_info{host_name="h",instance="i-1",job="shop"} 1 @1000`, `target_info{instance="i-1",job="shop",own="label"} 1 @1000`,
				`x{instance="i-1",job="shop"} 1 @1000`,
			},
		},
		"the very same, received after": {
			payload: together(metricsOf(described, x(1)), metricsOf(described[:4], gaugeOf("target_info", number(2, with("host_name", "h"))))),
			want:    []string{`target_info{host_name="h",instance="i-1",job="shop"} 1 @1000`, `x{instance="i-1",job="shop"} 1 @1000`},
			drops:   map[account.Reason]int{account.ReasonDuplicate: 1},
		},
		"received, of several hosts": {
			payload: metricsOf(described[:4], gaugeOf("target_info", number(1, with("host", "a")), number(1, with("host", "b")), number(1, with("host", "c")),
				number(1, with("host", "c", "exported_job", "x")), number(1, with("host", "c")), number(1, with("host", "c"), at(2e9)))),
			want: []string{
				`target_info{host="a",instance="i-1",job="shop"} 1 @1000`, `target_info{host="b",instance="i-1",job="shop"} 1 @1000`,
				`target_info{host="c",instance="i-1",job="shop"} 1 @1000`, `target_info{host="c",instance="i-1",job="shop"} 1 @2000`,
				`target_info{exported_job="x",host="c",instance="i-1",job="shop"} 1 @1000`,
			},
			drops: map[account.Reason]int{account.ReasonDuplicate: 1},
		},
		"another target": {
			payload: together(metricsOf(described, x(1)), metricsOf([]any{"service.name", "bank", "host.name", "h"}, x(1))),
			want: []string{
				`target_info{host_name="h",instance="i-1",job="shop"} 1 @1000`, `x{instance="i-1",job="shop"} 1 @1000`,
				`target_info{host_name="h",job="bank"} 1 @1000`, `x{job="bank"} 1 @1000`,
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			checkTranslation(t, nil, []pmetric.Metrics{c.payload}, c.want, c.drops)
		})
	}
}
