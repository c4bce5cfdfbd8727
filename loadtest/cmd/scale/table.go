// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"fmt"
	"io"
	"math"
	"strings"

	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/load"
)

const contrib = "prometheus_remote_write/contrib"

// column is one of the columns of the table.
type column struct {
	title string
	value func(r *load.Result) string
}

// ratio is a figure next to that of another exporter, in the same round.
func ratio(f func(r *load.Result) float64, r *load.Result, to map[string]*load.Result, other string) string {
	o := to[other]
	if o == nil || o == r {
		return ""
	}
	return fmt.Sprintf("%.2f", f(r)/f(o))
}

// round are the results of all exporters at the same turn, by their names.
type round map[string]*load.Result

func columns(of round) []column {
	number := func(format string, f func(r *load.Result) float64) func(r *load.Result) string {
		return func(r *load.Result) string {
			if v := f(r); !math.IsNaN(v) && !math.IsInf(v, 0) {
				return fmt.Sprintf(format, v)
			}
			return ""
		}
	}
	delivered := func(f func(r *load.Result) float64) func(r *load.Result) float64 {
		return func(r *load.Result) float64 {
			if r.Exporter == load.Nop {
				return math.NaN()
			}
			return f(r)
		}
	}
	return []column{
		{"exporter", func(r *load.Result) string { return "`" + r.Exporter + "`" }},
		{"samples/s", number("%.0f", (*load.Result).PerSecond)},
		{"of `nop`", func(r *load.Result) string { return ratio((*load.Result).PerSecond, r, of, load.Nop) }},
		{"of contrib", func(r *load.Result) string { return ratio((*load.Result).PerSecond, r, of, contrib) }},
		{"samples/CPU s of all", number("%.0f", (*load.Result).PerCPUSecond)},
		{"of `nop`", func(r *load.Result) string { return ratio((*load.Result).PerCPUSecond, r, of, load.Nop) }},
		{"CPU s for 1M points", number("%.2f", (*load.Result).CPUPerMillion)},
		{"for 1M samples", number("%.2f", func(r *load.Result) float64 { return r.CPU.Seconds() * 1e6 / float64(r.Samples) })},
		{"of `nop`", func(r *load.Result) string { return ratio((*load.Result).CPUPerMillion, r, of, load.Nop) }},
		{"of contrib", func(r *load.Result) string { return ratio((*load.Result).CPUPerMillion, r, of, contrib) }},
		{"peak MB", number("%.0f", func(r *load.Result) float64 { return float64(r.Peak) / 1e6 })},
		{"MB in thirds", func(r *load.Result) string { return thirds(r.Resident) }},
		{"bytes/sample", number("%.1f", delivered(func(r *load.Result) float64 { return float64(r.Received.Bytes) / float64(r.Received.Samples) }))},
		{"requests/s", number("%.0f", delivered(func(r *load.Result) float64 { return float64(r.Received.Requests) / r.Took.Seconds() }))},
		{"in flight", number("%.0f", delivered(func(r *load.Result) float64 { return float64(r.Received.MaxInFlight) }))},
		{"violations", number("%.0f", delivered(violations))},
		{"missing", number("%.0f", delivered(missing))},
		{"unaccounted", number("%.0f", delivered((*load.Result).Unaccounted))},
	}
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

// thirds is the mean of what was resident in each third of a run, so that one sees whether it grows.
func thirds(resident []int64) string {
	if len(resident) < 3 {
		return ""
	}
	var means []string
	for i := range 3 {
		part := resident[i*len(resident)/3 : (i+1)*len(resident)/3]
		sum := int64(0)
		for _, v := range part {
			sum += v
		}
		means = append(means, fmt.Sprintf("%.0f", float64(sum)/float64(len(part))/1e6))
	}
	return strings.Join(means, " ")
}

// show writes a table of the results under a load. Ratios are to the results of the same round.
func show(w io.Writer, p *profile, results []*load.Result) {
	fmt.Fprintf(w, "\n%v\n\n", p)
	for first := 0; first < len(results); first += len(p.exporters) {
		turn := results[first:min(first+len(p.exporters), len(results))]
		of := round{}
		for _, r := range turn {
			of[r.Exporter] = r
		}
		all := columns(of)
		if first == 0 {
			fmt.Fprint(w, "|")
			for _, c := range all {
				fmt.Fprintf(w, " %s |", c.title)
			}
			fmt.Fprintf(w, "\n|---|%s\n", strings.Repeat("---:|", len(all)-1))
		}
		for _, r := range turn {
			fmt.Fprint(w, "|")
			for _, c := range all {
				fmt.Fprintf(w, " %s |", c.value(r))
			}
			fmt.Fprintln(w)
		}
	}
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
	fmt.Fprintf(w, "\nGenerator and receiver together took %.2f CPU seconds for a million points.\n", own*1e6/points)
}
