// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"syscall"
	"testing"

	"github.com/stretchr/testify/assert"
)

// mountSmall makes a directory a file system of its own with so many bytes.
func mountSmall(t *testing.T, directory string, bytes int) {
	t.Helper()
	if err := syscall.Mount("tmpfs", directory, "tmpfs", 0, fmt.Sprintf("size=%d", bytes)); err != nil {
		t.Skipf("a small file system needs the right to mount one: %v", err)
	}
	t.Cleanup(func() { assert.NoError(t, syscall.Unmount(directory, syscall.MNT_DETACH)) })
}
