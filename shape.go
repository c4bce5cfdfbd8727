// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"slices"
	"strings"
	"unsafe"

	"go.opentelemetry.io/collector/pdata/pcommon"
)

// shape is what follows from the attribute keys of a point: its label names.
type shape struct {
	// keys are the attribute keys as the payload orders them.
	keys  []string
	attrs []shapeAttr
}

// cost is the bytes that the shape refers to.
func (s *shape) cost() int {
	cost := cap(s.attrs)*int(unsafe.Sizeof(shapeAttr{})) + 2*allocation
	for _, key := range s.keys {
		// With the key there is a place in the order of all keys, and another one if it shares a label.
		cost += stringSize + len(key) + allocation + 3*8
	}
	return cost
}

// shapeAttr is a label made from attributes.
type shapeAttr struct {
	name string
	// hash and place are what the label's parts in the identity and in the partition key begin with.
	hash, place uint64
	// from are the attributes, by their position, whose values are joined; there is more than one if several keys become
	// the same name, in the order of the keys.
	from []int
}

// fits says whether the shape is that of the attributes.
func (s *shape) fits(attrs pcommon.Map) bool {
	if len(s.keys) != attrs.Len() {
		return false
	}
	i := 0
	for key := range attrs.All() {
		if key != s.keys[i] {
			return false
		}
		i++
	}
	return true
}

func newShape(keys []string, n *namer) shape {
	s := shape{keys: cloned(keys)}
	order := upTo(0, len(keys))
	sortByString(order, func(i int) string { return s.keys[i] })
	s.attrs = make([]shapeAttr, 0, len(keys))
	labelName := n.labelNames(len(keys))
	for at, i := range order {
		if name := labelName(s.keys[i]); name != "" {
			s.attrs = append(s.attrs, shapeAttr{name: name, from: order[at : at+1 : at+1]})
		}
	}
	sortByString(s.attrs, func(a shapeAttr) string { return a.name })
	s.attrs = joinAttrs(s.attrs)
	for i := range s.attrs {
		s.attrs[i].setName(s.attrs[i].name, n.secret)
	}
	return s
}

// cloned returns a copy of the strings, which share one piece of memory.
func cloned(of []string) []string {
	size := 0
	for _, s := range of {
		size += len(s)
	}
	// strings.Join would not copy a single one.
	var b strings.Builder
	b.Grow(size)
	for _, s := range of {
		b.WriteString(s)
	}
	all, from := b.String(), 0
	copies := make([]string, len(of))
	for i, s := range of {
		copies[i] = all[from : from+len(s)]
		from += len(s)
	}
	return copies
}

// joinAttrs makes one of neighbours of the same name.
func joinAttrs(attrs []shapeAttr) []shapeAttr {
	joined := attrs[:0]
	for rest := attrs; len(rest) > 0; {
		a, n := rest[0], 1
		for n < len(rest) && rest[n].name == a.name {
			n++
		}
		if n > 1 {
			from := make([]int, 0, n)
			for _, other := range rest[:n] {
				from = append(from, other.from...)
			}
			a.from = from
		}
		joined, rest = append(joined, a), rest[n:]
	}
	if len(joined) == len(attrs) {
		return attrs
	}
	return slices.Clone(joined)
}

func (a *shapeAttr) setName(name string, secret partitionSecret) {
	a.name, a.hash, a.place = name, nameHash(name), secret.name(name)
}

// renamed returns the shape's labels such that none has a name that is reserved: such a label is prefixed until its
// name is free, so that no attribute is lost and two series cannot become one. The names of the scope's labels stay: there
// the values are joined.
func (s *shape) renamed(c *labelContext, kind metricKind, secret partitionSecret) []shapeAttr {
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
	used := make(map[string]bool, len(attrs))
	for i := range attrs {
		used[attrs[i].name] = true
	}
	for i := range attrs {
		if !renames(attrs[i].name) {
			continue
		}
		// The names on the way to a free one are those of other attributes: together they are no longer than the attributes.
		name := exportedPrefix + attrs[i].name
		for taken(name) || used[name] {
			name = exportedPrefix + name
		}
		used[name] = true
		attrs[i].setName(name, secret)
	}
	sortByString(attrs, func(a shapeAttr) string { return a.name })
	return attrs
}

// describing returns the labels of a target_info: those from attributes that do not identify the resource.
func (s *shape) describing() []shapeAttr {
	identifying := func(i int) bool { return identifies(s.keys[i]) }
	attrs := make([]shapeAttr, 0, len(s.attrs))
	for _, a := range s.attrs {
		if slices.ContainsFunc(a.from, identifying) {
			a.from = slices.DeleteFunc(slices.Clone(a.from), identifying)
		}
		if len(a.from) > 0 {
			attrs = append(attrs, a)
		}
	}
	return attrs
}
