// SPDX-License-Identifier: Apache-2.0

package integration

import "regexp"

// Who is right where translators differ.
const (
	// right is this exporter, by the source.
	right = "here"
	// choice is that the source does not decide.
	choice = "a choice"
	// exception is that this exporter deviates from the source for a reason.
	exception = "an exception"
)

// differenceClass is a known kind of difference between this exporter and the others. docs/translation.md says of each what is
// made of it where.
type differenceClass struct {
	name string
	// cases are the cases in which it occurs, and fields the fields of outcomes; none are all.
	cases  string
	fields []string
	// contrib and prometheus say which translator differs.
	contrib, prometheus bool
	who, source         string
}

func (c *differenceClass) matches(name string, d *difference) bool {
	if !regexp.MustCompile(c.cases).MatchString(name) {
		return false
	}
	for _, f := range c.fields {
		if f == d.field {
			return true
		}
	}
	return len(c.fields) == 0
}

// differenceClasses are those known. Of several that match a difference the first one counts.
var differenceClasses = []differenceClass{
	{"Types that OpenTelemetry does not have", `^types: .* that was`, []string{"type"}, true, true, right, "Gauges, Sums"},
	{"Text that is not UTF-8", `not UTF-8|\\xff`, nil, true, true, right, "Protocol Buffers, string"},
	{"A metric without a name", `^names: (un(translated|escaped) ""|counter "(温度|_|)" )`, nil, true, true, right, "Remote-Write 2.0, Labels"},
	{"Units that are no names", `^units: of no name, No`, []string{"unit"}, false, true, choice, "Metric Metadata"},
	{"Points without a value", `^values: .* of none$`, nil, true, true, right, "NumberDataPoint"},
	{"Points without a time", `^times: none`, nil, true, true, right, "NumberDataPoint, time_unix_nano"},
	{"A target's time of what cannot be sent", `^target_info: a newer point that cannot be sent$`, nil, true, true, right, "Resource Attributes"},
	{"Several points of one series and time", `^names: two metrics|^times: two|quantiles twice|two resources of one description`, []string{"there"}, true, true, right, "Remote-Write 2.0, Ordering"},
	{"Attributes of one value that become one label", `^labels: two that collide, of one value$`, nil, true, false, right, "Metric Attributes"},
	{"Empty attributes", `one empty$|an empty attribute$|^target_info: empty attributes$|^exemplars: an empty value$`, nil, true, true, right, "Prometheus, data model"},
	{"Runs of underscores in label names", `: runs (of|that)`, nil, true, false, right, "Metric Attributes"},
	{"Label names that begin with two underscores", `two leading underscores$|, reserved$|^labels: reserved$|the name of a metric$`, nil, true, true, right, "Remote-Write 1.0, Labels"},
	{"Keys that leave nothing of a name", `an empty key$|other scripts$|nothing but`, nil, true, true, right, "Metric Attributes"},
	{"Attributes named job or instance", `^labels: (job|instance) on|^target_info: job and instance among`, nil, true, true, exception, "Metric Attributes"},
	{"Attributes named le or quantile", `^labels: (le on a histogram|quantile on a summary)`, nil, true, true, exception, "Metric Attributes"},
	{"A NaN inside a map", `^label values: map with a NaN$`, nil, true, true, right, "Common, AnyValue representation"},
	{"The schema URL of a scope", `^scopes: schema URL$`, nil, true, false, right, "Instrumentation Scope"},
	{"Attributes of a scope that become one label", `^scopes: attributes that collide$`, nil, true, true, right, "Metric Attributes"},
	{"Attributes of a scope named like its name", `^scopes: attributes named so after conversion$`, nil, true, false, right, "Instrumentation Scope"},
	{"Attributes of a point named like those of its scope", `^scopes: an attribute of the point`, nil, true, true, right, "Metric Attributes"},
	{"An empty service.namespace", `^resources: empty namespace`, nil, true, true, right, "Resource Attributes"},
	{"An empty service.name", `^resources: empty name`, nil, false, true, right, "Resource Attributes"},
	{"Several times of a resource", `^target_info: points (of several|over many)`, nil, false, true, choice, "Resource Attributes"},
	{"Several target_info of a target", `^target_info: (two resources of one target|received and made)$`, nil, true, true, right, "Resource Attributes"},
	{"Identifying attributes in target_info", `^target_info: identifying attributes kept$`, nil, true, false, choice, "Resource Attributes"},
	{"A start after the point", `^start times: after the point`, []string{"start"}, true, true, right, "write/v2/types.proto, start_timestamp"},
	{"Starts of gauges", `^start times: (gauge|up-down)`, []string{"start"}, false, true, choice, "Sums"},
	{"Values that look like stale markers", `bits of a stale marker$`, []string{"value"}, true, true, right, "Remote-Write 1.0, Stale Markers"},
	{"Stale markers of a scale that is too low", `^stale: exponential histogram of a scale under -4$`, nil, true, true, right, "Remote-Write 1.0, Stale Markers"},
	{"A bound of +Inf", `^histograms: a bound of \+Inf$`, nil, true, false, right, "Histograms"},
	{"Buckets that do not fit the bounds", `^histograms: `, []string{"there"}, true, true, choice, "HistogramDataPoint"},
	{"Bounds of custom buckets that do not increase", `^custom buckets: (a bound of NaN|bounds that step back|equal bounds)$`, nil, true, true, right, "HistogramDataPoint"},
	{"Custom buckets that contradict the count or the bounds", `^custom buckets: `, []string{"value"}, false, true, right, "Prometheus, native histograms"},
	{"Classic series beside custom buckets", `^custom buckets: with the classic series$`, nil, false, true, choice, "Histograms"},
	{"A zero threshold", `^native: a zero threshold$`, []string{"value"}, false, true, right, "Exponential Histograms"},
	{"Empty buckets that are scaled down", `^native: scaled down`, []string{"value"}, true, false, right, "Exponential Histograms"},
	{"An exponential histogram without a sum", `^native: no sum$`, nil, false, true, exception, "Exponential Histograms"},
	{"An exponential histogram of another count", `^native: (more|less) counted`, nil, true, true, right, "Prometheus, native histograms"},
	{"Exemplars of gauges", `^exemplars: of a (gauge|up-down counter)`, []string{"exemplars"}, true, true, right, "Gauges, Sums"},
	{"Exemplars out of order", `^exemplars: (out of order|of a histogram, by falling value)$`, []string{"exemplars"}, true, true, right, "Remote-Write 2.0, Exemplars"},
	{"Exemplars of classic histograms", `^exemplars: (of a histogram|in the buckets)`, []string{"exemplars"}, true, false, right, "Histograms"},
	{"Exemplars without a value", `^exemplars: no value$`, nil, true, true, right, "Exemplar"},
	{"Exemplars without a time", `^exemplars: no time$`, nil, true, true, right, "Remote-Write 2.0, Exemplars"},
	{"Names of exemplars' labels", `^exemplars: (dots|labels that collide)$`, nil, true, true, choice, "Exemplar Conversion"},
}
