package integration

import (
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.uber.org/zap/zapcore"

	"github.com/orderedremotewrite/orderedremotewriteexporter/integration/internal/promserver"
	"github.com/orderedremotewrite/orderedremotewriteexporter/integration/internal/rig"
)

// rejected is the drop of what Prometheus refuses for its order or time.
var rejected = rig.Drop{Reason: "rejected", Status: http.StatusBadRequest}

// gauges returns a payload with n series of one sample each. at gives the time of a series' sample.
func gauges(n int, at func(i int) time.Time) *rig.Payload {
	p := rig.NewPayload()
	points := p.Add("value").SetEmptyGauge().DataPoints()
	points.EnsureCapacity(n)
	for i := range n {
		dp := points.AppendEmpty()
		dp.SetTimestamp(timestamp(at(i)))
		dp.SetIntValue(int64(i))
		dp.Attributes().PutStr("series", strconv.Itoa(i))
	}
	return p
}

// allAt is the time of each series in gauges.
func allAt(at time.Time) func(int) time.Time {
	return func(int) time.Time { return at }
}

// droppedLines returns the log's entries about drops of a reason, with their fields.
func droppedLines(exporter *rig.Exporter, reason string) []map[string]any {
	var lines []map[string]any
	for _, entry := range exporter.Logs.FilterMessage("Dropped samples.").All() {
		if fields := entry.ContextMap(); fields["reason"] == reason {
			fields["level"] = entry.Level
			lines = append(lines, fields)
		}
	}
	return lines
}

// In 1.0 Prometheus refuses the whole request that an out-of-order sample is in; in 2.0 it takes the rest, and says how
// much that is. The requests before and after are none the worse for it.
func TestPrometheusOutOfOrderSampleCostsOnlyItsOwnRequest(t *testing.T) {
	inBothVersions(t, func(t *testing.T, v version) {
		now := start()
		server := promserver.Start(t)
		exporter := rig.Start(t, server.Endpoint(), v.config, "partitions: 1")
		exporter.SendAndSettle(gauges(10, allAt(now)).Metrics)
		exporter.SendAndSettle(gauges(10, func(i int) time.Time {
			if i == 7 {
				return now.Add(-time.Minute)
			}
			return now.Add(15 * time.Second)
		}).Metrics)
		exporter.SendAndSettle(gauges(10, allAt(now.Add(30*time.Second))).Metrics)

		accounts := exporter.Close()
		assert.Equal(t, map[rig.Drop]int64{rejected: pick[int64](v, 10, 1)}, accounts.Dropped)
		assert.Equal(t, pick[int64](v, 20, 29), accounts.Delivered)
		assert.Equal(t, map[int]int64{http.StatusNoContent: 2, http.StatusBadRequest: 1}, accounts.Requests)
		assertStored(t, server, accounts)
		for _, series := range server.Series("value") {
			kept := pick(v, 2, 3)
			if v.v2 && series.Labels.Get("series") == "7" {
				kept = 2
			}
			require.Len(t, series.Samples, kept, series.Labels)
			assert.Equal(t, now, series.Samples[0].Time)
			assert.Equal(t, now.Add(30*time.Second), series.Samples[kept-1].Time)
		}
	})
}

// The request of another partition is another request.
func TestPrometheusOutOfOrderSampleCostsNothingInOtherPartitions(t *testing.T) {
	inBothVersions(t, func(t *testing.T, v version) {
		const n, bad = 800, 123
		now := start()
		server := promserver.Start(t)
		exporter := rig.Start(t, server.Endpoint(), v.config, "partitions: 8")
		exporter.SendAndSettle(gauges(n, allAt(now)).Metrics)
		exporter.SendAndSettle(gauges(n, func(i int) time.Time {
			if i == bad {
				return now.Add(-time.Minute)
			}
			return now.Add(15 * time.Second)
		}).Metrics)

		accounts := exporter.Close()
		refused := server.Answered(http.StatusBadRequest)
		require.Len(t, refused, 1)
		lost := pick(v, server.Message(&refused[0]).Samples(), 1)
		assert.Equal(t, map[rig.Drop]int64{rejected: int64(lost)}, accounts.Dropped)
		assert.Less(t, lost, n/4)
		assert.Equal(t, int64(2*n-lost), accounts.Delivered)
		assertStored(t, server, accounts)
	})
}

