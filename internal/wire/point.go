// SPDX-License-Identifier: Apache-2.0

package wire // import "github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"

import (
	"encoding/binary"
	"math"
)

// staleBits are those of the NaN that is a stale marker (Remote-Write 1.0, "Stale Markers").
const staleBits = 0x7ff0000000000002

// StaleNaN is the value of a stale marker.
var StaleNaN = math.Float64frombits(staleBits)

// Recorded is a value that was recorded, and so no stale marker even if it happens to have the same bits.
func Recorded(v float64) float64 {
	if math.Float64bits(v) == staleBits {
		return math.NaN()
	}
	return v
}

// CustomBucketsSchema is the schema of native histograms with custom buckets.
const CustomBucketsSchema = -53

// Label is a name and a value.
type Label struct {
	Name, Value string
}

// Exemplar is an example of what was counted. Its labels are encoded in the order given.
type Exemplar struct {
	Labels []Label
	Value  float64
	// Timestamp is in milliseconds since the epoch.
	Timestamp int64
}

// Span is a run of adjacent buckets of a native histogram.
type Span struct {
	// Offset is the index of the first bucket, for the first span, or else the number of buckets since the last one.
	Offset int32
	Length uint32
}

// Histogram is a native histogram with integer counts. Deltas are from one bucket to the next, the first from zero.
type Histogram struct {
	Count                          uint64
	Sum                            float64
	Schema                         int32
	ZeroThreshold                  float64
	ZeroCount                      uint64
	NegativeSpans, PositiveSpans   []Span
	NegativeDeltas, PositiveDeltas []int64
	// CustomValues are the upper bounds of the buckets of schema -53, without +Inf.
	CustomValues []float64
}

// MaxLen is the most bytes that the histogram takes as a field of a TimeSeries.
func (h *Histogram) MaxLen() int {
	const fixed = 96 // tags, lengths and the fields that are there once
	spans := len(h.NegativeSpans) + len(h.PositiveSpans)
	deltas := len(h.NegativeDeltas) + len(h.PositiveDeltas)
	return fixed + spans*(4+2*binary.MaxVarintLen32) + deltas*binary.MaxVarintLen64 + 8*len(h.CustomValues)
}

// MaxLen is the most bytes that the exemplar takes as a field of a TimeSeries.
func (e *Exemplar) MaxLen() int {
	size := 2*binary.MaxVarintLen64 + 9
	for _, l := range e.Labels {
		size += len(l.Name) + len(l.Value) + 2*MaxLabelOverhead
	}
	return size
}

// Field numbers of prometheus.TimeSeries.
const (
	seriesLabels     = 1
	seriesSamples    = 2
	seriesExemplars  = 3
	seriesHistograms = 4
)

// Field numbers of the timestamps of a Sample and of a Histogram.
const (
	sampleTimestamp    = 2
	histogramTimestamp = 15
)

// MaxSampleLen is the most bytes that AppendSample and AppendSampleV2 append.
const MaxSampleLen = 2 + 9 + 2*(1+binary.MaxVarintLen64)

// AppendLabel appends a label as a field of a TimeSeries.
func AppendLabel(b []byte, name, value string) []byte {
	return AppendLabelValue(b, LabelName(name), value)
}

// LabelName returns the encoding of a label's name inside its message, for AppendLabelValue.
func LabelName(name string) []byte {
	b := appendBytes(make([]byte, 0, len(name)+4), 1, name)
	return appendTag(b, 2, wireLen)
}

// AppendLabelValue appends a label as a field of a TimeSeries, its name given as by LabelName.
func AppendLabelValue(b, name []byte, value string) []byte {
	size := len(name) + UvarintLen(uint64(len(value))) + len(value)
	if size < 1<<7 {
		// Nearly all labels: both lengths are single bytes.
		b = append(b, seriesLabels<<3|wireLen, byte(size))
		b = append(b, name...)
		b = append(b, byte(len(value)))
		return append(b, value...)
	}
	b = append(b, seriesLabels<<3|wireLen)
	b = binary.AppendUvarint(b, uint64(size))
	b = append(b, name...)
	b = binary.AppendUvarint(b, uint64(len(value)))
	return append(b, value...)
}

// ResizeLabelValue corrects the lengths inside the last label of b, which AppendLabelValue has appended with that name, for
// a value of n bytes, diff more than it has. It returns false, and does nothing, if they would not fit where they stand.
func ResizeLabelValue(b, name []byte, n, diff int) bool {
	at := len(b) - (n - diff) - 1
	size := len(name) + 1 + n
	if size >= 1<<7 || size-diff >= 1<<7 {
		return false
	}
	b[at], b[at-len(name)-1] = byte(n), byte(size)
	return true
}

