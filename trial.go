// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import "github.com/orderedremotewrite/orderedremotewriteexporter/internal/remote"

// trial is data that is sent as 1.0 because it was refused with 400 as 2.0.
type trial struct {
	refusal *remote.Answer
	// The version's lock guards what follows: the parts that have no outcome yet, and what became of the others.
	parts          int
	taken, refused bool
}
