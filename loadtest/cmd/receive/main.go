// SPDX-License-Identifier: Apache-2.0

// Receive is a Remote-Write endpoint, of 1.0 and 2.0, that counts what it gets or verifies it, and answers as it is told,
// also while it runs. When it ends it prints a line of JSON, and fails if it has found a violation or something is missing.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/flags"
	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/receive"
)

func main() {
	var b receive.Behavior
	b.Register(flag.CommandLine)
	o := options{grace: 5 * time.Second}
	count := flag.Bool("count", false, "only count, which costs less than to verify")
	flag.StringVar(&o.listen, "listen", "127.0.0.1:9201", "where to receive Remote-Write, at any path")
	flag.StringVar(&o.control, "control", "127.0.0.1:9202", "where to be controlled: GET /report, GET and POST /behavior, POST /schedule, POST /reset")
	flag.Parse()
	o.verifies, o.behavior = !*count, b
	ctx, release := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := flags.NoArguments(flag.CommandLine)
	if err == nil {
		err = run(ctx, os.Stdout, o)
	}
	release()
	if err != nil {
		fmt.Fprintln(os.Stderr, "receive:", err)
		os.Exit(1)
	}
}

// options are the flags.
type options struct {
	verifies        bool
	behavior        receive.Behavior
	listen, control string
	// grace is how long requests may take that are under way at the end.
	grace time.Duration
}

func run(ctx context.Context, out io.Writer, o options) error {
	r, err := receive.New(o.verifies, o.behavior)
	if err != nil {
		return err
	}
	failed := make(chan error, 2)
	serve := func(address string, handler http.Handler) (*http.Server, error) {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return nil, err
		}
		s := &http.Server{Handler: handler}
		go func() { failed <- s.Serve(l) }()
		return s, nil
	}
	control, err := serve(o.control, r.Control())
	if err != nil {
		return err
	}
	defer control.Close()
	endpoint, err := serve(o.listen, r)
	if err != nil {
		return err
	}
	defer endpoint.Close()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	end(endpoint, r, o.grace)
	report := r.Report()
	if err := json.NewEncoder(out).Encode(report); err != nil {
		return err
	}
	if report.ViolationCount > 0 || report.Verified != nil && report.Verified.Missing > 0 {
		return errors.New("there are violations, or samples are missing")
	}
	return nil
}

// end takes no more requests, and waits for those that are under way: what is stored and answered later would be in no
// report. Those that hang are ended.
func end(s *http.Server, r *receive.Receiver, grace time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	if s.Shutdown(ctx) == nil {
		return
	}
	_ = s.Close()
	r.WaitUntil(func(c *receive.Counts) bool { return c.InFlight == 0 })
}
