// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Scale puts collectors with several exporters under the same loads, as fast as they take them, and shows what they
// deliver, what that costs, and what is wrong with it. Generator and receiver are this process, the collector has
// processors of its own. It runs in the root of the repository.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/collector"
	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/flags"
	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/generate"
	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/load"
	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/receive"
	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/schedule"
	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/usage"
)

// What is measured with the default flags, and with -full.
const (
	someExporters = "nop,ordered_remote_write/v1,ordered_remote_write/v2,prometheus_remote_write/contrib"
	allExporters  = someExporters + ",prometheus_remote_write/contrib-parallel,vmagent"
	someSeries    = "10000"
	allSeries     = "10000,100000,1000000"
	someLatencies = "0,50ms"
	allLatencies  = "0,5ms,50ms,200ms"
	someQueues    = "memory"
	allQueues     = "memory,storage"
)

// defaultDuration is how long points are sent: without an end, nothing would be shown.
const defaultDuration = 10 * time.Second

// storage is what the names of exporters end in that have their queue in a storage extension.
const storage = "-storage"

// settings are the flags.
type settings struct {
	build, full, pin, verify                    bool
	exporters, types, series, latencies, queues string
	window, repeats                             int
	generate                                    generate.Options
	behavior                                    receive.Behavior
}

func main() {
	var s settings
	flag.BoolVar(&s.build, "build", true, "build the collector first")
	flag.BoolVar(&s.full, "full", false, "all exporters, series, latencies and queues: takes more than an hour")
	flag.BoolVar(&s.pin, "pin", true, "give the collector one half of the processors, and generator and receiver the other; if not, they share all")
	flag.BoolVar(&s.verify, "verify", true, "verify what arrives; if not, it is only counted")
	flag.StringVar(&s.exporters, "exporters", someExporters, "exporters of collector.yaml, and vmagent, by commas")
	flag.StringVar(&s.types, "types", "gauge,histogram", "types of metrics, each a load of its own")
	flag.StringVar(&s.series, "series", someSeries, "Remote-Write series, each a load of its own")
	flag.StringVar(&s.latencies, "latencies", someLatencies, "latencies of the receiver, each a load of its own")
	flag.StringVar(&s.queues, "queues", someQueues, "memory, storage or both: where this project's exporters have their queue")
	flag.IntVar(&s.window, "window", 200, "requests of the generator on their way through the collector at most, or 0 for no limit")
	flag.IntVar(&s.repeats, "repeats", 1, "runs of each exporter under each load, by turns")
	generator := flag.String("generate", "", fmt.Sprintf("further flags of the generator, see generate -help; without -duration and -samples, it sends for %v", defaultDuration))
	receiver := flag.String("receive", "", "further flags of the receiver, see receive -help")
	flag.Parse()

	ctx, release := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := flags.NoArguments(flag.CommandLine)
	if err == nil {
		err = s.parse(*generator, *receiver)
	}
	if err == nil {
		err = s.run(ctx)
	}
	release()
	if err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
}

// parse reads the flags of the generator and the receiver, and replaces what -full replaces unless it was set.
func (s *settings) parse(generator, receiver string) error {
	set := flag.NewFlagSet("generate", flag.ContinueOnError)
	s.generate.Register(set)
	const measured = "scale sends to the collectors that it starts"
	if err := flags.Parse(set, generator, map[string]string{
		"type": "use -types", "series": "use -series", "endpoint": measured, "protocol": measured,
	}); err != nil {
		return err
	}
	if s.generate.Duration == 0 && s.generate.Samples == 0 {
		s.generate.Duration = defaultDuration
	}
	set = flag.NewFlagSet("receive", flag.ContinueOnError)
	s.behavior.Register(set)
	if err := flags.Parse(set, receiver, map[string]string{"latency": "use -latencies"}); err != nil {
		return err
	}
	if s.repeats < 1 || s.window < 0 {
		return errors.New("-repeats must be at least 1, and -window not negative")
	}
	if !s.full {
		return nil
	}
	given := make(map[string]bool)
	flag.Visit(func(f *flag.Flag) { given[f.Name] = true })
	for name, all := range map[string]string{"exporters": allExporters, "series": allSeries, "latencies": allLatencies, "queues": allQueues} {
		if !given[name] {
			if err := flag.Set(name, all); err != nil {
				return err
			}
		}
	}
	return nil
}

// profile is a load, and the exporters that are measured under it.
type profile struct {
	kind      schedule.Kind
	series    int
	latency   time.Duration
	exporters []string
}

func (p *profile) String() string {
	return fmt.Sprintf("%s, %d series, answers take %v", p.kind, p.series, p.latency)
}

