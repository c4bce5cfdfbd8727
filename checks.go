// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Each check of a setting returns an error that names its key, or nil.

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
