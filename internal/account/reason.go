// SPDX-License-Identifier: Apache-2.0

package account // import "github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"

// Reason is why samples were dropped. It is a closed enumeration; the documentation says what to do about each.
type Reason uint8

// The reasons, in the order of the way of the data.
const (
	// NoReason is that of what was not dropped.
	NoReason Reason = iota

	// Before the queue: the data cannot be sent as it is.

	// ReasonDelta is for delta temporality, which Prometheus does not know.
	ReasonDelta
	// ReasonNoTemporality is for a sum or histogram whose temporality is unspecified.
	ReasonNoTemporality
	// ReasonNoTimestamp is for a point without a time.
	ReasonNoTimestamp
	// ReasonNoValue is for a point without a value.
	ReasonNoValue
	// ReasonInvalidName is for a metric that has no name that can be sent.
	ReasonInvalidName
	// ReasonInvalidHistogram is for a histogram whose parts contradict each other.
	ReasonInvalidHistogram
	// ReasonScale is for an exponential histogram whose scale is under -4.
	ReasonScale
	// ReasonNoSum is for an exponential histogram without a sum.
	ReasonNoSum
	// ReasonNeedsV2 is for a series that Remote-Write 1.0 cannot carry.
	ReasonNeedsV2
	// ReasonTooManyLabels is for a series with more labels than max_labels.
	ReasonTooManyLabels
	// ReasonDuplicate is for a second sample of a series and time.
	ReasonDuplicate
	// ReasonOutOfOrder is for a sample that is older than the last one of its series.
	ReasonOutOfOrder

	// ReasonTooNew is for a sample that is further ahead of the clock than max_future, when late samples have no room.
	ReasonTooNew

	// In the queue.

	// ReasonQueueFull is for what a full queue has no room for, or evicts.
	ReasonQueueFull
	// ReasonStorageCorrupt is for what was stored and cannot be read.
	ReasonStorageCorrupt
	// ReasonTooOld is for samples older than queue.max_age.
	ReasonTooOld
	// ReasonShutdown is for what was still waiting, or between two tries, when the time for shutting down ended.
	ReasonShutdown

	// At the endpoint.

	// ReasonShutdownInFlight is for what was on its way when the time for shutting down ended: the endpoint may have it.
	ReasonShutdownInFlight
	// ReasonRejected is for a request that the endpoint refused. It bounds the loss from above: some receivers keep the
	// good samples of a request that they refuse.
	ReasonRejected
	// ReasonRefusedAfterUnknown is for a sample that was refused alone and has perhaps been sent before. It bounds the loss from
	// above: the endpoint may have it.
	ReasonRefusedAfterUnknown
	// ReasonIsolationLimit is for what was left when on_error.max_isolation_requests was reached.
	ReasonIsolationLimit
	// ReasonTooLarge is for a single series that the endpoint finds too large.
	ReasonTooLarge
	// ReasonRetriesExhausted is for a request whose retries have reached a limit.
	ReasonRetriesExhausted
	// ReasonFatal is for 401, 403, 404 and other 4xx that judge the sender, not the samples.
	ReasonFatal
	// ReasonUnexpected is for an answer that the protocol does not foresee, like a redirect.
	ReasonUnexpected

	// Reasons is how many there are.
	Reasons
)

// reasons are the names, as metrics and the log show them, and what an operator can do. docs/metrics.md says more of each.
var reasons = [Reasons]struct{ name, hint string }{
	ReasonDelta:         {"delta_temporality", "Add the delta_to_cumulative processor, or make the source send cumulative values."},
	ReasonNoTemporality: {"unspecified_temporality", "Correct the source: a sum or histogram must say its temporality."},
	ReasonNoTimestamp:   {"no_timestamp", "Correct the source: a data point must have a time."},
	ReasonNoValue:       {"no_value", "Correct the source: a data point must have a value."},
	ReasonInvalidName:   {"invalid_name", "Rename the metric, with a transform processor for instance."},
	ReasonInvalidHistogram: {
		"invalid_histogram", "Correct the source: the bounds, the buckets and the count of the histogram contradict each other.",
	},
	ReasonScale: {"scale_too_low", "Limit the scale at the source, to -4 or more."},
	ReasonNoSum: {"no_sum", "Make the source record the sum."},
	ReasonNeedsV2: {
		"needs_remote_write_2", "Use an endpoint that reads 2.0, or set protobuf_message: prometheus.WriteRequest, " +
			"a translation_strategy that escapes names, and no custom buckets.",
	},
	ReasonTooManyLabels: {
		"too_many_labels", "Find out where such attributes come from, and delete them with a transform processor. Or raise max_labels.",
	},
	ReasonDuplicate: {
		"duplicate", "If a client sent a payload again although it had been accepted, nothing is lost. " +
			"Otherwise make the sources differ, for instance with service.instance.id or resource_constant_labels.",
	},
	ReasonOutOfOrder: {
		"out_of_order", "Look for a second writer of the series, for parallel queues in front of the exporter, or for a source that sends late.",
	},
	ReasonTooNew: {"too_new", "Correct the clock of the source, or of this machine."},
	ReasonQueueFull: {
		"queue_full", "Find out why the endpoint is slow or away. A larger queue.max_size_bytes holds more of an outage.",
	},
	ReasonStorageCorrupt: {
		"storage_corrupt", "Check the disk of queue.storage. What storage has lost cannot be sent.",
	},
	ReasonTooOld: {
		"too_old", "Find out why the endpoint is slow or away, or whether the source sends old samples or has a wrong clock. Or raise queue.max_age.",
	},
	ReasonShutdown:         {"shutdown", "Increase shutdown_timeout, and the time that the supervisor grants."},
	ReasonShutdownInFlight: {"shutdown_in_flight", "Increase shutdown_timeout, and the time that the supervisor grants. Or shorten http.timeout."},
	ReasonRejected: {
		"rejected", "Read the answer. on_error.rejected: isolate delivers the other samples of the request.",
	},
	ReasonRefusedAfterUnknown: {
		"refused_after_unknown", "Mostly nothing is lost: the sample has come before, and the endpoint refuses it the second time. Read the answer to be sure.",
	},
	ReasonIsolationLimit: {
		"isolation_limit", "Correct what the endpoint refuses. A higher on_error.max_isolation_requests finds more of it.",
	},
	ReasonTooLarge: {"too_large", "Shorten the attribute values, or increase the endpoint's limit."},
	ReasonRetriesExhausted: {
		"retries_exhausted", "Mend the endpoint. To lose nothing in an outage, set retry_on_failure.max_elapsed_time: 0s.",
	},
	ReasonFatal:      {"fatal", "Correct http.endpoint, http.auth, http.headers or protobuf_message."},
	ReasonUnexpected: {"unexpected_answer", "Correct http.endpoint. A proxy may be in the way."},
}

// String is the reason as metrics and logs show it.
func (r Reason) String() string { return reasons[r].name }

// Hint is what an operator can do about it.
func (r Reason) Hint() string { return reasons[r].hint }
