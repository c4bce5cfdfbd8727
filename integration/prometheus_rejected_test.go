// SPDX-License-Identifier: Apache-2.0

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
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
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

// mixed is a payload of n series with good samples, but for the bad ones, which are older than now.
func mixed(n int, now time.Time, bad map[int]bool) *rig.Payload {
	return gauges(n, func(i int) time.Time {
		if bad[i] {
			return now.Add(-time.Duration(1+i) * time.Second)
		}
		return now.Add(15 * time.Second)
	})
}

// restarted returns an exporter that knows nothing of what another one has delivered: with the queue, a restart forgets the
// last times of all series. So it cannot tell that a sample is late, and Prometheus must.
func restarted(t *testing.T, server *promserver.Server, before *rig.Payload, configs ...string) *rig.Exporter {
	t.Helper()
	first := rig.Start(t, server.Endpoint(), configs...)
	first.Send(before.Metrics)
	accounts := first.Close()
	require.Equal(t, accounts.Received, accounts.Delivered)
	assertStored(t, server, accounts)
	return rig.Start(t, server.Endpoint(), configs...)
}

// assertStoredBeside asserts that the storage holds what was delivered, beside what another exporter had.
func assertStoredBeside(t *testing.T, server *promserver.Server, before int, accounts rig.Accounts) {
	t.Helper()
	accounts.Delivered += int64(before)
	assertStored(t, server, accounts)
}

// A late sample travels in a request of its own, so that Prometheus refuses that sample and nothing else.
func TestPrometheusOutOfOrderSampleCostsOnlyItself(t *testing.T) {
	inBothVersions(t, func(t *testing.T, v version) {
		for _, outOfOrder := range []string{"separate", "send"} {
			t.Run(outOfOrder, func(t *testing.T) {
				now := start()
				server := promserver.Start(t)
				exporter := rig.Start(t, server.Endpoint(), v.config, "partitions: 1", "out_of_order: "+outOfOrder)
				exporter.SendAndSettle(gauges(10, allAt(now)).Metrics)
				exporter.SendAndSettle(mixed(10, now, map[int]bool{7: true}).Metrics)
				exporter.SendAndSettle(gauges(10, allAt(now.Add(30*time.Second))).Metrics)

				accounts := exporter.Close()
				assert.Equal(t, map[rig.Drop]int64{rejected: 1}, accounts.Dropped)
				assert.Equal(t, int64(29), accounts.Delivered)
				assert.Equal(t, map[int]int64{http.StatusNoContent: 3, http.StatusBadRequest: 1}, accounts.Requests)
				refused := server.Answered(http.StatusBadRequest)
				require.Len(t, refused, 1)
				assert.Equal(t, 1, server.Message(&refused[0]).Samples(), "samples in the request that is refused")
				assertStored(t, server, accounts)
				for _, series := range server.Series("value") {
					kept := 3
					if series.Labels.Get("series") == "7" {
						kept = 2
					}
					require.Len(t, series.Samples, kept, series.Labels)
					assert.Equal(t, now, series.Samples[0].Time)
					assert.Equal(t, now.Add(30*time.Second), series.Samples[kept-1].Time)
				}
			})
		}
	})
}

