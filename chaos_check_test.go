package orderedremotewriteexporter

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.opentelemetry.io/collector/component/componentstatus"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/remote"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// ownMetric begins the names of the exporter's own metrics.
const ownMetric = "otelcol_exporter_ordered_remote_write_"

// check checks the promises after a round.
func (c *chaos) check() {
	c.balance = c.h.ledger.Snapshot()
	c.checkBalance()
	p := c.predict()
	c.checkOrder(p)
	c.checkReceiver(p)
	c.checkTelemetry(p)
	c.checkLog()
	c.checkEnd()
	c.checkDeadLetters()
	c.checkOutcomes(p)
	if c.lossless {
		c.checkLossless(p)
	}
}

// checkBalance is the promise that nothing is uncounted. It holds at every moment.
func (c *chaos) checkBalance() {
	b := c.h.ledger.Snapshot()
	dropped := int64(0)
	for key, n := range b.Dropped {
		if dropped += n; n < 0 {
			c.problem("%d samples are dropped for %v", n, key)
		}
	}
	if b.Received != b.Delivered+dropped+b.Queued+b.InFlight || b.Queued < 0 || b.InFlight < 0 || b.Delivered < 0 {
		c.problem("received is not delivered + dropped + queued + in flight: %+v", b)
	}
	for _, q := range c.h.queues.partitions {
		c.checkSize(q)
	}
}

// checkSize is the promise that memory is bounded.
func (c *chaos) checkSize(q *partition) {
	if size := q.state().size; size < 0 || size > q.capacity {
		c.problem("partition %d holds %d bytes of %d", q.index, size, q.capacity)
	}
}

// checkCollection checks that what is collected at one moment adds up.
func (c *chaos) checkCollection() {
	var collected metricdata.ResourceMetrics
	if err := c.h.telemetry.Reader.Collect(context.Background(), &collected); err != nil {
		c.problem("collecting: %v", err)
		return
	}
	values := make(map[string]int64)
	for _, scope := range collected.ScopeMetrics {
		for _, m := range scope.Metrics {
			name, own := strings.CutPrefix(m.Name, ownMetric)
			if !own {
				continue
			}
			switch data := m.Data.(type) {
			case metricdata.Sum[int64]:
				for _, dp := range data.DataPoints {
					values[name] += dp.Value
				}
			case metricdata.Gauge[int64]:
				for _, dp := range data.DataPoints {
					values[name] += dp.Value
				}
			}
		}
	}
	if values["received_samples"] != values["delivered_samples"]+values["dropped_samples"]+values["queued_samples"]+values["in_flight_samples"] {
		c.problem("what is collected does not add up: %v", values)
	}
}

// checkOrder is the promise of order: it follows every series through all requests.
func (c *chaos) checkOrder(p *prediction) {
	latest, ambiguous := make(map[int]*exchange), p.ambiguous()
	for _, x := range c.wire.exchanges {
		if x.partition < 0 {
			continue
		}
		touched := make(map[*seriesHistory]bool)
		for _, pt := range x.points {
			s := p.series[pt.series]
			if s == nil {
				c.problem("%v has a series of which nothing was accepted: %v", x, pt)
				continue
			}
			if !touched[s] {
				touched[s] = true
				s.request, s.first, s.latest = x, -1, -1
			}
			c.place(s, x, pt)
		}
		for s := range touched {
			// What was accepted before the first of the request's points has its outcome, or it would be in the request.
			s.floor = max(s.floor, s.first)
			if c.final(x) {
				s.floor = max(s.floor, s.latest+1)
			}
		}
		c.checkRetry(latest[x.partition], x, ambiguous)
		if !ambiguous {
			c.checkPrompt(latest[x.partition], x)
		}
		latest[x.partition] = x
	}
	if c.cfg.OutOfOrder == OutOfOrderDrop && !p.forgot {
		for key, s := range p.series {
			last := -1
			for i, x := range s.last {
				if x == nil {
					continue
				}
				if last >= 0 && s.points[i].timestamp <= s.points[last].timestamp {
					c.problem("out_of_order is drop, but %v sent %d after %d of %.300s", x, s.points[i].timestamp, s.points[last].timestamp, key)
				}
				last = i
			}
		}
	}
}

