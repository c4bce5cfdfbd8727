// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"sync"

	"go.opentelemetry.io/collector/component"
	"go.opentelemetry.io/collector/component/componentstatus"
)

// statusReporter reports the component's status: recoverable while a delivery retries, or after an answer that says that
// the endpoint or the credentials are wrong; ok when no delivery retries and the endpoint has taken something since; fatal
// when the collector must stop. The Collector lets nothing follow a permanent error, so that there is none but for storage that another
// process has: endpoints and credentials are mended while a collector runs. It is safe for concurrent use.
type statusReporter struct {
	mu   sync.Mutex
	host component.Host
	// troubled are the deliveries that retry.
	troubled map[*delivery]bool
	// refusing says that the endpoint or the credentials are wrong.
	refusing bool
	// unstored says that the storage fails.
	unstored bool
	// final says that nothing but a fatal error is reported any more: one was, or a permanent one, or the exporter stops.
	final bool
}

func newStatusReporter() *statusReporter {
	return &statusReporter{troubled: make(map[*delivery]bool)}
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
	if len(r.troubled) == 1 && !r.refusing && !r.unstored {
		componentstatus.ReportStatus(r.host, componentstatus.NewRecoverableErrorEvent(err))
	}
}

// recovered reports that a delivery does not retry any more.
func (r *statusReporter) recovered(d *delivery) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.troubled[d] {
		delete(r.troubled, d)
		r.healedLocked()
	}
}

// wrong reports that somebody must mend the endpoint or the credentials.
func (r *statusReporter) wrong(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.final || r.refusing {
		return
	}
	r.refusing = true
	componentstatus.ReportStatus(r.host, componentstatus.NewRecoverableErrorEvent(err))
}

// mended reports that the endpoint has taken a request, or refuses samples and no longer the sender: whatever was wrong with it has
// been mended.
func (r *statusReporter) mended() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refusing {
		r.refusing = false
		r.healedLocked()
	}
}

// storage reports whether writing to storage fails.
func (r *statusReporter) storage(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.final || r.unstored == (err != nil):
	case err != nil:
		r.unstored = true
		componentstatus.ReportStatus(r.host, componentstatus.NewRecoverableErrorEvent(err))
	default:
		r.unstored = false
		r.healedLocked()
	}
}

// permanent reports what only a restart can mend.
func (r *statusReporter) permanent(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.final {
		r.final = true
		componentstatus.ReportStatus(r.host, componentstatus.NewPermanentErrorEvent(err))
	}
}

func (r *statusReporter) healedLocked() {
	if !r.final && !r.refusing && !r.unstored && len(r.troubled) == 0 {
		componentstatus.ReportStatus(r.host, componentstatus.NewEvent(componentstatus.StatusOK))
	}
}

// stopping ends the reports but for a fatal one. The Collector reports itself that the exporter stops and has stopped, and lets the latter follow
// the former alone.
func (r *statusReporter) stopping() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.final = true
}

// fatal reports that the collector must stop. It does not wait until the collector has taken notice: one that is
// shutting down already never does. It is called once at the most.
func (r *statusReporter) fatal(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.final = true
	go componentstatus.ReportStatus(r.host, componentstatus.NewFatalErrorEvent(err))
}
