// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"slices"
	"unicode/utf8"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// A label set is made in three steps, each done as seldom as possible. A shape is what follows from the attribute keys
// of a point alone: the label names and their order. A plan is a shape merged with the labels of a resource and scope,
// which are already encoded. The label set of a point is its plan filled in with the point's attribute values.

// labelSet is the labels of a point without its name, encoded in order and cut where the labels go that differ between
// the series of one point.
type labelSet struct {
	// buf holds four runs of labels: those before __name__, between it and le, between that and quantile, and after.
	buf []byte
	// cut are the ends of the first three runs.
	cut [3]int
	// le and quantile are the values of attributes of these names, or "".
	le, quantile string
	// hash is the sum of the identities of the labels in buf, and place that of their partition keys. They are sums so that
	// they need not be made from the start when a few labels are exchanged.
	hash, place uint64
	// serial tells the label sets of a labeler apart.
	serial uint64

	// plan and epoch are of which plan buf is, and values where in buf the values of the plan's attribute labels stand. The
	// next label set of the plan is made by changing what is different: of neighbouring points most labels are the same.
	plan   *plan
	epoch  uint64
	values []valueSpan
}

// valueSpan is where the value of a plan's attribute label stands in a label set; an empty value has no label.
type valueSpan struct {
	start, end int
	// hash is that of the value as a symbol; label and place are the label's parts in the sums of the label set.
	hash, label, place uint64
	// changed is the serial of the label set that was the first to have the value.
	changed uint64
}

// identity is the hash of the whole label set of a series.
func (ls *labelSet) identity(name *seriesName, le, quantile *extraLabel) uint64 {
	return ls.hash + name.identity + le.identity + quantile.identity
}

// partitionKey is the hash of the series' metric family and of its labels without le and quantile. It depends on
// nothing but the series' labels, and is the same for the buckets, sum and count of a histogram.
func (ls *labelSet) partitionKey(name *seriesName) uint64 {
	return ls.place + name.place
}

// pointKey tells the points of histograms and summaries apart: it is a hash of the labels that all series of a point
// have, of the metric's name and of its type.
func (ls *labelSet) pointKey(names *metricNames, kind metricKind) uint64 {
	hash := ls.hash + names.plain.identity
	if ls.le != "" {
		hash += labelHash(leLabelName, wire.Hash(ls.le))
	}
	if ls.quantile != "" {
		hash += labelHash(quantileLabelName, wire.Hash(ls.quantile))
	}
	return combine(hash, uint64(kind))
}

// encode makes ls the label set of a point with the given attribute values.
func (ls *labelSet) encode(p *plan, values []string, secret partitionSecret) {
	size := p.size
	for _, v := range values {
		size += len(v)
	}
	buf := slices.Grow(ls.buf[:0], size)
	ls.values, ls.hash, ls.place = slices.Grow(ls.values[:0], len(p.slots)), p.hash, p.place
	run := 0
	for i := range p.items {
		for run < 3 && p.cut[run] == i {
			ls.cut[run] = len(buf)
			run++
		}
		it := &p.items[i]
		buf = append(buf, it.constant...)
		if it.name == nil {
			continue
		}
		value := it.value(values)
		slot, span := &p.slots[len(ls.values)], valueSpan{changed: ls.serial}
		switch {
		case value != "":
			buf = wire.AppendLabelValue(buf, it.name, value)
			span.set(slot, buf[len(buf)-len(value):], secret)
		case it.fallback != nil:
			buf = append(buf, it.fallback...)
			span.label, span.place = it.fallbackHash, it.fallbackPlace
		}
		span.start, span.end = len(buf)-len(value), len(buf)
		ls.hash += span.label
		ls.place += span.place
		ls.values = append(ls.values, span)
	}
	for ; run < 3; run++ {
		ls.cut[run] = len(buf)
	}
	ls.buf, ls.plan, ls.epoch = buf, p, p.epoch
}

// set makes the hashes those of a value.
func (v *valueSpan) set(slot *planSlot, value []byte, secret partitionSecret) {
	v.hash = wire.HashBytes(value)
	v.label = labelHash(slot.name, v.hash)
	v.place = secret.label(slot.placeName, value)
}

// change makes ls, which is the label set of another point, that of a point with the given attribute values. It returns
// false, and leaves ls to be encoded from the start, if it is not of the same plan, or the values are different in a way that
// is rare. It takes a third of the time of encode if few values are different.
func (ls *labelSet) change(p *plan, values []string, secret partitionSecret) bool {
	if ls.plan != p || ls.epoch != p.epoch || p.joins {
		return false
	}
	// What is not finished must not be taken for a label set of the plan. No plan has the epoch 0.
	ls.epoch = 0
	// What values of another length move may be no more than encoding costs.
	buf, shift, moves := ls.buf, 0, 2*len(ls.buf)
	for i := range p.slots {
		slot := &p.slots[i]
		at, value := &ls.values[i], values[slot.from]
		if shift != 0 {
			at.start += shift
			at.end += shift
		}
		if string(buf[at.start:at.end]) == value {
			continue
		}
		if !utf8.ValidString(value) {
			return false
		}
		if at.start == at.end {
			return false
		}
		if d := len(value) - (at.end - at.start); d != 0 {
			name := p.items[slot.item].name
			if value == "" || !wire.ResizeLabelValue(buf[:at.end], name, len(value), d) {
				return false
			}
			tail := at.end
			if moves -= len(buf) - tail; moves < 0 {
				return false
			}
			buf = slices.Grow(buf, max(d, 0))[:len(buf)+d]
			copy(buf[tail+d:], buf[tail:len(buf)-d])
			ls.buf = buf
			shift += d
			at.end += d
			for run := range ls.cut {
				if p.cut[run] > slot.item {
					ls.cut[run] += d
				}
			}
		}
		copy(buf[at.start:], value)
		ls.hash -= at.label
		ls.place -= at.place
		at.set(slot, buf[at.start:at.end], secret)
		at.changed = ls.serial
		ls.hash += at.label
		ls.place += at.place
	}
	ls.epoch = p.epoch
	return true
}
