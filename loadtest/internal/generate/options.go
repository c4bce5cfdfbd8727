// SPDX-License-Identifier: Apache-2.0

package generate

import (
	"errors"
	"flag"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/schedule"
)

// Options are the settings of a generator.
type Options struct {
	Endpoint, Protocol string
	Compression        string // none or gzip
	CAFile             string // certificates of the authorities that are trusted, or nothing for those of the system
	Headers            map[string]string
	Kinds              []schedule.Kind
	Series             int // Remote-Write series of all kinds together
	First              int // number of the first stream of each kind
	Resources          int
	Attributes         int
	PerRequest         int // points of a request at most
	Connections        int
	Rate               float64       // points per second, or 0 for as many as are accepted
	Duration           time.Duration // or 0 for no end by time
	Samples            int           // Remote-Write samples, or 0 for no end by number
	Interval           time.Duration // between the samples of a series, or 0 for what the rate makes it
	Start              time.Time     // of the first step, or the zero time for now
	Lifetime           time.Duration // of a resource, by the time of the points
	Errors             schedule.Errors
}

// Register adds a flag for each option, with its default.
func (o *Options) Register(flags *flag.FlagSet) {
	flags.StringVar(&o.Endpoint, "endpoint", "127.0.0.1:4317", "the collector's OTLP receiver: host:port, or a URL; https:// is TLS")
	flags.StringVar(&o.Protocol, "protocol", "grpc", "how to speak OTLP: grpc or http")
	flags.StringVar(&o.Compression, "compression", "none", "of the requests: none or gzip")
	flags.StringVar(&o.CAFile, "ca-file", "", "PEM file with the certificates of the authorities that are trusted, in place of the system's")
	flags.Func("header", "a header for each request, as name=value; may be repeated", func(s string) error {
		name, value, ok := strings.Cut(s, "=")
		if !ok || name == "" || strings.ContainsFunc(name, notInHeaderName) || strings.ContainsFunc(value, unicode.IsControl) {
			return errors.New("must be name=value, as HTTP allows them")
		}
		if o.Headers == nil {
			o.Headers = make(map[string]string)
		}
		o.Headers[name] = value
		return nil
	})
	o.Kinds = []schedule.Kind{schedule.Gauge}
	flags.Func("type", "types of metrics, by commas: gauge, sum, histogram, exponential_histogram, summary (default gauge)", func(s string) (err error) {
		o.Kinds, err = parseKinds(s)
		return err
	})
	flags.IntVar(&o.Series, "series", 10_000, fmt.Sprintf("Remote-Write series, of all types together; the least that makes full requests and resources. A histogram's point becomes %d, a summary's %d", schedule.Histogram.Parts(), schedule.Summary.Parts()))
	flags.IntVar(&o.First, "first", 0, "number of the first stream of each type: generators that send at the same time need streams of their own")
	flags.IntVar(&o.Resources, "resources", 10, "resources (pods) of each type")
	flags.IntVar(&o.Attributes, "attributes", 12, "attributes of each point, at least 2")
	flags.IntVar(&o.PerRequest, "points", 1000, "points of a request at most")
	flags.IntVar(&o.Connections, "connections", 4, "connections; a series always travels on the same one, one request at a time")
	flags.Float64Var(&o.Rate, "rate", 0, "points per second over all connections; 0 is as many as are accepted")
	flags.DurationVar(&o.Duration, "duration", 0, "how long to send; it ends with the step of time that is under way")
	flags.IntVar(&o.Samples, "samples", 0, "Remote-Write samples to send, rounded up to a whole step of time; 0 is no limit")
	flags.DurationVar(&o.Interval, "interval", 0, "time between two samples of a series, by their timestamps (default what the rate makes it, or 100ms without a rate)")
	flags.Func("start", "time of the first samples, as 2006-01-02T15:04:05Z, or before now, as -10m (default now)", func(s string) (err error) {
		if before, failed := time.ParseDuration(s); failed == nil {
			o.Start = time.Now().Add(before)
			return nil
		}
		o.Start, err = time.Parse(time.RFC3339, s)
		return err
	})
	flags.DurationVar(&o.Lifetime, "churn", 0, "how long a resource lives, by the timestamps, before another one takes its place; 0 is for ever")
	o.registerErrors(flags)
}

// notInHeaderName says whether the name of a header cannot have a character (RFC 9110, section 5.6.2).
func notInHeaderName(r rune) bool {
	return r <= ' ' || r >= 0x7f || strings.ContainsRune(`"(),/:;<=>?@[\]{}`, r)
}

