// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
)

// unknownKey says that a section has no such key, and what was probably meant: what stands for a key of another
// exporter, the same key in another section, or a key that is written nearly like it.
func unknownKey(path, key string, section reflect.Type) string {
	answer, ok := foreignKeys[path+key]
	if !ok && path == "http." {
		answer, ok = foreignKeys[key]
	}
	if ok {
		return path + key + ": " + answer
	}
	known := knownKeys()
	if elsewhere := sameKey(known, key); len(elsewhere) > 0 {
		return fmt.Sprintf("%s%s: unknown key, did you mean %s?", path, key, strings.Join(elsewhere, " or "))
	}
	fields := make(map[string]reflect.Value)
	addFields(fields, reflect.New(section).Elem())
	siblings := slices.Sorted(maps.Keys(fields))
	var near []string
	for _, sibling := range siblings {
		if len(key) > 3 && strings.HasPrefix(sibling, key) {
			near = append(near, path+sibling)
		}
	}
	if sibling := nearest(key, siblings); len(near) == 0 && sibling != "" {
		near = append(near, path+sibling)
	}
	if len(near) > 0 {
		return fmt.Sprintf("%s%s: unknown key, did you mean %s?", path, key, strings.Join(near, " or "))
	}
	last := make([]string, len(known))
	for i, k := range known {
		last[i] = k[strings.LastIndexByte(k, '.')+1:]
	}
	if near := nearest(key, last); near != "" {
		return fmt.Sprintf("%s%s: unknown key, did you mean %s?", path, key, known[slices.Index(last, near)])
	}
	if len(siblings) == 0 {
		return fmt.Sprintf("%s%s: unknown key, the section has none", path, key)
	}
	return fmt.Sprintf("%s%s: unknown key, known are %s", path, key, strings.Join(siblings, ", "))
}

// sameKey returns the keys whose last part is key. Under http each section of the Collector has its own; those at the
// upper levels are meant.
func sameKey(known []string, key string) []string {
	var same []string
	depth := 0
	for _, k := range known {
		if k[strings.LastIndexByte(k, '.')+1:] != key || key == "enabled" || slices.Contains(deprecatedKeys, k) {
			continue
		}
		d := strings.Count(k, ".")
		if len(same) > 0 && d > depth {
			continue
		}
		if d < depth {
			same = nil
		}
		same, depth = append(same, k), d
	}
	return same
}

// deprecatedKeys are those that the Collector's HTTP client has moved into http.keepalive.
var deprecatedKeys = []string{
	"http.disable_keep_alives", "http.idle_conn_timeout", "http.max_idle_conns", "http.max_idle_conns_per_host",
}

// knownKeys returns all keys of Config with those of its sections, like queue.max_age, in the order of their names.
func knownKeys() []string {
	var keys []string
	addKeys(&keys, "", reflect.TypeFor[Config]())
	slices.Sort(keys)
	return keys
}

func addKeys(keys *[]string, path string, section reflect.Type) {
	fields := make(map[string]reflect.Value)
	addFields(fields, reflect.New(section).Elem())
	for name, field := range fields {
		*keys = append(*keys, path+name)
		t := field.Type()
		if inner, ok := optional(t); ok {
			*keys = append(*keys, path+name+".enabled")
			t = inner
		}
		if isSectionType(t) {
			addKeys(keys, path+name+".", t)
		}
	}
}

// isSectionType says whether a field of the type is a section with keys, and not one value, like a component's id.
func isSectionType(t reflect.Type) bool {
	return t.Kind() == reflect.Struct && !isTextType(t)
}

// nearest returns the candidate with the least slips from s, or "" if all have too many.
func nearest(s string, candidates []string) string {
	best, least := "", max(1, len(s)/3)+1
	for _, c := range candidates {
		if d := slips(strings.ToLower(s), c); d < least {
			best, least = c, d
		}
	}
	return best
}

// slips is the least number of bytes that are put in, taken out, replaced or swapped with the next one to make b of a
// (optimal string alignment distance).
func slips(a, b string) int {
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		for j := range rows[i] {
			switch {
			case i == 0 || j == 0:
				rows[i][j] = i + j
			case a[i-1] == b[j-1]:
				rows[i][j] = rows[i-1][j-1]
			default:
				rows[i][j] = 1 + min(rows[i-1][j-1], rows[i-1][j], rows[i][j-1])
				if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
					rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
				}
			}
		}
	}
	return rows[len(a)][len(b)]
}

