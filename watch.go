// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import "context"

// watch looks at the context of a call now and then, while work is done for it.
type watch struct {
	ctx context.Context
	// left is the work to do before the next look.
	left int
	// err is the context's error when it was found to be done.
	err error
}

// watchEvery is the work between two looks, in labels or so: less than a millisecond's.
const watchEvery = 1 << 12

func newWatch(ctx context.Context) watch { return watch{ctx: ctx, left: watchEvery} }

// done says, before some work is done, whether the context is done.
func (w *watch) done(work int) bool {
	if w.left -= work; w.left < 0 {
		w.left = watchEvery
		w.err = w.ctx.Err()
	}
	return w.err != nil
}
