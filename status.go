package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"sync"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
)

// statusReporter reports the component's status: recoverable while a partition retries, ok when none does any more,
// permanent or fatal as the answers demand. The Collector lets nothing follow the last two. It is safe for concurrent
// use.
type statusReporter struct {
	mu   sync.Mutex
	host component.Host
	// troubled are the partitions that retry.
	troubled map[int]bool
	final    bool
	// mayFail says that a fatal error can come after a permanent one, which the Collector would not take notice of. Then a
	// permanent one is reported as recoverable, once.
	mayFail, reported bool
}

func newStatusReporter(mayFail bool) *statusReporter {
	return &statusReporter{troubled: make(map[int]bool), mayFail: mayFail}
}

func (r *statusReporter) start(host component.Host) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.host = host
}

// retrying reports that a partition retries.
func (r *statusReporter) retrying(partition int, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.final || r.troubled[partition] {
		return
	}
	r.troubled[partition] = true
	if len(r.troubled) == 1 {
		componentstatus.ReportStatus(r.host, componentstatus.NewRecoverableErrorEvent(err))
	}
}

// recovered reports that a partition does not retry.
func (r *statusReporter) recovered(partition int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.final || !r.troubled[partition] {
		return
	}
	delete(r.troubled, partition)
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
