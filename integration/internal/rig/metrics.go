// SPDX-License-Identifier: Apache-2.0

package rig

import (
	"time"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// Payload makes metrics of one resource and one scope.
type Payload struct {
	pmetric.Metrics
	scope pmetric.ScopeMetrics
}

// NewPayload returns a payload without metrics. The resource's attributes are given as pairs of keys and values.
func NewPayload(resource ...string) *Payload {
	p := &Payload{Metrics: pmetric.NewMetrics()}
	rm := p.ResourceMetrics().AppendEmpty()
	Attributes(rm.Resource().Attributes(), resource...)
	p.scope = rm.ScopeMetrics().AppendEmpty()
	return p
}

// Scope returns the scope with its metrics.
func (p *Payload) Scope() pmetric.ScopeMetrics {
	return p.scope
}

// Add adds a metric.
func (p *Payload) Add(name string) pmetric.Metric {
	m := p.scope.Metrics().AppendEmpty()
	m.SetName(name)
	return m
}

// Gauge adds a point of a gauge in a metric of its own. The attributes are given as pairs of keys and values.
func (p *Payload) Gauge(name string, at time.Time, value float64, attributes ...string) *Payload {
	dp := p.Add(name).SetEmptyGauge().DataPoints().AppendEmpty()
	dp.SetTimestamp(pcommon.NewTimestampFromTime(at))
	dp.SetDoubleValue(value)
	Attributes(dp.Attributes(), attributes...)
	return p
}

// Attributes puts pairs of keys and values into a map.
func Attributes(m pcommon.Map, pairs ...string) {
	for i := 0; i < len(pairs); i += 2 {
		m.PutStr(pairs[i], pairs[i+1])
	}
}
