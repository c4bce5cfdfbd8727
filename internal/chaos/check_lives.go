// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"fmt"
	"slices"
	"time"
)

// checkLives checks a round of several processes on the same storage: what each must do for itself, and what all of them must do
// together, whoever ended how.
func checkLives(r *Record) (problems []string) {
	for i, life := range r.Lives {
		c := newChecker(life)
		c.checkFlights()
		c.checkRequests()
		c.checkCollections()
		c.checkCalls()
		if !life.Died {
			c.checkLog()
			c.checkEnd()
		}
		for _, p := range c.found {
			problems = append(problems, fmt.Sprintf("process %d: %s", i, p))
		}
	}
	sum := sumOf(r.Lives)
	r.Accounts = []*Accounts{sum}
	c := newChecker(r)
	c.checkOrder()
	c.checkTranslated(sum)
	c.checkDelivered(sum)
	c.checkUnsent(sum)
	c.checkSettled(sum)
	c.checkRecovered()
	c.checkLossless()
	return append(problems, c.found...)
}

// sumOf are the accounts of all processes: what each has counted when it ended.
func sumOf(lives []*Record) *Accounts {
	sum := &Accounts{Values: make(map[string]int64), Dropped: make(map[Drop]int64)}
	for _, life := range lives {
		a := life.final()
		for name, n := range a.Values {
			sum.Values[name] += n
		}
		for key, n := range a.Dropped {
			sum.Dropped[key] += n
		}
	}
	return sum
}

// sendsInLine says whether late samples may be in line.
func (c *checker) sendsInLine() bool {
	for _, life := range c.Lives {
		if life.Settings.OutOfOrder == "send" {
			return true
		}
	}
	return c.Settings.OutOfOrder == "send"
}

// reopen is for the end of a process: what may be sent again by the next one is what had no outcome, or one that was not stored.
func (c *checker) reopen(life *Record) {
	end := &ending{checker: c, life: life, leader: make(map[*flight]*flight), open: make(map[*flight]bool)}
	end.find()
	for _, s := range c.model.series {
		for i, it := range s.line.items {
			if it.open = end.leaves(it); it.open {
				s.line.floor = min(s.line.floor, i)
			}
		}
		for _, it := range s.apart.items {
			it.open = end.leaves(it)
		}
	}
	for _, it := range c.unknown {
		it.open = end.leaves(it)
	}
}

// ending is the end of a process. Requests belong together that have had the same samples: their outcomes are stored together, when the
// last of them has its own.
type ending struct {
	*checker
	life   *Record
	leader map[*flight]*flight
	// open are the leaders of requests that had no outcome, or not long enough for it to be stored.
	open map[*flight]bool
	// any says that requests may belong together that have no samples in common: those of a batch that was cut before it was sent.
	any bool
}

func (e *ending) lead(x *flight) *flight {
	for e.leader[x] != nil {
		x = e.leader[x]
	}
	return x
}

func (e *ending) find() {
	e.any = e.life.Settings.OutOfOrder != "drop" && e.Settings.MaxAge > 0
	for _, x := range e.flights {
		if x.Life >= len(e.Lives) || e.Lives[x.Life] != e.life {
			continue
		}
		e.any = e.any || x.Status/100 == 4 && x.Status != 429 || x.V2 != e.life.Settings.V2 || e.cutAtOnce(x)
		for _, it := range x.items {
			for _, y := range it.sent {
				if a, b := e.lead(y), e.lead(x); a != b && y.Life == x.Life {
					e.leader[a] = b
				}
			}
		}
	}
	for _, x := range e.flights {
		if x.Life < len(e.Lives) && e.Lives[x.Life] == e.life && e.unsettled(x) {
			e.open[e.lead(x)] = true
		}
	}
}

// unsettled says whether a request had samples without an outcome, or whose outcome may not be stored.
func (e *ending) unsettled(x *flight) bool {
	last := false
	for _, it := range x.items {
		last = last || it.last == x
	}
	if !last {
		return false
	}
	if !e.final(x) || x.Status == 0 && (!x.Ended.Before(e.life.Closing) || e.stopped(x)) {
		return true
	}
	known := x.Ended.Add(bodyWait)
	stored := !known.After(e.life.Written)
	if e.life.Steady && known.Add(acknowledged).Before(e.life.Ended) {
		stored = true
	}
	return !stored
}

// stopped says whether the process may have ended a request itself, because of an answer to another one after which it is to stop: it has
// begun none since.
func (e *ending) stopped(x *flight) bool {
	return e.life.FatalEvents > 0 && !slices.ContainsFunc(e.flights, func(y *flight) bool { return y.Life == x.Life && y.Start.After(x.Ended) })
}