// place finds the point of a request among what was accepted of its series.
func (c *chaos) place(s *seriesHistory, x *exchange, pt wirePoint) {
	after := max(s.floor, s.latest+1)
	for _, i := range s.at[pt.value] {
		if i < after {
			continue
		}
		if s.first < 0 {
			s.first = i
		}
		s.latest = i
		if s.last[i] != nil {
			s.last[i].again++
		} else if at := s.accepted[i]; x.accepted.IsZero() || at.Before(x.accepted) {
			x.accepted = at
		}
		s.last[i] = x
		return
	}
	switch at := s.at[pt.value]; {
	case len(at) == 0:
		c.problem("%v has a point that was not accepted: %v", x, pt)
	case s.latest >= 0 && at[len(at)-1] <= s.latest:
		c.problem("%v has points out of order: %v after %d", x, pt, s.points[s.latest].timestamp)
	default:
		c.problem("%v has a point that had its outcome before: %v, accepted as number %d of the series, after number %d was sent", x, pt, at[len(at)-1], s.floor)
	}
}

// final says whether the samples of a request have their outcome by its answer. This repeats the rules of the
// specification and of the configuration in a few words, and says nothing where they are complicated.
func (c *chaos) final(x *exchange) bool {
	cfg := c.cfg
	_, _, _, present := x.written()
	canFallBack := x.protocol == wire.V2 && cfg.Fallback
	switch s := x.status; {
	case s >= 200 && s <= 299:
		return present || x.protocol == wire.V1
	case s == 401, s == 403, s == 404, s >= 100 && s <= 199, s >= 300 && s <= 399, s >= 600:
		return cfg.OnError.Fatal != OnFatalRetry
	case s == 0, s >= 500 && s <= 599, s == 429 && cfg.RetryOn429:
		return !cfg.Retry.BackOff.Enabled
	case s == 413, s == 415 && canFallBack, s == 400 && canFallBack:
		return false
	default:
		return cfg.OnError.Rejected == OnRejectedDiscard || refusesAnything(s)
	}
}

// checkRetry checks that x, which came right after before in its partition, is allowed. If requests are ambiguous, the
// same bytes may be another batch.
func (c *chaos) checkRetry(before, x *exchange, ambiguous bool) {
	if before == nil || before.again == 0 || ambiguous {
		return
	}
	cfg := c.cfg
	passing := before.status == 0 || before.status == 429 || before.status >= 500 && before.status <= 599
	same := bytes.Equal(before.body, x.body)
	if passing && !same && cfg.Queue.MaxAge == 0 && before.protocol == x.protocol && shares(before, x) {
		c.problem("%v sends again other bytes than %v", x, before)
	}
	if !same {
		return
	}
	if wait := askedFor(before); x.start.Before(before.end.Add(min(wait, cfg.Retry.MaxRetryAfter))) {
		c.problem("%v was sent %v after %v, which asked for %v", x, x.start.Sub(before.end), before, wait)
	}
	if n := cfg.Retry.MaxRetries; n > 0 && x.repeats > n {
		c.problem("%v is retry %d of %d", x, x.repeats, n)
	}
	if limit := cfg.Retry.BackOff.MaxElapsedTime; limit > 0 && x.start.Sub(x.firstAt) > limit {
		c.problem("%v is a retry after %v", x, x.start.Sub(x.firstAt))
	}
}

// checkPrompt is the promise that partitions are independent: nothing delays a request but its own batch and the request
// before it in its partition. The clock of the bubble makes this exact.
func (c *chaos) checkPrompt(before, x *exchange) {
	if x.accepted.IsZero() || before != nil && !c.final(before) {
		return
	}
	due := x.accepted.Add(c.cfg.Batch.FlushTimeout)
	if before != nil {
		if free := before.end.Add(remote.MaxBodyWait); free.After(due) {
			due = free
		}
	}
	if x.start.After(due) {
		c.problem("%v was sent %v late: accepted at %v", x, x.start.Sub(due), x.accepted)
	}
}

// shares says whether two requests have a point in common.
func shares(a, b *exchange) bool {
	points := make(map[wirePoint]bool, len(a.points))
	for _, p := range a.points {
		points[p] = true
	}
	for _, p := range b.points {
		if points[p] {
			return true
		}
	}
	return false
}

