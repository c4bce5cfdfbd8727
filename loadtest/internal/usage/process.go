// SPDX-License-Identifier: Apache-2.0

//go:build linux

package usage

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// ticksPerSecond is the unit of /proc/PID/stat, the same on all of Linux's usual architectures.
const ticksPerSecond = 100

// Process is the user and system time that a process has used until now: what getrusage would say.
func Process(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
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

// Resident is how many bytes of a process are in memory, and the most that were.
func Resident(pid int) (now, peak int64, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, err
	}
	if now, err = Number(string(status), "VmRSS:", "kB"); err != nil {
		return 0, 0, err
	}
	if peak, err = Number(string(status), "VmHWM:", "kB"); err != nil {
		return 0, 0, err
	}
	return now * 1024, peak * 1024, nil
}

// Number finds the line with that prefix and suffix, and returns the number between.
func Number(text, prefix, suffix string) (int64, error) {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, prefix); ok {
			return strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(rest), suffix)), 10, 64)
		}
	}
	return 0, fmt.Errorf("no line %q", prefix)
}
