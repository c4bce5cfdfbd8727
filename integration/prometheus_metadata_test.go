// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"math"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
	"time"

	remoteapi "github.com/prometheus/client_golang/exp/api/remote"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/model"
	"github.com/prometheus/common/promslog"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/metadata"
	"github.com/prometheus/prometheus/storage/remote"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/record"
	"github.com/prometheus/prometheus/tsdb/wlog"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/orderedremotewrite/orderedremotewriteexporter/integration/internal/promserver"
	"github.com/orderedremotewrite/orderedremotewriteexporter/integration/internal/rig"
)

// What only 2.0 carries is not lost on a Prometheus whose storage has a place for it: the start timestamp of each sample,
// in memory and in the write-ahead log, and the metadata of each series in the log.
func TestPrometheusStoresStartTimestampsAndMetadata(t *testing.T) {
	dir := t.TempDir()
	opts := tsdb.DefaultOptions()
	opts.EnableSTStorage, opts.EnableHistogramSTEncoding, opts.EnableMetadataWALRecords = true, true, true
	opts.FloatChunkEncoding = chunkenc.EncXOR2
	opts.EnableExemplarStorage, opts.MaxExemplars = true, 100
	db, err := tsdb.Open(dir, promslog.NewNopLogger(), prometheus.NewRegistry(), opts, nil)
	require.NoError(t, err)
	server := httptest.NewServer(remote.NewWriteHandler(promslog.NewNopLogger(), prometheus.NewRegistry(), db,
		remoteapi.MessageTypes{promserver.V2}, false, true))
	t.Cleanup(server.Close)

	now, began := start(), start().Add(-time.Hour)
	exporter := rig.Start(t, server.URL, versions["2.0"].config,
		"{convert_explicit_histograms_to_nhcb: true, keep_classic_histograms: true}")
	const rounds = 3
	for round := range rounds {
		at := now.Add(time.Duration(round) * 15 * time.Second)
		exporter.SendAndSettle(everyType(at, began).Metrics)
	}
	accounts := exporter.Close()
	assert.Empty(t, accounts.Dropped)

	want := map[string]metadata.Metadata{
		"temperature_celsius":    {Type: model.MetricTypeGauge, Unit: "celsius", Help: "About temperature."},
		"queue_length":           {Type: model.MetricTypeGauge, Help: "About queue.length."},
		"cpu_time_seconds_total": {Type: model.MetricTypeCounter, Unit: "seconds", Help: "About cpu.time."},
		"latency_seconds":        {Type: model.MetricTypeHistogram, Unit: "seconds", Help: "About latency."},
		"latency_seconds_bucket": {Type: model.MetricTypeHistogram, Unit: "seconds", Help: "About latency."},
		"latency_seconds_sum":    {Type: model.MetricTypeHistogram, Unit: "seconds", Help: "About latency."},
		"latency_seconds_count":  {Type: model.MetricTypeHistogram, Unit: "seconds", Help: "About latency."},
		"size":                   {Type: model.MetricTypeHistogram, Help: "About size."},
		"pause_milliseconds":     {Type: model.MetricTypeSummary, Unit: "milliseconds", Help: "About pause."},
		"pause_milliseconds_sum": {Type: model.MetricTypeSummary, Unit: "milliseconds", Help: "About pause."},
		"pause_milliseconds_count": {
			Type: model.MetricTypeSummary, Unit: "milliseconds", Help: "About pause.",
		},
		"target_info": {Type: model.MetricTypeGauge, Help: "Target metadata"},
	}
	samples := 0
	starts := startsOf(t, db)
	for series, stored := range starts {
		typ := want[strings.SplitN(series, "{", 2)[0]].Type
		for _, start := range stored {
			samples++
			if typ == model.MetricTypeGauge {
				assert.Zero(t, start, series)
			} else {
				assert.Equal(t, began.UnixMilli(), start, series)
			}
		}
		assert.Len(t, stored, rounds, series)
	}
	assert.Equal(t, int(accounts.Delivered), samples)
	require.NoError(t, db.Close())
	assert.Equal(t, want, loggedMetadata(t, filepath.Join(dir, "wal")))
}

