// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"
)

// The values of keys that the checks look at.
const (
	messageV2  = "io.prometheus.write.v2.Request"
	block      = "block"
	reject     = "reject"
	dropOldest = "drop_oldest"
	dropNewest = "drop_newest"
	discard    = "discard"
	isolate    = "isolate"
	fail       = "fail"
	retry      = "retry"
	pause      = "pause"

	// century is the longest duration that can be set.
	century = 100 * 365 * 24 * time.Hour

	// minBatchSize is the least batch.max_size_bytes.
	minBatchSize = 16 << 10
)

// Settings are the configuration of a round, by the keys of the exporter. Keys that are not here have their default.
type Settings struct {
	Timeout            time.Duration
	V2, Fallback       bool
	SendMetadata       bool
	MetadataInterval   time.Duration
	CustomBuckets      bool // convert_explicit_histograms_to_nhcb
	KeepClassic        bool
	Namespace          string
	ExternalLabels     map[string]string
	TargetInfo         bool
	DisableScopeInfo   bool
	PromotedAttributes []string // resource_constant_labels.included
	Strategy           string   // translation_strategy

	Partitions        int
	MaxInFlight       int
	MaxSamples        int
	MaxSizeBytes      int64
	FlushTimeout      time.Duration
	QueueSizeBytes    int64
	OnFull            string
	BlockTimeout      time.Duration
	MaxAge            time.Duration
	RetryEnabled      bool
	InitialInterval   time.Duration
	MaxInterval       time.Duration
	Multiplier        float64
	Randomization     float64
	MaxElapsedTime    time.Duration
	MaxRetries        int
	MaxRetryAfter     time.Duration
	RetryOn429        bool
	RetriesExhausted  string // on_error.retries_exhausted
	Fatal             string
	Rejected          string
	MaxIsolation      int
	OutOfOrder        string
	MaxFuture         time.Duration // 0 is the default, which Rules has
	MaxPast           time.Duration
	SeriesIdleTimeout time.Duration
	ShutdownTimeout   time.Duration
	DeadLetters       string // dead_letter.directory
	// Storage is queue.storage with the disk, and MaxDiskBytes is of use with it.
	Storage      bool
	MaxDiskBytes int64
}

// Map is the settings as a user writes them. Durations have units.
func (s *Settings) Map() map[string]any {
	message := "prometheus.WriteRequest"
	if s.V2 {
		message = messageV2
	}
	external := make(map[string]any)
	for name, value := range s.ExternalLabels {
		external[name] = value
	}
	m := map[string]any{
		"http":                                map[string]any{"timeout": s.Timeout.String()},
		"protobuf_message":                    message,
		"fallback":                            s.Fallback,
		"send_metadata":                       s.SendMetadata,
		"metadata_interval":                   s.MetadataInterval.String(),
		"convert_explicit_histograms_to_nhcb": s.CustomBuckets,
		"keep_classic_histograms":             s.KeepClassic,
		"namespace":                           s.Namespace,
		"external_labels":                     external,
		"target_info":                         map[string]any{"enabled": s.TargetInfo},
		"disable_scope_info":                  s.DisableScopeInfo,
		"translation_strategy":                s.Strategy,
		"partitions":                          s.Partitions,
		"max_in_flight":                       s.MaxInFlight,
		"batch": map[string]any{
			"max_samples": s.MaxSamples, "max_size_bytes": s.MaxSizeBytes, "flush_timeout": s.FlushTimeout.String(),
		},
		"queue": map[string]any{
			"max_size_bytes": s.QueueSizeBytes, "on_full": s.OnFull, "block_timeout": s.BlockTimeout.String(), "max_age": s.MaxAge.String(),
		},
		"retry_on_failure": map[string]any{
			"enabled": s.RetryEnabled, "initial_interval": s.InitialInterval.String(), "max_interval": s.MaxInterval.String(),
			"multiplier": s.Multiplier, "randomization_factor": s.Randomization, "max_elapsed_time": s.MaxElapsedTime.String(),
			"max_retries": s.MaxRetries, "max_retry_after": s.MaxRetryAfter.String(),
		},
		"retry_on_429": s.RetryOn429,
		"on_error": map[string]any{
			"retries_exhausted": s.RetriesExhausted, "fatal": s.Fatal, "rejected": s.Rejected, "max_isolation_requests": s.MaxIsolation,
		},
		"out_of_order":        s.OutOfOrder,
		"series_idle_timeout": s.SeriesIdleTimeout.String(),
		"shutdown_timeout":    s.ShutdownTimeout.String(),
	}
	if len(s.PromotedAttributes) > 0 {
		m["resource_constant_labels"] = map[string]any{"included": toAny(s.PromotedAttributes)}
	}
	if s.MaxFuture > 0 {
		m["max_future"] = s.MaxFuture.String()
	}
	if s.MaxPast > 0 {
		m["max_past"] = s.MaxPast.String()
	}
	if s.Storage {
		queue := m["queue"].(map[string]any)
		queue["storage"], queue["max_disk_bytes"] = diskID.String(), s.MaxDiskBytes
	}
	if s.DeadLetters != "" {
		m["dead_letter"] = map[string]any{"directory": s.DeadLetters}
	}
	return m
}

