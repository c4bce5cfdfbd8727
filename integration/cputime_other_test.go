// SPDX-License-Identifier: Apache-2.0

//go:build !unix

package integration

import "time"

var started = time.Now()

// cpuTime is the time since the start, where the system does not tell the CPU time in the same way.
func cpuTime() time.Duration { return time.Since(started) }
