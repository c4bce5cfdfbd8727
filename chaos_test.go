package orderedremotewriteexporter

import (
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/collector/confmap"
)

var (
	chaosDuration = flag.Duration("chaos.duration", 3*time.Second, "how long the chaos test starts new rounds")
	chaosRound    = flag.Uint64("chaos.round", 0, "the first round of the chaos test")
	chaosRounds   = flag.Uint64("chaos.rounds", 0, "the number of rounds of the chaos test, instead of a duration")
)

const (
	// chaosProgress is the time between two lines that tell how far the test is. They go to the standard error, so that
	// it is known which rounds there were if the process ends in a panic.
	chaosProgress = 10 * time.Second
	// maxChaosRound is how long a round may take in real time.
	maxChaosRound = 2 * time.Minute
	// maxChaosFailures is the number of rounds with violations after which the test gives up.
	maxChaosFailures = 5
)

// TestChaos runs rounds of random payloads, many of them broken, through an exporter of a random configuration to a
// receiver with random faults, and checks every promise of the design after each. The seed and the number of a round
// decide everything but the schedule of the goroutines; -count repeats a round under other schedules.
func TestChaos(t *testing.T) {
	first := *seedFlag
	for first == 0 {
		first = rand.Uint64()
	}
	fmt.Fprintf(os.Stderr, "chaos: -seed %d\n", first)
	total := newChaosTotals()
	start := time.Now()
	progress := start
	for round := *chaosRound; ; round++ {
		if n := round - *chaosRound; *chaosRounds > 0 && n == *chaosRounds || *chaosRounds == 0 && n > 0 && time.Since(start) >= *chaosDuration {
			break
		}
		if time.Since(progress) >= chaosProgress {
			progress = time.Now()
			fmt.Fprintf(os.Stderr, "chaos: round %d after %v\n", round, progress.Sub(start).Round(time.Second))
		}
		c := &chaos{seed: first, round: round}
		c.runWatched(t)
		total.add(c)
		if problems := c.problems(); len(problems) > 0 {
			t.Errorf("round %d (lossless %t, abrupt %t):\n\t%s\nconfiguration: %v\nfaults: %v\nrepeat with: go test -run '^TestChaos$' -seed %d -chaos.round %d -chaos.rounds 1 -count 20 .",
				round, c.lossless, c.abrupt, strings.Join(problems, "\n\t"), c.settings(), c.faults, first, round)
		}
		if total.failures == maxChaosFailures {
			break
		}
	}
	t.Logf("-seed %d, %v\n%v", first, time.Since(start).Round(time.Millisecond), total)
}

// runWatched is the round, under the eyes of the real clock.
func (c *chaos) runWatched(t *testing.T) {
	hangs := time.AfterFunc(maxChaosRound, func() {
		debug.SetTraceback("all")
		panic(fmt.Sprintf("chaos: round %d of seed %d has not ended after %v", c.round, c.seed, maxChaosRound))
	})
	defer hangs.Stop()
	synctest.Test(t, c.run)
}

// settings are the settings of the round that are not the default ones.
func (c *chaos) settings() map[string]any {
	own, defaults := confmap.New(), confmap.New()
	if err := own.Marshal(c.cfg); err != nil {
		return map[string]any{"error": err}
	}
	if err := defaults.Marshal(createDefaultConfig()); err != nil {
		return map[string]any{"error": err}
	}
	settings := make(map[string]any)
	for _, key := range own.AllKeys() {
		if value := own.Get(key); !strings.HasPrefix(key, "http::") && fmt.Sprint(value) != fmt.Sprint(defaults.Get(key)) {
			settings[key] = value
		}
	}
	settings["http::timeout"] = c.cfg.HTTP.Timeout
	return settings
}

// chaosTotals is what all rounds were together.
type chaosTotals struct {
	rounds, failures, violations       int
	lossless, exact                    int
	payloads, refusals, requests       int
	received, delivered                int64
	messages, dropped, faults, damages map[string]int
	simulated                          time.Duration
}

func newChaosTotals() *chaosTotals {
	return &chaosTotals{
		messages: make(map[string]int), dropped: make(map[string]int), faults: make(map[string]int), damages: make(map[string]int),
	}
}

func (s *chaosTotals) add(c *chaos) {
	s.rounds++
	if n := len(c.problems()); n > 0 {
		s.failures++
		s.violations += n
	}
	if c.lossless {
		s.lossless++
	}
	if c.exact {
		s.exact++
	}
	s.messages[string(c.cfg.ProtobufMessage)]++
	s.simulated += c.took
	for _, a := range c.attempts {
		if a.err == nil {
			s.payloads++
		} else {
			s.refusals++
		}
	}
	s.received += c.balance.Received
	s.delivered += c.balance.Delivered
	for key, n := range c.balance.Dropped {
		s.dropped[key.Reason.String()] += int(n)
	}
	if c.wire != nil {
		s.requests += len(c.wire.exchanges)
		for kind, n := range c.wire.faults.injected {
			s.faults[kind] += n
		}
	}
	for kind, n := range c.damages {
		s.damages[kind] += n
	}
}

func (s *chaosTotals) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d rounds (%d lossless, %d exactly predictable; %s), %v of simulated time\n",
		s.rounds, s.lossless, s.exact, counts(s.messages), s.simulated.Round(time.Second))
	fmt.Fprintf(&b, "%d payloads accepted, %d refused; errors in them: %s\n", s.payloads, s.refusals, counts(s.damages))
	fmt.Fprintf(&b, "%d samples received, %d delivered; dropped: %s\n", s.received, s.delivered, counts(s.dropped))
	fmt.Fprintf(&b, "%d requests; faults: %s\n", s.requests, counts(s.faults))
	fmt.Fprintf(&b, "%d violations", s.violations)
	return b.String()
}

// counts renders numbers with their names.
func counts(m map[string]int) string {
	var parts []string
	total := 0
	for _, name := range slices.Sorted(maps.Keys(m)) {
		parts = append(parts, fmt.Sprintf("%s %d", name, m[name]))
		total += m[name]
	}
	return fmt.Sprintf("%d (%s)", total, strings.Join(parts, ", "))
}
