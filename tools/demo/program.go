// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/process"
)

// program is a running program whose output goes to a file.
type program struct {
	*process.Process
	name, log string
}

// start starts a program with further environment variables.
func start(name, log string, env []string, path string, args ...string) (*program, error) {
	out, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer out.Close()
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = out, out
	// In a group of its own it does not get the terminal's Ctrl-C, so that the order of stopping is ours.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p, err := process.Start(cmd)
	if err != nil {
		return nil, err
	}
	return &program{Process: p, name: name, log: log}, nil
}

// exited returns an error if the program has ended.
func (p *program) exited() error {
	if state := p.State(); state != nil {
		return fmt.Errorf("%s has ended (%v), see %s", p.name, state, p.log)
	}
	return nil
}

// stop asks the program to end and returns an error unless it does so with status 0 in time. Further calls return
// the same.
func (p *program) stop() error {
	if p.exited() == nil {
		fmt.Println("stopping", p.name)
	}
	if err := p.Stop(30 * time.Second); err != nil {
		return fmt.Errorf("%s ended with %w, see %s", p.name, err, p.log)
	}
	return nil
}

// ports are the ports on the loopback interface that the programs listen on.
type ports struct {
	prometheus, otlpGRPC, otlpHTTP, health, telemetry int
}

func (p ports) prometheusURL() string { return "http://" + address(p.prometheus) }
func (p ports) healthURL() string     { return "http://" + address(p.health) }
func (p ports) telemetryURL() string  { return "http://" + address(p.telemetry) + "/metrics" }

func address(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }

// choosePorts returns the usual ports, or free ones in place of those that are taken; or only free ones.
func choosePorts(anyFree bool) (ports, error) {
	p := ports{prometheus: 9090, otlpGRPC: 4317, otlpHTTP: 4318, health: 13133, telemetry: 8888}
	var listeners []net.Listener
	defer func() {
		for _, l := range listeners {
			l.Close()
		}
	}()
	for _, port := range []*int{&p.prometheus, &p.otlpGRPC, &p.otlpHTTP, &p.health, &p.telemetry} {
		usual := *port
		if anyFree {
			usual = 0
		}
		l, err := net.Listen("tcp", address(usual))
		if err != nil {
			fmt.Printf("port %d is taken, using another\n", usual)
			if l, err = net.Listen("tcp", address(0)); err != nil {
				return ports{}, err
			}
		}
		// Kept open until all are chosen, so that none is chosen twice.
		listeners = append(listeners, l)
		*port = l.Addr().(*net.TCPAddr).Port
	}
	return p, nil
}

// fatal is an error that waiting does not clear.
type fatal struct{ error }

// eventually calls f until it returns nil or a fatal error, or the time is up.
func eventually(ctx context.Context, within time.Duration, f func() error) error {
	deadline := time.Now().Add(within)
	for {
		err := f()
		if err == nil {
			return nil
		}
		if last, ok := errors.AsType[fatal](err); ok {
			return last.error
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("after %v: %w", within, err)
		}
		if !sleep(ctx, 200*time.Millisecond) {
			return ctx.Err()
		}
	}
}

// sleep returns false if the context ended.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
