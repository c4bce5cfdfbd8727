// SPDX-License-Identifier: Apache-2.0

// Package process runs a program that can be asked to stop at every moment, also while it starts.
//
// It is a module of its own, without dependencies, because the tests, the load test and the demonstration need it, and they
// are modules that otherwise have nothing in common.
package process

import (
	"os"
	"os/exec"
	"time"
)

// ignoringInterrupts becomes the program that it gets as arguments, with interrupts ignored. A Go program inherits that
// and heeds it (package os/signal) until it asks for interrupts with signal.Notify.
const ignoringInterrupts = `trap "" INT; exec "$0" "$@"`

// interval is the time between two interrupts. A program that stops does not care how many it gets.
const interval = 50 * time.Millisecond

// Process is a running program.
type Process struct {
	cmd   *exec.Cmd
	ended chan struct{} // closed when the program has ended
	err   error         // of Wait; to be read after ended
}

// Start starts the program that cmd describes and that stops when it is interrupted, as a collector and Prometheus do.
// It needs a POSIX shell.
func Start(cmd *exec.Cmd) (*Process, error) {
	if cmd.Err != nil {
		return nil, cmd.Err
	}
	cmd.Args = append([]string{"sh", "-c", ignoringInterrupts, cmd.Path}, cmd.Args[1:]...)
	cmd.Path = "/bin/sh"
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &Process{cmd: cmd, ended: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.ended)
	}()
	return p, nil
}

// Pid is the program's process id.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Ended is closed when the program has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// State says how the program ended. It is nil before.
func (p *Process) State() *os.ProcessState {
	select {
	case <-p.ended:
		return p.cmd.ProcessState
	default:
		return nil
	}
}

// Stop asks the program to end, kills it when it has not done so within the time, and returns an error unless it ended
// with status 0. Further calls return the same.
//
// Nothing that a collector shows tells when it handles signals: it does so only after it has said that everything is
// ready, and the usual SIGTERM would kill it until then. An interrupt that comes too early is merely lost, so it is
// repeated.
func (p *Process) Stop(within time.Duration) error {
	deadline := time.NewTimer(within)
	defer deadline.Stop()
	again := time.NewTicker(interval)
	defer again.Stop()
	for {
		p.interrupt()
		select {
		case <-p.ended:
			return p.err
		case <-deadline.C:
			p.Kill()
			return p.err
		case <-again.C:
		}
	}
}

// interrupt does nothing if the program has ended.
func (p *Process) interrupt() { _ = p.cmd.Process.Signal(os.Interrupt) }

// Kill ends the program at once and returns when it has ended.
func (p *Process) Kill() {
	_ = p.cmd.Process.Kill() // an error means that it has ended
	<-p.ended
}
