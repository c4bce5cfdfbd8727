// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"hash/fnv"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/prompb"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/collector/confmap"
	"go.opentelemetry.io/collector/consumer"
	"go.opentelemetry.io/collector/consumer/consumererror"
	"go.opentelemetry.io/collector/exporter"
	"go.opentelemetry.io/collector/extension/extensionmiddleware"
	"go.opentelemetry.io/collector/pdata/pmetric"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.uber.org/zap"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
)

// fake is a small exporter of gauges that keeps all promises, but for those that it is told to break.
type fake struct {
	breaks   breakage
	settings *Settings
	logger   *zap.Logger
	host     component.Host
	network  http.RoundTripper
	sending  sync.WaitGroup
	ctx      context.Context
	abort    context.CancelFunc

	mu         sync.Mutex
	closed     bool
	partitions []*fakePartition
	counters   map[string]int64
	dropped    map[Drop]int64
	newest     map[string]int64
	consumed   int
	broken     bool
}

// fakePartition is two queues, of which the second is for late samples.
type fakePartition struct {
	queue, late []fakeSample
	wake        chan struct{}
	batches     int
}

type fakeSample struct {
	series string
	labels []prompb.Label
	rwtest.Sample
	at time.Time
}

// breakage names the promise that is broken.
type breakage string

// fakeConfig takes any key.
type fakeConfig struct{}

func (*fakeConfig) Unmarshal(*confmap.Conf) error { return nil }

// factory makes fakes with the settings of the round, which it gets directly.
func fakeFactory(b breakage, settings func() *Settings) exporter.Factory {
	create := func(_ context.Context, set exporter.Settings, _ component.Config) (exporter.Metrics, error) {
		f := &fake{
			breaks: b, settings: settings(), logger: set.Logger,
			counters: make(map[string]int64), dropped: make(map[Drop]int64), newest: make(map[string]int64),
		}
		for range f.settings.Partitions {
			f.partitions = append(f.partitions, &fakePartition{wake: make(chan struct{}, 2)})
		}
		return f, f.observe(set.MeterProvider.Meter("fake"))
	}
	return exporter.NewFactory(component.MustNewType("fake"), func() component.Config { return &fakeConfig{} },
		exporter.WithMetrics(create, component.StabilityLevelDevelopment))
}

// observe shows the counters as metrics, of one moment.
func (f *fake) observe(meter metric.Meter) error {
	var all []metric.Observable
	instruments := make(map[string]metric.Int64ObservableGauge)
	for _, name := range []string{
		"received_samples", "delivered_samples", "dropped_samples", "queued_samples", "in_flight_samples", "refused_samples", "requests",
		"queue_size", "queue_capacity",
	} {
		i, err := meter.Int64ObservableGauge(ownMetric + name)
		if err != nil {
			return err
		}
		instruments[name] = i
		all = append(all, i)
	}
	for _, name := range []string{"sent_metric_points", "send_failed_metric_points"} {
		i, err := meter.Int64ObservableGauge("otelcol_exporter_" + name)
		if err != nil {
			return err
		}
		instruments[name] = i
		all = append(all, i)
	}
	_, err := meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		f.mu.Lock()
		defer f.mu.Unlock()
		dropped := int64(0)
		for key, n := range f.dropped {
			dropped += n
			o.ObserveInt64(instruments["dropped_samples"], n, metric.WithAttributes(
				attribute.String("reason", key.Reason), attribute.Int("http.response.status_code", key.Status)))
		}
		for _, name := range []string{"received_samples", "delivered_samples", "queued_samples", "in_flight_samples", "refused_samples", "requests"} {
			o.ObserveInt64(instruments[name], f.counters[name])
		}
		o.ObserveInt64(instruments["queue_size"], f.counters["queued_samples"]+f.counters["in_flight_samples"])
		capacity := f.settings.QueueSizeBytes
		if f.breaks == "queue over its bound" {
			capacity = 1
		}
		o.ObserveInt64(instruments["queue_capacity"], capacity)
		o.ObserveInt64(instruments["sent_metric_points"], f.counters["delivered_samples"])
		if f.breaks != "standard metrics differ" {
			o.ObserveInt64(instruments["send_failed_metric_points"], dropped)
		}
		return nil
	}, all...)
	return err
}

func (*fake) Capabilities() consumer.Capabilities { return consumer.Capabilities{} }

func (f *fake) Start(ctx context.Context, host component.Host) error {
	f.host = host
	wrap, err := host.GetExtensions()[receiverID].(extensionmiddleware.HTTPClient).GetHTTPRoundTripper(ctx)
	if err != nil {
		return err
	}
	if f.network, err = wrap(ctx, nil); err != nil {
		return err
	}
	f.ctx, f.abort = context.WithCancel(context.Background())
	senders := 1
	if f.breaks == "busy is ignored" {
		senders = 2
	}
	for _, p := range f.partitions {
		for range senders {
			f.sending.Go(func() { f.run(p) })
		}
	}
	return nil
}

