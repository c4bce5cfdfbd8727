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

var reasonNames = [Reasons]string{
	NoReason:                  "",
	ReasonDelta:               "delta_temporality",
	ReasonNoTemporality:       "unspecified_temporality",
	ReasonNoTimestamp:         "no_timestamp",
	ReasonNoValue:             "no_value",
	ReasonInvalidName:         "invalid_name",
	ReasonInvalidHistogram:    "invalid_histogram",
	ReasonScale:               "scale_too_low",
	ReasonNoSum:               "no_sum",
	ReasonNeedsV2:             "needs_remote_write_2",
	ReasonTooManyLabels:       "too_many_labels",
	ReasonDuplicate:           "duplicate",
	ReasonOutOfOrder:          "out_of_order",
	ReasonTooNew:              "too_new",
	ReasonQueueFull:           "queue_full",
	ReasonStorageCorrupt:      "storage_corrupt",
	ReasonTooOld:              "too_old",
	ReasonShutdown:            "shutdown",
	ReasonShutdownInFlight:    "shutdown_in_flight",
	ReasonRejected:            "rejected",
	ReasonRefusedAfterUnknown: "refused_after_unknown",
	ReasonIsolationLimit:      "isolation_limit",
	ReasonTooLarge:            "too_large",
	ReasonRetriesExhausted:    "retries_exhausted",
	ReasonFatal:               "fatal",
	ReasonUnexpected:          "unexpected_answer",
}

// String is the reason as metrics and logs show it.
func (r Reason) String() string {
	return reasonNames[r]
}
