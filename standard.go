// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"cmp"
	"context"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/exporter/exporterhelper"
	"go.opentelemetry.io/collector/exporter/exporterhelper/xexporterhelper"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	nooptrace "go.opentelemetry.io/otel/trace/noop"
	"go.uber.org/zap"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/metadata"
)

// standard gives the metrics and spans that every exporter of the Collector has, in samples. The metrics come from an
// exporterhelper without a queue, whose export is nothing but the report of an outcome: it counts each of its requests
// as either sent or failed as a whole, and a batch that is split ends as both. For the same reason the spans, which cover
// the whole time of a batch with its retries, are made here.
type standard struct {
	helper exporter.Metrics
	tracer trace.Tracer
	name   string
	attrs  []attribute.KeyValue
}

func newStandard(ctx context.Context, set exporter.Settings) (*standard, error) {
	helperSet := set
	// The exporter logs drops itself, at a bounded rate.
	helperSet.Logger = zap.NewNop()
	helperSet.TracerProvider = nooptrace.NewTracerProvider()
	helper, err := xexporterhelper.NewMetricsRequest(ctx, helperSet,
		func(ctx context.Context, _ pmetric.Metrics) (xexporterhelper.Request, error) {
			return ctx.Value(reportKey{}).(*report), nil
		},
		func(ctx context.Context, r xexporterhelper.Request) error {
			return r.(*report).export(ctx)
		},
		exporterhelper.WithTimeout(exporterhelper.TimeoutConfig{}),
	)
	if err != nil {
		return nil, err
	}
	return &standard{
		helper: helper,
		tracer: metadata.Tracer(set.TelemetrySettings),
		name:   "exporter/" + set.ID.String() + "/" + dataType,
		attrs:  []attribute.KeyValue{attribute.String(exporterKey, set.ID.String()), attribute.String(dataTypeKey, dataType)},
	}, nil
}

// reportKey is the key of a report in a context.
type reportKey struct{}

// report is a request of the exporterhelper.
type report struct {
	samples int
	export  func(context.Context) error
}

var _ xexporterhelper.Request = (*report)(nil)

// ItemsCount returns the number of samples.
func (r *report) ItemsCount() int { return r.samples }

// BytesSize is not asked for without a queue.
func (*report) BytesSize() int { return 0 }

// MergeSplit is not asked for without a queue.
func (r *report) MergeSplit(context.Context, int, exporterhelper.RequestSizerType, xexporterhelper.Request) ([]xexporterhelper.Request, error) {
	return []xexporterhelper.Request{r}, nil
}

func (s *standard) report(ctx context.Context, r *report) {
	_ = s.helper.ConsumeMetrics(context.WithValue(ctx, reportKey{}, r), pmetric.NewMetrics())
}

// outcome counts samples as sent, or as failed if err is not nil.
func (s *standard) outcome(ctx context.Context, samples int, err error) {
	s.report(ctx, &report{samples: samples, export: func(context.Context) error { return err }})
}

// request covers the sending of a batch.
func (s *standard) request(ctx context.Context, send func(context.Context, *requestSpan)) {
	s.report(ctx, &report{export: func(ctx context.Context) error {
		ctx, span := s.tracer.Start(ctx, s.name, trace.WithAttributes(s.attrs...))
		rs := &requestSpan{standard: s, span: span}
		send(ctx, rs)
		span.SetAttributes(attribute.Int("items.sent", rs.sent), attribute.Int("items.failed", rs.failed))
		if rs.err != nil {
			span.SetStatus(codes.Error, rs.err.Error())
		}
		span.End()
		return nil
	}})
}

// requestSpan collects the outcomes of a batch's samples.
type requestSpan struct {
	*standard
	span         trace.Span
	sent, failed int
	err          error
}

func (r *requestSpan) delivered(ctx context.Context, samples int) {
	r.sent += samples
	r.outcome(ctx, samples, nil)
}

func (r *requestSpan) dropped(ctx context.Context, samples int, err error) {
	r.failed += samples
	r.err = err
	r.outcome(ctx, samples, err)
}

// userAgent names the sender and its version (Remote-Write 2.0, "Required Headers").
func userAgent(info component.BuildInfo) string {
	agent := metadata.Type.String() + "/" + cmp.Or(info.Version, "unknown")
	if info.Command != "" {
		agent += " " + info.Command
	}
	return agent
}
