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
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

// The exporters of collector.yaml.
const (
	nop          = "nop"
	orderedV1    = "ordered_remote_write/v1"
	orderedV2    = "ordered_remote_write/v2"
	orderedGuard = "ordered_remote_write/v1-guard"
	contrib      = "prometheus_remote_write/contrib"
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

	sink *sink
}

// scenario is a load, and the exporters that are measured under it.
type scenario struct {
	name, title string
	make        func() (*payload, error)
	points      int
	series      int // points with different attributes
	rate        int
	exporters   []string
	columns     []column
}

func main() {
	var t test
	flag.BoolVar(&t.build, "build", true, "build the collector first")
	flag.BoolVar(&t.profile, "profile", false, "store CPU and heap profiles in "+buildDir+" in place of measuring")
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
	err := t.run(ctx)
	release()
	if err != nil {
		fmt.Fprintln(os.Stderr, "loadtest:", err)
		os.Exit(1)
	}
}

func (t *test) run(ctx context.Context) (err error) {
	if err := os.MkdirAll(buildDir, 0o755); err != nil {
		return err
	}
	if t.build {
		if err := buildCollector(ctx); err != nil {
			return err
		}
	}
	if t.sink, err = newSink(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, t.sink.close()) }()

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
	return []scenario{
		{
			name:  "gauges",
			title: fmt.Sprintf("%g million gauge points of %d attributes, %d series", t.gauges, attributes, t.series),
			make:  newGauges, points: int(t.gauges * 1e6), series: t.series, rate: t.rate,
			exporters: exporters, columns: cpuColumns,
		},
		{
			name:  "histograms",
			title: fmt.Sprintf("%g million histogram points of %d buckets and %d attributes, %d histograms of %d series", t.histograms, buckets, attributes, histograms, buckets+3),
			make:  newHistograms, points: int(t.histograms * 1e6), series: histograms, rate: t.rate,
			exporters: exporters, columns: cpuColumns,
		},
		{
			name:  "memory",
			title: fmt.Sprintf("%d gauge series of %d attributes, %d samples of each, %d points per second", t.memorySeries, attributes, t.rounds, t.memoryRate),
			make:  newGauges, points: t.rounds * t.memorySeries, series: t.memorySeries, rate: t.memoryRate,
			exporters: []string{nop, orderedV1, orderedGuard, orderedV2, contrib},
			columns:   append(slices.Clone(memoryColumns), guardColumn(t.memorySeries)),
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
				s.name, round+1, t.repeats, exporter, r.cpuPerMillion(), r.took.Round(time.Millisecond))
			rs[exporter] = append(rs[exporter], r)
		}
	}
	rs.print(os.Stdout, s.title, s.exporters, s.columns)
	return nil
}

func (t *test) generator(s scenario, exporter string) (*generator, error) {
	template, err := s.make()
	if err != nil {
		return nil, err
	}
	g := &generator{template: template, series: s.series, connections: t.connections, rate: s.rate, window: t.window, sink: t.sink}
	if exporter == nop {
		g.window = 0
	}
	return g, nil
}

// measure runs one exporter once. What it took to start and stop the collector does not count.
func (t *test) measure(ctx context.Context, s scenario, exporter string) (r result, err error) {
	g, err := t.generator(s, exporter)
	if err != nil {
		return r, err
	}
	t.sink.reset()
	c, err := startCollector(ctx, exporter, t.sink.url)
	if err != nil {
		return r, err
	}
	r, err = t.load(ctx, c, g, s.points/g.template.points)
	return r, errors.Join(err, c.stop())
}

// patience is how long the samples that were accepted may take to arrive.
const patience = time.Minute

func (t *test) load(ctx context.Context, c *collector, g *generator, payloads int) (r result, err error) {
	before, err := c.cpu()
	if err != nil {
		return r, err
	}
	started := time.Now()
	if r.points, err = g.run(ctx, c.otlp, payloads); err != nil {
		return r, err
	}
	if c.name != nop {
		waiting, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		t.sink.waitUntil(waiting, func(arrived int) bool { return arrived >= r.points*g.template.samples })
	}
	r.took = time.Since(started)
	after, err := c.cpu()
	if err != nil {
		return r, err
	}
	r.cpu = after - before
	if r.memory, err = c.memory(ctx); err != nil {
		return r, err
	}
	if r.samples, r.requests, err = t.sink.counted(); err != nil {
		return r, err
	}
	if expected := r.points * g.template.samples; c.name != nop && r.samples != expected {
		return r, fmt.Errorf("%d samples arrived, not %d", r.samples, expected)
	}
	return r, ctx.Err()
}
