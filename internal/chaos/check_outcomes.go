// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"slices"
)

// checkOutcomes compares what the exporter has counted with what happened on the wire.
func (c *checker) checkOutcomes() {
	a := c.Record.final()
	delivered := 0
	lost := make(map[int]int)
	for _, x := range c.flights {
		n := 0
		if x.again == 0 || x.Status/100 == 2 {
			n = x.confirmed()
		}
		delivered += n
		if rest := len(x.Points) - x.again - n; rest > 0 {
			lost[x.Status] += rest
		}
	}
	s := c.Settings
	// What a 4xx to a 2.0 message claims to have written counts only if the samples have their outcome by it.
	unclear := c.Network || s.V2 && (s.MaxAge > 0 || a.dropped("shutdown", "needs_remote_write_2") > 0 || c.ambiguous)
	// What was on its way at the end may have been taken without anybody hearing of it.
	unheard := a.dropped("shutdown_in_flight")
	if n := a.Values["delivered_samples"]; (n > int64(delivered) || n+unheard < int64(delivered)) && !unclear {
		c.problem("%d samples are counted as delivered, and %d were acknowledged", n, delivered)
	}
	c.checkUnsent(a)
	c.exact = !unclear && s.MaxAge == 0 && a.dropped("shutdown", "shutdown_in_flight", "needs_remote_write_2") == 0 && c.FatalEvents == 0 && !c.ambiguous
	if !c.exact {
		return
	}
	for key, n := range a.Dropped {
		if slices.Contains(unsentReasons, key.Reason) || slices.Contains(translationDrops, key.Reason) || key == (Drop{Reason: "isolation_limit"}) {
			continue
		}
		lost[key.Status] -= int(n)
		if fits, known := reasonsOf[key.Reason]; !known || !fits(key.Status) && !slices.Contains(c.Rules.Fatal, key.Status) {
			c.problem("%d samples are counted as %s with status %d", n, key.Reason, key.Status)
		}
	}
	for status, n := range lost {
		if n != 0 {
			c.problem("%d more samples were lost by answers of status %d than are counted", n, status)
		}
	}
	if n, counted := c.unsplit(), a.dropped("isolation_limit")-a.unsentOffenders(); !s.V2 && n != counted {
		c.problem("%d samples are counted as isolation_limit, and %d were refused together with others", counted, n)
	}
}

// unsentReasons are those for which samples are dropped that may never have been sent.
var unsentReasons = []string{"queue_full", "too_new", "too_old", "shutdown", "needs_remote_write_2"}

// checkUnsent is the promise that nothing is lost without a reason: what was never sent is counted.
func (c *checker) checkUnsent(a *Accounts) {
	unsent, optional := 0, 0
	example := Point{}
	for _, s := range c.model.series {
		sent := make(map[sampleAt]bool)
		for _, it := range slices.Concat(s.line.items, s.apart.items) {
			sent[it.at()] = sent[it.at()] || it.last != nil
		}
		for _, it := range slices.Concat(s.line.items, s.apart.items) {
			switch {
			case it.open:
				// A process has sent it without an outcome, and one after that may have dropped what was left.
				optional++
			case sent[it.at()]: // it, or another one that is the same
			case it.optional:
				optional++
			default:
				unsent++
				example = it.Point
			}
		}
	}
	counted := a.dropped(unsentReasons...) + a.unsentOffenders()
	// What the model does not know may be what it knows by another name.
	if int64(unsent-len(c.unknown)) > counted {
		c.problem("%d samples were never sent, %v for one, and %d are counted as dropped before", unsent, example, counted)
	}
	exact := !c.model.wild && a.dropped("too_old", "shutdown", "needs_remote_write_2") == 0 && !c.ambiguous
	if exact && counted > int64(unsent+optional) {
		c.problem("%d samples are counted as dropped before they were sent, and %d were", counted, unsent)
	}
}

// reasonsOf says whether a status can be the cause of a reason.
var reasonsOf = map[string]func(status int) bool{
	"rejected":              func(s int) bool { return s/100 == 4 && s != 401 && s != 403 && s != 404 || s/100 == 2 },
	"isolation_limit":       func(s int) bool { return s/100 == 4 },
	"refused_after_unknown": func(s int) bool { return s/100 == 4 && s != 401 && s != 403 && s != 404 && s != 429 },
	"too_large":             func(s int) bool { return s == 413 },
	"retries_exhausted": func(s int) bool {
		// A 2xx to 2.0 that does not say what was written is no success.
		return s/100 != 4 || s == 429 || s == 401 || s == 403 || s == 404
	},
	"fatal":              func(s int) bool { return s == 401 || s == 403 || s == 404 },
	"unexpected_answer":  func(s int) bool { return s/100 == 1 || s/100 == 3 || s > 599 },
	"shutdown_in_flight": func(s int) bool { return s == 0 },
}

// unsplit is the number of samples that were dropped although the request that they were refused with had others, and should
// have been split: only what is refused itself may be dropped.
func (c *checker) unsplit() int64 {
	n := 0
	for _, x := range c.flights {
		s := x.Status
		refused := s/100 == 4 && s != 401 && s != 403 && s != 404 && s != 429 && !refusesAnything(s)
		if refused && len(x.Points) > 1 && (s == 413 || c.Settings.Rejected == isolate) {
			n += len(x.Points) - x.again
		}
	}
	return int64(n)
}

// checkLossless is for a round in which nothing can be lost but what cannot be sent.
func (c *checker) checkLossless() {
	if !c.Lossless {
		return
	}
	for key, n := range c.Record.final().Dropped {
		// What is far from now has little room.
		apart := key.Reason == "too_new" && c.Rules.MaxFuture > 0
		// What could not be stored before a process ended, its caller was told of, and has given again.
		apart = apart || key.Reason == "shutdown" && len(c.Lives) > 0
		if !apart && !slices.Contains(translationDrops, key.Reason) && !(c.model.wild && key.Reason == "needs_remote_write_2" && !c.Settings.V2) {
			c.problem("%d samples were dropped for %v, where nothing can be lost", n, key)
		}
	}
	for series, s := range c.model.series {
		rising := len(s.apart.items) == 0
		var expected []Point
		for i, it := range s.line.items {
			rising = rising && !it.optional && !it.Histogram && (i == 0 || it.Timestamp > s.line.items[i-1].Timestamp)
			expected = append(expected, it.Point)
			if !it.taken() && !it.optional && !s.repeats(it) {
				c.problem("%v was not delivered", it.Point)
			}
		}
		for _, it := range s.apart.items {
			if !it.taken() && !it.optional && !s.repeats(it) {
				c.problem("%v was not delivered", it.Point)
			}
		}
		if rising && c.Stored != nil && !slices.Equal(expected, c.Stored[series]) {
			c.problem("%d samples are stored of %.300s, not %d, or others", len(c.Stored[series]), series, len(expected))
		}
	}
}
