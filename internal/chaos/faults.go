// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
)

// faults is how the receiver of a round misbehaves. The contents of a request decide what becomes of it, together with how
// often it came before and, for outages, the time: so it does not depend on which of two requests is faster.
type faults struct {
	seed uint64
	// odds are the faults with their probabilities per mille.
	odds    []odds
	outages []outage
	// poison refuses requests with one of the series whose hash is divisible by it; 0 likes all.
	poison uint32
	// maxSamples is the most samples of a request for which the answer is not 413; 0 is no limit.
	maxSamples int
	// Probabilities per mille of what happens besides, to any answer.
	hugeBody, slowBody, lie, silent int
	maxLatency                      time.Duration
	// unreadable is how it shows that the receiver does not know 2.0; if it is empty, it does.
	unreadable string
	// backend, if it is not nil, answers instead.
	backend func(r rwtest.Request, nth int) rwtest.Answer

	mu       sync.Mutex
	injected map[string]int
	// seen is how often each body came.
	seen map[string]int
	// calm says that nothing goes wrong any more but what the contents of a request are to blame for.
	calm bool
}

type odds struct {
	kind     string
	permille int
}

type outage struct {
	from, to time.Time
	kind     string
}

// Faults after which a request can be sent again, and those after which its samples are lost.
var (
	passingFaults = []string{"5xx", "stored 5xx", "429", "reset", "dropped answer", "cut 2xx", "cut 5xx", "hang", "stored hang", "fatal", "3xx", "odd status"}
	losingFaults  = []string{"4xx", "stored 4xx", "413", "415", "partial write"}
)

// newFaults chooses the faults of a round.
func newFaults(rnd *rand.Rand, seed uint64, lossless bool) *faults {
	f := &faults{seed: seed, injected: make(map[string]int)}
	kinds := passingFaults
	if !lossless {
		kinds = append(kinds[:len(kinds):len(kinds)], losingFaults...)
	}
	for _, kind := range kinds {
		most := rnd.IntN(100)
		switch kind {
		case "hang", "stored hang":
			most /= 4
		case "fatal", "3xx", "odd status":
			// More often than not they end the exporter.
			most /= 3
		}
		if rnd.IntN(2) == 0 {
			f.odds = append(f.odds, odds{kind, most / 2})
		}
	}
	for range rnd.IntN(3) {
		from := time.Now().Add(time.Duration(rnd.IntN(60)) * time.Second)
		f.outages = append(f.outages, outage{from, from.Add(time.Duration(1+rnd.IntN(60)) * time.Second), pick(rnd, passingFaults[:9]...)})
	}
	if !lossless && rnd.IntN(4) == 0 {
		f.poison = 2 + rnd.Uint32N(60)
	}
	if rnd.IntN(5) == 0 {
		f.maxSamples = 1 + rnd.IntN(40)
	}
	f.hugeBody, f.slowBody = rnd.IntN(50), rnd.IntN(50)
	f.maxLatency = time.Duration(rnd.IntN(pick(rnd, 2, 50, 500))) * time.Millisecond
	return f
}

func (f *faults) String() string {
	s := fmt.Sprintf("%v", f.odds)
	for _, o := range f.outages {
		s += fmt.Sprintf(", %s from %s for %v", o.kind, o.from.Format(time.TimeOnly), o.to.Sub(o.from))
	}
	return s + fmt.Sprintf(", poison %d, 413 over %d samples, per mille: huge body %d, slow body %d, lie %d, silent %d; latency to %v, 2.0: %s",
		f.poison, f.maxSamples, f.hugeBody, f.slowBody, f.lie, f.silent, f.maxLatency, f.unreadable)
}

// answer is what becomes of a request that has come nth times before.
func (f *faults) answer(r rwtest.Request, nth int) rwtest.Answer {
	if f.backend != nil {
		return f.backend(r, nth)
	}
	body := fnv.New64a()
	_, _ = body.Write(r.Body)
	rnd := rand.New(rand.NewPCG(f.seed^body.Sum64(), uint64(nth)))
	a := rwtest.Answer{Header: http.Header{}, Status: pick(rnd, 200, 202, 204), Written: rwtest.Written(rnd.IntN(2))}
	if f.maxLatency > 0 {
		a.Latency = time.Duration(rnd.Int64N(int64(f.maxLatency)))
	}
	kind := f.draw(rnd)
	switch {
	case kind != "":
	case r.Version == 2 && f.unreadable != "":
		kind = f.unreadable
	case f.maxSamples > 0 && r.Samples() > f.maxSamples:
		kind = "413"
	case f.poison > 0 && slices.ContainsFunc(r.Series, f.poisoned):
		kind = "poison"
	}
	if kind != "" {
		f.count(kind)
		f.inject(rnd, kind, &a)
	}
	f.besides(rnd, r.Version, &a)
	return a
}

