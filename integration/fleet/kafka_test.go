// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/orderedremotewrite/orderedremotewriteexporter/integration/internal/promserver"
)

// What docs/scaling.md names, and how many partitions the topic has.
const (
	topic      = "otlp_metrics"
	group      = "gateways"
	partitions = 6
)

// kafka is a fleet with Kafka between its tiers.
type kafka struct {
	t         *testing.T
	backend   *backend
	cluster   *kfake.Cluster
	producers []*member
	gateways  []*member
}

// kafkaSettings are merged into the configurations of docs/scaling.md: those of the kafka exporter, of the kafka receiver and of
// this exporter. Lines with one of the texts of without are left out of the gateways'.
type kafkaSettings struct {
	producer, receiver, gateway string
	without                     []string
}

// newKafka starts a broker and two producers, and makes gateways, which it does not boot.
func newKafka(t *testing.T, b *backend, gateways int, s kafkaSettings) *kafka {
	t.Helper()
	path := binary(t) // or the test is skipped
	require.NotEmpty(t, path)
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(partitions, topic), kfake.GroupMinSessionTimeout(time.Second))
	require.NoError(t, err)
	t.Cleanup(cluster.Close)
	k := &kafka{t: t, backend: b, cluster: cluster}
	broker := "KAFKA_BROKER=" + cluster.ListenAddrs()[0]
	for i := range 2 {
		m := newMember(t, name("producer", i), []string{broker}, page(t, kafkaFirstTier), "yaml:exporters::kafka: {"+s.producer+"}")
		m.configs = append(m.configs, "yaml:receivers::otlp::protocols::grpc::endpoint: "+m.otlp)
		m.boot()
		k.producers = append(k.producers, m)
	}
	for i := range gateways {
		m := newGateway(t, b, name("gateway", i), page(t, kafkaSecondTier, s.without...), s.gateway)
		m.env = append(m.env, broker)
		m.configs = append(m.configs, "yaml:receivers::kafka: {"+s.receiver+"}")
		k.gateways = append(k.gateways, m)
	}
	return k
}

// boot boots the gateways and waits until each has its share of the partitions.
func (k *kafka) boot() {
	k.t.Helper()
	for _, m := range k.gateways {
		m.boot()
	}
	k.waitAssigned(k.gateways...)
}

// waitAssigned waits until these gateways, and no others, share the partitions.
func (k *kafka) waitAssigned(gateways ...*member) {
	k.t.Helper()
	ctx, cancel := context.WithTimeout(k.t.Context(), patience)
	defer cancel()
	_, err := k.cluster.WaitGroupInfo(ctx, group, func(g *kfake.GroupInfo) bool {
		if g == nil || g.State != "Stable" || len(g.Members) != len(gateways) {
			return false
		}
		for _, member := range g.Members {
			if member.NumAssigned() != partitions/len(gateways) {
				return false
			}
		}
		return true
	})
	require.NoError(k.t, err, "the group is not stable: %+v", k.cluster.GroupInfo(group))
}

// written and read are how many messages the topic has, and how many of them the group has committed.
func (k *kafka) written() (n int64) {
	for _, p := range k.cluster.PartitionInfos(topic) {
		n += p.HighWatermark
	}
	return n
}

func (k *kafka) read() (n int64) {
	if g := k.cluster.GroupInfo(group); g != nil {
		for _, commit := range g.Commits[topic] {
			n += commit.Offset
		}
	}
	return n
}

// drain waits until all messages are read and all samples have their outcome.
func (k *kafka) drain() {
	k.t.Helper()
	eventually(k.t, func() bool { return k.read() == k.written() && total(k.gateways).open() == 0 }, "all is read, and the gateways are empty")
}

// infos is how many samples of target_info are stored.
func (b *backend) infos() (n int) {
	for series, samples := range b.delivered() {
		if strings.Contains(series, `__name__="target_info"`) {
			n += len(samples)
		}
	}
	return n
}