// What is logged of a drop is what somebody must know to find its cause: how much, why, in Prometheus's own words, and
// for example which series.
func TestPrometheusDropIsLoggedWithTheWordsOfPrometheus(t *testing.T) {
	inBothVersions(t, func(t *testing.T, v version) {
		now := start()
		server := promserver.Start(t)
		exporter := rig.Start(t, server.Endpoint(), v.config, "partitions: 1")
		exporter.SendAndSettle(gauges(3, allAt(now)).Metrics)
		exporter.SendAndSettle(gauges(3, allAt(now.Add(-time.Second))).Metrics)
		exporter.Close()

		lines := droppedLines(exporter, "rejected")
		require.Len(t, lines, 1)
		refused := server.Answered(http.StatusBadRequest)
		require.Len(t, refused, 1)
		assert.Equal(t, pick(v, "out of order sample\n", `out of order sample for series {__name__="value", series="0"}
out of order sample for series {__name__="value", series="1"}
out of order sample for series {__name__="value", series="2"}
`), refused[0].Answer)
		assert.Equal(t, map[string]any{
			"level":                           zapcore.WarnLevel,
			"reason":                          "rejected",
			"dropped_samples":                 int64(3),
			"dropped_samples_since_last_line": int64(0),
			"status":                          int64(http.StatusBadRequest),
			"answer":                          "endpoint answered 400 Bad Request: " + strings.TrimSpace(refused[0].Answer),
			"first_series":                    `value{series="0"}`,
			"partition":                       int64(0),
		}, lines[0])
	})
}

// The numbers of the drops in the log add up to those of the counter, although there are fewer lines than drops.
func TestPrometheusDropsInTheLogAddUpToTheCounter(t *testing.T) {
	inBothVersions(t, func(t *testing.T, v version) {
		const drops = 5
		now := start()
		server := promserver.Start(t)
		exporter := rig.Start(t, server.Endpoint(), v.config, "partitions: 1")
		exporter.SendAndSettle(gauges(3, allAt(now)).Metrics)
		for i := range drops {
			exporter.SendAndSettle(gauges(3, allAt(now.Add(-time.Duration(i+1)*time.Second))).Metrics)
		}
		accounts := exporter.Close()
		assert.Equal(t, map[rig.Drop]int64{rejected: 3 * drops}, accounts.Dropped)
		var logged int64
		lines := droppedLines(exporter, "rejected")
		for _, line := range lines {
			for _, field := range []string{"dropped_samples", "dropped_samples_since_last_line"} {
				if n, ok := line[field]; ok {
					logged += n.(int64)
				}
			}
		}
		assert.Equal(t, int64(3*drops), logged)
		assert.Len(t, lines, 2, "one at once, and one at the end")
	})
}

// outOfOrderIn writes n series, and then all of them again, where the bad ones have a sample that is older than their
// first.
func outOfOrderIn(t *testing.T, v version, n int, bad map[int]bool, config string) (*promserver.Server, *rig.Exporter, rig.Accounts) {
	t.Helper()
	now := start()
	server := promserver.Start(t)
	exporter := rig.Start(t, server.Endpoint(), v.config, "{partitions: 1, batch: {max_samples: 2000}}", config)
	exporter.SendAndSettle(gauges(n, allAt(now)).Metrics)
	exporter.SendAndSettle(gauges(n, func(i int) time.Time {
		if bad[i] {
			return now.Add(-time.Duration(1+i) * time.Second)
		}
		return now.Add(15 * time.Second)
	}).Metrics)
	accounts := exporter.Close()
	assertStored(t, server, accounts)
	assert.Equal(t, int64(2*n), accounts.Received)
	return server, exporter, accounts
}

// spread returns n numbers under end, evenly spread.
func spread(n, end int) map[int]bool {
	numbers := map[int]bool{}
	for i := range n {
		numbers[i*end/n+end/(2*n)] = true
	}
	return numbers
}

