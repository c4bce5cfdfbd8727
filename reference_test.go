// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/otlptranslator"
	"github.com/prometheus/prometheus/prompb"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
)

// reference translates as the rules of the compatibility specification say, one after the other, with maps and strings
// and no thought for speed. It shares no code with the translator but the metric namer of Prometheus, which is the
// definition of metric names, and the way in which its results are printed.
type reference struct {
	cfg   *Config
	namer otlptranslator.MetricNamer
	// sentBounds has the buckets and quantiles with which histograms and summaries were sent last.
	sentBounds map[string]sentBounds

	// What follows is of one payload, and what is under it of one resource or scope.
	result *translated
	taken  map[string]bool
	at     map[string][]int64

	promoted    labelMap
	jobInstance labelMap
	scope       []namedValue
	latest      int64
	// describing says that a target_info is made.
	describing bool

	// What 2.0 says of the points of a metric, and the start of one.
	typ, unit, help string
	starts          bool
	start           int64
}

type labelMap = map[string]string

// sentBounds is the values of le or quantile, in order, and whether there is a sum.
type sentBounds struct {
	values []string
	hasSum bool
}

func newReference(cfg *Config) *reference {
	return &reference{
		cfg:        cfg,
		namer:      otlptranslator.NewMetricNamer(cfg.Namespace, cfg.TranslationStrategy),
		sentBounds: make(map[string]sentBounds),
	}
}

func (r *reference) escapes() bool { return r.cfg.TranslationStrategy.ShouldEscape() }

func (r *reference) targetInfo() string {
	if r.cfg.Namespace != "" {
		return r.cfg.Namespace + "_target_info"
	}
	return "target_info"
}

func (r *reference) translate(md pmetric.Metrics) *translated {
	r.result = newTranslated()
	r.taken = make(map[string]bool)
	r.at = make(map[string][]int64)
	for _, rm := range md.ResourceMetrics().All() {
		attributes := rm.Resource().Attributes()
		r.jobInstance = jobAndInstance(attributes)
		r.promoted = r.promote(attributes)
		r.latest = 0
		for _, sm := range rm.ScopeMetrics().All() {
			r.scope = r.scopeLabels(sm)
			for _, m := range sm.Metrics().All() {
				r.metric(m)
			}
		}
		r.describe(attributes)
	}
	r.sortByTime()
	return r.result
}

// sortByTime puts the points of each series in order.
func (r *reference) sortByTime() {
	for series, times := range r.at {
		order := upTo(0, len(times))
		slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(times[a], times[b]) })
		permute(r.result.series[series], order)
		permute(r.result.origins[series], order)
	}
}

func permute(of []string, order []int) {
	before := slices.Clone(of)
	for to := range of {
		of[to] = before[order[to]]
	}
}

func (r *reference) drop(why account.Reason, n int) {
	if n > 0 && why != account.NoReason {
		r.result.drops[why] += n
	}
}

// emit sends a point of a series, or returns why not: the series has one of that time already (rule 14), or the version of
// the protocol has no place for its names. What is made for a target gives way to any target_info of the target and time
// (rule 5).
func (r *reference) emit(name string, labels labelMap, timestamp int64, value string, exemplars []string) account.Reason {
	labels = maps.Clone(labels)
	labels["__name__"] = name
	identity := seriesString(sortedLabels(labels))
	point := fmt.Sprint(identity, timestamp)
	target := point
	if name == r.targetInfo() {
		target = fmt.Sprintf("target %q %q %d", labels["job"], labels["instance"], timestamp)
	}
	switch {
	case r.cfg.ProtobufMessage == MessageV1 && !classicOnly(labels):
		return account.ReasonNeedsV2
	case r.taken[point] || r.describing && r.taken[target]:
		return account.ReasonDuplicate
	}
	r.taken[point], r.taken[target] = true, true
	if timestamp <= time.Now().Add(r.cfg.MaxFuture).UnixMilli() {
		r.latest = max(r.latest, timestamp)
	}
	r.at[identity] = append(r.at[identity], timestamp)
	r.result.series[identity] = append(r.result.series[identity], sampleString(value, timestamp, exemplars))
	if r.cfg.ProtobufMessage == MessageV2 {
		r.result.origins[identity] = append(r.result.origins[identity], originString(r.typ, r.unit, r.help, r.start))
	}
	return account.NoReason
}

// send is emit for a point that was received.
func (r *reference) send(name string, labels labelMap, timestamp int64, value float64, exemplars []string) {
	r.drop(r.emit(name, labels, timestamp, floatString(value), exemplars), 1)
}

