// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"unicode/utf8"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// renderLabels renders a series for a person, as PromQL would select it.
func renderLabels(labels []wire.Label) string {
	return truncate(wire.SeriesText(labels), maxRendered)
}

// maxRendered bounds what a series takes in a log line, in bytes.
const maxRendered = 1 << 10

// truncate cuts s to at most n bytes, at the end of a character.
func truncate(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "..."
}
