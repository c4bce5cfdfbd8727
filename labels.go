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

// metricKind says which label names the series of a metric need for themselves.
type metricKind uint8

const (
	plainKind metricKind = iota
	histogramKind
	summaryKind
	// targetInfoKind leaves out the attributes that identify a resource, unless the context keeps them.
	targetInfoKind
	kinds
)

func (k metricKind) reserves(name string) bool {
	switch k {
	case histogramKind:
		return name == leLabel
	case summaryKind:
		return name == quantileLabel
	case targetInfoKind:
		return name == jobLabel || name == instanceLabel
	default:
		return false
	}
}

// constLabel is a label that all series of a resource and scope have.
type constLabel struct {
	name, value string
	// own labels are the translation's own, like job: an attribute of the same name gets another name. Of other
	// constant labels, like external labels, the attribute takes the place.
	own bool
	// hash and place are the label's parts in the identity and in the partition key.
	hash, place uint64
}

// setHashes sets hash and place.
func (l *constLabel) setHashes(secret partitionSecret) {
	l.hash = labelHash(nameHash(l.name), wire.Hash(l.value))
	l.place = secret.label(secret.name(l.name), []byte(l.value))
}

// labelContext is the constant labels of a resource and scope, sorted by name.
type labelContext struct {
	labels []constLabel
	// scope are the values of those labels that are the scope's, sorted by name and key.
	scope []scopeValue
	// keepIdentifying says that the attributes that identify a resource are among the labels of its target_info.
	keepIdentifying bool
	// epoch tells contexts apart; it is never 0.
	epoch uint64
}

func (c *labelContext) find(name string) (constLabel, bool) {
	i, ok := slices.BinarySearchFunc(c.labels, name, func(l constLabel, name string) int { return strings.Compare(l.name, name) })
	if !ok {
		return constLabel{}, false
	}
	return c.labels[i], true
}

// plan is a shape in a context.
type plan struct {
	epoch uint64
	// items are in the order of the label names; cut is where the runs of labelSet.buf end.
	items []planItem
	cut   [3]int
	// le and quantile are the attributes of these names.
	le, quantile []int
	// slots are the items with a label from attributes, unless joins is set: then some are made from several attributes.
	slots []planSlot
	joins bool
	// hash and place are the sums over the constant labels.
	hash, place uint64
	// scope are values of the scope that are joined with those of attributes. In planItem.from they follow the attributes.
	scope []string
	// size is the most bytes of a label set besides the attribute values.
	size int
	// classic says that all label names can be sent in 1.0.
	classic bool
	// memos are the plan's references by partition.
	memos []planMemo
	// held is what the plan takes of the caches' budget, besides its memos.
	held int
}

// cost is the bytes of the plan.
func (p *plan) cost() int {
	cost := cap(p.items)*int(unsafe.Sizeof(planItem{})) + cap(p.slots)*int(unsafe.Sizeof(planSlot{})) + cap(p.scope)*stringSize
	for i := range p.items {
		it := &p.items[i]
		cost += cap(it.constant) + cap(it.constants)*int(unsafe.Sizeof(constLabel{})) + len(it.name) + cap(it.fallback) + len(it.fallbackValue) + 3*allocation
		for j := range it.constants {
			cost += len(it.constants[j].name) + len(it.constants[j].value) + allocation
		}
	}
	for _, value := range p.scope {
		cost += len(value) + allocation
	}
	return cost
}

// stringSize is the bytes of a string besides its own.
const stringSize = int(unsafe.Sizeof(""))

// planSlot is an item with a label from one attribute.
type planSlot struct {
	item, from int
	// name and placeName are what the label's parts in the identity and in the partition key begin with.
	name, placeName uint64
}

// planItem is any number of constant labels, and after them possibly a label made from attributes.
type planItem struct {
	constant []byte
	// constants are the labels of constant.
	constants []constLabel
	// name is nil if no label from attributes follows; label is the same, not encoded.
	name  []byte
	label string
	from  []int
	// fallback is a constant label for when the attributes are empty, and fallbackValue its value.
	fallback      []byte
	fallbackValue string
	// fallbackHash and fallbackPlace are its parts in the sums of a label set.
	fallbackHash, fallbackPlace uint64
}

