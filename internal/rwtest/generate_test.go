// SPDX-License-Identifier: Apache-2.0

package rwtest

import (
	"math"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

func TestPayloads(t *testing.T) {
	p := Payloads{Seed: 1, Producers: 4, Streams: 100, Points: 20, StreamsPerPayload: 10}
	type id struct{ instance, stream string }
	newest := make(map[id]int64)
	points, expected := 0, make(map[string][]Sample)
	kinds := make(map[pmetric.MetricType]int)
	for i, producer := range p.Split() {
		for md, ok := producer.Next(); ok; md, ok = producer.Next() {
			require.LessOrEqual(t, md.DataPointCount(), 30)
			instance, _ := md.ResourceMetrics().At(0).Resource().Attributes().Get("service.instance.id")
			EachPoint(md, func(m pmetric.Metric, dp Point) {
				kinds[m.Type()]++
				points++
				stream, _ := dp.Attributes().Get("stream")
				key, millis := id{instance.Str(), stream.Str()}, int64(dp.Timestamp()/1e6)
				assert.Greater(t, millis, newest[key])
				newest[key] = millis
				if number, ok := dp.(pmetric.NumberDataPoint); ok {
					zone, _ := dp.Attributes().Get("zone")
					series := `{__name__="` + m.Name() + `",instance="` + instance.Str() + `",job="rwtest",stream="` + stream.Str() + `",zone="` + zone.Str() + `"}`
					value := number.DoubleValue()
					if number.ValueType() == pmetric.NumberDataPointValueTypeInt {
						value = float64(number.IntValue())
					}
					expected[series] = append(expected[series], Sample{Timestamp: millis, Bits: math.Float64bits(value)})
				}
			})
		}
		assert.Equal(t, 25*20, producer.Points(), "producer %d", i)
		for series, samples := range producer.Expected() {
			assert.Equal(t, expected[series], samples, series)
			delete(expected, series)
		}
	}
	assert.Empty(t, expected, "no series has two producers, and none is missing")
	assert.Len(t, newest, p.Streams)
	assert.Equal(t, p.Streams*p.Points, points)
	for kind := pmetric.MetricTypeGauge; kind <= pmetric.MetricTypeSummary; kind++ {
		assert.Equal(t, points/5, kinds[kind], kind.String())
	}
}

func TestPayloadsAreDeterministic(t *testing.T) {
	first, again, other := Payloads{Seed: 1}.Split()[0], Payloads{Seed: 1}.Split()[0], Payloads{Seed: 2}.Split()[0]
	for range 20 {
		a, _ := first.Next()
		b, _ := again.Next()
		c, _ := other.Next()
		assert.Equal(t, bytesOf(a), bytesOf(b))
		assert.NotEqual(t, bytesOf(a), bytesOf(c))
	}
}

func bytesOf(md pmetric.Metrics) string {
	encoded, _ := new(pmetric.ProtoMarshaler).MarshalMetrics(md)
	return string(encoded)
}

func BenchmarkPayloads(b *testing.B) {
	for b.Loop() {
		for _, producer := range (Payloads{Producers: 4}).Split() {
			for _, ok := producer.Next(); ok; _, ok = producer.Next() {
			}
		}
	}
}
