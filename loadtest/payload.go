// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
)

const (
	// attributes is how many attributes a point has, of about 36 bytes each.
	attributes = 20
	// identifying is how many of them tell points apart.
	identifying = 4
	// digits is how many digits the identifying values end in.
	digits = 8
	// buckets is how many explicit bounds a histogram has. With the one for +Inf, the sum and the count it becomes
	// buckets+3 series.
	buckets = 15

	gaugesPerPayload     = 1000
	histogramsPerPayload = 100
)

// mark is a timestamp that occurs nowhere else in a payload.
const mark = 0x5ea7_0f7e_57ed_da7a

// payload is a marshalled OTLP request, in which the time and the identity of the points can be changed in place: to
// marshal each one would cost more than most of what is to be measured.
type payload struct {
	body []byte
	// times are the places of the timestamps, ids those of the digits of each identifying attribute.
	times []int
	ids   [identifying][]int
	// points is how many points it has, samples how many samples each of them becomes.
	points, samples int
}

func newGauges() (*payload, error) {
	md, m := newMetric()
	m.SetName("http.server.active_requests")
	points := m.SetEmptyGauge().DataPoints()
	for i := range gaugesPerPayload {
		dp := points.AppendEmpty()
		dp.SetTimestamp(mark)
		dp.SetDoubleValue(float64(i) * 1.5)
		putAttributes(dp.Attributes())
	}
	return newPayload(md, gaugesPerPayload, 1)
}

func newHistograms() (*payload, error) {
	md, m := newMetric()
	m.SetName("http.server.request.duration")
	m.SetUnit("s")
	h := m.SetEmptyHistogram()
	h.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	bounds := make([]float64, buckets)
	for i := range bounds {
		bounds[i] = 0.005 * float64(int(1)<<i)
	}
	for i := range histogramsPerPayload {
		dp := h.DataPoints().AppendEmpty()
		dp.SetTimestamp(mark)
		dp.SetSum(float64(i) * 12.5)
		dp.ExplicitBounds().FromRaw(bounds)
		counts := make([]uint64, buckets+1)
		count := uint64(0)
		for j := range counts {
			counts[j] = uint64(i*j) % 97
			count += counts[j]
		}
		dp.SetCount(count)
		dp.BucketCounts().FromRaw(counts)
		putAttributes(dp.Attributes())
	}
	return newPayload(md, histogramsPerPayload, buckets+3)
}

func newMetric() (pmetric.Metrics, pmetric.Metric) {
	md := pmetric.NewMetrics()
	rm := md.ResourceMetrics().AppendEmpty()
	rm.Resource().Attributes().PutStr("service.name", "checkout")
	rm.Resource().Attributes().PutStr("service.instance.id", "checkout-7f9d4c5b6-x2x9z")
	return md, rm.ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
}

func putAttributes(m pcommon.Map) {
	m.EnsureCapacity(attributes)
	for i := range attributes {
		value := fmt.Sprintf("value-of-label-%02d", i)
		if i < identifying {
			value = fmt.Sprintf("%s%0*d", identity(i), digits, 0)
		}
		m.PutStr(fmt.Sprintf("attribute.name.%02d", i), value)
	}
}

// identity is what the digits of an identifying attribute follow.
func identity(i int) string { return fmt.Sprintf("value-%02d-", i) }

func newPayload(md pmetric.Metrics, points, samples int) (*payload, error) {
	body, err := pmetricotlp.NewExportRequestFromMetrics(md).MarshalProto()
	if err != nil {
		return nil, err
	}
	p := &payload{body: body, points: points, samples: samples}
	p.times = places(body, binary.LittleEndian.AppendUint64(nil, mark), 0)
	if len(p.times) != points {
		return nil, fmt.Errorf("%d timestamps in a payload of %d points", len(p.times), points)
	}
	for i := range p.ids {
		prefix := []byte(identity(i))
		p.ids[i] = places(body, prefix, len(prefix))
		if len(p.ids[i]) != points {
			return nil, fmt.Errorf("%d values %q in a payload of %d points", len(p.ids[i]), prefix, points)
		}
	}
	return p, nil
}

// places returns where, so many bytes after the beginning of each occurrence of what, something is to be changed.
func places(body, what []byte, after int) []int {
	var found []int
	for at := 0; ; {
		i := bytes.Index(body[at:], what)
		if i < 0 {
			return found
		}
		found = append(found, at+i+after)
		at += i + len(what)
	}
}

// clone returns a payload that can be changed independently.
func (p *payload) clone() *payload {
	c := *p
	c.body = bytes.Clone(p.body)
	return &c
}

// set gives the points a time, and identities from first up.
func (p *payload) set(first int, unixNano uint64) {
	for _, at := range p.times {
		binary.LittleEndian.PutUint64(p.body[at:], unixNano)
	}
	for i := range p.ids {
		for point, at := range p.ids[i] {
			// The others are shared by 4, 16 and 64 points.
			putDigits(p.body[at:at+digits], (first+point)>>(2*i))
		}
	}
}

func putDigits(b []byte, n int) {
	for i := len(b) - 1; i >= 0; i-- {
		b[i] = byte('0' + n%10)
		n /= 10
	}
}