// askedFor is the time in seconds that a Retry-After header asks for.
func askedFor(x *exchange) time.Duration {
	if x.status != http.StatusTooManyRequests && x.status != http.StatusServiceUnavailable {
		return 0
	}
	seconds, err := strconv.ParseUint(x.header.Get("Retry-After"), 10, 31)
	if err != nil {
		return 0
	}
	return time.Duration(seconds) * time.Second
}

// checkReceiver asks the receiver what it found wrong.
func (c *chaos) checkReceiver(p *prediction) {
	problems := append(c.wire.receiver.Violations(), c.wire.receiver.Overlaps()...)
	if c.cfg.OutOfOrder == OutOfOrderDrop && !p.forgot {
		problems = c.wire.receiver.Problems()
	}
	var backwards []string
	for key, s := range p.series {
		if !s.increasing() {
			backwards = append(backwards, key)
		}
	}
	for _, text := range problems {
		// What was accepted out of order must be sent out of order, even in one request.
		isBackwards := func(key string) bool { return strings.Contains(text, key) }
		if !strings.Contains(text, "in timestamp order") || !slices.ContainsFunc(backwards, isBackwards) {
			c.problem("receiver: %.600s", text)
		}
	}
}

// ambiguous says whether a point was accepted twice, so that requests with it cannot be told apart.
func (p *prediction) ambiguous() bool {
	for _, s := range p.series {
		if len(s.at) < len(s.points) {
			return true
		}
	}
	return false
}

// increasing says whether what was accepted is in the order of its timestamps.
func (s *seriesHistory) increasing() bool {
	for i := 1; i < len(s.points); i++ {
		if s.points[i].timestamp <= s.points[i-1].timestamp {
			return false
		}
	}
	return true
}

// confirmed is the number of samples that the answer to a request says are written.
func (x *exchange) confirmed() int {
	if x.protocol == wire.V1 {
		if x.status/100 == 2 {
			return len(x.points)
		}
		return 0
	}
	samples, histograms, exemplars, _ := x.written()
	n := min(max(samples, 0), len(x.points)-x.histograms) + min(max(histograms, 0), x.histograms)
	if x.status/100 == 2 || x.status/100 == 4 && (n < len(x.points) || exemplars < x.exemplars) {
		return n
	}
	return 0 // a refusal that claims to have written everything
}

// checkOutcomes compares what the exporter has counted with what happened on the wire.
func (c *chaos) checkOutcomes(p *prediction) {
	b := &c.balance
	delivered := 0
	byStatus := make(map[int]int)
	for _, x := range c.wire.exchanges {
		if x.partition < 0 {
			continue
		}
		n := 0
		if x.again == 0 || x.status/100 == 2 {
			n = x.confirmed()
		}
		delivered += n
		if lost := len(x.points) - x.again - n; lost > 0 {
			byStatus[x.status] += lost
		}
	}
	// What a 4xx to a 2.0 message claims to have written counts only if the samples have their outcome by it.
	unclear := c.cfg.ProtobufMessage == MessageV2 && (c.cfg.Queue.MaxAge > 0 || c.droppedFor(account.ReasonShutdown) > 0 || p.ambiguous())
	if int64(delivered) != b.Delivered && !unclear {
		c.problem("%d samples are counted as delivered, and %d were acknowledged", b.Delivered, delivered)
	}
	if p.vague {
		return
	}
	if int64(p.received) != b.Received {
		c.problem("%d samples are counted as received, not %d", b.Received, p.received)
	}
	for r := account.NoReason; r < account.ReasonQueueFull; r++ {
		if n := c.droppedFor(r); n != int64(p.drops[r]) && r != account.ReasonNeedsV2 {
			c.problem("%d samples are counted as dropped for %v, not %d", n, r, p.drops[r])
		}
	}
	c.exact = c.cfg.Queue.MaxAge == 0 && c.droppedFor(account.ReasonShutdown)+c.droppedFor(account.ReasonShutdownInFlight)+c.droppedFor(account.ReasonNeedsV2) == 0 &&
		!c.h.failed.Load() && !p.ambiguous()
	if !c.exact {
		return
	}
	for key, n := range b.Dropped {
		if key.Reason < account.ReasonQueueFull {
			continue
		}
		byStatus[key.Status] -= int(n)
		if !explains(c.cfg, key) {
			c.problem("%d samples are counted as %v with status %d", n, key.Reason, key.Status)
		}
	}
	for status, n := range byStatus {
		if n != 0 {
			c.problem("%d more samples were lost by answers of status %d than are counted", n, status)
		}
	}
	if n := c.unsplit(); c.cfg.ProtobufMessage == MessageV1 && n != c.droppedFor(account.ReasonIsolationLimit) {
		c.problem("%d samples are counted as %v, and %d were refused together with others", c.droppedFor(account.ReasonIsolationLimit), account.ReasonIsolationLimit, n)
	}
	for key, s := range p.series {
		for i, x := range s.last {
			if x == nil {
				c.problem("%v was never sent", wirePoint{key, s.points[i]})
			}
		}
	}
}

