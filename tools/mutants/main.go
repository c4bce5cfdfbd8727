// SPDX-License-Identifier: Apache-2.0

// Mutants breaks the exporter on purpose, in one place at a time, and sees the tests fail that guard what is broken. The tree is left
// alone: the compiler is given other contents for the file.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// mutant is one way to break the exporter.
type mutant struct {
	name, file string
	// replace are pairs of what stands in the file and what it becomes.
	replace [][2]string
	// tests must fail, each by itself.
	tests []guard
}

// guard is a test that must fail, and a pattern of what it must say.
type guard struct{ test, says string }

// ofEach are the guards that are the same test with each number of partitions.
func ofEach(test, says string) (guards []guard) {
	for _, partitions := range []string{"1", "2", "32", "256"} {
		guards = append(guards, guard{test + "/" + partitions, says})
	}
	return guards
}

func concat(lists ...[]guard) (all []guard) {
	for _, l := range lists {
		all = append(all, l...)
	}
	return all
}

var mutants = []mutant{
	{
		name: "the busy state is ignored", file: "scheduler.go",
		replace: [][2]string{
			{"\t\tif p.busy {\n\t\t\tcontinue\n\t\t}\n", ""},
			{"if p.busy || p.suspect ||", "if p.suspect ||"},
		},
		tests: concat(
			[]guard{{"TestSchedulerModel", "is busy, and is claimed"}},
			ofEach("TestOrderWithPartitions", "Should be empty"),
			ofEach("TestOneInFlightWithPartitions", "before .* had its outcome"),
			ofEach("TestIdentityWithPartitions", "Should be empty"),
			ofEach("TestChaosWithPartitions", "was in flight, with samples of|had its outcome before|samples out of order"),
		),
	},
	{
		name: "a request takes all partitions", file: "scheduler.go",
		replace: [][2]string{{"return max(len(s.partitions)/2, 1)", "return len(s.partitions)"}},
		tests:   []guard{{"TestSchedulerModel", "half of the partitions at most"}},
	},
	{
		name: "a suspect travels with others", file: "scheduler.go",
		replace: [][2]string{
			{"if p.busy || p.suspect ||", "if p.busy ||"},
			{"|| first.suspect ||", "||"},
		},
		tests: []guard{{"TestSchedulerModel", "suspects travel alone"}},
	},
	{
		name: "recovered samples travel with others", file: "scheduler.go",
		replace: [][2]string{{"b.protocol == protocol && b.life > 0 == recovered", "b.protocol == protocol && (recovered || true)"}},
		tests:   []guard{{"TestSchedulerModel", "recovered samples travel with recovered ones"}},
	},
	{
		name: "the gate is ignored", file: "scheduler.go",
		replace: [][2]string{{"now.Before(opens)", "now.Before(opens) && len(s.partitions) == 0"}},
		tests:   []guard{{"TestSchedulerModel", "the gate (is open|opens)"}},
	},
	{
		name: "the limit is ignored", file: "scheduler.go",
		replace: [][2]string{{"if s.inFlight >= s.places() {", "if s.inFlight >= 2*s.places() {"}},
		tests:   []guard{{"TestSchedulerModel", "a place is free"}},
	},
	{
		name: "full requests wait for the flush timeout", file: "scheduler.go",
		replace: [][2]string{{"if first == nil && open.fill(s.limits, s.most()) {", "if false {"}},
		tests:   []guard{{"TestSchedulerModel", "a full request's worth waits"}},
	},
	{
		name: "nobody asks again", file: "scheduler.go",
		replace: [][2]string{{"\t\t\twake = earliest(wake, at)\n", ""}},
		tests:   []guard{{"TestSchedulerModel", "the scheduler must be asked again"}},
	},
	{
		name: "retries wait for new requests", file: "scheduler.go",
		replace: [][2]string{
			{"if retry != nil && s.gate.retriesFirst() {", "if retry != nil && false {"},
			{"if d == nil && retry != nil {", "if d == nil && retry != nil && wake.IsZero() {"},
		},
		tests: []guard{{"TestSchedulerModel", "a retry is due"}},
	},
	{
		name: "late samples do not wait for good samples before them", file: "partition.go",
		replace: [][2]string{{"return b.number\n", "return math.MaxUint64\n"}},
		tests:   []guard{{"TestSchedulerModel", "good samples that were accepted before late ones"}},
	},
	{
		name: "late samples wait for good samples behind them", file: "partition.go",
		replace: [][2]string{{"\t\tc.after = p.numbered\n", "\t\tfor _, o := range append(b.chunks, c) {\n\t\t\to.after = p.numbered\n\t\t}\n"}},
		tests:   []guard{{"TestLateSamplesDoNotWaitForNewerOnes", "Should be true"}},
	},
	{
		name: "late samples have the whole limit", file: "scheduler.go",
		replace: [][2]string{{"s.lateInFlight < max(s.places()/8, 1) ||", "s.lateInFlight < s.places() ||"}},
		tests: []guard{
			{"TestSchedulerModel", "late samples have an eighth of the limit"},
			{"TestLateSamplesHaveAnEighth", "an eighth of 32"},
		},
	},
	{
		name: "late samples have each turn of their partition", file: "scheduler.go",
		replace: [][2]string{{" && !(p.lateBefore && s.due(&p.good, now))", ""}},
		tests:   []guard{{"TestLateSamplesTakeTurns/one partition of many", "Not equal"}},
	},
	{
		name: "late samples have the only place", file: "scheduler.go",
		replace: [][2]string{{"if mayBeLate && s.lateBefore && s.places() == 1 {", "if false {"}},
		tests:   []guard{{"TestLateSamplesTakeTurns/one place", "Not equal"}},
	},
	{
		name: "new samples overtake old ones that come with them", file: "holds.go",
		replace: [][2]string{{"h.last, h.unsettled, h.sweepAt = nil, 0, 0", "h.last, h.unsettled, h.sweepAt = nil, settled, 0"}},
		tests:   []guard{{"TestSeriesIsHeldInsideAPayload", "Should be empty"}, {"TestOrderOfHeldSeries", "was accepted before that at"}},
	},
	{
		name: "recovered samples ahead of the clock are overtaken", file: "stored.go",
		replace: [][2]string{{"flags |= storedAhead", "flags |= 0"}},
		tests:   []guard{{"TestRecoveredSamplesAheadAreNotOvertaken", "Should be empty"}},
	},
	{
		name: "the last come is the first to leave", file: "lane.go",
		replace: [][2]string{{"\t\treturn l.sealed[0]\n", "\t\treturn l.sealed[len(l.sealed)-1]\n"}},
		tests:   []guard{{"TestSchedulerModel", "first in, first out|good samples that were accepted before late ones"}},
	},
	{
		name: "isolation has no budget", file: "isolation.go",
		replace: [][2]string{{"return false", "return true"}},
		tests:   []guard{{"TestIsolationBudget", "Not equal"}, {"TestIsolationIsBoundedOverTime", "is not less than or equal to"}},
	},
	{
		name: "offenders are not remembered", file: "offenders.go",
		replace: [][2]string{{"\to.refused[identity] = now.Sub(o.first)\n", "\t_, _ = identity, now\n"}},
		tests:   []guard{{"TestOffendersTravelApart", "no good sample pays for an offender"}},
	},
	{
		name: "offenders are never tried again", file: "offenders.go",
		replace: [][2]string{{"return ok && now.Sub", "return ok && false && now.Sub"}},
		tests:   []guard{{"TestOffendersThatAreGoodAgainAreFoundAmongOthers", "Should not be zero"}},
	},
	{
		name: "offenders fill the queue", file: "guard.go",
		replace: [][2]string{{"at: s.by[fateOffender], late: true, holds: true, optional: true,", "at: s.by[fateOffender], late: true, holds: true,"}},
		tests:   []guard{{"TestOffendersDoNotFillTheQueue", "queue is full"}},
	},
	{
		name: "a late sample is taken for a good one", file: "guard.go",
		replace: [][2]string{{"case order == lastseen.Older:\n\t\treturn fateLate", "case order == lastseen.Older:\n\t\treturn fateGood"}},
		tests:   []guard{{"TestGuard", "Not equal"}},
	},
	{
		name: "the size that passed is forgotten", file: "size_limit.go",
		replace: [][2]string{{"l.limits.MaxSizeBytes, l.changed = ByteSize(min(max(n, leastSize), l.ceiling)), now", "l.changed, _ = now, n"}},
		tests:   []guard{{"TestSizeThatPassedIsRemembered", "is not less than or equal to"}},
	},
	{
		name: "who reads ahead makes the log forget what is between", file: "internal/journal/read.go",
		replace: [][2]string{{"l.unknown.remove(span{from, next})", "l.unknown.remove(span{0, next})"}},
		tests:   []guard{{"TestBacklogBesideOtherPartitions", "storage_corrupt"}},
	},
	{
		name: "what a shutdown has aborted is acknowledged", file: "queue.go",
		replace: [][2]string{{"if q.durable != nil && !d.kept {", "if q.durable != nil {"}},
		tests:   []guard{{"TestChaosWithStorage", "accepted samples were not delivered|and the next one found|was not delivered"}},
	},
	{
		name: "the reader leaves out where it stopped", file: "backlog.go",
		replace: [][2]string{{"k.cursor >= from && k.cursor <= number &&", "k.cursor >= from && k.cursor < number &&"}},
		tests:   []guard{{"TestChaosWithStorage", "storage_corrupt|was not delivered|samples were dropped for|FAIL"}},
	},
	{
		name: "guards know nothing when the partitions are exchanged", file: "exchanger.go",
		replace: [][2]string{{"p.guard.inherit(guardsBefore(p.index, len(d.partitions), old))", "_ = p"}},
		tests:   []guard{{"TestExchangedGuardKnowsLastTimes", "duplicate"}},
	},
	{
		name: "partitions are exchanged although something is under way", file: "exchanger.go",
		replace: [][2]string{
			{"d.memory.used == 0 && !d.loading && len(d.commits) == 0 && d.log.Sizes().Samples == 0 && d.restsLocked()", "true"},
			{"!d.log.Restart(layoutOf(d.wanted, secret))", "d.log.Restart(layoutOf(d.wanted, secret)) && false"},
		},
		tests: []guard{{"TestPartitionsChangeWhileRunning", "panic|FAIL"}},
	},
	{
		name: "first series refer to the wrong bytes", file: "internal/block/joiner.go",
		replace: [][2]string{{"back := offset + r.at - r.from", "back := offset + r.at - r.from + 1"}},
		tests:   []guard{{"TestJoinedChunks", "golang/snappy|corrupt"}, {"TestBodiesKeepTheirBytes", "FAIL"}},
	},
	{
		name: "a follower copies what is beside its label", file: "followers.go",
		replace: [][2]string{{"m.leAt = m.nameAt + len(m.name.label) + ls.cut[1] - ls.cut[0]", "m.leAt = m.nameAt + len(m.name.label) + ls.cut[1] - ls.cut[0] + 1"}},
		tests:   []guard{{"TestFollowers", "golang/snappy|corrupt"}, {"TestBothMessagesSayTheSame", "the message as 1.0"}},
	},
	{
		name: "a follower is taken for its twin", file: "followers.go",
		replace: [][2]string{{"!bytes.Equal(sr.le.label, t.le) || ", ""}},
		tests:   []guard{{"TestFollowers", "golang/snappy|corrupt"}},
	},
	{
		name: "what is between plain bytes is not counted", file: "internal/block/inserts.go",
		replace: [][2]string{{"offset + s.places[len(s.places)-1].shift - s.places[i].shift", "offset"}},
		tests:   []guard{{"TestFollowers", "golang/snappy|corrupt"}},
	},
	{
		name: "payloads share their references", file: "internal/wire/part.go",
		replace: [][2]string{{"m.payloads.of(le.Uint64(part[8:]))", "m.payloads.of(1)"}},
		tests:   []guard{{"TestConformanceV2SeriesLabels", "FAIL"}, {"TestConformanceV2Samples", "FAIL"}},
	},
	{
		name: "a part lacks the symbols of what has changed", file: "segment.go",
		replace: [][2]string{{"s.table.UseRefs(m.refs[at : at+wire.DraftRefLen])", "_ = at"}},
		tests:   []guard{{"TestBodiesKeepTheirBytes", "FAIL"}},
	},
}

