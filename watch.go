// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"context"
	"fmt"
)

// watch looks at the context of a call now and then, while work is done for it.
type watch struct {
	ctx context.Context
	// left is the work to do before the next look.
	left int
	// err is why the work is to end: that the context was found to be done, or what else was found.
	err error
}

// watchEvery is the work between two looks, in labels or so: less than a millisecond's.
const watchEvery = 1 << 12

func newWatch(ctx context.Context) watch { return watch{ctx: ctx, left: watchEvery} }

// done says, before some work is done, whether the work is to end.
func (w *watch) done(work int) bool {
	if w.left -= work; w.left < 0 {
		w.left = watchEvery
		if err := w.ctx.Err(); err != nil {
			w.err = fmt.Errorf("the payload was still being translated: %w", err)
		}
	}
	return w.err != nil
}
