// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"encoding/binary"
	"encoding/json"
	"math"
	"strings"
	"unicode/utf8"

	"go.opentelemetry.io/collector/pdata/pcommon"
)

// maxNesting is how deep maps and arrays of a value may be nested. What is deeper is null: to follow a client any deeper takes more
// stack than a process may have, which ends it.
const maxNesting = 1000

// anyString follows the OpenTelemetry specification's rules for AnyValue to string ("Common", "AnyValue representation
// for non-OTLP protocols").
func anyString(v pcommon.Value) string {
	if v.Type() != pcommon.ValueTypeMap && v.Type() != pcommon.ValueTypeSlice {
		return v.AsString()
	}
	var text strings.Builder
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	// What jsonValue returns can always be encoded.
	_ = encoder.Encode(jsonValue(v, maxNesting))
	return strings.TrimSuffix(text.String(), "\n")
}

// validValue is anyString in valid UTF-8.
func validValue(v pcommon.Value) string {
	return strings.ToValidUTF8(anyString(v), "\uFFFD")
}

// jsonValue is the value as encoding/json has it, with strings for the numbers that JSON does not have.
func jsonValue(v pcommon.Value, nesting int) any {
	switch v.Type() {
	case pcommon.ValueTypeDouble:
		if math.IsNaN(v.Double()) || math.IsInf(v.Double(), 0) {
			return v.AsString()
		}
	case pcommon.ValueTypeMap:
		if nesting == 0 {
			return nil
		}
		elements := make(map[string]any, v.Map().Len())
		for key, element := range v.Map().All() {
			elements[key] = jsonValue(element, nesting-1)
		}
		return elements
	case pcommon.ValueTypeSlice:
		if nesting == 0 {
			return nil
		}
		elements := make([]any, 0, v.Slice().Len())
		for _, element := range v.Slice().All() {
			elements = append(elements, jsonValue(element, nesting-1))
		}
		return elements
	}
	return v.AsRaw()
}

// join joins those of the values that are not empty.
func join(values []string, from []int) string {
	size, n, only := 0, 0, ""
	for _, i := range from {
		if v := values[i]; v != "" {
			size, n, only = size+1+len(v), n+1, v
		}
	}
	if n <= 1 {
		return only
	}
	var joined strings.Builder
	joined.Grow(size)
	for _, i := range from {
		if v := values[i]; v != "" {
			if joined.Len() > 0 {
				joined.WriteByte(';')
			}
			joined.WriteString(v)
		}
	}
	return joined.String()
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
