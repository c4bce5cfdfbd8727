// SPDX-License-Identifier: Apache-2.0

package wire // import "github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"

import (
	"encoding/binary"
	"fmt"
)

// requestTimeseries is the field number of the series in prometheus.WriteRequest.
const requestTimeseries = 1

// AppendSeriesHeader appends what precedes a TimeSeries of size bytes in a WriteRequest.
func AppendSeriesHeader(b []byte, size int) []byte {
	return binary.AppendUvarint(append(b, requestTimeseries<<3|wireLen), uint64(size))
}

// MaxSeriesHeaderLen is the most bytes that AppendSeriesHeader appends.
const MaxSeriesHeaderLen = 1 + binary.MaxVarintLen32

// NextSeries takes the first series off an encoded WriteRequest: frame is all of it, header included, series the
// TimeSeries inside.
func NextSeries(request []byte) (frame, series, rest []byte, err error) {
	f, rest, err := nextField(request)
	if err != nil {
		return nil, nil, nil, err
	}
	if f.number != requestTimeseries || f.wireType != wireLen {
		return nil, nil, nil, fmt.Errorf("%w: field %d is no series", ErrMalformed, f.number)
	}
	return request[:len(request)-len(rest)], f.bytes, rest, nil
}

// SeriesPoint returns the timestamp of the first sample or native histogram of an encoded TimeSeries of 1.0, in
// milliseconds since the epoch, and which of the two it is.
func SeriesPoint(series []byte) (timestamp int64, histogram bool, err error) {
	return seriesPoint(series, seriesSamples, seriesHistograms)
}

// SeriesPointV2 is SeriesPoint for 2.0.
func SeriesPointV2(series []byte) (timestamp int64, histogram bool, err error) {
	return seriesPoint(series, seriesSamplesV2, seriesHistogramsV2)
}

// CountExemplarsV2 returns the number of exemplars of an encoded TimeSeries of 2.0.
func CountExemplarsV2(series []byte) (n int, err error) {
	for len(series) > 0 {
		var f field
		if f, series, err = nextField(series); err != nil {
			return 0, err
		}
		if f.number == seriesExemplarsV2 {
			n++
		}
	}
	return n, nil
}

func seriesPoint(series []byte, samples, histograms int) (timestamp int64, histogram bool, err error) {
	for len(series) > 0 {
		f, rest, err := nextField(series)
		if err != nil {
			return 0, false, err
		}
		series = rest
		timestampField := 0
		switch f.number {
		case samples:
			timestampField = sampleTimestamp
		case histograms:
			timestampField, histogram = histogramTimestamp, true
		default:
			continue
		}
		for point := f.bytes; len(point) > 0; {
			var p field
			if p, point, err = nextField(point); err != nil {
				return 0, false, err
			}
			if p.number == timestampField {
				return int64(p.value), histogram, nil
			}
		}
		return 0, histogram, nil
	}
	return 0, false, fmt.Errorf("%w: a series without a sample", ErrMalformed)
}

// SeriesLabels appends the labels of an encoded TimeSeries to dst.
func SeriesLabels(dst []Label, series []byte) ([]Label, error) {
	for len(series) > 0 {
		f, rest, err := nextField(series)
		if err != nil {
			return dst, err
		}
		series = rest
		if f.number != seriesLabels {
			continue
		}
		var l Label
		for label := f.bytes; len(label) > 0; {
			var p field
			if p, label, err = nextField(label); err != nil {
				return dst, err
			}
			switch p.number {
			case 1:
				l.Name = string(p.bytes)
			case 2:
				l.Value = string(p.bytes)
			}
		}
		dst = append(dst, l)
	}
	return dst, nil
}

// FindLabel returns the value of the first label with a name in an encoded TimeSeries.
func FindLabel(series []byte, name string) (value []byte, ok bool) {
	for len(series) > 0 {
		f, rest, err := nextField(series)
		if err != nil {
			return nil, false
		}
		series = rest
		if f.number != seriesLabels {
			continue
		}
		found := false
		value = nil
		for label := f.bytes; len(label) > 0; {
			var p field
			if p, label, err = nextField(label); err != nil {
				return nil, false
			}
			switch p.number {
			case 1:
				if found = string(p.bytes) == name; !found {
					label = nil
				}
			case 2:
				value = p.bytes
			}
		}
		if found {
			return value, true
		}
	}
	return nil, false
}
