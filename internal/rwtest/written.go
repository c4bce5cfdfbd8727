// SPDX-License-Identifier: Apache-2.0

package rwtest

import (
	"net/http"
	"strconv"
	"strings"
)

// writtenHeader is the name of the header for samples, histograms or exemplars (Remote-Write 2.0, "Required Written
// Response Headers").
func writtenHeader(of string) string { return "X-Prometheus-Remote-Write-" + of + "-Written" }

var writtenHeaders = []string{writtenHeader("Samples"), writtenHeader("Histograms"), writtenHeader("Exemplars")}

// choose chooses which samples are stored.
func (x *exchange) choose() {
	a := &x.answer
	switch {
	case a.Stored:
		x.stored = x.samples
	case x.request.Version == 2 && a.Keep != nil:
		for _, s := range x.samples {
			if a.Keep(s.key, s.Sample) {
				x.stored = append(x.stored, s)
			}
		}
		// A refusal refuses something.
		if n := len(x.stored); n > 0 && n == len(x.samples) && !a.Success() {
			x.stored = x.stored[:n-1]
		}
	case a.Success() && (x.request.Version == 1 || a.Written != WrittenNever):
		x.stored = x.samples
	}
}

// stateWritten adds the Written headers to the answer.
func (x *exchange) stateWritten() {
	a := &x.answer
	partial := a.Keep != nil || a.Success()
	if x.request.Version == 1 || a.Written == WrittenNever || a.Written == WrittenOnSuccess && !partial || hasWritten(a.Header) {
		return
	}
	floats, histograms := countKinds(x.stored)
	exemplars := 0
	if len(x.stored) == len(x.samples) {
		exemplars = x.exemplars()
	}
	a.SetWritten(floats, histograms, exemplars)
}

// SetWritten adds the Written headers to the answer.
func (a *Answer) SetWritten(samples, histograms, exemplars int) {
	h := a.Header.Clone()
	if h == nil {
		h = make(http.Header)
	}
	for i, n := range []int{samples, histograms, exemplars} {
		h.Set(writtenHeaders[i], strconv.Itoa(n))
	}
	a.Header = h
}

// exemplars is the number of exemplars in the request.
func (x *exchange) exemplars() int {
	n := 0
	for i := range x.request.Message.GetTimeseries() {
		n += len(x.request.Message.Timeseries[i].Exemplars)
	}
	return n
}

func hasWritten(h http.Header) bool {
	for _, name := range writtenHeaders {
		if len(h.Values(name)) > 0 {
			return true
		}
	}
	return false
}

func countKinds(samples []sampleOf) (floats, histograms int) {
	for _, s := range samples {
		if s.Histogram {
			histograms++
		} else {
			floats++
		}
	}
	return floats, histograms
}

// acknowledged returns the samples that the sender must not send again once it has got the answer.
func (x *exchange) acknowledged() []sampleOf {
	switch {
	case x.request.Version == 1 && x.answer.Success():
		return x.samples
	case x.request.Version == 2 && hasWritten(x.answer.Header) && (x.answer.Success() || x.final()):
		return x.stored
	default:
		return nil
	}
}

// final says whether the answer is a refusal after which the same samples do not come again in any form.
func (x *exchange) final() bool {
	switch s := x.answer.Code(); s {
	case http.StatusRequestEntityTooLarge, http.StatusUnsupportedMediaType, http.StatusTooManyRequests:
		return false
	default:
		return s/100 == 4
	}
}

// confirmed is the number of samples that the status and the headers of the answer confirm.
func (x *exchange) confirmed() int {
	success := x.answer.Success()
	if x.request.Version == 1 {
		if success {
			return len(x.samples)
		}
		return 0
	}
	floats, histograms := countKinds(x.samples)
	stated := func(of string, sent int) int {
		n, err := strconv.ParseInt(strings.TrimSpace(x.answer.Header.Get(writtenHeader(of))), 10, 64)
		if err != nil {
			return 0
		}
		return int(min(max(n, 0), int64(sent)))
	}
	n := stated("Samples", floats) + stated("Histograms", histograms)
	all := n == len(x.samples) && stated("Exemplars", x.exemplars()) == x.exemplars()
	if success || x.final() && !all {
		return n
	}
	return 0
}
