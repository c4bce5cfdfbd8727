// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"testing"

	"github.com/prometheus/otlptranslator"
	"github.com/stretchr/testify/assert"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
)

// TestExternalLabels: they are added to every series that has no label of the name.
func TestExternalLabels(t *testing.T) {
	runTranslations(t, []translationCase{{
		name:     "all kinds of series",
		edit:     func(c *Config) { c.ExternalLabels = map[string]string{"region": "eu", "job": "none", "A": "\xff"} },
		resource: []any{"service.instance.id", "i-1", "region", "resource"},
		metrics: metrics{
			gaugeOf("x", number(1), number(2, with("region", "us", "job", "own")), number(3, with("region", "", "A", "a"))),
			histogramOf("h", buckets(nil, []uint64{1})),
		},
		want: []string{
			`x{A="�",instance="i-1",job="none",region="eu"} 1 @1000`, `x{A="�",instance="i-1",job="own",region="us"} 2 @1000`,
			`x{A="a",instance="i-1",job="none",region="eu"} 3 @1000`, `h_bucket{A="�",instance="i-1",job="none",le="+Inf",region="eu"} 1 @1000`,
			`h_sum{A="�",instance="i-1",job="none",region="eu"} 100 @1000`, `h_count{A="�",instance="i-1",job="none",region="eu"} 1 @1000`,
			`target_info{A="�",instance="i-1",job="none",region="resource"} 1 @1000`,
		},
	}})
}

// TestResourceConstantLabels: which resource attributes become labels, and that attributes of points come before them.
func TestResourceConstantLabels(t *testing.T) {
	resource := []any{
		"service.name", "shop", "host.name", "h", "host-name", "g", "host.id", 7, "job", "j", "exported_job", "e", "le", "1", "quantile", "2", "empty", "",
		"é", "x", "", "no key",
	}
	point := number(1, with("host_id", "point", "exported_le", ""))
	promoting := func(included, excluded []string) func(*Config) {
		return func(c *Config) {
			c.TargetInfo.Enabled = false
			c.ResourceConstantLabels.Included, c.ResourceConstantLabels.Excluded = included, excluded
		}
	}
	x := metrics{gaugeOf("x", point)}
	runTranslations(t, []translationCase{
		{name: "none", edit: promoting(nil, nil), resource: resource, metrics: x, want: []string{`x{host_id="point",job="shop"} 1 @1000`}},
		{
			name: "all", edit: promoting([]string{"*"}, nil), resource: resource, metrics: x,
			want: []string{`x{_="x",exported_job="e;j",exported_le="1",exported_quantile="2",host_id="point",host_name="g;h",job="shop",service_name="shop"} 1 @1000`},
		},
		{
			name: "some", edit: promoting([]string{"host?name", "serv*", "?"}, []string{"host-*"}), resource: resource, metrics: x,
			want: []string{`x{_="x",host_id="point",host_name="h",job="shop",service_name="shop"} 1 @1000`},
		},
		{
			name: "all but some", edit: promoting(nil, []string{"*o*", "le", "quantil?"}), resource: resource, metrics: x,
			want: []string{`x{_="x",host_id="point",job="shop",service_name="shop"} 1 @1000`},
		},
		{
			name: "job where no service is named", edit: promoting([]string{"job"}, nil), resource: []any{"job", "j"},
			metrics: metrics{gaugeOf("x", number(1), number(2, with("job", "point")))},
			want:    []string{`x{job="j"} 1 @1000`, `x{job="point"} 2 @1000`},
		},
	})
}

// TestMatchGlob: * is any characters, ? is one.
func TestMatchGlob(t *testing.T) {
	for _, c := range []struct {
		pattern string
		yes, no []string
	}{
		{"", []string{""}, []string{"a"}},
		{"*", []string{"", "a", "a.b"}, nil},
		{"?", []string{"a", "é", "\xff"}, []string{"", "ab"}},
		{"a*", []string{"a", "ab", "a\n"}, []string{"", "ba"}},
		{"*.name", []string{".name", "a.name", "a.name.name"}, []string{"name", "a.names"}},
		{"a*b*c", []string{"abc", "axbxc", "abcbc"}, []string{"ac", "abcd"}},
		{"*a?", []string{"ab", "aab", "baé"}, []string{"a", "abc"}},
		{"*?é", []string{"éé", "xé"}, []string{"é"}},
		{"**", []string{"", "a"}, nil},
		{"a.b[c]", []string{"a.b[c]"}, []string{"axb[c]", "a.bc"}},
	} {
		for _, s := range c.yes {
			assert.True(t, matchGlob(c.pattern, s), "%q %q", c.pattern, s)
		}
		for _, s := range c.no {
			assert.False(t, matchGlob(c.pattern, s), "%q %q", c.pattern, s)
		}
	}
}

// TestFallbackToV1: after a fallback to 1.0, what has names that 1.0 cannot carry is dropped and counted, and classic
// histograms take the place of custom buckets.
func TestFallbackToV1(t *testing.T) {
	cfg := configOf(func(c *Config) {
		c.TranslationStrategy = otlptranslator.NoTranslation
		c.ConvertExplicitHistogramsToNHCB = true
		c.ProtobufMessage = MessageV1
	})
	got := newComparison(cfg).check(t, metricsOf(described,
		gaugeOf("x", number(1), number(2, with("a.b", "c")), number(3, with("日本", ""), at(2e9))), gaugeOf("x.y", number(1)), gaugeOf("a:b", number(1)),
		histogramOf("h", buckets(nil, []uint64{1})),
	))
	const target = `{instance="i-1",job="shop"}`
	assert.Equal(t, []string{
		`a:b` + target + ` 1 @1000`, `h_bucket{instance="i-1",job="shop",le="+Inf"} 1 @1000`, `h_count` + target + ` 1 @1000`,
		`h_sum` + target + ` 100 @1000`, `x` + target + ` 1 @1000`, `x` + target + ` 3 @2000`,
	}, got.lines())
	assert.Equal(t, map[account.Reason]int{account.ReasonNeedsV2: 2}, got.drops, "target_info has a label host.name, but was not received")
}
