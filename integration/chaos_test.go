package integration

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"maps"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/prometheus/prompb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/orderedremotewrite/orderedremotewriteexporter/integration/internal/promserver"
	"github.com/orderedremotewrite/orderedremotewriteexporter/integration/internal/rig"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
)

var (
	chaosSeed     = flag.Uint64("seed", 0, "seed of the chaos test; 0 takes a new one")
	chaosDuration = flag.Duration("chaos.duration", 5*time.Second, "how long the chaos test starts new rounds")
	chaosRound    = flag.Uint64("chaos.round", 0, "the first round of the chaos test")
	chaosRounds   = flag.Uint64("chaos.rounds", 0, "the number of rounds of the chaos test, instead of a duration")
)

const (
	// chaosProgress is the time between two lines that tell how far the test is.
	chaosProgress = 10 * time.Second
	// maxChaosRound is how long a round may take.
	maxChaosRound = 5 * time.Minute
	// maxChaosFailures is the number of failed rounds after which the test gives up.
	maxChaosFailures = 5
)

// TestChaosWithPrometheus runs rounds of random payloads through an exporter of a random configuration and a proxy with
// random faults to a Prometheus server, and compares after each what the exporter has counted with what the storage
// holds. The seed and the number of a round decide everything but what depends on the time.
func TestChaosWithPrometheus(t *testing.T) {
	seed := *chaosSeed
	for seed == 0 {
		seed = rand.Uint64()
	}
	fmt.Fprintf(os.Stderr, "chaos: -seed %d\n", seed)
	total := &chaosTotals{faults: make(map[string]int), kinds: make(map[string]int)}
	start := time.Now()
	progress := start
	for round := *chaosRound; total.failures < maxChaosFailures; round++ {
		if n := round - *chaosRound; *chaosRounds > 0 && n == *chaosRounds || *chaosRounds == 0 && n > 0 && time.Since(start) >= *chaosDuration {
			break
		}
		if time.Since(progress) >= chaosProgress {
			progress = time.Now()
			fmt.Fprintf(os.Stderr, "chaos: round %d after %v\n", round, progress.Sub(start).Round(time.Second))
		}
		t.Run(strconv.FormatUint(round, 10), func(t *testing.T) {
			c := newChaos(t, seed, round)
			defer func() {
				if t.Failed() {
					total.failures++
					t.Logf("%s\nrepeat with: go test -run '^TestChaosWithPrometheus$' -seed %d -chaos.round %d -chaos.rounds 1 -count 20 .", c, seed, round)
				}
			}()
			hangs := time.AfterFunc(maxChaosRound, func() {
				debug.SetTraceback("all")
				panic(fmt.Sprintf("chaos: round %d of seed %d has not ended after %v", round, seed, maxChaosRound))
			})
			defer hangs.Stop()
			c.run()
			total.add(c)
		})
	}
	t.Logf("-seed %d, %v\n%s", seed, time.Since(start).Round(time.Millisecond), total)
}

// chaosTotals is what all rounds were together.
type chaosTotals struct {
	rounds, failures                      int
	received, delivered, dropped, refused int64
	stored, requests                      int
	faults, kinds                         map[string]int
}

func (s *chaosTotals) add(c *chaos) {
	s.rounds++
	s.kinds[fmt.Sprintf("%s, %s", c.version, map[bool]string{true: "answers kept", false: "answers lost"}[c.keeps])]++
	s.received += c.accounts.Received
	s.delivered += c.accounts.Delivered
	s.dropped += c.accounts.TotalDropped()
	s.refused += c.accounts.Refused
	s.stored += c.stored
	s.requests += c.receiver.Requests()
	for kind, n := range c.faults {
		s.faults[kind] += n
	}
}

func (s *chaosTotals) String() string {
	return fmt.Sprintf("%d rounds: %s\n%d samples received, %d delivered, %d dropped, %d stored by Prometheus\n%d requests; faults: %s\n%d rounds with violations",
		s.rounds, counted(s.kinds), s.received, s.delivered, s.dropped, s.stored, s.requests, counted(s.faults), s.failures)
}

func counted(m map[string]int) string {
	var parts []string
	total := 0
	for _, name := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, fmt.Sprintf("%s: %d", name, m[name]))
		total += m[name]
	}
	return fmt.Sprintf("%d (%s)", total, strings.Join(parts, "; "))
}

