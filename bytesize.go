// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"encoding"
	"fmt"
	"math/big"
	"regexp"
)

// ByteSize is a number of bytes. In a configuration it is a number, or a string with a unit like 256MiB or 3MB.
type ByteSize int64

var _ encoding.TextUnmarshaler = (*ByteSize)(nil)

var byteSizeText = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?) ?([kKMGT]i?B?|B)?$`)

// byteUnits are the units of sizes: decimal ones of SI and binary ones of IEC 80000-13. Kubernetes leaves out the B of
// binary ones. K, M, G and T alone mean either, so they are none.
var byteUnits = map[string]int64{
	"": 1, "B": 1,
	"kB": 1e3, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12,
	"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40,
	"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
}

// UnmarshalText reads a size with a unit.
func (b *ByteSize) UnmarshalText(text []byte) error {
	match := byteSizeText.FindSubmatch(text)
	if match == nil {
		return fmt.Errorf("must be a number of bytes, or one with a unit like 256MiB or 3MB, not %q", text)
	}
	number, unit := string(match[1]), string(match[2])
	factor, ok := byteUnits[unit]
	if !ok {
		return fmt.Errorf("must have a unit that is not ambiguous: %[1]s%[2]sB is decimal and %[1]s%[2]siB is binary, not %[3]q", number, unit[:1], text)
	}
	size, ok := new(big.Rat).SetString(number)
	if !ok {
		return fmt.Errorf("must be a number of bytes, not %q", text)
	}
	size.Mul(size, new(big.Rat).SetInt64(factor))
	if !size.IsInt() {
		return fmt.Errorf("must be a whole number of bytes, not %q", text)
	}
	if !size.Num().IsInt64() {
		return fmt.Errorf("is too large: %q", text)
	}
	*b = ByteSize(size.Num().Int64())
	return nil
}
