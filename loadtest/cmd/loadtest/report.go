// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/load"
)

// results has the runs of each exporter; those of the same index belong to the same round.
type results map[string][]*load.Result

// column is one of the columns of a table.
type column struct {
	title, format string
	// value is that of the run of that round, and false if there is none.
	value func(rs results, exporter string, round int) (float64, bool)
}

// of makes a column of a figure that depends on nothing but the run.
func of(title, format string, value func(*load.Result) float64) column {
	return column{title, format, func(rs results, exporter string, round int) (float64, bool) {
		return value(rs[exporter][round]), true
	}}
}

// megabyte is the unit of memory.
const megabyte = 1e6

var cpuColumns = []column{
	of("CPU seconds per million points", "%.2f", (*load.Result).CPUPerMillion),
	{"own share", "%.2f", func(rs results, exporter string, round int) (float64, bool) {
		return rs[exporter][round].CPUPerMillion() - rs[nop][round].CPUPerMillion(), exporter != nop
	}},
	{"own share, % of contrib's", "%.1f", func(rs results, exporter string, round int) (float64, bool) {
		if exporter == nop || len(rs[contrib]) == 0 {
			return 0, false
		}
		base := rs[nop][round].CPUPerMillion()
		return 100 * (rs[exporter][round].CPUPerMillion() - base) / (rs[contrib][round].CPUPerMillion() - base), true
	}},
	of("peak resident MB", "%.0f", func(r *load.Result) float64 { return float64(r.Peak) / megabyte }),
	of("points per second", "%.0f", func(r *load.Result) float64 { return float64(r.Points) / r.Sending.Seconds() }),
	of("samples per request", "%.0f", func(r *load.Result) float64 {
		return float64(r.Received.Samples) / float64(max(r.Received.Requests, 1))
	}),
	of("samples that arrived", "%.0f", func(r *load.Result) float64 { return float64(r.Delivered) }),
}

var memoryColumns = []column{
	of("resident MB", "%.0f", func(r *load.Result) float64 { return float64(r.Resident[len(r.Resident)-1]) / megabyte }),
	of("peak resident MB", "%.0f", func(r *load.Result) float64 { return float64(r.Peak) / megabyte }),
	of("heap alive MB", "%.1f", func(r *load.Result) float64 { return float64(r.Heap) / megabyte }),
	of("CPU seconds per million points", "%.2f", (*load.Result).CPUPerMillion),
	of("samples that arrived", "%.0f", func(r *load.Result) float64 { return float64(r.Delivered) }),
}

// print writes a table of medians and, in parentheses, ranges.
func (rs results) print(w io.Writer, title string, exporters []string, columns []column) {
	fmt.Fprintf(w, "\n%s\n\n| exporter |", title)
	for _, c := range columns {
		fmt.Fprintf(w, " %s |", c.title)
	}
	fmt.Fprintf(w, "\n|---|%s\n", strings.Repeat("---:|", len(columns)))
	for _, exporter := range exporters {
		fmt.Fprintf(w, "| `%s` |", exporter)
		for _, c := range columns {
			var values []float64
			for round := range rs[exporter] {
				if v, ok := c.value(rs, exporter, round); ok {
					values = append(values, v)
				}
			}
			fmt.Fprintf(w, " %s |", load.Summary(c.format, values))
		}
		fmt.Fprintln(w)
	}
}
