// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/load"
)

const contrib = "prometheus_remote_write/contrib"

// column is one of the columns of the table.
type column struct {
	title, format string
	// value is that of a run, and no number if it is not known. The others are those of the same turn.
	value func(r *load.Result, others turn) float64
}

// turn has one run of each exporter, by its name.
type turn map[string]*load.Result

// of makes a column of a figure that depends on nothing but the run.
func of(title, format string, value func(*load.Result) float64) column {
	return column{title, format, func(r *load.Result, _ turn) float64 { return value(r) }}
}

// delivered is the same, of exporters that deliver something.
func delivered(title, format string, value func(*load.Result) float64) column {
	return of(title, format, func(r *load.Result) float64 {
		if r.Exporter == load.Nop {
			return math.NaN()
		}
		return value(r)
	})
}

// ratio makes a column of a figure next to that of another exporter.
func ratio(title, other string, value func(*load.Result) float64) column {
	return column{title, "%.2f", func(r *load.Result, others turn) float64 {
		o := others[other]
		if o == nil || o == r {
			return math.NaN()
		}
		return value(r) / value(o)
	}}
}

// third makes a column of the mean of what was resident in a third of a run, so that one sees whether it grows.
func third(title string, i int) column {
	return of(title, "%.0f", func(r *load.Result) float64 {
		if len(r.Resident) < 3 {
			return math.NaN()
		}
		part := r.Resident[i*len(r.Resident)/3 : (i+1)*len(r.Resident)/3]
		sum := int64(0)
		for _, v := range part {
			sum += v
		}
		return float64(sum) / float64(len(part)) / 1e6
	})
}

var columns = []column{
	of("samples/s", "%.0f", (*load.Result).PerSecond),
	ratio("of `nop`", load.Nop, (*load.Result).PerSecond),
	ratio("of contrib", contrib, (*load.Result).PerSecond),
	of("samples/CPU s of all", "%.0f", (*load.Result).PerCPUSecond),
	ratio("of `nop`", load.Nop, (*load.Result).PerCPUSecond),
	of("CPU s for 1M points", "%.2f", (*load.Result).CPUPerMillion),
	of("for 1M samples", "%.2f", func(r *load.Result) float64 { return r.CPU.Seconds() * 1e6 / float64(r.Samples) }),
	ratio("of `nop`", load.Nop, (*load.Result).CPUPerMillion),
	ratio("of contrib", contrib, (*load.Result).CPUPerMillion),
	of("peak MB", "%.0f", func(r *load.Result) float64 { return float64(r.Peak) / 1e6 }),
	third("MB in its first third", 0), third("second", 1), third("last", 2),
	delivered("bytes/sample", "%.1f", func(r *load.Result) float64 { return float64(r.Received.Bytes) / float64(r.Received.Samples) }),
	delivered("requests/s", "%.0f", func(r *load.Result) float64 { return float64(r.Received.Requests) / r.Took.Seconds() }),
	delivered("in flight", "%.0f", func(r *load.Result) float64 { return float64(r.Received.MaxInFlight) }),
	delivered("violations", "%.0f", violations),
	delivered("missing", "%.0f", missing),
	delivered("unaccounted", "%.0f", (*load.Result).Unaccounted),
}

// violations and missing are not known if what arrived was only counted.
func violations(r *load.Result) float64 {
	if r.Received.Verified == nil {
		return math.NaN()
	}
	return float64(r.Received.ViolationCount)
}

func missing(r *load.Result) float64 {
	if r.Received.Verified == nil {
		return math.NaN()
	}
	return float64(r.Received.Verified.Missing)
}

// show writes a table of the results under a load, nil for those that there are not: of several turns the medians and, in parentheses, the ranges. Ratios are to the
// run of the same turn.
func show(w io.Writer, p *profile, results []*load.Result) {
	fmt.Fprintf(w, "\n%v\n\n| exporter |", p)
	for _, c := range columns {
		fmt.Fprintf(w, " %s |", c.title)
	}
	fmt.Fprintf(w, "\n|---|%s\n", strings.Repeat("---:|", len(columns)))
	var turns []turn
	for all := range slices.Chunk(results, len(p.exporters)) {
		t := turn{}
		for _, r := range all {
			if r != nil {
				t[r.Exporter] = r
			}
		}
		turns = append(turns, t)
	}
	for _, exporter := range p.exporters {
		fmt.Fprintf(w, "| `%s` |", exporter)
		for _, c := range columns {
			var values []float64
			for _, t := range turns {
				if r := t[exporter]; r != nil {
					values = append(values, c.value(r, t))
				}
			}
			fmt.Fprintf(w, " %s |", load.Summary(c.format, values))
		}
		fmt.Fprintln(w)
	}
	results = slices.DeleteFunc(slices.Clone(results), func(r *load.Result) bool { return r == nil })
	for _, r := range results {
		if v := r.Received.Verified; v != nil && r.Exporter != load.Nop && (r.Received.ViolationCount > 0 || v.Missing > 0) {
			fmt.Fprintf(w, "\n`%s`: %v, and %d missing; the first of them:\n", r.Exporter, v.Violations, v.Missing)
			for _, example := range v.Examples[:min(3, len(v.Examples))] {
				line, _, _ := strings.Cut(example, "\n")
				fmt.Fprintf(w, "  %.300s\n", line)
			}
		}
	}
	var own, points float64
	for _, r := range results {
		own += r.Own.Seconds()
		points += float64(r.Points)
	}
	if points == 0 {
		return
	}
	fmt.Fprintf(w, "\nGenerator and receiver together took %.2f CPU seconds for a million points.\n", own*1e6/points)
}
