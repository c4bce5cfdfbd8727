// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

// indexEntry is what the guard must know of a series of a chunk; it stands at the place of the series.
type indexEntry struct {
	identity uint64
	// target is what the target_info series of one job and instance have in common.
	target    uint64
	timestamp int64
	guard     guardKind
}

// guardKind says how the guard treats a series.
type guardKind uint8

const (
	// guarded is a series that was received.
	guarded guardKind = iota
	// receivedTarget is a target_info that was received as a metric. It is guarded like any other series, and what is made
	// for its target must be newer.
	receivedTarget
	// madeTarget is a target_info that the translation made. It is left out if it is not newer than the last one of its
	// target. That is not counted: nothing was received that is lost.
	madeTarget
)

// indexedChunk is a chunk with what the guard must know of its series.
type indexedChunk struct {
	chunk
	index []indexEntry
}

// exampleOf renders one of the series for the log.
func (c *indexedChunk) exampleOf(number int) string {
	return renderLabels(c.contents().labels(number))
}

// received is the number of samples that were received. A target_info that the translation has made was not: nothing is lost
// with it if it is dropped.
func (c *indexedChunk) received() int {
	n := c.Samples
	for i := range c.index {
		if c.index[i].guard == madeTarget {
			n--
		}
	}
	return n
}
