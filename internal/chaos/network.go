// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
)

// Network is a round in real time, through a proxy with faults to a real receiver.
type Network struct {
	*round
	// Keeps says that no answer is lost once the receiver has the request, so that nothing can be lost or be sent twice, and
	// Sound that no payload has an error or comes again.
	Keeps, Sound bool
	// Guarded says that out_of_order is drop.
	Guarded bool
	// Restarts says that several processes have had the same storage, so that samples may have come twice.
	Restarts bool
	// Problems are what the checks found.
	Problems []string

	backend http.Handler
	random  rwtest.Faults
}

// maxNetworkShutdown is more than the longest shutdown takes.
const maxNetworkShutdown = 5 * time.Minute

// networkDamage is what a real receiver can be given: it refuses what is far from now.
var networkDamage = []string{"out of order", "same time", "twice", "no timestamp", "huge label", "stale", "no name", "temporality", "contents"}

// RunNetwork runs a round whose requests end at the backend's write handler, and checks it. The seed and the number decide
// everything but what depends on the time.
func RunNetwork(t *testing.T, subject Subject, seed, number uint64, backend http.Handler) *Network {
	n := &Network{round: &round{t: t, seed: seed, number: number, subject: subject}, backend: backend}
	n.choose()
	n.connect = func(w *wire) string {
		proxy := httptest.NewServer(w)
		t.Cleanup(proxy.Close)
		return proxy.URL + "/api/v1/write"
	}
	if n.life = n.begin(n.record); n.life == nil {
		t.FailNow()
	}
	var producers sync.WaitGroup
	for _, p := range n.producers() {
		producers.Go(func() { p.runFast() })
	}
	if n.storage != nil {
		produced := make(chan struct{})
		go func() { producers.Wait(); close(produced) }()
		n.liveOn(produced)
	}
	producers.Wait()
	n.shutdown(n.life)
	n.finish()
	// What the proxy stores is not what the receiver does.
	n.record.Stored = nil
	n.Problems, _ = Check(n.record)
	return n
}

// choose makes the configuration and the faults.
func (n *Network) choose() {
	r := rand.New(rand.NewPCG(n.seed, n.number))
	n.rnd = r
	n.Keeps, n.Sound, n.Guarded = r.IntN(2) == 0, r.IntN(3) > 0, r.IntN(2) == 0
	permille := func(most int) int { return max(0, r.IntN(2*most)-most) }
	n.random = rwtest.Faults{
		Seed: r.Uint64(), ServerError: permille(100), TooManyRequests: permille(100), Redirect: permille(50), ResetUnread: permille(100),
		CutAnswer: permille(50), CutError: permille(50), HugeBody: permille(50), SlowBody: permille(100),
		MinLatency: time.Duration(r.IntN(1000)) * time.Microsecond, MaxLatency: time.Duration(1+r.IntN(5)) * time.Millisecond,
	}
	s := &Settings{
		Timeout: 30 * time.Second, Partitions: pick(r, 1, 2, 8, 32, 1+r.IntN(8)), MaxSamples: 1 + r.IntN(300), MaxSizeBytes: minBatchSize << r.IntN(4),
		FlushTimeout: time.Duration(1+r.IntN(20)) * time.Millisecond, OnFull: block, BlockTimeout: time.Minute,
		RetryEnabled: true, InitialInterval: time.Millisecond, MaxInterval: 20 * time.Millisecond, Multiplier: 2, MaxRetryAfter: 20 * time.Millisecond,
		RetryOn429: true, RetriesExhausted: discard, Fatal: retry, Rejected: pick(r, discard, isolate), MaxIsolation: 1000,
		OutOfOrder: "send", SeriesIdleTimeout: time.Hour, ShutdownTimeout: maxNetworkShutdown,
		Strategy: "UnderscoreEscapingWithSuffixes", TargetInfo: r.IntN(4) > 0, MetadataInterval: time.Minute, V2: r.IntN(2) == 0, Fallback: true,
	}
	if n.Guarded {
		s.OutOfOrder = "drop"
	}
	if !n.Keeps {
		n.random.StoredServerError, n.random.DropAnswer = permille(60), permille(60)
		n.random.Hang, n.random.StoredHang = permille(5), permille(5)
		s.Timeout = time.Second
	}
	if s.V2 {
		s.CustomBuckets = r.IntN(3) == 0
	} else {
		n.random.LyingHeader = permille(100) // which means nothing in 1.0
	}
	s.QueueSizeBytes = int64(s.Partitions*(1+r.IntN(3))) << 20
	n.settings = s
	if n.Restarts = r.IntN(3) == 0; n.Restarts {
		n.Keeps = false
		s.chooseStorage(r)
		n.storage = newStorage(r, s)
		n.storage.longest, n.storage.patience, n.storage.oneRule = 300*time.Millisecond, maxNetworkShutdown, true
		n.storage.slow /= 20
		n.storage.outage.to = n.storage.outage.from.Add(n.storage.outage.to.Sub(n.storage.outage.from) / 20)
	}
	n.faults = &faults{backend: n.answer, injected: make(map[string]int)}
	n.record = &Record{Settings: s, Rules: n.subject.Rules, Network: true, Unseen: !n.Keeps, Start: time.Now()}
}

