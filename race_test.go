// SPDX-License-Identifier: Apache-2.0

//go:build race

package orderedremotewriteexporter

// raceDetector says that tests run several times as long, so that those which measure use less.
const raceDetector = true
