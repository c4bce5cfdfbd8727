package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"encoding/binary"
	"math"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"
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
	// hash is the sum of those of the labels in buf. It is a sum so that it need not be made from the start when a few labels
	// are exchanged.
	hash uint64
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
	// hash is that of the value, and label that of the label.
	hash, label uint64
	// changed is the serial of the label set that was the first to have the value.
	changed uint64
}

// hashSeed separates the parts that a hash is combined from. It must never change: a restart and another machine choose
// the same partition for a series.
const hashSeed = 0x9e3779b97f4a7c15

// combine mixes two hashes. It is a bijection in each of them, so that it adds no collisions of its own.
func combine(a, b uint64) uint64 {
	h := a ^ bits.RotateLeft64(b*hashSeed, 31)
	h ^= h >> 33
	h *= 0xff51afd7ed558ccd
	h ^= h >> 33
	h *= 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

// nameHash is the part of the hash of a label that is its name's.
func nameHash(name string) uint64 {
	return combine(hashSeed, xxhash.Sum64String(name))
}

// labelHash is the hash of a label, made of those of its name and value.
func labelHash(name, value uint64) uint64 {
	return combine(name, value)
}

// partitionKey is the hash of the series' metric family and of its labels without le and quantile. It depends on
// nothing but the series' labels, and is the same for the buckets, sum and count of a histogram.
func (ls *labelSet) partitionKey(name *seriesName) uint64 {
	return combine(ls.hash, name.family)
}

// seriesHash is the hash of the whole label set of a series.
func (ls *labelSet) seriesHash(name *seriesName, le, quantile uint64) uint64 {
	return combine(combine(combine(ls.hash, name.hash), le), quantile)
}

// pointKey tells the points of histograms and summaries apart: it is a hash of the labels that all series of a point
// have, of the metric's name and of its type.
func (ls *labelSet) pointKey(names *metricNames, kind metricKind) uint64 {
	return combine(ls.seriesHash(&names.plain, hashValue(ls.le), hashValue(ls.quantile)), uint64(kind))
}

// hashValue is the hash of the value of le or quantile; that of no such label is 0.
func hashValue(value string) uint64 {
	if value == "" {
		return 0
	}
	return xxhash.Sum64String(value)
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

// shape is what follows from the attribute keys of a point: its label names.
type shape struct {
	// keys are the attribute keys as the payload orders them.
	keys  []string
	attrs []shapeAttr
	plans [kinds]plan
}

// shapeAttr is a label made from attributes.
type shapeAttr struct {
	name string
	// from are the attributes, by their position, whose values are joined; there is more than one if several keys become
	// the same name, in the order of the keys.
	from []int
}

func newShape(keys []string, n *namer) *shape {
	s := &shape{keys: make([]string, len(keys))}
	order := make([]int, len(keys))
	for i, key := range keys {
		s.keys[i], order[i] = strings.Clone(key), i
	}
	slices.SortStableFunc(order, func(a, b int) int { return strings.Compare(s.keys[a], s.keys[b]) })
	for _, i := range order {
		if name := n.labelName(s.keys[i]); name != "" {
			s.attrs = addAttr(s.attrs, shapeAttr{name: name, from: []int{i}})
		}
	}
	slices.SortFunc(s.attrs, func(a, b shapeAttr) int { return strings.Compare(a.name, b.name) })
	return s
}

func addAttr(attrs []shapeAttr, a shapeAttr) []shapeAttr {
	for i := range attrs {
		if attrs[i].name == a.name {
			attrs[i].from = append(attrs[i].from, a.from...)
			return attrs
		}
	}
	return append(attrs, a)
}

// constLabel is a label that all series of a resource and scope have.
type constLabel struct {
	name, value string
	// own labels are the translation's own, like job: an attribute of the same name gets another name. Of other
	// constant labels, like external labels, the attribute takes the place.
	own bool
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
	// scope are values of the scope that are joined with those of attributes. In planItem.from they follow the attributes.
	scope []string
	// hash is the sum of those of the constant labels.
	hash uint64
	// size is the most bytes of a label set besides the attribute values.
	size int
	// classic says that all label names can be sent in 1.0.
	classic bool
	// memos are the plan's references by partition.
	memos []planMemo
}

// planSlot is an item with a label from one attribute.
type planSlot struct {
	item, from int
	// name is nameHash of the label's name.
	name uint64
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
}

// The hashes of the names of labels that are not made from attributes.
var (
	nameLabelHash     = xxhash.Sum64String(nameLabel)
	leLabelHash       = xxhash.Sum64String(leLabel)
	quantileLabelHash = xxhash.Sum64String(quantileLabel)
)

// plan returns the plan of the shape in a context, which it makes if the one it has is for another context.
func (s *shape) plan(c *labelContext, kind metricKind) *plan {
	p := &s.plans[kind]
	if p.epoch != c.epoch {
		p.build(s.renamed(c, kind), s.keys, c)
	}
	return p
}

// renamed returns the shape's labels such that none has a name that is reserved: such a label is prefixed until its
// name is free, so that no attribute is lost and two series cannot become one. The names of the scope's labels stay: there
// the values are joined.
func (s *shape) renamed(c *labelContext, kind metricKind) []shapeAttr {
	attrs := s.attrs
	if kind == targetInfoKind && !c.keepIdentifying {
		attrs = s.describing()
	}
	taken := func(name string) bool {
		l, ok := c.find(name)
		return ok && l.own || kind.reserves(name)
	}
	renames := func(name string) bool { return taken(name) && len(c.scopeValues(name)) == 0 }
	if !slices.ContainsFunc(attrs, func(a shapeAttr) bool { return renames(a.name) }) {
		return attrs
	}
	attrs = slices.Clone(attrs)
	for i := range attrs {
		if !renames(attrs[i].name) {
			continue
		}
		name := exportedPrefix + attrs[i].name
		for taken(name) || slices.ContainsFunc(attrs, func(a shapeAttr) bool { return a.name == name }) {
			name = exportedPrefix + name
		}
		attrs[i].name = name
	}
	slices.SortFunc(attrs, func(a, b shapeAttr) int { return strings.Compare(a.name, b.name) })
	return attrs
}

// describing returns the labels of a target_info: those from attributes that do not identify the resource.
func (s *shape) describing() []shapeAttr {
	var attrs []shapeAttr
	for _, a := range s.attrs {
		from := slices.DeleteFunc(slices.Clone(a.from), func(i int) bool { return identifies(s.keys[i]) })
		if len(from) > 0 {
			attrs = append(attrs, shapeAttr{name: a.name, from: from})
		}
	}
	return attrs
}

// build merges labels from attributes of the keys with those of the context, both sorted by name.
func (p *plan) build(attrs []shapeAttr, keys []string, c *labelContext) {
	for i := range p.memos {
		p.memos[i].generation = 0
	}
	*p = plan{epoch: c.epoch, items: p.items[:0], slots: p.slots[:0], classic: true, memos: p.memos}
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
			p.hash += labelHash(nameHash(l.name), xxhash.Sum64String(l.value))
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
		p.slots = append(p.slots, planSlot{item: len(p.items), from: a.from[0], name: nameHash(a.name)})
		p.joins = p.joins || len(a.from) > 1
		if len(constants) > 0 && constants[0].name == a.name {
			item.fallback = wire.AppendLabel(nil, a.name, constants[0].value)
			item.fallbackValue = strings.Clone(constants[0].value)
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
func (ls *labelSet) encode(p *plan, values []string) {
	size := p.size
	for _, v := range values {
		size += len(v)
	}
	buf := slices.Grow(ls.buf[:0], size)
	ls.values, ls.hash = ls.values[:0], p.hash
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
		name, span := p.slots[len(ls.values)].name, valueSpan{changed: ls.serial}
		switch {
		case value != "":
			buf = wire.AppendLabelValue(buf, it.name, value)
			span.hash = xxhash.Sum64String(value)
			span.label = labelHash(name, span.hash)
		case it.fallback != nil:
			buf = append(buf, it.fallback...)
			span.label = labelHash(name, xxhash.Sum64String(it.fallbackValue))
		}
		span.start, span.end = len(buf)-len(value), len(buf)
		ls.hash += span.label
		ls.values = append(ls.values, span)
	}
	for ; run < 3; run++ {
		ls.cut[run] = len(buf)
	}
	ls.buf, ls.plan, ls.epoch = buf, p, p.epoch
}

// change makes ls, which is the label set of another point, that of a point with the given attribute values. It returns
// false, and leaves ls to be encoded from the start, if it is not of the same plan, or the values are different in a way that
// is rare. It takes a third of the time of encode if few values are different.
func (ls *labelSet) change(p *plan, values []string) bool {
	if ls.plan != p || ls.epoch != p.epoch || p.joins {
		return false
	}
	// What is not finished must not be taken for a label set of the plan.
	ls.plan = nil
	buf, shift := ls.buf, 0
	for i, slot := range p.slots {
		at, value := &ls.values[i], values[slot.from]
		at.start += shift
		at.end += shift
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
		at.hash, at.changed = xxhash.Sum64String(value), ls.serial
		at.label = labelHash(slot.name, at.hash)
		ls.hash += at.label
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

// join joins those of the values that are not empty.
func join(values []string, from []int) string {
	joined := ""
	for _, i := range from {
		switch {
		case values[i] == "":
		case joined == "":
			joined = values[i]
		default:
			joined += ";" + values[i]
		}
	}
	return joined
}

// isASCII says whether b is ASCII only.
func isASCII(b []byte) bool {
	const high = 0x8080808080808080
	for len(b) >= 32 {
		or := binary.LittleEndian.Uint64(b) | binary.LittleEndian.Uint64(b[8:]) |
			binary.LittleEndian.Uint64(b[16:]) | binary.LittleEndian.Uint64(b[24:])
		if or&high != 0 {
			return false
		}
		b = b[32:]
	}
	for len(b) >= 8 {
		if binary.LittleEndian.Uint64(b)&high != 0 {
			return false
		}
		b = b[8:]
	}
	for _, c := range b {
		if c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

// repairUTF8 makes the values valid UTF-8 and says whether it had to change one.
func repairUTF8(values []string) bool {
	repaired := false
	for i, v := range values {
		if !utf8.ValidString(v) {
			values[i] = strings.ToValidUTF8(v, string(utf8.RuneError))
			repaired = true
		}
	}
	return repaired
}

// Bounds of the caches of a labeler.
const (
	maxShapes     = 1 << 12
	maxCachedInts = 1 << 12
	maxMemos      = 1 << 14
)

// labeler makes label sets. It is not safe for concurrent use.
type labeler struct {
	namer  *namer
	shapes map[uint64][]*shape
	count  int
	// memos counts those of the plans of all shapes.
	memos int
	// last is the shape of the point before; neighbours mostly have the same keys.
	last *shape
	ints map[int64]string

	keys   []string
	values []string
	// plan is that of set, the label set that was made last.
	plan *plan
	set  labelSet
}

func newLabeler(n *namer) *labeler {
	return &labeler{namer: n, shapes: make(map[uint64][]*shape), ints: make(map[int64]string)}
}

// labelSet returns the label set of a point. It is valid until the next call.
func (l *labeler) labelSet(attrs pcommon.Map, c *labelContext, kind metricKind) *labelSet {
	s := l.shape(attrs)
	p := s.plan(c, kind)
	l.plan, l.values = p, append(l.values, p.scope...)
	ls := &l.set
	ls.serial++
	if !ls.change(p, l.values) {
		ls.encode(p, l.values)
		// Bytes over 0x7f are lengths over 127 or values in other scripts, and only the latter can be invalid. A look at the
		// encoded bytes is four times as cheap as one at each value.
		if !isASCII(ls.buf) && repairUTF8(l.values) {
			ls.encode(p, l.values)
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
		hash = combine(hash, xxhash.Sum64String(key))
	}
	for _, s := range l.shapes[hash] {
		if slices.Equal(s.keys, l.keys) {
			return s
		}
	}
	if l.count >= maxShapes {
		clear(l.shapes)
		l.count, l.memos = 0, 0
	}
	s := newShape(l.keys, l.namer)
	l.shapes[hash] = append(l.shapes[hash], s)
	l.count++
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

// anyString follows the OpenTelemetry specification's rules for AnyValue to string ("Common", "AnyValue representation
// for non-OTLP protocols").
func anyString(v pcommon.Value) string {
	s := v.AsString()
	if s != "" || v.Type() != pcommon.ValueTypeMap && v.Type() != pcommon.ValueTypeSlice {
		return s
	}
	// AsString gives up on a NaN or an infinity inside a map or an array, where they shall be strings.
	finite := pcommon.NewValueEmpty()
	v.CopyTo(finite)
	quoteNonFinite(finite)
	return finite.AsString()
}

// quoteNonFinite makes strings of the numbers that JSON does not have.
func quoteNonFinite(v pcommon.Value) {
	switch v.Type() {
	case pcommon.ValueTypeDouble:
		if math.IsNaN(v.Double()) || math.IsInf(v.Double(), 0) {
			v.SetStr(v.AsString())
		}
	case pcommon.ValueTypeMap:
		for _, element := range v.Map().All() {
			quoteNonFinite(element)
		}
	case pcommon.ValueTypeSlice:
		for _, element := range v.Slice().All() {
			quoteNonFinite(element)
		}
	}
}

// intString keeps the strings that it has made: integers among attributes are few and repeat, like status codes.
func (l *labeler) intString(i int64) string {
	s, ok := l.ints[i]
	if !ok {
		if len(l.ints) >= maxCachedInts {
			clear(l.ints)
		}
		s = strconv.FormatInt(i, 10)
		l.ints[i] = s
	}
	return s
}

// forget lets go of what belongs to a payload.
func (l *labeler) forget() {
	clear(l.keys[:cap(l.keys)])
	clear(l.values[:cap(l.values)])
	l.set.le, l.set.quantile = "", ""
}
