// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/otlptranslator"
)

// Each check of a setting returns an error that names its key, or nil.

// choices are the values that a setting of each of these types may have.
var choices = map[reflect.Type][]string{
	reflect.TypeFor[ProtobufMessage]():    chosen(MessageV1, MessageV2),
	reflect.TypeFor[OnFull]():             chosen(OnFullBlock, OnFullReject, OnFullDropOldest, OnFullDropNewest),
	reflect.TypeFor[OnRetriesExhausted](): chosen(OnRetriesExhaustedDiscard, OnRetriesExhaustedFail),
	reflect.TypeFor[OnFatal]():            chosen(OnFatalPause, OnFatalFail, OnFatalDiscard, OnFatalRetry),
	reflect.TypeFor[OnRejected]():         chosen(OnRejectedDiscard, OnRejectedIsolate),
	reflect.TypeFor[OutOfOrder]():         chosen(OutOfOrderSeparate, OutOfOrderDrop, OutOfOrderSend),
	reflect.TypeFor[otlptranslator.TranslationStrategyOption](): chosen(
		otlptranslator.UnderscoreEscapingWithSuffixes, otlptranslator.UnderscoreEscapingWithoutSuffixes,
		otlptranslator.NoUTF8EscapingWithSuffixes, otlptranslator.NoTranslation),
}

func chosen[T ~string](values ...T) (texts []string) {
	for _, v := range values {
		texts = append(texts, string(v))
	}
	return texts
}

// choice says what a setting of the type must be, if there are a few values for it.
func choice(t reflect.Type) (must string, ok bool) {
	allowed, ok := choices[t]
	return "one of " + strings.Join(allowed, ", "), ok
}

func oneOf[T ~string](key string, got T) error {
	if slices.Contains(choices[reflect.TypeFor[T]()], string(got)) {
		return nil
	}
	must, _ := choice(reflect.TypeFor[T]())
	return fmt.Errorf("%s: must be %s, not %q", key, must, string(got))
}

func atLeast[T int | ByteSize](key string, got, least T) error {
	if got >= least {
		return nil
	}
	return fmt.Errorf("%s: must be at least %d, not %d", key, least, got)
}

func atMost[T int | ByteSize](key string, got, most T) error {
	if got <= most {
		return nil
	}
	return fmt.Errorf("%s: must be at most %d, not %d", key, most, got)
}

const (
	// leastDuration is the least that a time can be set to: less is a mistake.
	leastDuration = time.Millisecond
	// mostDuration is the most. Some are added to others, which must not overflow.
	mostDuration = 100 * 365 * 24 * time.Hour
)

// inRange refuses times that are too short, 0 included, or too long.
func inRange(key string, got time.Duration) error {
	switch {
	case got < leastDuration:
		return fmt.Errorf("%s: must be at least %v, not %v", key, leastDuration, got)
	case got > mostDuration:
		return fmt.Errorf("%s: must be at most %v, not %v", key, mostDuration, got)
	}
	return nil
}

// orZero refuses times that are negative or too long.
func orZero(key string, got time.Duration) error {
	switch {
	case got == 0:
		return nil
	case got < 0:
		return notNegative(key, got)
	}
	return inRange(key, got)
}

func notNegative[T int | time.Duration](key string, got T) error {
	if got >= 0 {
		return nil
	}
	return fmt.Errorf("%s: must not be negative, not %v", key, got)
}
