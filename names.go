// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"strings"
	"unicode/utf8"
	"unsafe"

	"github.com/prometheus/otlptranslator"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

const (
	nameLabel     = "__name__"
	leLabel       = "le"
	quantileLabel = "quantile"
	jobLabel      = "job"
	instanceLabel = "instance"

	// exportedPrefix marks an attribute whose label name is taken, as Prometheus does for scraped labels.
	exportedPrefix = "exported_"
)

// The hashes of the names of labels that are not made from attributes: as symbols, and as nameHash.
var (
	nameLabelHash     = wire.Hash(nameLabel)
	leLabelHash       = wire.Hash(leLabel)
	quantileLabelHash = wire.Hash(quantileLabel)

	nameLabelName     = nameHash(nameLabel)
	leLabelName       = nameHash(leLabel)
	quantileLabelName = nameHash(quantileLabel)
)

// naming is how names are made, and what keeps their hashes secret.
type naming struct {
	namespace string
	strategy  otlptranslator.TranslationStrategyOption
	// preserveUnderscores keeps runs of underscores in label names.
	preserveUnderscores bool
	secret              partitionSecret
}

// namer gives metrics and attributes their Prometheus names. What it has computed it keeps, up to a bound. It is not
// safe for concurrent use.
type namer struct {
	secret     partitionSecret
	metric     otlptranslator.MetricNamer
	label      otlptranslator.LabelNamer
	unit       otlptranslator.UnitNamer
	targetInfo string

	account *cacheAccount
	metrics map[metricKey]*metricNames
	labels  map[string]string
}

// metricKey is what a metric's name is made from.
type metricKey struct {
	name, unit string
	typ        otlptranslator.MetricType
}

// metricNames are the names of all series that a metric of its type may become.
type metricNames struct {
	family string
	// unit is the metric's unit in Prometheus's words.
	unit               string
	plain              seriesName
	bucket, sum, count seriesName
	// invalid says that the metric cannot be named.
	invalid bool
}

// seriesName is the name of a series, ready for use: encoded as a label, and hashed.
type seriesName struct {
	name  string
	label []byte
	// hash is that of the name as a symbol.
	hash uint64
	// identity is the name's part in the identity of a series. place is its part in the partition key, without the suffix
	// that tells the series of a histogram apart.
	identity, place uint64
	targetInfo      bool
	// classic says that the name can be sent in 1.0.
	classic bool
}

func newNamer(how naming, account *cacheAccount) *namer {
	n := &namer{
		secret: how.secret,
		metric: otlptranslator.NewMetricNamer(how.namespace, how.strategy),
		label: otlptranslator.LabelNamer{
			UTF8Allowed:                 !how.strategy.ShouldEscape(),
			PreserveMultipleUnderscores: how.preserveUnderscores,
		},
		account: account,
	}
	n.forget()
	n.unit.UTF8Allowed = n.label.UTF8Allowed
	n.targetInfo = "target_info"
	if how.namespace != "" {
		n.targetInfo = how.namespace + "_" + n.targetInfo
	}
	return n
}

// metricNames returns the names for a metric; invalid is set in them if it cannot be named.
func (n *namer) metricNames(key metricKey) *metricNames {
	if names, ok := n.metrics[key]; ok {
		return names
	}
	names := n.buildMetricNames(key)
	if n.account.take(names.cost(key)) {
		// The strings belong to the payload, of which nothing may be kept.
		key.name, key.unit = strings.Clone(key.name), strings.Clone(key.unit)
		n.metrics[key] = names
	}
	return names
}

// cost is the bytes that the names take in the cache.
func (m *metricNames) cost(key metricKey) int {
	cost := mapSlots*int(unsafe.Sizeof(key)+unsafe.Sizeof(m)) + int(unsafe.Sizeof(*m)) + 4*allocation +
		len(key.name) + len(key.unit) + len(m.family) + len(m.unit)
	for _, s := range []*seriesName{&m.plain, &m.bucket, &m.sum, &m.count} {
		cost += len(s.name) + cap(s.label) + 2*allocation
	}
	return cost
}

// forget empties the caches.
func (n *namer) forget() {
	n.metrics, n.labels = make(map[metricKey]*metricNames), make(map[string]string)
}