// foreignKeys says what to write for keys of prometheus_remote_write (contrib), of exporterhelper, of the batch processor, of
// otlp_http and of Prometheus's own remote_write.
var foreignKeys = map[string]string{
	// prometheus_remote_write
	"remote_write_queue":               "is of prometheus_remote_write: there always is a queue, with queue.max_size_bytes in place of queue_size and max_in_flight in place of num_consumers",
	"wal":                              "is of prometheus_remote_write: name a storage extension in queue.storage instead",
	"resource_to_telemetry_conversion": `is of prometheus_remote_write: write resource_constant_labels.included: ["*"] in place of enabled: true, and resource_constant_labels.excluded: [service.name, service.namespace, service.instance.id] in place of exclude_service_attributes: true`,
	"resource_constant_labels.enabled": `is no key: write resource_constant_labels.included: ["*"]`,
	"resource_constant_labels.exclude_service_attributes": "is no key: write resource_constant_labels.excluded: [service.name, service.namespace, service.instance.id]",
	"add_metric_suffixes":           "is of prometheus_remote_write: write translation_strategy: UnderscoreEscapingWithoutSuffixes in place of false, nothing in place of true",
	"max_batch_size_bytes":          "is of prometheus_remote_write: write batch.max_size_bytes, and see batch.max_samples",
	"max_batch_request_parallelism": "is of prometheus_remote_write: write max_in_flight, if at all: requests run in parallel without it",
	"export_created_metric":         "is of prometheus_remote_write: there are no _created series, and with protobuf_message io.prometheus.write.v2.Request each series has its start time",
	"include_metadata_keys":         "is of prometheus_remote_write and has no counterpart: headers are the same for all requests, use an exporter with http.headers for each tenant",

	"compression": "leave it out: the Remote-Write protocol prescribes its own",

	// exporterhelper
	"sending_queue":           "is of other exporters: there always is a queue that keeps the order, with queue.max_size_bytes in place of queue_size, max_in_flight in place of num_consumers, queue.on_full in place of block_on_overflow, and batch",
	"batcher":                 "is of other exporters: write batch.max_samples in place of max_size_items, and batch.flush_timeout",
	"batch.sizer":             "is of other exporters: both batch.max_samples and batch.max_size_bytes apply",
	"batch.max_size":          "is of other exporters: write batch.max_samples or batch.max_size_bytes",
	"batch.min_size":          "is of other exporters and has no counterpart: a batch is sent when it is full or batch.flush_timeout has passed",
	"batch.partition":         "is of other exporters: partitions follow from the series",
	"batch.enabled":           "is no key: there always are batches, batch.max_samples bounds them",
	"queue.enabled":           "is no key: there always is a queue, queue.max_size_bytes bounds it",
	"queue.queue_size":        "is of other exporters: write queue.max_size_bytes, in bytes",
	"queue.num_consumers":     "is of other exporters: write max_in_flight, if at all: requests run in parallel without it",
	"queue.sizer":             "is of other exporters: queue.max_size_bytes is in bytes",
	"queue.block_on_overflow": "is of other exporters: write queue.on_full: block in place of true, queue.on_full: reject in place of false",
	"queue.wait_for_result":   "is of other exporters and has no counterpart: a payload is accepted when it is in the queue",

	// the batch processor
	"batch.timeout":             "is of the batch processor: write batch.flush_timeout",
	"batch.send_batch_size":     "is of the batch processor: write batch.max_samples",
	"batch.send_batch_max_size": "is of the batch processor: write batch.max_samples",

	// otlp_http
	"metrics_endpoint": "is of otlp_http: write http.endpoint",
	"encoding":         "is of otlp_http: write protobuf_message",

	// Prometheus
	"url":                    "is of Prometheus: write http.endpoint",
	"http.url":               "write http.endpoint",
	"remote_timeout":         "is of Prometheus: write http.timeout",
	"queue_config":           "is of Prometheus: write max_in_flight in place of max_shards, batch.max_samples in place of max_samples_per_send, batch.flush_timeout in place of batch_send_deadline, queue.max_size_bytes in place of capacity, retry_on_failure.initial_interval and .max_interval in place of min_backoff and max_backoff, queue.max_age in place of sample_age_limit",
	"metadata_config":        "is of Prometheus: write send_metadata and metadata_interval",
	"write_relabel_configs":  "is of Prometheus and has no counterpart: use a filter or transform processor",
	"tls_config":             "is of Prometheus: write http.tls",
	"basic_auth":             "is of Prometheus: write http.auth.authenticator with the extension basicauth",
	"authorization":          "is of Prometheus: write http.auth.authenticator with an extension such as bearertokenauth, or http.headers",
	"bearer_token":           "is of Prometheus: write http.auth.authenticator with the extension bearertokenauth",
	"oauth2":                 "is of Prometheus: write http.auth.authenticator with the extension oauth2client",
	"sigv4":                  "is of Prometheus: write http.auth.authenticator with the extension sigv4auth",
	"send_exemplars":         "is of Prometheus: exemplars are always sent",
	"send_native_histograms": "is of Prometheus: exponential histograms are always sent as native ones",
}
