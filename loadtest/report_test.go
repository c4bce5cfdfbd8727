// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestOwnShareIsOfTheSameRound(t *testing.T) {
	run := func(cpu time.Duration) result { return result{points: 2_000_000, cpu: cpu} }
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

func TestSummary(t *testing.T) {
	assert.Equal(t, "2 (1 to 3)", summary("%.0f", []float64{3, 1, 2}))
	assert.Equal(t, "1.5 (1.0 to 2.0)", summary("%.1f", []float64{2, 1}))
	assert.Equal(t, "7", summary("%.0f", []float64{7, 7}))
	assert.Empty(t, summary("%.0f", nil))
}

func TestParseStat(t *testing.T) {
	cpu, err := parseStat("1234 (a (b) c) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 9 0")
	require.NoError(t, err)
	assert.Equal(t, 3*time.Second, cpu)
	_, err = parseStat("1234 (a)")
	require.Error(t, err)
}

func TestNumber(t *testing.T) {
	n, err := number("VmPeak:\t 1 kB\nVmRSS:\t  4096 kB\n", "VmRSS:", "kB")
	require.NoError(t, err)
	assert.Equal(t, int64(4096), n)
	_, err = number("", "VmRSS:", "kB")
	require.Error(t, err)
}
