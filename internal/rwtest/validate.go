// SPDX-License-Identifier: Apache-2.0

package rwtest

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/golang/snappy"
	"github.com/prometheus/prometheus/prompb"
)

// Violation is one rule of the protocol that a request breaks, and where.
type Violation struct {
	// Rule is what is demanded, and the specification and section that demand it.
	Rule string
	// Series is the SeriesKey of the offending series; it is empty if the request as a whole is at fault.
	Series string
	// Detail is what was found instead.
	Detail string
}

// Error implements error.
func (v *Violation) Error() string {
	if v.Series == "" {
		return fmt.Sprintf("%s: %s", v.Rule, v.Detail)
	}
	return fmt.Sprintf("%s: series %s: %s", v.Rule, v.Series, v.Detail)
}

// rule is one demand on a T. Its check calls fail once for each violation.
type rule[T any] struct {
	text  string
	check func(v T, fail failFunc)
}

// failFunc reports what was found in place of what a rule demands.
type failFunc func(format string, args ...any)

// apply returns all violations of the rules by v. The key is computed only if there is one; where is put in front of
// every detail.
func apply[T any](rules []rule[T], v T, key func() string, where string) []error {
	var violations []error
	for _, r := range rules {
		r.check(v, func(format string, args ...any) {
			violations = append(violations, &Violation{Rule: r.text, Series: key(), Detail: where + fmt.Sprintf(format, args...)})
		})
	}
	return violations
}

// SeriesKey returns the canonical form of a label set, {a="x",b="y"}: the pairs sorted by name, names and values quoted,
// so that two label sets have the same key only if they are the same series.
func SeriesKey(labels []prompb.Label) string {
	byName := func(a, b prompb.Label) int { return strings.Compare(a.Name, b.Name) }
	if !slices.IsSortedFunc(labels, byName) {
		labels = slices.Clone(labels)
		slices.SortStableFunc(labels, byName)
	}
	key := []byte{'{'}
	for i, l := range labels {
		if i > 0 {
			key = append(key, ',')
		}
		if isLabelName(l.Name) {
			key = append(key, l.Name...)
		} else {
			key = strconv.AppendQuote(key, l.Name)
		}
		key = strconv.AppendQuote(append(key, '='), l.Value)
	}
	return string(append(key, '}'))
}

// ValidateV1 decodes the body of a Remote-Write 1.0 request and checks every rule that a single request can break. The
// error joins all violations (each a *Violation); the message is nil only if the body could not be decoded.
//
// Two rules are out of its reach. A sample with the bits of a stale marker may be one or may be an ordinary NaN that was
// not normalised: they are the same on the wire, so only a test that knows the value that went in can tell. And the
// order from one request to the next is for the Receiver to watch.
func ValidateV1(body []byte) (*prompb.WriteRequest, error) {
	msg, _, err := decodeV1(body)
	return msg, err
}

// decodeV1 is ValidateV1 that also returns the SeriesKey of each element of Timeseries.
func decodeV1(body []byte) (*prompb.WriteRequest, []string, error) {
	msg := &prompb.WriteRequest{}
	if err := unpack(body, msg); err != nil {
		return nil, nil, err
	}
	r := newRequest(msg, msg)
	violations := append(r.validate(&rulesV1), apply(metadataRules, msg, noKey, "")...)
	return msg, r.keys, errors.Join(violations...)
}

// unpack decompresses and decodes a body.
func unpack(body []byte, msg interface{ Unmarshal([]byte) error }) error {
	const protocol = `body is a Snappy-block-compressed protobuf message (Remote-Write 1.0 and 2.0, "Protocol")`
	if bytes.HasPrefix(body, []byte("\xff\x06\x00\x00sNaPpY")) {
		return &Violation{Rule: protocol, Detail: "the framed format, which is forbidden"}
	}
	raw, err := snappy.Decode(nil, body)
	if err == nil {
		err = msg.Unmarshal(raw)
	}
	if err != nil {
		return &Violation{Rule: protocol, Detail: err.Error()}
	}
	return nil
}

// ValidateSeriesV1 checks one series by itself. The error joins all violations.
func ValidateSeriesV1(ts *prompb.TimeSeries) error {
	return errors.Join(rulesV1.validateSeries(ts, func() string { return SeriesKey(ts.Labels) })...)
}

// ValidateLabels checks the labels of a series in a request of version 1 or 2. The error joins all violations.
func ValidateLabels(version int, labels []prompb.Label) error {
	rules := &rulesV1
	if version == 2 {
		rules = &rulesV2
	}
	ts := &prompb.TimeSeries{Labels: labels, Samples: make([]prompb.Sample, 1)}
	return errors.Join(rules.validateSeries(ts, func() string { return SeriesKey(labels) })...)
}

