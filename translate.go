// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"context"
	"slices"
	"strings"
	"time"
	"unsafe"

	"github.com/prometheus/otlptranslator"
	"go.opentelemetry.io/collector/pdata/pcommon"
	"go.opentelemetry.io/collector/pdata/pmetric"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/nativehist"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// translator turns payloads into series and encodes them into segments, one for each partition. One call at a time may
// use it; it shares nothing with other translators but the memory of bounds.
type translator struct {
	translation
	payload
	account        *cacheAccount
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
	// scope is that of the points being translated, and entered says that context is its.
	scope   pmetric.ScopeMetrics
	entered bool
	// resourceTooMany and tooMany say that the resource's labels, and that these or the scope's alone are too many.
	resourceTooMany, tooMany bool
	watch                    watch
	// latest is the greatest timestamp of the resource's points that are sent, in milliseconds, or 0 if none is. A timestamp
	// after newest, the latest that is credible, does not count: target_info must not be of a time that never comes.
	latest, newest int64

	seen timeline

	protocol  wire.Protocol
	metadata  metricMetadata
	point     point
	histogram nativehist.Builder
	exemplars exemplarScratch
	extra     [2]extraLabel
}

func newTranslator(tr translation, memory *boundMemory, families *families) *translator {
	account := &cacheAccount{budget: tr.caches}
	n := newNamer(tr.naming, account)
	t := &translator{
		translation:    tr,
		account:        account,
		namer:          n,
		labeler:        newLabeler(n),
		targetInfoName: n.seriesName(n.targetInfo),
		memory:         memory,
		families:       families,
		payload:        payload{segments: make([]segment, tr.partitions)},
	}
	for i := range t.segments {
		t.segments[i].limits, t.segments[i].table.Of = &t.limits, &t.symbols
	}
	t.bounds.account = account
	account.clear = func() {
		t.namer.forget()
		t.labeler.forgetShapes()
		t.bounds.forget()
	}
	account.clear()
	return t
}

// translate adds the payload's samples to the segments, encoded as p. What cannot be translated is counted as dropped, and
// the rest goes on. Nothing of the payload is kept. The only errors are that of the context, when it is done before the
// translation is, and that no queue can take the payload: then nothing of it may be accepted.
func (t *translator) translate(ctx context.Context, md pmetric.Metrics, p wire.Protocol) error {
	t.watch = newWatch(ctx)
	t.protocol, t.exemplars.classic, t.now = p, p == wire.V1, time.Now()
	t.newest = t.now.Add(t.maxFuture).UnixMilli()
	for i := range t.segments {
		t.segments[i].protocol = p
	}
	for _, rm := range md.ResourceMetrics().All() {
		if t.resourceMetrics(rm); t.watch.err != nil {
			return t.watch.err
		}
	}
	slices.Sort(t.touched)
	for _, i := range t.touched {
		t.segments[i].finish()
	}
	if t.reordered = t.seen.steppedBack; t.reordered {
		t.sortByTime()
	}
	return t.watch.err
}

func (t *translator) resourceMetrics(rm pmetric.ResourceMetrics) {
	attrs := rm.Resource().Attributes()
	if t.watch.done(attrs.Len()) {
		return
	}
	t.resource, t.resourceTooMany = t.resourceLabels(t.resource[:0], attrs, t.namer)
	t.latest = 0
	for _, sm := range rm.ScopeMetrics().All() {
		t.scope, t.entered = sm, false
		for _, m := range sm.Metrics().All() {
			if t.watch.done(1) {
				return
			}
			t.metric(m)
		}
	}
	if t.targetInfo && t.latest != 0 {
		t.emitTargetInfo(attrs)
	}
}

// labelSet returns the label set of a point of the metric, which is valid until the next call. It returns nil, and drops the
// point, if its series would have too many labels: each attribute counts, whatever becomes of it, because what they
// become is not known before the work is done that the limit is for. It also returns nil when the translation is to end.
func (t *translator) labelSet(m pmetric.Metric, attrs pcommon.Map, kind metricKind) *labelSet {
	// The last label set counts with its bytes, which say more of the work than attributes but are not known before it.
	if t.watch.done(1 + attrs.Len() + len(t.labeler.set.buf)/64) {
		return nil
	}
	if !t.entered {
		t.enterScope(t.scope)
	}
	if t.tooMany || t.exceedsMaxLabels(1+attrs.Len()+len(t.context.labels)) {
		t.drop(account.ReasonTooManyLabels, 1, m.Name())
		return nil
	}
	return t.labeler.labelSet(attrs, &t.context, kind)
}

