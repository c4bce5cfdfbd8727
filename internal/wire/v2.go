// SPDX-License-Identifier: Apache-2.0

package wire // import "github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"

import (
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"math"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"unsafe"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/buffers"
)

// Field numbers of io.prometheus.write.v2.Request and its TimeSeries (Remote-Write 2.0, "Protobuf Message"). Samples and
// histograms are those of 1.0 with a start timestamp added.
const (
	requestSymbols      = 4
	requestTimeseriesV2 = 5

	seriesLabelsRefs   = 1
	seriesSamplesV2    = 2
	seriesHistogramsV2 = 3
	seriesExemplarsV2  = 4
	seriesMetadata     = 5

	sampleStart    = 3
	histogramStart = 17
)

// MetricType is the type in the metadata of a 2.0 series.
type MetricType uint8

// The types that OpenTelemetry's metrics become. The unspecified one is that of metrics whose type is unknown.
const (
	MetricTypeUnspecified MetricType = 0
	MetricTypeCounter     MetricType = 1
	MetricTypeGauge       MetricType = 2
	MetricTypeHistogram   MetricType = 3
	MetricTypeSummary     MetricType = 5
	MetricTypeInfo        MetricType = 6
	MetricTypeStateset    MetricType = 7
)

// seed is made for the process, so that nobody can choose strings whose hashes are alike and make a symbol table a list.
var seed = maphash.MakeSeed()

// Hash is the hash that a symbol table knows a string by. It is another one in each process, and nobody outside of it can
// compute it.
func Hash(symbol string) uint64 { return maphash.String(seed, symbol) }

// HashBytes is Hash for bytes.
func HashBytes(symbol []byte) uint64 { return maphash.Bytes(seed, symbol) }

// Symbols is the symbol table of a 2.0 message: each string once, the first one empty. The zero value is a table with
// nothing but the empty string.
type Symbols struct {
	// encoded is the table as the message has it, without the empty string at its beginning.
	encoded []byte
	// spans are where the strings stand in encoded.
	spans []symbolSpan
	// slots is a hash table of references, as small as possible, because time goes into waiting for it.
	slots []symbolSlot
	// generation is what Generation returns, or 0 if nobody has asked since the last reset.
	generation uint64
	// recent are strings that RefHashed has looked up, by the lower bits of their hashes. Neighbours have the same names and
	// bounds, which are the same strings in memory, so that to compare them is to compare pointers.
	recent []recentSymbol
}

type recentSymbol struct {
	symbol string
	ref    uint32
}

// recentSymbols is how many strings are remembered.
const recentSymbols = 64

type symbolSpan struct {
	hash       uint64
	start, end uint32
}

// symbolSlot is a reference, or 0 for none, and the upper half of the symbol's hash. The lower half says where to look.
type symbolSlot struct{ hash, ref uint32 }

// emptySymbol is the encoding of the empty string, the first one of each table.
const emptySymbol = 2

// Len is the number of strings in the table.
func (s *Symbols) Len() int { return 1 + len(s.spans) }

// Size is the bytes of the encoded table.
func (s *Symbols) Size() int { return emptySymbol + len(s.encoded) }

// Capacity is the bytes that the table holds, used or not.
func (s *Symbols) Capacity() int {
	return cap(s.encoded) + cap(s.spans)*int(unsafe.Sizeof(symbolSpan{})) + len(s.slots)*int(unsafe.Sizeof(symbolSlot{})) +
		len(s.recent)*int(unsafe.Sizeof(recentSymbol{}))
}

// generations makes the generations of tables different from each other, those of other processes included.
var generations = func() *atomic.Uint64 {
	var g atomic.Uint64
	g.Store(rand.Uint64())
	return &g
}()

// Generation changes with each reset, and is never 0. References are good for one generation, which no other table has.
func (s *Symbols) Generation() uint64 {
	for s.generation == 0 {
		s.generation = generations.Add(1)
	}
	return s.generation
}

// Reset empties the table.
func (s *Symbols) Reset() {
	if len(s.spans) > len(s.slots)/16 {
		clear(s.slots)
	} else {
		// A table that was large once stays cheap to empty. Whatever is in a slot was put into the first free one after where
		// its hash says, so emptying the slots from there up to a free one leaves none out.
		mask := uint64(len(s.slots) - 1)
		for n := range s.spans {
			for i := s.spans[n].hash & mask; s.slots[i].ref != 0; i = (i + 1) & mask {
				s.slots[i] = symbolSlot{}
			}
		}
	}
	s.encoded, s.spans = s.encoded[:0], s.spans[:0]
	clear(s.recent)
	s.generation = 0
}

