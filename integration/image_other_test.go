// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package integration

import (
	"os/exec"
	"testing"
)

func inRoot(*testing.T, string, []string) *exec.Cmd { panic("images are for Linux") }