// acknowledged is more than it takes until an outcome is stored, without faults.
const acknowledged = 1100 * time.Millisecond

// leaves says whether the process may have left a sample as one without an outcome.
func (e *ending) leaves(it *item) bool {
	if it.last == nil || it.last.Life >= len(e.Lives) {
		return false
	}
	if e.Lives[it.last.Life] != e.life {
		return it.open
	}
	return e.any || e.open[e.lead(it.last)]
}

// checkDelivered checks that nothing is counted as delivered that no answer has acknowledged.
func (c *checker) checkDelivered(sum *Accounts) {
	confirmed := 0
	for _, x := range c.flights {
		confirmed += x.confirmed()
	}
	if n := sum.Values["delivered_samples"]; n > int64(confirmed) {
		c.problem("%d samples are counted as delivered, and %d were acknowledged", n, confirmed)
	}
}

// checkSettled is the promise that nothing accepted is lost: what the last request with a sample has not delivered is counted.
func (c *checker) checkSettled(sum *Accounts) {
	lost := 0
	var example Point
	for _, s := range c.model.series {
		for _, it := range append(s.line.items[:len(s.line.items):len(s.line.items)], s.apart.items...) {
			if !it.optional && !it.taken() && !s.repeats(it) && !s.sentTwin(it) {
				lost++
				example = it.Point
			}
		}
	}
	counted := sum.dropped() - sum.dropped(translationDrops...)
	for _, x := range c.flights {
		if x.Status/100 != 2 {
			counted += int64(x.confirmed()) // What a refusal says to be written is believed.
		}
	}
	if int64(lost) > counted {
		c.problem("%d accepted samples were not delivered, %v for one, and %d are counted as dropped", lost, example, counted)
	}
}

// sentTwin says whether the same sample was taken as one that was accepted another time.
func (s *seriesModel) sentTwin(it *item) bool {
	for _, l := range []*line{&s.line, &s.apart} {
		for _, i := range l.at[it.at()] {
			if l.items[i].taken() {
				return true
			}
		}
	}
	return false
}

// checkRecovered compares what each process has left with what the next one has found.
func (c *checker) checkRecovered() {
	for i, life := range c.Lives[1:] {
		before := c.Lives[i]
		a := before.final()
		left := a.Values["queued_samples"] + a.Values["in_flight_samples"]
		found := life.final().Values["recovered_samples"]
		unstored := int64(0)
		for _, call := range before.Calls {
			if call.Vague {
				unstored += int64(max(call.Payload.Native.total(), call.Payload.Classic.total()))
				if call.Payload.Wild {
					unstored += left
				}
			}
		}
		settled := a.Values["delivered_samples"] + a.dropped()
		if !before.Died && before.Steady && before.ShutdownTook < before.ShutdownLimit {
			unstored = 0
		}
		if found < left-unstored || found > left+settled {
			c.problem("process %d left %d samples, of which %d may not have been stored, and the next one found %d", i, left, unstored, found)
		}
	}
	last := c.Lives[len(c.Lives)-1].final()
	if n := last.Values["recovered_samples"] + last.Values["queued_samples"] + last.Values["in_flight_samples"]; n > 0 {
		c.problem("%d samples were left when nothing went wrong any more: %v", n, last)
	}
	if n := last.Values["storage_size"]; n > 0 {
		c.problem("%d bytes must be kept of nothing", n)
	}
}

// checkBeside checks that what an earlier process has accepted is in no request with anything else.
func (c *checker) checkBeside(x *flight) {
	var recovered, live *item
	for _, it := range x.items {
		switch {
		case it.call == nil || it.optional || it.retold || c.again(it):
		case it.call.Life < x.Life:
			recovered = it
		default:
			live = it
		}
	}
	if recovered != nil && live != nil {
		c.problem("%v has %v, which was recovered, together with %v, which was not", x, recovered.Point, live.Point)
	}
}

// again says whether the same sample was given more than once.
func (c *checker) again(it *item) bool {
	s := c.model.series[it.Series]
	return len(s.line.at[it.at()])+len(s.apart.at[it.at()]) > 1
}

// cutAtOnce says whether the request may be part of a batch that an earlier process has made larger than this one may, or for another
// message.
func (e *ending) cutAtOnce(x *flight) bool {
	for _, life := range e.Lives[:x.Life] {
		if life.Settings.MaxSamples > e.life.Settings.MaxSamples || life.Settings.V2 && !e.life.Settings.V2 {
			return true
		}
	}
	return false
}
