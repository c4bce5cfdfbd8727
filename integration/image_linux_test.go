// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// inRoot is a command that sees nothing but a directory, as its root, with the rights of the image's user; without the right to
// do that, the same command in the directory as it is.
func inRoot(t *testing.T, root string, command []string) *exec.Cmd {
	t.Helper()
	if os.Getuid() != 0 {
		for i, argument := range command {
			if i == 0 {
				command[i] = filepath.Join(root, argument)
			} else if argument == "--config=/etc/otelcol/config.yaml" {
				command[i] = "--config=" + filepath.Join(root, "etc/otelcol/config.yaml")
			}
		}
		return exec.Command(command[0], command[1:]...)
	}
	// The directories above it are another user's.
	for dir := root; len(dir) > len(os.TempDir()); dir = filepath.Dir(dir) {
		require.NoError(t, os.Chmod(dir, 0o755))
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Dir = "/"
	cmd.Env = []string{}
	cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Credential: &syscall.Credential{Uid: 10001, Gid: 10001}}
	return cmd
}
