// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"time"

	"github.com/prometheus/otlptranslator"
	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/config/confighttp"
	"go.opentelemetry.io/collector/config/configretry"
	"go.opentelemetry.io/collector/confmap"
)

// Config is the configuration of the exporter. The meaning of a key that the contrib exporter
// (prometheus_remote_write) has too is the same here.
type Config struct {
	// HTTP configures the HTTP client. The endpoint is required. Compression is the protocol's own (Snappy block
	// format) and cannot be set.
	HTTP confighttp.ClientConfig `mapstructure:"http"`

	// ProtobufMessage names the message on the wire, and with it the version of the protocol.
	ProtobufMessage ProtobufMessage `mapstructure:"protobuf_message"`

	// Fallback says whether a 2.0 message that the endpoint cannot read is sent again as 1.0, and all later ones too until
	// the endpoint reads 2.0.
	Fallback bool `mapstructure:"fallback"`

	// SendMetadata sends the metadata of metrics in requests of their own. It is for 1.0: in 2.0 each series has its
	// metadata.
	SendMetadata bool `mapstructure:"send_metadata"`

	// MetadataInterval is the time between two such requests with the same metadata.
	MetadataInterval time.Duration `mapstructure:"metadata_interval"`

	// ConvertExplicitHistogramsToNHCB sends histograms with explicit bounds as native histograms with custom buckets,
	// which only 2.0 can carry.
	ConvertExplicitHistogramsToNHCB bool `mapstructure:"convert_explicit_histograms_to_nhcb"`

	// KeepClassicHistograms sends the classic series too.
	KeepClassicHistograms bool `mapstructure:"keep_classic_histograms"`

	// Namespace is put in front of every metric name, with an underscore between.
	Namespace string `mapstructure:"namespace"`

	// ExternalLabels are added to every series that has no label of the same name.
	ExternalLabels map[string]string `mapstructure:"external_labels"`

	// TargetInfo configures the target_info series.
	TargetInfo TargetInfoConfig `mapstructure:"target_info"`

	// DisableScopeInfo leaves out the otel_scope_* labels.
	DisableScopeInfo bool `mapstructure:"disable_scope_info"`

	// ResourceConstantLabels selects resource attributes that become labels of every series of the resource.
	ResourceConstantLabels ResourceConstantLabelsConfig `mapstructure:"resource_constant_labels"`

	// MaxLabels is the most labels of a series, its name included; points with more are dropped. 0 is no limit.
	MaxLabels int `mapstructure:"max_labels"`

	// TranslationStrategy says how metric and attribute names become metric and label names.
	TranslationStrategy otlptranslator.TranslationStrategyOption `mapstructure:"translation_strategy"`

	// LabelNamePreserveMultipleUnderscores keeps runs of underscores in label names, which the specification makes one
	// underscore. What is sent then has the names that Prometheus and the contrib exporter give it.
	LabelNamePreserveMultipleUnderscores bool `mapstructure:"label_name_preserve_multiple_underscores"`

	// Partitions is the number of partitions. All samples of a series go through one, and one request at a time carries
	// samples of it. It needs no tuning, unless answers take seconds.
	Partitions int `mapstructure:"partitions"`

	// MaxInFlight is the most requests under way at once; 0 is the number of partitions.
	MaxInFlight int `mapstructure:"max_in_flight"`

	// Batch configures how many samples travel in one request.
	Batch BatchConfig `mapstructure:"batch"`

	// Queue configures the queue.
	Queue QueueConfig `mapstructure:"queue"`

	// Retry configures the retries of a request whose failure may pass: no answer, 5xx, and 429 if RetryOn429 is set.
	Retry RetryConfig `mapstructure:"retry_on_failure"`

	// RetryOn429 says whether a 429 is retried (Remote-Write 1.0 and 2.0, "Retries & Backoff"), or else rejected.
	RetryOn429 bool `mapstructure:"retry_on_429"`

	// OnError says what becomes of samples that could not be delivered.
	OnError OnErrorConfig `mapstructure:"on_error"`

	// OutOfOrder says what is done with samples that are older than the last one of their series. Those of the same time are
	// always dropped.
	OutOfOrder OutOfOrder `mapstructure:"out_of_order"`

	// MaxFuture and MaxPast are how far the timestamp of a sample may be ahead of and behind our clock when it is accepted.
	// Others travel apart, because receivers refuse them together with their whole request.
	MaxFuture time.Duration `mapstructure:"max_future"`
	MaxPast   time.Duration `mapstructure:"max_past"`

	// SeriesIdleTimeout is the time after which the guard and the memory of bounds forget a series
	// that gets no samples. It is kept for at least that long and at most half as long again.
	SeriesIdleTimeout time.Duration `mapstructure:"series_idle_timeout"`

	// ShutdownTimeout bounds how long a shutdown waits for queued samples to be delivered. An earlier deadline of the
	// collector prevails.
	ShutdownTimeout time.Duration `mapstructure:"shutdown_timeout"`

	// LogExamples says whether log lines about dropped samples name one of their series. Labels are data of users, which
	// belong into a log only if somebody wants them there.
	LogExamples bool `mapstructure:"log_examples"`

	// DeadLetter configures a directory that keeps dropped requests.
	DeadLetter DeadLetterConfig `mapstructure:"dead_letter"`

	// unreadable is what Unmarshal could not read. Nothing has been read then.
	unreadable problems

	// prevent unkeyed literal initialization
	_ struct{}
}

