package orderedremotewriteexporter

import (
	"bytes"
	"fmt"
	"hash/fnv"
	"io"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/prompb"
	writev2 "github.com/prometheus/prometheus/prompb/io/prometheus/write/v2"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// wirePoint is a sample or a native histogram of a request.
type wirePoint struct {
	series string
	value  pointValue
}

type pointValue struct {
	timestamp int64
	// bits are those of the value, or a hash of a native histogram.
	bits      uint64
	histogram bool
}

func (p wirePoint) String() string {
	if p.value.histogram {
		return fmt.Sprintf("histogram %016x at %d of %.300s", p.value.bits, p.value.timestamp, p.series)
	}
	return fmt.Sprintf("%v at %d of %.300s", math.Float64frombits(p.value.bits), p.value.timestamp, p.series)
}

// decodePoints decodes a message, and counts its exemplars.
func decodePoints(p wire.Protocol, raw []byte) (points []wirePoint, exemplars int, err error) {
	if p == wire.V2 {
		return decodePointsV2(raw)
	}
	var message prompb.WriteRequest
	if err := message.Unmarshal(raw); err != nil {
		return nil, 0, err
	}
	points = make([]wirePoint, 0, len(message.Timeseries))
	for i := range message.Timeseries {
		ts := &message.Timeseries[i]
		exemplars += len(ts.Exemplars)
		series := rwtest.SeriesKey(ts.Labels)
		for _, s := range ts.Samples {
			points = append(points, wirePoint{series, pointValue{s.Timestamp, math.Float64bits(s.Value), false}})
		}
		for j := range ts.Histograms {
			points = append(points, wirePoint{series, histogramValue(&ts.Histograms[j], ts.Histograms[j].Timestamp)})
		}
	}
	return points, exemplars, nil
}

func decodePointsV2(raw []byte) (points []wirePoint, exemplars int, err error) {
	var message writev2.Request
	if err := message.Unmarshal(raw); err != nil {
		return nil, 0, err
	}
	points = make([]wirePoint, 0, len(message.Timeseries))
	var labels []prompb.Label
	for i := range message.Timeseries {
		ts := &message.Timeseries[i]
		exemplars += len(ts.Exemplars)
		labels = labels[:0]
		for j := 0; j+1 < len(ts.LabelsRefs); j += 2 {
			name, value := ts.LabelsRefs[j], ts.LabelsRefs[j+1]
			if n := uint32(len(message.Symbols)); name >= n || value >= n {
				return nil, 0, fmt.Errorf("reference to symbol %d of %d", max(name, value), n)
			}
			labels = append(labels, prompb.Label{Name: message.Symbols[name], Value: message.Symbols[value]})
		}
		series := rwtest.SeriesKey(labels)
		for _, s := range ts.Samples {
			points = append(points, wirePoint{series, pointValue{s.Timestamp, math.Float64bits(s.Value), false}})
		}
		for j := range ts.Histograms {
			h := &ts.Histograms[j]
			h.StartTimestamp = 0 // which 1.0 does not have
			points = append(points, wirePoint{series, histogramValue(h, h.Timestamp)})
		}
	}
	return points, exemplars, nil
}

// histogramValue hashes a native histogram, whose encoding is the same in both versions.
func histogramValue(h interface{ Marshal() ([]byte, error) }, timestamp int64) pointValue {
	encoded, err := h.Marshal()
	if err != nil {
		panic(err) // what was decoded can be encoded
	}
	sum := fnv.New64a()
	_, _ = sum.Write(encoded)
	return pointValue{timestamp, sum.Sum64(), true}
}

// exchange is a request with what the exporter saw of its answer.
type exchange struct {
	number   int
	protocol wire.Protocol
	body     []byte
	points   []wirePoint
	// histograms are those among the points.
	histograms, exemplars int
	// partition is -1 if the request has no samples.
	partition  int
	start, end time.Time
	// status is 0 if there was no answer.
	status int
	header http.Header
	// repeats is how many requests of the same body came right before it; firstAt is when the first of them began.
	repeats int
	firstAt time.Time
	// accepted is when the oldest of those points was accepted that are sent for the first time.
	accepted time.Time
	// again is how many of the points came again in a later request.
	again int
}

func (x *exchange) String() string {
	return fmt.Sprintf("request %d (partition %d, %d samples, answer %d)", x.number, x.partition, len(x.points), x.status)
}

// written are the headers that say what was written.
func (x *exchange) written() (samples, histograms, exemplars int, present bool) {
	number := func(name string) int {
		values := x.header.Values(name)
		if len(values) == 0 {
			return 0
		}
		present = true
		n, err := strconv.ParseInt(values[0], 10, 64)
		if err != nil {
			return 0
		}
		return int(n)
	}
	samples, histograms, exemplars = number(chaosWrittenHeaders[0]), number(chaosWrittenHeaders[1]), number(chaosWrittenHeaders[2])
	return samples, histograms, exemplars, present
}

// chaosWire is between the exporter and the receiver, and remembers what it saw.
type chaosWire struct {
	chaos    *chaos
	receiver *rwtest.Receiver
	faults   *chaosFaults

	mu        sync.Mutex
	exchanges []*exchange
	// latest is the latest request of each partition, and inFlight the one that has no answer yet.
	latest, inFlight map[int]*exchange
	// partitions are those of all series in the payloads.
	partitions map[string]int
}

var _ http.RoundTripper = (*chaosWire)(nil)

func newChaosWire(c *chaos, faults *chaosFaults) *chaosWire {
	w := &chaosWire{
		chaos: c, faults: faults,
		latest: make(map[int]*exchange), inFlight: make(map[int]*exchange), partitions: make(map[string]int),
	}
	w.receiver = &rwtest.Receiver{Script: faults.answer}
	return w
}

func requestProtocol(h http.Header) wire.Protocol {
	if strings.Contains(h.Get("Content-Type"), string(MessageV2)) {
		return wire.V2
	}
	return wire.V1
}

func histogramsIn(points []wirePoint) int {
	n := 0
	for _, p := range points {
		if p.value.histogram {
			n++
		}
	}
	return n
}

// expect tells the wire of series before they can be sent.
func (w *chaosWire) expect(points []modelPoint) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range points {
		w.partitions[points[i].series] = points[i].partition
	}
}

