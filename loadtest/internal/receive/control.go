// SPDX-License-Identifier: Apache-2.0

package receive

import (
	"encoding/json"
	"net/http"

	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/schedule"
	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/usage"
	"github.com/orderedremotewrite/orderedremotewriteexporter/loadtest/internal/verify"
)

// Report is all that a receiver can say.
type Report struct {
	Counts
	Seconds          float64  `json:"seconds"` // from the first request to the last one
	SamplesPerSecond float64  `json:"samples_per_second"`
	CPUSeconds       float64  `json:"cpu_seconds"`
	Behavior         Behavior `json:"behavior"`
	// Verified is nil if the receiver only counts, ViolationCount the sum of its violations.
	Verified       *verify.Report `json:"verified,omitempty"`
	ViolationCount int            `json:"violations"`
}

// Report returns what has come until now.
func (r *Receiver) Report() Report {
	report := Report{Counts: r.Counts(), Behavior: r.Behavior(), CPUSeconds: usage.Self().Seconds()}
	if report.Seconds = float64(report.Last-report.First) / 1000; report.Seconds > 0 {
		report.SamplesPerSecond = float64(report.Stored) / report.Seconds
	}
	if r.verifier != nil {
		v := r.verifier.Report()
		report.Verified, report.ViolationCount = &v, v.Total()
	}
	return report
}

// Control is the handler of a port of its own, by which a receiver is told what to do:
//
//	GET  /report    says what has come
//	GET  /behavior  says how requests are answered
//	POST /behavior  changes what the JSON object in its body has of it
//	POST /schedule  says what is sent: a JSON array of schedules
//	POST /reset     forgets everything
func (r *Receiver) Control() http.Handler {
	mux := http.NewServeMux()
	write := func(w http.ResponseWriter, v any) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v)
	}
	mux.HandleFunc("GET /report", func(w http.ResponseWriter, _ *http.Request) { write(w, r.Report()) })
	mux.HandleFunc("GET /behavior", func(w http.ResponseWriter, _ *http.Request) { write(w, r.Behavior()) })
	mux.HandleFunc("POST /behavior", func(w http.ResponseWriter, req *http.Request) {
		b := r.Behavior()
		d := json.NewDecoder(req.Body)
		d.DisallowUnknownFields()
		err := d.Decode(&b)
		if err == nil {
			err = r.SetBehavior(b)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		write(w, b)
	})
	mux.HandleFunc("POST /schedule", func(w http.ResponseWriter, req *http.Request) {
		var schedules []schedule.Schedule
		err := json.NewDecoder(req.Body).Decode(&schedules)
		if err == nil {
			err = r.SetSchedules(schedules)
		}
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
		}
	})
	mux.HandleFunc("POST /reset", func(http.ResponseWriter, *http.Request) { r.Reset() })
	return mux
}
