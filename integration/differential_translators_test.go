// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/snappy"
	contrib "github.com/open-telemetry/opentelemetry-collector-contrib/pkg/translator/prometheusremotewrite"
	"github.com/prometheus/otlptranslator"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/storage/remote/otlptranslator/prometheusremotewrite"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.yaml.in/yaml/v3"

	"github.com/orderedremotewrite/orderedremotewriteexporter/integration/internal/promserver"
	"github.com/orderedremotewrite/orderedremotewriteexporter/integration/internal/rig"
)

// translation is how a payload is to be translated, in words that all translators understand.
type translation struct {
	strategy       otlptranslator.TranslationStrategyOption
	namespace      string
	externalLabels map[string]string
	noScope        bool
	noTargetInfo   bool
	// custom makes native histograms with custom buckets of histograms with explicit bounds, and classic keeps their series too.
	custom, classic bool
	// underscores keeps runs of underscores in label names.
	underscores bool
	// identity keeps the identifying attributes in target_info.
	identity bool
}

// here translates by this exporter: it is what arrives at an endpoint.
func (tr *translation) here(t *testing.T, md pmetric.Metrics) []outcome {
	t.Helper()
	var mu sync.Mutex
	var result []outcome
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		compressed, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		raw, err := snappy.Decode(nil, compressed)
		if err != nil {
			t.Error(err)
		}
		var message writev2.Request
		if err := message.Unmarshal(raw); err != nil {
			t.Error(err)
		}
		var samples, histograms, exemplars int
		var series []*writev2.TimeSeries
		for i := range message.Timeseries {
			ts := &message.Timeseries[i]
			series = append(series, ts)
			samples, histograms, exemplars = samples+len(ts.Samples), histograms+len(ts.Histograms), exemplars+len(ts.Exemplars)
		}
		mu.Lock()
		result = append(result, resultOf(message.Symbols, series)...)
		mu.Unlock()
		for of, n := range map[string]int{"Samples": samples, "Histograms": histograms, "Exemplars": exemplars} {
			w.Header().Set("X-Prometheus-Remote-Write-"+of+"-Written", strconv.Itoa(n))
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	defer server.Close()
	config, err := yaml.Marshal(map[string]any{
		"protobuf_message": string(promserver.V2), "translation_strategy": string(tr.strategy), "namespace": tr.namespace,
		"external_labels": tr.externalLabels, "disable_scope_info": tr.noScope,
		"convert_explicit_histograms_to_nhcb": tr.custom, "keep_classic_histograms": tr.classic,
		"label_name_preserve_multiple_underscores": tr.underscores,
		"target_info": map[string]any{"enabled": !tr.noTargetInfo, "keep_identifying_resource_attributes": tr.identity},
		"batch":       map[string]any{"flush_timeout": "1ms"},
		// The corpus has fixed times, which are old by now. Of old samples no target_info is made.
		"max_past": "876000h",
	})
	require.NoError(t, err)
	copied := pmetric.NewMetrics()
	md.CopyTo(copied)
	exporter := rig.Start(t, server.URL, string(config))
	exporter.Send(copied)
	exporter.Close()
	return result
}

// contrib translates by the translator of the Collector's prometheus_remote_write exporter. What it has an error for, it leaves
// out.
func (tr *translation) contrib(md pmetric.Metrics) []outcome {
	series, symbols, _ := contrib.FromMetricsV2(md, contrib.Settings{
		Namespace: tr.namespace, ExternalLabels: tr.externalLabels, TranslationStrategy: string(tr.strategy),
		DisableTargetInfo: tr.noTargetInfo, DisableScopeInfo: tr.noScope,
		ConvertExplicitHistogramsToNHCB: tr.custom, KeepClassicHistograms: tr.classic,
	})
	var all []*writev2.TimeSeries
	for _, ts := range series {
		all = append(all, ts)
	}
	return resultOf(symbols.Symbols(), all)
}

// prometheus translates by the converter of Prometheus's OTLP endpoint.
func (tr *translation) prometheus(md pmetric.Metrics) []outcome {
	var a appender
	c := prometheusremotewrite.NewPrometheusConverter(&a)
	_, _ = c.FromMetrics(context.Background(), md, prometheusremotewrite.Settings{
		Namespace: tr.namespace, ExternalLabels: tr.externalLabels, DisableTargetInfo: tr.noTargetInfo,
		AddMetricSuffixes: tr.strategy.ShouldAddSuffixes(), AllowUTF8: !tr.strategy.ShouldEscape(),
		KeepIdentifyingResourceAttributes: tr.identity, ConvertHistogramsToNHCB: tr.custom, PromoteScopeMetadata: !tr.noScope,
		LabelNamePreserveMultipleUnderscores: tr.underscores,
	})
	return a.result
}

// appender keeps what is appended.
type appender struct {
	storage.AppenderTransaction
	result []outcome
}

func (a *appender) Append(_ storage.SeriesRef, l labels.Labels, start, timestamp int64, v float64, h *histogram.Histogram, _ *histogram.FloatHistogram, opts storage.AppendV2Options) (storage.SeriesRef, error) {
	a.result = append(a.result, appended(l, start, timestamp, v, h, strings.ToLower(string(opts.Metadata.Type)), opts.Metadata.Unit, opts.Metadata.Help, opts.Exemplars))
	return 0, nil
}
