// SPDX-License-Identifier: Apache-2.0

package promserver

import (
	"bytes"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/metadata"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/storage/remote"
	"github.com/stretchr/testify/require"
)

// Request is a request that the server got.
type Request struct {
	// Number is 1 for the first one.
	Number int
	Header http.Header
	Path   string
	Host   string
	// Proto is the version of HTTP, as in HTTP/2.0.
	Proto string
	// Body is compressed.
	Body []byte
	// Status and Answer are what the server answered, or 0 and "" if it has not answered yet.
	Status int
	Answer string
}

// Requests returns the requests so far, in the order of their arrival.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	requests := make([]Request, len(s.requests))
	for i, r := range s.requests {
		requests[i] = *r
	}
	return requests
}

// Statuses counts the requests by what was answered to them.
func (s *Server) Statuses() map[int]int {
	statuses := map[int]int{}
	for _, r := range s.Requests() {
		statuses[r.Status]++
	}
	return statuses
}

// Answered returns the requests that were answered with a status.
func (s *Server) Answered(status int) []Request {
	var answered []Request
	for _, r := range s.Requests() {
		if r.Status == status {
			answered = append(answered, r)
		}
	}
	return answered
}

// Message is a decoded message of either version.
type Message struct {
	// V2 says that it is one of 2.0.
	V2     bool
	Series []SentSeries
	// Metadata is that of metric families, which a message of 1.0 can carry apart from its series.
	Metadata map[string]metadata.Metadata
}

// SentSeries is a series of a message.
type SentSeries struct {
	// Labels are in the order in which they were sent, which need not be that of a labels.Labels.
	Labels []labels.Label
	// Name is the labels as Prometheus renders them.
	Name    string
	Samples []SentSample
	// Metadata is that of a 2.0 series.
	Metadata metadata.Metadata
}

// SentSample is a sample of a message. Start is its start timestamp, in 2.0, or zero.
type SentSample struct {
	Sample
	Start time.Time
}

// Samples is the number of samples and histograms of a message.
func (m *Message) Samples() int {
	n := 0
	for i := range m.Series {
		n += len(m.Series[i].Samples)
	}
	return n
}

// Message decodes the message of a request.
func (s *Server) Message(r *Request) *Message {
	s.t.Helper()
	if strings.Contains(r.Header.Get("Content-Type"), "io.prometheus.write.v2.Request") {
		return s.messageV2(r)
	}
	return s.messageV1(r)
}

func (s *Server) messageV1(r *Request) *Message {
	s.t.Helper()
	decoded, err := remote.DecodeWriteRequest(bytes.NewReader(r.Body))
	require.NoError(s.t, err)
	m := &Message{Metadata: map[string]metadata.Metadata{}}
	b := labels.NewScratchBuilder(0)
	for _, ts := range decoded.Timeseries {
		series := SentSeries{Name: ts.ToLabels(&b, nil).String()}
		for _, l := range ts.Labels {
			series.Labels = append(series.Labels, labels.Label{Name: l.Name, Value: l.Value})
		}
		for _, sample := range ts.Samples {
			series.Samples = append(series.Samples, sent(sample.Timestamp, 0, sample.Value, nil))
		}
		for _, h := range ts.Histograms {
			series.Samples = append(series.Samples, sent(h.Timestamp, 0, 0, h.ToFloatHistogram()))
		}
		m.Series = append(m.Series, series)
	}
	for _, family := range decoded.Metadata {
		m.Metadata[family.MetricFamilyName] = metadata.Metadata{
			Type: model.MetricType(strings.ToLower(family.Type.String())), Unit: family.Unit, Help: family.Help,
		}
	}
	return m
}

func (s *Server) messageV2(r *Request) *Message {
	s.t.Helper()
	decoded, err := remote.DecodeWriteV2Request(bytes.NewReader(r.Body))
	require.NoError(s.t, err)
	m := &Message{V2: true}
	b := labels.NewScratchBuilder(0)
	for _, ts := range decoded.Timeseries {
		ls, err := ts.ToLabels(&b, decoded.Symbols)
		require.NoError(s.t, err)
		series := SentSeries{Name: ls.String()}
		for i := 0; i < len(ts.LabelsRefs); i += 2 {
			series.Labels = append(series.Labels, labels.Label{
				Name: decoded.Symbols[ts.LabelsRefs[i]], Value: decoded.Symbols[ts.LabelsRefs[i+1]],
			})
		}
		series.Metadata, err = ts.ToMetadata(decoded.Symbols)
		require.NoError(s.t, err)
		for _, sample := range ts.Samples {
			series.Samples = append(series.Samples, sent(sample.Timestamp, sample.StartTimestamp, sample.Value, nil))
		}
		for _, h := range ts.Histograms {
			series.Samples = append(series.Samples, sent(h.Timestamp, h.StartTimestamp, 0, h.ToFloatHistogram()))
		}
		m.Series = append(m.Series, series)
	}
	return m
}

func sent(timestamp, start int64, v float64, h *histogram.FloatHistogram) SentSample {
	s := SentSample{Sample: Sample{Time: time.UnixMilli(timestamp), Value: v, Histogram: h}}
	if start != 0 {
		s.Start = time.UnixMilli(start)
	}
	return s
}

// Sample is a sample. Histogram is nil for a float.
type Sample struct {
	Time      time.Time
	Value     float64
	Histogram *histogram.FloatHistogram
}

// Stale says whether the sample is a stale marker.
func (s *Sample) Stale() bool {
	if s.Histogram != nil {
		return value.IsStaleNaN(s.Histogram.Sum)
	}
	return value.IsStaleNaN(s.Value)
}

// Missing is a sample that the server has confirmed but does not hold.
type Missing struct {
	Series string
	Time   time.Time
	Stale  bool
}

// Missing returns the samples that the server has confirmed with a 2xx answer but does not hold. Prometheus answers
// before it looks at the order of samples within a request.
func (s *Server) Missing() []Missing {
	s.t.Helper()
	type key struct {
		series string
		time   int64
	}
	stored := map[key]bool{}
	for _, series := range s.Series(everything) {
		name := series.Labels.String()
		for _, sample := range series.Samples {
			stored[key{name, sample.Time.UnixMilli()}] = true
		}
	}
	var missing []Missing
	for _, r := range s.Requests() {
		if r.Status < 200 || r.Status > 299 {
			continue
		}
		for _, series := range s.Message(&r).Series {
			for _, sample := range series.Samples {
				if k := (key{series.Name, sample.Time.UnixMilli()}); !stored[k] {
					missing = append(missing, Missing{series.Name, sample.Time, sample.Stale()})
				}
			}
		}
	}
	return missing
}