func (o *Options) registerErrors(flags *flag.FlagSet) {
	e := &o.Errors
	flags.Uint64Var(&e.Seed, "seed", 1, "decides which points are wrong")
	for _, f := range []struct {
		p          *float64
		name, what string
	}{
		{&e.OutOfOrder, "out-of-order", "points that are older than what was sent of their series"},
		{&e.Duplicates, "duplicates", "points that are the one before, again"},
		{&e.BadLabels, "bad-labels", "points with an attribute whose key is no label name"},
		{&e.BadUTF8, "bad-utf8", "points with an attribute whose value is no UTF-8"},
		{&e.Gaps, "gaps", "points that are not sent"},
		{&e.Future, "future", "points that are an hour ahead"},
		{&e.Stale, "stale-markers", "points that say that there is no value"},
		{&e.Delta, "delta", "requests with delta temporality, of types that have one"},
		{&e.Resets, "resets", "steps at which a cumulative stream starts again from 0; these are sound"},
	} {
		flags.Float64Var(f.p, f.name, 0, "probability of "+f.what)
	}
}

func parseKinds(s string) (kinds []schedule.Kind, err error) {
	for name := range strings.SplitSeq(s, ",") {
		kind := schedule.Kind(name)
		if !slices.Contains(schedule.Kinds(), kind) {
			return nil, fmt.Errorf("there is no type %q", name)
		}
		if slices.Contains(kinds, kind) {
			return nil, fmt.Errorf("type %q twice", name)
		}
		kinds = append(kinds, kind)
	}
	return kinds, nil
}

// defaultInterval is the time between the samples of a series if there is no rate that says so.
const defaultInterval = 100 * time.Millisecond

// check tells of numbers that cannot be, by the names of their flags.
func (o *Options) check() error {
	for _, f := range []struct {
		name  string
		value int64
		least int64
	}{
		{"series", int64(o.Series), 1},
		{"resources", int64(o.Resources), 1},
		{"points", int64(o.PerRequest), 1},
		{"connections", int64(o.Connections), 1},
		{"duration", int64(o.Duration), 0},
		{"samples", int64(o.Samples), 0},
		{"interval", int64(o.Interval), 0},
		{"churn", int64(o.Lifetime), 0},
	} {
		if f.value < f.least {
			return fmt.Errorf("%s: must be at least %d", f.name, f.least)
		}
	}
	if !(o.Rate >= 0 && o.Rate <= math.MaxInt32) {
		return fmt.Errorf("rate: must be from 0 to %d points per second, not %v", math.MaxInt32, o.Rate)
	}
	return nil
}

// Plan makes the schedule of each kind.
func (o *Options) Plan() ([]*schedule.Schedule, error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	var schedules []*schedule.Schedule
	points, samples := 0, 0
	for _, kind := range o.Kinds {
		s := o.shape(kind)
		points += s.Streams
		samples += s.Streams * kind.Parts()
		schedules = append(schedules, s)
	}
	interval := o.Interval
	if interval == 0 {
		interval = defaultInterval
		if o.Rate > 0 {
			interval = time.Duration(float64(points) / o.Rate * float64(time.Second))
		}
	}
	start := o.Start
	if start.IsZero() {
		start = time.Now()
	}
	for _, s := range schedules {
		s.First = o.First
		s.Start = start.UnixMilli()
		s.Interval = max(1, interval.Round(time.Millisecond).Milliseconds())
		if o.Lifetime > 0 {
			s.Lifetime = max(1, int(o.Lifetime.Milliseconds()/s.Interval))
		}
		s.Steps = (o.Samples + samples - 1) / samples
		s.Errors = o.Errors
		if err := s.Check(); err != nil {
			return nil, err
		}
	}
	return schedules, nil
}

// shape divides a kind's share of the series into resources and requests, such that all of them are full.
func (o *Options) shape(kind schedule.Kind) *schedule.Schedule {
	up := func(a, b int) int { return (a + b - 1) / b }
	streams := up(up(o.Series, len(o.Kinds)), kind.Parts())
	resources := min(o.Resources, streams)
	perResource := up(streams, resources)
	var perRequest int
	if requests := up(perResource, o.PerRequest); requests > 1 || perResource == o.PerRequest {
		// Several requests have points of a resource.
		perRequest = up(perResource, requests)
		perResource = perRequest * requests
	} else {
		requests := up(resources, min(resources, o.PerRequest/perResource))
		perPayload := up(resources, requests)
		resources = requests * perPayload
		perRequest = perPayload * perResource
	}
	return &schedule.Schedule{Kind: kind, Streams: resources * perResource, PerResource: perResource, PerRequest: perRequest}
}
