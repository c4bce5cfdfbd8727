// SPDX-License-Identifier: Apache-2.0

package wire // import "github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// LabelsKey tells label sets apart, of labels in the same order.
func LabelsKey(labels []Label) string {
	var b []byte
	for _, l := range labels {
		b = AppendLabel(b, l.Name, l.Value)
	}
	return string(b)
}

// SeriesText is a series for a person, as PromQL selects it.
func SeriesText(labels []Label) string {
	var name string
	var rest []string
	for _, l := range labels {
		if l.Name == "__name__" {
			name = l.Value
			continue
		}
		rest = append(rest, l.Name+"="+strconv.Quote(l.Value))
	}
	return name + "{" + strings.Join(rest, ", ") + "}"
}

// Value is what the sample or native histogram of a series says, for a person.
type Value struct {
	Timestamp int64
	Histogram bool
	// Value is that of a sample, or the sum of a histogram.
	Value float64
	// Count is that of a histogram.
	Count float64
}

// Field numbers of what Value has of a sample and of a histogram.
const (
	sampleValue         = 1
	histogramCountInt   = 1
	histogramCountFloat = 2
	histogramSum        = 3
)

// SeriesValue returns the first sample or native histogram of an encoded TimeSeries.
func SeriesValue(series []byte, p Protocol) (v Value, err error) {
	samples, histograms := seriesSamples, seriesHistograms
	if p == V2 {
		samples, histograms = seriesSamplesV2, seriesHistogramsV2
	}
	for len(series) > 0 {
		var f field
		if f, series, err = nextField(series); err != nil {
			return Value{}, err
		}
		if f.number != samples && f.number != histograms {
			continue
		}
		v.Histogram = f.number == histograms
		for point := f.bytes; len(point) > 0; {
			var part field
			if part, point, err = nextField(point); err != nil {
				return Value{}, err
			}
			v.set(part)
		}
		return v, nil
	}
	return Value{}, fmt.Errorf("%w: a series without a sample", ErrMalformed)
}

// set takes over a field of a sample or histogram.
func (v *Value) set(f field) {
	switch {
	case !v.Histogram && f.number == sampleValue, v.Histogram && f.number == histogramSum:
		v.Value = math.Float64frombits(f.value)
	case !v.Histogram && f.number == sampleTimestamp, v.Histogram && f.number == histogramTimestamp:
		v.Timestamp = int64(f.value)
	case v.Histogram && f.number == histogramCountInt:
		v.Count = float64(f.value)
	case v.Histogram && f.number == histogramCountFloat:
		v.Count = math.Float64frombits(f.value)
	}
}

// String is the value for a person.
func (v Value) String() string {
	switch {
	case math.Float64bits(v.Value) == staleBits:
		return "stale marker"
	case v.Histogram:
		return fmt.Sprintf("native histogram of %g observations, sum %g", v.Count, v.Value)
	default:
		return strconv.FormatFloat(v.Value, 'g', -1, 64)
	}
}