// rules are the demands of one version of the protocol on what both versions have. They speak of the message of 1.0, to
// which one of 2.0 is converted.
type rules struct {
	request   []rule[*request]
	series    []rule[*prompb.TimeSeries]
	histogram []rule[*prompb.Histogram]
	exemplar  []rule[*prompb.Exemplar]
}

var rulesV1 = rules{
	request:   append([]rule[*request]{nothingBut(`prometheus.WriteRequest`, `Remote-Write 1.0, "Protocol"`)}, requestRules...),
	series:    slices.Concat(seriesRules, seriesRulesV1),
	histogram: slices.Concat(histogramRules, histogramRulesV1),
	exemplar:  slices.Concat(exemplarRules, exemplarRulesV1),
}

func noKey() string { return "" }

func (s *rules) validateSeries(ts *prompb.TimeSeries, key func() string) []error {
	violations := apply(s.series, ts, key, "")
	for i := range ts.Histograms {
		h := &ts.Histograms[i]
		violations = append(violations, apply(s.histogram, h, key, fmt.Sprintf("histogram at %d: ", h.Timestamp))...)
	}
	for i := range ts.Exemplars {
		violations = append(violations, apply(s.exemplar, &ts.Exemplars[i], key, fmt.Sprintf("exemplar %d: ", i))...)
	}
	return violations
}

// userAgent is the beginning of a User-Agent: a product with a version (RFC 9110, section 10.1.5).
var userAgent = regexp.MustCompile(`^[!#$%&'*+.^_|~0-9A-Za-z-]+/[!#$%&'*+.^_|~0-9A-Za-z-]+`)

// isMetricName says whether s matches [a-zA-Z_:][a-zA-Z0-9_:]*. (A regular expression would take most of the time of a
// validation.)
func isMetricName(s string) bool { return isLabelName(strings.ReplaceAll(s, ":", "_")) }

// isLabelName says whether s matches [a-zA-Z_][a-zA-Z0-9_]*.
func isLabelName(s string) bool {
	for i := range len(s) {
		c := s[i]
		if letter := c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_'; !letter && (i == 0 || c < '0' || c > '9') {
			return false
		}
	}
	return s != ""
}

// request is a message with the SeriesKey of each of its series.
type request struct {
	*prompb.WriteRequest
	keys []string
	// sent is the message that was sent, of whatever version.
	sent any
}

func newRequest(msg *prompb.WriteRequest, sent any) *request {
	r := &request{WriteRequest: msg, keys: make([]string, len(msg.Timeseries)), sent: sent}
	for i := range msg.Timeseries {
		r.keys[i] = SeriesKey(msg.Timeseries[i].Labels)
	}
	return r
}

// validate returns all violations of the rules.
func (r *request) validate(s *rules) []error {
	violations := apply(s.request, r, noKey, "")
	for i := range r.Timeseries {
		violations = append(violations, s.validateSeries(&r.Timeseries[i], func() string { return r.keys[i] })...)
	}
	return violations
}

// nothingBut is the demand that a message has no fields but those of its type.
func nothingBut(message, section string) rule[*request] {
	return rule[*request]{"the message is " + message + " and nothing else (" + section + ")", func(r *request, fail failFunc) {
		if n := unknownBytes(reflect.ValueOf(r.sent)); n > 0 {
			fail("%d bytes of unknown fields", n)
		}
	}}
}

// requestRules are the demands on a request as a whole.
var requestRules = []rule[*request]{
	{`a request carries series or metadata (Remote-Write 1.0 and 2.0, "Protocol")`, func(r *request, fail failFunc) {
		if len(r.Timeseries) == 0 && len(r.Metadata) == 0 {
			fail("it is empty")
		}
	}},
	{`samples of a series are in timestamp order (Remote-Write 1.0, "Ordering"; 2.0, "Samples and Histogram Samples"), once each (Prometheus answers 400 to a duplicate)`, func(r *request, fail failFunc) {
		newest := make(map[string]int64, len(r.keys)) // of the elements before this one
		for i := range r.Timeseries {
			timestamps := timestampsOf(&r.Timeseries[i])
			if len(timestamps) == 0 {
				continue
			}
			before, again := newest[r.keys[i]]
			if again && timestamps[0] <= before {
				fail("series %s: %d after %d in an earlier element", r.keys[i], timestamps[0], before)
			}
			if last := slices.Max(timestamps); !again || last > before {
				newest[r.keys[i]] = last
			}
		}
	}},
}