// unsplit is the number of samples that were dropped although the request that they were refused with had others, and
// should have been split: only what is refused itself may be dropped.
func (c *chaos) unsplit() int64 {
	n := 0
	for _, x := range c.wire.exchanges {
		s := x.status
		refused := s/100 == 4 && s != 401 && s != 403 && s != 404 && s != 429 && !refusesAnything(s)
		if refused && len(x.points) > 1 && (s == 413 || c.cfg.OnError.Rejected == OnRejectedIsolate) {
			n += len(x.points) - x.again
		}
	}
	return int64(n)
}

// refusesAnything says whether a status refuses requests whatever is in them.
func refusesAnything(status int) bool {
	switch status {
	case http.StatusMethodNotAllowed, http.StatusProxyAuthRequired, http.StatusLengthRequired, http.StatusUnsupportedMediaType, http.StatusUpgradeRequired:
		return true
	default:
		return false
	}
}

// explains says whether a status can be the cause of the reason.
func explains(cfg *Config, key account.Key) bool {
	s := key.Status
	switch key.Reason {
	case account.ReasonRejected:
		return s/100 == 4 && s != 401 && s != 403 && s != 404 || s/100 == 2
	case account.ReasonIsolationLimit:
		return s/100 == 4
	case account.ReasonTooLarge:
		return s == 413
	case account.ReasonRetriesExhausted: // 2xx: without the headers of 2.0
		return (s/100 != 2 || cfg.ProtobufMessage == MessageV2) && (s/100 != 4 || s == 429 || s == 401 || s == 403 || s == 404)
	case account.ReasonFatal:
		return s == 401 || s == 403 || s == 404
	case account.ReasonUnexpected:
		return s/100 == 1 || s/100 == 3 || s > 599
	default:
		return false
	}
}

func (c *chaos) droppedFor(r account.Reason) int64 {
	n := int64(0)
	for key, m := range c.balance.Dropped {
		if key.Reason == r {
			n += m
		}
	}
	return n
}

// checkTelemetry checks that the metrics and the log tell the same as the ledger.
func (c *chaos) checkTelemetry(p *prediction) {
	b := &c.balance
	dropped := b.Received - b.Delivered
	for name, want := range map[string]int64{
		ownMetric + "received_samples":               b.Received,
		ownMetric + "delivered_samples":              b.Delivered,
		ownMetric + "dropped_samples":                dropped,
		ownMetric + "queued_samples":                 0,
		ownMetric + "in_flight_samples":              0,
		ownMetric + "requests":                       int64(len(c.wire.exchanges)),
		"otelcol_exporter_sent_metric_points":        b.Delivered,
		"otelcol_exporter_send_failed_metric_points": dropped,
		"otelcol_exporter_in_flight_requests":        0,
		ownMetric + "queue_size":                     0,
		ownMetric + "queue_capacity":                 int64(c.cfg.Queue.MaxSizeBytes) / int64(c.cfg.Partitions) * int64(c.cfg.Partitions),
	} {
		if got := c.h.metric(name); got != want {
			c.problem("%s is %d, not %d", name, got, want)
		}
	}
	if got := c.h.metric(ownMetric + "refused_samples"); got != int64(p.refused) {
		c.problem("%d samples are counted as refused, not %d", got, p.refused)
	}
}

// checkLog checks that the numbers in the log add up, and that there are not too many lines.
func (c *chaos) checkLog() {
	logged, lines := int64(0), make(map[string]int)
	for _, line := range c.h.logs.FilterMessage("Dropped samples.").All() {
		fields := line.ContextMap()
		for _, name := range []string{"dropped_samples", "dropped_samples_since_last_line"} {
			if n, ok := fields[name].(int64); ok {
				logged += n
			}
		}
		lines[fields["reason"].(string)]++
	}
	// A call that returns after the shutdown may have something to tell that is held back for ever.
	if dropped := c.balance.Received - c.balance.Delivered; logged != dropped && !(c.abrupt && logged < dropped) {
		c.problem("the log tells of %d dropped samples, and %d were", logged, dropped)
	}
	for reason, n := range lines {
		if most := 2 + int(time.Since(c.start)/logInterval); n > most {
			c.problem("%d lines in the log about %s, in %v", n, reason, time.Since(c.start))
		}
	}
}