// translate knows gauges with attributes, job and instance.
func (f *fake) translate(md pmetric.Metrics) []fakeSample {
	var samples []fakeSample
	for _, rm := range md.ResourceMetrics().All() {
		job, _ := rm.Resource().Attributes().Get("service.name")
		instance, _ := rm.Resource().Attributes().Get("service.instance.id")
		for _, sm := range rm.ScopeMetrics().All() {
			for _, m := range sm.Metrics().All() {
				for _, dp := range m.Gauge().DataPoints().All() {
					labels := []prompb.Label{
						{Name: "__name__", Value: m.Name()}, {Name: "instance", Value: instance.Str()}, {Name: "job", Value: job.Str()},
					}
					for key, value := range dp.Attributes().All() {
						labels = append(labels, prompb.Label{Name: key, Value: value.Str()})
					}
					slices.SortFunc(labels, func(a, b prompb.Label) int { return cmp.Compare(a.Name, b.Name) })
					samples = append(samples, fakeSample{
						series: rwtest.SeriesKey(labels), labels: labels,
						Sample: floatSample(dp.Timestamp().AsTime().UnixMilli(), dp.DoubleValue()), at: time.Now(),
					})
				}
			}
		}
	}
	return samples
}

var errFake = errors.New("closed")

func (f *fake) ConsumeMetrics(ctx context.Context, md pmetric.Metrics) error {
	if f.breaks == "callers wait for ever" {
		time.Sleep(2 * time.Hour)
	}
	samples := f.translate(md)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.consumed++
	if f.closed && f.breaks != "accepts after the end" {
		f.counters["refused_samples"] += int64(len(samples))
		return errFake
	}
	switch {
	case f.breaks == "refused is kept" && f.consumed == 2:
		f.admit(samples)
		return consumererror.NewPermanent(errFake)
	case f.breaks == "refused is not counted" && f.consumed == 2:
		return errFake
	case f.breaks == "loses a payload" && f.consumed == 2:
		return nil
	case f.breaks == "damages a value":
		samples[0].Bits++
	case f.breaks == "damages a label":
		samples[0].labels[0].Value += "x"
	}
	f.admit(samples)
	return nil
}

// admit puts samples into the queues of their partitions.
func (f *fake) admit(samples []fakeSample) {
	taken := make(map[seriesTime]bool)
	for _, s := range samples {
		f.counters["received_samples"]++
		key := seriesTime{s.series, s.Timestamp}
		newest, known := f.newest[s.series]
		late := known && s.Timestamp <= newest
		if taken[key] || late && f.settings.OutOfOrder == "drop" && f.breaks != "drop sends" || late && f.settings.OutOfOrder == "separate" && s.Timestamp == newest {
			reason := "duplicate"
			if !taken[key] && s.Timestamp < newest {
				reason = "out_of_order"
			}
			f.drop(1, Drop{Reason: reason})
			continue
		}
		taken[key] = true
		f.newest[s.series] = max(newest, s.Timestamp)
		hash := fnv.New32a()
		_, _ = hash.Write([]byte(s.series))
		p := f.partitions[hash.Sum32()%uint32(len(f.partitions))]
		if late && f.settings.OutOfOrder == "separate" && f.breaks != "late goes along" {
			p.late = append(p.late, s)
		} else {
			p.queue = append(p.queue, s)
		}
		f.counters["queued_samples"]++
		p.signal()
	}
}

func (p *fakePartition) signal() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// drop counts samples that are lost.
func (f *fake) drop(n int, key Drop) {
	if f.breaks == "wrong status" && key.Status != 0 {
		key.Status++
	}
	f.dropped[key] += int64(n)
}

// take returns what a request is made of.
func (f *fake) take(p *fakePartition) ([]fakeSample, time.Duration) {
	f.mu.Lock()
	defer f.mu.Unlock()
	from := &p.queue
	if len(*from) == 0 {
		from = &p.late
	}
	if len(*from) == 0 {
		return nil, 0
	}
	flush := f.settings.FlushTimeout
	if f.breaks == "sleeps" {
		flush += 5 * time.Second
	}
	if wait := time.Until((*from)[0].at.Add(flush)); wait > 0 && !f.closed {
		return nil, wait
	}
	most := f.settings.MaxSamples
	if f.breaks == "requests are too large" {
		most *= 2
	}
	n := min(len(*from), most)
	batch := slices.Clone((*from)[:n])
	*from = (*from)[n:]
	if p.batches++; f.breaks == "newest first" && p.batches%2 == 0 {
		slices.Reverse(batch)
	}
	if from == &p.late {
		slices.SortStableFunc(batch, func(a, b fakeSample) int { return cmp.Compare(a.Timestamp, b.Timestamp) })
	}
	f.counters["queued_samples"] -= int64(n)
	if f.breaks != "in flight is forgotten" {
		f.counters["in_flight_samples"] += int64(n)
	} else {
		f.counters["delivered_samples"] += int64(n)
	}
	return batch, 0
}

