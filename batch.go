package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/golang/snappy"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// message is encoded series: a Remote-Write message before compression, and what must be known of it.
type message struct {
	raw     []byte
	samples int
	// oldest and newest are the least and the greatest timestamp, in milliseconds since the epoch.
	oldest, newest int64
}

func (m *message) empty() bool {
	return m.samples == 0
}

// fits says whether a message of size bytes and so many samples can be added within the limits. Anything fits an empty
// message, so that a series over the limit travels alone.
func (m *message) fits(limits *BatchConfig, size, samples int) bool {
	return m.empty() || m.samples+samples <= limits.MaxSamples && int64(len(m.raw)+size) <= limits.MaxSizeBytes
}

// cover extends the range of timestamps.
func (m *message) cover(oldest, newest int64) {
	if m.empty() {
		m.oldest, m.newest = math.MaxInt64, math.MinInt64
	}
	m.oldest, m.newest = min(m.oldest, oldest), max(m.newest, newest)
}

// segment is what one payload holds for one partition. It fills up like a batch; what fills a batch is sealed and
// compressed by the caller's goroutine, before any lock is taken.
type segment struct {
	message
	// index is those series of raw that the guard must look at.
	index []indexEntry
	full  []fullSegment
}

// fullSegment is a sealed part of a segment.
type fullSegment struct {
	batch *batch
	index []indexEntry
}

// indexEntry is what the guard must know of an encoded series.
type indexEntry struct {
	hash      uint64
	timestamp int64
	// start and end are where the series is in the message.
	start, end int
	kind       entryKind
}

// entryKind says how the guard treats a series.
type entryKind uint8

const (
	// guardedEntry is dropped and counted if it is not newer than the last one of its series.
	guardedEntry entryKind = iota
	// targetEntry is a target_info that was received as a metric: guarded whatever the configuration.
	targetEntry
	// madeTargetEntry is a target_info that the translation made. It is left out without being counted: nothing was
	// received that is lost.
	madeTargetEntry
)

func (s *segment) empty() bool {
	return s.message.empty() && len(s.full) == 0
}

// total is the number of samples.
func (s *segment) total() int {
	n := s.samples
	for i := range s.full {
		n += s.full[i].batch.samples
	}
	return n
}

// size is the bytes that the segment adds to a queue.
func (s *segment) size() int64 {
	n := int64(len(s.raw))
	for i := range s.full {
		n += int64(len(s.full[i].batch.body))
	}
	return n
}

// reset empties the segment; its buffers stay.
func (s *segment) reset() {
	clear(s.full)
	*s = segment{message: message{raw: s.raw[:0]}, index: s.index[:0], full: s.full[:0]}
}

// add appends the translator's current point as a series of its own.
func (s *segment) add(t *translator, ls *labelSet, name *seriesName, le, quantile extraLabel, hash uint64) {
	size := seriesSize(t, ls, name, le, quantile)
	if !s.fits(&t.limits, size+wire.MaxSeriesHeaderLen, 1) {
		s.seal()
	}
	start := len(s.raw)
	s.raw = appendLabels(wire.AppendSeriesHeader(s.raw, size), ls, name, le, quantile)
	s.raw = append(s.raw, t.buf...)
	s.cover(t.point.timestamp, t.point.timestamp)
	s.samples++
	if !t.guard && !name.targetInfo {
		return
	}
	kind := guardedEntry
	switch {
	case name == &t.targetInfoName:
		kind = madeTargetEntry
	case name.targetInfo:
		kind = targetEntry
	}
	s.index = append(s.index, indexEntry{hash: hash, timestamp: t.point.timestamp, start: start, end: len(s.raw), kind: kind})
}

func seriesSize(t *translator, ls *labelSet, name *seriesName, le, quantile extraLabel) int {
	return len(ls.buf) + len(name.label) + len(le.label) + len(quantile.label) + len(t.buf)
}

