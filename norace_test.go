//go:build !race

package orderedremotewriteexporter

const raceDetector = false
