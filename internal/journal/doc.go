// SPDX-License-Identifier: Apache-2.0

// Package journal keeps runs of samples in a storage extension until they are acknowledged, so that they survive the process.
//
// A log has lanes. What is appended to a lane is read in the same order, and acknowledged from its front. Samples are counted
// in each lane from the log's beginning on: a run knows how many came before it, so that a run which storage has lost shows as
// a gap that can be counted.
//
// One append is one record under a key of its own, written together with the head in one batch. The head says which records
// there are, and for each lane how far it is acknowledged. It stands under two keys that are written in turn, so that a torn
// write of one leaves the other. Whatever is read is checked by a CRC32C; what does not match costs itself and nothing else.
//
// A log belongs to the process that has opened it last: each batch looks at who that is, so that the one before stops.
//
// The package knows nothing of how runs are made or sent.
package journal // import "github.com/orderedremotewrite/orderedremotewriteexporter/internal/journal"
