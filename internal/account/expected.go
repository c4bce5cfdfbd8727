// SPDX-License-Identifier: Apache-2.0

package account // import "github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"

import "net/http"

// usualStatuses are those of the answers after which samples are dropped for a reason: without one, that is before there is any
// answer.
var usualStatuses = [Reasons][]int{
	ReasonRejected:         {http.StatusBadRequest},
	ReasonIsolationLimit:   {http.StatusBadRequest},
	ReasonTooLarge:         {http.StatusRequestEntityTooLarge},
	ReasonRetriesExhausted: {0, http.StatusTooManyRequests, http.StatusInternalServerError, http.StatusServiceUnavailable},
	ReasonFatal:            {http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound},
	ReasonUnexpected:       {http.StatusMovedPermanently, http.StatusFound},
}

// Expected returns what is counted from 0 on, so that a query sees the first drop as an increase: every reason, with the statuses
// that it mostly has.
func Expected() []Key {
	var keys []Key
	for r := NoReason + 1; r < Reasons; r++ {
		statuses := usualStatuses[r]
		if statuses == nil {
			statuses = []int{0}
		}
		for _, status := range statuses {
			keys = append(keys, Key{Reason: r, Status: status})
		}
	}
	return keys
}
