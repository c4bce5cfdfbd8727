// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package integration

import "testing"

func mountSmall(t *testing.T, _ string, _ int) {
	t.Helper()
	t.Skip("a small file system is mounted on Linux only")
}