func (f *fake) run(p *fakePartition) {
	for {
		batch, wait := f.take(p)
		switch {
		case len(batch) > 0:
			f.deliver(p, batch)
			continue
		case wait == 0 && f.isClosed():
			p.signal()
			return
		case wait == 0:
			wait = time.Hour
		}
		select {
		case <-p.wake:
		case <-time.After(wait):
		case <-f.ctx.Done():
			return
		}
	}
}

func (f *fake) isClosed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.closed
}

// deliver sends a batch until it has its outcome.
func (f *fake) deliver(p *fakePartition, batch []fakeSample) {
	for n := 1; ; n++ {
		status, header := f.post(batch)
		passing := status == 0 || status == 429 || status >= 500
		if passing && f.breaks == "gives up" {
			status, passing = 400, false
		}
		if !passing {
			f.settle(p, batch, status)
			return
		}
		wait := 50 * time.Millisecond
		if seconds, err := strconv.Atoi(header.Get("Retry-After")); err == nil && seconds >= 0 && f.breaks != "Retry-After is ignored" {
			wait = max(wait, min(time.Duration(seconds)*time.Second, f.settings.MaxRetryAfter))
		}
		time.Sleep(wait)
		f.mu.Lock()
		switch {
		case f.breaks == "overtaken by a retry" && len(p.queue) > 0:
			// What came later goes first.
			batch, p.queue[0] = append(slices.Clone(batch[1:]), p.queue[0]), batch[0]
		case f.breaks == "retries are other requests" && len(p.queue) > 0 && len(batch) < f.settings.MaxSamples:
			batch = append(slices.Clone(batch), p.queue[0])
			p.queue = p.queue[1:]
			f.counters["queued_samples"]--
			f.counters["in_flight_samples"]++
		}
		f.mu.Unlock()
	}
}

// settle accounts for a batch.
func (f *fake) settle(p *fakePartition, batch []fakeSample, status int) {
	f.mu.Lock()
	n := int64(len(batch))
	once := !f.broken
	f.broken = true
	if f.breaks != "in flight is forgotten" {
		f.counters["in_flight_samples"] -= n
	}
	switch {
	case f.breaks == "in flight is forgotten":
	case status/100 == 2 && f.breaks == "miscounts" && once:
		f.counters["delivered_samples"] += n - 1
	case status/100 == 2:
		f.counters["delivered_samples"] += n
	case f.breaks == "losses count as delivered":
		f.counters["delivered_samples"] += n
	case f.breaks == "wrong reason":
		f.drop(len(batch), Drop{"fatal", status})
	default:
		f.drop(len(batch), Drop{"rejected", status})
	}
	if f.breaks == "a counter goes back" {
		f.counters["refused_samples"] = int64(p.batches % 2)
	}
	f.mu.Unlock()
	if f.breaks == "sends again" && once {
		f.post(batch)
	}
}

// post sends a request and returns the status of the answer, 0 for none.
func (f *fake) post(batch []fakeSample) (int, http.Header) {
	f.mu.Lock()
	f.counters["requests"]++
	f.mu.Unlock()
	message := &prompb.WriteRequest{}
	for _, s := range batch {
		message.Timeseries = append(message.Timeseries, prompb.TimeSeries{
			Labels: s.labels, Samples: []prompb.Sample{{Value: s.Value(), Timestamp: s.Timestamp}},
		})
	}
	raw, err := message.Marshal()
	if err != nil {
		panic(err)
	}
	ctx, cancel := context.WithTimeout(f.ctx, f.settings.Timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://receiver.test/api/v1/write", bytes.NewReader(snappy.Encode(nil, raw)))
	if err != nil {
		panic(err)
	}
	req.Header.Set("Content-Encoding", "snappy")
	req.Header.Set("User-Agent", "fake/1.0")
	req.Header.Set("Content-Type", "application/x-protobuf")
	req.Header.Set("X-Prometheus-Remote-Write-Version", "0.1.0")
	resp, err := f.network.RoundTrip(req)
	if err != nil {
		return 0, nil
	}
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<10))
	return resp.StatusCode, resp.Header
}

func (f *fake) Shutdown(context.Context) error {
	if f.network == nil {
		return nil
	}
	f.mu.Lock()
	f.closed = true
	f.mu.Unlock()
	if f.breaks == "the shutdown takes too long" {
		time.Sleep(25 * time.Hour)
	}
	for _, p := range f.partitions {
		p.signal()
	}
	f.sending.Wait()
	f.abort()
	reasons := make(map[string]int64)
	for key, n := range f.dropped {
		reasons[key.Reason] += n
	}
	for reason, n := range reasons {
		if f.breaks != "log is incomplete" {
			f.logger.Warn("Dropped samples.", zap.String("reason", reason), zap.Int64("dropped_samples_since_last_line", n))
		}
	}
	switch f.breaks {
	case "goes on after the end":
		f.ctx = context.Background()
		go func() {
			time.Sleep(time.Second)
			f.post([]fakeSample{{labels: []prompb.Label{{Name: "__name__", Value: "late"}}}})
		}()
	case "stops the collector":
		componentstatus.ReportStatus(f.host, componentstatus.NewFatalErrorEvent(errFake))
	}
	return nil
}
