// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/prometheus/otlptranslator"
)

// Validate returns an error that names the key of each setting that is missing, out of range or in contradiction to
// another, or that could not be read. Further sections of the Collector's own, like http.tls, are validated by their
// types.
func (c *Config) Validate() error {
	if len(c.unreadable) > 0 {
		return c.unreadable
	}
	return onOneLine(slices.Concat(
		c.validateHTTP(),
		c.validateMessage(),
		c.validateTranslation(),
		c.validateLabels(),
		[]error{
			atLeast("partitions", c.Partitions, 1),
			atMost("partitions", c.Partitions, maxPartitions),
			atLeast("max_in_flight", c.MaxInFlight, 0),
			atMost("max_in_flight", c.MaxInFlight, maxPartitions),
		},
		c.validateBatchAndQueue(),
		c.validateRetry(),
		c.validateOnError(),
		[]error{
			oneOf("out_of_order", c.OutOfOrder),
			inRange("max_future", c.MaxFuture),
			inRange("max_past", c.MaxPast),
			inRange("series_idle_timeout", c.SeriesIdleTimeout),
			inRange("shutdown_timeout", c.ShutdownTimeout),
		},
		c.validateDeadLetter(),
	)...)
}

// maxPartitions bounds the goroutines, connections and open batches that a configuration can ask for.
const maxPartitions = 1024

func (c *Config) validateMessage() []error {
	errs := []error{
		oneOf("protobuf_message", c.ProtobufMessage),
		inRange("metadata_interval", c.MetadataInterval),
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
	return errs
}

func (c *Config) validateTranslation() []error {
	errs := []error{atLeast("max_labels", c.MaxLabels, 0), oneOf("translation_strategy", c.TranslationStrategy)}
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
		errs = append(errs, fmt.Errorf("namespace: %q is not a valid metric name: letters, digits, _ and :, no digit first", c.Namespace))
	}
	return errs
}

func (c *Config) validateLabels() (errs []error) {
	for _, name := range slices.Sorted(maps.Keys(c.ExternalLabels)) {
		switch value := c.ExternalLabels[name]; {
		case !isClassicLabelName(name):
			errs = append(errs, fmt.Errorf("external_labels: %q is not a valid label name: letters, digits and _, no digit first", name))
		case strings.HasPrefix(name, "__"):
			errs = append(errs, fmt.Errorf("external_labels: %q is reserved: names that begin with __ are Prometheus's own", name))
		case name == "le" || name == "quantile":
			errs = append(errs, fmt.Errorf("external_labels: %q is reserved for histograms and summaries", name))
		case value == "":
			errs = append(errs, fmt.Errorf("external_labels: %q has an empty value %s", name, unset))
		case !utf8.ValidString(value):
			errs = append(errs, fmt.Errorf("external_labels: the value of %q is not valid UTF-8", name))
		}
	}
	included, excluded := c.ResourceConstantLabels.Included, c.ResourceConstantLabels.Excluded
	for _, pattern := range included {
		errs = append(errs, validatePattern("resource_constant_labels.included", pattern))
	}
	for _, pattern := range excluded {
		errs = append(errs, validatePattern("resource_constant_labels.excluded", pattern))
		if pattern == "*" || slices.Contains(included, pattern) && pattern != "" {
			errs = append(errs, fmt.Errorf("resource_constant_labels.excluded: %q takes away all that is included by it", pattern))
		}
	}
	return errs
}

// validatePattern refuses what selects no attribute, and what is meant as a regular expression: as a pattern it would
// silently select nothing. A * after a dot is none, since names have dots.
func validatePattern(key, pattern string) error {
	switch {
	case pattern == "":
		return fmt.Errorf("%s: an empty pattern selects nothing, leave it out", key)
	case strings.TrimSpace(pattern) != pattern:
		return fmt.Errorf("%s: %q begins or ends with space, which is part of a pattern", key, pattern)
	case strings.HasPrefix(pattern, ".*"), strings.HasPrefix(pattern, ".+"), strings.ContainsAny(pattern, `^$|()[]{}\+`):
		return fmt.Errorf("%s: %q looks like a regular expression, but * stands for any characters, ? for one, and all others for themselves (k8s.* is what begins with k8s. and * is everything)", key, pattern)
	}
	return nil
}

// minBatchSize is the least batch.max_size_bytes: room for a few series with long labels.
const minBatchSize = 16 << 10

