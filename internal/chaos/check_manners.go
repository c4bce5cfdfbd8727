// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"time"
)

// checkRequests checks the bounds that the configuration puts on a request.
func (c *checker) checkRequests() {
	s := c.Settings
	for _, x := range c.flights {
		if len(x.Points) == 0 && !s.SendMetadata {
			c.problem("%v is empty", x)
		}
		if len(x.Points) > s.MaxSamples {
			c.problem("%v has more than %d samples", x, s.MaxSamples)
		}
		// A request that was made as 2.0 can be larger as 1.0, which repeats every string.
		converted := !x.V2 && s.V2
		if int64(x.Size) > s.MaxSizeBytes && len(x.Points) > 1 && !converted {
			c.problem("%v has %d bytes", x, x.Size)
		}
		if s.MaxAge == 0 || c.Network {
			continue
		}
		oldest := x.Start.Add(-s.MaxAge).UnixMilli()
		for _, pt := range x.Points {
			if pt.Timestamp < oldest {
				c.problem("%v has a sample older than queue.max_age: %v", x, pt)
			}
		}
	}
}

// checkWork checks that nobody sleeps while there is work: when every request that was sent has its outcome, a sample that is
// due leaves at once. The fake clock makes this exact.
func (c *checker) checkWork() {
	if c.Network || c.FatalEvents > 0 || c.ambiguous || !c.Settings.RetryEnabled || !c.Settings.RetryOn429 {
		return // without retries nobody can see how long an endpoint that fails is left alone
	}
	// What was sent for the first time, and when it was due.
	due := make(map[*flight]time.Time)
	for _, s := range c.model.series {
		for _, it := range s.line.items {
			if it.last == nil || it.optional || it.last.attempt > 1 {
				continue
			}
			if at := it.call.Ended.Add(c.Settings.FlushTimeout); due[it.last].IsZero() || at.Before(due[it.last]) {
				due[it.last] = at
			}
		}
	}
	// free is when the last of the requests before had its outcome, as far as can be told.
	var free time.Time
	for _, x := range c.flights {
		at := due[x]
		if at.Before(free) {
			at = free
		}
		if !due[x].IsZero() && x.attempt == 1 && x.Start.After(at) {
			c.problem("%v was sent %v late, although nothing else was under way", x, x.Start.Sub(at))
		}
		ended := x.Ended
		if !c.final(x) || c.fatal(x) && c.Settings.Fatal == pause {
			// When it is given up is not known, nor how long an endpoint that is paused is left alone.
			ended = x.Ended.Add(1000 * time.Hour)
		}
		if ended = ended.Add(bodyWait); ended.After(free) {
			free = ended
		}
	}
}

// checkCalls checks that callers wait as long as they may, and are refused for a reason.
func (c *checker) checkCalls() {
	s := c.Settings
	for _, call := range c.Calls {
		most := time.Duration(0)
		switch {
		case s.Storage:
			// Callers are held back, wait for room, and for their write.
			most = min(call.Deadline, longestHold+2*s.BlockTimeout)
		case s.OnFull == block:
			most = min(call.Deadline, s.BlockTimeout)
		}
		took := call.Ended.Sub(call.Start)
		if took > most && !c.Network {
			c.problem("ConsumeMetrics took %v, and may take %v", took, most)
		}
		switch ended := c.FatalEvents > 0 || c.ClosingEvent > 0 && call.End > c.ClosingEvent; {
		case call.Err == nil || call.Vague || ended:
		case !s.refuses():
			c.problem("ConsumeMetrics refused a payload, with on_full %s: %v", s.OnFull, call.Err)
		case took < most && !call.Permanent && !c.Network && !s.Storage && s.Fatal != pause:
			c.problem("ConsumeMetrics waited %v of %v for space: %v", took, most, call.Err)
		}
		if call.Err == nil && c.Ended.Before(call.Start) && !c.Ended.IsZero() {
			c.problem("a payload was accepted %v after the shutdown", call.Start.Sub(c.Ended))
		}
	}
}

// longestHold is how long callers are held back for another number of partitions.
const longestHold = time.Second

// logInterval is the least time between two log lines about drops of one reason.
const logInterval = 10 * time.Second

// checkLog checks that the numbers in the log add up, and that there are not too many lines.
func (c *checker) checkLog() {
	logged, lines := int64(0), make(map[string]int)
	for _, line := range c.Logs {
		logged += line.Samples
		lines[line.Reason]++
	}
	// A call that returns after the shutdown may have something to tell that is held back for ever.
	abrupt := false
	for _, call := range c.Calls {
		abrupt = abrupt || call.End > c.ClosingEvent
	}
	if dropped := c.Record.final().dropped(); logged != dropped && !(abrupt && logged < dropped) {
		c.problem("the log tells of %d dropped samples, and %d were", logged, dropped)
	}
	span := c.Ended.Sub(c.Start) + time.Minute
	for reason, n := range lines {
		if most := 2 + int(span/logInterval); n > most {
			c.problem("%d lines in the log about %s, in %v", n, reason, span)
		}
	}
}

// checkEnd checks that the end is an end, and that the exporter stops the collector when it is told to and only then.
func (c *checker) checkEnd() {
	if c.ShutdownErr != nil {
		c.problem("shutdown: %v", c.ShutdownErr)
	}
	if c.ShutdownTook > c.ShutdownLimit && !c.Network {
		c.problem("the shutdown took %v of %v", c.ShutdownTook, c.ShutdownLimit)
	}
	s := c.Settings
	var fatal time.Time
	for _, x := range c.flights {
		if x.Start.After(c.Ended) {
			c.problem("%v was sent %v after the shutdown", x, x.Start.Sub(c.Ended))
		}
		// The answer has a body, which may be slow.
		if !fatal.IsZero() && x.Start.After(fatal.Add(bodyWait)) {
			c.problem("%v was sent %v after a fatal answer", x, x.Start.Sub(fatal))
		}
		stops := s.Fatal == fail && c.fatal(x) && len(x.Points) > 0
		if stops && (fatal.IsZero() || x.Ended.Before(fatal)) {
			fatal = x.Ended
		}
	}
	mayFail := !fatal.IsZero() || s.RetriesExhausted == fail && c.Record.final().dropped("retries_exhausted") > 0
	if c.FatalEvents > 1 || c.FatalEvents == 1 && !mayFail || c.FatalEvents == 0 && !fatal.IsZero() {
		c.problem("%d fatal errors are reported; an answer was fatal: %t; dropped %v", c.FatalEvents, !fatal.IsZero(), c.Record.final().Dropped)
	}
}

// checkDeadLetters checks that every sample that was dropped by an answer, from the queue or at shutdown is kept, if that is wanted.
func (c *checker) checkDeadLetters() {
	a := c.Record.final()
	if c.Settings.DeadLetters == "" || c.Settings.V2 || a.Letters["skipped"]+a.Letters["failed"]+a.Letters["removed"] > 0 {
		return
	}
	dropped := a.dropped("too_old", "queue_full", "shutdown") - a.unsentOffenders()
	for reason := range reasonsOf {
		dropped += a.dropped(reason)
	}
	// What has no room is kept with the target_info made for it, which does not count as received if it is only dropped.
	withMade := c.Settings.TargetInfo && a.dropped("queue_full") > 0
	if c.DeadLetters < dropped || c.DeadLetters > dropped && !withMade {
		c.problem("%d samples are kept as dead letters, and %d were dropped", c.DeadLetters, dropped)
	}
}
