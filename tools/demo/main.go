// SPDX-License-Identifier: Apache-2.0

//go:build unix

// Demo starts Prometheus and a collector with the exporter, writes the metrics of this machine and some of its own
// through them, and shows what arrived. With -check it exits when it has seen that every sample arrived.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func main() {
	d := demo{client: newClient()}
	flag.BoolVar(&d.check, "check", false, "check that every sample arrived, then exit")
	flag.StringVar(&d.collector, "collector", "bin/otelcol", "the collector's binary")
	flag.StringVar(&d.prometheus, "prometheus", "build/tools/prometheus", "Prometheus's binary")
	flag.StringVar(&d.config, "config", "examples/demo.yaml", "the collector's configuration")
	flag.Parse()

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
	check                         bool
	collector, prometheus, config string

	client client
	ports  ports
	sent   int // samples of demo_requests that the collector has accepted
}

// payloads is how many OTLP payloads, each with one sample of demo_requests, -check sends.
const payloads = 50

func (d *demo) run(ctx context.Context) (err error) {
	dir := "build/demo"
	if d.check {
		dir = "build/demo-check"
	}
	if err := os.RemoveAll(dir); err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if d.ports, err = choosePorts(d.check); err != nil {
		return err
	}

	prometheus, err := d.startPrometheus(dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, prometheus.stop()) }()
	if err := d.waitReady(ctx, prometheus, d.ports.prometheusURL()+"/-/ready"); err != nil {
		return d.interrupted(ctx, err)
	}

	collector, err := d.startCollector(dir)
	if err != nil {
		return err
	}
	// Runs before Prometheus is stopped: the collector delivers what it holds while it stops.
	defer func() { err = errors.Join(err, collector.stop()) }()
	if err := d.waitReady(ctx, collector, d.ports.healthURL()); err != nil {
		return d.interrupted(ctx, err)
	}

	if d.check {
		return d.checkArrival(ctx, collector)
	}
	return d.interrupted(ctx, d.show(ctx, collector, prometheus))
}

// interrupted turns an error that the user's Ctrl-C caused into success, unless a check is cut short by it.
func (d *demo) interrupted(ctx context.Context, err error) error {
	if ctx.Err() != nil && !d.check {
		return nil
	}
	return err
}

func (d *demo) startPrometheus(dir string) (*program, error) {
	config := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(config, []byte("global: {}\n"), 0o600); err != nil {
		return nil, err
	}
	return start("Prometheus", filepath.Join(dir, "prometheus.log"), nil, d.prometheus,
		"--config.file="+config,
		"--storage.tsdb.path="+filepath.Join(dir, "data"),
		"--web.listen-address="+address(d.ports.prometheus),
		"--web.enable-remote-write-receiver",
		// Without it no function can be applied to the series of several names.
		"--enable-feature=promql-delayed-name-removal",
	)
}

func (d *demo) startCollector(dir string) (*program, error) {
	return start("the collector", filepath.Join(dir, "collector.log"), []string{
		"REMOTE_WRITE_ENDPOINT=" + d.ports.prometheusURL() + "/api/v1/write",
		"OTLP_GRPC_ENDPOINT=" + address(d.ports.otlpGRPC),
		"OTLP_HTTP_ENDPOINT=" + address(d.ports.otlpHTTP),
		"HEALTH_ENDPOINT=" + address(d.ports.health),
		fmt.Sprintf("TELEMETRY_PORT=%d", d.ports.telemetry),
	}, d.collector, "--config="+d.config)
}

// waitReady waits until the process answers 200 at the URL.
func (d *demo) waitReady(ctx context.Context, p *program, url string) error {
	fmt.Printf("%s is starting, log in %s\n", p.name, p.log)
	return eventually(ctx, time.Minute, func() error {
		if err := p.exited(); err != nil {
			return fatal{err}
		}
		_, err := d.client.get(ctx, url)
		return err
	})
}

// show prints what arrives until the context ends or a process does.
func (d *demo) show(ctx context.Context, collector, prometheus *program) error {
	fmt.Println("waiting for the first samples")
	if err := eventually(ctx, time.Minute, func() error { return d.arrived(ctx) }); err != nil {
		return err
	}
	for _, query := range []string{
		`system_cpu_load_average_1m`,
		`sum by (state) (system_memory_usage_bytes)`,
		`sum by (direction) (system_network_io_bytes_total)`,
		`demo_requests_total`,
		`histogram_quantile(0.9, demo_duration_seconds)`,
		`target_info`,
		`count({__name__=~".+"})`,
	} {
		series, err := d.client.query(ctx, d.ports.prometheusURL(), query)
		if err != nil {
			return err
		}
		fmt.Println("\n" + query)
		for _, s := range series {
			fmt.Printf("    %s  %s\n", s, s.value())
		}
	}
	fmt.Printf(`
Prometheus, without its web pages    %[1]s/api/v1/query?query=system_cpu_load_average_1m
the collector's own metrics          %[2]s
OTLP, for metrics of your own        %[3]s (gRPC), http://%[4]s (HTTP)
Ctrl-C stops everything.

`, d.ports.prometheusURL(), d.ports.telemetryURL(), address(d.ports.otlpGRPC), address(d.ports.otlpHTTP))

	for {
		counts, err := d.client.samples(ctx, d.ports.telemetryURL())
		if err != nil {
			return err
		}
		fmt.Println(time.Now().Format(time.TimeOnly), counts)
		for range 5 {
			if err := errors.Join(collector.exited(), prometheus.exited(), d.send(ctx)); err != nil {
				return err
			}
			if !sleep(ctx, 2*time.Second) {
				return nil
			}
		}
	}
}