// chaos is one round.
type chaos struct {
	t       *testing.T
	rnd     *rand.Rand
	version string
	config  string
	// keeps says that no answer is lost once Prometheus has the request, so that nothing can be lost or be sent twice;
	// sound that no payload comes again.
	keeps, sound bool
	// guard says that out_of_order is drop.
	guard  bool
	random rwtest.Faults

	server   *promserver.Server
	receiver *rwtest.Receiver
	exporter *rig.Exporter
	accounts rig.Accounts
	stored   int

	mu     sync.Mutex
	faults map[string]int
}

func newChaos(t *testing.T, seed, round uint64) *chaos {
	r := rand.New(rand.NewPCG(seed, round))
	c := &chaos{t: t, rnd: r, faults: make(map[string]int), keeps: r.IntN(2) == 0, sound: r.IntN(3) > 0, guard: r.IntN(2) == 0}
	permille := func(most int) int { return max(0, r.IntN(2*most)-most) }
	c.random = rwtest.Faults{
		Seed: r.Uint64(), ServerError: permille(100), TooManyRequests: permille(100), Redirect: permille(50), ResetUnread: permille(100),
		CutAnswer: permille(50), CutError: permille(50), HugeBody: permille(50), SlowBody: permille(100),
		MinLatency: time.Duration(r.IntN(1000)) * time.Microsecond, MaxLatency: time.Duration(1+r.IntN(5)) * time.Millisecond,
	}
	timeout := 30 * time.Second
	if !c.keeps {
		c.random.StoredServerError, c.random.DropAnswer = permille(60), permille(60)
		c.random.Hang, c.random.StoredHang = permille(5), permille(5)
		timeout = 300 * time.Millisecond
	}
	c.version = "1.0"
	if r.IntN(2) == 0 {
		c.version = "2.0"
	} else {
		c.random.LyingHeader = permille(100) // which means nothing in 1.0
	}
	guard := "send"
	if c.guard {
		guard = "drop"
	}
	partitions, size := 1+r.IntN(8), 16384<<r.IntN(4)
	c.config = fmt.Sprintf(`{http: {timeout: %v}, partitions: %d, batch: {max_samples: %d, max_size_bytes: %d, flush_timeout: %dms}, `+
		`queue: {max_size_bytes: %d}, retry_on_failure: {max_elapsed_time: 0s, max_retry_after: 20ms}, on_error: {fatal: retry, rejected: %s}, out_of_order: %s, shutdown_timeout: 5m}`,
		timeout, partitions, 1+r.IntN(300), size, 1+r.IntN(20), partitions*(1+r.IntN(3))<<20, []string{"discard", "isolate"}[r.IntN(2)], guard)
	return c
}

func (c *chaos) String() string {
	return fmt.Sprintf("version %s, answers kept %t, payloads sound %t, configuration %s\nfaults %+v", c.version, c.keeps, c.sound, c.config, c.random)
}

func (c *chaos) run() {
	c.server = promserver.Start(c.t)
	c.receiver = &rwtest.Receiver{Script: c.answer}
	proxy := httptest.NewServer(c.receiver)
	defer proxy.Close()
	c.exporter = rig.Start(c.t, proxy.URL+"/api/v1/write", versions[c.version].config, c.config)
	expected := c.produce()
	c.accounts = c.exporter.Close()
	c.check(expected)
}

