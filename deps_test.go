package orderedremotewriteexporter
import (
 _ "github.com/cespare/xxhash/v2"
 _ "github.com/golang/snappy"
 _ "github.com/prometheus/prometheus/prompb"
 _ "go.opentelemetry.io/collector/component/componentstatus"
 _ "go.opentelemetry.io/collector/exporter/exporterhelper/xexporterhelper"
 _ "go.opentelemetry.io/collector/pdata/pmetric"
 _ "go.uber.org/goleak"
 _ "go.uber.org/zap"
 _ "go.uber.org/zap/zaptest/observer"
 _ "go.opentelemetry.io/collector/confmap/confmaptest"
 _ "go.opentelemetry.io/collector/confmap/xconfmap"
 _ "go.opentelemetry.io/otel/trace"
 _ "go.opentelemetry.io/otel/trace/noop"
 _ "go.opentelemetry.io/otel/sdk/trace/tracetest"
)
