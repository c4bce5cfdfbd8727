// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
	"unsafe"

	"go.opentelemetry.io/collector/pdata/pcommon"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// planned is a shape with its plans.
type planned struct {
	shape
	plans [kinds]plan
	// kept says that it is in a cache.
	kept bool
}

// cost is the bytes of the shape in a cache, without those of its plans.
func (p *planned) cost() int {
	return mapSlots*4*8 + 8 + int(unsafe.Sizeof(*p)) + p.shape.cost()
}

// labeler makes label sets. It is not safe for concurrent use.
type labeler struct {
	namer   *namer
	secret  partitionSecret
	account *cacheAccount
	shapes  map[uint64][]*planned
	ints    map[int64]string
	// last is the shape of the point before; neighbours mostly have the same keys.
	last *planned
	// large are plans that are too large to be kept when the payload is done.
	large []*plan

	// keys and values are scratch for attributes that are new, or many.
	keys, values []string
	// plan is that of set, the label set that was made last.
	plan *plan
	set  labelSet
}

// fewAttributes is how many attribute values have room on the stack, where a pointer is written without a barrier: while garbage was
// collected, the barriers took a tenth of the exporter's time.
const fewAttributes = 32

func newLabeler(n *namer) *labeler {
	l := &labeler{namer: n, secret: n.secret, account: n.account}
	l.forgetShapes()
	return l
}

// forgetShapes empties the caches.
func (l *labeler) forgetShapes() {
	l.shapes, l.ints = make(map[uint64][]*planned), make(map[int64]string)
}

// labelSet returns the label set of a point. It is valid until the next call.
func (l *labeler) labelSet(attrs pcommon.Map, c *labelContext, kind metricKind) *labelSet {
	p := l.planOf(l.shape(attrs), c, kind)
	n := attrs.Len()
	if n+len(p.scope) > fewAttributes {
		return l.manyValues(p, attrs)
	}
	var few [fewAttributes]string
	// This loop, that of fits, and that of change are apart, and short, because the time goes into waiting for memory: so the
	// processor has more of the attributes underway at once, which takes a quarter off.
	i, plain := 0, true
	for _, value := range attrs.All() {
		s := value.Str()
		plain = plain && s != ""
		few[i%fewAttributes] = s
		i++
	}
	if !plain {
		l.convert(few[:n], attrs)
	}
	return l.fill(p, few[:n+copy(few[n:], p.scope)])
}

// manyValues is labelSet for values that have no room on the stack.
func (l *labeler) manyValues(p *plan, attrs pcommon.Map) *labelSet {
	values := slices.Grow(l.values[:0], attrs.Len()+len(p.scope))
	for _, value := range attrs.All() {
		values = append(values, value.Str())
	}
	l.convert(values, attrs)
	l.values = append(values, p.scope...)
	return l.fill(p, l.values)
}

// convert makes strings of the values that are none.
func (l *labeler) convert(values []string, attrs pcommon.Map) {
	i := 0
	for _, value := range attrs.All() {
		if values[i] == "" {
			values[i] = l.valueString(value)
		}
		i++
	}
}

// fill makes the label set of a plan with values.
func (l *labeler) fill(p *plan, values []string) *labelSet {
	ls := &l.set
	ls.serial++
	if !ls.change(p, values, l.secret) {
		ls.encode(p, values, l.secret)
		// Bytes over 0x7f are lengths over 127 or values in other scripts, and only the latter can be invalid. A look at the
		// encoded bytes is four times as cheap as one at each value.
		if !isASCII(ls.buf) && repairUTF8(values) {
			ls.encode(p, values, l.secret)
		}
	}
	if l.plan != p {
		l.plan = p
	}
	le, quantile := "", ""
	if p.le != nil || p.quantile != nil {
		le = strings.ToValidUTF8(join(values, p.le), string(utf8.RuneError))
		quantile = strings.ToValidUTF8(join(values, p.quantile), string(utf8.RuneError))
	}
	if ls.le != le || ls.quantile != quantile {
		ls.le, ls.quantile = le, quantile
	}
	return ls
}

// planOf returns the plan of a shape in a context. It is made if the shape has one for another context.
func (l *labeler) planOf(s *planned, c *labelContext, kind metricKind) *plan {
	p := &s.plans[kind]
	if p.epoch != c.epoch {
		p.build(s.renamed(c, kind, l.secret), s.keys, c)
		l.hold(p, &p.held, p.cost())
	}
	return p
}

// hold takes what a part of a plan has grown by.
func (l *labeler) hold(p *plan, held *int, cost int) {
	if cost <= *held {
		return
	}
	if !l.account.take(cost - *held) {
		l.large = append(l.large, p)
	}
	*held = cost
}

// shape returns the shape of the attributes.
func (l *labeler) shape(attrs pcommon.Map) *planned {
	if l.last == nil || !l.last.fits(attrs) {
		l.last = l.findShape(attrs)
	}
	return l.last
}

func (l *labeler) findShape(attrs pcommon.Map) *planned {
	hash, keys := uint64(0), slices.Grow(l.keys[:0], attrs.Len())
	for key := range attrs.All() {
		hash = combine(hash, wire.Hash(key))
		keys = append(keys, key)
	}
	l.keys = keys
	for _, s := range l.shapes[hash] {
		if s.fits(attrs) {
			return s
		}
	}
	s := &planned{shape: newShape(keys, l.namer)}
	if s.kept = l.account.take(s.cost()); s.kept {
		l.shapes[hash] = append(l.shapes[hash], s)
	}
	return s
}

// valueString is anyString without an allocation for the usual types.
func (l *labeler) valueString(v pcommon.Value) string {
	switch v.Type() {
	case pcommon.ValueTypeStr:
		return ""
	case pcommon.ValueTypeInt:
		return l.intString(v.Int())
	case pcommon.ValueTypeBool:
		return strconv.FormatBool(v.Bool())
	default:
		return anyString(v)
	}
}

// intString keeps the strings that it has made: integers among attributes are few and repeat, like status codes.
func (l *labeler) intString(i int64) string {
	s, ok := l.ints[i]
	if !ok {
		s = strconv.FormatInt(i, 10)
		if l.account.take(mapSlots*(8+stringSize) + 2*allocation) {
			l.ints[i] = s
		}
	}
	return s
}

// forget lets go of what belongs to a payload.
func (l *labeler) forget() {
	l.keys, l.values = emptied(l.keys), emptied(l.values)
	l.set.le, l.set.quantile = "", ""
	for _, p := range l.large {
		*p = plan{}
	}
	if len(l.large) > 0 || l.last != nil && !l.last.kept {
		l.large, l.last, l.plan, l.set.plan = nil, nil, nil, nil
	}
}
