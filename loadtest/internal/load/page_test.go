// SPDX-License-Identifier: Apache-2.0

//go:build linux

package load

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

// page is the documentation of the tools.
func page(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../../../docs/load-testing.md")
	require.NoError(t, err)
	return string(text)
}