// metadataRules are the demands on the metadata of a 1.0 request.
var metadataRules = []rule[*prompb.WriteRequest]{
	{`metadata names a valid metric family, in UTF-8 (remote.proto, types.proto)`, func(r *prompb.WriteRequest, fail failFunc) {
		for _, m := range r.Metadata {
			if !isMetricName(m.MetricFamilyName) {
				fail("metric family name %q", m.MetricFamilyName)
			}
			if !utf8.ValidString(m.Help) || !utf8.ValidString(m.Unit) {
				fail("metric family %q: help %q, unit %q", m.MetricFamilyName, m.Help, m.Unit)
			}
			if _, ok := prompb.MetricMetadata_MetricType_name[int32(m.Type)]; !ok {
				fail("metric family %q: type %d", m.MetricFamilyName, m.Type)
			}
		}
	}},
}

// seriesRules are the demands on the labels and the times of one series, in both versions.
var seriesRules = []rule[*prompb.TimeSeries]{
	{`label names are sorted bytewise (Remote-Write 1.0, "Labels"; 2.0, "Series Labels")`, func(ts *prompb.TimeSeries, fail failFunc) {
		for i := 1; i < len(ts.Labels); i++ {
			if ts.Labels[i].Name < ts.Labels[i-1].Name {
				fail("%q after %q", ts.Labels[i].Name, ts.Labels[i-1].Name)
			}
		}
	}},
	{`no label name is repeated (Remote-Write 1.0, "Labels"; 2.0, "Series Labels")`, func(ts *prompb.TimeSeries, fail failFunc) {
		repeatedNames(ts.Labels, fail)
	}},
	{`no label name is empty (Remote-Write 1.0, "Labels"; 2.0, "Series Labels")`, func(ts *prompb.TimeSeries, fail failFunc) {
		for _, l := range ts.Labels {
			if l.Name == "" {
				fail("the name of value %q", l.Value)
			}
		}
	}},
	{`no label value is empty (Remote-Write 1.0, "Labels"; 2.0, "Series Labels")`, func(ts *prompb.TimeSeries, fail failFunc) {
		for _, l := range ts.Labels {
			if l.Value == "" {
				fail("the value of %q", l.Name)
			}
		}
	}},
	{`the label __name__ is present (Remote-Write 1.0, "Labels"; 2.0, "Series Labels")`, func(ts *prompb.TimeSeries, fail failFunc) {
		if !slices.ContainsFunc(ts.Labels, func(l prompb.Label) bool { return l.Name == "__name__" }) {
			fail("it is not")
		}
	}},
	{`label names beginning with __ are reserved (Remote-Write 1.0, "Labels"; 2.0, "Series Labels")`, func(ts *prompb.TimeSeries, fail failFunc) {
		for _, l := range ts.Labels {
			if strings.HasPrefix(l.Name, "__") && l.Name != "__name__" {
				fail("%q", l.Name)
			}
		}
	}},
	{`label values are UTF-8 (Remote-Write 1.0, "Labels"; 2.0, "Series Labels")`, func(ts *prompb.TimeSeries, fail failFunc) {
		for _, l := range ts.Labels {
			if !utf8.ValidString(l.Value) {
				fail("the value of %q is %q", l.Name, l.Value)
			}
		}
	}},
	{`a series has at least one sample or histogram (Remote-Write 1.0, "Protocol"; 2.0, "Protobuf Message")`, func(ts *prompb.TimeSeries, fail failFunc) {
		if len(ts.Samples)+len(ts.Histograms) == 0 {
			fail("it has none")
		}
	}},
	{`samples of a series are in timestamp order (Remote-Write 1.0, "Ordering"; 2.0, "Samples and Histogram Samples"), once each (Prometheus answers 400 to a duplicate)`, func(ts *prompb.TimeSeries, fail failFunc) {
		timestamps := timestampsOf(ts)
		for i := 1; i < len(timestamps); i++ {
			if timestamps[i] <= timestamps[i-1] {
				fail("%d after %d", timestamps[i], timestamps[i-1])
			}
		}
	}},
}

// seriesRulesV1 are what 1.0 demands besides.
var seriesRulesV1 = []rule[*prompb.TimeSeries]{
	{`metric names match [a-zA-Z_:][a-zA-Z0-9_:]* (Remote-Write 1.0, "Labels")`, func(ts *prompb.TimeSeries, fail failFunc) {
		for _, l := range ts.Labels {
			if l.Name == "__name__" && l.Value != "" && !isMetricName(l.Value) {
				fail("%q", l.Value)
			}
		}
	}},
	{`label names match [a-zA-Z_][a-zA-Z0-9_]* (Remote-Write 1.0, "Labels")`, func(ts *prompb.TimeSeries, fail failFunc) {
		for _, l := range ts.Labels {
			if l.Name != "" && !isLabelName(l.Name) {
				fail("%q", l.Name)
			}
		}
	}},
}

