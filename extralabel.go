// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"strconv"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// extraLabel is the le or quantile of a series, encoded and hashed; the zero value is none.
type extraLabel struct {
	value string
	label []byte
	// hash is that of the value as a symbol, and identity the label's part in the identity of a series.
	hash, identity uint64
}

// noLabel is none.
var noLabel extraLabel

// set makes e the label of a value. The encoded label is never written to again, as others may have it.
func (e *extraLabel) set(name, value string) *extraLabel {
	if e.value == value {
		return e
	}
	e.value, e.hash = value, wire.Hash(value)
	e.identity = labelHash(nameHash(name), e.hash)
	e.label = wire.AppendLabel(nil, name, value)
	return e
}

func newExtraLabel(name string, v float64) extraLabel {
	var e extraLabel
	e.set(name, strconv.FormatFloat(v, 'f', -1, 64))
	return e
}
