// SPDX-License-Identifier: Apache-2.0

// Package wire reads the messages of Remote-Write 1.0 and 2.0 without an allocation for what it has seen before: series
// are told apart by a hash of their labels, and the labels themselves are only made when somebody asks.
package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/maphash"
	"math"

	"github.com/prometheus/prometheus/prompb"
	"google.golang.org/protobuf/encoding/protowire"
)

// Sample is a sample of a series.
type Sample struct {
	Time int64
	// Bits are those of the value, or of a native histogram's count.
	Bits   uint64
	native int32 // its place in the request's native histograms, counted from 1, or 0
}

// Native is what a native histogram has besides its count.
type Native struct {
	Sum     float64
	Buckets uint64 // the sum of Bucket over all of its buckets
}

// NativeOf returns what a sample of the request has as a native histogram, or nil if it is none.
func (r *Request) NativeOf(s *Sample) *Native {
	if s.native == 0 {
		return nil
	}
	return &r.natives[s.native-1]
}

// Series is a series of a request.
type Series struct {
	// Key is a hash of the labels, the same in all requests of a version of the protocol and a process.
	Key     uint64
	Samples []Sample

	samples span
	labels  []byte // of 1.0
	refs    span   // of 2.0
}

// span is a part of what all series of a request share.
type span struct{ from, to int }

// Request is a message. It can be used for one message after the other; what it has of one is overwritten by the next.
type Request struct {
	Version   int
	Series    []Series
	Exemplars int
	// Floats and Histograms are how many samples of each type all series have.
	Floats, Histograms int

	samples []Sample
	natives []Native
	refs    []uint32
	symbols [][]byte
	hashes  []uint64 // of symbols
	layout  layout
}

// seed makes the keys of this process.
var seed = maphash.MakeSeed()

// The fields of the messages. In both versions, the labels or their references are field 1 of a series, and the samples are
// field 2; a sample has its value in field 1 and its time in field 2.
const (
	seriesV1     = 1
	exemplarsV1  = 3
	histogramsV1 = 4
	symbolsV2    = 4
	seriesV2     = 5
	histogramsV2 = 3
	exemplarsV2  = 4
)

// Parse reads a message of version 1 or 2. The message must not change while the request is used.
func (r *Request) Parse(version int, message []byte) error {
	*r = Request{
		Version: version, Series: r.Series[:0], samples: r.samples[:0], natives: r.natives[:0], refs: r.refs[:0], symbols: r.symbols[:0],
		hashes: r.hashes[:0], layout: r.layout,
	}
	series := protowire.Number(seriesV1)
	if version == 2 {
		series = seriesV2
		if err := r.parseSymbols(message); err != nil {
			return err
		}
	}
	for len(message) > 0 {
		f, err := next(&message)
		if err != nil {
			return err
		}
		if f.number != series {
			continue
		}
		if f.kind != protowire.BytesType {
			return errKind
		}
		if err := r.parseSeries(f.bytes); err != nil {
			return err
		}
	}
	for i := range r.Series {
		s := &r.Series[i]
		s.Samples = r.samples[s.samples.from:s.samples.to]
	}
	return nil
}

// parseSymbols reads the symbol table, which need not come before the series.
func (r *Request) parseSymbols(message []byte) error {
	for len(message) > 0 {
		f, err := next(&message)
		if err != nil {
			return err
		}
		if f.number != symbolsV2 {
			continue
		}
		if f.kind != protowire.BytesType {
			return errKind
		}
		r.symbols = append(r.symbols, f.bytes)
		r.hashes = append(r.hashes, maphash.Bytes(seed, f.bytes))
	}
	return nil
}

