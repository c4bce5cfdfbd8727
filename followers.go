// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"bytes"
	"encoding/binary"
	"math"
	"math/bits"
	"slices"
	"unsafe"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/block"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// followers are the series of classic histograms and summaries in a segment of 1.0, but for the first. They are of points that
// become at least minSiblings series: of fewer, the first series of the points take more than what is won. A series of the same
// point as the one before differs from it in name, le, quantile and sample only, and one of the next point in some label values
// besides. So they are written as Snappy's copies of what stands in the message before: neither are all their bytes ever written,
// nor does Snappy look for what they repeat, which took a third of the time of the whole way.
//
// A series also has a twin, that of the same place in the point before: mostly it has the same name and le. That the labels of a
// point's series are the same follows from the serial of their label set; all else is compared.
type followers struct {
	// serial is that of the label set of the last series, or 0 if there is none yet; labels are its encoded labels, and cut is
	// where they are cut. It begins at start.
	serial uint64
	labels []byte
	cut    [3]int
	start  int
	// inserts are the elements of these series, between the plain bytes of the segment's other ones.
	inserts block.Inserts
	// point has the series of its point so far, and before those of the point before. The labels of both have so many bytes in
	// common behind the name, which nothing is in front of if that is not 0, and before and behind le.
	point, before             []member
	behindName, front, behind int
	// longest is the most series that a point before had.
	longest int
	// exemplars are those that were written last, which stand at exemplarsAt.
	exemplars   []byte
	exemplarsAt int
	// scratch is where samples are encoded again.
	scratch []byte
}

// member is a series of a point: what it has besides the labels that all have, and where in the message that stands. Nobody
// writes to its labels any more.
type member struct {
	name         *seriesName
	le, quantile []byte
	// value are the bits of the sample's value, sample is the bytes of the encoded sample, and size what the header says.
	value        uint64
	timestamp    int64
	sample, size int

	nameAt, leAt, quantileAt, sampleAt int
}

// minSiblings is the least series of a point that are written as copies. Tests have it smaller.
var minSiblings = 12

const (
	// maxFollowed is the most bytes of labels of a series that is written as copies, which reach 64 kB back.
	maxFollowed = 16 << 10
	// maxBetween is the most bytes that may be between it and the series that it copies.
	maxBetween = 32 << 10
)

func (f *followers) reset() {
	if f.serial == 0 {
		return
	}
	f.inserts.Reset()
	f.serial, f.exemplars = 0, f.exemplars[:0]
	// Names and labels may be too large for the caches, which forget them.
	n := max(f.longest, len(f.point))
	clear(f.point[:min(n, cap(f.point))])
	clear(f.before[:min(n, cap(f.before))])
	f.point, f.before, f.longest = f.point[:0], f.before[:0], 0
}

// swap begins a point.
func (f *followers) swap() {
	f.longest = max(f.longest, len(f.point))
	f.point, f.before = f.before[:0], f.point
}

// capacity is the bytes of the buffers.
func (f *followers) capacity() int {
	return f.inserts.Capacity() + cap(f.labels) + cap(f.exemplars) + cap(f.scratch) +
		(cap(f.point)+cap(f.before))*int(unsafe.Sizeof(member{}))
}

// takes says whether a series that begins at at in the message is written as copies.
func (f *followers) takes(sr *series, at int) bool {
	return f.serial != 0 && sr.point.siblings >= minSiblings && (sr.labels.serial == f.serial || sr.le.label != nil || sr.quantile.label != nil) &&
		sr.point.histogram == nil && sr.labelsSize() <= maxFollowed && at-f.start <= maxBetween
}

// leads takes note of a plain series, which begins at at in the message, that others may follow.
func (f *followers) leads(sr *series, at, size, sample int) {
	if sr.point.siblings < minSiblings || sr.le.label == nil && sr.quantile.label == nil || sr.point.histogram != nil || size > maxFollowed {
		return
	}
	ls := sr.labels
	f.swap()
	// What is before is too far away to have twins.
	f.before = f.before[:0]
	f.serial, f.labels, f.cut, f.start = ls.serial, append(f.labels[:0], ls.buf...), ls.cut, at
	m := f.member(sr)
	m.sample, m.size = sample, size
	m.nameAt = at + 1 + wire.UvarintLen(uint64(size)) + ls.cut[0]
	m.leAt = m.nameAt + len(m.name.label) + ls.cut[1] - ls.cut[0]
	m.quantileAt = m.leAt + len(m.le) + ls.cut[2] - ls.cut[1]
	m.sampleAt = m.quantileAt + len(m.quantile) + len(ls.buf) - ls.cut[2]
}