// Ref returns the reference of a string, which it adds to the table if it is new.
func (s *Symbols) Ref(symbol string) uint32 {
	if symbol == "" {
		return 0
	}
	return s.RefHashed(symbol, Hash(symbol))
}

// RefBytes is RefHashed for bytes, which may be empty.
func (s *Symbols) RefBytes(symbol []byte, hash uint64) uint32 {
	if len(symbol) == 0 {
		return 0
	}
	return refHashed(s, symbol, hash)
}

// RefHashed is Ref for a string that is not empty and whose Hash is known.
func (s *Symbols) RefHashed(symbol string, hash uint64) uint32 {
	if s.recent == nil {
		s.recent = make([]recentSymbol, recentSymbols)
	}
	r := &s.recent[hash%recentSymbols]
	if r.symbol != symbol {
		*r = recentSymbol{symbol, refHashed(s, symbol, hash)}
	}
	return r.ref
}

func refHashed[T string | []byte](s *Symbols, symbol T, hash uint64) uint32 {
	if 2*len(s.spans) >= len(s.slots) {
		s.grow()
	}
	mask, upper := uint64(len(s.slots)-1), uint32(hash>>32)
	for i := hash & mask; ; i = (i + 1) & mask {
		slot := &s.slots[i]
		if slot.ref == 0 {
			*slot = symbolSlot{hash: upper, ref: addSymbol(s, symbol, hash)}
			return slot.ref
		}
		if slot.hash == upper && string(s.bytes(slot.ref)) == string(symbol) {
			return slot.ref
		}
	}
}

func addSymbol[T string | []byte](s *Symbols, symbol T, hash uint64) uint32 {
	b := buffers.Room(&s.encoded, 1+binary.MaxVarintLen32+len(symbol))
	b = binary.AppendUvarint(append(b, requestSymbols<<3|wireLen), uint64(len(symbol)))
	start := len(b)
	b = append(b, symbol...)
	s.encoded = s.encoded[:len(b)]
	s.spans = append(s.spans, symbolSpan{hash, uint32(start), uint32(len(s.encoded))})
	return uint32(len(s.spans))
}

func (s *Symbols) bytes(ref uint32) []byte {
	span := s.spans[ref-1]
	return s.encoded[span.start:span.end]
}

func (s *Symbols) grow() {
	s.slots = make([]symbolSlot, max(64, 2*len(s.slots)))
	mask := uint64(len(s.slots) - 1)
	for n := range s.spans {
		hash := s.spans[n].hash
		i := hash & mask
		for s.slots[i].ref != 0 {
			i = (i + 1) & mask
		}
		s.slots[i] = symbolSlot{hash: uint32(hash >> 32), ref: uint32(n + 1)}
	}
}

// AppendTo appends the table as it stands at the beginning of a message.
func (s *Symbols) AppendTo(b []byte) []byte {
	b = append(b, requestSymbols<<3|wireLen, 0)
	return append(b, s.encoded...)
}

// AppendSampleV2 is AppendSample with a start timestamp in milliseconds since the epoch, 0 for none.
func AppendSampleV2(b []byte, value float64, timestamp, start int64) []byte {
	b = append(b, seriesSamplesV2<<3|wireLen, 0)
	begin := len(b)
	b = appendDouble(b, 1, value)
	b = appendUint(b, sampleTimestamp, uint64(timestamp))
	b = appendUint(b, sampleStart, uint64(start))
	b[begin-1] = byte(len(b) - begin)
	return b
}

// AppendHistogramV2 is AppendHistogram with a start timestamp in milliseconds since the epoch, 0 for none.
func AppendHistogramV2(b []byte, h *Histogram, timestamp, start int64, scratch []byte) (dst, newScratch []byte) {
	m := appendUint(appendHistogramFields(scratch[:0], h, timestamp), histogramStart, uint64(start))
	return appendBytes(b, seriesHistogramsV2, m), m
}

// AppendExemplarV2 appends an exemplar as a field of a TimeSeries.
func AppendExemplarV2(b []byte, e *Exemplar, s *Symbols, scratch []byte) (dst, newScratch []byte) {
	m := scratch[:0]
	size := 0
	for _, l := range e.Labels {
		size += UvarintLen(uint64(s.Ref(l.Name))) + UvarintLen(uint64(s.Ref(l.Value)))
	}
	if size > 0 {
		m = binary.AppendUvarint(appendTag(m, 1, wireLen), uint64(size))
		for _, l := range e.Labels {
			m = binary.AppendUvarint(m, uint64(s.Ref(l.Name)))
			m = binary.AppendUvarint(m, uint64(s.Ref(l.Value)))
		}
	}
	m = appendDouble(m, 2, e.Value)
	m = appendUint(m, 3, uint64(e.Timestamp))
	return appendBytes(b, seriesExemplarsV2, m), m
}

