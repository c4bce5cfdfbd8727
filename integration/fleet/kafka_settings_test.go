// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"crypto/sha512"
	"encoding/hex"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
)

// smallQueue is a queue that is soon full.
const smallQueue = "batch: {max_size_bytes: 16384}, queue: {max_size_bytes: 65536, max_disk_bytes: 65536, "

// fill sends more than a small queue holds while the backend is away for the gateway, and returns when all of it is in Kafka.
func (k *kafka) fill() *clients {
	k.t.Helper()
	k.backend.setClosed(true, k.gateways...)
	c := newClients(k.t, k.producers...)
	c.run(&load{points: 100, rounds: 1})
	return c
}

// settled waits until the group has committed what it can for now: nothing more for several intervals of commits.
func (k *kafka) settled() {
	k.t.Helper()
	read, since := k.read(), time.Now()
	eventually(k.t, func() bool {
		if n := k.read(); n != read {
			read, since = n, time.Now()
		}
		return time.Since(since) > 4*time.Second
	}, "commits settle")
}

// TestKafkaSettingsWhenAGatewayIsKilled kills a gateway that has read what it cannot deliver, and boots it again. Nothing of
// what Kafka has is lost with the settings of docs/scaling.md, and something without one of them.
func TestKafkaSettingsWhenAGatewayIsKilled(t *testing.T) {
	blocking := smallQueue + "on_full: block, block_timeout: 10m}"
	for name, tc := range map[string]struct {
		kafkaSettings
		lost bool
	}{
		"as documented":             {kafkaSettings{}, false},
		"without storage":           {kafkaSettings{without: []string{"storage: file_storage"}}, true},
		"with a full queue":         {kafkaSettings{gateway: blocking}, false},
		"marked before with a full": {kafkaSettings{gateway: blocking, receiver: "message_marking: {after: false}"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBackend(t)
			k := newKafka(t, b, 1, tc.kafkaSettings)
			k.boot()
			c := k.fill()
			k.settled()
			gateway := k.gateways[0]
			a := gateway.accounts()
			require.NotZero(t, a.open(), "samples wait in the gateway")
			unread := k.written() - k.read()
			gateway.kill()
			b.setClosed(false, gateway)
			gateway.boot()
			k.drain()

			sent, lost := count(c.expected), count(b.missing(c.expected))
			assert.Equal(t, tc.lost, lost > 0, "%d of %d samples lost", lost, sent)
			if len(tc.without) > 0 {
				assert.Equal(t, a.open(), lost, "what was in memory")
			}
			assert.Empty(t, b.OutOfOrder())
			assert.Empty(t, b.Conflicting())
			t.Logf("%d of %d samples lost, %d were in the gateway, %d messages were not committed", lost, sent, a.open(), unread)
		})
	}
}

// TestKafkaSettingsWhenAGatewayRefuses has a gateway whose queue is full for a while. Nothing is lost with the settings of
// docs/scaling.md, and it goes on by itself. With the defaults, what is refused is lost, and counted as refused; without
// error_backoff nothing more is read until the gateway is started again.
func TestKafkaSettingsWhenAGatewayRefuses(t *testing.T) {
	rejecting := smallQueue + "on_full: reject}"
	for name, tc := range map[string]struct {
		receiver      string
		lost, stopped bool
	}{
		"as documented":         {"error_backoff: {max_interval: 100ms}", false, false},
		"with the defaults":     {"message_marking: {after: false, on_permanent_error: false}, error_backoff: {enabled: false}", true, false},
		"without error_backoff": {"error_backoff: {enabled: false}", false, true},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBackend(t)
			k := newKafka(t, b, 1, kafkaSettings{gateway: rejecting, receiver: tc.receiver})
			k.boot()
			c := k.fill()
			gateway := k.gateways[0]
			k.settled()
			require.NotZero(t, gateway.accounts().refused)
			b.setClosed(false, gateway)
			if tc.stopped {
				assert.Contains(t, gateway.now.Log(), "partition will remain paused until rebalance")
				k.settled()
				assert.Less(t, k.read(), k.written(), "the partitions stand still")
				gateway.stop()
				// One that finds room when it starts does not refuse.
				gateway.configs = append(gateway.configs, "yaml:exporters::ordered_remote_write::queue: {max_disk_bytes: 1GiB, max_size_bytes: 64MiB}")
				gateway.boot()
			}
			k.drain()

			sent, lost, a := count(c.expected), count(b.missing(c.expected)), gateway.accounts()
			assert.Equal(t, tc.lost, lost > 0, "%d of %d samples lost", lost, sent)
			if tc.lost {
				assert.Equal(t, a.refused, lost, "what was refused")
			}
			assert.Empty(t, b.OutOfOrder())
			t.Logf("%d of %d samples lost, %+v", lost, sent, a)
		})
	}
}