// TargetInfoConfig configures the target_info series.
type TargetInfoConfig struct {
	// Enabled says whether target_info is sent.
	Enabled bool `mapstructure:"enabled"`

	// KeepIdentifyingResourceAttributes leaves service.name, service.namespace and service.instance.id among the labels,
	// beside job and instance.
	KeepIdentifyingResourceAttributes bool `mapstructure:"keep_identifying_resource_attributes"`

	// prevent unkeyed literal initialization
	_ struct{}
}

// ResourceConstantLabelsConfig selects resource attributes by patterns in which * stands for any characters and ?
// for one.
type ResourceConstantLabelsConfig struct {
	// Included selects attributes. If it is empty and Excluded is not, all but the excluded ones are selected.
	Included []string `mapstructure:"included"`

	// Excluded removes attributes from what Included selects.
	Excluded []string `mapstructure:"excluded"`

	// prevent unkeyed literal initialization
	_ struct{}
}

// BatchConfig configures how many samples travel in one request. A request is due when the first of the three bounds is
// reached.
type BatchConfig struct {
	// MaxSamples is the most samples that a request carries; a native histogram counts as one.
	MaxSamples int `mapstructure:"max_samples"`

	// MaxSizeBytes is the most bytes of a message before compression. A single series that is larger travels alone.
	MaxSizeBytes ByteSize `mapstructure:"max_size_bytes"`

	// FlushTimeout is the longest time that samples wait for others to fill a request.
	FlushTimeout time.Duration `mapstructure:"flush_timeout"`

	// prevent unkeyed literal initialization
	_ struct{}
}

// QueueConfig configures the queue, in which each partition has its lines.
type QueueConfig struct {
	// MaxSizeBytes bounds the bytes that the queue holds, requests in flight included. A partition may hold as much as is
	// free beside it. What is not packed yet counts uncompressed.
	MaxSizeBytes ByteSize `mapstructure:"max_size_bytes"`

	// Storage names a storage extension that keeps what is accepted until it has its outcome, also when the process dies.
	// Without it the queue is in memory.
	Storage *component.ID `mapstructure:"storage,omitempty"`

	// MaxDiskBytes bounds the bytes that the exporter keeps in Storage. Then MaxSizeBytes is for memory alone, and what has no
	// room in it is read from storage later.
	MaxDiskBytes ByteSize `mapstructure:"max_disk_bytes"`

	// OnFull says what is done with a payload for which there is no room.
	OnFull OnFull `mapstructure:"on_full"`

	// BlockTimeout is the longest time that a caller waits for space if OnFull is block; then its payload is refused with
	// an error after which it may try again.
	BlockTimeout time.Duration `mapstructure:"block_timeout"`

	// MaxAge is the age from which samples are no longer sent, by their timestamps; 0 sends them however old.
	MaxAge time.Duration `mapstructure:"max_age"`

	// prevent unkeyed literal initialization
	_ struct{}
}

