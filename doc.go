// SPDX-License-Identifier: Apache-2.0

// Package orderedremotewriteexporter is an OpenTelemetry Collector exporter that writes metrics to any Prometheus
// Remote-Write endpoint in parallel without ever reordering a series, and that can account for every sample.
//
// # The words
//
// The data goes one way, and eight words name what it is on that way, in this order. Each is a type in the file beside it.
//
//	payload   payload.go                    what one call of ConsumeMetrics brings, translated
//	series    series.go                     a label set with one point
//	segment   segment.go                    the series of a payload for one partition, encoded
//	batch     batch.go                      what waits in a partition for the same request: open, then sealed
//	request   request.go                    what one POST carries, mostly samples of several partitions
//	answer    internal/remote/answer.go     the status, headers and beginning of the body that came back, or the failure
//	verdict   internal/remote/policy.go     what the rules and the configuration say is done after an answer
//	ledger    internal/account/ledger.go    where each sample is: queued, in flight, delivered, or dropped for a reason
//
// Two more name what carries them:
//
//	chunk     chunk.go                      a run of series, plain or packed; segments and batches consist of chunks
//	delivery  delivery.go                   what was claimed of some partitions together, until all of it has its outcome
//
// A payload is translated in the caller's goroutine into a segment for each partition that it touches. The queue admits all of
// them or none. The guard of each partition tells good samples from late ones and drops duplicates; what is left joins a
// batch in one of the two lanes of the partition. When the limit has a place, the scheduler claims a delivery: a sealed batch,
// or the open ones of several partitions, which are busy from then on. The sender composes its request, posts it, and does
// what the verdict on the answer demands: the request is sent again, taken apart, or settled in the ledger. When all of a
// delivery is settled, its partitions are idle again.
//
// # Order
//
// The partition is the unit of order, and the request is not. All samples of a series go through one partition, nothing
// leaves a lane but at its front, and a busy partition is never claimed. Everything about order hangs on these three; the
// number of requests in flight may change at any moment.
//
// # Locks
//
// The guard of a partition is locked before the queue, and the queue before the ledger. Who appends to a partition holds its
// guard from the first look at a sample until the queue has it, so that the order in which the guard sees samples is the order
// in which they are sent. One lock guards the queue with all partitions, the scheduler, the limit and the gate, which are plain
// data; it is held for moments, and no byte is compressed under it. A segment, chunk, batch or request has no lock: it belongs
// to who holds it, and is handed over under the queue's.
package orderedremotewriteexporter // import "github.com/orderedremotewrite/orderedremotewriteexporter"
