// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"bytes"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/process"
)

// collectorBinary returns the collector of builder-config.yaml: the one that OTELCOL_BINARY names, or else one that is
// built now.
var collectorBinary = sync.OnceValues(func() (string, error) {
	if binary := os.Getenv("OTELCOL_BINARY"); binary != "" {
		return binary, nil
	}
	if out, err := exec.Command("make", "-C", "..", "build").CombinedOutput(); err != nil {
		return "", errors.New(string(out))
	}
	return "../bin/otelcol", nil
})

// collector is a running collector, the process.
type collector struct {
	*process.Process
	log *buffer
}

// startCollector starts the collector with configurations that are merged in their order.
func startCollector(t *testing.T, env []string, configs ...string) *collector {
	t.Helper()
	binary, err := collectorBinary()
	require.NoError(t, err)
	args := make([]string, len(configs))
	for i, config := range configs {
		args[i] = "--config=" + config
	}
	cmd, log := exec.Command(binary, args...), &buffer{}
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = log, log
	p, err := process.Start(cmd)
	require.NoError(t, err)
	c := &collector{Process: p, log: log}
	t.Cleanup(func() {
		c.Kill()
		if t.Failed() {
			t.Log(c.log)
		}
	})
	return c
}

// waitReady waits until all components have started.
func (c *collector) waitReady(t *testing.T) {
	t.Helper()
	deadline := time.After(time.Minute)
	for !strings.Contains(c.log.String(), "Everything is ready") {
		select {
		case <-c.Ended():
			require.FailNow(t, "the collector has ended", c.State())
		case <-deadline:
			require.FailNow(t, "the collector is not ready")
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// wait waits until the process has ended and returns its exit status.
func (c *collector) wait(t *testing.T) int {
	t.Helper()
	select {
	case <-c.Ended():
		return c.State().ExitCode()
	case <-time.After(time.Minute):
		require.FailNow(t, "the collector does not end")
		return -1
	}
}

// stop asks the collector to stop and requires that it does so with status 0.
func (c *collector) stop(t *testing.T) {
	t.Helper()
	require.NoError(t, c.Stop(time.Minute))
}

// runCollector runs a subcommand of the collector and returns what it prints.
func runCollector(t *testing.T, env []string, args ...string) (string, error) {
	t.Helper()
	binary, err := collectorBinary()
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// freeAddress returns an address on the loopback interface that nothing listens on.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return l.Addr().String()
}

// buffer is a bytes.Buffer that a process may write while a test reads.
type buffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}
