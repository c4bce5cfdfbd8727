// SPDX-License-Identifier: Apache-2.0

//go:build unix

// Demo starts Prometheus and a collector with the exporter, and writes the metrics of this machine, of a service with ten
// thousand series and of the collector itself. It stops Prometheus for ten seconds, shows how the queue grows and drains, and
// counts in Prometheus whether a sample is missing or came out of order. With -check it exits when it has seen that.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

func main() {
	d := demo{client: newClient(), screen: newScreen(os.Stdout), ports: usualPorts()}
	flag.BoolVar(&d.check, "check", false, "check everything, the page included if there is a Chromium, then exit")
	flag.StringVar(&d.collectorPath, "collector", "bin/otelcol", "the collector's binary")
	flag.StringVar(&d.prometheusPath, "prometheus", "build/tools/prometheus", "Prometheus's binary")
	flag.StringVar(&d.config, "config", "examples/demo.yaml", "the collector's configuration")
	flag.StringVar(&d.dashboard, "dashboard", "dashboards/ordered_remote_write.json", "the dashboard that the page draws")
	flag.StringVar(&d.browser, "browser", "", "the Chromium for -check; the usual names are tried")
	flag.StringVar(&d.picture, "picture", "", "with -check: the file for a picture of the page, without which the check fails")
	flag.DurationVar(&d.outage, "outage", 10*time.Second, "how long Prometheus is stopped; 0 leaves it alone")
	d.ports.flags(flag.CommandLine)
	flag.Parse()
	d.ports.noteChosen(flag.CommandLine)

	// Signals stay caught until everything has stopped, so that a second Ctrl-C leaves nothing running.
	ctx, release := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	err := d.run(ctx)
	release()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// demo is one run of the demonstration.
type demo struct {
	check                                            bool
	collectorPath, prometheusPath, config, dashboard string
	browser, picture                                 string
	outage                                           time.Duration

	client client
	screen *screen
	ports  ports
	dir    string
	load   *load

	prometheus, collector *program
	// refusedBefore is what Prometheus had refused as out of order before it was stopped: it counts from 0 then.
	refusedBefore int

	mu    sync.Mutex // guards what follows
	state state
	// peak is the fullest that the queue was.
	peak accounts
}

func (d *demo) run(ctx context.Context) (err error) {
	d.dir = "build/demo"
	if d.check {
		d.dir = "build/demo-check"
	}
	if err := os.RemoveAll(d.dir); err != nil {
		return err
	}
	if err := os.MkdirAll(d.dir, 0o755); err != nil {
		return err
	}
	if err := d.ports.choose(d.check, d.screen.say); err != nil {
		return err
	}
	if err := d.startPrometheus(); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, d.prometheus.stop()) }()
	if err := d.waitReady(ctx, d.prometheus, d.ports.prometheus.url()+"/-/ready"); err != nil {
		return d.interrupted(ctx, err)
	}
	if err := d.startCollector(); err != nil {
		return err
	}
	// Runs before Prometheus is stopped: the collector delivers what it holds while it stops.
	defer func() { err = errors.Join(err, d.collector.stop()) }()
	if err := d.waitReady(ctx, d.collector, d.ports.health.url()); err != nil {
		return d.interrupted(ctx, err)
	}
	stopPage, err := d.servePage()
	if err != nil {
		return err
	}
	defer stopPage()
	return d.interrupted(ctx, d.perform(ctx))
}

// perform runs the load beside what is shown, and counts everything at the end.
func (d *demo) perform(ctx context.Context) error {
	d.load = newLoad(d.client, d.ports.otlpHTTP.url()+"/v1/metrics")
	d.state.Started = d.load.start
	d.enter("start", "Waiting for the first samples")
	if err := d.withHelpers(ctx, d.play); err != nil {
		return err
	}
	return d.finish(context.WithoutCancel(ctx))
}

// withHelpers runs f while the load is sent and the exporter is watched.
func (d *demo) withHelpers(ctx context.Context, f func(context.Context) error) error {
	defer d.screen.end()
	ctx, cancel := context.WithCancelCause(ctx)
	var helpers sync.WaitGroup
	defer helpers.Wait()
	defer cancel(nil)
	for _, helper := range []func(context.Context) error{d.load.run, d.watch} {
		helpers.Go(func() {
			if err := helper(ctx); err != nil && ctx.Err() == nil {
				cancel(errors.Join(err, d.collector.exited()))
			}
		})
	}
	err := f(ctx)
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

// interrupted turns an error that the user's Ctrl-C caused into success, unless a check is cut short by it.
func (d *demo) interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil && !d.check && errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func (d *demo) startPrometheus() error {
	config := filepath.Join(d.dir, "prometheus.yml")
	if err := os.WriteFile(config, []byte("global: {}\n"), 0o600); err != nil {
		return err
	}
	d.prometheus = &program{
		name: "Prometheus", log: filepath.Join(d.dir, "prometheus.log"), path: d.prometheusPath,
		args: []string{
			"--config.file=" + config,
			"--storage.tsdb.path=" + filepath.Join(d.dir, "data"),
			"--web.listen-address=" + d.ports.prometheus.String(),
			"--web.enable-remote-write-receiver",
			// Without it no function can be applied to the series of several names.
			"--enable-feature=promql-delayed-name-removal",
		},
	}
	return d.prometheus.start()
}

func (d *demo) startCollector() error {
	d.collector = &program{
		name: "the collector", log: filepath.Join(d.dir, "collector.log"), path: d.collectorPath,
		args: []string{"--config=" + d.config},
		env: []string{
			"REMOTE_WRITE_ENDPOINT=" + d.ports.prometheus.url() + "/api/v1/write",
			"OTLP_GRPC_ENDPOINT=" + d.ports.otlpGRPC.String(),
			"OTLP_HTTP_ENDPOINT=" + d.ports.otlpHTTP.String(),
			"HEALTH_ENDPOINT=" + d.ports.health.String(),
			fmt.Sprintf("TELEMETRY_PORT=%d", d.ports.telemetry.number),
		},
	}
	return d.collector.start()
}

// waitReady waits until the program answers 200 at the URL.
func (d *demo) waitReady(ctx context.Context, p *program, url string) error {
	d.screen.say(fmt.Sprintf("%s is starting, log in %s", p.name, p.log))
	return eventually(ctx, time.Minute, func() error {
		if err := p.exited(); err != nil {
			return fatal{err}
		}
		_, err := d.client.get(ctx, url)
		return err
	})
}
