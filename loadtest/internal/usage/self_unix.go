// SPDX-License-Identifier: Apache-2.0

//go:build unix

package usage

import (
	"syscall"
	"time"
)

// Self is the user and system time that this process has used until now.
func Self() time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}