// TestKafka: two collectors write to Kafka, between which each client alternates, and three gateways read. Each series,
// target_info too, has one writer and arrives in its order, and the accounts are what the clients have sent.
func TestKafka(t *testing.T) {
	b := newBackend(t)
	k := newKafka(t, b, 3, kafkaSettings{})
	k.boot()
	c := newClients(t, k.producers...)
	c.attribute = func(int) string { return "a" }
	c.run(&load{points: 50, pause: 5 * time.Millisecond, rounds: 8})
	k.drain()

	assert.Empty(t, b.missing(c.expected))
	assert.Empty(t, b.Problems())
	assertOneWriter(t, b, k.gateways)
	sent, infos, a := count(c.expected), b.infos(), total(k.gateways)
	assert.NotZero(t, infos)
	assert.Equal(t, sent+infos, a.received)
	assert.Equal(t, sent+infos, a.delivered)
	assert.Equal(t, sent+infos, b.stored())
	assert.Empty(t, a.dropped)
	t.Logf("%d series, %d samples, %d of target_info, %d requests", len(c.expected), sent, infos, b.Requests())
}

// TestKafkaWithoutKeys is what happens if messages have no keys: those of a resource go to any partition. It shows that these
// tests would see what they look for.
func TestKafkaWithoutKeys(t *testing.T) {
	b := newBackend(t)
	k := newKafka(t, b, 3, kafkaSettings{producer: "partition_metrics_by_resource_attributes: false"})
	k.boot()
	c := newClients(t, k.producers...)
	c.run(&load{points: 100, pause: 20 * time.Millisecond, rounds: 1})
	k.drain()

	assert.NotEmpty(t, b.OutOfOrder())
	assert.NotEmpty(t, b.Overlaps())
	t.Logf("%d of %d samples out of order", len(b.OutOfOrder()), count(c.expected))
}

// TestKafkaWithKilledGateways kills one gateway after the other with SIGKILL, under load, and boots it again with its storage.
// Its partitions wait for it. What Kafka has arrives, and each series in its order. Messages that were read but not committed
// are read again. A Prometheus refuses what it has already, and keeps the rest of a request of 2.0. Of 1.0 it keeps nothing, and
// taking apart is bounded: what is lost then is counted. With a window for what is out of order nothing is.
func TestKafkaWithKilledGateways(t *testing.T) {
	for name, tc := range map[string]struct {
		backend func(t *testing.T) *backend
		setting string
		lost    bool // perhaps
	}{
		"order":          {newBackend, "", false},
		"Prometheus 1.0": {func(t *testing.T) *backend { return newPrometheus(t) }, inV1, true},
		"Prometheus 1.0 with a window": {func(t *testing.T) *backend {
			return newPrometheus(t, promserver.WithOutOfOrderWindow(30*time.Minute))
		}, inV1, false},
		"Prometheus 2.0": {func(t *testing.T) *backend { return newPrometheus(t) }, "", false},
	} {
		t.Run(name, func(t *testing.T) {
			b := tc.backend(t)
			k := newKafka(t, b, 3, kafkaSettings{gateway: tc.setting})
			k.boot()
			c := newClients(t, k.producers...)
			const kills = 6
			killGateways(k.gateways, kills, c, &load{points: 50, pause: 5 * time.Millisecond}, func() {})
			k.drain()

			sent, lost := count(c.expected), count(b.missing(c.expected))
			a := total(k.gateways)
			if !tc.lost {
				assert.Zero(t, lost, "samples that were acknowledged")
			}
			assert.Zero(t, c.again.Load(), "the clients do not notice")
			assert.Equal(t, sent-lost, b.stored())
			assert.Empty(t, b.Violations())
			assert.Empty(t, b.OutOfOrder())
			assert.Empty(t, b.Overlaps())
			assert.Empty(t, b.Conflicting())
			assertOneWriter(t, b, k.gateways)
			t.Logf("%d kills, %d series, %d samples, %d lost, %d stored again, %d answers 400, the last processes: %+v",
				kills, len(c.expected), sent, lost, b.Redelivered(), b.Answered()[400].Requests, a)
		})
	}
}