// MaxLabelOverhead is the most bytes that AppendLabelValue appends beyond name and value.
const MaxLabelOverhead = 1 + 2*binary.MaxVarintLen32

// AppendSample appends a sample as a field of a TimeSeries. The timestamp is in milliseconds since the epoch.
func AppendSample(b []byte, value float64, timestamp int64) []byte {
	b = append(b, seriesSamples<<3|wireLen, 0)
	start := len(b)
	b = appendDouble(b, 1, value)
	b = appendUint(b, sampleTimestamp, uint64(timestamp))
	b[start-1] = byte(len(b) - start)
	return b
}

// AppendExemplar appends an exemplar as a field of a TimeSeries.
func AppendExemplar(b []byte, e *Exemplar) []byte {
	size := 0
	for _, l := range e.Labels {
		size += lenFieldLen(labelLen(l))
	}
	if math.Float64bits(e.Value) != 0 {
		size += 9
	}
	if e.Timestamp != 0 {
		size += 1 + UvarintLen(uint64(e.Timestamp))
	}
	b = binary.AppendUvarint(append(b, seriesExemplars<<3|wireLen), uint64(size))
	for _, l := range e.Labels {
		b = binary.AppendUvarint(appendTag(b, 1, wireLen), uint64(labelLen(l)))
		b = appendBytes(b, 1, l.Name)
		b = appendBytes(b, 2, l.Value)
	}
	b = appendDouble(b, 2, e.Value)
	return appendUint(b, 3, uint64(e.Timestamp))
}

func labelLen(l Label) int {
	return lenFieldLen(len(l.Name)) + lenFieldLen(len(l.Value))
}

// lenFieldLen is the size of a field of n bytes with a tag of one byte.
func lenFieldLen(n int) int {
	return 1 + UvarintLen(uint64(n)) + n
}

// AppendHistogram appends a native histogram as a field of a TimeSeries. The timestamp is in milliseconds since the
// epoch. The reset hint stays unknown, which makes the receiver look for counter resets itself. scratch is any buffer,
// for the bytes between; it is returned for use in the next call.
func AppendHistogram(b []byte, h *Histogram, timestamp int64, scratch []byte) (dst, newScratch []byte) {
	m := appendHistogramFields(scratch[:0], h, timestamp)
	return appendBytes(b, seriesHistograms, m), m
}

func appendHistogramFields(m []byte, h *Histogram, timestamp int64) []byte {
	// A oneof field is written even if it is zero: it says that the histogram has integer counts.
	m = binary.AppendUvarint(appendTag(m, 1, wireVarint), h.Count)
	m = appendDouble(m, 3, h.Sum)
	m = appendUint(m, 4, zigzag(int64(h.Schema)))
	m = appendDouble(m, 5, h.ZeroThreshold)
	m = binary.AppendUvarint(appendTag(m, 6, wireVarint), h.ZeroCount)
	m = appendSpans(m, 8, h.NegativeSpans)
	m = appendDeltas(m, 9, h.NegativeDeltas)
	m = appendSpans(m, 11, h.PositiveSpans)
	m = appendDeltas(m, 12, h.PositiveDeltas)
	m = appendUint(m, histogramTimestamp, uint64(timestamp))
	return appendDoubles(m, 16, h.CustomValues)
}

func appendDoubles(b []byte, field int, values []float64) []byte {
	if len(values) == 0 {
		return b
	}
	b = binary.AppendUvarint(appendTag(b, field, wireLen), uint64(8*len(values)))
	for _, v := range values {
		b = binary.LittleEndian.AppendUint64(b, math.Float64bits(v))
	}
	return b
}

func appendSpans(b []byte, field int, spans []Span) []byte {
	for _, s := range spans {
		b = append(appendTag(b, field, wireLen), 0)
		start := len(b)
		b = appendUint(b, 1, zigzag(int64(s.Offset)))
		b = appendUint(b, 2, uint64(s.Length))
		b[start-1] = byte(len(b) - start)
	}
	return b
}

func appendDeltas(b []byte, field int, deltas []int64) []byte {
	if len(deltas) == 0 {
		return b
	}
	size := 0
	for _, d := range deltas {
		size += UvarintLen(zigzag(d))
	}
	b = binary.AppendUvarint(appendTag(b, field, wireLen), uint64(size))
	for _, d := range deltas {
		b = binary.AppendUvarint(b, zigzag(d))
	}
	return b
}
