package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/prometheus/otlptranslator"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/nativehist"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// Resource attributes that become job and instance (OpenTelemetry specification, "Prometheus and OpenMetrics
// Compatibility", "Resource Attributes").
const (
	serviceName       = "service.name"
	serviceNamespace  = "service.namespace"
	serviceInstanceID = "service.instance.id"
)

// translator turns payloads into series and encodes them into segments, one for each partition. One call at a time may
// use it; it shares nothing with other translators but the memory of bounds.
type translator struct {
	payload
	partitions       int
	limits           BatchConfig
	guard            bool
	disableScopeInfo bool
	targetInfo       bool
	keepIdentifying  bool
	customBuckets    bool
	keepClassic      bool
	promoted         ResourceConstantLabelsConfig
	external         []constLabel

	namer          *namer
	labeler        *labeler
	targetInfoName seriesName
	bounds         boundCache
	memory         *boundMemory
	// families is told of each metric's metadata, unless it is nil.
	families *families
	// now is when the translation of the payload began.
	now time.Time

	// context is that of the scope being translated; resource holds its part that is the resource's.
	context  labelContext
	resource []constLabel
	// latest is the greatest timestamp of the resource's points that are sent, in milliseconds, or 0 if none is.
	latest int64

	seen seenSet

	protocol  wire.Protocol
	metadata  metricMetadata
	point     point
	histogram nativehist.Builder
	exemplars exemplarScratch
	extra     [2]extraLabel
}

func newTranslator(cfg *Config, memory *boundMemory, families *families) *translator {
	n := newNamer(cfg)
	t := &translator{
		partitions:       cfg.Partitions,
		limits:           cfg.Batch,
		guard:            cfg.OutOfOrder == OutOfOrderDrop,
		disableScopeInfo: cfg.DisableScopeInfo,
		targetInfo:       cfg.TargetInfo.Enabled,
		keepIdentifying:  cfg.TargetInfo.KeepIdentifyingResourceAttributes,
		customBuckets:    cfg.ConvertExplicitHistogramsToNHCB,
		keepClassic:      cfg.KeepClassicHistograms,
		promoted:         cfg.ResourceConstantLabels,
		namer:            n,
		labeler:          newLabeler(n),
		targetInfoName:   n.seriesName(n.targetInfo),
		memory:           memory,
		families:         families,
		payload:          payload{segments: make([]segment, cfg.Partitions)},
	}
	for i := range t.segments {
		t.segments[i].limits = &t.limits
	}
	for name, value := range cfg.ExternalLabels {
		t.external = append(t.external, constLabel{name: name, value: strings.ToValidUTF8(value, "\uFFFD")})
	}
	return t
}

// translate adds the payload's samples to the segments, encoded as p. It never fails: what cannot be translated is counted as
// dropped, and the rest goes on. Nothing of the payload is kept.
func (t *translator) translate(md pmetric.Metrics, p wire.Protocol) {
	t.protocol, t.exemplars.classic, t.now = p, p == wire.V1, time.Now()
	for i := range t.segments {
		t.segments[i].protocol = p
	}
	for _, rm := range md.ResourceMetrics().All() {
		t.resourceMetrics(rm)
	}
	slices.Sort(t.touched)
	for _, i := range t.touched {
		t.segments[i].finish()
	}
}

func (t *translator) resourceMetrics(rm pmetric.ResourceMetrics) {
	attrs := rm.Resource().Attributes()
	t.resource = t.resourceLabels(t.resource[:0], attrs)
	t.latest = 0
	for _, sm := range rm.ScopeMetrics().All() {
		t.enterScope(sm)
		for _, m := range sm.Metrics().All() {
			t.metric(m)
		}
	}
	if t.targetInfo && t.latest != 0 {
		t.emitTargetInfo(attrs)
	}
}

