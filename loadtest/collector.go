// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

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
	"time"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/process"
)

// What the load test builds is here, relative to the root of the repository.
const (
	buildDir        = "build/loadtest"
	collectorBinary = buildDir + "/otelcol"
	collectorConfig = "loadtest/collector.yaml"
	builderConfig   = "loadtest/builder-config.yaml"
	builderBinary   = "build/tools/builder"
)

// buildCollector builds the collector with all exporters that are compared.
func buildCollector(ctx context.Context) error {
	fmt.Println("building the collector: takes some minutes the first time")
	for _, args := range [][]string{
		{builderBinary, "--config", builderConfig, "--skip-compilation"},
		{"go", "build", "-C", buildDir + "/collector", "-o", "../otelcol", "."},
	} {
		if out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%v: %w\n%s", args, err, out)
		}
	}
	return nil
}

// collector is a running collector.
type collector struct {
	name, log   string
	otlp, pprof string // addresses
	process     *process.Process
}

// startCollector starts a collector that exports to the endpoint, and waits until it accepts connections.
func startCollector(ctx context.Context, exporter, endpoint string) (*collector, error) {
	addresses, err := freeAddresses(3)
	if err != nil {
		return nil, err
	}
	_, telemetryPort, err := net.SplitHostPort(addresses[2])
	if err != nil {
		return nil, err
	}
	c := &collector{
		name: exporter, log: filepath.Join(buildDir, "collector.log"),
		otlp: addresses[0], pprof: addresses[1],
	}
	out, err := os.Create(c.log)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := exec.Command(collectorBinary, "--config="+collectorConfig)
	cmd.Env = append(os.Environ(),
		"EXPORTER="+exporter, "SINK_ENDPOINT="+endpoint, "OTLP_ENDPOINT="+c.otlp, "PPROF_ENDPOINT="+c.pprof,
		"TELEMETRY_PORT="+telemetryPort)
	cmd.Stdout, cmd.Stderr = out, out
	if c.process, err = process.Start(cmd); err != nil {
		return nil, err
	}
	if err := c.waitReady(ctx); err != nil {
		return nil, errors.Join(err, c.stop())
	}
	return c, nil
}

// waitReady waits for the receiver, which starts last.
func (c *collector) waitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		if conn, err := net.Dial("tcp", c.otlp); err == nil {
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

// stop asks the collector to end and returns an error unless it does so with status 0 in time.
func (c *collector) stop() error {
	if err := c.process.Stop(30 * time.Second); err != nil {
		return fmt.Errorf("the collector with %s ended with %w, see %s", c.name, err, c.log)
	}
	return nil
}

// debug gets something from the collector's pprof extension.
func (c *collector) debug(ctx context.Context, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+c.pprof+"/debug/pprof/"+path, nil)
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
		err = fmt.Errorf("pprof: %s: %s", resp.Status, body)
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
