// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"net/http"
	"time"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/remote"
)

const (
	// leastSize is below any limit of a receiver that is worth to be followed: it is the least batch.max_size_bytes.
	leastSize = minBatchSize
	// sizeGrowsAfter is how long a limit of the size stands before a larger size is tried.
	sizeGrowsAfter = time.Minute
)

// sizeLimit is the most bytes of a request's message: batch.max_size_bytes, or what passed after the endpoint has found requests
// too large. It falls by half with each refusal until a request passes, and grows by an eighth a minute as long as requests do;
// when that was too much, it takes the eighth back. So an endpoint refuses one request a minute at most. It is plain data under
// the queue's lock.
type sizeLimit struct {
	limits  *BatchConfig
	ceiling int64
	// passed is the size of the largest request that passed since one was too large.
	passed  int64
	changed time.Time
}

func newSizeLimit(limits *BatchConfig) sizeLimit {
	return sizeLimit{limits: limits, ceiling: int64(limits.MaxSizeBytes)}
}

// bytes is the limit.
func (l *sizeLimit) bytes() int64 { return int64(l.limits.MaxSizeBytes) }

// set makes composition and sealing follow the limit.
func (l *sizeLimit) set(n int64, now time.Time) {
	l.limits.MaxSizeBytes, l.changed = ByteSize(min(max(n, leastSize), l.ceiling)), now
}

// answered takes note of the answer to a request of that size.
func (l *sizeLimit) answered(a *remote.Answer, size int64, now time.Time) {
	switch {
	case size == 0:
	case a.Status == http.StatusRequestEntityTooLarge:
		l.tooLarge(size, now)
	case a.Success():
		l.pass(size, now)
	}
}

func (l *sizeLimit) tooLarge(size int64, now time.Time) {
	limit := l.bytes()
	switch {
	case size > limit && limit < l.ceiling:
		return // It was composed before the limit fell.
	case 2*l.passed > size:
		l.set(limit-limit/8, now)
	default:
		l.set(min(limit, size)/2, now)
	}
	l.passed = 0
}

func (l *sizeLimit) pass(size int64, now time.Time) {
	l.passed = max(l.passed, size)
	limit := l.bytes()
	if limit < l.ceiling && 2*size >= limit && now.Sub(l.changed) >= sizeGrowsAfter {
		l.set(limit+limit/8, now)
	}
}
