// SPDX-License-Identifier: Apache-2.0

//go:build linux

package main

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// ticksPerSecond is the unit of /proc/PID/stat, the same on all of Linux's usual architectures.
const ticksPerSecond = 100

// cpu is the user and system time that the collector has used until now: what getrusage would say.
func (c *collector) cpu() (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", c.process.Pid()))
	if err != nil {
		return 0, err
	}
	return parseStat(string(stat))
}

func parseStat(stat string) (time.Duration, error) {
	// The second field is a name in parentheses, which may contain anything; utime and stime are the 14th and 15th.
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	if len(fields) < 13 {
		return 0, fmt.Errorf("not a process's stat: %q", stat)
	}
	sum := 0
	for _, f := range fields[11:13] {
		n, err := strconv.Atoi(f)
		if err != nil {
			return 0, err
		}
		sum += n
	}
	return time.Duration(sum) * time.Second / ticksPerSecond, nil
}

// memory is the collector's memory in bytes: what is resident, the most that was, and what is alive on the heap.
type memory struct{ resident, peak, heap int64 }

// memory measures before it makes the collector collect garbage to see what is alive.
func (c *collector) memory(ctx context.Context) (memory, error) {
	var m memory
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.process.Pid()))
	if err != nil {
		return m, err
	}
	if m.resident, err = number(string(status), "VmRSS:", "kB"); err != nil {
		return m, err
	}
	if m.peak, err = number(string(status), "VmHWM:", "kB"); err != nil {
		return m, err
	}
	m.resident *= 1024
	m.peak *= 1024
	// What is pooled survives one collection.
	var profile []byte
	for range 2 {
		if profile, err = c.debug(ctx, "heap?gc=1&debug=1"); err != nil {
			return m, err
		}
	}
	m.heap, err = number(string(profile), "# HeapAlloc =", "")
	return m, err
}

// number finds the line with that prefix and suffix, and returns the number between.
func number(text, prefix, suffix string) (int64, error) {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, prefix); ok {
			return strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), suffix)), 10, 64)
		}
	}
	return 0, fmt.Errorf("no line %q", prefix)
}
