// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/load"
)

func TestOwnShareIsOfTheSameRound(t *testing.T) {
	run := func(cpu time.Duration) *load.Result { return &load.Result{Points: 2_000_000, CPU: cpu} }
	rs := results{
		nop:       {run(2 * time.Second), run(4 * time.Second), run(3 * time.Second)},
		orderedV1: {run(3 * time.Second), run(6 * time.Second), run(4 * time.Second)},
	}
	var out strings.Builder
	rs.print(&out, "title", []string{nop, orderedV1}, cpuColumns[:2])
	assert.Equal(t, `
title

| exporter | CPU seconds per million points | own share |
|---|---:|---:|
| `+"`nop`"+` | 1.50 (1.00 to 2.00) |  |
| `+"`ordered_remote_write/v1`"+` | 2.00 (1.50 to 3.00) | 0.50 (0.50 to 1.00) |
`, out.String())
}

// TestSettingsThatMeasureNothing are refused: most would run without an end or print nothing.
func TestSettingsThatMeasureNothing(t *testing.T) {
	t.Chdir("../../..")
	good := test{scenarios: "gauges,memory", gauges: 2, histograms: 0.3, series: 10, memorySeries: 1, repeats: 1, rounds: 1, seconds: 1}
	assert.NoError(t, good.check())
	for want, wrong := range map[string]func(*test){
		`-scenarios: there is no "gauge"`:  func(s *test) { s.scenarios = "gauge" },
		"-exporters: nop is there already": func(s *test) { s.exporters = "ordered_remote_write/v1,nop" },
		`-exporters: there is no "smoke"`:  func(s *test) { s.exporters = "smoke" },
		"must be at least 1 (point":        func(s *test) { s.rounds = 0 },
		"-series: must be at least 10":     func(s *test) { s.series = 0 },
	} {
		s := good
		wrong(&s)
		assert.ErrorContains(t, s.check(), want)
	}
}