// producers are some with sound payloads or damaged ones, and possibly one with hostile ones.
func (n *Network) producers() []*producer {
	r := n.rnd
	var all []*producer
	add := func(next func() *Payload) {
		all = append(all, &producer{
			round: n.round, number: len(all), next: next, rnd: rand.New(rand.NewPCG(r.Uint64(), 0)), deadline: time.Minute, patience: 1, pause: 20,
		})
	}
	start := time.Now().Add(-40 * time.Minute).Truncate(time.Second)
	for i := range 1 + r.IntN(4) {
		o := PayloadOptions{Start: start, Damages: networkDamage, NoExemplars: n.settings.V2, Pace: 5 * time.Second, Jump: 20 * time.Second}
		if !n.Sound && i%2 == 0 {
			o.Permille = 1 + r.IntN(100)
		}
		p := newPayloads(rand.New(rand.NewPCG(r.Uint64(), 0)), n.settings, i, &o)
		n.payloads = append(n.payloads, p)
		add(p.Next)
	}
	if r.IntN(2) == 0 {
		next := wildPayloads(rand.New(rand.NewPCG(r.Uint64(), 0)), r.IntN(20), start)
		add(func() *Payload {
			payload := next()
			if payload != nil && n.settings.V2 {
				// Prometheus refuses requests for what is wrong with the order of exemplars.
				removeExemplars(payload.Metrics)
			}
			return payload
		})
	}
	return all
}

// runFast is run without pauses.
func (p *producer) runFast() {
	for payload := p.next(); payload != nil; payload = p.next() {
		if p.storage != nil {
			p.deliver(payload)
		} else if c := p.consume(payload); c.Err != nil {
			p.t.Errorf("ConsumeMetrics: %v", c.Err)
			return
		}
		if p.rnd.IntN(20) == 0 {
			p.collect(nil)
		}
	}
}

// answer is the script of the proxy: it has a fault, or what the backend answers.
func (n *Network) answer(r rwtest.Request, _ int) rwtest.Answer {
	a := rwtest.Answer{Header: http.Header{}}
	if !n.faults.calmed() {
		a = n.random.Answer(r.Seq)
	}
	n.countFault(a)
	success := (a.Fault == rwtest.NoFault || a.Fault == rwtest.Cut) && (a.Status == 0 || a.Status/100 == 2)
	if !success && !a.Stored {
		return a
	}
	status, header, body := n.forward(r)
	if a.Stored {
		a.Stored = status/100 == 2
		return a
	}
	for name, values := range header {
		if _, lies := a.Header[name]; !lies {
			a.Header[name] = values
		}
	}
	// An answer that is cut, or slow, has a body.
	if a.Body == "" || status/100 != 2 {
		a.Status, a.Body = status, body
	}
	return a
}

// forward gives a request to the backend.
func (n *Network) forward(r rwtest.Request) (status int, header http.Header, body string) {
	answer := httptest.NewRecorder()
	req := httptest.NewRequest(http.MethodPost, "/api/v1/write", bytes.NewReader(r.Body))
	req.Header = r.Header
	n.backend.ServeHTTP(answer, req)
	text, _ := io.ReadAll(answer.Body) // from memory
	answer.Header().Del("Content-Length")
	return answer.Code, answer.Header(), string(text)
}

// countFault counts a fault by its kind.
func (n *Network) countFault(a rwtest.Answer) {
	kind := map[rwtest.Fault]string{rwtest.Reset: "reset", rwtest.Cut: "cut", rwtest.Hang: "hang"}[a.Fault]
	if a.Status >= 300 || a.Fault == rwtest.Cut {
		kind = strings.TrimSpace(kind + " " + strconv.Itoa(a.Status))
	}
	if kind == "" {
		return
	}
	if a.Stored {
		kind += ", stored"
	}
	n.faults.count(kind)
}

// Accounts are those from after the end.
func (n *Network) Accounts() *Accounts { return n.record.final() }

// Violations are what the proxy found wrong with single requests.
func (n *Network) Violations() []string { return n.record.Receiver }

// Accepted returns the samples that were accepted of each series that is sent in order, native histograms apart, if it was
// given them in the order of their time and no other payload could bring one.
func (n *Network) Accepted() map[string][]rwtest.Sample {
	accepted := make(map[string][]rwtest.Sample)
	for series, s := range newModel(n.record).series {
		if len(s.apart.items) > 0 {
			continue
		}
		var samples []rwtest.Sample
		for i, it := range s.line.items {
			if it.Histogram || it.optional || i > 0 && it.Timestamp <= s.line.items[i-1].Timestamp {
				samples = nil
				break
			}
			samples = append(samples, it.Sample)
		}
		if samples != nil {
			accepted[series] = samples
		}
	}
	return accepted
}

func (n *Network) String() string {
	return n.settings.String() + "\nfaults: " + counts(n.faults.injected)
}

func removeExemplars(md pmetric.Metrics) {
	all := func(pmetric.Exemplar) bool { return true }
	for _, rm := range md.ResourceMetrics().All() {
		for _, sm := range rm.ScopeMetrics().All() {
			for _, m := range sm.Metrics().All() {
				switch m.Type() {
				case pmetric.MetricTypeGauge:
					for _, dp := range m.Gauge().DataPoints().All() {
						dp.Exemplars().RemoveIf(all)
					}
				case pmetric.MetricTypeSum:
					for _, dp := range m.Sum().DataPoints().All() {
						dp.Exemplars().RemoveIf(all)
					}
				case pmetric.MetricTypeHistogram:
					for _, dp := range m.Histogram().DataPoints().All() {
						dp.Exemplars().RemoveIf(all)
					}
				case pmetric.MetricTypeExponentialHistogram:
					for _, dp := range m.ExponentialHistogram().DataPoints().All() {
						dp.Exemplars().RemoveIf(all)
					}
				}
			}
		}
	}
}