// Metadata is the metadata of a series, its strings as references.
type Metadata struct {
	Type       MetricType
	Help, Unit uint32
}

// MaxMetadataLen is the most bytes that metadata takes besides its strings, if those are new to the symbol table, and the
// field of the references of a series' labels besides those.
const MaxMetadataLen = 2 + 2 + 4*(1+binary.MaxVarintLen32) + 1 + binary.MaxVarintLen32

// AppendMetadata appends the metadata as a field of a TimeSeries.
func AppendMetadata(b []byte, m Metadata) []byte {
	b = append(b, seriesMetadata<<3|wireLen, 0)
	begin := len(b)
	b = appendUint(b, 1, uint64(m.Type))
	b = appendUint(b, 3, uint64(m.Help))
	b = appendUint(b, 4, uint64(m.Unit))
	b[begin-1] = byte(len(b) - begin)
	return b
}

// AppendRefs appends the references of a label's name and value as a TimeSeries has them.
func AppendRefs(b []byte, name, value uint32) []byte {
	return appendRef(appendRef(b, name), value)
}

// appendRef is quick for the references of one or two bytes that most are.
func appendRef(b []byte, r uint32) []byte {
	switch {
	case r < 1<<7:
		return append(b, byte(r))
	case r < 1<<14:
		return append(b, byte(r)|0x80, byte(r>>7))
	default:
		return binary.AppendUvarint(b, uint64(r))
	}
}

// AppendSeriesV2 appends a series to the series of a message: the references of its labels as by AppendRefs, and the rest
// of its fields already encoded.
func AppendSeriesV2(b, refs, rest []byte) []byte {
	b = append(b, requestTimeseriesV2<<3|wireLen)
	b = binary.AppendUvarint(b, uint64(lenFieldLen(len(refs))+len(rest)))
	b = binary.AppendUvarint(append(b, seriesLabelsRefs<<3|wireLen), uint64(len(refs)))
	b = append(b, refs...)
	return append(b, rest...)
}

// ParsedV2 is a 2.0 message taken apart: its strings, and its encoded series.
type ParsedV2 struct {
	Symbols [][]byte
	Series  [][]byte
}

// ParseV2 takes a message apart. What it returns is valid as long as the message.
func ParseV2(message []byte) (ParsedV2, error) {
	var p ParsedV2
	err := p.Parse(message)
	return p, err
}

// Parse is ParseV2 into p, whose slices it uses again.
func (p *ParsedV2) Parse(message []byte) error {
	p.Symbols, p.Series = p.Symbols[:0], p.Series[:0]
	for len(message) > 0 {
		f, rest, err := nextField(message)
		if err != nil {
			return err
		}
		message = rest
		switch {
		case f.number == requestSymbols && f.wireType == wireLen:
			p.Symbols = append(p.Symbols, f.bytes)
		case f.number == requestTimeseriesV2 && f.wireType == wireLen:
			p.Series = append(p.Series, f.bytes)
		default:
			return fmt.Errorf("%w: field %d of a request", ErrMalformed, f.number)
		}
	}
	return nil
}

// symbol returns the string of a reference.
func (p *ParsedV2) symbol(ref uint64) ([]byte, error) {
	if ref >= uint64(len(p.Symbols)) {
		return nil, fmt.Errorf("%w: reference %d of %d symbols", ErrMalformed, ref, len(p.Symbols))
	}
	return p.Symbols[ref], nil
}

// Labels returns the labels of a series of the message.
func (p *ParsedV2) Labels(series []byte) ([]Label, error) {
	refs, err := LabelsRefs(series)
	if err != nil {
		return nil, err
	}
	return p.labels(refs)
}

// LabelsRefs returns the references of a series' labels.
func LabelsRefs(series []byte) ([]byte, error) {
	for len(series) > 0 {
		f, rest, err := nextField(series)
		if err != nil {
			return nil, err
		}
		if series = rest; f.number == seriesLabelsRefs {
			return f.bytes, nil
		}
	}
	return nil, nil
}

// NextRef takes the first one off references.
func NextRef(refs []byte) (ref uint64, rest []byte, err error) {
	ref, n := binary.Uvarint(refs)
	if n <= 0 {
		return 0, nil, fmt.Errorf("%w: bad reference", ErrMalformed)
	}
	return ref, refs[n:], nil
}

