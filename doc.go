// Package orderedremotewriteexporter is an OpenTelemetry Collector exporter that writes metrics to any Prometheus
// Remote-Write endpoint in parallel without ever reordering a series, and that can account for every sample.
package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"
