// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"time"
)

// The load is that of some instances of a service, each of which sends all of its series every two seconds.
//
// A request then has one sample of a series as long as Prometheus is there, which it takes twice if its answer is lost when it is
// stopped. Several samples of a series it would refuse the second time, although it has them.
const (
	instances   = 5
	routes      = 2000
	interval    = 2 * time.Second
	perPayload  = routes + 1 // demo_requests_total of each route, and one demo_duration_seconds
	seriesOfAll = instances * perPayload
)

// load sends counters of which each sample is greater by one than the one before, so that Prometheus can be asked whether it
// has all of them.
type load struct {
	client client
	url    string
	start  time.Time

	// mu is held while a payload is sent: who holds it knows that none is on its way.
	mu   sync.Mutex
	sent [instances]int // payloads of each instance that the collector has accepted
}

func newLoad(c client, url string) *load {
	return &load{client: c, url: url, start: time.Now()}
}

// run sends until the context ends. The instances take turns.
func (l *load) run(ctx context.Context) error {
	ticker := time.NewTicker(interval / instances)
	defer ticker.Stop()
	for i := 0; ; i++ {
		if err := l.send(ctx, i%instances); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func (l *load) send(ctx context.Context, instance int) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	// One that was interrupted may have been accepted, and would not be counted.
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err := l.client.post(context.WithoutCancel(ctx), l.url, l.payload(instance, l.sent[instance]+1, time.Now())); err != nil {
		return err
	}
	l.sent[instance]++
	return nil
}

// samples is how many have been accepted. The caller holds the lock.
func (l *load) samples() (n int) {
	for _, payloads := range l.sent {
		n += payloads * perPayload
	}
	return n
}

// payload is an OTLP payload in JSON: what an instrumented service sends.
func (l *load) payload(instance, count int, now time.Time) []byte {
	var b bytes.Buffer
	times := fmt.Sprintf(`"startTimeUnixNano": "%d", "timeUnixNano": "%d"`, l.start.UnixNano(), now.UnixNano())
	fmt.Fprintf(&b, `{"resourceMetrics": [{
		"resource": {"attributes": [
			{"key": "service.name", "value": {"stringValue": "demo"}},
			{"key": "service.instance.id", "value": {"stringValue": "demo-%d"}},
			{"key": "service.version", "value": {"stringValue": "1.0"}}
		]},
		"scopeMetrics": [{"scope": {"name": "demo"}, "metrics": [
			{"name": "demo.duration", "unit": "s", "exponentialHistogram": {"aggregationTemporality": 2, "dataPoints": [
				{%[2]s, "count": "%[3]d", "sum": %[3]d, "scale": 1, "positive": {"offset": -1, "bucketCounts": ["%[3]d"]}}
			]}},
			{"name": "demo.requests", "unit": "1", "sum": {"aggregationTemporality": 2, "isMonotonic": true, "dataPoints": [`,
		instance, times, count)
	for route := range routes {
		if route > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{%s, "asInt": "%d", "attributes": [{"key": "http.route", "value": {"stringValue": "/items/%d"}}]}`,
			times, count, route)
	}
	b.WriteString(`]}}]}]}]}`)
	return b.Bytes()
}