func sortedLabels(labels labelMap) []prompb.Label {
	var sorted []prompb.Label
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		sorted = append(sorted, prompb.Label{Name: name, Value: labels[name]})
	}
	return sorted
}

var (
	illegal          = regexp.MustCompile(`[^a-zA-Z0-9]+`)
	illegalCharacter = regexp.MustCompile(`[^a-zA-Z0-9]`)
	reserved         = regexp.MustCompile(`^__+`)
	leadingDigit     = regexp.MustCompile(`^[0-9]`)
	classicName      = regexp.MustCompile(`^[a-zA-Z_:][a-zA-Z0-9_:]*$`)
)

// classicOnly says whether all names can be sent in 1.0.
func classicOnly(labels labelMap) bool {
	for name := range labels {
		if !classicName.MatchString(name) || strings.Contains(name, ":") {
			return false
		}
	}
	return classicName.MatchString(labels["__name__"])
}

func validUTF8(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// labelName is rule 3: runs of illegal characters and underscores become one, and a digit gets key_ in front. Of names
// that are not escaped only the reserved underscores collapse (Remote-Write 1.0, "Labels").
func (r *reference) labelName(key string) string {
	key = validUTF8(key)
	if r.escapes() {
		if r.cfg.LabelNamePreserveMultipleUnderscores { // rule 20
			key = illegalCharacter.ReplaceAllString(key, "_")
		} else {
			key = illegal.ReplaceAllString(key, "_")
		}
		if leadingDigit.MatchString(key) {
			key = "key_" + key
		}
	}
	return reserved.ReplaceAllString(key, "_")
}

// labelValue is rule 3: values that are no strings follow the rules for AnyValue to string.
func labelValue(v pcommon.Value) string {
	if v.Type() != pcommon.ValueTypeMap && v.Type() != pcommon.ValueTypeSlice {
		return validUTF8(v.AsString())
	}
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(finite(v.AsRaw())); err != nil {
		panic(err)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// finite makes strings of the numbers in maps and arrays that JSON does not have.
func finite(raw any) any {
	switch raw := raw.(type) {
	case float64:
		switch {
		case math.IsNaN(raw):
			return "NaN"
		case math.IsInf(raw, 1):
			return "Infinity"
		case math.IsInf(raw, -1):
			return "-Infinity"
		}
	case map[string]any:
		for key, element := range raw {
			raw[key] = finite(element)
		}
	case []any:
		for i, element := range raw {
			raw[i] = finite(element)
		}
	}
	return raw
}

// jobAndInstance is rule 4.
func jobAndInstance(resource pcommon.Map) labelMap {
	get := func(key string) string {
		v, ok := resource.Get(key)
		if !ok {
			return ""
		}
		return labelValue(v)
	}
	labels := make(labelMap)
	if job, namespace := get("service.name"), get("service.namespace"); job != "" && namespace != "" {
		labels["job"] = namespace + "/" + job
	} else if job != "" {
		labels["job"] = job
	}
	if instance := get("service.instance.id"); instance != "" {
		labels["instance"] = instance
	}
	return labels
}

// namedValue is a label made from one attribute.
type namedValue struct{ name, value, key string }

// attributes are the labels made from attributes, in the order of the keys.
func (r *reference) attributes(m pcommon.Map, prefix string, skip func(key string) bool) []namedValue {
	type pair struct {
		key   string
		value pcommon.Value
	}
	var pairs []pair
	for key, value := range m.All() {
		if key != "" && !skip(key) {
			pairs = append(pairs, pair{key, value})
		}
	}
	slices.SortStableFunc(pairs, func(a, b pair) int { return cmp.Compare(a.key, b.key) })
	var attributes []namedValue
	for _, p := range pairs {
		attributes = append(attributes, namedValue{r.labelName(prefix + p.key), labelValue(p.value), prefix + p.key})
	}
	return attributes
}

// joined are the labels of attributes. Values under one name are joined, and empty ones left out (rule 3). A name that
// is not free gets a prefix until it is the name of nothing else (rule 15).
func joined(attributes []namedValue, free func(name string) bool) labelMap {
	labels := make(labelMap)
	for _, a := range attributes {
		name := a.name
		for !free(name) || name != a.name && slices.ContainsFunc(attributes, func(b namedValue) bool { return b.name == name }) {
			name = "exported_" + name
		}
		switch {
		case a.value == "":
		case labels[name] == "":
			labels[name] = a.value
		default:
			labels[name] += ";" + a.value
		}
	}
	return labels
}

var globs = make(map[string]*regexp.Regexp)

// glob is the regular expression of a pattern.
func glob(pattern string) *regexp.Regexp {
	if globs[pattern] == nil {
		expression := strings.NewReplacer(`\*`, `.*`, `\?`, `.`).Replace(regexp.QuoteMeta(pattern))
		globs[pattern] = regexp.MustCompile(`(?s)^` + expression + `$`)
	}
	return globs[pattern]
}

// promote selects resource attributes that become labels of all series.
func (r *reference) promote(resource pcommon.Map) labelMap {
	c := &r.cfg.ResourceConstantLabels
	if len(c.Included) == 0 && len(c.Excluded) == 0 {
		return nil
	}
	matches := func(patterns []string, key string) bool {
		return slices.ContainsFunc(patterns, func(pattern string) bool { return glob(pattern).MatchString(key) })
	}
	seen := make(map[string]bool)
	selected := r.attributes(resource, "", func(key string) bool {
		again := seen[key]
		seen[key] = true
		return again || matches(c.Excluded, key) || len(c.Included) > 0 && !matches(c.Included, key)
	})
	labels := make(labelMap)
	for _, a := range selected {
		for a.name == "le" || a.name == "quantile" || r.jobInstance[a.name] != "" {
			a.name = "exported_" + a.name
		}
		if labels[a.name] != "" && a.value != "" {
			a.value = labels[a.name] + ";" + a.value
		}
		if a.value != "" {
			labels[a.name] = a.value
		}
	}
	return labels
}

// scopeLabels is rules 6 and 17.
func (r *reference) scopeLabels(sm pmetric.ScopeMetrics) []namedValue {
	if r.cfg.DisableScopeInfo {
		return nil
	}
	own := []string{"otel_scope_name", "otel_scope_version", "otel_scope_schema_url"}
	seen := make(map[string]bool)
	attributes := r.attributes(sm.Scope().Attributes(), "otel_scope_", func(key string) bool {
		again := seen[key]
		seen[key] = true
		return again || slices.Contains(own, r.labelName("otel_scope_"+key))
	})
	for i, value := range []string{sm.Scope().Name(), sm.Scope().Version(), sm.SchemaUrl()} {
		attributes = append(attributes, namedValue{own[i], validUTF8(value), own[i]})
	}
	return slices.DeleteFunc(attributes, func(a namedValue) bool { return a.value == "" })
}

// labels are those of a point. Attributes give way to job, instance and to what the type of metric needs (rule 15), but not
// to promoted resource attributes and external labels, and are joined with the labels of the scope (rule 18).
func (r *reference) labels(m pcommon.Map, needed string) labelMap {
	attributes := append(slices.Clone(r.scope), r.attributes(m, "", func(string) bool { return false })...)
	slices.SortStableFunc(attributes, func(a, b namedValue) int { return cmp.Compare(a.key, b.key) })
	labels := joined(attributes, func(name string) bool { return r.jobInstance[name] == "" && name != needed })
	return withDefaults(labels, r.jobInstance, r.promoted, r.cfg.ExternalLabels)
}

// withDefaults adds the labels of each map whose names are not there yet.
func withDefaults(labels labelMap, defaults ...labelMap) labelMap {
	for _, more := range defaults {
		for name, value := range more {
			if labels[name] == "" {
				labels[name] = validUTF8(value)
			}
		}
	}
	return labels
}

// describe sends target_info, which is rules 5 and 19.
func (r *reference) describe(resource pcommon.Map) {
	identifies := func(key string) bool {
		return key == "service.name" || key == "service.namespace" || key == "service.instance.id"
	}
	free := func(name string) bool { return name != "job" && name != "instance" }
	labels := joined(r.attributes(resource, "", identifies), free)
	if r.cfg.TargetInfo.KeepIdentifyingResourceAttributes && len(labels) > 0 {
		labels = joined(r.attributes(resource, "", func(string) bool { return false }), free)
	}
	r.typ, r.unit, r.help, r.start = "gauge", "", "Target metadata", 0
	if r.cfg.TargetInfo.Enabled && len(labels) > 0 && len(r.jobInstance) > 0 && r.latest > 0 {
		r.describing = true
		r.emit(r.targetInfo(), withDefaults(labels, r.jobInstance, r.cfg.ExternalLabels), r.latest, "1", nil)
		r.describing = false
	}
}

// name returns the name of a metric (rules 1 and 2), or drops its points.
func (r *reference) name(m pmetric.Metric, typ otlptranslator.MetricType, points int) (string, bool) {
	name, err := r.namer.Build(otlptranslator.Metric{Name: validUTF8(m.Name()), Unit: validUTF8(m.Unit()), Type: typ})
	// A name must be left without what is added to it.
	bare := otlptranslator.NewMetricNamer("", r.cfg.TranslationStrategy)
	left, _ := bare.Build(otlptranslator.Metric{Name: validUTF8(m.Name())})
	if err != nil || name == "" || left == "" || r.escapes() && !classicName.MatchString(name) {
		r.drop(account.ReasonInvalidName, points)
		return "", false
	}
	switch typ {
	case otlptranslator.MetricTypeMonotonicCounter:
		r.typ = "counter"
	case otlptranslator.MetricTypeHistogram, otlptranslator.MetricTypeExponentialHistogram:
		r.typ = "histogram"
	case otlptranslator.MetricTypeSummary:
		r.typ = "summary"
	default:
		r.typ = "gauge" // rule 16
		switch hint, _ := m.Metadata().AsRaw()["prometheus.type"].(string); hint {
		case "unknown":
			r.typ = "unspecified"
		case "info", "stateset":
			r.typ = hint
		}
	}
	r.starts = typ != otlptranslator.MetricTypeGauge && typ != otlptranslator.MetricTypeNonMonotonicCounter
	units := otlptranslator.UnitNamer{UTF8Allowed: !r.escapes()}
	r.unit, r.help = units.Build(validUTF8(m.Unit())), validUTF8(m.Description())
	return name, true
}

// times is rule 13. Gauges do not start; a start after the point is none. On the wire 0 milliseconds are an unset time.
func (r *reference) times(ts, start pcommon.Timestamp) (timestamp int64, ok bool) {
	if ts < 1e6 {
		r.drop(account.ReasonNoTimestamp, 1)
		return 0, false
	}
	if r.start = int64(start / 1e6); start > ts || !r.starts {
		r.start = 0
	}
	return int64(ts / 1e6), true
}

func (r *reference) metric(m pmetric.Metric) {
	switch m.Type() {
	case pmetric.MetricTypeGauge:
		r.numbers(m, m.Gauge().DataPoints(), otlptranslator.MetricTypeGauge)
	case pmetric.MetricTypeSum:
		typ := otlptranslator.MetricType(otlptranslator.MetricTypeNonMonotonicCounter)
		if m.Sum().IsMonotonic() {
			typ = otlptranslator.MetricTypeMonotonicCounter
		}
		if points := m.Sum().DataPoints(); r.cumulative(m.Sum().AggregationTemporality(), points.Len()) {
			r.numbers(m, points, typ)
		}
	case pmetric.MetricTypeHistogram:
		if points := m.Histogram().DataPoints(); r.cumulative(m.Histogram().AggregationTemporality(), points.Len()) {
			r.histograms(m, points)
		}
	case pmetric.MetricTypeExponentialHistogram:
		if points := m.ExponentialHistogram().DataPoints(); r.cumulative(m.ExponentialHistogram().AggregationTemporality(), points.Len()) {
			r.exponentialHistograms(m, points)
		}
	case pmetric.MetricTypeSummary:
		r.summaries(m, m.Summary().DataPoints())
	}
}

// cumulative is rule 7.
func (r *reference) cumulative(temporality pmetric.AggregationTemporality, points int) bool {
	switch temporality {
	case pmetric.AggregationTemporalityCumulative:
		return true
	case pmetric.AggregationTemporalityDelta:
		r.drop(account.ReasonDelta, points)
	default:
		r.drop(account.ReasonNoTemporality, points)
	}
	return false
}

func (r *reference) numbers(m pmetric.Metric, points pmetric.NumberDataPointSlice, typ otlptranslator.MetricType) {
	name, ok := r.name(m, typ, points.Len())
	if !ok {
		return
	}
	for _, dp := range points.All() {
		value := math.Float64frombits(0x7ff0000000000002)
		switch {
		case dp.Flags().NoRecordedValue():
		case dp.ValueType() == pmetric.NumberDataPointValueTypeInt:
			value = float64(dp.IntValue())
		case dp.ValueType() == pmetric.NumberDataPointValueTypeDouble:
			value = notStale(dp.DoubleValue())
		default:
			r.drop(account.ReasonNoValue, 1)
			continue
		}
		timestamp, ok := r.times(dp.Timestamp(), dp.StartTimestamp())
		if !ok {
			continue
		}
		var exemplars []string
		if typ == otlptranslator.MetricTypeMonotonicCounter {
			exemplars = printed(r.exemplars(dp.Exemplars(), timestamp))
		}
		r.send(name, r.labels(dp.Attributes(), ""), timestamp, value, exemplars)
	}
}

// notStale makes sure that no recorded value is taken for a stale marker.
func notStale(v float64) float64 {
	if math.Float64bits(v) == 0x7ff0000000000002 {
		return math.NaN()
	}
	return v
}
