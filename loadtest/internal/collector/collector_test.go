// SPDX-License-Identifier: Apache-2.0

//go:build linux

package collector

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMetricsAreAdded(t *testing.T) {
	const text = `# HELP dropped_samples Dropped.
dropped_samples_total{exporter="a",reason="x"} 1
dropped_samples_total{exporter="a",reason="y"} 2e3
dropped_samples_total{exporter="b",reason="y"} 4
dropped_samples_other{exporter="a"} 8
queued_samples{exporter="a"} 16
`
	for _, tc := range []struct {
		name, labels string
		total        float64
		found        bool
	}{
		{"dropped_samples", "", 2005, true},
		{"dropped_samples", `exporter="a"`, 2001, true},
		{"queued_samples", "", 16, true},
		{"queued", "", 0, false},
	} {
		total, found, err := sum(text, tc.name, tc.labels)
		require.NoError(t, err)
		assert.Equal(t, tc.total, total)
		assert.Equal(t, tc.found, found)
	}
}

func TestExporters(t *testing.T) {
	t.Chdir("../../..")
	names, err := Exporters()
	require.NoError(t, err)
	assert.Equal(t, []string{
		"nop", "ordered_remote_write/v1", "ordered_remote_write/v2", "ordered_remote_write/v1-storage", "ordered_remote_write/v2-storage",
		"prometheus_remote_write/contrib", "prometheus_remote_write/contrib-parallel", VMAgent,
	}, names)
}
