// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

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
