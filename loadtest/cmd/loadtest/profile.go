// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/collector"
	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/generate"
)

// own matches the exporter's functions; what the runtime and libraries do for them counts too.
const own = `orderedremotewriteexporter[./]`

// garbageCollection matches what the runtime does to collect garbage.
const garbageCollection = `runtime\.(gcBgMarkWorker|gcAssistAlloc|bgsweep|bgscavenge|gcStart|gcMarkTermination)$`

// warmUp is how long the load lasts before it is profiled.
const warmUp = 3 * time.Second

// profiles stores profiles of the exporter in both versions of the protocol, and shows the first of their entries.
func (t *test) profiles(ctx context.Context, s scenario) error {
	for _, exporter := range []string{orderedV1, orderedV2} {
		_, version, _ := strings.Cut(exporter, "/")
		prefix := filepath.Join(collector.Dir, s.name+"-"+version)
		if err := t.profileOne(ctx, s, exporter, prefix); err != nil {
			return fmt.Errorf("%s, %s: %w", s.name, exporter, err)
		}
		for _, args := range [][]string{
			{prefix + ".cpu.pprof"},
			{"-focus=" + own, prefix + ".cpu.pprof"},
			{"-focus=" + garbageCollection, prefix + ".cpu.pprof"},
			{"-sample_index=inuse_space", prefix + ".heap.pprof"},
			{"-sample_index=alloc_space", prefix + ".heap.pprof"},
		} {
			fmt.Printf("\n%s\n", strings.Join(args, " "))
			top := exec.CommandContext(ctx, "go", append([]string{"tool", "pprof", "-top", "-nodecount=12"}, args...)...)
			top.Stdout, top.Stderr = os.Stdout, os.Stderr
			if err := top.Run(); err != nil {
				return err
			}
		}
	}
	return nil
}

// profileOne profiles a collector under a load that lasts until the profiles are taken.
func (t *test) profileOne(ctx context.Context, s scenario, exporter, prefix string) (err error) {
	t.sink.Reset()
	c, err := collector.Start(ctx, exporter, t.sink.URL, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, c.Stop()) }()
	ctx, cancel := c.While(ctx)
	defer cancel()
	o := t.options(s)
	o.Endpoint, o.Protocol, o.Samples = c.OTLP, c.Protocol, 0
	g, err := generate.New(o)
	if err != nil {
		return err
	}
	loaded := make(chan error, 1)
	go func() { loaded <- g.Run(ctx) }()
	defer func() {
		g.Stop()
		err = errors.Join(err, <-loaded)
	}()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(warmUp):
	}
	for path, file := range map[string]string{
		fmt.Sprintf("profile?seconds=%d", t.seconds): prefix + ".cpu.pprof",
		"heap": prefix + ".heap.pprof",
	} {
		profile, err := c.Debug(ctx, path)
		if err != nil {
			return err
		}
		if err := os.WriteFile(file, profile, 0o644); err != nil {
			return err
		}
	}
	return nil
}