// RetryConfig configures retries. A request is retried in place: nothing later of its partitions overtakes it.
type RetryConfig struct {
	// BackOff is when a request is retried, and for how long.
	BackOff BackOffConfig `mapstructure:",squash"`

	// MaxRetries is the most retries of a request; 0 is no limit.
	MaxRetries int `mapstructure:"max_retries"`

	// MaxRetryAfter is the longest delay that a Retry-After header can ask for; a longer one is cut to it.
	MaxRetryAfter time.Duration `mapstructure:"max_retry_after"`

	// prevent unkeyed literal initialization
	_ struct{}
}

// BackOffConfig is the Collector's configuration of exponential back-off, which the exporter validates itself: the errors
// of the Collector's type do not name the key, and stand on lines that do not name the exporter.
type BackOffConfig configretry.BackOffConfig

// OnErrorConfig says what becomes of samples that could not be delivered.
type OnErrorConfig struct {
	// RetriesExhausted is for requests whose retries have reached a limit.
	RetriesExhausted OnRetriesExhausted `mapstructure:"retries_exhausted"`

	// Fatal is for answers that judge the sender, not the samples: 401, 402, 403, 404, 405, 407, 410, 411, 414, 421, 426, 431,
	// 451, 415 to a 1.0 message, and those that are neither 2xx, 4xx nor 5xx.
	Fatal OnFatal `mapstructure:"fatal"`

	// Rejected is for any other 4xx, except 413, and 429 if it is retried.
	Rejected OnRejected `mapstructure:"rejected"`

	// MaxIsolationRequests is the most requests that are spent on what was first sent as one, by isolation or by splitting
	// after a 413.
	MaxIsolationRequests int `mapstructure:"max_isolation_requests"`

	// prevent unkeyed literal initialization
	_ struct{}
}

// DeadLetterConfig configures a directory that keeps dropped requests: those that were sent in vain or were about to be
// sent, and what was dropped while it waited in the queue or for lack of room in it.
type DeadLetterConfig struct {
	// Directory is where dropped requests are kept; empty keeps none. It is created if it does not exist.
	Directory string `mapstructure:"directory"`

	// MaxSizeBytes bounds the bytes that the exporter's requests take in the directory; the oldest are removed first.
	MaxSizeBytes ByteSize `mapstructure:"max_size_bytes"`

	// prevent unkeyed literal initialization
	_ struct{}
}

// ProtobufMessage is the full name of a Remote-Write message (Remote-Write 2.0, "Protobuf Message").
type ProtobufMessage string

// The messages of Remote-Write 1.0 and 2.0.
const (
	MessageV1 ProtobufMessage = "prometheus.WriteRequest"
	MessageV2 ProtobufMessage = "io.prometheus.write.v2.Request"
)

// OnFull is what is done with a payload for which there is no room.
type OnFull string

// The values of queue.on_full.
const (
	// OnFullBlock makes the caller wait until there is room, but not longer than queue.block_timeout.
	OnFullBlock OnFull = "block"
	// OnFullReject refuses the payload with an error that the caller may retry; nothing of it is accepted.
	OnFullReject OnFull = "reject"
	// OnFullDropOldest drops the oldest batches that wait in the partition that holds most.
	OnFullDropOldest OnFull = "drop_oldest"
	// OnFullDropNewest drops those samples of the payload for which there is no room.
	OnFullDropNewest OnFull = "drop_newest"
)

