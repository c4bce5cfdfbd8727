// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"fmt"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/orderedremotewrite/orderedremotewriteexporter/integration/internal/promserver"
	"github.com/orderedremotewrite/orderedremotewriteexporter/integration/internal/rig"
)

// permutations returns all orders of the numbers.
func permutations(of []int) [][]int {
	if len(of) <= 1 {
		return [][]int{slices.Clone(of)}
	}
	var all [][]int
	for i := range of {
		rest := slices.Delete(slices.Clone(of), i, i+1)
		for _, p := range permutations(rest) {
			all = append(all, append([]int{of[i]}, p...))
		}
	}
	return all
}

// splits returns all ways to cut a list into runs.
func splits(of []int) [][][]int {
	if len(of) == 0 {
		return [][][]int{nil}
	}
	var all [][][]int
	for n := 1; n <= len(of); n++ {
		for _, rest := range splits(of[n:]) {
			all = append(all, append([][]int{of[:n]}, rest...))
		}
	}
	return all
}

// sampled is a payload with one sample at each of the times, in seconds after one, of a series; the values are those numbers.
func sampled(series string, from time.Time, seconds []int) pmetric.Metrics {
	p := rig.NewPayload()
	points := p.Add("value").SetEmptyGauge().DataPoints()
	for _, s := range seconds {
		dp := points.AppendEmpty()
		dp.SetTimestamp(timestamp(from.Add(time.Duration(s) * time.Second)))
		dp.SetIntValue(int64(s))
		dp.Attributes().PutStr("series", series)
	}
	return p.Metrics
}

// What is called delivered is stored, exactly, in whatever order the times of a series come and however they are split over
// payloads and requests, with the default configuration; and no series with good times loses anything by it.
func TestPrometheusTimesInAnyOrder(t *testing.T) {
	inBothVersions(t, func(t *testing.T, v version) {
		now := start()
		server := promserver.Start(t)
		exporter := rig.Start(t, server.Endpoint(), v.config)
		var last [][]pmetric.Metrics // by case, the payloads that follow
		n := 0
		for _, order := range permutations([]int{1, 2, 3}) {
			for _, payloads := range splits(order) {
				name := strconv.Itoa(n)
				n++
				var of []pmetric.Metrics
				for _, seconds := range payloads {
					of = append(of, sampled(name, now, seconds))
				}
				last = append(last, of)
			}
		}
		for i := range 3 {
			for _, of := range last {
				if i < len(of) {
					exporter.Send(of[i])
				}
			}
			exporter.Send(sampled("good", now, []int{i}))
			if i == 1 {
				exporter.Settle() // so that some of the rest goes into other requests
			}
		}
		accounts := exporter.Close()
		assertStored(t, server, accounts)
		assert.Zero(t, accounts.Dropped[rig.Drop{Reason: "duplicate"}])
		good := 0
		for _, series := range server.Series("value") {
			if series.Labels.Get("series") == "good" {
				good = len(series.Samples)
			}
		}
		assert.Equal(t, 3, good, "good samples are stored")
		t.Logf("%d cases, delivered %d, dropped %v", n, accounts.Delivered, accounts.Dropped)
	})
}

// Several values of one time, and times far ahead and far behind, among good samples: stored is delivered, and good samples are
// not lost.
func TestPrometheusHostileTimesHarmNoGoodSample(t *testing.T) {
	inBothVersions(t, func(t *testing.T, v version) {
		now := start()
		server := promserver.Start(t)
		exporter := rig.Start(t, server.Endpoint(), v.config)
		year := 365 * 24 * 3600
		const rounds, series = 5, 200
		for round := range rounds {
			all := pmetric.NewMetrics()
			for i := range series {
				sampled(fmt.Sprint("good ", i), now, []int{round}).ResourceMetrics().MoveAndAppendTo(all.ResourceMetrics())
				hostile := [][]int{{round, round, round}, {round + 20*60}, {round + year}, {round - 2*3600}, {round - year}, {5 - round}}[i%6]
				sampled(fmt.Sprint("bad ", i), now, hostile).ResourceMetrics().MoveAndAppendTo(all.ResourceMetrics())
			}
			exporter.Send(all)
		}
		accounts := exporter.Close()
		assertStored(t, server, accounts)
		stored := 0
		for _, s := range server.Series("value") {
			if name := s.Labels.Get("series"); len(name) > 5 && name[:5] == "good " {
				stored += len(s.Samples)
			}
		}
		assert.Equal(t, rounds*series, stored, "no good sample is lost")
		t.Logf("delivered %d, dropped %v", accounts.Delivered, accounts.Dropped)
	})
}

// Prometheus refuses what is an hour older than the newest sample that it has. A sample that is ahead of the clock, as far as a good one
// may be, does not make it refuse a good one.
func TestPrometheusGoodSamplesAreWithinAnHour(t *testing.T) {
	inBothVersions(t, func(t *testing.T, v version) {
		now := time.Now().Truncate(time.Second)
		server := promserver.Start(t)
		exporter := rig.Start(t, server.Endpoint(), v.config)
		exporter.SendAndSettle(sampled("ahead", now, []int{9*60 + 55}))
		for minute := 70; minute > 0; minute-- {
			exporter.Send(sampled(fmt.Sprint("behind ", minute), now, []int{-60 * minute}))
		}
		exporter.Send(sampled("good", now, []int{0}))
		accounts := exporter.Close()
		assertStored(t, server, accounts)
		var stored []string
		for _, s := range server.Series("value") {
			stored = append(stored, s.Labels.Get("series"))
		}
		assert.Contains(t, stored, "good")
		for minute := range 45 {
			if minute > 0 {
				assert.Contains(t, stored, fmt.Sprint("behind ", minute))
			}
		}
	})
}