// member adds a series to the point, without its places.
func (f *followers) member(sr *series) *member {
	n := len(f.point)
	if n == cap(f.point) {
		f.point = slices.Grow(f.point, 1)
	}
	f.point = f.point[:n+1]
	m := &f.point[n]
	// Mostly it is in the place of its twin of two points before, and to write the same pointer costs a barrier while garbage is
	// collected.
	if m.name != sr.name {
		m.name = sr.name
	}
	if !sameSlice(m.le, sr.le.label) {
		m.le = sr.le.label
	}
	if !sameSlice(m.quantile, sr.quantile.label) {
		m.quantile = sr.quantile.label
	}
	m.value, m.timestamp = math.Float64bits(sr.point.value), sr.point.timestamp
	return m
}

// sameSlice says whether two slices are the same bytes in memory.
func sameSlice(a, b []byte) bool {
	return len(a) == len(b) && unsafe.SliceData(a) == unsafe.SliceData(b)
}

// addAlike adds a series that differs from the one before in le or quantile and its value, and in that from its twin. Most are
// such. It returns false if the series is not.
func (f *followers) addAlike(sr *series, at int) (end int, ok bool) {
	p, n := sr.point, len(f.point)
	if sr.labels.serial != f.serial || n >= len(f.before) || len(p.exemplars) > 0 || p.histogram != nil {
		return 0, false
	}
	last, t, value := &f.point[n-1], &f.before[n], math.Float64bits(p.value)
	if sr.name != last.name || p.timestamp != last.timestamp || at != last.sampleAt+last.sample || value == 0 || last.value == 0 {
		return 0, false
	}
	label, labelAt, twinAt, front, behind := sr.le.label, last.leAt, t.leAt, f.front, f.behind
	if len(label) == 0 {
		label, labelAt, twinAt, front, behind = sr.quantile.label, last.quantileAt, t.quantileAt, 0, 0
	}
	if len(sr.le.label) != len(last.le) || len(sr.quantile.label) != len(last.quantile) || len(last.le) > 0 && len(last.quantile) > 0 ||
		!bytes.Equal(sr.le.label, t.le) || !bytes.Equal(sr.quantile.label, t.quantile) {
		return 0, false
	}
	w, back := &f.inserts, at-f.start
	w.Open(at)
	w.Copy(f.start, labelAt-f.start)
	rest := labelAt + len(label)
	if at-twinAt < block.Size-maxFollowed {
		rest += w.CopyAround(twinAt, len(label), front, min(behind, last.sampleAt-rest))
	} else {
		w.Literal(label)
	}
	if rest < last.sampleAt {
		w.Copy(rest, last.sampleAt-rest)
	}
	m := f.member(sr)
	last = &f.point[n-1]
	m.sample, m.size = last.sample, last.size
	m.nameAt, m.leAt, m.quantileAt, m.sampleAt = last.nameAt+back, last.leAt+back, last.quantileAt+back, last.sampleAt+back
	f.addValue(m, last, t)
	f.start = at
	return w.At(), true
}

// add adds a series as copies. point is its sample, which takes so many bytes, and its exemplars; at is where in the message the
// series begins. It returns where it ends.
func (f *followers) add(sr *series, point []byte, sample, at int) (end int) {
	f.inserts.Open(at)
	size := sr.labelsSize() + len(point)
	var m, last *member
	if sr.labels.serial == f.serial {
		m, last = f.addSame(sr, size)
	} else {
		m, last = f.addOther(sr, size)
	}
	m.sample, m.size, m.sampleAt = sample, size, f.inserts.At()
	f.addSample(m, last, f.twin(), point[:sample])
	f.start = at
	if len(point) > sample {
		f.addExemplars(point[sample:])
	}
	return f.inserts.At()
}

