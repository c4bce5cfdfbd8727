// SPDX-License-Identifier: Apache-2.0

package receive

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/golang/snappy"
	"github.com/stretchr/testify/require"

	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/schedule"
)

// FuzzReceiver: whatever is sent, every request has an answer, and none stays in flight.
func FuzzReceiver(f *testing.F) {
	for version := 1; version <= 2; version++ {
		f.Add(version == 2, messageOf(f, version, 0), messageOf(f, version, 1))
	}
	s := example
	s.Steps = 3
	s.Errors = schedule.Errors{Duplicates: 0.2, Future: 0.2, Stale: 0.2}
	f.Fuzz(func(t *testing.T, second bool, first, other []byte) {
		r, err := New(true, Behavior{Poison: 0.1, PoisonStatus: http.StatusBadRequest, StoredServerErrors: 0.2})
		require.NoError(t, err)
		require.NoError(t, r.SetSchedules([]schedule.Schedule{s}))
		for _, message := range [][]byte{first, other, first} {
			req := httptest.NewRequest(http.MethodPost, "/", bytes.NewReader(snappy.Encode(nil, message)))
			req.Header = headers(1)
			if second {
				req.Header = headers(2)
			}
			r.ServeHTTP(httptest.NewRecorder(), req)
		}
		report := r.Report()
		require.Zero(t, report.InFlight)
		require.Equal(t, 3, report.Requests)
	})
}
