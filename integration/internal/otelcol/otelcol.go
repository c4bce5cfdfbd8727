// SPDX-License-Identifier: Apache-2.0

// Package otelcol runs collectors, as processes of their own, for tests.
package otelcol

import (
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/orderedremotewrite/orderedremotewriteexporter/integration/internal/output"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/process"
)

// Collector is a running collector, the process.
type Collector struct {
	*process.Process
	log output.Buffer
}

// Start starts the collector with configurations that are merged in their order. It is killed at the end of the test,
// and its log is shown if the test has failed.
func Start(t testing.TB, binary string, env []string, configs ...string) *Collector {
	t.Helper()
	args := make([]string, len(configs))
	for i, config := range configs {
		args[i] = "--config=" + config
	}
	c, cmd := &Collector{}, exec.Command(binary, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = &c.log, &c.log
	p, err := process.Start(cmd)
	require.NoError(t, err)
	c.Process = p
	t.Cleanup(func() {
		c.Kill()
		if t.Failed() {
			t.Log(c.Log())
		}
	})
	return c
}

// Log returns what the collector has logged.
func (c *Collector) Log() string { return c.log.String() }

// WaitReady waits until all components have started.
func (c *Collector) WaitReady(t testing.TB) {
	t.Helper()
	deadline := time.After(time.Minute)
	for !strings.Contains(c.Log(), "Everything is ready") {
		select {
		case <-c.Ended():
			require.FailNow(t, "the collector has ended", c.State())
		case <-deadline:
			require.FailNow(t, "the collector is not ready")
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Wait waits until the process has ended and returns its exit status.
func (c *Collector) Wait(t testing.TB) int {
	t.Helper()
	select {
	case <-c.Ended():
		return c.State().ExitCode()
	case <-time.After(time.Minute):
		require.FailNow(t, "the collector does not end")
		return -1
	}
}

// MustStop asks the collector to stop and requires that it does so with status 0.
func (c *Collector) MustStop(t testing.TB) {
	t.Helper()
	require.NoError(t, c.Stop(time.Minute))
}

// given are the addresses that were free for somebody.
var given sync.Map

// FreeAddress returns an address on the loopback interface that nothing listens on. Its port is below those that systems give to
// whoever asks for any, so that no connection takes it before the collector does.
func FreeAddress(t testing.TB) string {
	t.Helper()
	for range 1000 {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(20_000+rand.IntN(12_000)))
		if _, ok := given.LoadOrStore(address, true); ok {
			continue
		}
		if l, err := net.Listen("tcp", address); err == nil {
			require.NoError(t, l.Close())
			return address
		}
	}
	t.Fatal("no address is free")
	return ""
}
