package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// protocol is a version of Remote-Write.
type protocol uint8

const (
	protocolV1 protocol = iota
	protocolV2
)

// message is the full name of the version's message.
func (p protocol) message() ProtobufMessage {
	if p == protocolV2 {
		return MessageV2
	}
	return MessageV1
}

// message is encoded series: what a request carries, before compression, and what must be known of it.
type message struct {
	// raw is a Remote-Write message if parts is nil. Otherwise it is parts, of which a message is made when it is sealed.
	raw      []byte
	protocol protocol
	parts    []part
	// sizes are those of the message before compression.
	sizes sizes
	// samples counts native histograms too, histograms counts them alone; exemplars are those of all series.
	samples, histograms, exemplars int
	// oldest and newest are the least and the greatest timestamp, in milliseconds since the epoch.
	oldest, newest int64
}

// part is a part of a message that is not sealed yet. In 2.0 it is drafts with their symbol table, in 1.0 series that may
// be compressed already.
type part struct {
	// end is where it ends in raw.
	end int
	// piece is the part's content if it was taken out of raw.
	piece *piece
	// packed is how many bytes it has before compression if it is compressed, or else 0.
	packed int
	// excised are the series of a compressed part that the guard has taken out, in order.
	excised []indexEntry
}

// sizes bound the size of a message: plain are the bytes besides references to symbols.
type sizes struct{ plain, refs, symbols int }

func (a sizes) plus(b sizes) sizes {
	return sizes{a.plain + b.plain, a.refs + b.refs, a.symbols + b.symbols}
}

// bytes is the most bytes of the message.
func (a sizes) bytes() int64 {
	return int64(a.plain) + int64(a.refs)*int64(wire.UvarintLen(uint64(a.symbols)))
}

func (m *message) empty() bool {
	return m.samples == 0
}

// fits says whether so much can be added to a message within the limits. Anything fits an empty message, so that a series
// over the limit travels alone.
func (m *message) fits(limits *BatchConfig, added sizes, samples int) bool {
	return m.empty() || m.samples+samples <= limits.MaxSamples && m.sizes.plus(added).bytes() <= int64(limits.MaxSizeBytes)
}

// cost is what the message counts in a queue until it is compressed: what does not compress grows by a few bytes in each
// part, and a queue that is full already has no room for them.
func (m *message) cost() int64 {
	c := cost(len(m.raw), len(m.parts))
	if m.protocol == protocolV2 {
		return c // there are no pieces, but many parts
	}
	for i := range m.parts {
		if p := m.parts[i].piece; p != nil {
			c += p.cost()
		}
	}
	return c
}

func cost(n, parts int) int64 {
	if n == 0 && parts == 0 {
		return 0
	}
	return int64(n + n>>10 + 64 + 8*parts)
}

// cover extends the range of timestamps.
func (m *message) cover(oldest, newest int64) {
	if m.empty() {
		m.oldest, m.newest = math.MaxInt64, math.MinInt64
	}
	m.oldest, m.newest = min(m.oldest, oldest), max(m.newest, newest)
}

// compressed returns the body of a request with the message.
func (m *message) compressed() []byte {
	switch {
	case m.parts == nil:
		return compress(m.raw)
	case m.protocol == protocolV1:
		return joinParts(m.raw, m.parts)
	}
	merger := mergers.Get().(*wire.Merger)
	defer mergers.Put(merger)
	merger.Reset()
	at := 0
	for _, p := range m.parts {
		merger.AddDrafts(m.raw[at:p.end])
		at = p.end
	}
	merged := merger.Message(takeBuffer())
	defer giveBuffer(merged)
	return compress(merged)
}

// mergers make messages of drafts. Each has an owner from Get to Put.
var mergers = sync.Pool{New: func() any { return new(wire.Merger) }}

// mustRead panics for a message that cannot be read: it was encoded in this process and has not left it since.
func mustRead(err error) {
	if err != nil {
		panic(fmt.Sprintf("a message cannot be read: %v", err))
	}
}

// contents is a message taken apart into its series, each of one sample or histogram. It is for what is rare: splitting,
// sending as another version, cutting out, logging.
type contents struct {
	protocol protocol
	// v1 is the series of 1.0 with their headers, as they stand in the message.
	v1 [][]byte
	v2 wire.ParsedV2
}