// exemplarRules are the demands on an exemplar. Remote-Write 1.0 does not speak of exemplars, and 2.0 of little but their time.
var exemplarRules = []rule[*prompb.Exemplar]{
	{`exemplar label names are not repeated (OpenMetrics 1.0, "Exemplars")`, func(e *prompb.Exemplar, fail failFunc) {
		repeatedNames(e.Labels, fail)
	}},
	{`exemplar label values are UTF-8 (OpenMetrics 1.0, "Exemplars")`, func(e *prompb.Exemplar, fail failFunc) {
		for _, l := range e.Labels {
			if !utf8.ValidString(l.Value) {
				fail("the value of %q is %q", l.Name, l.Value)
			}
		}
	}},
	{`exemplar labels have at most 128 UTF-8 characters (OpenMetrics 1.0, "Exemplars")`, func(e *prompb.Exemplar, fail failFunc) {
		n := 0
		for _, l := range e.Labels {
			n += utf8.RuneCountInString(l.Name) + utf8.RuneCountInString(l.Value)
		}
		if n > 128 {
			fail("%d", n)
		}
	}},
}

// exemplarRulesV1 are what is demanded of an exemplar in 1.0, whose names are classic.
var exemplarRulesV1 = []rule[*prompb.Exemplar]{
	{`exemplar label names match [a-zA-Z_][a-zA-Z0-9_]* (OpenMetrics 1.0, "Exemplars")`, func(e *prompb.Exemplar, fail failFunc) {
		for _, l := range e.Labels {
			if !isLabelName(l.Name) {
				fail("%q", l.Name)
			}
		}
	}},
}

func repeatedNames(labels []prompb.Label, fail failFunc) {
	for i, l := range labels {
		if slices.ContainsFunc(labels[:i], func(before prompb.Label) bool { return before.Name == l.Name }) {
			fail("%q", l.Name)
		}
	}
}

// timestampsOf returns the timestamps of a series in the order in which a receiver appends them: first the samples, then
// the histograms (Prometheus, write_handler.go).
func timestampsOf(ts *prompb.TimeSeries) []int64 {
	timestamps := make([]int64, 0, len(ts.Samples)+len(ts.Histograms))
	for _, s := range ts.Samples {
		timestamps = append(timestamps, s.Timestamp)
	}
	for i := range ts.Histograms {
		timestamps = append(timestamps, ts.Histograms[i].Timestamp)
	}
	return timestamps
}

// unknownBytes counts the bytes in a message that are no field of it: garbage after its end, or fields of another message.
func unknownBytes(v reflect.Value) int {
	n := 0
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			return unknownBytes(v.Elem())
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() != reflect.Struct {
			return 0
		}
		for i := range v.Len() {
			n += unknownBytes(v.Index(i))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).Name == "XXX_unrecognized" {
				n += v.Field(i).Len()
			} else {
				n += unknownBytes(v.Field(i))
			}
		}
	}
	return n
}

// ValidateHeadersV1 checks the headers that Remote-Write 1.0, "Protocol", reserves. The error joins all violations.
func ValidateHeadersV1(h http.Header) error {
	return errors.Join(apply(headerRules("1.0", "application/x-protobuf", "0.1.0"), h, noKey, "")...)
}

// ValidateHeadersV2 checks the headers that Remote-Write 2.0, "Protocol", reserves. The error joins all violations.
func ValidateHeadersV2(h http.Header) error {
	return errors.Join(apply(headerRules("2.0", contentTypeV2, "2.0.0"), h, noKey, "")...)
}

func headerRules(version, contentType, versionHeader string) []rule[http.Header] {
	section := ` (Remote-Write ` + version + `, "Protocol")`
	return []rule[http.Header]{
		{`Content-Encoding is snappy` + section, exactly("Content-Encoding", "snappy")},
		{`Content-Type is ` + contentType + section, exactly("Content-Type", contentType)},
		{`X-Prometheus-Remote-Write-Version is ` + versionHeader + section, exactly("X-Prometheus-Remote-Write-Version", versionHeader)},
		{`User-Agent is the sender's name/version` + section, func(h http.Header, fail failFunc) {
			if v := h.Values("User-Agent"); len(v) != 1 || !userAgent.MatchString(v[0]) {
				fail("%q", v)
			}
		}},
	}
}

// exactly returns a check that a header is there once and has the value.
func exactly(name, value string) func(http.Header, failFunc) {
	return func(h http.Header, fail failFunc) {
		if v := h.Values(name); len(v) != 1 || v[0] != value {
			fail("%q", v)
		}
	}
}
