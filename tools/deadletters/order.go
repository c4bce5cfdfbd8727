// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"container/heap"
	"errors"
	"io/fs"
	"math"
	"slices"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// line brings the samples of all letters into the order of their times. A letter may hold older samples than one that was
// dropped before it, so that the order of the letters does not do. Only those are open whose samples have their turn.
type line struct {
	filter *filter
	// waiting are the letters that are not open yet, by the time of their oldest sample.
	waiting []start
	open    []*reader // a heap: by the time of the next sample, and then by the order of the letters
	ended   []*letter // of which next has returned all samples
	// samples is how many there are in all. gone are the letters that somebody has removed meanwhile.
	samples, gone int

	// last is the time of the last sample, and seen are the series of that time.
	last int64
	seen map[string]bool
}

// start is where a letter begins.
type start struct {
	letter    *letter
	timestamp int64
}

// reader is an open letter with what is left of it.
type reader struct {
	letter *letter
	left   []sample
}

// newLine reads all letters once, to know where each of them begins.
func newLine(f *filter, letters []*letter) (*line, error) {
	l := &line{filter: f, last: math.MinInt64}
	for _, one := range letters {
		samples, err := l.unsent(one)
		one.close()
		if err != nil {
			return nil, err
		}
		if len(samples) > 0 {
			l.waiting = append(l.waiting, start{one, samples[0].value.Timestamp})
			l.samples += len(samples)
		}
	}
	slices.SortStableFunc(l.waiting, func(a, b start) int { return cmp.Compare(a.timestamp, b.timestamp) })
	return l, nil
}

// unsent returns the samples of a letter that have not been sent, or none if the letter is gone: the exporter removes the oldest to
// make room.
func (l *line) unsent(one *letter) ([]sample, error) {
	samples, err := one.open(l.filter)
	if errors.Is(err, fs.ErrNotExist) {
		l.gone++
		return nil, nil
	}
	return slices.DeleteFunc(samples, func(s sample) bool { return one.journal.has(one.Name, s.index) }), err
}

// next returns the next sample, or nil after the last, and whether it repeats the one before it of its series: the same time.
func (l *line) next() (s *sample, repeats bool, err error) {
	for len(l.waiting) > 0 && (len(l.open) == 0 || l.waiting[0].timestamp <= l.open[0].left[0].value.Timestamp) {
		one := l.waiting[0].letter
		l.waiting = l.waiting[1:]
		left, err := l.unsent(one)
		if err != nil {
			return nil, false, err
		}
		if len(left) > 0 {
			heap.Push(l, &reader{one, left})
		}
	}
	if len(l.open) == 0 {
		return nil, false, nil
	}
	first := l.open[0]
	s = &first.left[0]
	if first.left = first.left[1:]; len(first.left) == 0 {
		heap.Pop(l)
		l.ended = append(l.ended, first.letter)
	} else {
		heap.Fix(l, 0)
	}
	if s.value.Timestamp != l.last {
		l.last, l.seen = s.value.Timestamp, map[string]bool{}
	}
	key := wire.LabelsKey(s.labels)
	repeats = l.seen[key]
	l.seen[key] = true
	return s, repeats, nil
}

// takeEnded hands over the letters of which all samples have been returned.
func (l *line) takeEnded() []*letter {
	ended := l.ended
	l.ended = nil
	return ended
}

// Len implements heap.Interface.
func (l *line) Len() int { return len(l.open) }

// Less implements heap.Interface.
func (l *line) Less(i, j int) bool {
	a, b := l.open[i], l.open[j]
	return cmp.Or(cmp.Compare(a.left[0].value.Timestamp, b.left[0].value.Timestamp), cmp.Compare(a.letter.order, b.letter.order)) < 0
}

// Swap implements heap.Interface.
func (l *line) Swap(i, j int) { l.open[i], l.open[j] = l.open[j], l.open[i] }

// Push implements heap.Interface.
func (l *line) Push(r any) { l.open = append(l.open, r.(*reader)) }

// Pop implements heap.Interface.
func (l *line) Pop() any {
	last := l.open[len(l.open)-1]
	l.open = l.open[:len(l.open)-1]
	return last
}