// addHeader adds the header of a series of that size.
func (f *followers) addHeader(size int, last *member) {
	if size == last.size {
		f.inserts.Copy(f.start, 1+wire.UvarintLen(uint64(size)))
		return
	}
	var header [wire.MaxSeriesHeaderLen]byte
	f.inserts.Literal(wire.AppendSeriesHeader(header[:0], size))
}

// twin is the series of the same place in the point before as that which was added last, or none.
func (f *followers) twin() *member {
	if i := len(f.point) - 1; i < len(f.before) {
		return &f.before[i]
	}
	return &noMember
}

// noMember is the twin of a series that has none.
var noMember = member{name: new(seriesName)}

// addSame adds the labels of a series of the same point.
func (f *followers) addSame(sr *series, size int) (m, last *member) {
	ls, w := sr.labels, &f.inserts
	m = f.member(sr)
	last, t := &f.point[len(f.point)-2], f.twin()
	if size == last.size && m.name == last.name {
		w.Copy(f.start, last.leAt-f.start)
		m.nameAt = w.At() - (last.leAt - last.nameAt)
	} else if size == t.size && m.name == t.name && f.behindName > 0 && w.At()-t.nameAt < block.Size-maxFollowed {
		// What has another size than the series before, or another name, has both from its twin.
		header, name := 1+wire.UvarintLen(uint64(size)), len(m.name.label)
		more := w.CopyAround(t.nameAt-header, header+name, 0, f.behindName)
		m.nameAt = w.At() - more - name
		w.Copy(last.nameAt+len(last.name.label)+more, ls.cut[1]-more)
	} else {
		f.addHeader(size, last)
		w.Repeat(ls.buf[:ls.cut[0]], last.nameAt-ls.cut[0])
		m.nameAt = w.At()
		f.addName(m, last, t)
		w.Repeat(ls.buf[ls.cut[0]:ls.cut[1]], last.nameAt+len(last.name.label))
	}
	m.leAt = w.At()
	more := 0
	if len(m.le) > 0 && bytes.Equal(m.le, t.le) && w.At()-t.leAt < block.Size {
		more = w.CopyAround(t.leAt, len(m.le), f.front, f.behind)
	} else {
		f.part(m.le, last.le, last.leAt, t.le, t.leAt)
	}
	if run := ls.buf[ls.cut[1]+more : ls.cut[2]]; len(run) > 0 {
		w.Repeat(run, last.leAt+len(last.le)+more)
	}
	m.quantileAt = w.At()
	if len(m.quantile) > 0 {
		f.part(m.quantile, last.quantile, last.quantileAt, t.quantile, t.quantileAt)
	}
	if ls.cut[2] < len(ls.buf) {
		w.Repeat(ls.buf[ls.cut[2]:], last.quantileAt+len(last.quantile))
	}
	return m, last
}

// addOther adds the labels of the first series of another point.
func (f *followers) addOther(sr *series, size int) (m, last *member) {
	ls, w, before, cut := sr.labels, &f.inserts, f.labels, f.cut
	f.swap()
	m = f.member(sr)
	last, t := &f.before[len(f.before)-1], f.twin()
	f.addHeader(size, last)
	l := labelsDiff{f: f, ls: ls}
	l.run(0, ls.cut[0], before[:cut[0]], last.nameAt-cut[0])
	m.nameAt = w.At()
	f.addName(m, last, t)
	l.run(ls.cut[0], ls.cut[1], before[cut[0]:cut[1]], last.nameAt+len(last.name.label))
	m.leAt = w.At()
	f.part(m.le, last.le, last.leAt, t.le, t.leAt)
	l.run(ls.cut[1], ls.cut[2], before[cut[1]:cut[2]], last.leAt+len(last.le))
	m.quantileAt = w.At()
	f.part(m.quantile, last.quantile, last.quantileAt, t.quantile, t.quantileAt)
	l.run(ls.cut[2], len(ls.buf), before[cut[2]:], last.quantileAt+len(last.quantile))
	if f.behindName = 0; cut[0] == 0 && ls.cut[0] == 0 {
		f.behindName = block.CommonStart(ls.buf[:ls.cut[1]], before[:cut[1]])
	}
	f.front = commonEnd(ls.buf[ls.cut[0]:ls.cut[1]], before[cut[0]:cut[1]])
	f.behind = block.CommonStart(ls.buf[ls.cut[1]:ls.cut[2]], before[cut[1]:cut[2]])
	f.serial, f.labels, f.cut = ls.serial, append(before[:0], ls.buf...), ls.cut
	return m, last
}