// everyType returns a point of each type of metric.
func everyType(at, began time.Time) *rig.Payload {
	p := rig.NewPayload("service.name", "shop", "region", "north")
	point := func(dp pmetric.NumberDataPoint) {
		dp.SetTimestamp(timestamp(at))
		dp.SetStartTimestamp(timestamp(began))
		dp.SetDoubleValue(7)
	}
	m := p.Add("temperature")
	m.SetUnit("Cel")
	point(m.SetEmptyGauge().DataPoints().AppendEmpty())

	level := p.Add("queue.length").SetEmptySum()
	level.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	point(level.DataPoints().AppendEmpty())

	m = p.Add("cpu.time")
	m.SetUnit("s")
	counter := m.SetEmptySum()
	counter.SetIsMonotonic(true)
	counter.SetAggregationTemporality(pmetric.AggregationTemporalityCumulative)
	point(counter.DataPoints().AppendEmpty())

	classicHistogram(p, "latency", at).SetStartTimestamp(timestamp(began))
	nativeHistogram(p, "size", at).SetStartTimestamp(timestamp(began))

	m = p.Add("pause")
	m.SetUnit("ms")
	summary := m.SetEmptySummary().DataPoints().AppendEmpty()
	summary.SetTimestamp(timestamp(at))
	summary.SetStartTimestamp(timestamp(began))
	summary.SetCount(2)
	q := summary.QuantileValues().AppendEmpty()
	q.SetQuantile(0.5)
	q.SetValue(3)

	for _, m := range p.Scope().Metrics().All() {
		m.SetDescription("About " + m.Name() + ".")
	}
	return p
}

// startsOf returns the start timestamps of the stored samples, by series.
func startsOf(t *testing.T, db *tsdb.DB) map[string][]int64 {
	t.Helper()
	querier, err := db.Querier(math.MinInt64, math.MaxInt64)
	require.NoError(t, err)
	defer func() { require.NoError(t, querier.Close()) }()
	starts := map[string][]int64{}
	set := querier.Select(context.Background(), true, nil, labels.MustNewMatcher(labels.MatchNotEqual, model.MetricNameLabel, ""))
	for set.Next() {
		ls := set.At().Labels()
		key := ls.Get(model.MetricNameLabel) + ls.String()
		it := set.At().Iterator(nil)
		for it.Next() != chunkenc.ValNone {
			starts[key] = append(starts[key], it.AtST())
		}
		require.NoError(t, it.Err())
	}
	require.NoError(t, set.Err())
	return starts
}

// loggedMetadata returns the metadata in a write-ahead log, by the names of the series.
func loggedMetadata(t *testing.T, wal string) map[string]metadata.Metadata {
	t.Helper()
	segments, err := wlog.NewSegmentsReader(wal)
	require.NoError(t, err)
	defer func() { require.NoError(t, segments.Close()) }()
	decoder := record.NewDecoder(labels.NewSymbolTable(), promslog.NewNopLogger())
	names := map[chunks.HeadSeriesRef]string{}
	logged := map[string]metadata.Metadata{}
	for r := wlog.NewReader(segments); r.Next(); {
		switch decoder.Type(r.Record()) {
		case record.Series:
			series, err := decoder.Series(r.Record(), nil)
			require.NoError(t, err)
			for _, s := range series {
				names[s.Ref] = s.Labels.Get(model.MetricNameLabel)
			}
		case record.Metadata:
			records, err := decoder.Metadata(r.Record(), nil)
			require.NoError(t, err)
			for _, m := range records {
				logged[names[m.Ref]] = metadata.Metadata{Type: record.ToMetricType(m.Type), Unit: m.Unit, Help: m.Help}
			}
		}
	}
	return logged
}
