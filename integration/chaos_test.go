// SPDX-License-Identifier: Apache-2.0

package integration

import (
	"flag"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/prompb"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/orderedremotewrite/orderedremotewriteexporter"
	"github.com/orderedremotewrite/orderedremotewriteexporter/integration/internal/promserver"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/chaos"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
)

var _ = flag.Uint64("seed", 0, "seed of the chaos test; 0 takes a new one")

// TestChaosWithPrometheus runs rounds of random payloads through an exporter of a random configuration and a proxy with
// random faults to a Prometheus server, and compares after each what the exporter has counted, and what was accepted, with
// what the storage holds.
func TestChaosWithPrometheus(t *testing.T) {
	subject := chaos.Subject{
		Factory: orderedremotewriteexporter.NewFactory(),
		Rules: chaos.Rules{
			OutOfOrder:      []string{"separate", "drop", "send"},
			SortsPayloads:   true,
			DropsRepeats:    true,
			MaxFuture:       10 * time.Minute,
			MaxPast:         45 * time.Minute,
			SplitsRetries:   true,
			IsolatesUnknown: true,
			Fatal:           []int{402, 405, 407, 410, 411, 414, 415, 421, 426, 431, 451},
		},
	}
	seed := chaos.Seed()
	var received, delivered int64
	stored := 0
	chaos.Rounds(t, seed, func(t *testing.T, number uint64) bool {
		return t.Run(strconv.FormatUint(number, 10), func(t *testing.T) {
			server := promserver.Start(t)
			c := &chaosRound{Network: chaos.RunNetwork(t, subject, seed, number, server), t: t, server: server}
			c.check()
			received += c.Accounts().Values["received_samples"]
			delivered += c.Accounts().Values["delivered_samples"]
			stored += c.stored
			if t.Failed() {
				t.Log(c)
			}
		})
	})
	t.Logf("%d samples received, %d delivered, %d stored by Prometheus", received, delivered, stored)
}

// chaosRound is a round with the server that it ended at.
type chaosRound struct {
	*chaos.Network
	t      *testing.T
	server *promserver.Server
	stored int
}

func (c *chaosRound) String() string {
	return fmt.Sprintf("answers kept %t, payloads sound %t, restarts %t, configuration %s", c.Keeps, c.Sound, c.Restarts, c.Network)
}

// check compares what was counted, and what was accepted, with what is stored.
func (c *chaosRound) check() {
	problems := slices.DeleteFunc(c.Problems, func(p string) bool {
		// Hostile payloads go back in time within a request.
		return !c.Guarded && strings.Contains(p, "samples of a series are in timestamp order")
	})
	assert.Empty(c.t, problems)
	assert.Zero(c.t, c.server.InvalidLabels())
	c.stored = c.server.Stored()
	accounts := c.Accounts()
	if c.Sound || c.Guarded {
		assert.Empty(c.t, c.server.Missing(), "samples that Prometheus lost after it had confirmed them")
		if !c.Restarts {
			assert.LessOrEqual(c.t, accounts.Values["delivered_samples"], int64(c.stored), "nothing is counted as delivered that is not stored")
		}
	}
	accepted, stored := c.Accepted(), c.floats()
	lost := 0
	for series, samples := range accepted {
		held := make(map[rwtest.Sample]bool)
		for _, s := range stored[series] {
			held[s] = true
		}
		for _, s := range samples {
			if !held[s] {
				lost++
			}
			delete(held, s)
		}
		assert.Empty(c.t, held, "stored of %s, but never accepted", series)
	}
	assert.LessOrEqual(c.t, int64(lost), accounts.Values["dropped_samples"], "all that is not stored is counted as dropped")
	if c.Keeps && (c.Sound || c.Guarded) {
		c.checkExact(accepted, stored)
	}
}

// checkExact is for a round in which every answer of Prometheus has arrived, and nothing was given that it refuses.
func (c *chaosRound) checkExact(accepted, stored map[string][]rwtest.Sample) {
	assert.Equal(c.t, c.Accounts().Values["delivered_samples"], int64(c.stored), "what is counted as delivered is what is stored")
	for status, n := range c.server.Statuses() {
		assert.Equal(c.t, 2, status/100, "Prometheus answered %d to %d requests", status, n)
	}
	for series, samples := range accepted {
		require.Equal(c.t, samples, stored[series], series)
	}
}

// floats are the stored samples that are no native histograms, by series.
func (c *chaosRound) floats() map[string][]rwtest.Sample {
	stored := make(map[string][]rwtest.Sample)
	for _, series := range c.server.Series(`{job="chaos"}`) {
		key := rwtest.SeriesKey(prompb.FromLabels(series.Labels, nil))
		for _, s := range series.Samples {
			if s.Histogram == nil {
				stored[key] = append(stored[key], rwtest.Sample{Timestamp: s.Time.UnixMilli(), Bits: math.Float64bits(s.Value)})
			}
		}
	}
	return stored
}