// resourceLabels appends job, instance and the promoted attributes.
func (t *translator) resourceLabels(labels []constLabel, attrs pcommon.Map) []constLabel {
	labels = appendJobInstance(labels, attrs)
	if len(t.promoted.Included) == 0 && len(t.promoted.Excluded) == 0 {
		return labels
	}
	var keys []string
	for key := range attrs.All() {
		if t.promoted.selects(key) {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	for _, key := range slices.Compact(keys) {
		value, _ := attrs.Get(key)
		name := t.namer.labelName(key)
		for name != "" && (name == leLabel || name == quantileLabel || hasOwn(labels, name)) {
			name = exportedPrefix + name
		}
		labels = addConstant(labels, name, validValue(value), true)
	}
	return labels
}

func appendJobInstance(labels []constLabel, attrs pcommon.Map) []constLabel {
	get := func(key string) string {
		value, ok := attrs.Get(key)
		if !ok {
			return ""
		}
		return validValue(value)
	}
	job := get(serviceName)
	if namespace := get(serviceNamespace); job != "" && namespace != "" {
		job = namespace + "/" + job
	}
	for _, l := range []constLabel{{jobLabel, job, true}, {instanceLabel, get(serviceInstanceID), true}} {
		if l.value != "" {
			labels = append(labels, l)
		}
	}
	return labels
}

func validValue(v pcommon.Value) string {
	return strings.ToValidUTF8(anyString(v), "\uFFFD")
}

func hasOwn(labels []constLabel, name string) bool {
	return slices.ContainsFunc(labels, func(l constLabel) bool { return l.own && l.name == name })
}

// addConstant adds a label unless it has no name or no value. If there is one of the name, their values are joined or
// the new one is left out.
func addConstant(labels []constLabel, name, value string, joins bool) []constLabel {
	if name == "" || value == "" {
		return labels
	}
	for i := range labels {
		if labels[i].name == name {
			if joins && !labels[i].own {
				labels[i].value += ";" + value
			}
			return labels
		}
	}
	return append(labels, constLabel{name: name, value: value})
}

// enterScope makes the context of a scope.
func (t *translator) enterScope(sm pmetric.ScopeMetrics) {
	labels, scope := append(t.context.labels[:0], t.resource...), t.context.scope[:0]
	if !t.disableScopeInfo {
		scope = t.appendScopeValues(scope, sm)
		labels = appendScopeLabels(labels, scope)
	}
	t.setContext(labels, scope)
}

// setContext completes the labels, of which those of scope are joined with attributes, with the external ones and makes
// them the context.
func (t *translator) setContext(labels []constLabel, scope []scopeValue) {
	for _, l := range t.external {
		labels = addConstant(labels, l.name, l.value, false)
	}
	slices.SortFunc(labels, func(a, b constLabel) int { return strings.Compare(a.name, b.name) })
	t.context = labelContext{labels: labels, scope: scope, epoch: t.context.epoch + 1}
}

func (t *translator) metric(m pmetric.Metric) {
	switch m.Type() {
	case pmetric.MetricTypeGauge:
		t.numbers(m, m.Gauge().DataPoints(), otlptranslator.MetricTypeGauge)
	case pmetric.MetricTypeSum:
		sum := m.Sum()
		if t.checkTemporality(m, sum.AggregationTemporality(), sum.DataPoints().Len()) {
			var typ otlptranslator.MetricType = otlptranslator.MetricTypeNonMonotonicCounter
			if sum.IsMonotonic() {
				typ = otlptranslator.MetricTypeMonotonicCounter
			}
			t.numbers(m, sum.DataPoints(), typ)
		}
	case pmetric.MetricTypeHistogram:
		h := m.Histogram()
		if t.checkTemporality(m, h.AggregationTemporality(), h.DataPoints().Len()) {
			t.classicHistograms(m, h.DataPoints())
		}
	case pmetric.MetricTypeExponentialHistogram:
		h := m.ExponentialHistogram()
		if t.checkTemporality(m, h.AggregationTemporality(), h.DataPoints().Len()) {
			t.nativeHistograms(m, h.DataPoints())
		}
	case pmetric.MetricTypeSummary:
		t.summaries(m, m.Summary().DataPoints())
	}
}

// checkTemporality says whether points of the temporality can be sent, and else drops all n of them: Prometheus knows
// cumulative values only.
func (t *translator) checkTemporality(m pmetric.Metric, temporality pmetric.AggregationTemporality, n int) bool {
	switch temporality {
	case pmetric.AggregationTemporalityCumulative:
		return true
	case pmetric.AggregationTemporalityDelta:
		t.drop(account.ReasonDelta, n, m.Name())
	default:
		t.drop(account.ReasonNoTemporality, n, m.Name())
	}
	return false
}

// names returns the metric's names, or drops all n points if it cannot be named.
func (t *translator) names(m pmetric.Metric, typ otlptranslator.MetricType, n int) *metricNames {
	names := t.namer.metricNames(metricKey{name: m.Name(), unit: m.Unit(), typ: typ})
	if names.err != nil {
		t.drop(account.ReasonInvalidName, n, m.Name())
		return nil
	}
	t.metadata = metricMetadata{
		serial: t.metadata.serial + 1,
		typ:    metadataType(typ, m.Metadata()),
		help:   strings.ToValidUTF8(m.Description(), "\uFFFD"),
		unit:   names.unit,
	}
	if t.families != nil {
		t.families.add(names.family, &t.metadata)
	}
	return names
}

// prometheusType is the key under which a metric's metadata has the type that it had in Prometheus, of types that
// OpenTelemetry does not have.
const prometheusType = "prometheus.type"

// metadataType is the type that Prometheus knows a metric by (OpenTelemetry specification, "Prometheus and OpenMetrics
// Compatibility", "Gauges" and "Sums").
func metadataType(typ otlptranslator.MetricType, metadata pcommon.Map) wire.MetricType {
	switch typ {
	case otlptranslator.MetricTypeMonotonicCounter:
		return wire.MetricTypeCounter
	case otlptranslator.MetricTypeHistogram, otlptranslator.MetricTypeExponentialHistogram:
		return wire.MetricTypeHistogram
	case otlptranslator.MetricTypeSummary:
		return wire.MetricTypeSummary
	}
	if hint, ok := metadata.Get(prometheusType); ok {
		switch hint.Str() {
		case "unknown":
			return wire.MetricTypeUnspecified
		case "info":
			return wire.MetricTypeInfo
		case "stateset":
			return wire.MetricTypeStateset
		}
	}
	return wire.MetricTypeGauge
}

// startTimestamp returns a point's start in milliseconds, or 0 if it has none that makes sense.
func startTimestamp(start, ts pcommon.Timestamp) int64 {
	if start > ts {
		return 0
	}
	return int64(start / 1_000_000)
}

// timestamp returns a point's timestamp in milliseconds, or drops the point if it has none: an unset time is no sample
// of 1970. The first millisecond of 1970 is taken for unset, as it is on the wire.
func (t *translator) timestamp(m pmetric.Metric, ts pcommon.Timestamp) (ms int64, ok bool) {
	if ms = int64(ts / 1_000_000); ms == 0 {
		t.drop(account.ReasonNoTimestamp, 1, m.Name())
	}
	return ms, ms != 0
}

func (t *translator) numbers(m pmetric.Metric, points pmetric.NumberDataPointSlice, typ otlptranslator.MetricType) {
	names := t.names(m, typ, points.Len())
	if names == nil {
		return
	}
	for _, dp := range points.All() {
		value, ok := numberValue(dp)
		if !ok {
			t.drop(account.ReasonNoValue, 1, m.Name())
			continue
		}
		ts, ok := t.timestamp(m, dp.Timestamp())
		if !ok {
			continue
		}
		t.point = point{timestamp: ts, value: value}
		if typ == otlptranslator.MetricTypeMonotonicCounter {
			t.point.start = startTimestamp(dp.StartTimestamp(), dp.Timestamp())
			if dp.Exemplars().Len() > 0 {
				t.point.exemplars = t.exemplars.translate(t.namer, dp.Exemplars(), ts)
			}
		}
		t.emit(t.labeler.labelSet(dp.Attributes(), &t.context, plainKind), &names.plain, &noLabel, &noLabel)
	}
}

// numberValue returns the value of a point; ok is false if it has none.
func numberValue(dp pmetric.NumberDataPoint) (value float64, ok bool) {
	if dp.Flags().NoRecordedValue() {
		return wire.StaleNaN, true
	}
	switch dp.ValueType() {
	case pmetric.NumberDataPointValueTypeDouble:
		return wire.Recorded(dp.DoubleValue()), true
	case pmetric.NumberDataPointValueTypeInt:
		return float64(dp.IntValue()), true
	default:
		return 0, false
	}
}

// emitTargetInfo emits the resource's target_info: its attributes with job and instance, and without those attributes that
// these are made from, unless they are to be kept. A resource that has no other attributes has no target_info.
func (t *translator) emitTargetInfo(attrs pcommon.Map) {
	described := false
	for key, value := range attrs.All() {
		if key != "" && !identifies(key) && anyString(value) != "" {
			described = true
			break
		}
	}
	if !described {
		return
	}
	labels := appendJobInstance(t.context.labels[:0], attrs)
	if len(labels) == 0 {
		return
	}
	t.setContext(labels, t.context.scope[:0])
	t.context.keepIdentifying = t.keepIdentifying
	t.metadata = metricMetadata{serial: t.metadata.serial + 1, typ: wire.MetricTypeGauge, help: "Target metadata"}
	t.point = point{timestamp: t.latest, value: 1}
	t.emit(t.labeler.labelSet(attrs, &t.context, targetInfoKind), &t.targetInfoName, &noLabel, &noLabel)
}

func identifies(key string) bool {
	return key == serviceName || key == serviceNamespace || key == serviceInstanceID
}

// emit adds t.point to the series of the label set with that name, and with le and quantile if they are given.
func (t *translator) emit(ls *labelSet, name *seriesName, le, quantile *extraLabel) {
	if le.label == nil && ls.le != "" {
		le = t.extra[0].set(leLabel, ls.le)
	}
	if quantile.label == nil && ls.quantile != "" {
		quantile = t.extra[1].set(quantileLabel, ls.quantile)
	}
	if t.protocol == wire.V1 && !t.classic(ls, name) {
		if name != &t.targetInfoName {
			sr := series{labels: ls, name: name, le: le, quantile: quantile}
			t.drop(account.ReasonNeedsV2, 1, t.example(account.ReasonNeedsV2, &sr))
		}
		return
	}
	sr := series{
		labels: ls, name: name, le: le, quantile: quantile, point: &t.point, metadata: &t.metadata,
		identity: ls.seriesHash(name, le.hash, quantile.hash), guard: t.guardOf(name),
	}
	key := ls.partitionKey(name)
	if name.targetInfo {
		sr.target = targetHash(ls)
		key = sr.target
	}
	if !t.first(&sr) {
		if name != &t.targetInfoName {
			t.drop(account.ReasonDuplicate, 1, t.example(account.ReasonDuplicate, &sr))
		}
		return
	}
	t.points++
	t.latest = max(t.latest, t.point.timestamp)
	t.put(partitionOf(key, t.partitions), &sr)
}

// put adds a series to the segment of a partition.
func (t *translator) put(partition int, sr *series) {
	s := &t.segments[partition]
	if s.empty() {
		t.touched = append(t.touched, partition)
	}
	s.makeRoom(sr)
	if t.protocol == wire.V2 && !s.based(sr.labels) {
		s.rebase(sr.labels, t.labeler.refs(&s.table, partition, t.partitions))
	}
	s.add(sr)
}

func (t *translator) guardOf(name *seriesName) guardKind {
	switch {
	case name == &t.targetInfoName:
		return madeTarget
	case name.targetInfo:
		return receivedTarget
	case t.guard:
		return guarded
	default:
		return unguarded
	}
}

// first says whether nothing of the payload has taken the series' place at its timestamp. The target_info that is made for
// a target gives way to any other of the target, so that there is one of that timestamp, and those that were received are
// told apart by all their labels.
func (t *translator) first(sr *series) bool {
	switch sr.guard {
	case madeTarget:
		return t.seen.add(sr.target, t.point.timestamp) && t.seen.add(sr.identity, t.point.timestamp)
	case receivedTarget:
		first := t.seen.add(sr.identity, t.point.timestamp)
		t.seen.add(sr.target, t.point.timestamp)
		return first
	default:
		return t.seen.add(sr.identity, t.point.timestamp)
	}
}

// classic says whether a series has only names that 1.0 can carry.
func (t *translator) classic(ls *labelSet, name *seriesName) bool {
	if !name.classic || t.labeler.plan.classic {
		return name.classic
	}
	// The names that are not classic may be those of empty labels.
	labels, _ := wire.SeriesLabels(nil, ls.buf)
	return classicLabels(labels)
}

// example renders a series for the log, if it is the first with this fate in the payload.
func (t *translator) example(r account.Reason, sr *series) string {
	if t.drops[r].Count > 0 {
		return ""
	}
	labels, _ := wire.SeriesLabels(nil, sr.appendLabels(nil))
	return renderLabels(labels)
}

// targetHash identifies a target by its job and instance. All its target_info series share a partition, so that one that is
// made is never sent after a newer one.
func targetHash(ls *labelSet) uint64 {
	var job, instance uint64
	labels, _ := wire.SeriesLabels(nil, ls.buf)
	for _, l := range labels {
		switch l.Name {
		case jobLabel:
			job = hashValue(l.Value)
		case instanceLabel:
			instance = hashValue(l.Value)
		}
	}
	return combine(combine(hashSeed, job), instance)
}

// drop counts n points that cannot be translated; example names one for the log.
func (t *translator) drop(r account.Reason, n int, example string) {
	t.points += n
	var render func() string
	if t.drops[r].Example == nil {
		render = func() string { return example }
	}
	t.drops.Add(r, n, render)
}

// reset makes the translator ready for another payload.
func (t *translator) reset() {
	for _, i := range t.touched {
		t.segments[i].reset(t.protocol)
	}
	t.touched = t.touched[:0]
	t.seen.reset()
	t.points = 0
	t.drops = account.Drops{}
	t.labeler.forget()
	t.extra[0].value, t.extra[1].value = "", ""
	t.metadata.help = ""
	t.exemplars.forget()
	clear(t.resource[:cap(t.resource)])
	clear(t.context.labels[:cap(t.context.labels)])
	clear(t.context.scope[:cap(t.context.scope)])
}

// selects says whether a resource attribute becomes a label of all series.
func (c *ResourceConstantLabelsConfig) selects(key string) bool {
	match := func(pattern string) bool { return matchGlob(pattern, key) }
	return !slices.ContainsFunc(c.Excluded, match) && (len(c.Included) == 0 || slices.ContainsFunc(c.Included, match))
}

// matchGlob matches s with a pattern in which * stands for any characters and ? for one.
func matchGlob(pattern, s string) bool {
	star, retry := -1, 0
	p, i := 0, 0
	for i < len(s) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, retry = p, i
			p++
		case p < len(pattern) && pattern[p] == '?':
			_, n := utf8.DecodeRuneInString(s[i:])
			p++
			i += n
		case p < len(pattern) && pattern[p] == s[i]:
			p++
			i++
		case star >= 0:
			// Let the last star stand for one character more.
			_, n := utf8.DecodeRuneInString(s[retry:])
			retry += n
			p, i = star+1, retry
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
