// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"slices"
	"strings"
	"unsafe"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

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
	// memo has the plan's references.
	memo planMemo
	// held is what the plan takes of the caches' budget, besides its memo.
	held int
}

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

// cost is the bytes of the plan, without what its memo refers to.
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

// runEnds are the labels before which a run of labels ends.
var runEnds = [3]string{nameLabel, leLabel, quantileLabel}

// addConstants gives an item that has none its constant labels.
func (p *plan) addConstants(it *planItem, labels []constLabel) {
	size, values := 0, 0
	for i := range labels {
		size += len(labels[i].name) + len(labels[i].value) + wire.MaxLabelOverhead
		values += len(labels[i].value)
	}
	it.constant, it.constants = make([]byte, 0, size), make([]constLabel, 0, len(labels))
	// The values may belong to the payload, of which nothing may be kept.
	var kept strings.Builder
	kept.Grow(values)
	for i := range labels {
		l := &labels[i]
		kept.WriteString(l.value)
		p.count(l.name, len(l.value))
		p.hash += l.hash
		p.place += l.place
		it.constant = wire.AppendLabel(it.constant, l.name, l.value)
	}
	all := kept.String()
	for i := range labels {
		n := len(labels[i].value)
		it.constants = append(it.constants, constLabel{name: labels[i].name, value: all[:n]})
		all = all[n:]
	}
}

// build merges labels from attributes of the keys with those of the context, both sorted by name.
func (p *plan) build(attrs []shapeAttr, keys []string, c *labelContext) {
	p.memo.generation = 0
	*p = plan{
		epoch: c.epoch, classic: true, memo: p.memo, held: p.held,
		// Besides the labels from attributes there are those before __name__, le and quantile, and after all.
		items: slices.Grow(p.items[:0], len(attrs)+4), slots: slices.Grow(p.slots[:0], len(attrs)),
	}
	constants := c.labels
	var item planItem
	run := 0
	push := func() {
		p.items = append(p.items, item)
		item = planItem{}
	}
	// endRuns closes the runs of labels that sort before name.
	endRuns := func(name string) {
		for ; run < 3 && name >= runEnds[run]; run++ {
			if item.constant != nil {
				push()
			}
			p.cut[run] = len(p.items)
		}
	}
	for len(attrs) > 0 || len(constants) > 0 {
		if len(attrs) == 0 || len(constants) > 0 && constants[0].name < attrs[0].name {
			endRuns(constants[0].name)
			n := 1
			for n < len(constants) && (len(attrs) == 0 || constants[n].name < attrs[0].name) && (run == 3 || constants[n].name < runEnds[run]) {
				n++
			}
			p.addConstants(&item, constants[:n])
			constants = constants[n:]
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

// joinScope returns the attributes that a label is made from and the scope's values for it, in the order of their keys
// (OpenTelemetry specification, "Prometheus and OpenMetrics Compatibility", "Metric Attributes").
func (p *plan) joinScope(from []int, keys []string, scope []scopeValue) []int {
	joined := make([]int, 0, len(from)+len(scope))
	for _, v := range scope {
		for len(from) > 0 && keys[from[0]] < v.key {
			joined, from = append(joined, from[0]), from[1:]
		}
		joined = append(joined, len(keys)+len(p.scope))
		// The value may belong to the payload, of which nothing may be kept.
		p.scope = append(p.scope, strings.Clone(v.value))
	}
	return append(joined, from...)
}

// value is that of the label made from attributes.
func (it *planItem) value(values []string) string {
	if len(it.from) == 1 {
		return values[it.from[0]]
	}
	return join(values, it.from)
}