// enterScope makes the context of a scope. It is called when a point needs it: scopes without points cost nothing, however
// many labels the resource has.
func (t *translator) enterScope(sm pmetric.ScopeMetrics) {
	t.entered = true
	attrs := 0
	if !t.disableScopeInfo {
		attrs = sm.Scope().Attributes().Len()
	}
	if t.tooMany = t.resourceTooMany || t.exceedsMaxLabels(attrs); t.tooMany || t.watch.done(attrs+len(t.resource)) {
		return
	}
	labels, scope := append(t.context.labels[:0], t.resource...), t.context.scope[:0]
	if !t.disableScopeInfo {
		scope = appendScopeValues(scope, sm, t.namer)
		labels = appendScopeLabels(labels, scope)
	}
	t.setContext(labels, scope)
}

// setContext completes the labels, of which those of scope are joined with attributes, with the external ones and makes
// them the context.
func (t *translator) setContext(labels []constLabel, scope []scopeValue) {
	for _, l := range t.external {
		if !slices.ContainsFunc(labels, func(other constLabel) bool { return other.name == l.name }) {
			labels = append(labels, l)
		}
	}
	sortByString(labels, func(l constLabel) string { return l.name })
	for i := range labels {
		if labels[i].hash == 0 {
			labels[i].setHashes(t.secret)
		}
	}
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
	if names.invalid {
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
		t.point.sample(ts, 0, value, 0)
		if typ == otlptranslator.MetricTypeMonotonicCounter {
			t.point.start = startTimestamp(dp.StartTimestamp(), dp.Timestamp())
			if dp.Exemplars().Len() > 0 {
				t.point.exemplars = t.translateExemplars(dp.Exemplars(), ts)
			}
		}
		if ls := t.labelSet(m, dp.Attributes(), plainKind); ls != nil {
			t.emit(ls, &names.plain, &noLabel, &noLabel)
		}
	}
}

// translateExemplars returns the exemplars of a point. They are valid until the next call.
func (t *translator) translateExemplars(exemplars pmetric.ExemplarSlice, ts int64) []wire.Exemplar {
	work := exemplars.Len()
	for _, ex := range exemplars.All() {
		work += ex.FilteredAttributes().Len()
	}
	if t.watch.done(work) {
		return nil
	}
	return t.exemplars.translate(t.namer, exemplars, ts)
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
	if t.exceedsMaxLabels(1+attrs.Len()+len(labels)) || t.watch.done(attrs.Len()) {
		return
	}
	t.setContext(labels, t.context.scope[:0])
	t.context.keepIdentifying = t.keepIdentifying
	t.metadata = metricMetadata{serial: t.metadata.serial + 1, typ: wire.MetricTypeGauge, help: "Target metadata"}
	t.point.sample(t.latest, 0, 1, 0)
	t.emit(t.labeler.labelSet(attrs, &t.context, targetInfoKind), &t.targetInfoName, &noLabel, &noLabel)
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
		identity: ls.identity(name, le, quantile), guard: t.guardOf(name),
	}
	key := ls.partitionKey(name)
	if name.targetInfo {
		sr.target, key = t.target(ls, name)
	}
	if !t.first(sr.entry()) {
		if name != &t.targetInfoName {
			t.drop(account.ReasonDuplicate, 1, t.example(account.ReasonDuplicate, &sr))
		}
		return
	}
	t.points++
	if t.point.timestamp <= t.newest {
		t.latest = max(t.latest, t.point.timestamp)
	}
	t.put(partitionOf(key, t.partitions), &sr)
}

// mostSymbols is from how many strings on a payload gets another symbol table. Whoever makes a request looks references up in a
// table that is as long as the largest of them, which must not cost the more the larger the whole payload is. Tests have it smaller.
var mostSymbols = 1 << 17

