// SPDX-License-Identifier: Apache-2.0

package chaos

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
)

var (
	duration    = flag.Duration("chaos.duration", 3*time.Second, "how long a chaos test starts new rounds")
	firstRound  = flag.Uint64("chaos.round", 0, "the first round of a chaos test")
	roundsLimit = flag.Uint64("chaos.rounds", 0, "the number of rounds of a chaos test, instead of a duration")
)

const (
	// progressInterval is the time between two lines that tell how far a test is. They go to the standard error, so that it
	// is known which rounds there were if the process ends in a panic.
	progressInterval = 10 * time.Second
	// maxRound is how long a round may take in real time.
	maxRound = 5 * time.Minute
	// maxFailures is the number of rounds with violations after which a test gives up.
	maxFailures = 5
	// maxProblems bounds what is told of one round.
	maxProblems = 10
)

// Seed returns the flag -seed of the test binary, or a new seed if it is 0 or there is no such flag.
func Seed() uint64 {
	seed := uint64(0)
	if f := flag.Lookup("seed"); f != nil {
		if g, ok := f.Value.(flag.Getter); ok {
			seed, _ = g.Get().(uint64)
		}
	}
	for seed == 0 {
		seed = rand.Uint64()
	}
	return seed
}

// Rounds calls do for one round after the other, for as long or as often as the flags say, until five have failed. do
// returns false for a failed round. It prints how to repeat.
func Rounds(t *testing.T, seed uint64, do func(t *testing.T, number uint64) bool) {
	fmt.Fprintf(os.Stderr, "chaos: %s -seed %d\n", t.Name(), seed)
	start := time.Now()
	progress, failures := start, 0
	for number := *firstRound; failures < maxFailures; number++ {
		if n := number - *firstRound; *roundsLimit > 0 && n == *roundsLimit || *roundsLimit == 0 && n > 0 && time.Since(start) >= *duration {
			break
		}
		if time.Since(progress) >= progressInterval {
			progress = time.Now()
			fmt.Fprintf(os.Stderr, "chaos: round %d after %v\n", number, progress.Sub(start).Round(time.Second))
		}
		hangs := time.AfterFunc(maxRound, func() {
			debug.SetTraceback("all")
			panic(fmt.Sprintf("chaos: round %d of seed %d has not ended after %v", number, seed, maxRound))
		})
		if !do(t, number) {
			failures++
			t.Logf("repeat with: go test -run '^%s$' -seed %d -chaos.round %d -chaos.rounds 1 -count 20 .", t.Name(), seed, number)
		}
		hangs.Stop()
	}
	t.Logf("-seed %d, %v", seed, time.Since(start).Round(time.Millisecond))
}

// Run runs rounds on fake clocks. The seed and the number of a round decide everything but the schedule of the goroutines;
// -count repeats a round under other schedules.
func Run(t *testing.T, subject Subject) {
	seed := Seed()
	total := newTotals()
	Rounds(t, seed, func(t *testing.T, number uint64) bool {
		r := &round{seed: seed, number: number, subject: subject}
		problems := r.check(t)
		total.add(r, problems)
		if len(problems) > 0 {
			t.Errorf("%v\n\t%s\n\t(%d in all)", r, strings.Join(problems[:min(len(problems), maxProblems)], "\n\t"), len(problems))
		}
		return len(problems) == 0
	})
	t.Log(total)
}

// check runs a round and checks it.
func (r *round) check(t *testing.T) (problems []string) {
	failed := t.Failed()
	synctest.Test(t, r.run)
	if r.life == nil || t.Failed() && !failed {
		return []string{"the round did not run"}
	}
	problems, r.exact = Check(r.record)
	return problems
}

// totals are what all rounds were together.
type totals struct {
	rounds, failures, violations                         int
	lossless, exact, payloads, refusals, requests        int
	received, delivered                                  int64
	messages, partitions, dropped, faults, damages, late map[string]int
	// stored are rounds with storage, lives their processes, died those that did, and recovered the samples that others had left.
	stored, lives, died int
	recovered           int64
	simulated           time.Duration
}

func newTotals() *totals {
	m := func() map[string]int { return make(map[string]int) }
	return &totals{messages: m(), partitions: m(), dropped: m(), faults: m(), damages: m(), late: m()}
}

func (s *totals) add(r *round, problems []string) {
	s.rounds++
	if len(problems) > 0 {
		s.failures++
		s.violations += len(problems)
	}
	if r.life == nil {
		return
	}
	if r.record.Lossless {
		s.lossless++
	}
	if r.exact {
		s.exact++
	}
	s.messages[map[bool]string{false: "1.0", true: "2.0"}[r.settings.V2]]++
	s.partitions[fmt.Sprintf("%03d", r.settings.Partitions)]++
	s.late[r.settings.OutOfOrder]++
	s.simulated += r.took
	if len(r.record.Lives) > 0 {
		s.stored++
	}
	for _, life := range r.record.Lives {
		s.lives++
		if life.Died {
			s.died++
		}
	}
	for _, c := range r.record.Calls {
		if c.Err == nil {
			s.payloads++
		} else {
			s.refusals++
		}
	}
	a := r.record.final()
	s.received += a.Values["received_samples"]
	s.delivered += a.Values["delivered_samples"]
	s.recovered += a.Values["recovered_samples"]
	for key, n := range a.Dropped {
		s.dropped[key.Reason] += int(n)
	}
	s.requests += len(r.record.Exchanges)
	for kind, n := range r.faults.injected {
		s.faults[kind] += n
	}
	for _, p := range r.payloads {
		for kind, n := range p.damages {
			s.damages[kind] += n
		}
	}
}

func (s *totals) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d rounds (%d lossless, %d exactly predictable), %v of simulated time\n", s.rounds, s.lossless, s.exact, s.simulated.Round(time.Second))
	fmt.Fprintf(&b, "messages: %s; partitions: %s; out_of_order: %s\n", counts(s.messages), counts(s.partitions), counts(s.late))
	fmt.Fprintf(&b, "%d payloads accepted, %d refused; errors in them: %s\n", s.payloads, s.refusals, counts(s.damages))
	fmt.Fprintf(&b, "%d samples received, %d delivered; dropped: %s\n", s.received, s.delivered, counts(s.dropped))
	fmt.Fprintf(&b, "%d requests; faults: %s\n", s.requests, counts(s.faults))
	fmt.Fprintf(&b, "%d rounds with storage, %d processes, of which %d died; %d samples recovered\n", s.stored, s.lives, s.died, s.recovered)
	fmt.Fprintf(&b, "%d violations in %d rounds", s.violations, s.failures)
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
