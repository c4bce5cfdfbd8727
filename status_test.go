// SPDX-License-Identifier: Apache-2.0

package orderedremotewriteexporter

import (
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
	"go.opentelemetry.io/collector/component/componentstatus"
	"go.uber.org/zap"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/rwtest"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/storagetest"
)

const (
	statusOK          = componentstatus.StatusOK
	statusRecoverable = componentstatus.StatusRecoverableError
)

// converse sends a payload each two seconds, and returns the statuses that are reported after each.
func converse(t *testing.T, h *harness, payloads int) [][]componentstatus.Status {
	var statuses [][]componentstatus.Status
	for range payloads {
		h.consume(gauge(time.Now(), 5))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		statuses = append(statuses, h.host.statuses())
	}
	return statuses
}

// TestStatusHeals: 401, 403, 404 and redirects say that something must be mended. When it is, the status says so too. The
// Collector would let nothing follow a permanent error.
func TestStatusHeals(t *testing.T) {
	for _, status := range []int{401, 403, 404, 302} {
		synctest.Test(t, func(t *testing.T) {
			receiver := &rwtest.Receiver{Script: func(r rwtest.Request) rwtest.Answer {
				return rwtest.Answer{Status: []int{status, status, 204, 204, status, 204}[r.Seq-1]}
			}}
			h := newHarness(t, receiver, onePartition, func(c *Config) { c.OnError.Fatal = OnFatalDiscard })
			assert.Equal(t, [][]componentstatus.Status{
				{statusRecoverable}, nil, {statusOK}, nil, {statusRecoverable}, {statusOK},
			}, converse(t, h, 6), "status %d", status)
			h.shutdown()
			assert.Equal(t, int64(15), h.delivered())
		})
	}
}

// TestStatusHealsWhenNothingIsWrongAnyMore: a retry that ends says nothing about credentials, and a success in one partition
// nothing about another that retries.
func TestStatusHealsWhenNothingIsWrongAnyMore(t *testing.T) {
	var events []componentstatus.Status
	host := newTestHost(nil)
	r, one, two := newStatusReporter(), &delivery{}, &delivery{}
	r.start(host)
	for _, step := range []struct {
		what func()
		want []componentstatus.Status
	}{
		{func() { r.mended() }, nil},
		{func() { r.recovered(one) }, nil},
		{func() { r.retrying(one, assert.AnError) }, []componentstatus.Status{statusRecoverable}},
		{func() { r.retrying(two, assert.AnError) }, nil},
		{func() { r.wrong(assert.AnError) }, []componentstatus.Status{statusRecoverable}},
		{func() { r.wrong(assert.AnError) }, nil},
		{func() { r.recovered(two) }, nil},
		{func() { r.mended() }, nil},
		{func() { r.recovered(one) }, []componentstatus.Status{statusOK}},
		{func() { r.wrong(assert.AnError) }, []componentstatus.Status{statusRecoverable}},
		{func() { r.retrying(one, assert.AnError) }, nil},
		{func() { r.recovered(one) }, nil},
		{func() { r.mended() }, []componentstatus.Status{statusOK}},
		{func() { r.final = true; r.wrong(assert.AnError) }, nil},
		{func() { r.retrying(one, assert.AnError); r.recovered(one); r.mended() }, nil},
	} {
		step.what()
		events = host.statuses()
		assert.Equal(t, step.want, events)
	}
}

// TestFatalStatusIsTheOnlyOne: an answer that stops the collector is told as nothing that may heal before.
func TestFatalStatusIsTheOnlyOne(t *testing.T) {
	for _, status := range []int{401, 403, 404, 302} {
		synctest.Test(t, func(t *testing.T) {
			receiver := &rwtest.Receiver{Script: func(rwtest.Request) rwtest.Answer { return rwtest.Answer{Status: status} }}
			h := newHarness(t, receiver, onePartition, failOnFatal)
			assert.Equal(t, [][]componentstatus.Status{{componentstatus.StatusFatalError}}, converse(t, h, 1), "status %d", status)
			h.shutdown()
		})
	}
}

