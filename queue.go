package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/collector/consumer/consumererror"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/account"
)

var (
	errQueueFull = errors.New("queue is full")
	errClosed    = errors.New("exporter is shut down")
)

// queues is all partitions and the rule for what is done when one of them is full.
type queues struct {
	partitions   []*partition
	onFull       OnFull
	blockTimeout time.Duration
	ledger       *account.Ledger
}

// admit accepts all of the payload, or nothing of it and returns an error. What the guard drops it adds to the payload's
// drops; it returns how many samples were evicted to make room. It waits for space, if so configured, until ctx is done or
// queue.block_timeout has passed: a collector that stops waits for its receivers, and they for their calls, before it
// shuts the exporter down.
func (q *queues) admit(ctx context.Context, pl *payload) (evicted int, err error) {
	waiting := false
	for {
		evicted, space, err := q.tryAdmit(pl)
		if space == nil {
			return evicted, err
		}
		if !waiting {
			waiting = true
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeoutCause(ctx, q.blockTimeout, errQueueFull)
			defer cancel()
		}
		select {
		case <-space:
		case <-ctx.Done():
			return 0, fmt.Errorf("queue.on_full: waiting for space: %w", context.Cause(ctx))
		}
	}
}

// tryAdmit admits unless there is no space that might come; then it returns the channel that is closed when there is
// more.
func (q *queues) tryAdmit(pl *payload) (evicted int, space <-chan struct{}, err error) {
	evicted, work, space, err := q.append(pl)
	if space != nil || err != nil {
		return 0, space, err
	}
	for _, i := range pl.touched {
		q.partitions[i].signal()
	}
	for _, w := range work {
		w.run()
	}
	return evicted, nil, nil
}

func (q *queues) append(pl *payload) (evicted int, work []job, space <-chan struct{}, err error) {
	for _, i := range pl.touched {
		q.partitions[i].mu.Lock()
	}
	defer func() {
		for _, i := range pl.touched {
			q.partitions[i].mu.Unlock()
		}
	}()
	if space, err = q.roomLocked(pl); space != nil || err != nil {
		return 0, nil, space, err
	}
	evicted = q.makeRoomLocked(pl)
	now := time.Now()
	queued := 0
	for _, i := range pl.touched {
		var n int
		n, work = q.partitions[i].appendLocked(&pl.segments[i], now, &pl.drops, work)
		queued += n
	}
	// Before the senders can see the samples: they must never be in flight without having been queued.
	q.ledger.Admit(queued, &pl.drops)
	return evicted, work, nil, nil
}

// roomLocked says whether the payload can be admitted, as queue.on_full says.
func (q *queues) roomLocked(pl *payload) (space <-chan struct{}, err error) {
	for _, i := range pl.touched {
		p := q.partitions[i]
		size := pl.segments[i].cost()
		switch {
		case p.closed:
			return nil, errClosed
		case p.size+size <= p.capacity:
		case q.onFull == OnFullBlock && size <= p.capacity:
			if p.space == nil {
				p.space = make(chan struct{})
			}
			return p.space, nil
		case q.onFull == OnFullReject && size <= p.capacity:
			return nil, fmt.Errorf("queue.on_full: partition %d: %w", i, errQueueFull)
		case q.onFull == OnFullBlock || q.onFull == OnFullReject:
			return nil, consumererror.NewPermanent(fmt.Errorf("queue.max_size_bytes: the payload needs %d bytes of partition %d, which has %d", size, i, p.capacity))
		}
	}
	return nil, nil
}

// makeRoomLocked drops what queue.on_full says must go for a payload that is accepted.
func (q *queues) makeRoomLocked(pl *payload) (evicted int) {
	for _, i := range pl.touched {
		p, s := q.partitions[i], &pl.segments[i]
		size := s.cost()
		if q.onFull == OnFullDropOldest && size <= p.capacity && p.size+size > p.capacity {
			n := p.evictLocked(size)
			q.ledger.Evict(n, account.ReasonQueueFull)
			evicted += n
		}
		if p.size+size > p.capacity {
			pl.drops.Add(account.ReasonQueueFull, s.received(), s.example)
			s.dropped = true
		}
	}
	return evicted
}
