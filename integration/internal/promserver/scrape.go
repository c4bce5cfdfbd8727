// SPDX-License-Identifier: Apache-2.0

package promserver

import (
	"context"
	"strings"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/stretchr/testify/require"
)

// Store stores a page of metrics in the text format, as if it had been scraped from a target at a time.
func (s *Server) Store(page string, at time.Time, job, instance string) {
	s.t.Helper()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(page))
	require.NoError(s.t, err)
	appender := s.db.Appender(context.Background())
	for _, family := range families {
		samples, err := expfmt.ExtractSamples(&expfmt.DecodeOptions{Timestamp: model.TimeFromUnixNano(at.UnixNano())}, family)
		require.NoError(s.t, err)
		for _, sample := range samples {
			b := labels.NewBuilder(labels.EmptyLabels())
			for name, value := range sample.Metric {
				b.Set(string(name), string(value))
			}
			b.Set("job", job).Set("instance", instance)
			_, err := appender.Append(0, b.Labels(), at.UnixMilli(), float64(sample.Value))
			require.NoError(s.t, err)
		}
	}
	require.NoError(s.t, appender.Commit())
}