// profiles are all combinations that the flags ask for.
func (s *settings) profiles() (profiles []*profile, err error) {
	exporters, err := s.names()
	if err != nil {
		return nil, err
	}
	for kind := range strings.SplitSeq(s.types, ",") {
		if !slices.Contains(schedule.Kinds(), schedule.Kind(kind)) {
			return nil, fmt.Errorf("types: there is no %q", kind)
		}
		for text := range strings.SplitSeq(s.series, ",") {
			series, err := strconv.Atoi(text)
			if err != nil || series < 1 {
				return nil, fmt.Errorf("series: %q is no number of at least 1", text)
			}
			for text := range strings.SplitSeq(s.latencies, ",") {
				latency, err := time.ParseDuration(text)
				if err == nil && latency < 0 {
					err = fmt.Errorf("%v is negative", latency)
				}
				if err != nil {
					return nil, fmt.Errorf("latencies: %w", err)
				}
				profiles = append(profiles, &profile{schedule.Kind(kind), series, latency, exporters})
			}
		}
	}
	return profiles, nil
}

// names are the exporters, each with the queues that it can have. Only this project's can have one in storage.
func (s *settings) names() (names []string, err error) {
	queues := strings.Split(s.queues, ",")
	for _, queue := range queues {
		if queue != "memory" && queue != "storage" {
			return nil, fmt.Errorf("queues: there is no %q", queue)
		}
	}
	known, err := collector.Exporters()
	if err != nil {
		return nil, err
	}
	for name := range strings.SplitSeq(s.exporters, ",") {
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("exporters: there is no %q, but %s", name, strings.Join(known, ", "))
		}
		ours := strings.HasPrefix(name, "ordered_remote_write/") && !strings.HasSuffix(name, storage)
		if !ours || slices.Contains(queues, "memory") {
			names = append(names, name)
		}
		if ours && slices.Contains(queues, "storage") {
			names = append(names, name+storage)
		}
	}
	return names, nil
}

func (s *settings) run(ctx context.Context) (err error) {
	profiles, err := s.profiles()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(collector.Dir, 0o755); err != nil {
		return err
	}
	if s.build {
		if err := collector.Build(ctx); err != nil {
			return err
		}
	}
	cpus, err := s.divide()
	if err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(collector.Dir, "scale.jsonl"))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	var failed []error
	for _, p := range profiles {
		results, errs := s.turns(ctx, p, cpus, log)
		if ctx.Err() != nil {
			return errors.Join(append(failed, errs...)...)
		}
		failed = append(failed, errs...)
		show(os.Stdout, p, results)
	}
	fmt.Fprintf(os.Stderr, "all figures of each run are in %s\n", log.Name())
	return errors.Join(failed...)
}

// turns runs all exporters of a profile. One that fails has no result, and does not keep others from theirs.
func (s *settings) turns(ctx context.Context, p *profile, cpus []int, log io.Writer) (results []*load.Result, failed []error) {
	for range s.repeats {
		for _, exporter := range p.exporters {
			r, err := s.measure(ctx, p, exporter, cpus)
			if err == nil {
				fmt.Fprintf(os.Stderr, "%v: %-40s %9.0f samples/s, %5.2f CPU seconds for a million points\n", p, exporter, r.PerSecond(), r.CPUPerMillion())
				err = json.NewEncoder(log).Encode(r)
			}
			if err != nil {
				failed = append(failed, fmt.Errorf("%v, %s: %w", p, exporter, err))
				fmt.Fprintln(os.Stderr, failed[len(failed)-1])
				r = nil
			}
			if ctx.Err() != nil {
				return results, failed
			}
			results = append(results, r)
		}
	}
	return results, failed
}

// divide gives this process one half of the processors and returns the other, or nothing if all have all.
func (s *settings) divide() ([]int, error) {
	cpus, err := usage.CPUs()
	if err != nil || !s.pin || len(cpus) < 2 {
		return nil, err
	}
	return cpus[:len(cpus)/2], usage.Pin(cpus[len(cpus)/2:])
}

// measure runs one exporter under one load, with a new receiver.
func (s *settings) measure(ctx context.Context, p *profile, exporter string, cpus []int) (r *load.Result, err error) {
	behavior := s.behavior
	behavior.Latency = receive.Duration(p.latency)
	e, err := load.Listen(s.verify, behavior)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	c, err := collector.Start(ctx, exporter, e.URL, cpus)
	if err != nil {
		return nil, err
	}
	o := s.generate
	o.Kinds, o.Series = []schedule.Kind{p.kind}, p.series
	r, err = load.Run(ctx, c, e, o, s.window)
	return r, errors.Join(err, c.Stop())
}
