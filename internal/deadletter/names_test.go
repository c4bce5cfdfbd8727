// SPDX-License-Identifier: Apache-2.0

package deadletter // import "github.com/orderedremotewrite/orderedremotewriteexporter/internal/deadletter"

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRecordNamesAreReadBack(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 999_999_999, time.UTC)
	for reason, want := range map[string]string{
		"rejected":               "rejected",
		"retries_exhausted":      "retries_exhausted",
		"":                       "unknown",
		"../../etc/passwd":       "______etc_passwd",
		"Too Old: é\x00\xff":     "_oo__ld_____",
		strings.Repeat("a", 300): strings.Repeat("a", maxReason),
	} {
		for _, number := range []uint64{0, 1, 9_999_999_999, math.MaxInt64} {
			name := recordName(at, number, reason)
			require.True(t, strings.HasSuffix(name, "-"+want), name)
			require.Less(t, len(name+infoSuffix+temporarySuffix), 255)
			for _, suffix := range []string{bodySuffix, infoSuffix} {
				gotName, gotNumber, gotSuffix, ok := parseName(name + suffix)
				require.True(t, ok)
				require.Equal(t, name, gotName)
				require.Equal(t, number, gotNumber)
				require.Empty(t, gotSuffix)
				_, _, gotSuffix, ok = parseName(name + suffix + temporarySuffix)
				require.True(t, ok)
				require.Equal(t, temporarySuffix, gotSuffix)
			}
		}
	}
}

func TestFolderNames(t *testing.T) {
	for exporter, want := range map[string]string{
		"ordered_remote_write":      "ordered_remote_write",
		"ordered_remote_write/a":    "ordered_remote_write%2Fa",
		"ordered_remote_write/a/..": "ordered_remote_write%2Fa%2F..",
		"ordered_remote_write%2Fa":  "ordered_remote_write%252Fa",
		"..":                        "%2E.",
		"é ":                        "%C3%A9%20",
	} {
		require.Equal(t, want, folderName(exporter))
	}
}

func TestLongFolderNamesDiffer(t *testing.T) {
	long := strings.Repeat("x", 1000)
	a, b := folderName(long+"a"), folderName(long+"b")
	require.NotEqual(t, a, b)
	require.Len(t, a, maxFolderName)
}