// TestKafkaWithPartitionsThatMove is the same without names for the members of the group: the partitions of a killed gateway go to
// the others, while what it has in its storage waits for its restart. By then newer samples of these series are stored, and
// Prometheus refuses the old ones. They are lost, and counted: with storage as an upper bound, since the others have read again
// what was not committed.
func TestKafkaWithPartitionsThatMove(t *testing.T) {
	b := newPrometheus(t)
	k := newKafka(t, b, 3, kafkaSettings{
		receiver: `group_instance_id: "", group_rebalance_strategies: [cooperative-sticky], session_timeout: 2s, heartbeat_interval: 500ms`,
	})
	k.boot()
	c := newClients(t, k.producers...)
	end := c.background(&load{points: 100, pause: 30 * time.Millisecond})
	eventually(t, func() bool { return b.stored() > 1000 }, "samples arrive")

	killed, others := k.gateways[0], k.gateways[1:]
	b.setClosed(true, killed)
	eventually(t, func() bool { return killed.accounts().open() > 1000 }, "samples wait in the gateway")
	written := k.written()
	eventually(t, func() bool { return k.read() >= written }, "they are committed")
	killed.kill()
	k.waitAssigned(others...)
	before := b.stored()
	eventually(t, func() bool { return b.stored() > before+3000 }, "the others deliver")
	end()
	eventually(t, func() bool { return k.read() == k.written() && total(others).open() == 0 }, "the others are done")
	b.setClosed(false, killed)
	killed.boot()
	k.drain()

	missing := b.missing(c.expected)
	series := moved(b, c.expected)
	for key := range missing {
		assert.Contains(t, series, key, "a series that has not moved has lost samples")
	}
	lost, counted := count(missing), killed.accounts().dropped["refused_after_unknown"]
	assert.NotZero(t, lost)
	assert.LessOrEqual(t, lost, counted, "lost samples are counted")
	assert.Empty(t, total(others).dropped)
	t.Logf("%d of %d series moved, %d of %d samples lost, %d counted, the gateways: %+v",
		len(series), len(c.expected), lost, count(c.expected), counted, total(k.gateways))
}

// TestKafkaWithAnotherNumberOfGatewaysAfterItIsDrained stops the producers, waits until the gateways have read everything and
// have nothing left, and takes one away; then it brings it back in the same way. The clients wait meanwhile. Nothing is lost, and
// each series arrives in its order, whoever sends it.
func TestKafkaWithAnotherNumberOfGatewaysAfterItIsDrained(t *testing.T) {
	b := newBackend(t)
	// The partitions of a gateway that has gone wait for it.
	k := newKafka(t, b, 3, kafkaSettings{receiver: "session_timeout: 3s, heartbeat_interval: 500ms"})
	k.boot()
	c := newClients(t, k.producers...)
	end := c.background(&load{points: 100, pause: 60 * time.Millisecond})

	all := k.gateways
	change := func(how func(), gateways ...*member) {
		before := b.stored()
		eventually(t, func() bool { return b.stored() > before+3000 }, "samples arrive")
		for _, producer := range k.producers {
			producer.stop()
		}
		k.drain()
		how()
		k.gateways = gateways
		k.waitAssigned(gateways...)
		for _, producer := range k.producers {
			producer.boot()
		}
	}
	last := all[2]
	change(last.stop, all[:2]...)
	change(last.boot, all...)
	end()
	k.drain()

	assert.True(t, assert.ObjectsAreEqual(c.expected, b.delivered()), "what is stored is what was sent, in its order")
	assert.Empty(t, b.Problems())
	series := moved(b, c.expected)
	assert.NotEmpty(t, series)
	t.Logf("%d of %d series moved, %d samples, %d payloads sent again", len(series), len(c.expected), count(c.expected), c.again.Load())
}