// put adds a series to the segment of a partition.
func (t *translator) put(partition int, sr *series) {
	if t.symbols.Len() > mostSymbols {
		t.restartSymbols()
	}
	s := &t.segments[partition]
	if s.empty() {
		t.touched = append(t.touched, partition)
	}
	if cut := s.makeRoom(sr); cut != nil {
		t.countCut(cut)
	}
	if t.protocol == wire.V2 && !s.based(sr.labels.serial) {
		s.rebase(sr.labels, t.labeler.refs(&t.symbols))
	}
	s.add(sr)
}

// restartSymbols begins another symbol table. What refers to the one before is cut.
func (t *translator) restartSymbols() {
	for _, i := range t.touched {
		if s := &t.segments[i]; !s.Empty() {
			s.cut()
			t.countCut(&s.chunks[len(s.chunks)-1].chunk)
		}
	}
	t.symbols.Reset()
}

// countCut ends the translation if what was cut is more than any queue can take.
func (t *translator) countCut(cut *chunk) {
	if t.cut += cut.cost(); t.cut > t.maxSize {
		t.watch.err = errOversized(t.maxSize)
	}
}

func (t *translator) guardOf(name *seriesName) guardKind {
	switch {
	case name == &t.targetInfoName:
		return madeTarget
	case name.targetInfo:
		return receivedTarget
	default:
		return guarded
	}
}

// first says whether nothing of the payload has taken the place of a series at its timestamp. The target_info that is made for
// a target gives way to any other of the target, so that there is one of that timestamp, and those that were received are
// told apart by all their labels.
func (t *translator) first(e indexEntry) bool {
	switch e.guard {
	case madeTarget:
		return t.seen.add(e.target, e.timestamp) && t.seen.add(e.identity, e.timestamp)
	case receivedTarget:
		first := t.seen.add(e.identity, e.timestamp)
		t.seen.add(e.target, e.timestamp)
		return first
	default:
		return t.seen.add(e.identity, e.timestamp)
	}
}

// sortByTime puts the series of finished segments in the order of their timestamps. A receiver finds disorder inside a request
// only when it stores it, and then drops what is out of order without saying so.
func (t *translator) sortByTime() {
	t.seen.reset()
	for _, i := range t.touched {
		s := &t.segments[i]
		if t.watch.done(watchEvery) {
			return
		}
		// To be sorted, series are laid out plain, which can take many times what they take compressed. Of too many the older ones
		// are late.
		if s.plainSize() > t.maxSize {
			continue
		}
		s.sortByTime(t.first, func(e indexEntry, example func() string) {
			if t.points--; e.guard != madeTarget {
				t.drop(account.ReasonDuplicate, 1, example())
			}
		})
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

// target identifies a target by its job and instance, and gives its partition key. All its target_info series share a
// partition, so that one that is made is never sent after a newer one. The identity is that of no series.
func (t *translator) target(ls *labelSet, name *seriesName) (identity, partitionKey uint64) {
	identity, partitionKey = name.identity, name.place
	for _, label := range []string{jobLabel, instanceLabel} {
		if value, ok := wire.FindLabel(ls.buf, label); ok {
			identity += labelHash(nameHash(label), wire.HashBytes(value))
			partitionKey += t.secret.label(t.secret.name(label), value)
		}
	}
	return combine(identity, uint64(targetInfoKind)), partitionKey
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
	t.symbols.Reset()
	t.seen.reset()
	t.points, t.cut = 0, 0
	t.drops = account.Drops{}
	t.labeler.forget()
	t.extra[0].value, t.extra[1].value = "", ""
	t.metadata.help = ""
	t.exemplars.forget()
	t.resource, t.context.labels, t.context.scope = emptied(t.resource), emptied(t.context.labels), emptied(t.context.scope)
	t.scope, t.watch = pmetric.ScopeMetrics{}, watch{}
	t.bounds.forgetLarge()
}

// scratch is the bytes of the translator's buffers, which are as large as the largest payload was.
func (t *translator) scratch() int {
	n := cap(t.labeler.set.buf) + cap(t.labeler.set.values)*int(unsafe.Sizeof(valueSpan{})) + len(t.seen.slots)*int(unsafe.Sizeof(timelineSlot{})) +
		t.symbols.Capacity() + t.histogram.Capacity() + t.exemplars.capacity()
	for i := range t.segments {
		n += t.segments[i].capacity()
	}
	return n
}