// answer is the script of the proxy: it has a fault, or what Prometheus answers.
func (c *chaos) answer(r rwtest.Request) rwtest.Answer {
	a := c.random.Answer(r.Seq)
	c.count(a)
	success := (a.Fault == rwtest.NoFault || a.Fault == rwtest.Cut) && (a.Status == 0 || a.Status/100 == 2)
	if !success && !a.Stored {
		return a
	}
	status, header, body := c.forward(r)
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

// forward gives a request to Prometheus.
func (c *chaos) forward(r rwtest.Request) (status int, header http.Header, body string) {
	answer := httptest.NewRecorder()
	req := httptest.NewRequest(http.MethodPost, "/api/v1/write", bytes.NewReader(r.Body))
	req.Header = r.Header
	c.server.ServeHTTP(answer, req)
	text, err := io.ReadAll(answer.Body)
	assert.NoError(c.t, err)
	answer.Header().Del("Content-Length")
	return answer.Code, answer.Header(), string(text)
}

// count counts a fault by its kind.
func (c *chaos) count(a rwtest.Answer) {
	kind := map[rwtest.Fault]string{rwtest.Reset: "reset", rwtest.Cut: "cut", rwtest.Hang: "hang"}[a.Fault]
	if a.Status >= 300 || a.Fault == rwtest.Cut {
		kind = strings.TrimSpace(kind + " " + strconv.Itoa(a.Status))
	}
	if a.Stored {
		kind += ", stored"
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if kind != "" {
		c.faults[kind]++
	}
	if a.BodySize > 0 {
		c.faults["huge body"]++
	}
	if a.BodyTime > 0 {
		c.faults["slow body"]++
	}
	if a.Header.Get("X-Prometheus-Remote-Write-Samples-Written") != "" {
		c.faults["lying header"]++
	}
}

// produce runs the producers, and returns what the gauges and sums must become.
func (c *chaos) produce() map[string][]rwtest.Sample {
	producers := rwtest.Payloads{
		Seed: c.rnd.Uint64(), Producers: 1 + c.rnd.IntN(4), Streams: 5 + c.rnd.IntN(100), Points: 2 + c.rnd.IntN(20),
		StreamsPerPayload: 1 + c.rnd.IntN(50), Start: start().Add(-30 * time.Minute),
	}.Split()
	var producing sync.WaitGroup
	for _, p := range producers {
		rnd := rand.New(rand.NewPCG(c.rnd.Uint64(), 0))
		producing.Go(func() { c.produceSound(p, rnd) })
	}
	if c.rnd.IntN(2) == 0 {
		rnd := rand.New(rand.NewPCG(c.rnd.Uint64(), 0))
		payloads := c.rnd.IntN(20)
		producing.Go(func() { c.produceHostile(rnd, payloads) })
	}
	producing.Wait()
	expected := make(map[string][]rwtest.Sample)
	for _, p := range producers {
		maps.Copy(expected, p.Expected())
	}
	return expected
}

// produceSound gives the payloads of a producer to the exporter, some of them again if they need not be sound.
func (c *chaos) produceSound(p *rwtest.Producer, rnd *rand.Rand) {
	var before pmetric.Metrics
	for md, ok := p.Next(); ok; md, ok = p.Next() {
		if !c.consume(md) {
			return
		}
		switch n := rnd.IntN(20); {
		case n == 0:
			accounts := c.exporter.Accounts()
			accounts.AssertBalanced(c.t)
		case n == 1 && !c.sound && before != (pmetric.Metrics{}):
			c.consume(before)
		case n == 2:
			before = md
		}
	}
}

func (c *chaos) consume(md pmetric.Metrics) bool {
	return assert.NoError(c.t, c.exporter.ConsumeMetrics(context.Background(), md))
}

// produceHostile gives hostile payloads to the exporter. Prometheus does not take samples that are far from now, so most
// of them get the time of a clock.
func (c *chaos) produceHostile(rnd *rand.Rand, payloads int) {
	at := start().Add(-30 * time.Minute)
	for range payloads {
		md := rwtest.Hostile(rnd)
		if c.sound || c.guard || rnd.IntN(4) > 0 {
			at = at.Add(time.Second)
			c.setTime(md, at)
		}
		if !c.consume(md) {
			return
		}
	}
}

// setTime changes the timestamps of all points that have one. Exemplars are left out of 2.0, where Prometheus refuses
// requests for what is wrong with the order of exemplars.
func (c *chaos) setTime(md pmetric.Metrics, at time.Time) {
	set := func(p interface {
		Timestamp() pcommon.Timestamp
		SetTimestamp(pcommon.Timestamp)
	}, exemplars pmetric.ExemplarSlice,
	) {
		if p.Timestamp() != 0 {
			p.SetTimestamp(timestamp(at))
		}
		exemplars.RemoveIf(func(pmetric.Exemplar) bool { return c.version == "2.0" })
	}
	for _, rm := range md.ResourceMetrics().All() {
		for _, sm := range rm.ScopeMetrics().All() {
			for _, m := range sm.Metrics().All() {
				switch m.Type() {
				case pmetric.MetricTypeGauge:
					for _, dp := range m.Gauge().DataPoints().All() {
						set(dp, dp.Exemplars())
					}
				case pmetric.MetricTypeSum:
					for _, dp := range m.Sum().DataPoints().All() {
						set(dp, dp.Exemplars())
					}
				case pmetric.MetricTypeHistogram:
					for _, dp := range m.Histogram().DataPoints().All() {
						set(dp, dp.Exemplars())
					}
				case pmetric.MetricTypeExponentialHistogram:
					for _, dp := range m.ExponentialHistogram().DataPoints().All() {
						set(dp, dp.Exemplars())
					}
				case pmetric.MetricTypeSummary:
					for _, dp := range m.Summary().DataPoints().All() {
						set(dp, pmetric.NewExemplarSlice())
					}
				}
			}
		}
	}
}

// translationDrops are the reasons for which samples of hostile payloads are dropped before they are sent.
var translationDrops = []string{
	"delta_temporality", "unspecified_temporality", "no_timestamp", "no_value", "invalid_name", "invalid_histogram", "scale_too_low", "no_sum", "duplicate",
}

// check compares what was counted with what is stored.
func (c *chaos) check(expected map[string][]rwtest.Sample) {
	c.stored = c.server.Stored()
	stored := c.floats()
	violations := c.receiver.Violations()
	if !c.sound && !c.guard {
		violations = slices.DeleteFunc(violations, func(v string) bool { return strings.Contains(v, "samples of a series are in timestamp order") })
	}
	assert.Empty(c.t, violations)
	assert.Empty(c.t, c.receiver.Overlaps())
	assert.Zero(c.t, c.server.InvalidLabels())
	if c.sound || c.guard {
		assert.Empty(c.t, c.receiver.OutOfOrder())
		assert.Empty(c.t, c.receiver.Conflicting())
		assert.Empty(c.t, c.server.Missing(), "samples that Prometheus lost after it had confirmed them")
		assert.LessOrEqual(c.t, c.accounts.Delivered, int64(c.stored), "nothing is counted as delivered that is not stored")
	}
	lost := 0
	for key, samples := range expected {
		held := make(map[rwtest.Sample]bool)
		for _, s := range stored[key] {
			held[s] = true
		}
		for _, s := range samples {
			if !held[s] {
				lost++
			}
			delete(held, s)
		}
		assert.Empty(c.t, held, "stored of %s, but never received", key)
	}
	for key := range stored {
		assert.Contains(c.t, expected, key)
	}
	assert.LessOrEqual(c.t, int64(lost), c.accounts.TotalDropped(), "all that is not stored is counted as dropped")
	if c.keeps {
		c.checkExact(lost)
	}
	if c.keeps && c.sound {
		for key, samples := range expected {
			require.Equal(c.t, samples, stored[key], key)
		}
	}
}

// checkExact is for a round in which every answer of Prometheus has arrived.
func (c *chaos) checkExact(lost int) {
	if !c.sound && !c.guard {
		return // Prometheus takes a sample twice if it is the last one of its series
	}
	assert.Equal(c.t, c.accounts.Delivered, int64(c.stored), "what is counted as delivered is what is stored")
	assert.Empty(c.t, c.receiver.ResentAfterSuccess())
	for status, n := range c.server.Statuses() {
		assert.Equal(c.t, 2, status/100, "Prometheus answered %d to %d requests", status, n)
	}
	assert.Zero(c.t, lost)
	for drop, n := range c.accounts.Dropped {
		allowed := slices.Contains(translationDrops, drop.Reason) || drop.Reason == "out_of_order" && !c.sound
		assert.True(c.t, allowed, "%d samples dropped for %v", n, drop)
	}
}

// floats are the stored samples of gauges and sums, by series.
func (c *chaos) floats() map[string][]rwtest.Sample {
	stored := make(map[string][]rwtest.Sample)
	for _, series := range c.server.Series(`{__name__=~"rwtest_(gauge|sum)_.*"}`) {
		key := rwtest.SeriesKey(prompb.FromLabels(series.Labels, nil))
		for _, s := range series.Samples {
			stored[key] = append(stored[key], rwtest.Sample{Timestamp: s.Time.UnixMilli(), Bits: math.Float64bits(s.Value)})
		}
	}
	return stored
}