// TestFatalStatusFollowsAnError: an error that may heal does not keep a fatal one from being reported.
func TestFatalStatusFollowsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		receiver := &rwtest.Receiver{Script: func(r rwtest.Request) rwtest.Answer {
			return rwtest.Answer{Status: []int{403, 500, 500}[min(r.Seq, 3)-1]}
		}}
		h := newHarness(t, receiver, onePartition, func(c *Config) {
			c.OnError.Fatal = OnFatalDiscard
			c.OnError.RetriesExhausted = OnRetriesExhaustedFail
			c.Retry.MaxRetries = 1
		})
		statuses := converse(t, h, 2)
		assert.Equal(t, []componentstatus.Status{statusRecoverable}, statuses[0])
		assert.Equal(t, componentstatus.StatusFatalError, last(statuses[1]))
		h.shutdown()
		assert.Equal(t, map[string]int64{"fatal 403": 5, "retries_exhausted 500": 5}, h.dropped())
	})
}

// TestNoStatusIsReportedInAShutdown: after one that heals or has healed, the Collector takes none that says that the exporter has
// stopped.
func TestNoStatusIsReportedInAShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, answers := range map[string][]int{"heals before": {503, 503, 204}, "begins in it": {204, 503, 204}} {
			receiver := &rwtest.Receiver{Script: func(r rwtest.Request) rwtest.Answer { return rwtest.Answer{Status: answers[r.Seq-1]} }}
			h := newHarness(t, receiver, onePartition, func(c *Config) {
				c.Retry.BackOff.InitialInterval, c.Retry.BackOff.MaxInterval = 5*time.Second, 5*time.Second
			})
			h.consume(gauge(time.Now(), 5))
			time.Sleep(2 * time.Second)
			if answers[0] == 204 {
				h.consume(gauge(time.Now(), 5))
			}
			h.host.statuses()
			h.shutdown()
			assert.Empty(t, h.host.statuses(), name)
			assert.Equal(t, 3, receiver.Requests())
		}
	})
}

// TestStorageIsWellAgain: storage that has failed is well again once what it should have is there, although no payload comes any more.
func TestStorageIsWellAgain(t *testing.T) {
	for name, writes := range map[string]bool{"acknowledgements": true, "backlog": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var b backend
				b.down.Store(true)
				m := newMachine(t, &b, func(c *Config) { c.Batch.MaxSizeBytes, c.Queue.MaxSizeBytes = minBatchSize, 4*minBatchSize })
				var failing atomic.Bool
				m.disk.Before = func(batch storagetest.Batch) (f storagetest.Fault) {
					if failing.Load() && batch.Writes == writes {
						f.Err = storagetest.ErrInjected
					}
					return f
				}
				h := m.boot()
				for range 10 {
					h.consume(noise(time.Now(), 0, 30))
					time.Sleep(time.Second)
				}
				failing.Store(true)
				h.host.statuses()
				b.down.Store(false)
				time.Sleep(time.Minute)
				assert.Equal(t, componentstatus.StatusRecoverableError, last(h.host.statuses()), "and no other since")
				failing.Store(false)
				h.settle()
				time.Sleep(10 * time.Second)
				assert.Equal(t, []componentstatus.Status{componentstatus.StatusOK}, h.host.statuses())
				h.stop()
				assert.EqualValues(t, 300, h.delivered())
			})
		})
	}
}

// TestStorageThatHangs: storage that does not come back from a write fails, and is well again when it has.
func TestStorageThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b backend
		m := newMachine(t, &b, func(c *Config) { c.Queue.BlockTimeout = time.Second })
		hangs := make(chan struct{})
		var started atomic.Bool
		m.disk.Before = func(batch storagetest.Batch) storagetest.Fault {
			if batch.Writes && started.Load() {
				<-hangs
			}
			return storagetest.Fault{}
		}
		h := m.boot()
		started.Store(true)
		require.ErrorIs(t, h.ConsumeMetrics(t.Context(), gauge(time.Now(), 10)), errUnstored)
		time.Sleep(time.Hour)
		assert.Equal(t, []componentstatus.Status{componentstatus.StatusRecoverableError}, h.host.statuses())
		assert.InDelta(t, time.Hour/hangsAfter, h.metric("otelcol_exporter_ordered_remote_write_storage_errors"), 1)
		assert.NotZero(t, h.logs.FilterMessageSnippet("Storage fails").FilterField(zap.Error(errStorageHangs)).Len())
		close(hangs)
		h.settle()
		assert.Equal(t, []componentstatus.Status{componentstatus.StatusOK}, h.host.statuses())
		h.stop()
		assert.EqualValues(t, 10, h.delivered())
	})
}
