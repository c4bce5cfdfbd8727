// SPDX-License-Identifier: Apache-2.0

package chaos

// checkAccounts is the promise that nothing is uncounted. It holds in every collection.
func (c *checker) checkAccounts() {
	c.checkCollections()
	c.checkFinal(c.Record.final())
}

func (c *checker) checkCollections() {
	for _, a := range c.Accounts {
		c.checkBalance(a)
		c.checkQueues(a)
		if x := a.During; x != nil && a.Values["in_flight_samples"] < int64(len(x.Points)) && x.End > a.Until {
			c.problem("request %d with %d samples was under way when %d were counted as in flight", x.Number, len(x.Points), a.Values["in_flight_samples"])
		}
		c.checkConfirmed(a)
	}
	for i, a := range c.Accounts[:len(c.Accounts)-1] {
		b := c.Accounts[i+1]
		if b.Event < a.Until {
			continue
		}
		for _, name := range []string{"received_samples", "delivered_samples", "dropped_samples", "refused_samples", "requests"} {
			if b.Values[name] < a.Values[name] {
				c.problem("%s went from %d back to %d", name, a.Values[name], b.Values[name])
			}
		}
	}
}

func (c *checker) checkBalance(a *Accounts) {
	v := a.Values
	if v["received_samples"]+v["recovered_samples"] != v["delivered_samples"]+a.dropped()+v["queued_samples"]+v["in_flight_samples"] {
		c.problem("received is not delivered + dropped + queued + in flight: %v", a)
	}
	for _, name := range []string{"received_samples", "delivered_samples", "queued_samples", "in_flight_samples", "refused_samples"} {
		if v[name] < 0 {
			c.problem("%s is %d", name, v[name])
		}
	}
	for drop, n := range a.Dropped {
		if n < 0 {
			c.problem("%d samples are dropped for %v", n, drop)
		}
	}
}

// checkQueues is the promise that memory is bounded.
func (c *checker) checkQueues(a *Accounts) {
	total, beside := int64(0), int64(0)
	if s := c.Settings; s.Storage {
		// What waits for its write, and of each partition what is next.
		beside = s.QueueSizeBytes + int64(max(s.Partitions, 256))*s.MaxSizeBytes
	}
	for queue, size := range a.Sizes {
		total += size
		if capacity, ok := a.Capacities[queue]; ok && size > capacity+beside || size < 0 {
			c.problem("queue %s holds %d bytes of %d", queue, size, capacity)
		}
	}
	if total > c.Settings.QueueSizeBytes+beside {
		c.problem("the queues hold %d bytes of %d", total, c.Settings.QueueSizeBytes)
	}
}

// checkConfirmed checks that nothing is counted as delivered before there is an answer that says so.
func (c *checker) checkConfirmed(a *Accounts) {
	confirmed := 0
	for _, x := range c.flights {
		if x.End > 0 && x.End < a.Until {
			confirmed += x.confirmed()
		}
	}
	if n := a.Values["delivered_samples"]; n > int64(confirmed) {
		c.problem("%d samples are counted as delivered, and %d were acknowledged at that time", n, confirmed)
	}
}

// checkFinal compares the last collection with what was given and what arrived.
func (c *checker) checkFinal(a *Accounts) {
	v := a.Values
	dropped := v["received_samples"] - v["delivered_samples"]
	for name, want := range map[string]int64{
		"queued_samples":                     0,
		"in_flight_samples":                  0,
		"queue_size":                         0,
		"exporter_in_flight_requests":        0,
		"exporter_sent_metric_points":        v["delivered_samples"],
		"exporter_send_failed_metric_points": dropped,
	} {
		if v[name] != want {
			c.problem("after the end, %s is %d, not %d", name, v[name], want)
		}
	}
	if !c.Network && v["requests"] != int64(len(c.flights)) {
		c.problem("%d requests are counted, and %d were sent", v["requests"], len(c.flights))
	}
	c.checkTranslated(a)
}

// checkTranslated compares what is counted before the queue with what the payloads must become.
func (c *checker) checkTranslated(a *Accounts) {
	v, m := a.Values, c.model
	between := func(what string, n int64, bounds [2]int) {
		if n < int64(bounds[0]) || n > int64(bounds[1]) && !m.wild {
			c.problem("%d samples are counted as %s, not %d to %d", n, what, bounds[0], bounds[1])
		}
	}
	between("received", v["received_samples"], m.received)
	refused := m.refused
	for _, call := range c.Calls {
		if call.Err != nil && (c.FatalEvents > 0 || call.End > c.ClosingEvent) {
			// After the end nobody need count.
			refused[0] -= call.Payload.Native.total()
		}
	}
	if len(c.Lives) == 0 {
		between("refused", v["refused_samples"], refused)
	}
	for _, reason := range translationDrops {
		if n := a.dropped(reason); n < int64(m.drops[reason]) || n > int64(m.drops[reason]+m.unsure[reason]) && !m.wild {
			c.problem("%d samples are counted as dropped for %s, not %d to %d", n, reason, m.drops[reason], m.drops[reason]+m.unsure[reason])
		}
	}
}

// translationDrops are the reasons for what is dropped before the queue, which the model tells exactly.
var translationDrops = []string{
	"delta_temporality", "unspecified_temporality", "no_timestamp", "no_value", "invalid_name", "invalid_histogram", "scale_too_low", "no_sum",
	"duplicate", "out_of_order",
}
