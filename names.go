package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"
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

// maxCachedNames bounds each cache of names. A full cache is emptied rather than searched for what to evict: it fills
// again in as many look-ups.
const maxCachedNames = 1 << 14

// namer gives metrics and attributes their Prometheus names. What it has computed it keeps, up to a bound. It is not
// safe for concurrent use.
type namer struct {
	metric     otlptranslator.MetricNamer
	label      otlptranslator.LabelNamer
	unit       otlptranslator.UnitNamer
	targetInfo string

	metrics map[metricKey]*metricNames
	labels  map[string]string
}

// metricKey is what a metric's name is made from.
type metricKey struct {
	name, unit string
	typ        otlptranslator.MetricType
}

// metricNames are the names of all series that a metric may become. The metric's own points decide which are used.
type metricNames struct {
	family string
	// unit is the metric's unit in Prometheus's words.
	unit               string
	plain              seriesName
	bucket, sum, count seriesName
	err                error
}

// seriesName is the name of a series, ready for use: encoded as a label, and hashed.
type seriesName struct {
	name  string
	label []byte
	// hash is that of the name, family that of the name without the suffix that tells the parts of a histogram apart.
	hash, family uint64
	targetInfo   bool
	// classic says that the name can be sent in 1.0.
	classic bool
}

func newNamer(cfg *Config) *namer {
	n := &namer{
		metric: otlptranslator.NewMetricNamer(cfg.Namespace, cfg.TranslationStrategy),
		label: otlptranslator.LabelNamer{
			UTF8Allowed:                 !cfg.TranslationStrategy.ShouldEscape(),
			PreserveMultipleUnderscores: cfg.LabelNamePreserveMultipleUnderscores,
		},
		metrics: make(map[metricKey]*metricNames),
		labels:  make(map[string]string),
	}
	n.unit.UTF8Allowed = n.label.UTF8Allowed
	n.targetInfo = "target_info"
	if cfg.Namespace != "" {
		n.targetInfo = cfg.Namespace + "_" + n.targetInfo
	}
	return n
}

// metricNames returns the names for a metric; err is set in it if the metric cannot be named.
func (n *namer) metricNames(key metricKey) *metricNames {
	if names, ok := n.metrics[key]; ok {
		return names
	}
	if len(n.metrics) >= maxCachedNames {
		clear(n.metrics)
	}
	// The strings belong to the payload, of which nothing may be kept.
	key.name, key.unit = strings.Clone(key.name), strings.Clone(key.unit)
	names := n.buildMetricNames(key)
	n.metrics[key] = names
	return names
}

func (n *namer) buildMetricNames(key metricKey) *metricNames {
	family, err := n.metric.Build(otlptranslator.Metric{
		Name: strings.ToValidUTF8(key.name, string(utf8.RuneError)),
		Unit: strings.ToValidUTF8(key.unit, string(utf8.RuneError)),
		Type: key.typ,
	})
	switch {
	case err != nil:
		return &metricNames{err: err}
	case family == "":
		return &metricNames{err: fmt.Errorf("metric %q has no name", key.name)}
	case !n.label.UTF8Allowed && !isClassicMetricName(family):
		return &metricNames{err: fmt.Errorf("metric %q: %q is not a valid metric name", key.name, family)}
	}
	return &metricNames{
		family: family,
		unit:   n.unit.Build(strings.ToValidUTF8(key.unit, string(utf8.RuneError))),
		plain:  n.seriesName(family),
		bucket: n.seriesName(family + "_bucket"),
		sum:    n.seriesName(family + "_sum"),
		count:  n.seriesName(family + "_count"),
	}
}

func (n *namer) seriesName(name string) seriesName {
	family := name
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		if f, ok := strings.CutSuffix(name, suffix); ok {
			family = f
			break
		}
	}
	return seriesName{
		name:       name,
		label:      wire.AppendLabel(nil, nameLabel, name),
		hash:       xxhash.Sum64String(name),
		family:     xxhash.Sum64String(family),
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
	if len(n.labels) >= maxCachedNames {
		clear(n.labels)
	}
	key = strings.Clone(key)
	name := n.buildLabelName(key)
	n.labels[key] = name
	return name
}

func (n *namer) buildLabelName(key string) string {
	if key == "" {
		return ""
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
