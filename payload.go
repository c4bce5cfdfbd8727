// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"fmt"

	"go.opentelemetry.io/collector/consumer/consumererror"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// payload is what the translation makes of one call: segments for the queues, and what was dropped on the way.
type payload struct {
	// segments are by partition; touched are the indices of those that hold something, in order.
	segments []segment
	touched  []int
	// symbols are those of all segments in 2.0.
	symbols wire.Symbols
	// needs are those of the touched partitions, once the payload is measured.
	needs []need
	// cut is the cost of the chunks that were cut so far.
	cut int64
	// points counts what was asked to be translated: samples in segments or dropped.
	points int
	// reordered says that a series stepped back in time, so that the samples were put in order.
	reordered bool
	drops     account.Drops
}

// errOversized is for a payload that needs more than the most bytes that a queue can take: it must not come again.
func errOversized(most int64) error {
	return consumererror.NewPermanent(fmt.Errorf("queue.max_size_bytes: the payload needs more than the %d bytes that a queue can take", most))
}

// measure says how much room the payload needs. What it needs stands in it until it is admitted.
func (pl *payload) measure() []need {
	pl.needs = pl.needs[:0]
	for _, i := range pl.touched {
		pl.needs = append(pl.needs, need{partition: i, bytes: pl.segments[i].cost()})
	}
	return pl.needs
}
