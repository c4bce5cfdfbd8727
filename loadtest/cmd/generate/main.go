// SPDX-License-Identifier: Apache-2.0

// Generate sends metrics to a collector over OTLP: all of their types, as many and as fast as wanted, and wrong ones with
// the probabilities that are asked for. On a terminal it shows how far it is; at its end it prints a line of JSON.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/flags"
	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/generate"
	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/schedule"
	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/usage"
)

func main() {
	var o generate.Options
	o.Register(flag.CommandLine)
	announce := flag.String("announce", "", "the control address of a receiver that is to be told the schedule: host:port or a URL")
	flag.Parse()
	err := flags.NoArguments(flag.CommandLine)
	if err == nil {
		interrupts := make(chan os.Signal, 2)
		signal.Notify(interrupts, syscall.SIGINT, syscall.SIGTERM)
		err = run(os.Stdout, o, *announce, interrupts)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "generate:", err)
		os.Exit(1)
	}
}

// result is what is printed at the end.
type result struct {
	Schedules []*schedule.Schedule `json:"schedules"`
	Accepted  int                  `json:"accepted_points"`
	Samples   int                  `json:"accepted_samples"`
	generate.Totals
	CPUSeconds    float64 `json:"cpu_seconds"`
	CPUPerMillion float64 `json:"cpu_seconds_per_million_points"`
}

// run sends until its end or the first interrupt, and finishes the step that is under way unless a second one comes. However
// it ends, it prints what was sent.
func run(out io.Writer, o generate.Options, announce string, interrupts <-chan os.Signal) error {
	g, err := generate.New(o)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		<-interrupts
		g.Stop()
		<-interrupts
		cancel()
	}()
	if err := tell(ctx, announce, g.Schedules()); err != nil {
		return err
	}
	showing, shown := context.WithCancel(ctx)
	if terminal(os.Stderr) {
		go show(showing, g)
	}
	err = g.Run(ctx)
	shown()
	if err == nil {
		// Of a step that is not finished, a receiver would miss what was not sent.
		err = tell(ctx, announce, g.Schedules())
	}
	r := result{Schedules: g.Schedules(), Totals: g.Totals(), CPUSeconds: usage.Self().Seconds()}
	r.Accepted, r.Samples = r.Totals.Accepted()
	if r.Accepted > 0 {
		r.CPUPerMillion = r.CPUSeconds * 1e6 / float64(r.Accepted)
	}
	return errors.Join(err, json.NewEncoder(out).Encode(r))
}

// tell tells a receiver the schedules, if there is one.
func tell(ctx context.Context, receiver string, schedules []*schedule.Schedule) error {
	if receiver == "" {
		return nil
	}
	body, err := json.Marshal(schedules)
	if err != nil {
		return err
	}
	if !strings.Contains(receiver, "://") {
		receiver = "http://" + receiver
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(receiver, "/")+"/schedule", bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("announce: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("announce: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
		return fmt.Errorf("announce: %s: %s", resp.Status, text)
	}
	return nil
}

func terminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// show writes how far the generator is over the same line, each second.
func show(ctx context.Context, g *generate.Generator) {
	before, retries := 0, 0
	for tick := time.NewTicker(time.Second); ; {
		select {
		case <-ctx.Done():
			fmt.Fprintln(os.Stderr)
			return
		case <-tick.C:
		}
		t := g.Totals()
		points, samples := t.Accepted()
		fmt.Fprintf(os.Stderr, "\r%5.0f s  %12d points accepted (%d samples), %9d/s, %d retries, an answer takes %.1f ms ",
			t.Seconds, points, samples, points-before, t.Retries, 1000*t.MeanSeconds)
		if points == before && t.Retries > retries {
			fmt.Fprintf(os.Stderr, "\n%.300s\n", t.LastRetry)
		}
		retries = t.Retries
		before = points
	}
}
