// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.uber.org/goleak"

	"github.com/orderedremotewrite/orderedremotewriteexporter/integration/internal/promserver"
	"github.com/orderedremotewrite/orderedremotewriteexporter/integration/internal/rig"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m)
}

// start is a time in the recent past, in whole seconds: Prometheus refuses what is far from now.
func start() time.Time {
	return time.Now().Add(-10 * time.Minute).Truncate(time.Second)
}

// version is a version of the protocol.
type version struct {
	v2     bool
	config string
}

// inBothVersions runs a test with Remote-Write 1.0 and with 2.0.
func inBothVersions(t *testing.T, test func(t *testing.T, v version)) {
	t.Helper()
	for name, v := range versions {
		t.Run(name, func(t *testing.T) { test(t, v) })
	}
}

var versions = map[string]version{
	"1.0": {config: "protobuf_message: " + string(promserver.V1)},
	"2.0": {config: "protobuf_message: " + string(promserver.V2), v2: true},
}

// pick returns what is expected in the version.
func pick[T any](v version, v1, v2 T) T {
	if v.v2 {
		return v2
	}
	return v1
}

// write writes payloads to a Prometheus server, each when the one before has its outcome. All of their samples must
// be delivered, and stored.
func write(t *testing.T, v version, config string, payloads ...*rig.Payload) *promserver.Server {
	t.Helper()
	server := promserver.Start(t)
	exporter := rig.Start(t, server.Endpoint(), v.config, config)
	for _, p := range payloads {
		exporter.SendAndSettle(p.Metrics)
	}
	accounts := exporter.Close()
	assert.Empty(t, accounts.Dropped)
	assertStored(t, server, accounts)
	for _, r := range server.Requests() {
		assert.Equal(t, v.v2, server.Message(&r).V2)
	}
	return server
}

// assertStored asserts that the storage holds the samples that the exporter says that it has delivered, and no others.
func assertStored(t *testing.T, server *promserver.Server, accounts rig.Accounts) {
	t.Helper()
	assert.Zero(t, server.InvalidLabels(), "samples that the receiver skipped for their labels")
	assert.Empty(t, server.Missing(), "samples that the receiver lost after it had confirmed them")
	assert.Equal(t, int(accounts.Delivered), server.Stored(), "delivered samples are those that the storage holds")
}

// assertSeries asserts that a selector selects exactly one series, which has the labels and samples.
func assertSeries(t *testing.T, server *promserver.Server, selector, labels string, samples ...promserver.Sample) {
	t.Helper()
	series := server.Series(selector)
	if assert.Len(t, series, 1, selector) {
		assert.Equal(t, labels, series[0].Labels.String())
		assert.Equal(t, samples, series[0].Samples)
	}
}

func sample(at time.Time, value float64) promserver.Sample {
	return promserver.Sample{Time: time.UnixMilli(at.UnixMilli()), Value: value}
}

func timestamp(at time.Time) pcommon.Timestamp {
	return pcommon.NewTimestampFromTime(at)
}