// checkEnd checks that the exporter stops the collector when it has stopped itself, and sends nothing any more.
func (c *chaos) checkEnd() {
	fatal := 0
	for _, s := range append(c.statuses, c.h.host.statuses()...) {
		if s == componentstatus.StatusFatalError {
			fatal++
		}
	}
	if c.h.failed.Load() != (fatal > 0) || fatal > 1 {
		c.problem("failed is %t, and %d fatal errors are reported", c.h.failed.Load(), fatal)
	}
	var end time.Time
	for _, x := range c.wire.exchanges {
		s := x.status
		isFatal := s == 401 || s == 403 || s == 404 || s >= 300 && s <= 399
		if isFatal && x.partition >= 0 && c.cfg.OnError.Fatal == OnFatalFail && (end.IsZero() || x.end.Before(end)) {
			end = x.end
		}
	}
	for _, x := range c.wire.exchanges {
		// The answer has a body, which may be slow.
		if !end.IsZero() && x.start.After(end.Add(remote.MaxBodyWait)) {
			c.problem("%v was sent %v after a fatal answer", x, x.start.Sub(end))
		}
	}
}

// checkDeadLetters checks that every sample that was dropped by an answer is kept, if that is wanted.
func (c *chaos) checkDeadLetters() {
	if c.cfg.DeadLetter.Directory == "" {
		return
	}
	files, err := filepath.Glob(filepath.Join(c.cfg.DeadLetter.Directory, "*", "*.json"))
	if err != nil {
		c.problem("dead letters: %v", err)
	}
	kept := int64(0)
	for _, file := range files {
		var record struct{ Samples int64 }
		text, err := os.ReadFile(file)
		if err == nil {
			err = json.Unmarshal(text, &record)
		}
		if err != nil {
			c.problem("dead letter: %v", err)
		}
		kept += record.Samples
	}
	dropped := int64(0)
	for key, n := range c.balance.Dropped {
		if key.Reason >= account.ReasonTooOld && key.Reason != account.ReasonShutdown {
			dropped += n
		}
	}
	s := c.h.letters.stats()
	if c.cfg.ProtobufMessage == MessageV1 && c.droppedFor(account.ReasonShutdown) == 0 && s.Skipped+s.Failed+s.Removed == 0 && kept != dropped {
		c.problem("%d samples are kept as dead letters, and %d were dropped: %+v", kept, dropped, s)
	}
}

// checkLossless is for a round in which nothing can be lost but what cannot be sent.
func (c *chaos) checkLossless(p *prediction) {
	for key, n := range c.balance.Dropped {
		if key.Reason >= account.ReasonQueueFull || key.Reason == account.ReasonNeedsV2 {
			c.problem("%d samples were dropped for %v, status %d, where nothing can be lost", n, key.Reason, key.Status)
		}
	}
	stored := c.wire.receiver.Delivered()
	if p.vague {
		return
	}
	for key, s := range p.series {
		for i, x := range s.last {
			if x == nil || x.status/100 != 2 {
				c.problem("%v was not delivered", wirePoint{key, s.points[i]})
			}
		}
		if len(stored[key]) == 0 {
			c.problem("nothing is stored of %.300s", key)
		}
	}
	if c.cfg.Namespace != "" || len(c.cfg.ExternalLabels) > 0 || len(c.cfg.ResourceConstantLabels.Included)+len(c.cfg.ResourceConstantLabels.Excluded) > 0 {
		return
	}
	// What the generator says of sound gauges and sums, independently of any translation.
	for key, samples := range c.expected {
		got := stored[key]
		if len(got) != len(samples) {
			c.problem("%d of %d samples of the sound series %s are stored", len(got), len(samples), key)
			continue
		}
		for i := range samples {
			if got[i] != samples[i] {
				c.problem("sample %d of the sound series %s is %v, not %v", i, key, got[i], samples[i])
				break
			}
		}
	}
}
