package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"sync/atomic"

	"go.uber.org/zap"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/remote"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// version is the version of Remote-Write in use: the configured one until the endpoint shows that it cannot read that. It
// is safe for concurrent use.
type version struct {
	configured wire.Protocol
	logger     *zap.Logger
	// fellBackToV1 says that 2.0 is configured and 1.0 is sent; provenV2 that the endpoint has shown that it reads 2.0.
	fellBackToV1, provenV2 atomic.Bool
}

// protocol is the version in which payloads are encoded.
func (v *version) protocol() wire.Protocol {
	if v.configured == wire.V2 && !v.fellBack() {
		return wire.V2
	}
	return wire.V1
}

func (v *version) fellBack() bool { return v.fellBackToV1.Load() }

// proven says whether the endpoint has shown that it reads 2.0.
func (v *version) proven() bool { return v.provenV2.Load() }

// learn takes note of what an answer shows.
func (v *version) learn(a *remote.Answer) {
	if a.Written.Present {
		v.provenV2.Store(true)
	}
}

// fallBack makes 1.0 the version of all messages, for as long as the process lives.
func (v *version) fallBack(a *remote.Answer) {
	if v.fellBackToV1.Swap(true) {
		return
	}
	v.logger.Warn("The endpoint does not read Remote-Write 2.0. Everything is sent as 1.0 from now on.",
		zap.Int("status", a.Status), zap.String("answer", a.Error()))
}