// arrived sends one payload and returns an error as long as Prometheus lacks any of the series that are shown.
func (d *demo) arrived(ctx context.Context) error {
	if err := d.send(ctx); err != nil {
		return err
	}
	for _, name := range []string{
		"system_cpu_load_average_1m", "system_memory_usage_bytes", "system_network_io_bytes_total",
		"demo_requests_total", "demo_duration_seconds", "target_info",
	} {
		series, err := d.client.query(ctx, d.ports.prometheusURL(), name)
		if err != nil {
			return err
		}
		if len(series) == 0 {
			return fmt.Errorf("no series %s", name)
		}
	}
	return nil
}

// checkArrival returns an error unless every sample that was sent is in Prometheus and in order.
func (d *demo) checkArrival(ctx context.Context, collector *program) error {
	for d.sent < payloads {
		if err := d.send(ctx); err != nil {
			return err
		}
		sleep(ctx, 50*time.Millisecond)
	}
	if err := eventually(ctx, time.Minute, func() error { return d.arrived(ctx) }); err != nil {
		return err
	}

	// The counters before what they count: Prometheus then has at least what the exporter says.
	counts, err := d.client.samples(ctx, d.ports.telemetryURL())
	if err != nil {
		return err
	}
	fmt.Println(counts)
	if counts.delivered == 0 || counts.dropped != 0 || counts.refused != 0 {
		return errors.New("samples were not delivered")
	}
	// What the collector holds is delivered while it stops.
	if err := collector.stop(); err != nil {
		return err
	}
	for _, c := range []struct {
		what, query string
		ok          func(float64) bool
	}{
		{"samples of demo_requests_total", `count_over_time(demo_requests_total[1h])`, func(n float64) bool { return n == float64(d.sent) }},
		{"last value", `last_over_time(demo_requests_total[1h])`, func(n float64) bool { return n == float64(d.sent) }},
		{"times that it went down", `resets(demo_requests_total[1h])`, func(n float64) bool { return n == 0 }},
		{"histograms", `count_over_time(demo_duration_seconds[1h])`, func(n float64) bool { return n == float64(d.sent) }},
		{"samples of all series", `sum(count_over_time({__name__=~".+"}[1h]))`, func(n float64) bool { return n >= counts.delivered }},
	} {
		series, err := d.client.query(ctx, d.ports.prometheusURL(), c.query)
		if err != nil {
			return err
		}
		if len(series) != 1 {
			return fmt.Errorf("%s: %d series, not 1", c.query, len(series))
		}
		fmt.Printf("%s: %s\n", c.what, series[0].value())
		if !c.ok(series[0].number()) {
			return fmt.Errorf("%s is %s after %d payloads", c.query, series[0].value(), d.sent)
		}
	}
	fmt.Println("every sample arrived")
	return nil
}

// send sends one sample of a counter and one of a histogram over OTLP, later and greater than the ones before.
func (d *demo) send(ctx context.Context) error {
	body := strings.NewReplacer(
		"START", fmt.Sprint(startTime.UnixNano()),
		"NOW", fmt.Sprint(time.Now().UnixNano()),
		"COUNT", fmt.Sprint(d.sent+1),
	).Replace(payload)
	if err := d.client.post(ctx, "http://"+address(d.ports.otlpHTTP)+"/v1/metrics", body); err != nil {
		return err
	}
	d.sent++
	return nil
}

var startTime = time.Now()

// payload is an OTLP payload in JSON: what an instrumented service sends.
const payload = `{"resourceMetrics": [{
	"resource": {"attributes": [
		{"key": "service.name", "value": {"stringValue": "demo"}},
		{"key": "service.instance.id", "value": {"stringValue": "demo-1"}},
		{"key": "service.version", "value": {"stringValue": "1.0"}}
	]},
	"scopeMetrics": [{"scope": {"name": "demo"}, "metrics": [
		{"name": "demo.requests", "unit": "1", "sum": {"aggregationTemporality": 2, "isMonotonic": true, "dataPoints": [
			{"startTimeUnixNano": "START", "timeUnixNano": "NOW", "asInt": "COUNT",
				"attributes": [{"key": "http.route", "value": {"stringValue": "/hello"}}]}
		]}},
		{"name": "demo.duration", "unit": "s", "exponentialHistogram": {"aggregationTemporality": 2, "dataPoints": [
			{"startTimeUnixNano": "START", "timeUnixNano": "NOW", "count": "COUNT", "sum": COUNT, "scale": 1,
				"positive": {"offset": -1, "bucketCounts": ["COUNT"]}}
		]}}
	]}]
}]}`
