// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"errors"

	"go.opentelemetry.io/collector/consumer/consumererror"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/remote"
)

// outcome is the verdict on a request with what is told about it.
type outcome struct {
	verdict remote.Verdict
	reason  account.Reason
	// answer is the last one, or nil if the request was never sent.
	answer *remote.Answer
	// attempts is how many times the request was sent.
	attempts int
	// reach is that of a fallback, and trial the trial that it begins, or nil.
	reach remote.Reach
	trial *trial
	// aborted says that the exporter's time to send is over.
	aborted bool
}

// err is why the samples were dropped.
func (o *outcome) err() error {
	if o.answer == nil {
		return consumererror.NewPermanent(errors.New(o.reason.String()))
	}
	return consumererror.NewPermanent(o.answer)
}
