// SPDX-License-Identifier: Apache-2.0

package journal // import "github.com/orderedremotewrite/orderedremotewriteexporter/internal/journal"

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"go.opentelemetry.io/collector/extension/xextension/storage"
)

// A log belongs to the process that has opened it last. Each batch looks at who that is: a process that finds another one leaves
// the log alone from then on, because the other has recovered what is in it. What it has written with the batch in which it finds
// that out harms nothing: the numbers of its records end with one that the other has left out and that nobody reads, and its head is
// older than the next one.

// ErrTaken is for a log that another process has opened.
var ErrTaken = errors.New("another process has opened this log and has it now")

const (
	ownerKey = "owner"
	// nonceSize is how many random bytes tell one owner from another.
	nonceSize = 16
	// lookAgainAfter is less than it takes to start two processes one after the other.
	lookAgainAfter = 5 * time.Second
)

// newOwner makes the stored form of a new owner.
func newOwner(now time.Time) []byte {
	nonce := make([]byte, nonceSize)
	_, _ = rand.Read(nonce)
	host, err := os.Hostname()
	if err != nil {
		host = "an unknown host"
	}
	return sealed(fmt.Appendf(nonce, "process %d on %s, since %s", os.Getpid(), host, now.UTC().Format(time.RFC3339)))
}

// own makes the log this process's. Storage that is full may refuse that; then the next write does it.
func (l *Log) own(ctx context.Context) error {
	l.owner = newOwner(time.Now())
	err := l.client.Set(ctx, ownerKey, l.owner)
	l.owned, l.lookedAt = err == nil, time.Now()
	if isFull(err) {
		return nil
	}
	return err
}

// isFull says whether storage has no room: by a limit of its own, or on its disk.
func isFull(err error) bool {
	return errors.Is(err, storage.ErrStorageFull) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// batch does operations in storage, and fails if the log is not this process's any more.
func (l *Log) batch(ctx context.Context, ops []*storage.Operation) error {
	l.mu.Lock()
	taken, owned := l.taken, l.owned
	l.mu.Unlock()
	switch {
	case taken != nil:
		return taken
	case !owned:
		return l.client.Batch(ctx, ops...)
	}
	owner := storage.GetOperation(ownerKey)
	err := l.client.Batch(ctx, append([]*storage.Operation{owner}, ops...)...)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.taken == nil {
		l.taken = l.takenBy(owner.Value)
	}
	if l.taken != nil {
		return l.taken
	}
	if err != nil {
		l.lookedAt = time.Time{}
		return err
	}
	l.looked, l.lookedAt = true, time.Now()
	return nil
}

// lookAgain looks before a write if that was long ago, or has failed since. A write of an owner that several others have followed
// could harm the head of the last one.
func (l *Log) lookAgain(ctx context.Context) error {
	l.mu.Lock()
	again := l.owned && time.Since(l.lookedAt) > lookAgainAfter
	l.mu.Unlock()
	if !again {
		return nil
	}
	return l.batch(ctx, nil)
}

// Look fails if what the log keeps is not this process's to send any more. It reads nothing if something else has, or was written, since
// the last time.
func (l *Log) Look(ctx context.Context) error {
	l.mu.Lock()
	looked := l.looked || l.empty()
	l.looked = false
	l.mu.Unlock()
	if looked {
		return nil
	}
	return l.batch(ctx, nil)
}

// mostSkipped is how many numbers a head has at most that were left out. Who has lost a log as often does not write any more.
const mostSkipped = 16

// skip leaves a number out, which the owner before may still write, and deletes what stands under it and under others.
func (l *Log) skip() {
	l.skipped = append(l.skipped, l.next)
	l.skipped = l.skipped[max(len(l.skipped)-mostSkipped, 0):]
	l.next++
	for _, number := range l.skipped {
		l.obsolete = append(l.obsolete, obsolete{number: number})
	}
}

// takenBy is an error if the stored owner is another one. What is missing or damaged names nobody.
func (l *Log) takenBy(owner []byte) error {
	if bytes.Equal(owner, l.owner) {
		return nil
	}
	body, err := unseal(owner)
	switch {
	case errors.Is(err, ErrNewer):
		return fmt.Errorf("%w: %w", ErrTaken, err)
	case err != nil || len(body) < nonceSize:
		return nil
	}
	return fmt.Errorf("%w: %q", ErrTaken, body[nonceSize:])
}

// withdraw removes a record that was written into a log that is another process's. If that fails, the next one to open the log does it.
func (l *Log) withdraw(ctx context.Context, number uint64) {
	_ = l.client.Delete(ctx, recordKey(number))
}
