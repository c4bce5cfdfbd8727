package orderedremotewriteexporter

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/prometheus/otlptranslator"
	"github.com/prometheus/prometheus/prompb"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"
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

	promoted    labelMap
	jobInstance labelMap
	scope       labelMap
	latest      int64
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
	r.result = &translated{series: make(map[string][]string), drops: make(map[reason]int)}
	r.taken = make(map[string]bool)
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
	return r.result
}

func (r *reference) drop(why reason, n int) {
	if n > 0 {
		r.result.drops[why] += n
	}
}

// emit sends a point of a series, unless the series has one of that time already (rule 14). A target has one target_info
// for a time, whatever its other labels (rule 5).
func (r *reference) emit(name string, labels labelMap, timestamp int64, value string, exemplars []string) bool {
	labels = maps.Clone(labels)
	labels["__name__"] = name
	identity := seriesString(sortedLabels(labels))
	point := fmt.Sprint(identity, timestamp)
	if name == r.targetInfo() {
		point = fmt.Sprintf("target %q %q %d", labels["job"], labels["instance"], timestamp)
	}
	if r.taken[point] {
		return false
	}
	r.taken[point] = true
	r.latest = max(r.latest, timestamp)
	r.result.series[identity] = append(r.result.series[identity], sampleString(value, timestamp, exemplars))
	return true
}

// send is emit for a point that was received.
func (r *reference) send(name string, labels labelMap, timestamp int64, value float64, exemplars []string) {
	if !r.emit(name, labels, timestamp, floatString(value), exemplars) {
		r.drop(reasonDuplicate, 1)
	}
}

func sortedLabels(labels labelMap) []prompb.Label {
	var sorted []prompb.Label
	for _, name := range slices.Sorted(maps.Keys(labels)) {
		sorted = append(sorted, prompb.Label{Name: name, Value: labels[name]})
	}
	return sorted
}

var (
	illegal      = regexp.MustCompile(`[^a-zA-Z0-9]+`)
	reserved     = regexp.MustCompile(`^__+`)
	leadingDigit = regexp.MustCompile(`^[0-9]`)
	classicName  = regexp.MustCompile(`^[a-zA-Z_:][a-zA-Z0-9_:]*$`)
)

