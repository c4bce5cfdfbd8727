// SPDX-License-Identifier: Apache-2.0

package wire

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// TestValuesAreRead as they were encoded, in both versions.
func TestValuesAreRead(t *testing.T) {
	const at = 1_767_323_045_678
	h := &Histogram{Count: 7, Sum: 1.5, Schema: 1}
	v1, _ := AppendHistogram(nil, h, at, nil)
	v2, _ := AppendHistogramV2(nil, h, at, at-1000, nil)
	for want, tc := range map[string]struct {
		series []byte
		p      Protocol
	}{
		"0.25":         {AppendSample(nil, 0.25, at), V1},
		"-3":           {AppendSampleV2(nil, -3, at, at-1000), V2},
		"stale marker": {AppendSample(nil, StaleNaN, at), V1},
		"native histogram of 7 observations, sum 1.5":  {v1, V1},
		"native histogram of 7 observations, sum 1.5 ": {v2, V2},
	} {
		v, err := SeriesValue(append(AppendLabel(nil, "__name__", "m"), tc.series...), tc.p)
		require.NoError(t, err)
		require.Equal(t, int64(at), v.Timestamp)
		require.Contains(t, want, v.String())
	}
	_, err := SeriesValue(AppendLabel(nil, "__name__", "m"), V1)
	require.ErrorIs(t, err, ErrMalformed)
}

func TestSeriesText(t *testing.T) {
	require.Equal(t, `m{a="1", b="\"x"}`, SeriesText([]Label{{"__name__", "m"}, {"a", "1"}, {"b", `"x`}}))
	require.NotEqual(t, LabelsKey([]Label{{"a", "bc"}}), LabelsKey([]Label{{"ab", "c"}}))
}
