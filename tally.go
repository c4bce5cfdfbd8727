// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"math"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
)

// tally is what must be known of a run of series without looking at their bytes.
type tally struct {
	account.Counts
	// oldest and newest are the least and the greatest timestamp, in milliseconds since the epoch.
	oldest, newest int64
}

// count adds a series with a point of that time.
func (t *tally) count(timestamp int64, histogram bool, exemplars int) {
	t.cover(timestamp, timestamp)
	t.Samples++
	if histogram {
		t.Histograms++
	}
	t.Exemplars += exemplars
}

// add adds another run.
func (t *tally) add(o *tally) {
	if o.Empty() {
		return
	}
	t.cover(o.oldest, o.newest)
	t.Samples += o.Samples
	t.Histograms += o.Histograms
	t.Exemplars += o.Exemplars
}

// cover extends the range of timestamps.
func (t *tally) cover(oldest, newest int64) {
	if t.Empty() {
		t.oldest, t.newest = math.MaxInt64, math.MinInt64
	}
	t.oldest, t.newest = min(t.oldest, oldest), max(t.newest, newest)
}
