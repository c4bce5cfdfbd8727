// SPDX-License-Identifier: Apache-2.0

package generate

import (
	"maps"
	"time"

	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/schedule"
)

// Points says what became of the points of one kind.
type Points struct {
	Sent     int            `json:"sent"`
	Accepted int            `json:"accepted"`
	Rejected int            `json:"rejected"` // by a partial success
	Refused  int            `json:"refused"`  // with their requests
	Faults   map[string]int `json:"faults"`   // those of Sent that are wrong on purpose, and gaps
	// LastRefusal is the last answer to a request that was refused.
	LastRefusal string `json:"last_refusal,omitempty"`
}

// Totals are what a generator has done.
type Totals struct {
	Kinds     map[schedule.Kind]*Points `json:"types"`
	Requests  int                       `json:"requests"`
	Retries   int                       `json:"retries"`
	LastRetry string                    `json:"last_retry,omitempty"`
	Bytes     int                       `json:"bytes"`
	Seconds   float64                   `json:"seconds"`
	// MeanSeconds and SlowestSeconds are how long a request took until its answer.
	MeanSeconds    float64 `json:"mean_answer_seconds"`
	SlowestSeconds float64 `json:"slowest_answer_seconds"`

	waited time.Duration
}

// Totals returns what the generator has done until now.
func (g *Generator) Totals() Totals {
	g.mu.Lock()
	defer g.mu.Unlock()
	t := g.totals
	t.Kinds = make(map[schedule.Kind]*Points, len(g.totals.Kinds))
	for kind, p := range g.totals.Kinds {
		c := *p
		c.Faults = maps.Clone(p.Faults)
		t.Kinds[kind] = &c
	}
	if t.Seconds == 0 && !g.started.IsZero() {
		t.Seconds = time.Since(g.started).Seconds()
	}
	if t.Requests > 0 {
		t.MeanSeconds = t.waited.Seconds() / float64(t.Requests)
	}
	return t
}

// Accepted is how many points, and how many samples of them, the collector has accepted.
func (t *Totals) Accepted() (points, samples int) {
	for kind, p := range t.Kinds {
		points += p.Accepted
		samples += p.Accepted * kind.Parts()
	}
	return points, samples
}