func (p *ParsedV2) labels(refs []byte) ([]Label, error) {
	var labels []Label
	for len(refs) > 0 {
		var pair [2]string
		for i := range pair {
			var ref uint64
			var err error
			if ref, refs, err = NextRef(refs); err != nil {
				return nil, err
			}
			symbol, err := p.symbol(ref)
			if err != nil {
				return nil, err
			}
			pair[i] = string(symbol)
		}
		labels = append(labels, Label{Name: pair[0], Value: pair[1]})
	}
	return labels, nil
}

// Merger makes one message of series from several, with a symbol table of its own that holds what they use.
type Merger struct {
	symbols Symbols
	series  []byte
	// refs are the references of the current message's symbols in the new table, 0 where not yet known.
	refs []uint32
	// payloads have those of the symbols of parts.
	payloads payloadRefs
	drafts   draftPart

	labels  []byte
	rest    []byte
	packed  []byte
	scratch []byte
}

// Add adds series of a message.
func (m *Merger) Add(p *ParsedV2, series [][]byte) error {
	m.refs = slices.Grow(m.refs[:0], len(p.Symbols))[:len(p.Symbols)]
	clear(m.refs)
	for _, s := range series {
		if err := m.addSeries(p, s); err != nil {
			return err
		}
	}
	return nil
}

// Message appends the message to b.
func (m *Merger) Message(b []byte) []byte {
	return append(m.symbols.AppendTo(b), m.series...)
}

// Reset makes the merger ready for another message.
func (m *Merger) Reset() {
	m.symbols.Reset()
	m.series = m.series[:0]
	m.payloads.reset()
}

func (m *Merger) addSeries(p *ParsedV2, series []byte) error {
	m.labels, m.rest = m.labels[:0], m.rest[:0]
	for len(series) > 0 {
		f, rest, err := nextField(series)
		if err != nil {
			return err
		}
		whole := series[:len(series)-len(rest)]
		series = rest
		switch f.number {
		case seriesLabelsRefs:
			if m.labels, err = m.translate(p, m.labels, f.bytes); err != nil {
				return err
			}
		case seriesExemplarsV2:
			if err := m.addExemplar(p, f.bytes); err != nil {
				return err
			}
		case seriesMetadata:
			if err := m.addMetadata(p, f.bytes); err != nil {
				return err
			}
		default:
			m.rest = append(m.rest, whole...)
		}
	}
	m.series = AppendSeriesV2(m.series, m.labels, m.rest)
	return nil
}

// translate appends the new references of packed old ones, packed too.
func (m *Merger) translate(p *ParsedV2, to, packed []byte) ([]byte, error) {
	for len(packed) > 0 {
		old, rest, err := NextRef(packed)
		if err != nil {
			return to, err
		}
		packed = rest
		r, err := m.ref(p, old)
		if err != nil {
			return to, err
		}
		to = appendRef(to, r)
	}
	return to, nil
}

func (m *Merger) ref(p *ParsedV2, old uint64) (uint32, error) {
	if old < uint64(len(m.refs)) && m.refs[old] != 0 {
		return m.refs[old], nil
	}
	symbol, err := p.symbol(old)
	if err != nil || len(symbol) == 0 {
		return 0, err
	}
	m.refs[old] = refHashed(&m.symbols, symbol, HashBytes(symbol))
	return m.refs[old], nil
}

func (m *Merger) addExemplar(p *ParsedV2, exemplar []byte) error {
	var refs, other []byte
	for len(exemplar) > 0 {
		f, rest, err := nextField(exemplar)
		if err != nil {
			return err
		}
		if f.number == 1 {
			if refs, err = m.translate(p, refs, f.bytes); err != nil {
				return err
			}
		} else {
			other = append(other, exemplar[:len(exemplar)-len(rest)]...)
		}
		exemplar = rest
	}
	e := m.scratch[:0]
	if len(refs) > 0 {
		e = appendBytes(e, 1, refs)
	}
	m.scratch = append(e, other...)
	m.rest = appendBytes(m.rest, seriesExemplarsV2, m.scratch)
	return nil
}

func (m *Merger) addMetadata(p *ParsedV2, metadata []byte) error {
	var md Metadata
	for len(metadata) > 0 {
		f, rest, err := nextField(metadata)
		if err != nil {
			return err
		}
		metadata = rest
		switch f.number {
		case 1:
			md.Type = MetricType(f.value)
		case 3:
			md.Help, err = m.ref(p, f.value)
		case 4:
			md.Unit, err = m.ref(p, f.value)
		}
		if err != nil {
			return err
		}
	}
	m.rest = AppendMetadata(m.rest, md)
	return nil
}

