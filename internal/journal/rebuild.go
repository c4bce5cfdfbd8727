// SPDX-License-Identifier: Apache-2.0

package journal // import "github.com/orderedremotewrite/orderedremotewriteexporter/internal/journal"

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"

	"go.opentelemetry.io/collector/extension/xextension/storage"
)

// errHeads says that the heads of a log cannot be read, and records cannot be found without them.
var errHeads = errors.New("both heads of the log are damaged, and the storage extension cannot list its keys: remove the stored log to begin anew, which loses what it holds")

// rebuilt is a head that is made of the records of one layout, and which records these are.
type rebuilt struct {
	head
	seen    []bool
	records []obsolete
}

// add takes note of a record.
func (h *rebuilt) add(r *Record, bytes int) {
	h.records = append(h.records, obsolete{r.Number, int64(bytes)})
	h.first = min(h.first, r.Number)
	if r.Number >= h.next {
		h.next, h.life = r.Number+1, r.Life
	}
	for i := range r.Runs {
		run := &r.Runs[i]
		of := &h.lanes[run.Lane]
		if !h.seen[run.Lane] {
			h.seen[run.Lane], of.acked = true, run.First
		}
		of.acked, of.end = min(of.acked, run.First), max(of.end, run.End())
		of.bytes += int64(len(run.Data))
	}
}

// rebuild makes a head from the records, if there are any and the client can list them. What was acknowledged is not known then, and is
// sent again. Records that are damaged or have another layout than the newest one are deleted, those that no reader comes across at once.
func (l *Log) rebuild(ctx context.Context) error {
	walker, ok := l.client.(storage.Walker)
	if !ok {
		return nil
	}
	heads := make(map[string]*rebuilt)
	newest := &rebuilt{}
	var useless []obsolete
	err := walker.Walk(ctx, func(key string, value []byte) ([]*storage.Operation, error) {
		number, err := strconv.ParseUint(strings.TrimPrefix(key, recordPrefix), 10, 64)
		if !strings.HasPrefix(key, recordPrefix) || err != nil {
			return nil, nil
		}
		r, of, err := decodeRecord(value)
		if errors.Is(err, ErrNewer) {
			return nil, err
		}
		if err != nil || r.Number != number || of.Lanes > MaxLanes {
			useless = append(useless, obsolete{number, int64(len(value))})
			return nil, nil
		}
		layout := string(of.append(nil))
		h := heads[layout]
		if h == nil {
			// The value is gone when this function returns.
			of.Secret = slices.Clone(of.Secret)
			h = &rebuilt{head: head{Layout: of, first: number, lanes: make([]lane, of.Lanes)}, seen: make([]bool, of.Lanes)}
			heads[layout] = h
		}
		h.add(&r, len(value))
		if h.next > newest.next {
			newest = h
		}
		return nil, nil
	})
	if err != nil {
		return err
	}
	l.head = newest.head
	l.stored = bytesOf(newest.records)
	for _, h := range heads {
		if h != newest {
			useless = append(useless, h.records...)
		}
	}
	for _, o := range useless {
		l.stored += o.bytes
		// What is written now must not have a number under which something is to be deleted.
		l.next = max(l.next, o.number+1)
	}
	for _, o := range useless {
		if len(newest.records) == 0 || o.number < l.first {
			l.obsolete = append(l.obsolete, o)
		}
	}
	if len(newest.records) == 0 {
		l.first = l.next
	}
	return nil
}
