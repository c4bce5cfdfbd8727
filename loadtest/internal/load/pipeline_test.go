// SPDX-License-Identifier: Apache-2.0

//go:build linux

package load

import (
	"context"
	"flag"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/exporter/exportertest"
	"go.opentelemetry.io/collector/pdata/pmetric/pmetricotlp"
	"google.golang.org/grpc"

	orderedremotewriteexporter "github.com/orderedremotewrite/orderedremotewriteexporter"
	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/generate"
	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/receive"
	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/schedule"
)

// collectorOf is the least that a collector is: an OTLP server in front of the exporter.
type collectorOf struct {
	pmetricotlp.UnimplementedGRPCServer
	consumer.Metrics
}

func (c *collectorOf) Export(ctx context.Context, r pmetricotlp.ExportRequest) (pmetricotlp.ExportResponse, error) {
	return pmetricotlp.NewExportResponse(), c.ConsumeMetrics(ctx, r.Metrics())
}

// startExporter starts an exporter behind an OTLP server, and returns its address and what stops both.
func startExporter(t *testing.T, settings map[string]any) (address string, stop func()) {
	t.Helper()
	factory := orderedremotewriteexporter.NewFactory()
	config := factory.CreateDefaultConfig()
	require.NoError(t, confmap.NewFromStringMap(settings).Unmarshal(config))
	exporter, err := factory.CreateMetrics(t.Context(), exportertest.NewNopSettings(factory.Type()), config)
	require.NoError(t, err)
	require.NoError(t, exporter.Start(t.Context(), componenttest.NewNopHost()))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	server := grpc.NewServer()
	pmetricotlp.RegisterGRPCServer(server, &collectorOf{Metrics: exporter})
	go func() { _ = server.Serve(l) }()
	return l.Addr().String(), func() {
		server.GracefulStop()
		require.NoError(t, exporter.Shutdown(t.Context()))
	}
}

// reported runs a generator until all that it sends is through, and returns what the receiver says: there are no violations.
func reported(t *testing.T, e *Endpoint, g *generate.Generator, stop func()) receive.Report {
	t.Helper()
	require.NoError(t, e.Announce(g.Schedules()))
	require.NoError(t, g.Run(t.Context()))
	stop()
	require.NoError(t, e.Announce(g.Schedules()))
	r := e.Report()
	assert.Empty(t, r.Verified.Violations, r.Verified.Examples)
	return r
}

// Generator, exporter and receiver together: through errors on both sides, what is sound arrives, once, in order, with the
// values of the schedule, and nothing of what must be dropped does.
func TestWhatIsGeneratedIsReceived(t *testing.T) {
	const faults = "-out-of-order 0.02 -duplicates 0.02 -bad-labels 0.02 -bad-utf8 0.02 -gaps 0.02 -future 0.02 -stale-markers 0.02 -delta 0.02 -resets 0.05"
	for version, message := range map[string]string{"1.0": "prometheus.WriteRequest", "2.0": "io.prometheus.write.v2.Request"} {
		t.Run(version, func(t *testing.T) {
			e, err := Listen(true, receive.Behavior{
				PoisonStatus: 400, ServerErrors: 0.05, StoredServerErrors: 0.05, Resets: 0.05, LostAnswers: 0.05, TooManyRequests: 0.02,
			})
			require.NoError(t, err)
			defer func() { require.NoError(t, e.Close()) }()
			address, stop := startExporter(t, map[string]any{
				"http": map[string]any{"endpoint": e.URL}, "protobuf_message": message, "target_info": map[string]any{"enabled": false},
				"batch": map[string]any{"max_samples": 500},
			})
			var o generate.Options
			flags := flag.NewFlagSet("", flag.ContinueOnError)
			o.Register(flags)
			require.NoError(t, flags.Parse(strings.Fields("-type gauge,sum,histogram,exponential_histogram,summary -series 500 -samples 20000 -churn 2s -points 50 "+faults)))
			o.Endpoint = address
			g, err := generate.New(o)
			require.NoError(t, err)
			r := reported(t, e, g, stop)
			assert.Zero(t, r.Verified.Missing, r.Verified.Examples)
			assert.Equal(t, r.Verified.Expected, r.Verified.Scheduled)
			assert.Greater(t, r.Verified.Expected, 15_000)
			assert.Positive(t, r.Verified.Redelivered)
			// Late points and those of the future travel apart; duplicates and delta are dropped.
			wanted := map[string]int{}
			totals := g.Totals()
			for kind, p := range totals.Kinds {
				for _, f := range []schedule.Fault{schedule.OutOfOrder, schedule.Future} {
					wanted[f.String()] += p.Faults[f.String()] * kind.Parts()
				}
			}
			assert.Equal(t, wanted, r.Verified.OnPurpose)
		})
	}
}

// A sender that goes by what a receiver of 2.0 says that it has written loses nothing uncounted, whether it takes refused
// requests apart or not.
func TestPartialWritesAreNoViolation(t *testing.T) {
	for _, rejected := range []string{"discard", "isolate"} {
		t.Run(rejected, func(t *testing.T) {
			e, err := Listen(true, receive.Behavior{PoisonStatus: 400, PartialWrites: 0.2, LostAnswers: 0.05})
			require.NoError(t, err)
			defer func() { require.NoError(t, e.Close()) }()
			address, stop := startExporter(t, map[string]any{
				"http": map[string]any{"endpoint": e.URL}, "protobuf_message": "io.prometheus.write.v2.Request", "target_info": map[string]any{"enabled": false},
				"batch": map[string]any{"max_samples": 500}, "on_error": map[string]any{"rejected": rejected},
			})
			g, err := generate.New(generate.Options{
				Endpoint: address, Protocol: "grpc", Kinds: []schedule.Kind{schedule.Histogram, schedule.ExponentialHistogram}, Series: 1000, Resources: 10,
				Attributes: 5, PerRequest: 50, Connections: 4, Samples: 20_000,
			})
			require.NoError(t, err)
			r := reported(t, e, g, stop)
			assert.Equal(t, r.Verified.Expected, r.Verified.Scheduled+r.Verified.Missing)
			assert.Positive(t, r.Answers[400])
			if rejected == "discard" {
				assert.Positive(t, r.Verified.Missing)
			} else {
				assert.Positive(t, r.Verified.Redelivered)
			}
		})
	}
}

// TestEveryFlagIsDocumented, of the generator and the receiver, in the page about them.
func TestEveryFlagIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../../../docs/load-testing.md")
	require.NoError(t, err)
	var o generate.Options
	var b receive.Behavior
	for name, register := range map[string]func(*flag.FlagSet){"generate": o.Register, "receive": b.Register} {
		flags := flag.NewFlagSet(name, flag.ContinueOnError)
		register(flags)
		flags.VisitAll(func(f *flag.Flag) {
			assert.Contains(t, string(text), fmt.Sprintf("`-%s`", f.Name), "%s -%s", name, f.Name)
		})
	}
}
