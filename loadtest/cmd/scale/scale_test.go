// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/load"
	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/receive"
	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/verify"
)

func TestLoadsAreAllCombinations(t *testing.T) {
	t.Chdir("../../..")
	s := settings{exporters: "nop,ordered_remote_write/v2,vmagent", types: "gauge,histogram", series: "10,20,30", latencies: "0,5ms", queues: "memory,storage"}
	profiles, err := s.profiles()
	require.NoError(t, err)
	assert.Len(t, profiles, 12)
	assert.Equal(t, []string{"nop", "ordered_remote_write/v2", "ordered_remote_write/v2-storage", "vmagent"}, profiles[0].exporters)
	assert.Equal(t, "gauge, 10 series, answers take 5ms", profiles[1].String())
	s.queues = "storage"
	profiles, err = s.profiles()
	require.NoError(t, err)
	assert.Equal(t, []string{"nop", "ordered_remote_write/v2-storage", "vmagent"}, profiles[0].exporters)
	for _, bad := range []func(*settings){
		func(s *settings) { s.types = "smoke" },
		func(s *settings) { s.series = "many" },
		func(s *settings) { s.series = "1e6" },
		func(s *settings) { s.series = "0" },
		func(s *settings) { s.latencies = "long" },
		func(s *settings) { s.latencies = "-5ms" },
		func(s *settings) { s.exporters = "nop,smoke" },
		func(s *settings) { s.queues = "tape" },
	} {
		c := s
		bad(&c)
		_, err := c.profiles()
		assert.Error(t, err)
	}
}

func TestFlagsOfTheToolsArePassedOn(t *testing.T) {
	s := settings{repeats: 1}
	require.NoError(t, s.parse("-duration 3s -gaps 0.5", "-jitter 5ms -resets 0.1"))
	assert.Equal(t, 3*time.Second, s.generate.Duration)
	assert.Equal(t, 0.5, s.generate.Errors.Gaps)
	assert.Equal(t, receive.Duration(5*time.Millisecond), s.behavior.Jitter)
	assert.Error(t, s.parse("", "-gaps 1"))
	// It has an end, whatever else is said.
	s = settings{repeats: 1}
	require.NoError(t, s.parse("-points 200", ""))
	assert.Equal(t, defaultDuration, s.generate.Duration)
	s = settings{repeats: 1}
	require.NoError(t, s.parse("-samples 200", ""))
	assert.Zero(t, s.generate.Duration)
	// What would have no effect is refused.
	assert.EqualError(t, s.parse("-duration 3s -type sum", ""), "-generate: -type has no effect there, use -types")
	assert.EqualError(t, s.parse("", "-latency 3s"), "-receive: -latency has no effect there, use -latencies")
	assert.EqualError(t, s.parse("duration 3s", ""), `-generate: "duration" is no flag, and neither is what follows it`)
	s.repeats = 0
	assert.EqualError(t, s.parse("", ""), "-repeats must be at least 1, and -window not negative")
}

// What is not known of an exporter is left out rather than 0.
func TestTable(t *testing.T) {
	dropped := 2.0
	p := &profile{"gauge", 10, 0, []string{load.Nop, "ordered_remote_write/v2", contrib}}
	results := []*load.Result{
		{Exporter: load.Nop, Points: 1000, Samples: 1000, Took: time.Second, Sending: time.Second, CPU: time.Millisecond, Own: time.Millisecond},
		{
			Exporter: "ordered_remote_write/v2", Points: 1000, Samples: 1000, Delivered: 998, Dropped: &dropped, Took: 3 * time.Second, Sending: 2 * time.Second, Meanwhile: 998, CPU: 2 * time.Millisecond,
			Resident: []int64{1e6, 2e6, 3e6}, Received: receive.Report{Verified: &verify.Report{}},
		},
		{Exporter: contrib, Points: 1000, Samples: 1000, Delivered: 1000, Took: 5 * time.Second, Sending: 4 * time.Second, Meanwhile: 1000, CPU: 8 * time.Millisecond},
	}
	var out strings.Builder
	show(&out, p, results)
	lines := strings.Split(out.String(), "\n")
	require.Greater(t, len(lines), 7)
	assert.Equal(t, "gauge, 10 series, answers take 0s", lines[1])
	assert.Equal(t, strings.Count(lines[3], "|"), strings.Count(lines[5], "|"))
	assert.Contains(t, lines[5], "| `nop` | 1000 |  | 4.00 | 500000 |  | 1.00 | 1.00 |  | 0.12 | 0 |  |  |  |  |  |  |  |  |  |")
	assert.Contains(t, lines[6], "| `ordered_remote_write/v2` | 499 | 0.50 | 2.00 | 500000 | 1.00 | 2.00 | 2.00 | 2.00 | 0.25 | 0 | 1 | 2 | 3 |")
	assert.True(t, strings.HasSuffix(lines[6], "| 0 | 0 | 0 |"), lines[6])
	assert.True(t, strings.HasSuffix(lines[7], "|  |  |  |"), lines[7])
}

// An exporter that has failed has no figures, and does not keep the others from theirs.
func TestTableWithoutOne(t *testing.T) {
	p := &profile{"gauge", 10, 0, []string{load.Nop, contrib}}
	run := &load.Result{Exporter: contrib, Samples: 1000, Meanwhile: 1000, Sending: time.Second}
	var out strings.Builder
	show(&out, p, []*load.Result{nil, run, nil, nil})
	lines := strings.Split(out.String(), "\n")
	assert.Contains(t, lines[5], "| `nop` |  |  |")
	assert.Contains(t, lines[6], "| `prometheus_remote_write/contrib` | 1000 |  |")
}

// Of several turns there are medians and ranges, and a ratio is to the run of the same turn.
func TestTableOfTurns(t *testing.T) {
	run := func(exporter string, samples int) *load.Result {
		return &load.Result{Exporter: exporter, Samples: samples, Meanwhile: samples, Sending: time.Second}
	}
	p := &profile{"gauge", 10, 0, []string{load.Nop, "ordered_remote_write/v1"}}
	var out strings.Builder
	show(&out, p, []*load.Result{
		run(load.Nop, 100), run("ordered_remote_write/v1", 50),
		run(load.Nop, 400), run("ordered_remote_write/v1", 300),
		run(load.Nop, 200), run("ordered_remote_write/v1", 180),
	})
	lines := strings.Split(out.String(), "\n")
	assert.Contains(t, lines[5], "| `nop` | 200 (100 to 400) |  |")
	assert.Contains(t, lines[6], "| `ordered_remote_write/v1` | 180 (50 to 300) | 0.75 (0.50 to 0.90) |")
}
