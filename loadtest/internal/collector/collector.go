// SPDX-License-Identifier: Apache-2.0

//go:build linux

// Package collector runs what is measured: a collector with one of several exporters, or another program that takes OTLP
// and writes Remote-Write. It works in the root of the repository.
package collector

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/process"
	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/usage"
)

// What is built is here, relative to the root of the repository.
const (
	Dir           = "build/loadtest"
	binary        = Dir + "/otelcol"
	config        = "loadtest/collector.yaml"
	builderConfig = "loadtest/builder-config.yaml"
	builder       = "build/tools/builder"
	vmagent       = "build/tools/vmagent"
)

// VMAgent is the name by which vmagent is started in place of a collector.
const VMAgent = "vmagent"

// Exporters are the names that Start takes: the exporters of the configuration, and vmagent.
func Exporters() ([]string, error) {
	text, err := os.ReadFile(config)
	if err != nil {
		return nil, err
	}
	return append(exportersOf(string(text)), VMAgent), nil
}

// exportersOf are the keys of the section with the exporters.
func exportersOf(text string) (names []string) {
	_, section, _ := strings.Cut(text, "\nexporters:\n")
	for line := range strings.Lines(section) {
		if line[0] != ' ' && line[0] != '\n' {
			break
		}
		if key, _, ok := strings.Cut(strings.TrimPrefix(line, "  "), ":"); ok && key[0] != ' ' && key[0] != '#' {
			names = append(names, key)
		}
	}
	return names
}

// Build builds the collector with all exporters that are compared.
func Build(ctx context.Context) error {
	fmt.Fprintln(os.Stderr, "building the collector: takes some minutes the first time")
	for _, args := range [][]string{
		{builder, "--config", builderConfig, "--skip-compilation"},
		{"go", "build", "-C", Dir + "/collector", "-o", "../otelcol", "."},
	} {
		if out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%v: %w\n%s", args, err, out)
		}
	}
	return nil
}

// Collector is a running one.
type Collector struct {
	Name string // of its exporter
	// OTLP is where it takes metrics, by Protocol: grpc or http.
	OTLP, Protocol string

	log, address, debug, metrics string
	process                      *process.Process
}

// Start starts a collector that exports to the endpoint, on some processors or on all, and waits until it accepts
// connections.
func Start(ctx context.Context, exporter, endpoint string, cpus []int) (*Collector, error) {
	addresses, err := freeAddresses(3)
	if err != nil {
		return nil, err
	}
	storage, err := filepath.Abs(filepath.Join(Dir, "storage"))
	if err != nil {
		return nil, err
	}
	if err := os.RemoveAll(storage); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(storage, 0o755); err != nil {
		return nil, err
	}
	c := &Collector{
		Name: exporter, OTLP: addresses[0], Protocol: "grpc", log: filepath.Join(Dir, "collector.log"),
		address: addresses[0], debug: "http://" + addresses[1], metrics: "http://" + addresses[2] + "/metrics",
	}
	_, telemetryPort, err := net.SplitHostPort(addresses[2])
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(binary, "--config="+config)
	cmd.Env = append(os.Environ(), "EXPORTER="+exporter, "SINK_ENDPOINT="+endpoint, "OTLP_ENDPOINT="+addresses[0],
		"PPROF_ENDPOINT="+addresses[1], "TELEMETRY_PORT="+telemetryPort, "STORAGE_DIRECTORY="+storage)
	if exporter == VMAgent {
		c.OTLP, c.Protocol = "http://"+addresses[0]+"/opentelemetry", "http"
		c.debug, c.metrics = "http://"+addresses[0], "http://"+addresses[0]+"/metrics"
		cmd = exec.Command(vmagent, "-httpListenAddr="+addresses[0], "-remoteWrite.url="+endpoint, "-remoteWrite.forcePromProto",
			"-remoteWrite.tmpDataPath="+storage, "-opentelemetry.usePrometheusNaming")
	}
	return c, c.start(ctx, cmd, cpus)
}

func (c *Collector) start(ctx context.Context, cmd *exec.Cmd, cpus []int) error {
	out, err := os.Create(c.log)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd.Stdout, cmd.Stderr = out, out
	err = usage.With(cpus, func() (err error) {
		c.process, err = process.Start(cmd)
		return err
	})
	if err != nil {
		return err
	}
	if err := c.waitReady(ctx); err != nil {
		return errors.Join(err, c.Stop())
	}
	return nil
}

// waitReady waits for the receiver, which starts last.
func (c *Collector) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		if conn, err := net.Dial("tcp", c.address); err == nil {
			return conn.Close()
		}
		select {
		case <-c.process.Ended():
			return errors.New("the collector has ended")
		case <-ctx.Done():
			return fmt.Errorf("waiting for the collector: %w", ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// While returns a context that ends when the collector does. A generator would wait for one that has ended.
func (c *Collector) While(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case <-c.process.Ended():
			cancel(errors.New("the collector has ended"))
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

// Stop asks the collector to end and returns an error unless it does so with status 0 in time.
func (c *Collector) Stop() error {
	if err := c.process.Stop(30 * time.Second); err != nil {
		return fmt.Errorf("the collector with %s ended with %w, see %s", c.Name, err, c.log)
	}
	return nil
}

// CPU is the user and system time that the collector has used until now.
func (c *Collector) CPU() (time.Duration, error) { return usage.Process(c.process.Pid()) }

// Resident is how many bytes of it are in memory, and the most that were.
func (c *Collector) Resident() (now, peak int64, err error) { return usage.Resident(c.process.Pid()) }

// Heap is how many bytes are alive on the collector's heap. It makes it collect garbage.
func (c *Collector) Heap(ctx context.Context) (int64, error) {
	var profile []byte
	// What is pooled survives one collection.
	for range 2 {
		var err error
		if profile, err = c.Debug(ctx, "heap?gc=1&debug=1"); err != nil {
			return 0, err
		}
	}
	return usage.Number(string(profile), "# HeapAlloc =", "")
}

// Debug gets something from the collector's pprof extension.
func (c *Collector) Debug(ctx context.Context, path string) ([]byte, error) {
	return get(ctx, c.debug+"/debug/pprof/"+path)
}

// Metric is the sum of a metric over all of its series whose labels contain a text, and false if there are none.
func (c *Collector) Metric(ctx context.Context, name, labels string) (float64, bool, error) {
	text, err := get(ctx, c.metrics)
	if err != nil {
		return 0, false, err
	}
	return sum(string(text), name, labels)
}

// sum adds the values of a metric in the text format of Prometheus.
func sum(text, name, labels string) (total float64, found bool, err error) {
	for line := range strings.Lines(text) {
		rest, ok := strings.CutPrefix(line, name)
		// A counter may have a suffix.
		rest = strings.TrimPrefix(rest, "_total")
		if !ok || !strings.HasPrefix(rest, "{") || !strings.Contains(rest, labels) {
			continue
		}
		v, err := strconv.ParseFloat(strings.TrimSpace(rest[strings.LastIndexByte(rest, '}')+1:]), 64)
		if err != nil {
			return 0, false, fmt.Errorf("metric %s: %w", name, err)
		}
		total, found = total+v, true
	}
	return total, found, nil
}

func get(ctx context.Context, url string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s: %s", url, resp.Status, body)
	}
	return body, err
}

// freeAddresses returns addresses on the loopback interface that nobody listens on.
func freeAddresses(n int) ([]string, error) {
	var addresses []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		// Kept open until all are chosen, so that none is chosen twice.
		defer l.Close()
		addresses = append(addresses, l.Addr().String())
	}
	return addresses, nil
}
