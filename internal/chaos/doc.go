// SPDX-License-Identifier: Apache-2.0

// Package chaos runs an exporter through random rounds and checks every promise that it makes after each.
//
// A round is a random configuration, random payloads (many of them broken) from several producers, and a receiver with
// random faults. The package uses the exporter through its public door alone: its factory, its configuration by the keys
// that a user writes, ConsumeMetrics and Shutdown, the metrics and log lines that a collector shows, and the requests that
// arrive. So it outlives any change behind that door. What a payload becomes it derives for itself, from payloads whose
// translation is simple to tell; it shares no code with the exporter's.
//
// The checks work on a Record, which is plain data: what was given to the exporter, what arrived, and what the exporter
// told of itself. They are the promises, in the order of the files:
//
//   - order (check_order.go): of every series the samples are sent first in the order of their acceptance and, within a
//     request, of their time; late ones as Rules says. Nothing is sent that was not accepted, or after its final outcome.
//   - one in flight (check_flight.go): no two requests that overlap in time have samples of one series, and a request that
//     is sent again has the same content.
//   - accounts (check_accounts.go): in every collection, received (+ recovered) = delivered + dropped + queued + in flight;
//     at the end they are what arrived and what the payloads became.
//   - outcomes (check_outcomes.go): what was accepted and not delivered is counted as dropped, for a reason that fits.
//   - restarts (check_lives.go): with storage, all of this holds for several processes together that follow each other on the same
//     storage. Only what had no outcome that was stored is sent again, apart from what comes then, and nothing is left in the end.
//   - manners (check_manners.go): limits of requests, retries and waiting are kept, the log adds up, the end is an end.
//
// TestChecks in this package breaks each promise on purpose and sees its check fail.
package chaos // import "github.com/orderedremotewrite/orderedremotewriteexporter/internal/chaos"
