// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/remote"
)

// event is what changed for all of the endpoint with an answer. The zero value is nothing.
type event struct {
	// recovered ends an outage of so many failures since a time.
	recovered int
	since     time.Time
	// paused is the answer that paused the endpoint, or still does; began says that the pause is new.
	paused *remote.Answer
	began  bool
	// resumed ends a pause.
	resumed bool
	// waiting is how many samples wait in the queue.
	waiting int64
}

// story tells in the log what happens to the endpoint, at a bounded rate.
type story struct {
	logger   *zap.Logger
	endpoint string
	mu       sync.Mutex
	// said is when the last line about a pause was written.
	said time.Time
}

// pausedLine says at once, and then each minute, what an operator must mend.
func (s *story) pausedLine(e event) {
	s.mu.Lock()
	now := time.Now()
	due := e.began || now.Sub(s.said) >= pauseInterval
	if due {
		s.said = now
	}
	s.mu.Unlock()
	if !due {
		return
	}
	lasts := zap.Skip()
	if !e.began {
		lasts = lasting("for", now.Sub(e.since))
	}
	s.logger.Error("Paused: the endpoint refuses every request, whatever it carries. What it has refused is dropped and "+
		"counted, the rest waits in the queue, and small requests are tried from time to time. "+remedy(e.paused.Status, s.endpoint),
		zap.String("endpoint", s.endpoint), zap.Int("status", e.paused.Status), zap.String("answer", e.paused.Error()),
		lasts, zap.Int64("waiting_samples", e.waiting), zap.String("see", pagePause))
}

// pauseInterval is the time between two lines about a pause.
const pauseInterval = time.Minute

// remedy is what an operator can do about an answer that judges the sender.
func remedy(status int, endpoint string) string {
	u, err := url.Parse(endpoint)
	switch {
	case status == http.StatusUnauthorized, status == http.StatusForbidden, status == http.StatusProxyAuthRequired:
		return "Check http.auth, http.headers and the permissions of the credentials."
	case status == http.StatusPaymentRequired, status == http.StatusUnavailableForLegalReasons:
		return "Check the account at the endpoint: it may not be paid, or not be allowed to send."
	case status == http.StatusRequestHeaderFieldsTooLarge:
		return "Check http.headers and http.auth: what they add to each request is too large for the endpoint."
	case status == http.StatusUnsupportedMediaType:
		return "Check protobuf_message: the endpoint does not read this message."
	case err == nil && strings.Trim(u.Path, "/") == "":
		return "Check http.endpoint: it has no path, and none is added; that of Prometheus is /api/v1/write."
	case status >= 300 && status <= 399:
		return "Set http.endpoint to where the endpoint redirects to."
	default:
		return "Check http.endpoint: it must be the URL of a Remote-Write endpoint."
	}
}

// tell logs an event.
func (s *story) tell(e event) {
	switch {
	case e.resumed:
		s.logger.Info("The endpoint takes requests again. The pause has ended.",
			zap.String("endpoint", s.endpoint), lasting("after", time.Since(e.since)), zap.Int64("waiting_samples", e.waiting))
	case e.recovered > 0:
		s.logger.Info("The endpoint answers again.",
			zap.String("endpoint", s.endpoint), lasting("after", time.Since(e.since)),
			zap.Int("failures", e.recovered), zap.Int64("waiting_samples", e.waiting))
	case e.paused != nil:
		s.pausedLine(e)
	}
}
