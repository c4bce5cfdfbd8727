// SPDX-License-Identifier: Apache-2.0

package remote

import (
	"testing"

	"github.com/stretchr/testify/assert"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// TestConfirmed is what the Written headers of an answer to five samples, two of which are histograms, and one exemplar prove.
func TestConfirmed(t *testing.T) {
	sent := account.Counts{Samples: 5, Histograms: 2, Exemplars: 1}
	without := account.Counts{Samples: 5, Histograms: 2}
	for _, tt := range []struct {
		name    string
		status  int
		written Written
		sent    account.Counts
		want    int
	}{
		{"all", 204, Written{true, 3, 2, 1}, sent, 5},
		{"more than was sent", 204, Written{true, 1000, 1000, 1000}, sent, 5},
		{"less than nothing", 204, Written{true, -1, -1, -1}, sent, 0},
		{"some of a refusal", 400, Written{true, 2, 0, 0}, sent, 2},
		{"a refusal of the exemplar alone", 400, Written{true, 3, 2, 0}, sent, 5},
		{"the same in other words", 400, Written{true, 3, 2, -1}, sent, 5},
		{"a refusal that claims everything", 400, Written{true, 3, 2, 1}, sent, 0},
		{"where there are no exemplars", 400, Written{true, 3, 2, 0}, without, 0},
		{"and less than none are claimed", 400, Written{true, 3, 2, -1}, without, 0},
		{"an error of the server", 500, Written{true, 3, 2, 0}, sent, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := &Answer{Status: tt.status, Written: tt.written}
			assert.Equal(t, tt.want, a.Confirmed(wire.V2, tt.sent))
		})
	}
}
