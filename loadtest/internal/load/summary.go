// SPDX-License-Identifier: Apache-2.0

//go:build linux

package load

import (
	"fmt"
	"math"
	"slices"
)

// Summary is the median and the range, or only the value if all are the same.
// Values that are no numbers are not known, and left out.
func Summary(format string, values []float64) string {
	values = slices.DeleteFunc(slices.Clone(values), func(v float64) bool { return math.IsNaN(v) || math.IsInf(v, 0) })
	if len(values) == 0 {
		return ""
	}
	slices.Sort(values)
	n := len(values)
	show := func(v float64) string { return fmt.Sprintf(format, v) }
	middle := show((values[(n-1)/2] + values[n/2]) / 2)
	least, most := show(values[0]), show(values[n-1])
	if least == most {
		return middle
	}
	return fmt.Sprintf("%s (%s to %s)", middle, least, most)
}
