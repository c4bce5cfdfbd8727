// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"time"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/remote"
)

// yieldAfter is how long requests wait for a trial that fails.
const yieldAfter = 10 * time.Second

// trial is data that is sent as 1.0 because it was refused with 400 as 2.0.
type trial struct {
	refusal *remote.Answer
	// The version's lock guards what follows: the parts that have no outcome yet, what became of the others, and whether another trial
	// may have begun.
	parts          int
	taken, refused bool
	yielded        bool
}