// One batch of a thousand series has samples that are out of order. What that costs is a matter of the configuration, and
// the counters say exactly what.
func TestPrometheusOutOfOrderSamplesInABatchOfAThousandSeries(t *testing.T) {
	inBothVersions(t, func(t *testing.T, v version) {
		const n = 1000
		for _, tc := range []struct {
			bad int
			// most is the bound on requests: each bad sample is found by halving, in two requests at each step.
			most int
		}{
			{bad: 1, most: 1 + 2*10},
			{bad: 10, most: 1 + 2*(1+2+4+8) + 2*10*7},
		} {
			bad := spread(tc.bad, n)
			require.Len(t, bad, tc.bad)
			t.Run(fmt.Sprintf("the guard drops %d before they are sent", tc.bad), func(t *testing.T) {
				server, exporter, accounts := outOfOrderIn(t, v, n, bad, "out_of_order: drop")
				assert.Equal(t, map[rig.Drop]int64{{Reason: "out_of_order"}: int64(tc.bad)}, accounts.Dropped)
				assert.Equal(t, map[int]int{http.StatusNoContent: 2}, server.Statuses())
				lines := droppedLines(exporter, "out_of_order")
				require.Len(t, lines, 1)
				assert.Equal(t, int64(tc.bad), lines[0]["dropped_samples"])
				assert.Regexp(t, `^value\{series="\d+"\}$`, lines[0]["example"])
			})
			t.Run(fmt.Sprintf("isolation costs only %d", tc.bad), func(t *testing.T) {
				server, exporter, accounts := outOfOrderIn(t, v, n, bad, "on_error: {rejected: isolate}")
				assert.Equal(t, map[rig.Drop]int64{rejected: int64(tc.bad)}, accounts.Dropped)
				spent := len(server.Requests()) - 1
				t.Logf("%d of %d samples isolated in %d requests", tc.bad, n, spent)
				// In 2.0 there is nothing to isolate: the answer says how many samples are stored.
				assert.LessOrEqual(t, spent, pick(v, tc.most, 1))
				assert.NotEmpty(t, droppedLines(exporter, "rejected"))
				for _, series := range server.Series("value") {
					i, err := strconv.Atoi(series.Labels.Get("series"))
					require.NoError(t, err)
					if bad[i] {
						assert.Len(t, series.Samples, 1, series.Labels)
					} else {
						assert.Len(t, series.Samples, 2, series.Labels)
					}
				}
			})
			t.Run(fmt.Sprintf("without either %d cost the batch in 1.0", tc.bad), func(t *testing.T) {
				server, _, accounts := outOfOrderIn(t, v, n, bad, "on_error: {rejected: discard}")
				assert.Equal(t, map[rig.Drop]int64{rejected: pick(v, n, int64(tc.bad))}, accounts.Dropped)
				assert.Equal(t, map[int]int{http.StatusNoContent: 1, http.StatusBadRequest: 1}, server.Statuses())
			})
		}
	})
}

// When everything is refused, isolation ends at its bound, and what it did not look at is counted as that.
func TestPrometheusIsolationIsBounded(t *testing.T) {
	inBothVersions(t, func(t *testing.T, v version) {
		const n = 1000
		all := map[int]bool{}
		for i := range n {
			all[i] = true
		}
		server, _, accounts := outOfOrderIn(t, v, n, all, "on_error: {rejected: isolate, max_isolation_requests: 100}")
		if v.v2 {
			assert.Equal(t, map[rig.Drop]int64{rejected: n}, accounts.Dropped)
			assert.Len(t, server.Requests(), 2)
			return
		}
		assert.LessOrEqual(t, len(server.Requests())-1, 100)
		limit := accounts.Dropped[rig.Drop{Reason: "isolation_limit", Status: http.StatusBadRequest}]
		assert.Equal(t, int64(n), accounts.Dropped[rejected]+limit)
		assert.Positive(t, limit)
	})
}

