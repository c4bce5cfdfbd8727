// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/golang/snappy"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/deadletter"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// letter is a dead letter.
type letter struct {
	deadletter.Kept
	// order is its place among those that were read.
	order   int
	journal *journal

	// protocol, message and frames are set by open: the version, and for 2.0 the message, or for 1.0 the series with their headers.
	protocol wire.Protocol
	message  wire.ParsedV2
	frames   [][]byte
}

// sample is one sample of a dead letter.
type sample struct {
	letter *letter
	index  int
	labels []wire.Label
	value  wire.Value
	bytes  int
}

// path names the dead letter for a person.
func (l *letter) path() string { return l.Directory + "/" + l.Name }

// open reads the body, and returns its samples that the filter selects, in their order of time and as they stand in the message.
// It keeps the bytes until close.
func (l *letter) open(f *filter) (samples []sample, err error) {
	body, err := l.ReadBody()
	if err != nil {
		return nil, err
	}
	raw, err := snappy.Decode(nil, body)
	if err != nil {
		return nil, fmt.Errorf("%s.snappy: %w", l.path(), err)
	}
	series, err := l.takeApart(raw)
	if err != nil {
		return nil, fmt.Errorf("%s.snappy: %w", l.path(), err)
	}
	for i, s := range series {
		one := sample{letter: l, index: i, bytes: len(s)}
		if one.labels, err = l.labels(s); err == nil {
			one.value, err = wire.SeriesValue(s, l.protocol)
		}
		if err != nil {
			return nil, fmt.Errorf("%s.snappy: %w", l.path(), err)
		}
		if f.selectsSeries(one.labels) {
			samples = append(samples, one)
		}
	}
	slices.SortStableFunc(samples, func(a, b sample) int { return cmp.Compare(a.value.Timestamp, b.value.Timestamp) })
	return samples, nil
}

// takeApart returns the encoded series of a message.
func (l *letter) takeApart(raw []byte) (series [][]byte, err error) {
	l.protocol, l.frames = wire.V1, nil
	// A message of 2.0 begins with its symbols, field 4, and one of 1.0 with a series, field 1.
	if l.ProtobufMessage == wire.MessageV2 || l.ProtobufMessage == "" && len(raw) > 0 && raw[0]>>3 == 4 {
		l.protocol = wire.V2
		l.message, err = wire.ParseV2(raw)
		return l.message.Series, err
	}
	for len(raw) > 0 {
		frame, one, rest, err := wire.NextSeries(raw)
		if err != nil {
			return nil, err
		}
		l.frames, series, raw = append(l.frames, frame), append(series, one), rest
	}
	return series, nil
}

func (l *letter) labels(series []byte) ([]wire.Label, error) {
	if l.protocol == wire.V2 {
		return l.message.Labels(series)
	}
	return wire.SeriesLabels(nil, series)
}

// close forgets the bytes.
func (l *letter) close() { l.message, l.frames = wire.ParsedV2{}, nil }

// compose makes the body of a request with samples of one version.
func compose(samples []sample) ([]byte, error) {
	if samples[0].letter.protocol == wire.V1 {
		var message []byte
		for _, s := range samples {
			message = append(message, s.letter.frames[s.index]...)
		}
		return snappy.Encode(nil, message), nil
	}
	var merger wire.Merger
	for len(samples) > 0 {
		// Those of one letter in a row share its symbols.
		n := 1
		for n < len(samples) && samples[n].letter == samples[0].letter {
			n++
		}
		l := samples[0].letter
		series := make([][]byte, n)
		for i := range n {
			series[i] = l.message.Series[samples[i].index]
		}
		if err := merger.Add(&l.message, series); err != nil {
			return nil, fmt.Errorf("%s.snappy: %w", l.path(), err)
		}
		samples = samples[n:]
	}
	return snappy.Encode(nil, merger.Message(nil)), nil
}
