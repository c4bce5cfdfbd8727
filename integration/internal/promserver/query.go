// SPDX-License-Identifier: Apache-2.0

package promserver

import (
	"context"
	"math"
	"time"

	"github.com/prometheus/prometheus/model/exemplar"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/stretchr/testify/require"
)

// Query evaluates an expression that has a vector as its result.
func (s *Server) Query(expr string, at time.Time) promql.Vector {
	s.t.Helper()
	query, err := s.engine.NewInstantQuery(context.Background(), s.db, nil, expr, at)
	require.NoError(s.t, err, expr)
	defer query.Close()
	result := query.Exec(context.Background())
	require.NoError(s.t, result.Err, expr)
	vector, err := result.Vector()
	require.NoError(s.t, err, expr)
	return append(promql.Vector(nil), vector...)
}

// Values evaluates an expression and returns the values by the series that have them.
func (s *Server) Values(expr string, at time.Time) map[string]float64 {
	s.t.Helper()
	values := map[string]float64{}
	for _, sample := range s.Query(expr, at) {
		values[sample.Metric.String()] = sample.F
	}
	return values
}

// Value evaluates an expression that has a single value as its result.
func (s *Server) Value(expr string, at time.Time) float64 {
	s.t.Helper()
	vector := s.Query(expr, at)
	require.Len(s.t, vector, 1, expr)
	return vector[0].F
}

// Series is a stored series with all its samples, stale markers included.
type Series struct {
	Labels  labels.Labels
	Samples []Sample
}

// everything selects all series.
const everything = `{__name__!=""}`

// Series returns the stored series that a selector selects, sorted by their labels.
func (s *Server) Series(selector string) []Series {
	s.t.Helper()
	matchers, err := s.parser.ParseMetricSelector(selector)
	require.NoError(s.t, err, selector)
	querier, err := s.db.Querier(math.MinInt64, math.MaxInt64)
	require.NoError(s.t, err)
	defer func() { require.NoError(s.t, querier.Close()) }()
	var stored []Series
	set := querier.Select(context.Background(), true, nil, matchers...)
	for set.Next() {
		series := Series{Labels: set.At().Labels()}
		it := set.At().Iterator(nil)
		for kind := it.Next(); kind != chunkenc.ValNone; kind = it.Next() {
			sample := Sample{Time: time.UnixMilli(it.AtT())}
			switch kind {
			case chunkenc.ValFloat:
				_, sample.Value = it.At()
			default:
				_, sample.Histogram = it.AtFloatHistogram(nil)
			}
			series.Samples = append(series.Samples, sample)
		}
		require.NoError(s.t, it.Err())
		stored = append(stored, series)
	}
	require.NoError(s.t, set.Err())
	return stored
}

// Names returns the labels of all stored series.
func (s *Server) Names() []string {
	s.t.Helper()
	var names []string
	for _, series := range s.Series(everything) {
		names = append(names, series.Labels.String())
	}
	return names
}

// Stored is the number of samples that the storage holds, stale markers included.
func (s *Server) Stored() int {
	s.t.Helper()
	n := 0
	for _, series := range s.Series(everything) {
		n += len(series.Samples)
	}
	return n
}

// Exemplars returns the stored exemplars of the series that a selector selects.
func (s *Server) Exemplars(selector string) []exemplar.QueryResult {
	s.t.Helper()
	matchers, err := s.parser.ParseMetricSelector(selector)
	require.NoError(s.t, err, selector)
	querier, err := s.db.ExemplarQuerier(context.Background())
	require.NoError(s.t, err)
	results, err := querier.Select(math.MinInt64, math.MaxInt64, matchers)
	require.NoError(s.t, err)
	return results
}
