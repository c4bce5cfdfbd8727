package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/prometheus/prompb"
	"go.uber.org/zap"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// metadataSender sends the metadata of metrics in requests of their own, as Prometheus does in 1.0: once in an interval
// for every metric family that had samples since, whatever the number of payloads. Metadata is no sample: it is not
// queued, not ordered, and not retried before the next interval.
type metadataSender struct {
	*orderedExporter
	interval time.Duration
	batch    int

	mu       sync.Mutex
	families map[string]familyMetadata
}

type familyMetadata struct {
	typ        wire.MetricType
	help, unit string
}

// maxFamilies bounds what is remembered between two intervals.
const maxFamilies = maxCachedNames

// add remembers the metadata of a family. The last one given counts.
func (s *metadataSender) add(family string, m *metricMetadata) {
	s.mu.Lock()
	defer s.mu.Unlock()
	known, ok := s.families[family]
	if ok && known.typ == m.typ && known.help == m.help && known.unit == m.unit {
		return
	}
	if !ok && len(s.families) >= maxFamilies {
		return
	}
	// The help belongs to the payload, of which nothing may be kept.
	s.families[family] = familyMetadata{typ: m.typ, help: strings.Clone(m.help), unit: m.unit}
}

// run sends until ctx is done.
func (s *metadataSender) run(ctx context.Context) {
	ticker := time.NewTicker(s.interval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			s.send(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// send sends what has been remembered, and forgets it.
func (s *metadataSender) send(ctx context.Context) {
	s.mu.Lock()
	families := s.families
	s.families = make(map[string]familyMetadata)
	s.mu.Unlock()
	var request prompb.WriteRequest
	flush := func() {
		if len(request.Metadata) > 0 && ctx.Err() == nil && !s.failed() {
			s.sendRequest(ctx, &request)
		}
		request.Metadata = request.Metadata[:0]
	}
	for family, m := range families {
		request.Metadata = append(request.Metadata, prompb.MetricMetadata{
			Type: metadataTypeV1(m.typ), MetricFamilyName: family, Help: m.help, Unit: m.unit,
		})
		if len(request.Metadata) >= s.batch {
			flush()
		}
	}
	flush()
}

func (s *metadataSender) sendRequest(ctx context.Context, request *prompb.WriteRequest) {
	raw, err := request.Marshal()
	if err != nil {
		s.logger.Warn("Metadata cannot be encoded.", zap.Error(err))
		return
	}
	one := &sender{orderedExporter: s.orderedExporter}
	if a := one.send(ctx, &unit{body: compress(raw)}, 1); a.status < 200 || a.status > 299 {
		s.drops.metadata(a, len(request.Metadata))
	}
}

// metadataTypeV1 is the type as 1.0 numbers it: like 2.0.
func metadataTypeV1(t wire.MetricType) prompb.MetricMetadata_MetricType {
	return prompb.MetricMetadata_MetricType(t)
}
