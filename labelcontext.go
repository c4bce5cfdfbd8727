// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"slices"
	"strings"
)

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

// scopeValues returns the scope's values for the label of that name.
func (c *labelContext) scopeValues(name string) []scopeValue {
	byName := func(v scopeValue, name string) int { return strings.Compare(v.name, name) }
	first, _ := slices.BinarySearchFunc(c.scope, name, byName)
	end := first
	for end < len(c.scope) && c.scope[end].name == name {
		end++
	}
	return c.scope[first:end]
}
