package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"sync"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
)

// statusReporter reports the component's status: recoverable while a delivery retries, or the endpoint is paused, ok when none does any more,
// permanent or fatal as the answers demand. The Collector lets nothing follow the last two. It is safe for concurrent
// use.
type statusReporter struct {
	mu   sync.Mutex
	host component.Host
	// troubled are the deliveries that retry.
	troubled map[*delivery]bool
	// pausedBy is the answer that paused the endpoint, or nil.
	pausedBy error
	final    bool
	// mayFail says that a fatal error can come after a permanent one, which the Collector would not take notice of. Then a
	// permanent one is reported as recoverable, once.
	mayFail, reported bool
}

func newStatusReporter(mayFail bool) *statusReporter {
	return &statusReporter{troubled: make(map[*delivery]bool), mayFail: mayFail}
}

func (r *statusReporter) start(host component.Host) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.host = host
}

// retrying reports that a delivery retries.
func (r *statusReporter) retrying(d *delivery, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.final || r.troubled[d] {
		return
	}
	r.troubled[d] = true
	if len(r.troubled) == 1 && r.pausedBy == nil {
		componentstatus.ReportStatus(r.host, componentstatus.NewRecoverableErrorEvent(err))
	}
}

// recovered reports that a delivery does not retry any more.
func (r *statusReporter) recovered(d *delivery) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.final || !r.troubled[d] {
		return
	}
	delete(r.troubled, d)
	if len(r.troubled) == 0 && r.pausedBy == nil {
		componentstatus.ReportStatus(r.host, componentstatus.NewEvent(componentstatus.StatusOK))
	}
}

// paused reports that somebody must mend the endpoint or the credentials before anything passes.
func (r *statusReporter) paused(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.final || r.pausedBy != nil {
		return
	}
	r.pausedBy = err
	componentstatus.ReportStatus(r.host, componentstatus.NewRecoverableErrorEvent(err))
}

// resumed reports that the endpoint takes requests again.
func (r *statusReporter) resumed() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.final || r.pausedBy == nil {
		return
	}
	r.pausedBy = nil
	if len(r.troubled) == 0 {
		componentstatus.ReportStatus(r.host, componentstatus.NewEvent(componentstatus.StatusOK))
	}
}

// permanent reports that somebody must mend the endpoint or the credentials.
func (r *statusReporter) permanent(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.final:
	case !r.mayFail:
		r.final = true
		componentstatus.ReportStatus(r.host, componentstatus.NewPermanentErrorEvent(err))
	case !r.reported:
		r.reported = true
		componentstatus.ReportStatus(r.host, componentstatus.NewRecoverableErrorEvent(err))
	}
}

// fatal reports that the collector must stop. It does not wait until the collector has taken notice: one that is
// shutting down already never does.
func (r *statusReporter) fatal(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.final {
		r.final = true
		go componentstatus.ReportStatus(r.host, componentstatus.NewFatalErrorEvent(err))
	}
}
