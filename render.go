// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// renderLabels renders a series for a person, as PromQL would select it.
func renderLabels(labels []wire.Label) string {
	var name string
	var rest []string
	for _, l := range labels {
		if l.Name == nameLabel {
			name = l.Value
			continue
		}
		rest = append(rest, l.Name+"="+strconv.Quote(l.Value))
	}
	return truncate(name+"{"+strings.Join(rest, ", ")+"}", maxRendered)
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
