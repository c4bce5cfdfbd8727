// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"slices"
	"strings"
)

// checkOrder is the promise of order: it follows every series through all requests.
func (c *checker) checkOrder() {
	life := 0
	for _, x := range c.flights {
		for ; life < x.Life; life++ {
			c.reopen(c.Lives[life])
		}
		x.attempt, x.firstAt = 1, x.Start
		x.items = make([]*item, 0, len(x.Points))
		touched := make(map[*line]bool)
		for _, pt := range x.Points {
			s := c.model.series[pt.Series]
			if s == nil {
				c.passUnknown(x, pt)
				continue
			}
			c.place(s, x, pt, touched)
		}
		c.checkApart(x)
		c.checkAgain(x)
		c.checkBeside(x)
		for _, it := range x.items {
			if it.last != nil {
				it.last.again++
			}
			it.last, it.open = x, false
			it.sent = append(it.sent, x)
		}
		if len(x.Points) == 1 && x.Status/100 == 4 && c.Settings.Rejected == isolate {
			c.offended[x.Points[0].Series] = true
		}
		for l := range touched {
			if l.latest < 0 {
				continue // nothing that is surely of the line
			}
			// What was accepted before the first of the request's samples has its outcome, or it would be in the request.
			l.floor = max(l.floor, l.first)
			if c.final(x) {
				l.floor = max(l.floor, l.latest+1)
			}
		}
	}
	for ; life < len(c.Lives)-1; life++ {
		c.reopen(c.Lives[life])
	}
	for _, text := range c.Receiver {
		// What was accepted out of order may be sent out of order, even in one request; checkOrder knows it better.
		if inLine := c.sendsInLine() && !c.Rules.SortsPayloads || c.model.forgot; !inLine || !strings.Contains(text, "in timestamp order") {
			c.problem("receiver: %.600s", text)
		}
	}
}

// place finds the sample of a request among what was accepted of its series: in its line, or else among what travels apart.
func (c *checker) place(s *seriesModel, x *flight, pt Point, touched map[*line]bool) {
	l := &s.line
	if !touched[l] {
		touched[l] = true
		l.request, l.first, l.latest = x, -1, -1
	}
	for _, i := range l.at[pt.at()] {
		if l.items[i].call.Begin <= x.Begin && c.inTurn(s, x, i) {
			if it := l.items[i]; it.last != nil && it.last.Life < x.Life && !it.open && !c.twice(it) {
				c.problem("%v has a sample whose outcome was stored before the restart: %v", x, pt)
			}
			l.place(i, !c.twice(l.items[i]))
			x.items = append(x.items, l.items[i])
			return
		}
	}
	for _, i := range s.apart.at[pt.at()] {
		if it := s.apart.items[i]; it.call.Begin < x.Begin && !c.settled(it) {
			x.items = append(x.items, it)
			return
		}
	}
	switch at := l.at[pt.at()]; {
	case len(at) == 0 && len(s.apart.at[pt.at()]) == 0:
		c.problem("%v has a sample that was not accepted: %v", x, pt)
	case len(at) == 0:
		c.problem("%v has a sample that had its outcome before, or was not accepted yet: %v", x, pt)
	case l.items[at[0]].call.Begin > x.Begin:
		c.problem("%v has a sample before it was accepted: %v", x, pt)
	case l.latest >= 0 && at[len(at)-1] <= l.latest:
		c.problem("%v has samples out of order: %v after %d", x, pt, l.items[l.latest].Timestamp)
	default:
		c.problem("%v has a sample that had its outcome before: %v, accepted as number %d of the series, after number %d was sent",
			x, pt, at[len(at)-1], l.floor)
	}
}

// inTurn says whether a sample of a line may be the next one of a request.
func (c *checker) inTurn(s *seriesModel, x *flight, i int) bool {
	l := &s.line
	if !c.model.forgot || !c.held(l.items[i].Series) {
		return i >= max(l.floor, l.latest+1)
	}
	// What is held behind old samples is sent in the order of time. A late sample that was taken for a good one, because its
	// series was forgotten, comes before newer ones that were accepted earlier, in their request or in a part of it.
	it := l.items[i]
	return !c.settled(it) && !slices.ContainsFunc(l.items[i+1:], func(later *item) bool {
		sent := later.sentAfter(it) && later.last.Life == x.Life
		return later.Timestamp >= it.Timestamp && !c.twice(later) && (sent || slices.Contains(x.items, later))
	})
}

// settled says whether a sample had its outcome by the last request with it.
func (c *checker) settled(it *item) bool {
	return it.last != nil && !it.open && c.final(it.last)
}

// place takes note that a sample is in the request, or perhaps one that equals it and is not in the line.
func (l *line) place(i int, sure bool) {
	if l.first < 0 || i < l.first {
		l.first = i
	}
	if sure {
		l.latest = max(l.latest, i)
	}
}

// passUnknown takes note of a sample that nothing is known of, which only a wild payload can have brought.
func (c *checker) passUnknown(x *flight, pt Point) {
	if !c.model.wild {
		c.problem("%v has a series of which nothing was accepted: %v", x, pt)
		return
	}
	it := c.unknown[pt]
	if it == nil {
		it = &item{Point: pt}
		c.unknown[pt] = it
	} else if c.settled(it) || slices.Contains(x.items, it) {
		// It may be another one, which was given again.
		c.ambiguous = true
	}
	x.items = append(x.items, it)
}

// checkApart checks that late samples are in no request with a newer one of their series, and that nothing that travels apart
// makes a request go back in time.
func (c *checker) checkApart(x *flight) {
	if c.model.forgot {
		return // what is late cannot be told
	}
	all := c.leftLate(x.Life)
	apart := make(map[string]bool)
	for _, it := range x.items {
		apart[it.Series] = apart[it.Series] || it.apart
	}
	newest := make(map[string]*item)
	for _, it := range x.items {
		if !apart[it.Series] {
			continue
		}
		before := newest[it.Series]
		switch {
		case before == nil:
			newest[it.Series] = it
			continue
		case it.Timestamp <= before.Timestamp && !c.sendsInLine():
			c.problem("%v goes back in time from %d: %v", x, before.Timestamp, it.Point)
		case it.apart != before.apart && (it.late || before.late) && !all && !c.held(it.Series) && !c.twice(it) && !c.twice(before):
			c.problem("%v has a late sample of %d together with one of %d: %v", x, it.Timestamp, before.Timestamp, it.Point)
		}
		newest[it.Series] = it
	}
}

// twice tells whether a sample was accepted in order and once more as one that travels apart: which of them is in a request cannot be
// told.
func (c *checker) twice(it *item) bool {
	s := c.model.series[it.Series]
	return s != nil && len(s.line.at[it.at()]) > 0 && len(s.apart.at[it.at()]) > 0
}

// leftLate says whether earlier processes may have left late samples to one. Until it has read of which series these are, it holds all
// others back behind them.
func (c *checker) leftLate(life int) bool {
	if life == 0 {
		return false
	}
	for _, s := range c.model.series {
		if slices.ContainsFunc(s.apart.items, func(it *item) bool { return it.call.Life < life }) {
			return true
		}
	}
	return false
}

// held tells whether samples of a series travel apart though they are not late: what the exporter holds back behind them may join
// the late ones, in order of time. So may the samples of a series that was refused alone.
func (c *checker) held(series string) bool {
	s := c.model.series[series]
	return c.offended[series] || s != nil && slices.ContainsFunc(s.apart.items, func(it *item) bool { return !it.late })
}