// draw returns the kind of the fault, or "".
func (f *faults) draw(rnd *rand.Rand) string {
	if f.calmed() {
		return ""
	}
	now := time.Now()
	for _, o := range f.outages {
		if !now.Before(o.from) && now.Before(o.to) {
			return o.kind
		}
	}
	dice := rnd.IntN(1000)
	for _, o := range f.odds {
		if dice < o.permille {
			return o.kind
		}
		dice -= o.permille
	}
	return ""
}

func (f *faults) calmed() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calm
}

// came says how often a body has come before.
func (f *faults) came(body []byte) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.seen == nil {
		f.seen = make(map[string]int)
	}
	nth := f.seen[string(body)]
	f.seen[string(body)]++
	return nth
}

// calmDown ends the faults.
func (f *faults) calmDown() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calm = true
}

func (f *faults) count(kind string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.injected[kind]++
}

// poisoned says whether the receiver refuses a series.
func (f *faults) poisoned(series string) bool {
	h := fnv.New32a()
	_, _ = h.Write([]byte(series))
	return h.Sum32()%f.poison == 0
}

// inject makes the answer one of the kind.
func (f *faults) inject(rnd *rand.Rand, kind string, a *rwtest.Answer) {
	kind, a.Stored = strings.CutPrefix(kind, "stored ")
	switch kind {
	case "5xx":
		a.Status = pick(rnd, 500, 501, 502, 503, 504, 507, 529, 599)
		retryAfter(rnd, a.Header)
	case "429":
		a.Status = 429
		retryAfter(rnd, a.Header)
	case "reset":
		a.Fault = rwtest.Reset
	case "dropped answer":
		a.Fault, a.Stored = rwtest.Reset, true
	case "cut 2xx":
		a.Status, a.Fault = pick(rnd, 200, 202), rwtest.Cut
	case "cut 5xx":
		a.Status, a.Fault = 500, rwtest.Cut
	case "hang":
		a.Fault = rwtest.Hang
	case "fatal":
		a.Status = pick(rnd, 401, 403, 404)
	case "3xx":
		a.Status = pick(rnd, 300, 301, 302, 303, 304, 307, 308)
		a.Header.Set("Location", "/redirected")
	case "odd status":
		a.Status = pick(rnd, 199, 600, 999)
	case "4xx":
		a.Status = pick(rnd, 400, 400, 402, 405, 408, 409, 410, 411, 418, 422, 451, 499)
	case "poison", "400 for 2.0":
		a.Status = 400
	case "413":
		a.Status = 413
	case "415":
		a.Status = 415
	case "unread 2xx":
		a.Status, a.Written = pick(rnd, 200, 204), rwtest.WrittenNever
	case "partial write":
		a.Status = 400
		a.Keep = func(series string, s rwtest.Sample) bool { return (f.seed^uint64(s.Timestamp))%2 == 0 }
	default:
		panic("unknown fault " + kind)
	}
	if a.Status >= 300 {
		a.Body = "chaos: " + kind + pick(rnd, "", "\xff\x00", " <script>", "\n\n")
	}
}

// retryAfter sets a Retry-After header (RFC 9110, section 10.2.3), sound or not, or none.
func retryAfter(rnd *rand.Rand, h http.Header) {
	seconds := rnd.IntN(20)
	date := time.Now().Add(time.Duration(seconds) * time.Second).UTC()
	if value := pick(rnd, "", "", "", "", strconv.Itoa(seconds), date.Format(http.TimeFormat), date.Add(-time.Hour).Format(http.TimeFormat),
		date.Format(time.RFC3339), "soon", "-1", "1.5", "99999999999999999999999"); value != "" {
		h.Set("Retry-After", value)
	}
}

var writtenHeaders = []string{
	"X-Prometheus-Remote-Write-Samples-Written",
	"X-Prometheus-Remote-Write-Histograms-Written",
	"X-Prometheus-Remote-Write-Exemplars-Written",
}

// besides is what goes wrong whatever the answer is.
func (f *faults) besides(rnd *rand.Rand, version int, a *rwtest.Answer) {
	happens := func(permille int, kind string) bool {
		if rnd.IntN(1000) >= permille {
			return false
		}
		f.count(kind)
		return true
	}
	if a.Status >= 300 && happens(f.hugeBody, "huge body") {
		a.BodySize = 4 << 20
	}
	if happens(f.slowBody, "slow body") {
		a.BodyTime = time.Duration(rnd.IntN(5000)) * time.Millisecond
	}
	if happens(f.lie, "lying header") {
		for _, name := range writtenHeaders {
			a.Header.Set(name, pick(rnd, "0", "1", "7", "1000000", "-1", "all", "99999999999999999999"))
		}
	}
	if version == 2 && happens(f.silent, "no written header") {
		a.Written = rwtest.WrittenNever
	}
}