func toAny(list []string) []any {
	all := make([]any, len(list))
	for i := range list {
		all[i] = list[i]
	}
	return all
}

// String is the settings in one line.
func (s *Settings) String() string { return fmt.Sprintf("%v", s.Map()) }

// escapes says whether names become those of 1.0.
func (s *Settings) escapes() bool { return strings.HasPrefix(s.Strategy, "Underscore") }

// suffixes says whether names get those of their unit and type.
func (s *Settings) suffixes() bool { return strings.HasSuffix(s.Strategy, "WithSuffixes") }

// mayFallBack says whether the version of messages can change during the round.
func (s *Settings) mayFallBack() bool { return s.V2 && s.Fallback }

// carriesV1 says whether 1.0 can carry all that is made for 2.0.
func (s *Settings) carriesV1() bool { return s.escapes() && !s.CustomBuckets }

// refuses says whether a full queue makes a call fail.
func (s *Settings) refuses() bool { return s.OnFull == block || s.OnFull == reject }

func pick[T any](r *rand.Rand, from ...T) T { return from[r.IntN(len(from))] }

// between is a random duration.
func between(r *rand.Rand, least, most time.Duration) time.Duration {
	return least + time.Duration(r.Int64N(int64(most-least)+1))
}

// randomSettings makes the configuration of a round on a fake clock. In a lossless one nothing is lost but what cannot be
// sent. The directory is for dead letters.
func randomSettings(r *rand.Rand, subject *Subject, lossless bool, directory string) *Settings {
	s := &Settings{
		Timeout:           between(r, time.Second, 10*time.Second),
		Partitions:        pick(r, 1, 2, 8, 32, 256, 1+r.IntN(9)),
		MaxInFlight:       pick(r, 0, 0, 1, 2, 1+r.IntN(32)),
		MaxSamples:        pick(r, 1, 1+r.IntN(10), 1+r.IntN(300), 2000),
		MaxSizeBytes:      pick[int64](r, minBatchSize, minBatchSize, 4*minBatchSize, 3_000_000),
		FlushTimeout:      pick(r, time.Millisecond, 20*time.Millisecond, time.Second, 5*time.Second),
		OnFull:            pick(r, block, reject),
		BlockTimeout:      pick(r, between(r, time.Second, 20*time.Second), time.Hour, between(r, time.Millisecond, time.Second)),
		RetryEnabled:      true,
		InitialInterval:   between(r, time.Millisecond, 200*time.Millisecond),
		Multiplier:        1 + 2*r.Float64(),
		Randomization:     pick(r, 0, 0.5, 1),
		MaxRetryAfter:     between(r, time.Second, time.Minute),
		RetryOn429:        true,
		RetriesExhausted:  discard,
		Fatal:             retry,
		Rejected:          pick(r, discard, isolate),
		MaxIsolation:      1 << 20,
		OutOfOrder:        pick(r, subject.Rules.OutOfOrder...),
		SeriesIdleTimeout: pick(r, time.Hour, time.Hour, 10*time.Second, 500*time.Millisecond, time.Millisecond),
		ShutdownTimeout:   24 * time.Hour,
	}
	if subject.Partitions > 0 {
		s.Partitions = subject.Partitions
	}
	if s.Partitions <= 8 && r.IntN(2) == 0 {
		// A queue that can get full.
		s.MaxSizeBytes = minBatchSize
	}
	s.MaxInterval = s.InitialInterval + between(r, 0, 5*time.Second)
	s.QueueSizeBytes = max(int64(s.Partitions)*s.MaxSizeBytes*pick[int64](r, 2, 2, 3, 4), 4*s.MaxSizeBytes) + r.Int64N(100)
	s.chooseTranslation(r)
	if subject.Rules.MaxFuture > 0 {
		s.MaxFuture = pick(r, 0, 0, 0, time.Millisecond, between(r, time.Millisecond, time.Hour), century)
		s.MaxPast = pick(r, 0, 0, 0, time.Millisecond, between(r, time.Millisecond, time.Hour), century)
	}
	stored := (r.IntN(3) == 0 || subject.Stored) && !subject.Unstored
	if lossless {
		if stored {
			s.chooseStorage(r)
		}
		return s
	}
	s.OnFull = pick(r, block, reject, dropNewest, dropOldest)
	s.MaxAge = pick(r, 0, 0, 0, between(r, 10*time.Second, 5*time.Minute))
	s.RetryEnabled = r.IntN(6) > 0
	s.MaxElapsedTime = pick(r, 0, 0, between(r, time.Second, time.Minute))
	if s.MaxElapsedTime > 0 {
		s.MaxElapsedTime = max(s.MaxElapsedTime, s.MaxInterval)
	}
	s.MaxRetries = pick(r, 0, r.IntN(5), 1+r.IntN(10))
	s.RetryOn429 = r.IntN(3) > 0
	s.RetriesExhausted = pick(r, discard, discard, discard, fail)
	s.Fatal = pick(r, discard, pause, fail)
	if s.RetryEnabled {
		s.Fatal = pick(r, discard, pause, fail, retry)
	}
	s.MaxIsolation = pick(r, 2+r.IntN(60), 1000)
	s.ShutdownTimeout = pick(r, between(r, time.Millisecond, 20*time.Second), 24*time.Hour)
	if r.IntN(20) == 0 {
		s.DeadLetters = directory
	}
	if stored {
		s.chooseStorage(r)
	}
	return s
}

// chooseTranslation chooses what concerns the contents of requests.
func (s *Settings) chooseTranslation(r *rand.Rand) {
	s.V2 = r.IntN(2) == 0
	s.Fallback = r.IntN(3) > 0
	s.SendMetadata = !s.V2 && r.IntN(3) == 0
	s.MetadataInterval = pick(r, 100*time.Millisecond, 5*time.Second, time.Minute)
	s.Strategy = pick(r, "UnderscoreEscapingWithSuffixes", "UnderscoreEscapingWithoutSuffixes")
	s.Namespace = pick(r, "", "", "ns")
	s.ExternalLabels = pick(r, nil, nil, map[string]string{"region": "eu", "zz": "external"})
	s.PromotedAttributes = pick(r, nil, nil, []string{"host*"})
	s.DisableScopeInfo = r.IntN(3) == 0
	s.TargetInfo = r.IntN(4) > 0
	if s.V2 {
		s.Strategy = pick(r, s.Strategy, s.Strategy, "NoUTF8EscapingWithSuffixes", "NoTranslation")
		s.CustomBuckets = r.IntN(3) == 0
		s.KeepClassic = s.CustomBuckets && r.IntN(2) == 0
	}
}