func main() {
	dir := flag.String("C", ".", "the exporter's directory")
	only := flag.String("run", "", "only mutants whose names match")
	flag.Parse()
	if err := run(*dir, *only); err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

func run(dir, only string) error {
	names, err := regexp.Compile(only)
	if err != nil {
		return fmt.Errorf("-run: %w", err)
	}
	root, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	temp, err := os.MkdirTemp("", "mutants")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	survived := 0
	for _, m := range mutants {
		if !names.MatchString(m.name) {
			continue
		}
		n, err := m.check(root, temp)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		survived += n
	}
	if survived > 0 {
		return fmt.Errorf("%d tests do not see what is broken", survived)
	}
	return nil
}

// check returns how many of the tests do not fail as they must.
func (m *mutant) check(root, temp string) (survived int, err error) {
	overlay, err := m.overlay(root, temp)
	if err != nil {
		return 0, err
	}
	fmt.Println(m.name)
	binary := filepath.Join(temp, "mutant.test")
	build := exec.Command("go", "test", "-c", "-vet=off", "-overlay", overlay, "-o", binary, ".")
	build.Dir = root
	if out, err := build.CombinedOutput(); err != nil {
		return 0, fmt.Errorf("%w\n%s", err, out)
	}
	for _, g := range m.tests {
		started := time.Now()
		pattern := "^" + strings.ReplaceAll(g.test, "/", "$/^") + "$"
		test := exec.Command(binary, "-test.run", pattern, "-test.failfast", "-chaos.duration", "20s")
		test.Dir = root
		out, err := test.CombinedOutput()
		var failed *exec.ExitError
		if err != nil && !errors.As(err, &failed) {
			return 0, err
		}
		verdict := "fails"
		switch {
		case err == nil:
			verdict = "PASSES"
			survived++
		case !regexp.MustCompile(g.says).Match(out):
			verdict = fmt.Sprintf("FAILS, BUT DOES NOT SAY %q:\n%.2000s", g.says, out)
			survived++
		}
		fmt.Printf("\t%s\t%s\t%.1f s\n", g.test, verdict, time.Since(started).Seconds())
	}
	return survived, nil
}

// overlay writes the broken file, and what tells the compiler to take it.
func (m *mutant) overlay(root, temp string) (path string, err error) {
	original := filepath.Join(root, m.file)
	source, err := os.ReadFile(original)
	if err != nil {
		return "", err
	}
	text := string(source)
	for _, r := range m.replace {
		if strings.Count(text, r[0]) != 1 {
			return "", fmt.Errorf("%s has %d times, not once: %s", m.file, strings.Count(text, r[0]), r[0])
		}
		text = strings.Replace(text, r[0], r[1], 1)
	}
	broken := filepath.Join(temp, filepath.Base(m.file))
	if err := os.WriteFile(broken, []byte(text), 0o600); err != nil {
		return "", err
	}
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {original: broken}})
	if err != nil {
		return "", err
	}
	path = filepath.Join(temp, "overlay.json")
	return path, os.WriteFile(path, overlay, 0o600)
}
