// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
)

func decode(t *testing.T, p *payload) pmetric.Metric {
	t.Helper()
	r := pmetricotlp.NewExportRequest()
	require.NoError(t, r.UnmarshalProto(p.body))
	return r.Metrics().ResourceMetrics().At(0).ScopeMetrics().At(0).Metrics().At(0)
}

func value(t *testing.T, m pcommon.Map, key string) string {
	t.Helper()
	v, ok := m.Get(key)
	require.True(t, ok)
	return v.Str()
}

func TestPayloadIsChangedInPlace(t *testing.T) {
	template, err := newGauges()
	require.NoError(t, err)
	p := template.clone()
	p.set(7000, 1234)

	points := decode(t, p).Gauge().DataPoints()
	require.Equal(t, gaugesPerPayload, points.Len())
	seen := map[string]bool{}
	for i, dp := range points.All() {
		assert.Equal(t, pcommon.Timestamp(1234), dp.Timestamp())
		assert.InDelta(t, float64(i)*1.5, dp.DoubleValue(), 0)
		assert.Equal(t, attributes, dp.Attributes().Len())
		seen[value(t, dp.Attributes(), "attribute.name.00")] = true
	}
	assert.Len(t, seen, gaugesPerPayload)
	assert.True(t, seen["value-00-00007999"])
	assert.Equal(t, "value-01-00001750", value(t, points.At(0).Attributes(), "attribute.name.01"))
	// The template is as it was.
	assert.Equal(t, pcommon.Timestamp(mark), decode(t, template).Gauge().DataPoints().At(0).Timestamp())
}

func TestHistogramPayload(t *testing.T) {
	p, err := newHistograms()
	require.NoError(t, err)
	p.set(100, 5678)
	points := decode(t, p).Histogram().DataPoints()
	require.Equal(t, histogramsPerPayload, points.Len())
	for _, dp := range points.All() {
		assert.Equal(t, pcommon.Timestamp(5678), dp.Timestamp())
		assert.Equal(t, p.samples, dp.BucketCounts().Len()+2)
	}
}

// Otherwise two connections could have samples of one series at the same time.
func TestEachSeriesHasOneConnection(t *testing.T) {
	template, err := newGauges()
	require.NoError(t, err)
	g := generator{template: template, series: 10_000, connections: 5}
	require.NoError(t, g.check())
	g.connections = 4
	require.Error(t, g.check())
}