// addName adds the name of a series.
func (f *followers) addName(m, last, twin *member) {
	if name := m.name.label; m.name != last.name && bytes.Equal(name, twin.name.label) {
		f.inserts.Repeat(name, twin.nameAt)
	} else {
		f.labelsRun(name, last.name.label, last.nameAt)
	}
}

// labelsDiff adds a label set where the series before has another one.
type labelsDiff struct {
	f  *followers
	ls *labelSet
	// slot is the next of the label set's values.
	slot int
}

// run adds the labels from one place of the label set on and up to another, where the series before has last, at lastAt. Which
// values are not those of the series before is known; what should be the same is compared.
func (d *labelsDiff) run(from, to int, last []byte, lastAt int) {
	ls := d.ls
	for ; d.slot < len(ls.values) && ls.values[d.slot].end <= to; d.slot++ {
		v := &ls.values[d.slot]
		if v.changed <= d.f.serial || v.start == v.end {
			continue
		}
		start := v.start - labelFront(ls, d.slot)
		n := start - from
		if n < 0 || n > len(last) || !bytes.Equal(ls.buf[from:start], last[:n]) {
			break
		}
		d.f.inserts.Repeat(ls.buf[from:start], lastAt)
		rest := d.f.labelsRun(ls.buf[start:v.end], last[n:], lastAt+n)
		from, last, lastAt = v.end, rest, lastAt+len(last)-len(rest)
	}
	d.f.labelsRun(ls.buf[from:to], last, lastAt)
	for d.slot < len(ls.values) && ls.values[d.slot].end <= to {
		d.slot++
	}
}

// labelFront is how many bytes of a label stand before its value.
func labelFront(ls *labelSet, slot int) int {
	v := &ls.values[slot]
	n := v.end - v.start
	front := len(ls.plan.items[ls.plan.slots[slot].item].name) + wire.UvarintLen(uint64(n))
	return front + 1 + wire.UvarintLen(uint64(front+n))
}

// labelsRun adds labels where the series before has last, at lastAt, and returns what is left of that. Both are in the order of
// their names.
func (f *followers) labelsRun(b, last []byte, lastAt int) (rest []byte) {
	w := &f.inserts
	if n := len(b); n <= len(last) && bytes.Equal(b, last[:n]) {
		w.Repeat(b, lastAt)
		return last[n:]
	}
	for len(b) > 0 {
		n, m := labelLen(b), labelLen(last)
		if n == m && bytes.Equal(b[:n], last[:m]) {
			w.Repeat(b[:n], lastAt)
			b, last, lastAt = b[n:], last[m:], lastAt+m
			continue
		}
		field, name, to := labelName(b[:n])
		lastField, lastName, lastTo := labelName(last[:m])
		switch order := bytes.Compare(b[name:to], last[lastName:lastTo]); {
		case m > 0 && order > 0:
			last, lastAt = last[m:], lastAt+m
			continue
		case order != 0:
			w.Literal(b[:n])
			b = b[n:]
			continue
		case n == m:
			f.differ(b[:n], last[:m], lastAt)
		default:
			// The lengths differ, but not the names.
			w.Literal(b[:field])
			w.Repeat(b[field:to], lastAt+lastField)
			value, lastValue := valueFront(b[to:n]), valueFront(last[lastTo:m])
			w.Literal(b[to:][:value])
			f.differ(b[to+value:n], last[lastTo+lastValue:m], lastAt+lastTo+lastValue)
		}
		b, last, lastAt = b[n:], last[m:], lastAt+m
	}
	return last
}

// labelLen is the length of the first of encoded labels, if there is one.
func labelLen(b []byte) int {
	if len(b) == 0 {
		return 0
	}
	if b[1] < 1<<7 {
		return 2 + int(b[1])
	}
	size, n := binary.Uvarint(b[1:])
	return 1 + n + int(size)
}

