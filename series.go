// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import "github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"

// series is one point of one series, as the translation hands it to a segment. It is valid until the segment has it.
type series struct {
	labels *labelSet
	name   *seriesName
	// le and quantile are noLabel for a series without them.
	le, quantile *extraLabel
	point        *point
	metadata     *metricMetadata
	// identity is the hash of all labels.
	identity uint64
	// target is the hash of job and instance of a target_info.
	target uint64
	guard  guardKind
}

// point is what a series has at one time: a sample or a native histogram.
type point struct {
	// timestamp and start are in milliseconds since the epoch; start is 0 for none.
	timestamp, start int64
	value            float64
	// histogram is nil for a sample.
	histogram *wire.Histogram
	exemplars []wire.Exemplar
	// siblings is how many series the point of a classic histogram or summary becomes.
	siblings int
}

// sample makes it a point without exemplars.
func (p *point) sample(timestamp, start int64, value float64, siblings int) {
	p.timestamp, p.start, p.value, p.siblings = timestamp, start, value, siblings
	// To write what is nil costs a barrier while garbage is collected.
	if p.histogram != nil {
		p.histogram = nil
	}
	if p.exemplars != nil {
		p.exemplars = nil
	}
}

// metricMetadata is what 2.0 says of a metric on each of its series.
type metricMetadata struct {
	// serial tells metrics apart; it changes whenever the others do.
	serial     uint64
	typ        wire.MetricType
	help, unit string
}

// maxSize is the most bytes of the encoded point.
func (p *point) maxSize() int {
	size := wire.MaxSampleLen
	if h := p.histogram; h != nil {
		size = h.MaxLen()
	}
	for i := range p.exemplars {
		size += p.exemplars[i].MaxLen()
	}
	return size
}

// entry is what the guard must know of the series.
func (s *series) entry() indexEntry {
	return indexEntry{identity: s.identity, target: s.target, timestamp: s.point.timestamp, guard: s.guard}
}

// labelsSize is the bytes of the labels in 1.0.
func (s *series) labelsSize() int {
	return len(s.labels.buf) + len(s.name.label) + len(s.le.label) + len(s.quantile.label)
}

// appendLabels appends the labels in order, as 1.0 has them.
func (s *series) appendLabels(b []byte) []byte {
	ls := s.labels
	b = append(b, ls.buf[:ls.cut[0]]...)
	b = append(b, s.name.label...)
	b = append(b, ls.buf[ls.cut[0]:ls.cut[1]]...)
	b = append(b, s.le.label...)
	b = append(b, ls.buf[ls.cut[1]:ls.cut[2]]...)
	b = append(b, s.quantile.label...)
	return append(b, ls.buf[ls.cut[2]:]...)
}
