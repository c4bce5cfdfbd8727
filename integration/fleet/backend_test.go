// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"bytes"
	"maps"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"

	"github.com/orderedremotewrite/orderedremotewriteexporter/integration/internal/promserver"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
)

// writerHeader says which gateway sends a request.
const writerHeader = "X-Writer"

// backend is what a fleet writes to. It takes requests after a random while, so that what two gateways send for the same
// series is taken in any order.
type backend struct {
	rwtest.Receiver
	url string
	// prometheus decides what is stored; without it everything is.
	prometheus *promserver.Server

	mu      sync.Mutex
	rnd     *rand.Rand
	writers map[string]map[string]bool // by series, who has sent samples of it
	closed  map[string]bool            // by gateway: its requests are answered 503
}

// newBackend takes and stores everything, in whatever order it comes.
func newBackend(t *testing.T) *backend {
	b := &backend{
		rnd: rand.New(rand.NewPCG(1, 2)), writers: make(map[string]map[string]bool), closed: make(map[string]bool),
	}
	b.Script = b.answer
	server := httptest.NewServer(&b.Receiver)
	t.Cleanup(server.Close)
	b.url = server.URL
	return b
}

// newPrometheus is a Prometheus server, which refuses what is out of order.
func newPrometheus(t *testing.T, options ...promserver.Option) *backend {
	b := newBackend(t)
	b.prometheus = promserver.Start(t, append(options, promserver.WithoutNetwork())...)
	return b
}

func (b *backend) answer(r rwtest.Request) rwtest.Answer {
	writer := r.Header.Get(writerHeader)
	b.mu.Lock()
	for _, series := range r.Series {
		if b.writers[series] == nil {
			b.writers[series] = make(map[string]bool)
		}
		b.writers[series][writer] = true
	}
	delay, closed := time.Duration(b.rnd.IntN(30))*time.Millisecond, b.closed[writer]
	b.mu.Unlock()
	if closed {
		return rwtest.Answer{Status: http.StatusServiceUnavailable}
	}
	time.Sleep(delay)
	if b.prometheus == nil {
		return rwtest.Answer{}
	}
	req := httptest.NewRequest(http.MethodPost, b.prometheus.Endpoint(), bytes.NewReader(r.Body))
	req.Header = r.Header
	answer := httptest.NewRecorder()
	b.prometheus.ServeHTTP(answer, req)
	return rwtest.Answer{Status: answer.Code, Header: answer.Header(), Body: answer.Body.String()}
}

// setClosed says whether the backend is away for gateways.
func (b *backend) setClosed(closed bool, gateways ...*member) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, m := range gateways {
		b.closed[m.name] = closed
	}
}

// writersOf returns who has sent samples of a series.
func (b *backend) writersOf(series string) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Sorted(maps.Keys(b.writers[series]))
}

// delivered returns by series what is stored: with Prometheus, what its storage has, and otherwise in the order of arrival.
func (b *backend) delivered() map[string][]rwtest.Sample {
	if b.prometheus == nil {
		return b.Delivered()
	}
	delivered := make(map[string][]rwtest.Sample)
	for _, series := range b.prometheus.Series(`{__name__!=""}`) {
		var ls []prompb.Label
		series.Labels.Range(func(l labels.Label) { ls = append(ls, prompb.Label{Name: l.Name, Value: l.Value}) })
		key := rwtest.SeriesKey(ls)
		for _, s := range series.Samples {
			delivered[key] = append(delivered[key], rwtest.Sample{Timestamp: s.Time.UnixMilli(), Bits: math.Float64bits(s.Value)})
		}
	}
	return delivered
}

// stored is how many samples are stored.
func (b *backend) stored() int { return count(b.delivered()) }

// missing returns by series what is expected and not stored.
func (b *backend) missing(expected map[string][]rwtest.Sample) map[string][]rwtest.Sample {
	missing, delivered := make(map[string][]rwtest.Sample), b.delivered()
	for series, samples := range expected {
		stored := make(map[rwtest.Sample]bool)
		for _, s := range delivered[series] {
			stored[s] = true
		}
		for _, s := range samples {
			if !stored[s] {
				missing[series] = append(missing[series], s)
			}
		}
	}
	return missing
}

// count is how many samples there are of all series.
func count(samples map[string][]rwtest.Sample) (n int) {
	for _, s := range samples {
		n += len(s)
	}
	return n
}