func (n *namer) buildMetricNames(key metricKey) *metricNames {
	family, err := n.metric.Build(otlptranslator.Metric{
		Name: strings.ToValidUTF8(key.name, string(utf8.RuneError)),
		Unit: strings.ToValidUTF8(key.unit, string(utf8.RuneError)),
		Type: key.typ,
	})
	if err != nil || family == "" || !n.named(key.name) || !n.label.UTF8Allowed && !isClassicMetricName(family) {
		return &metricNames{invalid: true}
	}
	// A name may be the payload's, of which nothing may be kept.
	names := &metricNames{family: strings.Clone(family)}
	names.unit = strings.Clone(n.unit.Build(strings.ToValidUTF8(key.unit, string(utf8.RuneError))))
	names.plain = n.seriesName(names.family)
	switch key.typ {
	case otlptranslator.MetricTypeHistogram:
		names.bucket = n.seriesName(family + "_bucket")
		fallthrough
	case otlptranslator.MetricTypeSummary:
		names.sum, names.count = n.seriesName(family+"_sum"), n.seriesName(family+"_count")
	}
	return names
}

// named says whether anything of a name is left without namespace, unit and suffixes. Metrics of which nothing is left would
// all have the same name, like total.
func (n *namer) named(name string) bool {
	bare := n.metric
	bare.Namespace = ""
	left, err := bare.Build(otlptranslator.Metric{Name: strings.ToValidUTF8(name, string(utf8.RuneError))})
	return err == nil && left != ""
}

func (n *namer) seriesName(name string) seriesName {
	family := name
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		if f, ok := strings.CutSuffix(name, suffix); ok {
			family = f
			break
		}
	}
	hash := wire.Hash(name)
	return seriesName{
		name:       name,
		label:      wire.AppendLabel(nil, nameLabel, name),
		hash:       hash,
		identity:   labelHash(nameLabelName, hash),
		place:      n.secret.label(n.secret.name(nameLabel), []byte(family)),
		targetInfo: name == n.targetInfo,
		classic:    isClassicMetricName(name),
	}
}

// labelName returns the label name of an attribute key, or "" for an empty key.
//
// It differs from otlptranslator in two points, so that no attribute costs its sample: a key of nothing but characters
// that cannot be in a name becomes "_", and a name that begins with "__", which is reserved for Prometheus itself
// (Remote-Write 1.0, "Labels"), begins with a single "_".
func (n *namer) labelName(key string) string {
	if name, ok := n.labels[key]; ok {
		return name
	}
	name := strings.Clone(n.buildLabelName(key))
	if n.account.take(mapSlots*2*int(unsafe.Sizeof(key)) + 2*allocation + len(key) + len(name)) {
		n.labels[strings.Clone(key)] = name
	}
	return name
}

// labelNames returns what names so many keys. The names of very many are not kept: they would take the place of what others use.
func (n *namer) labelNames(keys int) func(key string) string {
	if keys > maxKept {
		return func(key string) string { return strings.Clone(n.buildLabelName(key)) }
	}
	return n.labelName
}

func (n *namer) buildLabelName(key string) string {
	if key == "" || isClassicLabelName(key) && !strings.Contains(key, "__") {
		return key
	}
	// otlptranslator keeps the underscores of __key__ as they are.
	name, err := n.label.Build(strings.ToValidUTF8(notReserved(key), string(utf8.RuneError)))
	if err != nil {
		return "_"
	}
	return notReserved(name)
}

// notReserved begins with one underscore if name begins with several.
func notReserved(name string) string {
	if strings.HasPrefix(name, "__") {
		return "_" + strings.TrimLeft(name, "_")
	}
	return name
}

// isClassicMetricName says whether s matches [a-zA-Z_:][a-zA-Z0-9_:]*.
func isClassicMetricName(s string) bool {
	for i := range len(s) {
		if s[i] != ':' && !isClassicLabelByte(s[i], i) {
			return false
		}
	}
	return s != ""
}

// isClassicLabelName says whether s matches [a-zA-Z_][a-zA-Z0-9_]*.
func isClassicLabelName(s string) bool {
	for i := range len(s) {
		if !isClassicLabelByte(s[i], i) {
			return false
		}
	}
	return s != ""
}

func isClassicLabelByte(c byte, at int) bool {
	return c == '_' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || at > 0 && '0' <= c && c <= '9'
}