func (c *Config) validateBatchAndQueue() []error {
	batch := c.Batch.MaxSizeBytes
	errs := []error{
		atLeast("batch.max_samples", c.Batch.MaxSamples, 1),
		atLeast("batch.max_size_bytes", batch, minBatchSize),
		atMost("batch.max_size_bytes", batch, math.MaxInt32),
		inRange("batch.flush_timeout", c.Batch.FlushTimeout),
		oneOf("queue.on_full", c.Queue.OnFull),
		inRange("queue.block_timeout", c.Queue.BlockTimeout),
		orZero("queue.max_age", c.Queue.MaxAge),
		atLeast("queue.max_disk_bytes", c.Queue.MaxDiskBytes, minBatchSize),
	}
	if least := c.Queue.MaxSizeBytes / 4; c.Queue.Storage != nil && c.Queue.MaxDiskBytes < least {
		errs = append(errs, fmt.Errorf("queue.max_disk_bytes: must be at least a quarter of queue.max_size_bytes = %d, not %d", least, c.Queue.MaxDiskBytes))
	}
	if c.Queue.MaxAge > 0 && c.Queue.MaxAge <= c.Batch.FlushTimeout {
		errs = append(errs, fmt.Errorf("queue.max_age: must be 0 or greater than batch.flush_timeout %v, not %v: all samples would be too old", c.Batch.FlushTimeout, c.Queue.MaxAge))
	}
	// A bound that is wrong itself might overflow.
	if least := 4 * min(batch, math.MaxInt32); c.Queue.MaxSizeBytes < least {
		errs = append(errs, fmt.Errorf("queue.max_size_bytes: must be at least 4 * batch.max_size_bytes = %d, not %d", least, c.Queue.MaxSizeBytes))
	}
	return errs
}

func (c *Config) validateRetry() []error {
	const section = "retry_on_failure."
	b := c.Retry.BackOff
	errs := []error{
		atLeast(section+"max_retries", c.Retry.MaxRetries, 0),
		inRange(section+"max_retry_after", c.Retry.MaxRetryAfter),
		orZero(section+"max_elapsed_time", b.MaxElapsedTime),
	}
	if !(b.RandomizationFactor >= 0 && b.RandomizationFactor <= 1) {
		errs = append(errs, fmt.Errorf(section+"randomization_factor: must be a number from 0 to 1, not %v", b.RandomizationFactor))
	}
	if !b.Enabled {
		return append(errs, notNegative(section+"initial_interval", b.InitialInterval), notNegative(section+"max_interval", b.MaxInterval))
	}
	errs = append(errs, inRange(section+"initial_interval", b.InitialInterval))
	if b.MaxInterval < b.InitialInterval {
		errs = append(errs, fmt.Errorf(section+"max_interval: %v is less than "+section+"initial_interval %v", b.MaxInterval, b.InitialInterval))
	} else {
		errs = append(errs, inRange(section+"max_interval", b.MaxInterval))
	}
	if b.MaxElapsedTime > 0 && b.MaxElapsedTime < b.MaxInterval {
		errs = append(errs, fmt.Errorf(section+"max_elapsed_time: must be 0 or at least "+section+"max_interval %v, not %v", b.MaxInterval, b.MaxElapsedTime))
	}
	if !(b.Multiplier >= 1) || math.IsInf(b.Multiplier, 0) {
		errs = append(errs, fmt.Errorf(section+"multiplier: must be at least 1, not %v", b.Multiplier))
	}
	return errs
}

func (c *Config) validateOnError() []error {
	errs := []error{
		oneOf("on_error.retries_exhausted", c.OnError.RetriesExhausted),
		oneOf("on_error.fatal", c.OnError.Fatal),
		oneOf("on_error.rejected", c.OnError.Rejected),
		atLeast("on_error.max_isolation_requests", c.OnError.MaxIsolationRequests, 2),
	}
	if c.OnError.Fatal == OnFatalRetry && !c.Retry.BackOff.Enabled {
		errs = append(errs, errors.New("on_error.fatal: retry needs retry_on_failure.enabled"))
	}
	return errs
}

func (c *Config) validateDeadLetter() []error {
	if c.DeadLetter.Directory == "" {
		return []error{atLeast("dead_letter.max_size_bytes", c.DeadLetter.MaxSizeBytes, 0)}
	}
	errs := []error{atLeast("dead_letter.max_size_bytes", c.DeadLetter.MaxSizeBytes, 2*min(c.Batch.MaxSizeBytes, math.MaxInt32))}
	if !filepath.IsAbs(c.DeadLetter.Directory) {
		errs = append(errs, fmt.Errorf("dead_letter.directory: %q is not an absolute path", c.DeadLetter.Directory))
	}
	return errs
}
