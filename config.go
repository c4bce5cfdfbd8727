package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
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

	// Fallback says whether a 2.0 message that the endpoint cannot read is sent again as 1.0, and all later ones too.
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

	// TranslationStrategy says how metric and attribute names become metric and label names.
	TranslationStrategy otlptranslator.TranslationStrategyOption `mapstructure:"translation_strategy"`

	// LabelNamePreserveMultipleUnderscores keeps runs of underscores in label names, which the specification makes one
	// underscore. What is sent then has the names that Prometheus and the contrib exporter give it.
	LabelNamePreserveMultipleUnderscores bool `mapstructure:"label_name_preserve_multiple_underscores"`

	// Partitions is the number of partitions, each with a queue and one request in flight.
	Partitions int `mapstructure:"partitions"`

	// Batch configures how many samples travel in one request.
	Batch BatchConfig `mapstructure:"batch"`

	// Queue configures the queues of the partitions.
	Queue QueueConfig `mapstructure:"queue"`

	// Retry configures the retries of a request whose failure may pass: no answer, 5xx, and 429 if RetryOn429 is set.
	Retry RetryConfig `mapstructure:"retry_on_failure"`

	// RetryOn429 says whether a 429 is retried (Remote-Write 1.0 and 2.0, "Retries & Backoff"), or else rejected.
	RetryOn429 bool `mapstructure:"retry_on_429"`

	// OnError says what becomes of samples that could not be delivered.
	OnError OnErrorConfig `mapstructure:"on_error"`

	// OutOfOrder says whether samples that are not newer than the last one of their series are sent or dropped.
	OutOfOrder OutOfOrder `mapstructure:"out_of_order"`

	// SeriesIdleTimeout is the time after which the guard of out_of_order (and of target_info) forgets a series
	// that gets no samples. It is kept for at least that long and at most half as long again.
	SeriesIdleTimeout time.Duration `mapstructure:"series_idle_timeout"`

	// ShutdownTimeout bounds how long a shutdown waits for queued samples to be delivered. An earlier deadline of the
	// collector prevails.
	ShutdownTimeout time.Duration `mapstructure:"shutdown_timeout"`

	// DeadLetter configures a directory that keeps dropped requests.
	DeadLetter DeadLetterConfig `mapstructure:"dead_letter"`

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

// BatchConfig configures how many samples travel in one request. A batch is sealed when the first of the three bounds
// is reached.
type BatchConfig struct {
	// MaxSamples is the most samples that a request carries; a native histogram counts as one.
	MaxSamples int `mapstructure:"max_samples"`

	// MaxSizeBytes is the most bytes of a message before compression. A single series that is larger travels alone.
	MaxSizeBytes int64 `mapstructure:"max_size_bytes"`

	// FlushTimeout is the longest time that a batch stays open.
	FlushTimeout time.Duration `mapstructure:"flush_timeout"`

	// prevent unkeyed literal initialization
	_ struct{}
}

// QueueConfig configures the queues of the partitions.
type QueueConfig struct {
	// MaxSizeBytes bounds the bytes that all queues hold together; each partition has an equal share. Open batches
	// count uncompressed, sealed ones and the one in flight compressed.
	MaxSizeBytes int64 `mapstructure:"max_size_bytes"`

	// OnFull says what is done with a payload for which a partition has no room.
	OnFull OnFull `mapstructure:"on_full"`

	// BlockTimeout is the longest time that a caller waits for space if OnFull is block; then its payload is refused with
	// an error after which it may try again.
	BlockTimeout time.Duration `mapstructure:"block_timeout"`

	// MaxAge is the age from which samples are no longer sent, by their timestamps; 0 sends them however old.
	MaxAge time.Duration `mapstructure:"max_age"`

	// prevent unkeyed literal initialization
	_ struct{}
}

// RetryConfig configures retries. A request is retried in place: nothing later of its partition overtakes it.
type RetryConfig struct {
	// BackOff is the Collector's own configuration of exponential back-off.
	BackOff configretry.BackOffConfig `mapstructure:",squash"`

	// MaxRetries is the most retries of a request; 0 is no limit.
	MaxRetries int `mapstructure:"max_retries"`

	// MaxRetryAfter is the longest delay that a Retry-After header can ask for; a longer one is cut to it.
	MaxRetryAfter time.Duration `mapstructure:"max_retry_after"`

	// prevent unkeyed literal initialization
	_ struct{}
}