func (r *Request) parseSeries(message []byte) error {
	s := Series{samples: span{from: len(r.samples)}, refs: span{from: len(r.refs)}}
	exemplars, histograms := protowire.Number(exemplarsV1), protowire.Number(histogramsV1)
	if r.Version == 2 {
		exemplars, histograms = exemplarsV2, histogramsV2
	}
	// In 1.0 the labels mostly stand together at the beginning, where they can be taken as they are.
	whole := message
	begin, end, apart := -1, -1, false
	if r.Version == 1 {
		if n := leadingFields(message); n > 0 {
			begin, end, message = 0, n, message[n:]
		}
	}
	for len(message) > 0 {
		at := len(whole) - len(message)
		f, err := next(&message)
		if err != nil {
			return err
		}
		switch {
		case f.number == 1 && r.Version == 1:
			if f.kind != protowire.BytesType {
				return errKind
			}
			if begin < 0 {
				begin = at
			} else if end != at {
				apart = true
			}
			end = len(whole) - len(message)
		case f.number == 1:
			if err := r.parseRefs(f); err != nil {
				return err
			}
		case f.number == 2:
			if err := r.parseSample(f); err != nil {
				return err
			}
			r.Floats++
		case f.number == histograms:
			if err := r.parseHistogram(f); err != nil {
				return err
			}
			r.Histograms++
		case f.number == exemplars:
			if f.kind != protowire.BytesType {
				return errKind
			}
			r.Exemplars++
		}
	}
	s.samples.to = len(r.samples)
	if r.Version == 2 {
		s.refs.to = len(r.refs)
		s.Key = r.refsKey(r.refs[s.refs.from:])
	} else {
		if apart {
			s.labels = collectLabels(whole)
		} else if begin >= 0 {
			s.labels = whole[begin:end]
		}
		s.Key = maphash.Bytes(seed, s.labels)
	}
	r.Series = append(r.Series, s)
	return nil
}

// leadingFields is the length of the fields at the beginning of a series that are messages in field 1, as labels of 1.0 are.
// It leaves what is long or broken to the loop that reads all fields.
func leadingFields(b []byte) int {
	const tag = 1<<3 | byte(protowire.BytesType)
	at := 0
	for at+1 < len(b) && b[at] == tag && b[at+1] < 0x80 && at+2+int(b[at+1]) <= len(b) {
		at += 2 + int(b[at+1])
	}
	return at
}

// collectLabels collects the labels of a series from all over its message, which has been parsed.
func collectLabels(message []byte) (labels []byte) {
	for len(message) > 0 {
		before := message
		if f, _ := next(&message); f.number == 1 {
			labels = append(labels, before[:len(before)-len(message)]...)
		}
	}
	return labels
}

// parseRefs reads references, packed or not.
func (r *Request) parseRefs(f field) error {
	if f.kind == protowire.VarintType {
		r.refs = append(r.refs, uint32(f.number64))
		return nil
	}
	if f.kind != protowire.BytesType {
		return errKind
	}
	for b := f.bytes; len(b) > 0; {
		ref, n := uint64(b[0]), 1
		if ref >= 0x80 {
			if ref, n = binary.Uvarint(b); n <= 0 {
				return errTruncated
			}
		}
		r.refs = append(r.refs, uint32(ref))
		b = b[n:]
	}
	return nil
}

// refsKey hashes the strings that references mean. Those that mean none are hashed as they are.
func (r *Request) refsKey(refs []uint32) uint64 {
	key := uint64(len(refs))
	for _, ref := range refs {
		h := uint64(ref)
		if int(ref) < len(r.hashes) {
			h = r.hashes[ref]
		}
		key = (key ^ h) * 0x9e3779b97f4a7c15
		key ^= key >> 32
	}
	return key
}

func (r *Request) parseSample(f field) error {
	if f.kind != protowire.BytesType {
		return errKind
	}
	var s Sample
	b := f.bytes
	// As it mostly is: the value, then the time.
	if len(b) > 9 && b[0] == 1<<3|byte(protowire.Fixed64Type) {
		s.Bits, b = binary.LittleEndian.Uint64(b[1:]), b[9:]
	}
	for len(b) > 0 {
		f, err := next(&b)
		if err != nil {
			return err
		}
		switch f.number {
		case 1:
			if f.kind != protowire.Fixed64Type {
				return errKind
			}
			s.Bits = f.number64
		case 2:
			if f.kind != protowire.VarintType {
				return errKind
			}
			s.Time = int64(f.number64)
		}
	}
	r.samples = append(r.samples, s)
	return nil
}

