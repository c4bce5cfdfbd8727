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

	keys   []string
	values []string
	// plan is that of set, the label set that was made last.
	plan *plan
	set  labelSet
}

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
	s := l.shape(attrs)
	p := l.planOf(s, c, kind)
	l.plan, l.values = p, append(l.values, p.scope...)
	ls := &l.set
	ls.serial++
	if !ls.change(p, l.values, l.secret) {
		ls.encode(p, l.values, l.secret)
		// Bytes over 0x7f are lengths over 127 or values in other scripts, and only the latter can be invalid. A look at the
		// encoded bytes is four times as cheap as one at each value.
		if !isASCII(ls.buf) && repairUTF8(l.values) {
			ls.encode(p, l.values, l.secret)
		}
	}
	ls.le, ls.quantile = "", ""
	if p.le != nil || p.quantile != nil {
		ls.le = strings.ToValidUTF8(join(l.values, p.le), string(utf8.RuneError))
		ls.quantile = strings.ToValidUTF8(join(l.values, p.quantile), string(utf8.RuneError))
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

// shape returns the shape of the attributes and takes their values. The loops are apart, and short, because the time goes
// into waiting for memory: so the processor has more of the attributes underway at once, which takes a quarter off.
func (l *labeler) shape(attrs pcommon.Map) *planned {
	keys, values := slices.Grow(l.keys[:0], attrs.Len()), slices.Grow(l.values[:0], attrs.Len())
	plain := true
	for key, value := range attrs.All() {
		s := value.Str()
		plain = plain && s != ""
		keys, values = append(keys, key), append(values, s)
	}
	l.keys, l.values = keys, values
	if !plain {
		i := 0
		for _, value := range attrs.All() {
			values[i] = l.valueString(value)
			i++
		}
	}
	if l.last == nil || !slices.Equal(l.last.keys, keys) {
		l.last = l.findShape()
	}
	return l.last
}

func (l *labeler) findShape() *planned {
	hash := uint64(0)
	for _, key := range l.keys {
		hash = combine(hash, wire.Hash(key))
	}
	for _, s := range l.shapes[hash] {
		if slices.Equal(s.keys, l.keys) {
			return s
		}
	}
	s := &planned{shape: newShape(l.keys, l.namer)}
	if s.kept = l.account.take(s.cost()); s.kept {
		l.shapes[hash] = append(l.shapes[hash], s)
	}
	return s
}

// valueString is anyString without an allocation for the usual types.
func (l *labeler) valueString(v pcommon.Value) string {
	if s := v.Str(); s != "" {
		return s
	}
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
