// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"fmt"
	"slices"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/block"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// contents is a message taken apart into its series, each of one sample or histogram. It is for what is rare: splitting,
// sending as another version, cutting out, logging.
type contents interface {
	// len is the number of series.
	len() int
	// point returns the timestamp of a series, and whether it is a native histogram.
	point(i int) (timestamp int64, histogram bool)
	// exemplars is the number of a series' exemplars, as far as an answer can be about them.
	exemplars(i int) int
	labels(i int) []wire.Label
	// key tells the label set of a series from the others of the message, and identity from any.
	key(i int) string
	identity(i int) uint64
	// encode makes a message of some of the series, in the order of their indices.
	encode(indices []int) []byte
}

var (
	_ contents = contentsV1(nil)
	_ contents = (*contentsV2)(nil)
)

// takeApart takes a message apart.
func takeApart(p wire.Protocol, message []byte) contents {
	if p == wire.V2 {
		return takeApartV2(message)
	}
	return takeApartV1(message)
}

// tallyOf counts some of the series.
func tallyOf(c contents, indices []int) tally {
	var t tally
	for _, i := range indices {
		ts, histogram := c.point(i)
		t.count(ts, histogram, c.exemplars(i))
	}
	return t
}

// upTo are the numbers from one on and up to another.
func upTo(from, to int) []int {
	numbers := make([]int, 0, to-from)
	for i := from; i < to; i++ {
		numbers = append(numbers, i)
	}
	return numbers
}

// mustRead panics for a message that cannot be read: it was encoded in this process and has not left it since.
func mustRead(err error) {
	if err != nil {
		panic(fmt.Sprintf("a message cannot be read: %v", err))
	}
}

// contentsV1 are series of 1.0 with their headers, as they stand in the message.
type contentsV1 [][]byte

func takeApartV1(message []byte) contentsV1 {
	var c contentsV1
	for len(message) > 0 {
		frame, _, rest, err := wire.NextSeries(message)
		mustRead(err)
		c, message = append(c, frame), rest
	}
	return c
}

func (c contentsV1) len() int { return len(c) }

func (c contentsV1) series(i int) []byte {
	_, series, _, err := wire.NextSeries(c[i])
	mustRead(err)
	return series
}

func (c contentsV1) point(i int) (timestamp int64, histogram bool) {
	timestamp, histogram, err := wire.SeriesPoint(c.series(i))
	mustRead(err)
	return timestamp, histogram
}

// exemplars is 0: answers to 1.0 say nothing about them.
func (contentsV1) exemplars(int) int { return 0 }

func (c contentsV1) labels(i int) []wire.Label {
	labels, err := wire.SeriesLabels(nil, c.series(i))
	mustRead(err)
	return labels
}

func (c contentsV1) key(i int) string { return wire.LabelsKey(c.labels(i)) }

func (c contentsV1) identity(i int) uint64 { return identityOf(c.labels(i)) }

func (c contentsV1) encode(indices []int) []byte {
	var message []byte
	for _, i := range indices {
		message = append(message, c[i]...)
	}
	return message
}

// contentsV2 are series of 2.0 with their symbols. What many labels share is looked at once: together the labels can be many times
// as large as the message.
type contentsV2 struct {
	wire.ParsedV2
	// hashes are those of the symbols, or 0 where not yet known.
	hashes []uint64
}

func takeApartV2(message []byte) *contentsV2 {
	parsed, err := wire.ParseV2(message)
	mustRead(err)
	return &contentsV2{ParsedV2: parsed}
}

func (c *contentsV2) len() int { return len(c.Series) }

func (c *contentsV2) point(i int) (timestamp int64, histogram bool) {
	timestamp, histogram, err := wire.SeriesPointV2(c.Series[i])
	mustRead(err)
	return timestamp, histogram
}

func (c *contentsV2) exemplars(i int) int {
	n, err := wire.CountExemplarsV2(c.Series[i])
	mustRead(err)
	return n
}

func (c *contentsV2) labels(i int) []wire.Label {
	labels, err := c.Labels(c.Series[i])
	mustRead(err)
	return labels
}

func (c *contentsV2) refs(i int) []byte {
	refs, err := wire.LabelsRefs(c.Series[i])
	mustRead(err)
	return refs
}

// key is the references: a message has each string once.
func (c *contentsV2) key(i int) string { return string(c.refs(i)) }

func (c *contentsV2) identity(i int) (identity uint64) {
	refs := c.refs(i)
	next := func() (ref uint64) {
		var err error
		ref, refs, err = wire.NextRef(refs)
		mustRead(err)
		return ref
	}
	for len(refs) > 0 {
		name, value := next(), next()
		identity += labelHash(combine(hashSeed, c.hash(name)), c.hash(value))
	}
	return identity
}

func (c *contentsV2) hash(ref uint64) uint64 {
	if c.hashes == nil {
		c.hashes = make([]uint64, len(c.Symbols))
	}
	if c.hashes[ref] == 0 {
		c.hashes[ref] = wire.HashBytes(c.Symbols[ref])
	}
	return c.hashes[ref]
}

func (c *contentsV2) encode(indices []int) []byte {
	series := make([][]byte, len(indices))
	for at, i := range indices {
		series[at] = c.Series[i]
	}
	var merger wire.Merger
	mustRead(merger.Add(&c.ParsedV2, series))
	return merger.Message(nil)
}

// fitV1 is how many of the first series become at most so many bytes of 1.0 together, but one at least.
func (c *contentsV2) fitV1(most int64) int {
	for i := range c.Series {
		size, err := c.SizeAsV1(c.Series[i])
		mustRead(err)
		if most -= int64(size); most < 0 && i > 0 {
			return i
		}
	}
	return c.len()
}

// asV1 returns as a 1.0 message those of the first n series that 1.0 can carry, with their indices and those of the others: the
// ones with names that are not classic, or with custom buckets.
func (c *contentsV2) asV1(n int) (message []byte, kept, others []int) {
	for i := range n {
		var ok bool
		var err error
		message, ok, err = c.AppendSeriesAsV1(message, c.Series[i], classicLabels)
		mustRead(err)
		if ok {
			kept = append(kept, i)
		} else {
			others = append(others, i)
		}
	}
	return message, kept, others
}

// classicLabels says whether all names are what 1.0 demands (Remote-Write 1.0, "Labels").
func classicLabels(labels []wire.Label) bool {
	return !slices.ContainsFunc(labels, func(l wire.Label) bool {
		return l.Name == nameLabel && !isClassicMetricName(l.Value) || !isClassicLabelName(l.Name)
	})
}

// renderFirst renders the first series of a compressed message for the log.
func renderFirst(p wire.Protocol, body []byte) string {
	c := takeApart(p, block.Decompress(body))
	if c.len() == 0 {
		return ""
	}
	return renderLabels(c.labels(0))
}