func validUTF8(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// labelName is rule 3: runs of illegal characters and underscores become one, and a digit gets key_ in front. Of names
// that are not escaped only the reserved underscores collapse (Remote-Write 1.0, "Labels").
func (r *reference) labelName(key string) string {
	key = validUTF8(key)
	if r.escapes() {
		key = illegal.ReplaceAllString(key, "_")
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
type namedValue struct{ name, value string }

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
		attributes = append(attributes, namedValue{r.labelName(prefix + p.key), labelValue(p.value)})
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

// promote selects resource attributes that become labels of all series.
func (r *reference) promote(resource pcommon.Map) labelMap {
	c := &r.cfg.ResourceConstantLabels
	if len(c.Included) == 0 && len(c.Excluded) == 0 {
		return nil
	}
	matches := func(patterns []string, key string) bool {
		return slices.ContainsFunc(patterns, func(pattern string) bool {
			expression := strings.NewReplacer(`\*`, `.*`, `\?`, `.`).Replace(regexp.QuoteMeta(pattern))
			return regexp.MustCompile(`(?s)^` + expression + `$`).MatchString(key)
		})
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

// scopeLabels is rule 6.
func (r *reference) scopeLabels(sm pmetric.ScopeMetrics) labelMap {
	if r.cfg.DisableScopeInfo {
		return nil
	}
	attributes := []namedValue{
		{"otel_scope_name", validUTF8(sm.Scope().Name())},
		{"otel_scope_version", validUTF8(sm.Scope().Version())},
		{"otel_scope_schema_url", validUTF8(sm.SchemaUrl())},
	}
	seen := make(map[string]bool)
	attributes = append(attributes, r.attributes(sm.Scope().Attributes(), "otel_scope_", func(key string) bool {
		again := seen[key]
		seen[key] = true
		return again || key == "name" || key == "version" || key == "schema_url"
	})...)
	return joined(attributes, func(string) bool { return true })
}

// labels are those of a point. Attributes give way to job, instance, the scope's labels and to what the type of metric
// needs (rule 15), but not to promoted resource attributes and external labels.
func (r *reference) labels(m pcommon.Map, needed string) labelMap {
	own := maps.Clone(r.jobInstance)
	maps.Copy(own, r.scope)
	labels := joined(r.attributes(m, "", func(string) bool { return false }), func(name string) bool {
		return own[name] == "" && name != needed
	})
	return withDefaults(labels, own, r.promoted, r.cfg.ExternalLabels)
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

// describe sends target_info, which is rule 5.
func (r *reference) describe(resource pcommon.Map) {
	labels := joined(
		r.attributes(resource, "", func(key string) bool {
			return key == "service.name" || key == "service.namespace" || key == "service.instance.id"
		}),
		func(name string) bool { return name != "job" && name != "instance" },
	)
	if r.cfg.TargetInfo.Enabled && len(labels) > 0 && len(r.jobInstance) > 0 && r.latest > 0 {
		r.emit(r.targetInfo(), withDefaults(labels, r.jobInstance, r.cfg.ExternalLabels), r.latest, "1", nil)
	}
}

// name returns the name of a metric (rules 1 and 2), or drops its points.
func (r *reference) name(m pmetric.Metric, typ otlptranslator.MetricType, points int) (string, bool) {
	name, err := r.namer.Build(otlptranslator.Metric{Name: validUTF8(m.Name()), Unit: validUTF8(m.Unit()), Type: typ})
	if err != nil || name == "" || r.escapes() && !classicName.MatchString(name) {
		r.drop(reasonInvalidName, points)
		return "", false
	}
	return name, true
}

// milliseconds is rule 13.
func (r *reference) milliseconds(ts pcommon.Timestamp) (int64, bool) {
	if ts == 0 {
		r.drop(reasonNoTimestamp, 1)
		return 0, false
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
		r.drop(reasonDelta, points)
	default:
		r.drop(reasonNoTemporality, points)
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
			r.drop(reasonNoValue, 1)
			continue
		}
		timestamp, ok := r.milliseconds(dp.Timestamp())
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

// boundsOf returns the bounds of the series of a point: those that it has, or if it is stale those that were sent last
// (rule 11).
func (r *reference) boundsOf(name string, labels labelMap, stale bool, own sentBounds) sentBounds {
	key := name + seriesString(sortedLabels(labels))
	if !stale {
		r.sentBounds[key] = own
		return own
	}
	if sent, ok := r.sentBounds[key]; ok {
		return sentBounds{sent.values, sent.hasSum || own.hasSum}
	}
	return own
}

// histograms is rule 8.
func (r *reference) histograms(m pmetric.Metric, points pmetric.HistogramDataPointSlice) {
	name, ok := r.name(m, otlptranslator.MetricTypeHistogram, points.Len())
	if !ok {
		return
	}
	for _, dp := range points.All() {
		timestamp, ok := r.milliseconds(dp.Timestamp())
		if !ok {
			continue
		}
		stale := dp.Flags().NoRecordedValue()
		bounds, counts := dp.ExplicitBounds().AsRaw(), dp.BucketCounts().AsRaw()
		if len(counts) == 0 {
			bounds = nil
		}
		sound := len(counts) == 0 || len(counts) == len(bounds)+1
		for i, b := range bounds {
			sound = sound && !math.IsNaN(b) && (i == 0 || b > bounds[i-1])
		}
		switch {
		case !sound && stale:
			bounds = nil
		case !sound:
			r.drop(reasonInvalidHistogram, 1)
			continue
		case len(bounds) > 0 && math.IsInf(bounds[len(bounds)-1], 1):
			bounds = bounds[:len(bounds)-1]
		}
		labels := r.labels(dp.Attributes(), "le")
		sent := r.boundsOf("histogram "+name, labels, stale, sentBounds{formatted(append(bounds, math.Inf(1))), dp.HasSum()})
		exemplars := r.exemplars(dp.Exemplars(), timestamp)
		total := uint64(0)
		for i, le := range sent.values {
			bucket := maps.Clone(labels)
			bucket["le"] = le
			if stale {
				r.sendStale(name+"_bucket", bucket, timestamp)
				continue
			}
			value, limit := float64(dp.Count()), math.Inf(1)
			if i < len(bounds) {
				total += counts[i]
				value, limit = float64(total), bounds[i]
			}
			var inBucket []exampleOf
			inBucket, exemplars = splitExemplars(exemplars, func(v float64) bool { return le == "+Inf" || v <= limit })
			r.send(name+"_bucket", bucket, timestamp, value, printed(inBucket))
		}
		r.sumAndCount(name, labels, timestamp, stale, sent.hasSum, dp.Sum(), dp.Count())
	}
}

func (r *reference) sendStale(name string, labels labelMap, timestamp int64) {
	r.send(name, labels, timestamp, math.Float64frombits(0x7ff0000000000002), nil)
}

func (r *reference) sumAndCount(name string, labels labelMap, timestamp int64, stale, hasSum bool, sum float64, count uint64) {
	sum, n := notStale(sum), float64(count)
	if stale {
		sum = math.Float64frombits(0x7ff0000000000002)
		n = sum
	}
	if hasSum {
		r.send(name+"_sum", labels, timestamp, sum, nil)
	}
	r.send(name+"_count", labels, timestamp, n, nil)
}

func formatted(values []float64) []string {
	var s []string
	for _, v := range values {
		s = append(s, strconv.FormatFloat(v, 'f', -1, 64))
	}
	return s
}

// summaries is rule 10.
func (r *reference) summaries(m pmetric.Metric, points pmetric.SummaryDataPointSlice) {
	name, ok := r.name(m, otlptranslator.MetricTypeSummary, points.Len())
	if !ok {
		return
	}
	for _, dp := range points.All() {
		timestamp, ok := r.milliseconds(dp.Timestamp())
		if !ok {
			continue
		}
		var quantiles, values []float64
		for _, q := range dp.QuantileValues().All() {
			quantiles, values = append(quantiles, q.Quantile()), append(values, q.Value())
		}
		stale := dp.Flags().NoRecordedValue()
		labels := r.labels(dp.Attributes(), "quantile")
		for i, q := range r.boundsOf("summary "+name, labels, stale, sentBounds{values: formatted(quantiles)}).values {
			series := maps.Clone(labels)
			series["quantile"] = q
			if stale {
				r.sendStale(name, series, timestamp)
			} else {
				r.send(name, series, timestamp, notStale(values[i]), nil)
			}
		}
		r.sumAndCount(name, labels, timestamp, stale, true, dp.Sum(), dp.Count())
	}
}

// exponentialHistograms is rule 9.
func (r *reference) exponentialHistograms(m pmetric.Metric, points pmetric.ExponentialHistogramDataPointSlice) {
	name, ok := r.name(m, otlptranslator.MetricTypeExponentialHistogram, points.Len())
	if !ok {
		return
	}
	for _, dp := range points.All() {
		timestamp, ok := r.milliseconds(dp.Timestamp())
		if !ok {
			continue
		}
		h := &nativeHistogram{sum: math.Float64frombits(0x7ff0000000000002)}
		if !dp.Flags().NoRecordedValue() {
			var why reason
			if h, why = nativeOf(dp); why != noReason {
				r.drop(why, 1)
				continue
			}
		}
		labels, exemplars := r.labels(dp.Attributes(), ""), printed(r.exemplars(dp.Exemplars(), timestamp))
		if !r.emit(name, labels, timestamp, h.String(), exemplars) {
			r.drop(reasonDuplicate, 1)
		}
	}
}

func nativeOf(dp pmetric.ExponentialHistogramDataPoint) (*nativeHistogram, reason) {
	switch {
	case dp.Scale() < -4:
		return nil, reasonScale
	case !dp.HasSum():
		return nil, reasonNoSum
	}
	h := &nativeHistogram{
		schema: min(dp.Scale(), 8), count: dp.Count(), sum: notStale(dp.Sum()), zeroCount: dp.ZeroCount(), zeroThreshold: 1e-128,
		positive: make(map[int64]uint64), negative: make(map[int64]uint64),
	}
	if t := dp.ZeroThreshold(); t > 0 && !math.IsInf(t, 1) {
		h.zeroThreshold = t
	}
	total := new(big.Int).SetUint64(h.zeroCount)
	for _, side := range []struct {
		from pmetric.ExponentialHistogramDataPointBuckets
		to   map[int64]uint64
	}{{dp.Positive(), h.positive}, {dp.Negative(), h.negative}} {
		onSide := new(big.Int)
		for i, n := range side.from.BucketCounts().AsRaw() {
			if n == 0 {
				continue
			}
			index := nativeIndex(int64(side.from.Offset())+int64(i), dp.Scale())
			side.to[index] += n
			onSide.Add(onSide, new(big.Int).SetUint64(n))
			if index > math.MaxInt32 || !onSide.IsInt64() {
				return nil, reasonInvalidHistogram
			}
		}
		total.Add(total, onSide)
	}
	switch total.Cmp(new(big.Int).SetUint64(h.count)) {
	case 1:
		return nil, reasonInvalidHistogram
	case -1:
		if !math.IsNaN(h.sum) {
			return nil, reasonInvalidHistogram
		}
	}
	return h, noReason
}

// nativeIndex is the index that Prometheus gives to OpenTelemetry's bucket. Going down by one scale merges two
// neighbours.
func nativeIndex(index int64, scale int32) int64 {
	for ; scale > 8 && index != 0 && index != -1; scale-- {
		index = int64(math.Floor(float64(index) / 2))
	}
	return index + 1
}

// exampleOf is a value and the exemplar that it is the value of.
type exampleOf struct {
	value    float64
	exemplar string
}

func printed(exemplars []exampleOf) []string {
	var s []string
	for _, e := range exemplars {
		s = append(s, e.exemplar)
	}
	return s
}

func splitExemplars(exemplars []exampleOf, belongs func(float64) bool) (in, out []exampleOf) {
	for _, e := range exemplars {
		if belongs(e.value) {
			in = append(in, e)
		} else {
			out = append(out, e)
		}
	}
	return in, out
}

// exemplars is rule 12, which does not say what becomes of two keys that are one name: the first one stays.
func (r *reference) exemplars(exemplars pmetric.ExemplarSlice, pointTimestamp int64) []exampleOf {
	var examples []exampleOf
	for _, ex := range exemplars.All() {
		value := float64(ex.IntValue())
		switch ex.ValueType() {
		case pmetric.ExemplarValueTypeDouble:
			value = notStale(ex.DoubleValue())
		case pmetric.ExemplarValueTypeEmpty:
			continue
		}
		timestamp := int64(ex.Timestamp() / 1e6)
		if ex.Timestamp() == 0 {
			timestamp = pointTimestamp
		}
		var ids []prompb.Label
		if id := ex.TraceID(); !id.IsEmpty() {
			ids = append(ids, prompb.Label{Name: "trace_id", Value: id.String()})
		}
		if id := ex.SpanID(); !id.IsEmpty() {
			ids = append(ids, prompb.Label{Name: "span_id", Value: id.String()})
		}
		attributes := make(labelMap)
		for key, v := range ex.FilteredAttributes().All() {
			name, value := r.labelName(key), labelValue(v)
			isID := slices.ContainsFunc(ids, func(l prompb.Label) bool { return l.Name == name })
			if name != "" && value != "" && !isID && attributes[name] == "" {
				attributes[name] = value
			}
		}
		labels := append(ids, sortedLabels(attributes)...)
		characters := 0
		for _, l := range labels {
			characters += len([]rune(l.Name)) + len([]rune(l.Value))
		}
		if characters > 128 {
			labels = ids
		}
		examples = append(examples, exampleOf{value, exemplarString(labels, value, timestamp)})
	}
	return examples
}