// EachLabel calls f with each label of a series. It is for the first time that a series is seen.
func (r *Request) EachLabel(s *Series, f func(name, value []byte)) error {
	if r.Version == 2 {
		return r.resolve(r.refs[s.refs.from:s.refs.to], f)
	}
	for b := s.labels; len(b) > 0; {
		label, err := next(&b)
		if err != nil {
			return err
		}
		var parts [3][]byte
		for b := label.bytes; len(b) > 0; {
			part, err := next(&b)
			if err != nil {
				return err
			}
			if part.number <= 2 {
				parts[part.number] = part.bytes
			}
		}
		f(parts[1], parts[2])
	}
	return nil
}

// resolve looks up references.
func (r *Request) resolve(refs []uint32, f func(name, value []byte)) error {
	if len(refs)%2 != 0 {
		return fmt.Errorf("%d references are no pairs", len(refs))
	}
	for i := 0; i < len(refs); i += 2 {
		name, value := int(refs[i]), int(refs[i+1])
		if max(name, value) >= len(r.symbols) {
			return fmt.Errorf("references %d and %d to a table of %d symbols", name, value, len(r.symbols))
		}
		f(r.symbols[name], r.symbols[value])
	}
	return nil
}

// Labels returns the labels of a series.
func (r *Request) Labels(s *Series) (labels []prompb.Label, err error) {
	err = r.EachLabel(s, func(name, value []byte) {
		labels = append(labels, prompb.Label{Name: string(name), Value: string(value)})
	})
	return labels, err
}

// Count counts the samples, the native histograms and the exemplars of a message. It looks at nothing else.
func Count(version int, message []byte) (samples, histograms, exemplars int, err error) {
	series, native, exemplar := protowire.Number(seriesV1), protowire.Number(histogramsV1), protowire.Number(exemplarsV1)
	if version == 2 {
		series, native, exemplar = seriesV2, histogramsV2, exemplarsV2
	}
	for len(message) > 0 {
		f, err := next(&message)
		if err != nil {
			return 0, 0, 0, err
		}
		if f.number != series || f.kind != protowire.BytesType {
			continue
		}
		for b := f.bytes[leadingFields(f.bytes):]; len(b) > 0; {
			f, err := next(&b)
			if err != nil {
				return 0, 0, 0, err
			}
			switch f.number {
			case 2:
				samples++
			case native:
				histograms++
			case exemplar:
				exemplars++
			}
		}
	}
	return samples, histograms, exemplars, nil
}

var (
	errKind      = errors.New("not a Remote-Write message: a field of another type")
	errTruncated = errors.New("not a Remote-Write message: it ends too early")
)

// field is a field of a message: its number, its type, and its value.
type field struct {
	number   protowire.Number
	kind     protowire.Type
	bytes    []byte
	number64 uint64
}

// next takes the next field off the message.
func next(message *[]byte) (f field, err error) {
	b := *message
	tag, n := uint64(b[0]), 1
	if tag >= 0x80 {
		if tag, n = binary.Uvarint(b); n <= 0 {
			return f, errTruncated
		}
	}
	f.number, f.kind = protowire.Number(tag>>3), protowire.Type(tag&7)
	if f.number <= 0 || tag>>3 > math.MaxInt32 {
		return f, errors.New("not a Remote-Write message: a field without a number")
	}
	b = b[n:]
	switch f.kind {
	case protowire.BytesType:
		if len(b) == 0 {
			return f, errTruncated
		}
		size, n := uint64(b[0]), 1
		if size >= 0x80 {
			if size, n = binary.Uvarint(b); n <= 0 {
				return f, errTruncated
			}
		}
		b = b[n:]
		if size > uint64(len(b)) {
			return f, errTruncated
		}
		f.bytes, b = b[:size], b[size:]
	case protowire.VarintType:
		if f.number64, n = binary.Uvarint(b); n <= 0 {
			return f, errTruncated
		}
		b = b[n:]
	case protowire.Fixed64Type:
		if len(b) < 8 {
			return f, errTruncated
		}
		f.number64, b = binary.LittleEndian.Uint64(b), b[8:]
	default:
		if n = protowire.ConsumeFieldValue(f.number, f.kind, b); n < 0 {
			return f, fmt.Errorf("not a Remote-Write message: %w", protowire.ParseError(n))
		}
		b = b[n:]
	}
	*message = b
	return f, nil
}
