// SPDX-License-Identifier: Apache-2.0

package rwtest

import (
	"fmt"
	"hash/fnv"
	"math"

	"github.com/prometheus/prometheus/prompb"
)

// Sample is a sample or a native histogram of a series.
type Sample struct {
	// Timestamp is in milliseconds.
	Timestamp int64
	// Bits are those of the value, so that NaNs compare; for a native histogram they are a hash of its encoding.
	Bits uint64
	// Histogram says that the sample is a native histogram.
	Histogram bool
}

// Value returns the value of a sample that is no native histogram.
func (s Sample) Value() float64 { return math.Float64frombits(s.Bits) }

// sampleOf is a sample with its series.
type sampleOf struct {
	key string
	Sample
}

func (s sampleOf) String() string {
	if s.Histogram {
		return fmt.Sprintf("histogram %016x at %d of %s", s.Bits, s.Timestamp, s.key)
	}
	return fmt.Sprintf("%v at %d of %s", s.Value(), s.Timestamp, s.key)
}

// samplesOf lists the samples of a message, which may be nil. The keys are those of its series.
func samplesOf(msg *prompb.WriteRequest, keys []string) []sampleOf {
	var samples []sampleOf
	for i, key := range keys {
		ts := &msg.Timeseries[i]
		for _, s := range ts.Samples {
			samples = append(samples, sampleOf{key, Sample{s.Timestamp, math.Float64bits(s.Value), false}})
		}
		for j := range ts.Histograms {
			h := &ts.Histograms[j]
			samples = append(samples, sampleOf{key, Sample{h.Timestamp, histogramBits(h), true}})
		}
	}
	return samples
}

func histogramBits(h *prompb.Histogram) uint64 {
	encoded, err := h.Marshal()
	if err != nil {
		panic(err) // what was decoded can be encoded
	}
	sum := fnv.New64a()
	_, _ = sum.Write(encoded)
	return sum.Sum64()
}

// ledger is what has been stored. Its zero value is empty. It is guarded by Receiver.mu.
type ledger struct {
	series      map[string]*history
	redelivered int
	outOfOrder  []string
	conflicting []string
	resent      []string
}

// history is what has been stored of one series.
type history struct {
	samples      []Sample
	acknowledged []bool        // as samples
	at           map[int64]int // timestamp to index in samples
	newest       int64
}

// find returns the history of the sample's series, and the index in it of what is stored at the sample's timestamp.
func (l *ledger) find(s sampleOf) (h *history, i int, found bool) {
	if h = l.series[s.key]; h == nil {
		return nil, 0, false
	}
	i, found = h.at[s.Timestamp]
	return h, i, found
}

// takeOff records the samples that come although they have been acknowledged.
func (l *ledger) takeOff(seq int, samples []sampleOf) {
	for _, s := range samples {
		if h, i, found := l.find(s); found && h.acknowledged[i] && h.samples[i] == s.Sample {
			l.resent = append(l.resent, fmt.Sprintf("request %d: %v, after success", seq, s))
		}
	}
}

// store stores the samples in their order.
func (l *ledger) store(seq int, samples []sampleOf) {
	if l.series == nil {
		l.series = make(map[string]*history)
	}
	for _, s := range samples {
		h, i, found := l.find(s)
		switch {
		case found && h.samples[i] == s.Sample:
			l.redelivered++
			continue
		case found:
			l.conflicting = append(l.conflicting, fmt.Sprintf("request %d: %v, where %v is stored", seq, s, sampleOf{s.key, h.samples[i]}))
			continue
		case h == nil:
			h = &history{at: make(map[int64]int), newest: s.Timestamp}
			l.series[s.key] = h
		case s.Timestamp < h.newest:
			l.outOfOrder = append(l.outOfOrder, fmt.Sprintf("request %d: %v, after %d", seq, s, h.newest))
		}
		h.at[s.Timestamp] = len(h.samples)
		h.samples = append(h.samples, s.Sample)
		h.acknowledged = append(h.acknowledged, false)
		h.newest = max(h.newest, s.Timestamp)
	}
}

// acknowledge records that the sender knows that the samples are stored.
func (l *ledger) acknowledge(samples []sampleOf) {
	for _, s := range samples {
		if h, i, found := l.find(s); found && h.samples[i] == s.Sample {
			h.acknowledged[i] = true
		}
	}
}