// planOf returns the plan of a shape in a context. It is made if the shape has one for another context.
func (l *labeler) planOf(s *shape, c *labelContext, kind metricKind) *plan {
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

// build merges labels from attributes of the keys with those of the context, both sorted by name.
func (p *plan) build(attrs []shapeAttr, keys []string, c *labelContext) {
	for i := range p.memos {
		p.memos[i].generation = 0
	}
	*p = plan{epoch: c.epoch, items: p.items[:0], slots: p.slots[:0], classic: true, memos: p.memos, held: p.held}
	constants := c.labels
	var item planItem
	run := 0
	push := func() {
		p.items = append(p.items, item)
		item = planItem{}
	}
	// endRuns closes the runs of labels that sort before name.
	endRuns := func(name string) {
		for ; run < 3 && name >= [...]string{nameLabel, leLabel, quantileLabel}[run]; run++ {
			if item.constant != nil {
				push()
			}
			p.cut[run] = len(p.items)
		}
	}
	for len(attrs) > 0 || len(constants) > 0 {
		if len(attrs) == 0 || len(constants) > 0 && constants[0].name < attrs[0].name {
			l := constants[0]
			constants = constants[1:]
			endRuns(l.name)
			p.count(l.name, len(l.value))
			item.constant = wire.AppendLabel(item.constant, l.name, l.value)
			p.hash += l.hash
			p.place += l.place
			// The value may belong to the payload, of which nothing may be kept.
			item.constants = append(item.constants, constLabel{name: l.name, value: strings.Clone(l.value)})
			continue
		}
		a := attrs[0]
		attrs = attrs[1:]
		endRuns(a.name)
		if scope := c.scopeValues(a.name); len(scope) > 0 {
			a.from = p.joinScope(a.from, keys, scope)
			constants = constants[1:]
		}
		p.count(a.name, len(a.from))
		switch a.name {
		case leLabel:
			p.le = a.from
			continue
		case quantileLabel:
			p.quantile = a.from
			continue
		}
		item.name, item.label, item.from = wire.LabelName(a.name), a.name, a.from
		p.slots = append(p.slots, planSlot{item: len(p.items), from: a.from[0], name: a.hash, placeName: a.place})
		p.joins = p.joins || len(a.from) > 1
		if len(constants) > 0 && constants[0].name == a.name {
			item.fallback = wire.AppendLabel(nil, a.name, constants[0].value)
			item.fallbackValue = strings.Clone(constants[0].value)
			item.fallbackHash, item.fallbackPlace = constants[0].hash, constants[0].place
			p.size += len(item.fallback)
			constants = constants[1:]
		}
		push()
	}
	endRuns("\xff")
	if item.constant != nil {
		push()
	}
}

// count counts a label of the plan.
func (p *plan) count(name string, valueSize int) {
	p.size += len(name) + valueSize + wire.MaxLabelOverhead
	p.classic = p.classic && isClassicLabelName(name)
}

// encode makes ls the label set of a point with the given attribute values.
func (ls *labelSet) encode(p *plan, values []string, secret partitionSecret) {
	size := p.size
	for _, v := range values {
		size += len(v)
	}
	buf := slices.Grow(ls.buf[:0], size)
	ls.values, ls.hash, ls.place = ls.values[:0], p.hash, p.place
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
	// What is not finished must not be taken for a label set of the plan.
	ls.plan = nil
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
	ls.buf, ls.plan = buf, p
	return true
}

// value is that of the label made from attributes.
func (it *planItem) value(values []string) string {
	if len(it.from) == 1 {
		return values[it.from[0]]
	}
	return join(values, it.from)
}

// labeler makes label sets. It is not safe for concurrent use.
type labeler struct {
	namer   *namer
	secret  partitionSecret
	account *cacheAccount
	shapes  map[uint64][]*shape
	ints    map[int64]string
	// last is the shape of the point before; neighbours mostly have the same keys.
	last *shape
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
	l.shapes, l.ints = make(map[uint64][]*shape), make(map[int64]string)
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

// shape returns the shape of the attributes and takes their values. The loops are apart, and short, because the time goes
// into waiting for memory: so the processor has more of the attributes underway at once, which takes a quarter off.
func (l *labeler) shape(attrs pcommon.Map) *shape {
	keys, values := l.keys[:0], l.values[:0]
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

func (l *labeler) findShape() *shape {
	hash := uint64(0)
	for _, key := range l.keys {
		hash = combine(hash, wire.Hash(key))
	}
	for _, s := range l.shapes[hash] {
		if slices.Equal(s.keys, l.keys) {
			return s
		}
	}
	s := newShape(l.keys, l.namer)
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
