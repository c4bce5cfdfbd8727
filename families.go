// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"context"
	"strings"
	"sync"
	"time"
	"unsafe"

	"github.com/prometheus/prometheus/prompb"
	"go.uber.org/zap"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/block"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/remote"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// families remembers the metadata of metric families until it is sent. It is safe for concurrent use.
type families struct {
	budget *cacheBudget
	mu     sync.Mutex
	known  map[string]familyMetadata
}

type familyMetadata struct {
	typ        wire.MetricType
	help, unit string
}

// cost is the bytes of a family and its metadata.
func (m *familyMetadata) cost(family string) int {
	return mapSlots*int(unsafe.Sizeof(*m)+unsafe.Sizeof(family)) + len(family) + len(m.help) + len(m.unit) + 3*allocation
}

func newFamilies() *families {
	return &families{budget: newCacheBudget(familyShare), known: make(map[string]familyMetadata)}
}

// add remembers the metadata of a family, if there is room for it. The last one given counts.
func (f *families) add(family string, m *metricMetadata) {
	f.mu.Lock()
	defer f.mu.Unlock()
	known, ok := f.known[family]
	if ok && known.typ == m.typ && known.help == m.help && known.unit == m.unit {
		return
	}
	now := familyMetadata{typ: m.typ, help: m.help, unit: m.unit}
	if !f.budget.take(now.cost(family)) {
		return
	}
	if ok {
		f.budget.giveBack(int64(known.cost(family)))
	}
	// The help belongs to the payload, of which nothing may be kept.
	now.help = strings.Clone(m.help)
	f.known[family] = now
}

// take returns what has been remembered, and forgets it.
func (f *families) take() map[string]familyMetadata {
	f.mu.Lock()
	defer f.mu.Unlock()
	known := f.known
	for family, m := range known {
		f.budget.giveBack(int64(m.cost(family)))
	}
	f.known = make(map[string]familyMetadata)
	return known
}

// giveBack remembers again what was taken and not sent, if there still is room for it. What has been given since counts.
func (f *families) giveBack(unsent map[string]familyMetadata) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for family, m := range unsent {
		if _, ok := f.known[family]; !ok && f.budget.take(m.cost(family)) {
			f.known[family] = m
		}
	}
}

// familySender sends the metadata of metrics in requests of their own, as Prometheus does in 1.0: once in an interval
// for every metric family that had samples since, whatever the number of payloads. Metadata is no sample: it is not
// queued, not ordered, and not retried before the next interval.
type familySender struct {
	families *families
	client   *remote.Client
	interval time.Duration
	// limits bound a request: a family counts as a sample.
	limits *BatchConfig
	events *eventLog
	// open says whether the endpoint may be sent anything now, and asked is told that it asks to wait.
	open  func() bool
	asked func(*remote.Answer)
}

// run sends until ctx is done.
func (s *familySender) run(ctx context.Context) {
	ticker := time.NewTicker(s.interval)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			if s.open() {
				s.send(ctx)
			}
		case <-ctx.Done():
			return
		}
	}
}

// metadataHeader is the most bytes of a family's field number and length in a message.
const metadataHeader = 6

// send sends what has been remembered, and forgets it. One family that is larger than a request may be travels alone. If the endpoint
// asks to wait, or the exporter ends, what has not been sent yet is left for the next time.
func (s *familySender) send(ctx context.Context) {
	var request prompb.WriteRequest
	size := 0
	unsent := s.families.take()
	for family, m := range unsent {
		one := prompb.MetricMetadata{Type: metadataTypeV1(m.typ), MetricFamilyName: family, Help: m.help, Unit: m.unit}
		bytes := one.Size() + metadataHeader
		if n := len(request.Metadata); n > 0 && (n == s.limits.MaxSamples || size+bytes > int(s.limits.MaxSizeBytes)) {
			s.sendRequest(ctx, &request)
			request.Metadata, size = request.Metadata[:0], 0
			if ctx.Err() != nil || !s.open() {
				s.families.giveBack(unsent)
				return
			}
		}
		request.Metadata = append(request.Metadata, one)
		size += bytes
		delete(unsent, family)
	}
	if len(request.Metadata) > 0 && ctx.Err() == nil {
		s.sendRequest(ctx, &request)
	}
}

func (s *familySender) sendRequest(ctx context.Context, request *prompb.WriteRequest) {
	raw, err := request.Marshal()
	if err != nil {
		s.events.logger.Warn("Metadata cannot be encoded.", zap.Error(err))
		return
	}
	body := block.Compress(raw)
	begun := time.Now()
	a := s.client.Post(ctx, wire.V1, body, 1)
	s.events.metadataRequest(len(request.Metadata), len(body), a, time.Since(begun))
	if asks(a) {
		s.asked(a)
	}
	if !a.Success() {
		s.events.metadata(a, len(request.Metadata))
	}
}

// metadataTypeV1 is the type as 1.0 numbers it: like 2.0.
func metadataTypeV1(t wire.MetricType) prompb.MetricMetadata_MetricType {
	return prompb.MetricMetadata_MetricType(t)
}
