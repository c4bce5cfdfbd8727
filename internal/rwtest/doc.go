// SPDX-License-Identifier: Apache-2.0

// Package rwtest is what the exporter is tested against: a validator of Remote-Write 1.0 and 2.0 requests, a receiver that
// records deliveries and misbehaves on demand, and generators of sound and of hostile metrics.
//
// It is written from the specifications and knows nothing of the exporter, so that a misunderstanding in the exporter's
// encoder is not repeated here. The sources that comments cite are:
//
//   - "Remote-Write 1.0": https://prometheus.io/docs/specs/prw/remote_write_spec/ (April 2023)
//   - "Remote-Write 2.0": https://prometheus.io/docs/specs/prw/remote_write_spec_2_0/ (2.0-rc.4)
//   - "Prometheus": the receiver in github.com/prometheus/prometheus v0.316.0, for what Remote-Write 1.0 leaves open
//   - "types.proto", "write/v2/types.proto": the comments of prompb/types.proto and of
//     prompb/io/prometheus/write/v2/types.proto in the same module
//   - "OpenMetrics 1.0": https://prometheus.io/docs/specs/om/open_metrics_spec/
package rwtest // import "github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
