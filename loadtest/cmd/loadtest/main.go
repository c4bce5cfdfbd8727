// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Loadtest measures what the exporter costs in a real collector: CPU time and memory of the collector's process, from
// OTLP over gRPC to a Remote-Write endpoint that only counts, next to those of contrib's exporter and of one that does
// nothing. It runs in the root of the repository.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/collector"
	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/flags"
	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/generate"
	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/load"
	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/receive"
	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/schedule"
)

// The exporters of collector.yaml.
const (
	nop       = load.Nop
	orderedV1 = "ordered_remote_write/v1"
	orderedV2 = "ordered_remote_write/v2"
	contrib   = "prometheus_remote_write/contrib"
)

const (
	// attributes is how many attributes a point has.
	attributes = 20

	gaugesPerPayload     = 1000
	histogramsPerPayload = 100
)

// test is the whole load test and its settings.
type test struct {
	build, profile           bool
	scenarios, exporters     string
	gauges, histograms       float64 // millions of points
	series, memorySeries     int
	rate, memoryRate         int
	connections, window      int
	repeats, rounds, seconds int

	sink *load.Endpoint
}

// scenario is a load, and the exporters that are measured under it.
type scenario struct {
	name, title string
	kind        schedule.Kind
	samples     int
	series      int
	perRequest  int // points
	rate        int
	exporters   []string
	columns     []column
}

func main() {
	var t test
	flag.BoolVar(&t.build, "build", true, "build the collector first")
	flag.BoolVar(&t.profile, "profile", false, "store CPU and heap profiles in "+collector.Dir+" in place of measuring")
	flag.StringVar(&t.scenarios, "scenarios", "gauges,histograms,memory", "the scenarios to run")
	flag.StringVar(&t.exporters, "exporters", "", "the exporters to measure besides "+nop+", or nothing for all")
	flag.Float64Var(&t.gauges, "gauges", 2, "millions of gauge points of each run")
	flag.Float64Var(&t.histograms, "histograms", 0.3, "millions of histogram points of each run")
	flag.IntVar(&t.series, "series", 10_000, "gauge series, and ten times the number of histograms")
	flag.IntVar(&t.memorySeries, "memory-series", 1_000_000, "gauge series of the memory scenario")
	flag.IntVar(&t.rate, "rate", 0, "points per second, or 0 for as many as the collector accepts")
	flag.IntVar(&t.memoryRate, "memory-rate", 100_000, "points per second of the memory scenario")
	flag.IntVar(&t.connections, "connections", 5, "gRPC connections")
	flag.IntVar(&t.window, "window", 100, "payloads on their way through the collector at most, or 0 for no limit")
	flag.IntVar(&t.repeats, "repeats", 3, "runs of each exporter")
	flag.IntVar(&t.rounds, "rounds", 3, "samples of each series in the memory scenario")
	flag.IntVar(&t.seconds, "seconds", 20, "length of a CPU profile")
	flag.Parse()

	ctx, release := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := flags.NoArguments(flag.CommandLine)
	if err == nil {
		err = t.check()
	}
	if err == nil {
		err = t.run(ctx)
	}
	release()
	if err != nil {
		fmt.Fprintln(os.Stderr, "loadtest:", err)
		os.Exit(1)
	}
}

// check refuses settings with which nothing would be measured, or without an end.
func (t *test) check() error {
	if t.gauges*1e6 < 1 || t.histograms*1e6 < 1 || t.rounds < 1 || t.repeats < 1 || t.seconds < 1 {
		return errors.New("-gauges, -histograms, -rounds, -repeats and -seconds: must be at least 1 (point, sample, run or second)")
	}
	if t.series < 10 || t.memorySeries < 1 {
		return errors.New("-series: must be at least 10, and -memory-series at least 1")
	}
	known := t.allScenarios()
	for name := range strings.SplitSeq(t.scenarios, ",") {
		if !slices.ContainsFunc(known, func(s scenario) bool { return s.name == name }) {
			return fmt.Errorf("-scenarios: there is no %q", name)
		}
	}
	existing, err := collector.Exporters()
	if err != nil {
		return err
	}
	var exporters []string
	for name := range strings.SplitSeq(t.exporters, ",") {
		if name != "" && !slices.Contains(existing, name) {
			return fmt.Errorf("-exporters: there is no %q, but %s", name, strings.Join(existing, ", "))
		}
		if name != "" && (name == nop || slices.Contains(exporters, name)) {
			return fmt.Errorf("-exporters: %s is there already", name)
		}
		exporters = append(exporters, name)
	}
	return nil
}

