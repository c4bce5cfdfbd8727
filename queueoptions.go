// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"time"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/remote"
)

// queueOptions are the rules of a queue.
type queueOptions struct {
	partitions int
	limits     BatchConfig
	// maxSize is the bytes of memory that the queue may hold.
	maxSize      int64
	onFull       OnFull
	blockTimeout time.Duration
	// maxInFlight is the most requests under way.
	maxInFlight int
	// doubt is the delay before the next request after so many failures in a row.
	doubt func(failures int) time.Duration
	// asked is how long an answer asks to wait.
	asked func(*remote.Answer) time.Duration
	guard guardOptions
	// keep gets what is dropped while it waits, or for lack of room. The queue is locked.
	keep keeper
	// dropped is told of samples that were dropped without a caller who would tell of them. The queue is not locked.
	dropped func(samples int, r account.Reason)
}

// maxInFlight is the most requests under way at once: more than there are partitions there cannot be.
func (c *Config) maxInFlight() int {
	if c.MaxInFlight == 0 {
		return c.Partitions
	}
	return min(c.MaxInFlight, c.Partitions)
}