// labelName says where in an encoded label the field of its name, and the name, begin and end.
func labelName(b []byte) (field, name, end int) {
	if len(b) == 0 {
		return 0, 0, 0
	}
	_, n := binary.Uvarint(b[1:])
	field = 1 + n
	size, n := binary.Uvarint(b[field+1:])
	name = field + 1 + n
	return field, name, name + int(size)
}

// valueFront is how many bytes stand between the name of a label and its value.
func valueFront(b []byte) int {
	_, n := binary.Uvarint(b[1:])
	return 1 + n
}

// part adds what stands where the series before has last, at lastAt, and its twin has twin, at twinAt.
func (f *followers) part(b, last []byte, lastAt int, twin []byte, twinAt int) {
	w := &f.inserts
	switch {
	case len(b) == 0:
		return
	case bytes.Equal(b, last):
		w.Repeat(b, lastAt)
		return
	case bytes.Equal(b, twin):
		w.Repeat(b, twinAt)
		return
	}
	f.differ(b, last, lastAt)
}

// differ adds bytes that begin and end like last.
func (f *followers) differ(b, last []byte, lastAt int) {
	w, n := &f.inserts, block.CommonStart(b, last)
	w.Repeat(b[:n], lastAt)
	k := commonEnd(b[n:], last)
	w.Literal(b[n : len(b)-k])
	w.Repeat(b[len(b)-k:], lastAt+len(last)-k)
}

// addSample adds the sample of m, whose encoding is b.
func (f *followers) addSample(m, last, twin *member, b []byte) {
	if m.value == 0 || last.value == 0 || m.timestamp != last.timestamp {
		// It may have other fields than the one before, or fields of other lengths.
		f.scratch = wire.AppendSample(f.scratch[:0], math.Float64frombits(last.value), last.timestamp)
		f.differ(b, f.scratch, last.sampleAt)
		return
	}
	f.addValue(m, last, twin)
}

// addValue adds a sample with the fields of the one before: only the value may be another one.
func (f *followers) addValue(m, last, twin *member) {
	w := &f.inserts
	x := m.value ^ last.value
	if x == 0 {
		w.Copy(last.sampleAt, m.sample)
		return
	}
	// The low bytes of the value come first.
	const value, end = 3, 3 + 8
	from, n := last.sampleAt, value+bits.TrailingZeros64(x)/8
	if twin.value != 0 && twin.sample == m.sample {
		k := min(value+bits.TrailingZeros64(m.value^twin.value)/8, end)
		if w.Continues(twin.sampleAt) || k > n+minGain && w.At()-twin.sampleAt < block.Size {
			from, n = twin.sampleAt, k
		}
	}
	w.Copy(from, n)
	if k := end - bits.LeadingZeros64(x)/8; n < k {
		w.LiteralWord(m.value>>(8*(n-value)), k-n)
		n = k
	}
	w.Copy(last.sampleAt+n, m.sample-n)
}

// minGain is from how many bytes on a copy from elsewhere is worth its element.
const minGain = 4

// addExemplars adds exemplars, which repeat those before in step, if they are as long.
func (f *followers) addExemplars(b []byte) {
	w, start := &f.inserts, f.inserts.At()
	for rest, at := b, 0; len(rest) > 0; {
		k := 0
		if at < len(f.exemplars) {
			k = block.CommonStart(rest, f.exemplars[at:])
		}
		w.Repeat(rest[:k], f.exemplarsAt+at)
		rest, at = rest[k:], at+k
		k = 0
		for k < len(rest) && (at+k >= len(f.exemplars) || rest[k] != f.exemplars[at+k]) {
			k++
		}
		w.Literal(rest[:k])
		rest, at = rest[k:], at+k
	}
	f.exemplars, f.exemplarsAt = append(f.exemplars[:0], b...), start
}

// commonEnd is how many bytes both end with, up to those of an element.
func commonEnd(a, b []byte) int {
	k := 0
	for k < min(len(a), len(b), 64) && a[len(a)-k-1] == b[len(b)-k-1] {
		k++
	}
	return k
}