// RoundTrip implements http.RoundTripper.
func (w *chaosWire) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	_ = req.Body.Close()
	x := w.begin(req.Header, body)
	passed := *req
	passed.Body = io.NopCloser(bytes.NewReader(body))
	resp, err := w.receiver.RoundTrip(&passed)
	w.mu.Lock()
	defer w.mu.Unlock()
	x.end = time.Now()
	if err == nil {
		x.status, x.header = resp.StatusCode, resp.Header
	}
	if w.inFlight[x.partition] == x {
		delete(w.inFlight, x.partition)
	}
	return resp, err
}

// begin checks what can be seen of a request when it is sent.
func (w *chaosWire) begin(header http.Header, body []byte) *exchange {
	now := time.Now()
	x := &exchange{protocol: requestProtocol(header), body: body, partition: -1, start: now, firstAt: now}
	b := w.chaos.h.ledger.Snapshot()
	w.mu.Lock()
	defer w.mu.Unlock()
	w.exchanges = append(w.exchanges, x)
	x.number = len(w.exchanges)
	size, err := w.decode(x)
	if err != nil {
		w.chaos.problem("%v cannot be decoded: %v", x, err)
		return x
	}
	x.histograms = histogramsIn(x.points)
	if len(x.points) == 0 {
		if !w.chaos.cfg.SendMetadata {
			w.chaos.problem("%v is empty", x)
		}
		return x
	}
	x.partition = w.partitionOf(x)
	if other := w.inFlight[x.partition]; other != nil {
		w.chaos.problem("%v was sent while %v was in flight", x, other)
	}
	if last := w.latest[x.partition]; last != nil && bytes.Equal(last.body, body) {
		x.repeats, x.firstAt = last.repeats+1, last.firstAt
	}
	w.inFlight[x.partition], w.latest[x.partition] = x, x
	if b.InFlight < int64(len(x.points)) {
		w.chaos.problem("%v was sent when %d samples were counted as in flight", x, b.InFlight)
	}
	w.checkLimits(x, size)
	w.chaos.checkSize(w.chaos.h.queues.partitions[x.partition])
	return x
}

// decode returns the size of the message.
func (w *chaosWire) decode(x *exchange) (size int, err error) {
	raw, err := snappy.Decode(nil, x.body)
	if err != nil {
		return 0, err
	}
	x.points, x.exemplars, err = decodePoints(x.protocol, raw)
	return len(raw), err
}

// partitionOf is the one partition that all samples of a request are of.
func (w *chaosWire) partitionOf(x *exchange) int {
	partition := -1
	for _, p := range x.points {
		of, ok := w.partitions[p.series]
		switch {
		case !ok:
			w.chaos.problem("%v has a series that nobody has sent: %v", x, p)
		case partition < 0:
			partition = of
		case partition != of:
			w.chaos.problem("%v has samples of partitions %d and %d", x, partition, of)
		}
	}
	return partition
}

// checkLimits checks the bounds that the configuration puts on a request.
func (w *chaosWire) checkLimits(x *exchange, size int) {
	cfg := w.chaos.cfg
	if len(x.points) > cfg.Batch.MaxSamples {
		w.chaos.problem("%v has more than %d samples", x, cfg.Batch.MaxSamples)
	}
	// A batch that was made as 2.0 can be larger as 1.0, which repeats every string.
	converted := x.protocol == wire.V1 && cfg.ProtobufMessage == MessageV2
	if ByteSize(size) > cfg.Batch.MaxSizeBytes && len(x.points) > 1 && !converted {
		w.chaos.problem("%v has %d bytes", x, size)
	}
	if cfg.Queue.MaxAge > 0 {
		oldest := x.start.Add(-cfg.Queue.MaxAge).UnixMilli()
		for _, p := range x.points {
			if p.value.timestamp < oldest {
				w.chaos.problem("%v has a sample older than queue.max_age: %v", x, p)
			}
		}
	}
}