// OnRetriesExhausted is what is done when the retries of a request have reached a limit.
type OnRetriesExhausted string

// The values of on_error.retries_exhausted.
const (
	// OnRetriesExhaustedDiscard drops the request's samples and goes on.
	OnRetriesExhaustedDiscard OnRetriesExhausted = "discard"
	// OnRetriesExhaustedFail drops them and stops the collector.
	OnRetriesExhaustedFail OnRetriesExhausted = "fail"
)

// OnFatal is what is done after an answer that says that the endpoint or the credentials are wrong.
type OnFatal string

// The values of on_error.fatal.
const (
	// OnFatalPause drops the request's samples, and lets the rest wait until the endpoint takes requests again.
	OnFatalPause OnFatal = "pause"
	// OnFatalFail drops the request's samples and stops the collector.
	OnFatalFail OnFatal = "fail"
	// OnFatalDiscard drops the request's samples and goes on.
	OnFatalDiscard OnFatal = "discard"
	// OnFatalRetry retries like after a 5xx.
	OnFatalRetry OnFatal = "retry"
)

// OnRejected is what is done after an answer that refuses the request's content.
type OnRejected string

// The values of on_error.rejected.
const (
	// OnRejectedDiscard drops all samples of the request.
	OnRejectedDiscard OnRejected = "discard"
	// OnRejectedIsolate splits the request until only what is refused is dropped.
	OnRejectedIsolate OnRejected = "isolate"
)

// OutOfOrder is what is done with a late sample, which is older than the last one of its series.
type OutOfOrder string

// The values of out_of_order.
const (
	// OutOfOrderSeparate sends it apart from samples that are in order, after those that were accepted before.
	OutOfOrderSeparate OutOfOrder = "separate"
	// OutOfOrderSend sends it in its turn, in a request that holds nothing else.
	OutOfOrderSend OutOfOrder = "send"
	// OutOfOrderDrop drops and counts it.
	OutOfOrderDrop OutOfOrder = "drop"
)

var (
	_ component.Config  = (*Config)(nil)
	_ confmap.Validator = (*Config)(nil)
)

func createDefaultConfig() component.Config {
	client := confighttp.NewDefaultClientConfig()
	client.Timeout = 30 * time.Second
	backOff := BackOffConfig(configretry.NewDefaultBackOffConfig())
	backOff.InitialInterval = 30 * time.Millisecond
	backOff.MaxInterval = 5 * time.Second
	backOff.Multiplier = 2
	return &Config{
		HTTP:                client,
		ProtobufMessage:     MessageV1,
		Fallback:            true,
		MetadataInterval:    time.Minute,
		TargetInfo:          TargetInfoConfig{Enabled: true},
		MaxLabels:           1000,
		TranslationStrategy: otlptranslator.UnderscoreEscapingWithSuffixes,
		Partitions:          32,
		Batch: BatchConfig{
			MaxSamples:   2000,
			MaxSizeBytes: 3_000_000,
			FlushTimeout: time.Second,
		},
		Queue: QueueConfig{
			MaxSizeBytes: 256 << 20,
			MaxDiskBytes: 10 << 30,
			OnFull:       OnFullBlock,
			BlockTimeout: 5 * time.Second,
		},
		Retry: RetryConfig{
			BackOff:       backOff,
			MaxRetryAfter: time.Minute,
		},
		RetryOn429: true,
		OnError: OnErrorConfig{
			RetriesExhausted:     OnRetriesExhaustedDiscard,
			Fatal:                OnFatalPause,
			Rejected:             OnRejectedDiscard,
			MaxIsolationRequests: 250,
		},
		OutOfOrder:        OutOfOrderSeparate,
		MaxFuture:         10 * time.Minute,
		MaxPast:           45 * time.Minute,
		SeriesIdleTimeout: time.Hour,
		ShutdownTimeout:   15 * time.Second,
		DeadLetter: DeadLetterConfig{
			MaxSizeBytes: 128 << 20,
		},
	}
}