// AppendSeriesAsV1 appends a series of a 2.0 message to a 1.0 message. What 1.0 has no place for, like metadata and start
// timestamps, is left out. ok is false, and nothing is appended, for a native histogram with custom buckets, which 1.0
// cannot carry, and for labels that accept returns false for. Of an exemplar each such label is left out.
func (p *ParsedV2) AppendSeriesAsV1(b, series []byte, accept func([]Label) bool) (dst []byte, ok bool, err error) {
	var v1 []byte
	for len(series) > 0 {
		f, rest, err := nextField(series)
		if err != nil {
			return b, false, err
		}
		series = rest
		switch f.number {
		case seriesLabelsRefs:
			labels, err := p.labels(f.bytes)
			if err != nil {
				return b, false, err
			}
			if !accept(labels) {
				return b, false, nil
			}
			for _, l := range labels {
				v1 = AppendLabel(v1, l.Name, l.Value)
			}
		case seriesSamplesV2:
			sample, err := without(f.bytes, sampleStart)
			if err != nil {
				return b, false, err
			}
			v1 = appendBytes(v1, seriesSamples, sample)
		case seriesHistogramsV2:
			if schema, err := histogramSchema(f.bytes); err != nil || schema == CustomBucketsSchema {
				return b, false, err
			}
			histogram, err := without(f.bytes, histogramStart)
			if err != nil {
				return b, false, err
			}
			v1 = appendBytes(v1, seriesHistograms, histogram)
		case seriesExemplarsV2:
			if v1, err = p.appendExemplarAsV1(v1, f.bytes, accept); err != nil {
				return b, false, err
			}
		}
	}
	b = AppendSeriesHeader(b, len(v1))
	return append(b, v1...), true, nil
}

// SizeAsV1 is the most bytes that AppendSeriesAsV1 appends.
func (p *ParsedV2) SizeAsV1(series []byte) (size int, err error) {
	for len(series) > 0 {
		f, rest, err := nextField(series)
		if err != nil {
			return 0, err
		}
		labels := []byte(nil)
		switch f.number {
		case seriesLabelsRefs:
			labels = f.bytes
		case seriesExemplarsV2:
			if e, _, err := nextField(f.bytes); err == nil && e.number == 1 {
				labels = e.bytes
			}
			fallthrough
		default:
			size += len(series) - len(rest) + binary.MaxVarintLen32
		}
		series = rest
		for len(labels) > 0 {
			var ref uint64
			if ref, labels, err = NextRef(labels); err != nil {
				return 0, err
			}
			symbol, err := p.symbol(ref)
			if err != nil {
				return 0, err
			}
			// With half of what precedes the label that it is the name or the value of.
			size += lenFieldLen(len(symbol)) + MaxSeriesHeaderLen/2
		}
	}
	return size + MaxSeriesHeaderLen, nil
}

func (p *ParsedV2) appendExemplarAsV1(b, exemplar []byte, accept func([]Label) bool) ([]byte, error) {
	var e Exemplar
	for len(exemplar) > 0 {
		f, rest, err := nextField(exemplar)
		if err != nil {
			return b, err
		}
		exemplar = rest
		switch f.number {
		case 1:
			if e.Labels, err = p.labels(f.bytes); err != nil {
				return b, err
			}
			e.Labels = slices.DeleteFunc(e.Labels, func(l Label) bool { return !accept([]Label{l}) })
		case 2:
			e.Value = math.Float64frombits(f.value)
		case 3:
			e.Timestamp = int64(f.value)
		}
	}
	return AppendExemplar(b, &e), nil
}

// without returns a message without one of its fields.
func without(message []byte, number int) ([]byte, error) {
	var kept []byte
	for len(message) > 0 {
		f, rest, err := nextField(message)
		if err != nil {
			return nil, err
		}
		if f.number != number {
			kept = append(kept, message[:len(message)-len(rest)]...)
		}
		message = rest
	}
	return kept, nil
}

func histogramSchema(histogram []byte) (int64, error) {
	for len(histogram) > 0 {
		f, rest, err := nextField(histogram)
		if err != nil {
			return 0, err
		}
		histogram = rest
		if f.number == 4 {
			return int64(f.value>>1) ^ -int64(f.value&1), nil
		}
	}
	return 0, nil
}