// OnErrorConfig says what becomes of samples that could not be delivered.
type OnErrorConfig struct {
	// RetriesExhausted is for requests whose retries have reached a limit.
	RetriesExhausted OnRetriesExhausted `mapstructure:"retries_exhausted"`

	// Fatal is for 401, 403, 404 and for answers that are neither 2xx, 4xx nor 5xx.
	Fatal OnFatal `mapstructure:"fatal"`

	// Rejected is for any other 4xx but 413, and but 429 if it is retried.
	Rejected OnRejected `mapstructure:"rejected"`

	// MaxIsolationRequests is the most requests that are spent on one refused batch, by isolation or by splitting
	// after a 413.
	MaxIsolationRequests int `mapstructure:"max_isolation_requests"`

	// prevent unkeyed literal initialization
	_ struct{}
}

// DeadLetterConfig configures a directory that keeps dropped requests: those that were sent in vain or were about to be
// sent, and not what was dropped while it waited in a queue.
type DeadLetterConfig struct {
	// Directory is where dropped requests are kept; empty keeps none. It is created if it does not exist.
	Directory string `mapstructure:"directory"`

	// MaxSizeBytes bounds the bytes that the exporter's requests take in the directory; the oldest are removed first.
	MaxSizeBytes int64 `mapstructure:"max_size_bytes"`

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

// OnFull is what is done with a payload for which a partition has no room.
type OnFull string

// The values of queue.on_full.
const (
	// OnFullBlock makes the caller wait until there is room, but not longer than queue.block_timeout.
	OnFullBlock OnFull = "block"
	// OnFullReject refuses the payload with an error that the caller may retry; nothing of it is accepted.
	OnFullReject OnFull = "reject"
	// OnFullDropOldest drops the oldest waiting batches of the full partition.
	OnFullDropOldest OnFull = "drop_oldest"
	// OnFullDropNewest drops the payload's samples for the full partition.
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

// OutOfOrder is what is done with a sample that is not newer than the last one of its series.
type OutOfOrder string

// The values of out_of_order.
const (
	// OutOfOrderSend sends it.
	OutOfOrderSend OutOfOrder = "send"
	// OutOfOrderDrop drops and counts it.
	OutOfOrderDrop OutOfOrder = "drop"
)

// minBatchSize is the least batch.max_size_bytes: room for a few series with long labels.
const minBatchSize = 16 << 10

var (
	_ component.Config  = (*Config)(nil)
	_ confmap.Validator = (*Config)(nil)
)

func createDefaultConfig() component.Config {
	client := confighttp.NewDefaultClientConfig()
	client.Timeout = 30 * time.Second
	backOff := configretry.NewDefaultBackOffConfig()
	backOff.InitialInterval = 30 * time.Millisecond
	backOff.MaxInterval = 5 * time.Second
	backOff.Multiplier = 2
	return &Config{
		HTTP:                client,
		ProtobufMessage:     MessageV1,
		Fallback:            true,
		MetadataInterval:    time.Minute,
		TargetInfo:          TargetInfoConfig{Enabled: true},
		TranslationStrategy: otlptranslator.UnderscoreEscapingWithSuffixes,
		Partitions:          8,
		Batch: BatchConfig{
			MaxSamples:   2000,
			MaxSizeBytes: 3_000_000,
			FlushTimeout: time.Second,
		},
		Queue: QueueConfig{
			MaxSizeBytes: 256 << 20,
			OnFull:       OnFullBlock,
			BlockTimeout: 10 * time.Second,
		},
		Retry: RetryConfig{
			BackOff:       backOff,
			MaxRetryAfter: time.Minute,
		},
		RetryOn429: true,
		OnError: OnErrorConfig{
			RetriesExhausted:     OnRetriesExhaustedDiscard,
			Fatal:                OnFatalFail,
			Rejected:             OnRejectedDiscard,
			MaxIsolationRequests: 250,
		},
		OutOfOrder:        OutOfOrderSend,
		SeriesIdleTimeout: time.Hour,
		ShutdownTimeout:   15 * time.Second,
		DeadLetter: DeadLetterConfig{
			MaxSizeBytes: 128 << 20,
		},
	}
}

// Validate returns an error that names the key of each setting that is missing, out of range or in contradiction to
// another. Nested sections of the Collector's own (http.tls, retry_on_failure and others) are validated by their types.
func (c *Config) Validate() error {
	return errors.Join(
		validateEndpoint(c.HTTP.Endpoint),
		c.validateHTTP(),
		c.validateMessage(),
		c.validateTranslation(),
		atLeast("partitions", c.Partitions, 1),
		atMost("partitions", c.Partitions, maxPartitions),
		c.validateBatchAndQueue(),
		c.validateRetry(),
		c.validateOnError(),
		oneOf("out_of_order", c.OutOfOrder, OutOfOrderSend, OutOfOrderDrop),
		longEnough("series_idle_timeout", c.SeriesIdleTimeout),
		longEnough("shutdown_timeout", c.ShutdownTimeout),
		c.validateDeadLetter(),
	)
}

// maxPartitions bounds the goroutines, connections and open batches that a configuration can ask for.
const maxPartitions = 1024

// reservedHeaders are the headers that the protocol sets (Remote-Write 2.0, "Required Headers").
var reservedHeaders = []string{
	"Content-Encoding", "Content-Type", "User-Agent", "X-Prometheus-Remote-Write-Version", "Content-Length",
}

// invalidURL is said instead of the URL.
const invalidURL = "not a valid URL (not shown, as it may hold a password, whose special characters must be percent-encoded)"

// validateEndpoint never prints any part of the endpoint: it may hold a password, and the errors of net/url quote what
// they cannot parse, like a password with an unescaped slash that they take for a port.
func validateEndpoint(endpoint string) error {
	if endpoint == "" {
		return errors.New("http.endpoint: must be set to the URL of a Remote-Write endpoint")
	}
	u, err := url.Parse(endpoint)
	switch {
	case err != nil:
		return errors.New("http.endpoint: " + invalidURL)
	case u.Scheme != "http" && u.Scheme != "https":
		return errors.New("http.endpoint: must begin with http:// or https://")
	case u.Hostname() == "":
		return errors.New("http.endpoint: has no host")
	}
	return nil
}

// validateProxy says what is wrong without printing the URL. The HTTP client would print it.
func validateProxy(proxy string) error {
	if _, err := url.ParseRequestURI(proxy); proxy != "" && err != nil {
		return errors.New("http.proxy_url: " + invalidURL)
	}
	return nil
}

func (c *Config) validateHTTP() error {
	errs := []error{validateProxy(c.HTTP.ProxyURL)}
	for name, value := range c.HTTP.Headers.Iter {
		switch {
		case !isHeaderName(name):
			errs = append(errs, fmt.Errorf("http.headers: %q is not a valid header name", name))
		case slices.Contains(reservedHeaders, http.CanonicalHeaderKey(name)):
			errs = append(errs, fmt.Errorf("http.headers: %q is set by the Remote-Write protocol and cannot be overridden", name))
		case strings.ContainsFunc(string(value), isControl):
			errs = append(errs, fmt.Errorf("http.headers: the value of %q contains a line break or another control character", name))
		}
	}
	if c.HTTP.Compression.IsCompressed() {
		errs = append(errs, fmt.Errorf("http.compression: must be empty or none, not %q: the Remote-Write protocol prescribes its own", c.HTTP.Compression))
	}
	errs = append(errs, longEnough("http.timeout", c.HTTP.Timeout))
	return errors.Join(errs...)
}

// isHeaderName says whether s is a token (RFC 9110, section 5.6.2). With any other name no request could be sent, and
// that would look like an endpoint that cannot be reached.
func isHeaderName(s string) bool {
	for i := range len(s) {
		if !isClassicLabelByte(s[i], 1) && !strings.Contains("!#$%&'*+-.^`|~", s[i:i+1]) {
			return false
		}
	}
	return s != ""
}

// isControl says whether a header's value cannot have r, like the line break at the end of a file with a token.
func isControl(r rune) bool {
	return r < ' ' && r != '\t' || r == 0x7f
}

func (c *Config) validateMessage() error {
	errs := []error{
		oneOf("protobuf_message", c.ProtobufMessage, MessageV1, MessageV2),
		longEnough("metadata_interval", c.MetadataInterval),
	}
	if c.ConvertExplicitHistogramsToNHCB && c.ProtobufMessage == MessageV1 {
		errs = append(errs, fmt.Errorf("convert_explicit_histograms_to_nhcb: needs protobuf_message %s", MessageV2))
	}
	if c.KeepClassicHistograms && !c.ConvertExplicitHistogramsToNHCB {
		errs = append(errs, errors.New("keep_classic_histograms: has no effect without convert_explicit_histograms_to_nhcb"))
	}
	if c.SendMetadata && c.ProtobufMessage == MessageV2 {
		errs = append(errs, fmt.Errorf("send_metadata: has no effect with protobuf_message %s, which always has metadata", MessageV2))
	}
	return errors.Join(errs...)
}

func (c *Config) validateTranslation() error {
	errs := []error{oneOf("translation_strategy", c.TranslationStrategy,
		otlptranslator.UnderscoreEscapingWithSuffixes, otlptranslator.UnderscoreEscapingWithoutSuffixes,
		otlptranslator.NoUTF8EscapingWithSuffixes, otlptranslator.NoTranslation)}
	switch c.TranslationStrategy {
	case otlptranslator.NoUTF8EscapingWithSuffixes, otlptranslator.NoTranslation:
		if c.ProtobufMessage == MessageV1 {
			errs = append(errs, fmt.Errorf("translation_strategy: %s needs UTF-8 names, which protobuf_message %s cannot carry", c.TranslationStrategy, MessageV1))
		}
	}
	if c.LabelNamePreserveMultipleUnderscores && !c.TranslationStrategy.ShouldEscape() {
		errs = append(errs, fmt.Errorf("label_name_preserve_multiple_underscores: has no effect with translation_strategy %s, which leaves label names as they are", c.TranslationStrategy))
	}
	if c.TargetInfo.KeepIdentifyingResourceAttributes && !c.TargetInfo.Enabled {
		errs = append(errs, errors.New("target_info.keep_identifying_resource_attributes: has no effect without target_info.enabled"))
	}
	if c.Namespace != "" && !isClassicMetricName(c.Namespace) {
		errs = append(errs, fmt.Errorf("namespace: %q is not a valid metric name", c.Namespace))
	}
	for _, name := range slices.Sorted(maps.Keys(c.ExternalLabels)) {
		switch value := c.ExternalLabels[name]; {
		case !isClassicLabelName(name):
			errs = append(errs, fmt.Errorf("external_labels: %q is not a valid label name", name))
		case strings.HasPrefix(name, "__"):
			errs = append(errs, fmt.Errorf("external_labels: %q is reserved: names that begin with __ are Prometheus's own", name))
		case name == "le" || name == "quantile":
			errs = append(errs, fmt.Errorf("external_labels: %q is reserved for histograms and summaries", name))
		case value == "":
			errs = append(errs, fmt.Errorf("external_labels: %q has an empty value", name))
		}
	}
	return errors.Join(errs...)
}

func (c *Config) validateBatchAndQueue() error {
	errs := []error{
		atLeast("batch.max_samples", c.Batch.MaxSamples, 1),
		atLeast("batch.max_size_bytes", c.Batch.MaxSizeBytes, minBatchSize),
		atMost("batch.max_size_bytes", c.Batch.MaxSizeBytes, math.MaxInt32),
		longEnough("batch.flush_timeout", c.Batch.FlushTimeout),
		oneOf("queue.on_full", c.Queue.OnFull, OnFullBlock, OnFullReject, OnFullDropOldest, OnFullDropNewest),
		longEnough("queue.block_timeout", c.Queue.BlockTimeout),
		notNegative("queue.max_age", c.Queue.MaxAge),
	}
	if c.Queue.MaxAge > 0 && c.Queue.MaxAge <= c.Batch.FlushTimeout {
		errs = append(errs, fmt.Errorf("queue.max_age: must be 0 or greater than batch.flush_timeout %v, not %v: all samples would be too old", c.Batch.FlushTimeout, c.Queue.MaxAge))
	}
	// A partition holds an open batch and one in flight at the least.
	if least := 2 * c.Batch.MaxSizeBytes * int64(max(c.Partitions, 1)); c.Queue.MaxSizeBytes < least {
		errs = append(errs, fmt.Errorf("queue.max_size_bytes: must be at least 2 * partitions * batch.max_size_bytes = %d, not %d", least, c.Queue.MaxSizeBytes))
	}
	return errors.Join(errs...)
}

func (c *Config) validateRetry() error {
	errs := []error{
		atLeast("retry_on_failure.max_retries", c.Retry.MaxRetries, 0),
		longEnough("retry_on_failure.max_retry_after", c.Retry.MaxRetryAfter),
	}
	b := c.Retry.BackOff
	if math.IsNaN(b.RandomizationFactor) {
		errs = append(errs, errors.New("retry_on_failure.randomization_factor: must be a number from 0 to 1"))
	}
	if b.Enabled {
		errs = append(errs, longEnough("retry_on_failure.initial_interval", b.InitialInterval))
		if b.MaxInterval < b.InitialInterval {
			errs = append(errs, fmt.Errorf("retry_on_failure.max_interval: %v is less than retry_on_failure.initial_interval %v", b.MaxInterval, b.InitialInterval))
		}
		if b.Multiplier < 1 || math.IsNaN(b.Multiplier) || math.IsInf(b.Multiplier, 0) {
			errs = append(errs, fmt.Errorf("retry_on_failure.multiplier: must be at least 1, not %v", b.Multiplier))
		}
	}
	return errors.Join(errs...)
}

func (c *Config) validateOnError() error {
	errs := []error{
		oneOf("on_error.retries_exhausted", c.OnError.RetriesExhausted, OnRetriesExhaustedDiscard, OnRetriesExhaustedFail),
		oneOf("on_error.fatal", c.OnError.Fatal, OnFatalFail, OnFatalDiscard, OnFatalRetry),
		oneOf("on_error.rejected", c.OnError.Rejected, OnRejectedDiscard, OnRejectedIsolate),
		atLeast("on_error.max_isolation_requests", c.OnError.MaxIsolationRequests, 2),
	}
	if c.OnError.Fatal == OnFatalRetry && !c.Retry.BackOff.Enabled {
		errs = append(errs, errors.New("on_error.fatal: retry needs retry_on_failure.enabled"))
	}
	return errors.Join(errs...)
}

func (c *Config) validateDeadLetter() error {
	if c.DeadLetter.Directory == "" {
		return nil
	}
	errs := []error{atLeast("dead_letter.max_size_bytes", c.DeadLetter.MaxSizeBytes, 2*c.Batch.MaxSizeBytes)}
	if !filepath.IsAbs(c.DeadLetter.Directory) {
		errs = append(errs, fmt.Errorf("dead_letter.directory: %q is not an absolute path", c.DeadLetter.Directory))
	}
	return errors.Join(errs...)
}

func oneOf[T ~string](key string, got T, allowed ...T) error {
	if slices.Contains(allowed, got) {
		return nil
	}
	names := make([]string, len(allowed))
	for i, a := range allowed {
		names[i] = string(a)
	}
	return fmt.Errorf("%s: must be one of %s, not %q", key, strings.Join(names, ", "), string(got))
}

func atLeast[T int | int64](key string, got, least T) error {
	if got >= least {
		return nil
	}
	return fmt.Errorf("%s: must be at least %d, not %d", key, least, got)
}

func atMost[T int | int64](key string, got, most T) error {
	if got <= most {
		return nil
	}
	return fmt.Errorf("%s: must be at most %d, not %d", key, most, got)
}

// leastDuration is the least that a time can be set to. Less is a mistake: a number without a unit is in nanoseconds.
const leastDuration = time.Millisecond

func longEnough(key string, got time.Duration) error {
	if got >= leastDuration {
		return nil
	}
	return fmt.Errorf("%s: must be at least %v, not %v (a number without a unit is in nanoseconds)", key, leastDuration, got)
}

func notNegative(key string, got time.Duration) error {
	if got >= 0 {
		return nil
	}
	return fmt.Errorf("%s: must not be negative, not %v", key, got)
}
