// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
)

// steady is how long the load runs before Prometheus is stopped, so that the page shows what is usual.
const steady = 10 * time.Second

// play shows everything in turn, and then what arrives until the context ends or a program does.
func (d *demo) play(ctx context.Context) error {
	if err := eventually(ctx, time.Minute, func() error { return d.arrived(ctx) }); err != nil {
		return err
	}
	if err := d.introduce(ctx); err != nil {
		return err
	}
	d.enter("steady", "Everything is well")
	if !sleep(ctx, steady) {
		return ctx.Err()
	}
	if d.outage > 0 {
		if err := d.interrupt(ctx); err != nil {
			return err
		}
		if err := d.judge(ctx, fmt.Sprintf("After %s without Prometheus:", d.outage)); err != nil {
			return err
		}
	}
	if d.check {
		d.enter("steady", "Everything is well")
		return d.checkPage(ctx)
	}
	d.enter("steady", "Everything is well. Ctrl-C stops everything")
	for sleep(ctx, time.Second) {
		if err := errors.Join(d.collector.exited(), d.prometheus.exited()); err != nil {
			return err
		}
	}
	return nil
}

// arrived returns an error as long as Prometheus lacks any of the series that are shown.
func (d *demo) arrived(ctx context.Context) error {
	for _, name := range []string{
		"system_cpu_load_average_1m", "system_memory_usage_bytes", "system_network_io_bytes_total",
		"demo_requests_total", "demo_duration_seconds", "target_info", "otelcol_exporter_ordered_remote_write_delivered_samples",
	} {
		n, err := d.client.sum(ctx, d.ports.prometheus.url(), "count("+name+")")
		if err != nil {
			return err
		}
		if n == 0 {
			return fmt.Errorf("no series %s", name)
		}
	}
	return nil
}

// introduce shows some of what has arrived, and where to look.
func (d *demo) introduce(ctx context.Context) error {
	var text strings.Builder
	text.WriteString("\nIn Prometheus:\n")
	for _, query := range []string{
		`sum by (machine) (system_cpu_load_average_1m)`,
		`sum by (state) (system_memory_usage_bytes)`,
		`count by (instance) (demo_requests_total)`,
		`histogram_quantile(0.9, demo_duration_seconds{instance="demo-0"})`,
		`count({__name__=~".+"})`,
	} {
		result, err := d.client.query(ctx, d.ports.prometheus.url(), query)
		if err != nil {
			return err
		}
		fmt.Fprintln(&text, "  "+query)
		for _, s := range result {
			fmt.Fprintf(&text, "      %s  %s\n", s, s.value())
		}
	}
	fmt.Fprintf(&text, `
The page to look at                  %s
Prometheus, without its web pages    %s/api/v1/query?query=system_cpu_load_average_1m
the collector's own metrics          %s/metrics
OTLP, for metrics of your own        %s (gRPC), %s (HTTP)
`, d.ports.page.url(), d.ports.prometheus.url(), d.ports.telemetry.url(), d.ports.otlpGRPC.String(), d.ports.otlpHTTP.url())
	d.screen.say(text.String())
	return nil
}

// interrupt stops Prometheus for a while, and waits until the queue has drained.
func (d *demo) interrupt(ctx context.Context) (err error) {
	if d.refusedBefore, err = d.client.refusedOutOfOrder(ctx, d.ports.prometheus.url()); err != nil {
		return err
	}
	d.screen.say(fmt.Sprintf("Stopping Prometheus for %s. Clients go on sending %s samples a second.",
		d.outage, count(seriesOfAll/interval.Seconds())))
	d.enter("outage", "Prometheus is stopped: the queue grows")
	began := time.Now()
	if err := d.prometheus.stop(); err != nil {
		return err
	}
	d.addOutage(began)
	if !sleep(ctx, d.outage-time.Since(began)) {
		return ctx.Err()
	}
	d.screen.say("Starting Prometheus again.")
	if err := d.prometheus.start(); err != nil {
		return err
	}
	if err := d.waitReady(ctx, d.prometheus, d.ports.prometheus.url()+"/-/ready"); err != nil {
		return err
	}
	d.endOutage(time.Now())
	d.enter("recovery", "Prometheus is back: the queue drains as soon as the exporter, which tries every few seconds, finds out")

	// Until a reading is newer than the start.
	if !sleep(ctx, 1500*time.Millisecond) {
		return ctx.Err()
	}
	return eventually(ctx, time.Minute, func() error {
		if a := d.now().Exporter; a.Oldest > interval.Seconds() {
			return fmt.Errorf("the queue has not drained: %s", a)
		}
		return nil
	})
}

