// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/process"
)

// program is a program that runs, ends and may run again. Its output goes to a file.
type program struct {
	name, log string
	env       []string
	path      string
	args      []string

	// process is the current run, or the last one. Whoever stops the program and starts it again is the only one that looks.
	process *process.Process
}

// start starts the program. What a further run writes is added to the file.
func (p *program) start() error {
	out, err := os.OpenFile(p.log, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer out.Close()
	cmd := exec.Command(p.path, p.args...)
	cmd.Env = append(os.Environ(), p.env...)
	cmd.Stdout, cmd.Stderr = out, out
	// In a group of its own it does not get the terminal's Ctrl-C, so that the order of stopping is ours.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.process, err = process.Start(cmd)
	return err
}

// exited returns an error if the program has ended.
func (p *program) exited() error {
	if state := p.process.State(); state != nil {
		return fmt.Errorf("%s has ended (%v), see %s", p.name, state, p.log)
	}
	return nil
}

// stop asks the program to end and returns an error unless it does so with status 0 in time. Further calls return
// the same.
func (p *program) stop() error {
	if err := p.process.Stop(30 * time.Second); err != nil {
		return fmt.Errorf("%s ended with %w, see %s", p.name, err, p.log)
	}
	return nil
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
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("after %v: %w", within, err)
		}
		sleep(ctx, 200*time.Millisecond)
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