// After a restart the exporter cannot know that a sample is late. In 1.0 Prometheus refuses the whole request that it is in;
// in 2.0 it takes the rest, and says how much that is. The requests before and after are none the worse for it.
func TestPrometheusOutOfOrderSampleAfterARestartCostsOnlyItsOwnRequest(t *testing.T) {
	inBothVersions(t, func(t *testing.T, v version) {
		now := start()
		server := promserver.Start(t)
		exporter := restarted(t, server, gauges(10, allAt(now)), v.config, "partitions: 1")
		exporter.SendAndSettle(mixed(10, now, map[int]bool{7: true}).Metrics)
		exporter.SendAndSettle(gauges(10, allAt(now.Add(30*time.Second))).Metrics)

		accounts := exporter.Close()
		assert.Equal(t, map[rig.Drop]int64{rejected: pick[int64](v, 10, 1)}, accounts.Dropped)
		assert.Equal(t, pick[int64](v, 10, 19), accounts.Delivered)
		assert.Equal(t, map[int]int64{http.StatusNoContent: 1, http.StatusBadRequest: 1}, accounts.Requests)
		assertStoredBeside(t, server, 10, accounts)
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

// A request holds samples of many partitions. If it is refused they are all lost in 1.0; isolation takes it apart, by
// partition first, and loses only what is late.
func TestPrometheusOutOfOrderSampleAfterARestartIsIsolatedFromOtherPartitions(t *testing.T) {
	inBothVersions(t, func(t *testing.T, v version) {
		const n, bad = 800, 123
		for _, rejects := range []string{"discard", "isolate"} {
			t.Run(rejects, func(t *testing.T) {
				now := start()
				server := promserver.Start(t)
				exporter := restarted(t, server, gauges(n, allAt(now)), v.config, "partitions: 8",
					fmt.Sprintf("on_error: {rejected: %s}", rejects))
				exporter.SendAndSettle(mixed(n, now, map[int]bool{bad: true}).Metrics)

				accounts := exporter.Close()
				refused := server.Answered(http.StatusBadRequest)
				require.NotEmpty(t, refused)
				together := server.Message(&refused[0]).Samples()
				assert.Greater(t, together, n/4, "samples of many partitions in one request")
				lost := 1
				if rejects == "discard" {
					require.Len(t, refused, 1)
					lost = pick(v, together, 1)
				}
				assert.Equal(t, map[rig.Drop]int64{rejected: int64(lost)}, accounts.Dropped)
				assert.Equal(t, int64(n-lost), accounts.Delivered)
				assertStoredBeside(t, server, n, accounts)
			})
		}
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
			"hint":                            "Read the answer. on_error.rejected: isolate delivers the other samples of the request.",
			"see":                             "https://github.com/orderedremotewrite/orderedremotewriteexporter/blob/main/docs/metrics.md#reasons-for-drops",
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

// inOneRequest is a configuration with which a payload of a thousand series travels in one request.
const inOneRequest = "{partitions: 1, batch: {max_samples: 2000}}"

// outOfOrderIn writes n series, and then all of them again, where the bad ones have a sample that is older than their
// first.
func outOfOrderIn(t *testing.T, v version, n int, bad map[int]bool, config string) (*promserver.Server, *rig.Exporter, rig.Accounts) {
	t.Helper()
	now := start()
	server := promserver.Start(t)
	exporter := rig.Start(t, server.Endpoint(), v.config, inOneRequest, config)
	exporter.SendAndSettle(gauges(n, allAt(now)).Metrics)
	exporter.SendAndSettle(mixed(n, now, bad).Metrics)
	accounts := exporter.Close()
	assertStored(t, server, accounts)
	assert.Equal(t, int64(2*n), accounts.Received)
	return server, exporter, accounts
}

// outOfOrderAfterARestart does the same with a restart between the two, and returns the accounts of what follows it.
func outOfOrderAfterARestart(t *testing.T, v version, n int, bad map[int]bool, config string) (*promserver.Server, *rig.Exporter, rig.Accounts) {
	t.Helper()
	now := start()
	server := promserver.Start(t)
	exporter := restarted(t, server, gauges(n, allAt(now)), v.config, inOneRequest, config)
	exporter.SendAndSettle(mixed(n, now, bad).Metrics)
	accounts := exporter.Close()
	assertStoredBeside(t, server, n, accounts)
	assert.Equal(t, int64(n), accounts.Received)
	return server, exporter, accounts
}

// assertLacks asserts that each series has two samples, but for the bad ones, which have one.
func assertLacks(t *testing.T, server *promserver.Server, bad map[int]bool) {
	t.Helper()
	for _, series := range server.Series("value") {
		i, err := strconv.Atoi(series.Labels.Get("series"))
		require.NoError(t, err)
		if bad[i] {
			assert.Len(t, series.Samples, 1, series.Labels)
		} else {
			assert.Len(t, series.Samples, 2, series.Labels)
		}
	}
}

// spread returns n numbers under end, evenly spread.
func spread(n, end int) map[int]bool {
	numbers := map[int]bool{}
	for i := range n {
		numbers[i*end/n+end/(2*n)] = true
	}
	return numbers
}

// A payload of a thousand series has samples that are out of order. What that costs is a matter of the configuration, and of
// whether the exporter remembers the series; the counters say exactly what.
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
				assertLacks(t, server, bad)
				lines := droppedLines(exporter, "out_of_order")
				require.Len(t, lines, 1)
				assert.Equal(t, int64(tc.bad), lines[0]["dropped_samples"])
				assert.Regexp(t, `^value\{series="\d+"\}$`, lines[0]["example"])
			})
			for _, outOfOrder := range []string{"separate", "send"} {
				t.Run(fmt.Sprintf("%d that travel apart cost only themselves with %s", tc.bad, outOfOrder), func(t *testing.T) {
					server, _, accounts := outOfOrderIn(t, v, n, bad, "{on_error: {rejected: discard}, out_of_order: "+outOfOrder+"}")
					assert.Equal(t, map[rig.Drop]int64{rejected: int64(tc.bad)}, accounts.Dropped)
					assert.Equal(t, map[int]int{http.StatusNoContent: 2, http.StatusBadRequest: 1}, server.Statuses())
					assertLacks(t, server, bad)
				})
			}
			t.Run(fmt.Sprintf("after a restart isolation costs only %d", tc.bad), func(t *testing.T) {
				server, exporter, accounts := outOfOrderAfterARestart(t, v, n, bad, "on_error: {rejected: isolate}")
				assert.Equal(t, map[rig.Drop]int64{rejected: int64(tc.bad)}, accounts.Dropped)
				spent := len(server.Requests()) - 1
				t.Logf("%d of %d samples isolated in %d requests", tc.bad, n, spent)
				// In 2.0 there is nothing to isolate: the answer says how many samples are stored.
				assert.LessOrEqual(t, spent, pick(v, tc.most, 1))
				assert.NotEmpty(t, droppedLines(exporter, "rejected"))
				assertLacks(t, server, bad)
			})
			t.Run(fmt.Sprintf("after a restart %d cost the batch in 1.0 without isolation", tc.bad), func(t *testing.T) {
				server, _, accounts := outOfOrderAfterARestart(t, v, n, bad, "on_error: {rejected: discard}")
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

// oddSample is a sample whose time is odd, beside ten good ones, and what becomes of it.
type oddSample struct {
	name string
	// restart says that the exporter has forgotten the series, so that the odd sample is in one request with the good ones.
	restart bool
	odd     func(*rig.Payload)
	// dropped is why it is dropped, or nothing if it is delivered.
	dropped rig.Drop
	// answer is what Prometheus says if it refuses the sample.
	answer string
	// stored is how many samples of the odd series Prometheus holds.
	stored int
}

// oddSamples are the kinds of odd samples, where now is the time of the last one of their series.
func oddSamples(now time.Time) []oddSample {
	duplicate := rig.Drop{Reason: "duplicate"}
	other := func(p *rig.Payload) { p.Gauge("odd", now, 2) }
	same := func(p *rig.Payload) { p.Gauge("odd", now, 1) }
	older := func(p *rig.Payload) { p.Gauge("odd", now.Add(-time.Millisecond), 2) }
	return []oddSample{
		{name: "another value for the same time", odd: other, dropped: duplicate, stored: 1},
		{
			name: "another value for the same time after a restart", restart: true, odd: other, dropped: rejected,
			answer: fmt.Sprintf("duplicate sample for timestamp %d; overrides not allowed: existing 1, new value 2", now.UnixMilli()),
			stored: 1,
		},
		{name: "the same value for the same time", odd: same, dropped: duplicate, stored: 1},
		{name: "the same value for the same time after a restart", restart: true, odd: same, stored: 1},
		{name: "older than the last one", odd: older, dropped: rejected, answer: "out of order sample", stored: 1},
		{
			name: "older than the last one after a restart", restart: true, odd: older, dropped: rejected,
			answer: "out of order sample", stored: 1,
		},
		{
			name: "older than the storage's first hour", dropped: rejected, answer: "out of bounds", stored: 1,
			odd: func(p *rig.Payload) { p.Gauge("new", now.Add(-2*time.Hour), 2) },
		},
		{
			name: "far in the future", dropped: rejected, answer: "out of bounds: timestamp is too far in the future", stored: 1,
			odd: func(p *rig.Payload) { p.Gauge("odd", time.Now().Add(11*time.Minute), 2) },
		},
		{
			name: "near in the future", stored: 2,
			odd: func(p *rig.Payload) { p.Gauge("odd", time.Now().Add(9*time.Minute), 2) },
		},
	}
}

// The exact outcome of each kind of sample that Prometheus treats in its own way, alone among ten good ones. These lose
// nothing by it: what the exporter knows to be odd is dropped or travels alone, and after a restart it is isolated.
func TestPrometheusRefusesSamplesOfOddTimes(t *testing.T) {
	inBothVersions(t, func(t *testing.T, v version) {
		now := start()
		for _, tc := range oddSamples(now) {
			t.Run(tc.name, func(t *testing.T) {
				server := promserver.Start(t)
				configs := []string{v.config, "{partitions: 1, on_error: {rejected: isolate}}"}
				before := gauges(10, allAt(now)).Gauge("odd", now, 1)
				received := int64(22)
				var exporter *rig.Exporter
				if tc.restart {
					exporter = restarted(t, server, before, configs...)
					received = 11
				} else {
					exporter = rig.Start(t, server.Endpoint(), configs...)
					exporter.SendAndSettle(before.Metrics)
				}
				p := gauges(10, allAt(now.Add(time.Second)))
				tc.odd(p)
				exporter.SendAndSettle(p.Metrics)
				tc.assert(t, v, server, exporter, received)
			})
		}
	})
}

func (o *oddSample) assert(t *testing.T, v version, server *promserver.Server, exporter *rig.Exporter, received int64) {
	t.Helper()
	accounts := exporter.Close()
	assert.Equal(t, received, accounts.Received)
	odd := 0
	for _, series := range server.Series(`{__name__=~"odd|new"}`) {
		odd += len(series.Samples)
	}
	assert.Equal(t, o.stored, odd)
	for _, series := range server.Series("value") {
		assert.Len(t, series.Samples, 2, series.Labels)
	}
	assert.Empty(t, server.Missing())
	refused := server.Answered(http.StatusBadRequest)
	if o.answer == "" {
		assert.Empty(t, refused)
	}
	if o.dropped == (rig.Drop{}) {
		assert.Empty(t, accounts.Dropped)
		assert.Equal(t, received, accounts.Delivered)
		return
	}
	assert.Equal(t, map[rig.Drop]int64{o.dropped: 1}, accounts.Dropped)
	assert.Equal(t, received-1, accounts.Delivered)
	lines := droppedLines(exporter, o.dropped.Reason)
	require.Len(t, lines, 1)
	if o.answer == "" {
		return
	}
	require.NotEmpty(t, refused)
	if !o.restart {
		require.Len(t, refused, 1)
		assert.Equal(t, 1, server.Message(&refused[0]).Samples(), "samples in the request that is refused")
	}
	answer := "endpoint answered 400 Bad Request: " + o.answer
	if v.v2 {
		assert.Regexp(t, "^"+regexp.QuoteMeta(answer)+` for series \{__name__="(odd|new)"\}$`, lines[0]["answer"])
	} else {
		assert.Equal(t, answer, lines[0]["answer"])
	}
}

// Prometheus looks at the order of samples within a request only when it has answered: it drops what is out of order, or
// there twice, without a word. No request has such samples: a payload that steps back in time is put in order, and its
// duplicates are dropped and counted.
func TestPrometheusStoresEachTimeOfAPayloadThatStepsBack(t *testing.T) {
	inBothVersions(t, func(t *testing.T, v version) {
		for _, outOfOrder := range []string{"separate", "send", "drop"} {
			t.Run(outOfOrder, func(t *testing.T) {
				now := start()
				server := promserver.Start(t)
				exporter := rig.Start(t, server.Endpoint(), v.config, "out_of_order: "+outOfOrder)
				exporter.Send(rig.NewPayload().Gauge("value", now.Add(2*time.Second), 3).Gauge("value", now, 1).
					Gauge("value", now.Add(time.Second), 2).Gauge("value", now, 4).Metrics)
				accounts := exporter.Close()
				assert.Equal(t, int64(3), accounts.Delivered)
				assert.Equal(t, map[rig.Drop]int64{{Reason: "duplicate"}: 1}, accounts.Dropped)
				assert.Equal(t, map[int]int{http.StatusNoContent: 1}, server.Statuses())
				assertStored(t, server, accounts)
				assertSeries(t, server, "value", `{__name__="value"}`,
					sample(now, 1), sample(now.Add(time.Second), 2), sample(now.Add(2*time.Second), 3))

				metric, err := exporter.Telemetry.GetMetric("otelcol_exporter_ordered_remote_write_reordered_payloads")
				require.NoError(t, err)
				reordered := metric.Data.(metricdata.Sum[int64]).DataPoints
				require.Len(t, reordered, 1)
				assert.Equal(t, int64(1), reordered[0].Value)
			})
		}
	})
}

// Nor is a sample of a later payload in one request with the newer one that still waits: Prometheus refuses it aloud, and it
// is counted.
func TestPrometheusNeverLosesInSilenceWhatIsLateInTheQueue(t *testing.T) {
	inBothVersions(t, func(t *testing.T, v version) {
		for outOfOrder, want := range map[string]struct {
			drop     rig.Drop
			statuses map[int]int
		}{
			"separate": {rejected, map[int]int{http.StatusNoContent: 1, http.StatusBadRequest: 1}},
			"send":     {rejected, map[int]int{http.StatusNoContent: 2, http.StatusBadRequest: 1}},
			"drop":     {rig.Drop{Reason: "out_of_order"}, map[int]int{http.StatusNoContent: 1}},
		} {
			t.Run(outOfOrder, func(t *testing.T) {
				now := start()
				server := promserver.Start(t)
				exporter := rig.Start(t, server.Endpoint(), v.config, "{batch: {flush_timeout: 1h}, out_of_order: "+outOfOrder+"}")
				for i, seconds := range []int{2, 1, 3} {
					at := now.Add(time.Duration(seconds) * time.Second)
					exporter.Send(rig.NewPayload().Gauge("value", at, float64(i)).Metrics)
				}
				accounts := exporter.Close()
				assert.Equal(t, int64(2), accounts.Delivered)
				assert.Equal(t, map[rig.Drop]int64{want.drop: 1}, accounts.Dropped)
				assert.Equal(t, want.statuses, server.Statuses())
				assertStored(t, server, accounts)
				assertSeries(t, server, "value", `{__name__="value"}`,
					sample(now.Add(2*time.Second), 0), sample(now.Add(3*time.Second), 2))
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
