// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import "github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"

// sizes bound the bytes of a message before compression. In 2.0 they cannot be known before all of its symbols are.
type sizes struct {
	// plain is the bytes besides references to symbols.
	plain int
	// refs is the number of references, and symbols that of the symbols.
	refs, symbols int
}

func (a sizes) plus(b sizes) sizes {
	return sizes{a.plain + b.plain, a.refs + b.refs, a.symbols + b.symbols}
}

// bytes is the most bytes of the message.
func (a sizes) bytes() int64 {
	return int64(a.plain) + int64(a.refs)*int64(wire.UvarintLen(uint64(a.symbols)))
}