// The exact outcome of each kind of sample that Prometheus treats in its own way, alone among ten good ones.
func TestPrometheusRefusesSamplesOfOddTimes(t *testing.T) {
	inBothVersions(t, func(t *testing.T, v version) {
		now := start()
		for _, tc := range []struct {
			name string
			odd  func(*rig.Payload)
			// answer is what Prometheus says, or "" if it takes the sample.
			answer string
			stored int
		}{
			{
				name:   "another value for the same time",
				odd:    func(p *rig.Payload) { p.Gauge("odd", now, 2) },
				answer: fmt.Sprintf("duplicate sample for timestamp %d; overrides not allowed: existing 1, new value 2", now.UnixMilli()),
				stored: 1,
			},
			{
				name:   "the same value for the same time",
				odd:    func(p *rig.Payload) { p.Gauge("odd", now, 1) },
				stored: 1,
			},
			{
				name:   "older than the last one",
				odd:    func(p *rig.Payload) { p.Gauge("odd", now.Add(-time.Millisecond), 2) },
				answer: "out of order sample",
				stored: 1,
			},
			{
				name:   "older than the storage's first hour",
				odd:    func(p *rig.Payload) { p.Gauge("new", now.Add(-2*time.Hour), 2) },
				answer: "out of bounds",
				stored: 1,
			},
			{
				name:   "far in the future",
				odd:    func(p *rig.Payload) { p.Gauge("odd", time.Now().Add(11*time.Minute), 2) },
				answer: "out of bounds: timestamp is too far in the future",
				stored: 1,
			},
			{
				name:   "near in the future",
				odd:    func(p *rig.Payload) { p.Gauge("odd", time.Now().Add(9*time.Minute), 2) },
				stored: 2,
			},
		} {
			t.Run(tc.name, func(t *testing.T) {
				server := promserver.Start(t)
				exporter := rig.Start(t, server.Endpoint(), v.config, "{partitions: 1, on_error: {rejected: isolate}}")
				exporter.SendAndSettle(gauges(10, allAt(now)).Gauge("odd", now, 1).Metrics)
				p := gauges(10, allAt(now.Add(time.Second)))
				tc.odd(p)
				exporter.SendAndSettle(p.Metrics)

				accounts := exporter.Close()
				odd := 0
				for _, series := range server.Series(`{__name__=~"odd|new"}`) {
					odd += len(series.Samples)
				}
				assert.Equal(t, tc.stored, odd)
				for _, series := range server.Series("value") {
					assert.Len(t, series.Samples, 2, series.Labels)
				}
				if tc.answer == "" {
					assert.Empty(t, accounts.Dropped)
					assert.Equal(t, int64(22), accounts.Delivered)
					return
				}
				assert.Equal(t, map[rig.Drop]int64{rejected: 1}, accounts.Dropped)
				assert.Equal(t, int64(21), accounts.Delivered)
				lines := droppedLines(exporter, "rejected")
				require.Len(t, lines, 1)
				answer := "endpoint answered 400 Bad Request: " + tc.answer
				if v.v2 {
					assert.Regexp(t, "^"+regexp.QuoteMeta(answer)+` for series \{__name__="(odd|new)"\}$`, lines[0]["answer"])
				} else {
					assert.Equal(t, answer, lines[0]["answer"])
				}
			})
		}
	})
}

// Prometheus looks at the order of samples within a request only when it has answered: it drops what is out of order
// without a word. The guard is the only one that counts such a sample.
func TestPrometheusLosesWithinARequestWhatOnlyTheGuardCounts(t *testing.T) {
	inBothVersions(t, func(t *testing.T, v version) {
		now := start()
		backwards := func() *rig.Payload {
			return rig.NewPayload().Gauge("value", now.Add(time.Second), 2).Gauge("value", now, 1)
		}
		for guard, expected := range map[string]struct {
			delivered int64
			dropped   map[rig.Drop]int64
		}{
			"send": {2, map[rig.Drop]int64{}},
			"drop": {1, map[rig.Drop]int64{{Reason: "out_of_order"}: 1}},
		} {
			t.Run(guard, func(t *testing.T) {
				server := promserver.Start(t)
				exporter := rig.Start(t, server.Endpoint(), v.config, "out_of_order: "+guard)
				exporter.Send(backwards().Metrics)
				accounts := exporter.Close()
				assert.Equal(t, expected.delivered, accounts.Delivered)
				assert.Equal(t, expected.dropped, accounts.Dropped)
				assert.Equal(t, map[int]int{http.StatusNoContent: 1}, server.Statuses())
				assertSeries(t, server, "value", `{__name__="value"}`, sample(now.Add(time.Second), 2))
			})
		}
	})
}

// max_age keeps away from Prometheus what it would refuse as too old.
func TestPrometheusIsNotSentSamplesOverTheMaximumAge(t *testing.T) {
	inBothVersions(t, func(t *testing.T, v version) {
		now := start()
		server := promserver.Start(t)
		exporter := rig.Start(t, server.Endpoint(), v.config, "{partitions: 1, queue: {max_age: 30m}}")
		exporter.SendAndSettle(gauges(10, allAt(now)).Metrics)
		exporter.SendAndSettle(gauges(10, allAt(now.Add(time.Second))).Gauge("old", now.Add(-2*time.Hour), 1).Metrics)
		accounts := exporter.Close()
		assert.Equal(t, map[rig.Drop]int64{{Reason: "too_old"}: 1}, accounts.Dropped)
		assert.Equal(t, map[int]int{http.StatusNoContent: 2}, server.Statuses())
		assertStored(t, server, accounts)
	})
}
