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
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"

	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/receive"
)

func main() {
	var b receive.Behavior
	b.Register(flag.CommandLine)
	count := flag.Bool("count", false, "only count, which costs less than to verify")
	listen := flag.String("listen", "127.0.0.1:9201", "where to receive Remote-Write, at any path")
	control := flag.String("control", "127.0.0.1:9202", "where to be controlled: GET /report, GET and POST /behavior, POST /schedule, POST /reset")
	flag.Parse()
	ctx, release := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, !*count, b, *listen, *control)
	release()
	if err != nil {
		fmt.Fprintln(os.Stderr, "receive:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, verifies bool, b receive.Behavior, listen, control string) error {
	r, err := receive.New(verifies, b)
	if err != nil {
		return err
	}
	failed := make(chan error, 2)
	for address, handler := range map[string]http.Handler{listen: r, control: r.Control()} {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return err
		}
		s := &http.Server{Handler: handler}
		defer s.Close()
		go func() { failed <- s.Serve(l) }()
	}
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	report := r.Report()
	if err := json.NewEncoder(os.Stdout).Encode(report); err != nil {
		return err
	}
	if report.ViolationCount > 0 || report.Verified != nil && report.Verified.Missing > 0 {
		return errors.New("there are violations, or samples are missing")
	}
	return nil
}
