// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"context"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/exporter"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/metadata"
)

// NewFactory returns the factory of the ordered Remote-Write exporter, component type ordered_remote_write.
func NewFactory() exporter.Factory {
	return exporter.NewFactory(
		metadata.Type,
		createDefaultConfig,
		exporter.WithMetrics(createMetrics, metadata.MetricsStability),
	)
}

func createMetrics(ctx context.Context, set exporter.Settings, cfg component.Config) (exporter.Metrics, error) {
	c := cfg.(*Config)
	if len(c.unreadable) > 0 {
		return nil, c.unreadable
	}
	return newExporter(ctx, set, c, newPartitionSecret())
}
