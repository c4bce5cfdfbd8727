// SPDX-License-Identifier: Apache-2.0

package account // import "github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"

// Counts says how much a run of series carries. Each series has one sample or one native histogram.
type Counts struct {
	// Samples counts native histograms too, Histograms counts them alone; Exemplars are those of all series.
	Samples, Histograms, Exemplars int
}

// Empty says that there is nothing to send or to count.
func (c *Counts) Empty() bool {
	return c.Samples == 0
}
