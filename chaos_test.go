// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/orderedremotewrite/orderedremotewriteexporter"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/chaos"
)

// subject is this exporter, with what it makes of late samples.
func subject() chaos.Subject {
	return chaos.Subject{
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
}

// TestChaos runs rounds of random payloads, many of them broken, through an exporter of a random configuration to a
// receiver with random faults, and checks every promise of the design after each.
func TestChaos(t *testing.T) {
	chaos.Run(t, subject())
}

// TestChaosWithPartitions is the same with the numbers of partitions at which something could change.
func TestChaosWithPartitions(t *testing.T) {
	for _, n := range []int{1, 2, 32, 256} {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			s := subject()
			s.Partitions = n
			chaos.Run(t, s)
		})
	}
}

// TestChaosWithStorage is the same with a queue in storage, which may have faults, and with processes that follow each other on it:
// each of them ends in a shutdown or dies.
func TestChaosWithStorage(t *testing.T) {
	s := subject()
	s.Stored = true
	chaos.Run(t, s)
}