// appendLabels appends the labels of a series in order.
func appendLabels(b []byte, ls *labelSet, name *seriesName, le, quantile extraLabel) []byte {
	b = append(b, ls.buf[:ls.cut[0]]...)
	b = append(b, name.label...)
	b = append(b, ls.buf[ls.cut[0]:ls.cut[1]]...)
	b = append(b, le.label...)
	b = append(b, ls.buf[ls.cut[1]:ls.cut[2]]...)
	b = append(b, quantile.label...)
	return append(b, ls.buf[ls.cut[2]:]...)
}

// seal makes a batch of what the segment holds so far.
func (s *segment) seal() {
	b := &batch{message: s.message, body: compress(s.raw)}
	b.raw = nil
	s.full = append(s.full, fullSegment{batch: b, index: s.index})
	s.message = message{raw: s.raw[:0]}
	s.index = nil
}

// batch is a sealed message on its way through the queue.
type batch struct {
	message
	// body is the compressed message, the body of the request. The message itself is let go when body is there.
	body []byte
	// accepted is when its first sample was accepted.
	accepted time.Time
	// ready is closed when body is final. It is nil for a batch whose body was final before it entered the queue.
	ready chan struct{}
	// excised are the parts of the message that the guard has taken out, in order, until body is made without them.
	excised []indexEntry
	// evicted is set under the partition's lock when the batch is dropped from the queue.
	evicted bool
}

// size is the bytes that the batch takes in a queue.
func (b *batch) size() int64 {
	return int64(len(b.raw) + len(b.body))
}

// encoded returns the body that the batch shall have.
func (b *batch) encoded() []byte {
	switch {
	case b.body == nil:
		return compress(b.raw)
	case len(b.excised) > 0:
		return compress(cutOut(decompress(b.body), b.excised))
	default:
		return b.body
	}
}

// cutOut removes parts of a message.
func cutOut(raw []byte, parts []indexEntry) []byte {
	kept := make([]byte, 0, len(raw))
	at := 0
	for _, e := range parts {
		kept = append(kept, raw[at:e.start]...)
		at = e.end
	}
	return append(kept, raw[at:]...)
}

// buffers are for messages and for their compression. Who takes one owns it until it is given back.
var buffers = sync.Pool{New: func() any { return new([]byte) }}

func takeBuffer() []byte {
	return (*buffers.Get().(*[]byte))[:0]
}

func giveBuffer(b []byte) {
	if cap(b) > 0 {
		buffers.Put(&b)
	}
}

// compress returns the Snappy block format of a message (Remote-Write 1.0, "Protocol"), in exactly as many bytes as it
// takes: it is what the queue holds.
func compress(raw []byte) []byte {
	scratch := takeBuffer()
	if n := snappy.MaxEncodedLen(len(raw)); cap(scratch) < n {
		scratch = make([]byte, n)
	}
	encoded := snappy.Encode(scratch[:cap(scratch)], raw)
	body := make([]byte, len(encoded))
	copy(body, encoded)
	giveBuffer(scratch)
	return body
}

// decompress undoes compress.
func decompress(body []byte) []byte {
	raw, err := snappy.Decode(nil, body)
	if err != nil {
		// It was made by compress and has not left the process since.
		panic(fmt.Sprintf("a batch cannot be decompressed: %v", err))
	}
	return raw
}

// example renders the first series of the segment for the log.
func (s *segment) example() string {
	if len(s.full) > 0 {
		return s.full[0].batch.example()
	}
	return renderFirst(s.raw)
}

// example renders the first series of the batch for the log.
func (b *batch) example() string {
	if b.body == nil {
		return renderFirst(b.raw)
	}
	return renderFirst(decompress(b.body))
}

// renderFirst renders the first series of a message.
func renderFirst(raw []byte) string {
	_, series, _, err := wire.NextSeries(raw)
	if err != nil {
		return ""
	}
	return renderSeries(series)
}

// renderSeries renders an encoded series for a person, as PromQL would select it.
func renderSeries(series []byte) string {
	labels, err := wire.SeriesLabels(nil, series)
	if err != nil {
		return err.Error()
	}
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
