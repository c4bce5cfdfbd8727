// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"cmp"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// bodyWait is how long a client may wait for the rest of an answer whose status it knows.
const bodyWait = time.Second

// flight is an exchange with what becomes of its samples.
type flight struct {
	*Exchange
	items []*item
	// attempt is 1 for the first request with the content; firstAt is when that began.
	attempt int
	firstAt time.Time
	// again is how many of the samples came again in a later request.
	again int
	// unsure says that nobody knows whether the receiver has taken the samples before.
	unsure bool
}

func (x *flight) String() string {
	return fmt.Sprintf("request %d (%d samples, answer %d)", x.Number, len(x.Points), x.Status)
}

// checker checks a record.
type checker struct {
	*Record
	model     *model
	flights   []*flight
	ambiguous bool
	// unknown are the samples of series that nothing is known of.
	unknown map[Point]*item
	// offended are the series that were refused alone.
	offended map[string]bool

	found []string
	// exact says that the fate of every sample can be told from what was on the wire.
	exact bool
}

func newChecker(r *Record) *checker {
	c := &checker{Record: r, model: newModel(r), unknown: make(map[Point]*item), offended: make(map[string]bool)}
	c.ambiguous = c.model.ambiguous()
	for _, x := range r.Exchanges {
		c.flights = append(c.flights, &flight{Exchange: x})
	}
	slices.SortFunc(c.flights, func(a, b *flight) int { return cmp.Compare(a.Begin, b.Begin) })
	return c
}

// Check returns what is wrong with a round, and whether the fate of every sample could be told.
func Check(r *Record) (problems []string, exact bool) {
	if len(r.Lives) > 0 {
		return checkLives(r), false
	}
	c := newChecker(r)
	c.checkOrder()
	c.checkFlights()
	c.checkRequests()
	c.checkWork()
	c.checkAccounts()
	c.checkOutcomes()
	c.checkLossless()
	c.checkCalls()
	c.checkLog()
	c.checkEnd()
	c.checkDeadLetters()
	return c.found, c.exact
}

// problem reports a broken promise.
func (c *checker) problem(format string, args ...any) {
	c.found = append(c.found, fmt.Sprintf(format, args...))
}

// passing says whether an answer, or that there was none, is of a kind that may pass.
func (c *checker) passing(x *flight) bool {
	s := x.Status
	return s == 0 || s >= 500 && s <= 599 || s == http.StatusTooManyRequests && c.Settings.RetryOn429
}

// fatal says whether an answer says that the endpoint or the credentials are wrong.
func (c *checker) fatal(x *flight) bool {
	status := x.Status
	if status == http.StatusUnsupportedMediaType && x.V2 {
		return false // 1.0 may be read
	}
	return slices.Contains(c.Rules.Fatal, status) || status == 401 || status == 403 || status == 404 || status >= 100 && status <= 199 || status >= 300 && status <= 399 || status >= 600
}

// final says whether the samples of a request have their outcome by its answer. This repeats the rules of the specification
// and of the configuration in a few words, and says nothing where they are complicated.
func (c *checker) final(x *flight) bool {
	if c.Unseen {
		return false
	}
	s := c.Settings
	canFallBack := x.V2 && s.Fallback
	switch status := x.Status; {
	case status >= 200 && status <= 299:
		_, _, _, present := x.written()
		return present || !x.V2
	case c.fatal(x):
		return s.Fatal != retry
	case c.passing(x):
		return !s.RetryEnabled
	case status == 413, (status == 415 || status == 400) && canFallBack:
		return false
	default:
		return s.Rejected == discard && !x.unsure || refusesAnything(status)
	}
}

// unknown says whether the receiver may have taken a request although the answer does not say so.
func (x *flight) unknown() bool {
	samples, histograms, _, present := x.written()
	return x.Status == 0 || x.Status == http.StatusBadGateway || x.Status == http.StatusGatewayTimeout ||
		x.Status/100 == 2 && x.V2 && !present || samples > 0 || histograms > 0
}

// refusesAnything says whether a status refuses requests whatever is in them.
func refusesAnything(status int) bool {
	switch status {
	case http.StatusPaymentRequired, http.StatusMethodNotAllowed, http.StatusProxyAuthRequired, http.StatusGone, http.StatusLengthRequired,
		http.StatusRequestURITooLong, http.StatusUnsupportedMediaType, http.StatusMisdirectedRequest, http.StatusUpgradeRequired,
		http.StatusRequestHeaderFieldsTooLarge, http.StatusUnavailableForLegalReasons:
		return true
	default:
		return false
	}
}

// written are the headers that say what was written.
func (x *flight) written() (samples, histograms, exemplars int, present bool) {
	number := func(name string) int {
		values := x.Header.Values(name)
		if len(values) == 0 {
			return 0
		}
		present = true
		n, err := strconv.ParseInt(values[0], 10, 64)
		if err != nil {
			return 0
		}
		return int(n)
	}
	samples, histograms, exemplars = number(writtenHeaders[0]), number(writtenHeaders[1]), number(writtenHeaders[2])
	return samples, histograms, exemplars, present
}

// confirmed is the number of samples that the answer to a request says are written.
func (x *flight) confirmed() int {
	if !x.V2 {
		if x.Status/100 == 2 {
			return len(x.Points)
		}
		return 0
	}
	samples, histograms, exemplars, _ := x.written()
	n := min(max(samples, 0), len(x.Points)-x.Histograms) + min(max(histograms, 0), x.Histograms)
	if x.Status/100 == 2 || x.Status/100 == 4 && (n < len(x.Points) || max(exemplars, 0) < x.Exemplars) {
		return n
	}
	return 0 // a refusal that claims to have written everything
}
