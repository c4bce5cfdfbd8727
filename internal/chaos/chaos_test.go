// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

var _ = flag.Uint64("seed", 0, "seed of the randomised tests; 0 takes a new one")

// fakeRound is a round with a fake, whose configuration is one that the fake knows.
func fakeRound(seed, number uint64, b breakage, change func(*round)) *round {
	r := &round{seed: seed, number: number}
	r.subject = Subject{
		Factory: fakeFactory(b, func() *Settings { return r.settings }),
		Rules:   Rules{OutOfOrder: []string{"send", "drop", "separate"}},
	}
	r.change = func(r *round) {
		rnd := rand.New(rand.NewPCG(seed, number^1))
		*r.settings = Settings{
			Timeout: 5 * time.Second, Strategy: "UnderscoreEscapingWithSuffixes", DisableScopeInfo: true, MetadataInterval: time.Minute,
			Partitions: pick(rnd, 1, 2, 32, 256), MaxSamples: 4 + rnd.IntN(20), MaxSizeBytes: 3_000_000, FlushTimeout: time.Second,
			QueueSizeBytes: 1 << 30, OnFull: block, BlockTimeout: time.Hour,
			RetryEnabled: true, MaxRetryAfter: time.Minute, RetryOn429: true, RetriesExhausted: discard, Fatal: discard, Rejected: discard,
			OutOfOrder: r.settings.OutOfOrder, SeriesIdleTimeout: 1000 * time.Hour, ShutdownTimeout: 24 * time.Hour,
		}
		f := r.faults
		f.odds = []odds{{"5xx", 60}, {"stored 5xx", 20}, {"429", 60}, {"reset", 30}, {"dropped answer", 30}, {"hang", 10}}
		f.outages, f.poison, f.maxSamples, f.lie, f.silent, f.unreadable = nil, 0, 0, 0, 0, ""
		f.hugeBody, f.slowBody = 0, 0
		f.maxLatency = 200 * time.Millisecond
		r.record.Lossless, r.abrupt, r.impatient, r.wild = true, false, false, false
		r.options.Kinds = []pmetric.MetricType{pmetric.MetricTypeGauge}
		r.options.Simple = true
		if change != nil {
			change(r)
		}
	}
	return r
}

// lossy lets the receiver refuse.
func lossy(r *round) {
	r.record.Lossless = false
	r.faults.odds = append(r.faults.odds, odds{"4xx", 100})
}

// outOfOrder sets the option, and lets producers be late.
func outOfOrder(value string) func(*round) {
	return func(r *round) {
		r.settings.OutOfOrder = value
		r.options.Late = true
	}
}

// TestHonest runs an exporter that keeps all promises: no check complains.
func TestHonest(t *testing.T) {
	seed := Seed()
	t.Logf("repeat with: go test -run '^TestHonest$' -seed %d", seed)
	for _, rule := range []string{"send", "drop", "separate"} {
		for number := range uint64(8) {
			for name, change := range map[string]func(*round){
				"lossless": outOfOrder(rule), "lossy": func(r *round) { lossy(r); outOfOrder(rule)(r) },
			} {
				r := fakeRound(seed, number, "", change)
				require.Empty(t, r.check(t), "round %d, %s, %s\n%v", number, rule, name, r)
				assert.NotEmpty(t, r.record.Exchanges)
			}
		}
	}
}

// TestChecks breaks each promise on purpose, and sees which check says so.
func TestChecks(t *testing.T) {
	tests := []struct {
		breaks breakage
		change func(*round)
		// says is part of what must be found, in one of a few rounds.
		says string
	}{
		{"newest first", nil, "samples out of order"},
		{"overtaken by a retry", nil, "had its outcome before"},
		{"busy is ignored", nil, "was in flight, with samples of"},
		{"busy is ignored", nil, "receiver: request"},
		{"sends again", nil, "had its outcome before"},
		{"retries are other requests", nil, "sends again other bytes"},
		{"damages a value", nil, "has a sample that was not accepted"},
		{"damages a label", nil, "has a series of which nothing was accepted"},
		{"refused is kept", nil, "has a sample that was not accepted"},
		{"refused is not counted", nil, "are counted as refused"},
		{"loses a payload", nil, "were never sent"},
		{"loses a payload", nil, "are counted as received"},
		{"gives up", nil, "where nothing can be lost"},
		{"gives up", nil, "was not delivered"},
		{"miscounts", nil, "received is not delivered + dropped + queued + in flight"},
		{"miscounts", nil, "are counted as delivered"},
		{"in flight is forgotten", nil, "were counted as in flight"},
		{"in flight is forgotten", nil, "were acknowledged at that time"},
		{"losses count as delivered", lossy, "were acknowledged"},
		{"wrong reason", lossy, "are counted as fatal with status"},
		{"wrong status", lossy, "than are counted"},
		{"log is incomplete", lossy, "the log tells of"},
		{"standard metrics differ", lossy, "send_failed_metric_points is"},
		{"a counter goes back", nil, "refused_samples went from"},
		{"queue over its bound", nil, "bytes of 1"},
		{"requests are too large", nil, "has more than"},
		{"Retry-After is ignored", nil, "which asked for"},
		{"sleeps", nil, "although nothing else was under way"},
		{"callers wait for ever", nil, "ConsumeMetrics took"},
		{"refused is not counted", nil, "for space"},
		{"refused is not counted", func(r *round) { r.settings.OnFull = dropOldest }, "ConsumeMetrics refused a payload, with on_full drop_oldest"},
		{"drop sends", outOfOrder("drop"), "has a sample that was not accepted"},
		{"late goes along", outOfOrder("separate"), "goes back in time from"},
		{"the shutdown takes too long", nil, "the shutdown took"},
		{"goes on after the end", nil, "after the shutdown"},
		{"stops the collector", nil, "1 fatal errors are reported"},
	}
	seed := Seed()
	t.Logf("repeat with: go test -run '^TestChecks$' -seed %d", seed)
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%s: %s", tt.breaks, tt.says), func(t *testing.T) {
			var found []string
			for number := range uint64(200) {
				problems := fakeRound(seed, number, tt.breaks, tt.change).check(t)
				if said(problems, tt.says) {
					return
				}
				found = append(found, problems...)
			}
			t.Errorf("not found, but:\n\t%s", strings.Join(found[:min(10, len(found))], "\n\t"))
		})
	}
}

func said(problems []string, what string) bool {
	for _, p := range problems {
		if strings.Contains(p, what) {
			return true
		}
	}
	return false
}

// TestBusy is the one rule on which order hangs, with any number of partitions.
func TestBusy(t *testing.T) {
	seed := Seed()
	t.Logf("repeat with: go test -run '^TestBusy$' -seed %d", seed)
	for _, partitions := range []int{1, 2, 32, 256} {
		t.Run(fmt.Sprint(partitions), func(t *testing.T) {
			change := func(r *round) { r.settings.Partitions = partitions }
			broken := 0
			for number := range uint64(10) {
				require.Empty(t, fakeRound(seed, number, "", change).check(t), "round %d", number)
				if said(fakeRound(seed, number, "busy is ignored", change).check(t), "was in flight") {
					broken++
				}
			}
			assert.NotZero(t, broken, "rounds in which it shows that the busy state is ignored")
		})
	}
}