// TestKafkaSettingsWhenAGroupBegins has gateways that come when there are messages already. By default they begin with what comes
// after them.
func TestKafkaSettingsWhenAGroupBegins(t *testing.T) {
	for offset, lost := range map[string]bool{"earliest": false, "latest": true} {
		t.Run(offset, func(t *testing.T) {
			b := newBackend(t)
			k := newKafka(t, b, 3, kafkaSettings{receiver: "initial_offset: " + offset})
			c := newClients(t, k.producers...)
			c.run(&load{points: 20, rounds: 1})
			k.boot()
			if lost {
				k.settled()
				assert.Equal(t, count(c.expected), count(b.missing(c.expected)))
				assert.Zero(t, total(k.gateways).received, "nothing counts them")
				return
			}
			k.drain()
			assert.Empty(t, b.missing(c.expected))
		})
	}
}

// TestKafkaSettingsWhenAPayloadIsTooLarge has a payload that no queue of the gateway can hold. With the settings of
// docs/scaling.md it is skipped, and counted as refused; without one of them its partition stops, because it comes again and again.
func TestKafkaSettingsWhenAPayloadIsTooLarge(t *testing.T) {
	for name, tc := range map[string]struct {
		receiver string
		stopped  bool
	}{
		"as documented":              {"", false},
		"without on_permanent_error": {"message_marking: {on_permanent_error: false}", true},
	} {
		t.Run(name, func(t *testing.T) {
			const points = 2000
			b := newBackend(t)
			k := newKafka(t, b, 1, kafkaSettings{gateway: smallQueue + "on_full: block, block_timeout: 10m}", receiver: tc.receiver})
			k.boot()
			c := newClients(t, k.producers...)
			c.send(large(points))
			gateway := k.gateways[0]
			eventually(t, func() bool { return gateway.accounts().refused >= points }, "the payload is refused")
			if tc.stopped {
				eventually(t, func() bool {
					return strings.Contains(gateway.now.Log(), "pausing partition due to permanent processing error")
				})
				k.settled()
				assert.EqualValues(t, 1, k.written()-k.read())
				return
			}
			c.run(&load{points: 20, rounds: 1})
			k.drain()
			assert.Empty(t, b.missing(c.expected))
			assert.Equal(t, count(c.expected), b.stored())
			assert.Equal(t, points, gateway.accounts().refused)
		})
	}
}

// large is a payload with so many series, which are hard to compress.
func large(points int) pmetric.Metrics {
	md := pmetric.NewMetrics()
	m := md.ResourceMetrics().AppendEmpty().ScopeMetrics().AppendEmpty().Metrics().AppendEmpty()
	m.SetName("large")
	m.SetEmptyGauge()
	for i := range points {
		dp := m.Gauge().DataPoints().AppendEmpty()
		dp.SetTimestamp(pcommon.NewTimestampFromTime(time.Now()))
		dp.SetIntValue(1)
		sum := sha512.Sum512([]byte(strconv.Itoa(i)))
		dp.Attributes().PutStr("series", hex.EncodeToString(sum[:]))
	}
	return md
}