// judge holds the load, and shows what Prometheus has of it.
func (d *demo) judge(ctx context.Context, title string) error {
	d.enter("counting", "The load is held for a moment: Prometheus counts what it has")
	d.load.mu.Lock()
	defer d.load.mu.Unlock()
	v, err := d.verify(ctx)
	if err != nil {
		return err
	}
	lines := append([]string{title}, v.lines()...)
	d.mu.Lock()
	lines = append(lines, fmt.Sprintf("  longest queue   %9s samples in %s, the oldest %.1f s old",
		count(d.peak.Queued), size(d.peak.QueueBytes), d.peak.Oldest))
	d.state.Verdict = lines
	d.mu.Unlock()
	d.screen.say("\n" + strings.Join(lines, "\n"))
	return v.ok()
}

// finish stops the collector, and checks that everything has arrived.
func (d *demo) finish(ctx context.Context) error {
	all, err := d.readAccounts(ctx)
	if err != nil {
		return err
	}
	d.screen.say("\nStopping the collector, which delivers what it holds.")
	if err := d.collector.stop(); err != nil {
		return err
	}
	v, err := d.verify(ctx)
	if err != nil {
		return err
	}
	d.screen.say("In all:\n" + strings.Join(v.lines(), "\n"))
	for _, exporter := range []string{mainExporter, otherExporter} {
		a := all[exporter]
		d.screen.say(fmt.Sprintf("  %s, before it was stopped:\n      %s", exporter, a))
		if a.Delivered == 0 || a.Dropped > 0 || a.Refused > 0 {
			err = errors.Join(err, fmt.Errorf("%s did not deliver everything: %s", exporter, a))
		}
	}
	return errors.Join(err, v.ok())
}

// enter begins a phase.
func (d *demo) enter(phase, text string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.state.Phase, d.state.Text = phase, text
}

func (d *demo) addOutage(from time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.state.Outages = append(slices.Clone(d.state.Outages), outage{From: from})
}

func (d *demo) endOutage(to time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	outages := slices.Clone(d.state.Outages)
	outages[len(outages)-1].To = &to
	d.state.Outages = outages
}

// now is the state of the moment. What its slices hold is never changed.
func (d *demo) now() state {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.state
}

func (d *demo) readAccounts(ctx context.Context) (map[string]accounts, error) {
	metrics, err := d.client.get(ctx, d.ports.telemetry.url()+"/metrics")
	if err != nil {
		return nil, err
	}
	return readAccounts(metrics)
}

// watch reads the exporter's metrics each second, and shows them.
func (d *demo) watch(ctx context.Context) error {
	type reading struct {
		at time.Time
		accounts
	}
	var before []reading
	for sleep(ctx, time.Second) {
		all, err := d.readAccounts(ctx)
		if err != nil {
			return err
		}
		last := reading{time.Now(), all[mainExporter]}
		before = append(before, last)
		// All instances have sent once within the interval.
		if n := int(interval/time.Second) + 1; len(before) > n {
			before = before[len(before)-n:]
		}
		first := before[0]
		seconds := max(last.at.Sub(first.at).Seconds(), 1e-3)
		d.mu.Lock()
		d.state.Time, d.state.Exporter = last.at, last.accounts
		d.state.Accepted = (last.Received - first.Received) / seconds
		d.state.Delivered = (last.Delivered - first.Delivered) / seconds
		if last.Queued > d.peak.Queued {
			d.peak = last.accounts
		}
		now := d.state
		d.mu.Unlock()
		every := 10 * time.Second
		if now.Phase != "steady" {
			every = time.Second
		}
		d.screen.show(now, every)
	}
	return nil
}