func (t *test) run(ctx context.Context) (err error) {
	if err := os.MkdirAll(collector.Dir, 0o755); err != nil {
		return err
	}
	if t.build {
		if err := collector.Build(ctx); err != nil {
			return err
		}
	}
	if t.sink, err = load.Listen(false, receive.Behavior{PoisonStatus: http.StatusBadRequest}); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.sink.Close()) }()

	chosen := strings.Split(t.scenarios, ",")
	for _, s := range t.allScenarios() {
		if !slices.Contains(chosen, s.name) {
			continue
		}
		if t.exporters != "" {
			s.exporters = append([]string{nop}, strings.Split(t.exporters, ",")...)
		}
		if t.profile {
			err = t.profiles(ctx, s)
		} else {
			err = t.scenario(ctx, s)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (t *test) allScenarios() []scenario {
	exporters := []string{nop, orderedV1, orderedV2, contrib}
	histograms := t.series / 10
	parts := schedule.Histogram.Parts()
	return []scenario{
		{
			name:  "gauges",
			title: fmt.Sprintf("%g million gauge points of %d attributes, %d series", t.gauges, attributes, t.series),
			kind:  schedule.Gauge, samples: int(t.gauges * 1e6), series: t.series, perRequest: gaugesPerPayload, rate: t.rate,
			exporters: exporters, columns: cpuColumns,
		},
		{
			name:  "histograms",
			title: fmt.Sprintf("%g million histogram points of %d buckets and %d attributes, %d histograms of %d series", t.histograms, schedule.Bounds, attributes, histograms, parts),
			kind:  schedule.Histogram, samples: int(t.histograms*1e6) * parts, series: histograms * parts, perRequest: histogramsPerPayload, rate: t.rate,
			exporters: exporters, columns: cpuColumns,
		},
		{
			name:  "memory",
			title: fmt.Sprintf("%d gauge series of %d attributes, %d samples of each, %d points per second", t.memorySeries, attributes, t.rounds, t.memoryRate),
			kind:  schedule.Gauge, samples: t.rounds * t.memorySeries, series: t.memorySeries, perRequest: gaugesPerPayload, rate: t.memoryRate,
			exporters: exporters, columns: memoryColumns,
		},
	}
}

// scenario measures all exporters by turns, so that what else the machine does hits all of them.
func (t *test) scenario(ctx context.Context, s scenario) error {
	rs := results{}
	for round := range t.repeats {
		for _, exporter := range s.exporters {
			r, err := t.measure(ctx, s, exporter)
			if err != nil {
				return fmt.Errorf("%s, %s: %w", s.name, exporter, err)
			}
			fmt.Printf("%s, round %d of %d: %-32s %.2f CPU seconds per million points, %v\n",
				s.name, round+1, t.repeats, exporter, r.CPUPerMillion(), r.Took.Round(time.Millisecond))
			rs[exporter] = append(rs[exporter], r)
		}
	}
	rs.print(os.Stdout, s.title, s.exporters, s.columns)
	return nil
}

// options are those of the generator.
func (t *test) options(s scenario) generate.Options {
	return generate.Options{
		Kinds: []schedule.Kind{s.kind}, Series: s.series, Resources: 1, Attributes: attributes, PerRequest: s.perRequest,
		Connections: t.connections, Rate: float64(s.rate), Samples: s.samples, Interval: time.Second, Start: time.Now(),
	}
}

// measure runs one exporter once. What it took to start and stop the collector does not count.
func (t *test) measure(ctx context.Context, s scenario, exporter string) (r *load.Result, err error) {
	t.sink.Reset()
	c, err := collector.Start(ctx, exporter, t.sink.URL, nil)
	if err != nil {
		return nil, err
	}
	r, err = load.Run(ctx, c, t.sink, t.options(s), t.window)
	if err == nil && exporter != load.Nop && r.Delivered != r.Samples {
		err = fmt.Errorf("%d samples arrived, not %d", r.Delivered, r.Samples)
	}
	return r, errors.Join(err, c.Stop())
}