// takeApart takes a message apart.
func takeApart(p protocol, raw []byte) contents {
	c := contents{protocol: p}
	var err error
	if p == protocolV2 {
		c.v2, err = wire.ParseV2(raw)
	}
	for p == protocolV1 && len(raw) > 0 && err == nil {
		var frame []byte
		if frame, _, raw, err = wire.NextSeries(raw); err == nil {
			c.v1 = append(c.v1, frame)
		}
	}
	mustRead(err)
	return c
}

func (c *contents) len() int {
	if c.protocol == protocolV2 {
		return len(c.v2.Series)
	}
	return len(c.v1)
}

// series returns the encoded series of an index.
func (c *contents) series(i int) []byte {
	if c.protocol == protocolV2 {
		return c.v2.Series[i]
	}
	_, series, _, _ := wire.NextSeries(c.v1[i])
	return series
}

// point returns the timestamp of a series, and whether it is a native histogram.
func (c *contents) point(i int) (timestamp int64, histogram bool) {
	read := wire.SeriesPoint
	if c.protocol == protocolV2 {
		read = wire.SeriesPointV2
	}
	timestamp, histogram, err := read(c.series(i))
	mustRead(err)
	return timestamp, histogram
}

// exemplars is the number of a 2.0 series' exemplars; with 1.0 nobody asks for it.
func (c *contents) exemplars(i int) int {
	if c.protocol == protocolV1 {
		return 0
	}
	n, err := wire.CountExemplarsV2(c.series(i))
	mustRead(err)
	return n
}

func (c *contents) labels(i int) []wire.Label {
	var labels []wire.Label
	var err error
	if c.protocol == protocolV2 {
		labels, err = c.v2.Labels(c.series(i))
	} else {
		labels, err = wire.SeriesLabels(nil, c.series(i))
	}
	mustRead(err)
	return labels
}

// message puts some of the series together again, in the order of their indices.
func (c *contents) message(indices []int) message {
	m := message{protocol: c.protocol}
	for _, i := range indices {
		ts, histogram := c.point(i)
		m.cover(ts, ts)
		m.samples++
		if histogram {
			m.histograms++
		}
		m.exemplars += c.exemplars(i)
	}
	if m.empty() {
		return m
	}
	if c.protocol == protocolV1 {
		for _, i := range indices {
			m.raw = append(m.raw, c.v1[i]...)
		}
		return m
	}
	series := make([][]byte, len(indices))
	for at, i := range indices {
		series[at] = c.v2.Series[i]
	}
	var merger wire.Merger
	mustRead(merger.Add(&c.v2, series))
	m.raw = merger.Message(nil)
	return m
}

// asV1 returns the message's series as a 1.0 message, and as a 2.0 message those that 1.0 cannot carry: with names that
// are not classic, or with custom buckets.
func (c *contents) asV1() (v1, rest message) {
	var kept, other []int
	var raw []byte
	for i := range c.v2.Series {
		var ok bool
		var err error
		raw, ok, err = c.v2.AppendSeriesAsV1(raw, c.v2.Series[i], classicLabels)
		mustRead(err)
		if ok {
			kept = append(kept, i)
		} else {
			other = append(other, i)
		}
	}
	v1 = c.message(kept)
	v1.protocol, v1.raw = protocolV1, raw
	return v1, c.message(other)
}

// classicLabels says whether all names are what 1.0 demands (Remote-Write 1.0, "Labels").
func classicLabels(labels []wire.Label) bool {
	return !slices.ContainsFunc(labels, func(l wire.Label) bool {
		return l.Name == nameLabel && !isClassicMetricName(l.Value) || !isClassicLabelName(l.Name)
	})
}

// renderFirst renders the first series of a message for the log.
func renderFirst(p protocol, raw []byte) string {
	c := takeApart(p, raw)
	if c.len() == 0 {
		return ""
	}
	return renderLabels(c.labels(0))
}

// renderLabels renders a series for a person, as PromQL would select it.
func renderLabels(labels []wire.Label) string {
	var name string
	var rest []string
	for _, l := range labels {
		if l.Name == nameLabel {
			name = l.Value
			continue
		}
		rest = append(rest, l.Name+"="+strconv.Quote(l.Value))
	}
	return truncate(name+"{"+strings.Join(rest, ", ")+"}", maxRendered)
}

// maxRendered bounds what a series takes in a log line, in bytes.
const maxRendered = 1 << 10

// truncate cuts s to at most n bytes, at the end of a character.
func truncate(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "..."
}
