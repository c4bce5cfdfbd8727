// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main

import (
	"bufio"
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// accounts is what an exporter says that became of its samples.
type accounts struct {
	Received  float64 `json:"received"`
	Delivered float64 `json:"delivered"`
	Dropped   float64 `json:"dropped"`
	Refused   float64 `json:"refused"`
	Queued    float64 `json:"queued"`
	InFlight  float64 `json:"in_flight"`
	// Requests are in flight, and QueueBytes of Capacity are held. Oldest is the age of the oldest sample in seconds.
	Requests   float64 `json:"requests"`
	QueueBytes float64 `json:"queue_bytes"`
	Capacity   float64 `json:"capacity"`
	Oldest     float64 `json:"oldest"`
}

func (a accounts) String() string {
	return fmt.Sprintf("%s received = %s delivered + %s dropped + %s queued + %s in flight",
		count(a.Received), count(a.Delivered), count(a.Dropped), count(a.Queued), count(a.InFlight))
}

func (a *accounts) field(metric string) *float64 {
	return map[string]*float64{
		"received_samples": &a.Received, "delivered_samples": &a.Delivered, "dropped_samples": &a.Dropped,
		"refused_samples": &a.Refused, "queued_samples": &a.Queued, "in_flight_samples": &a.InFlight,
		"requests_in_flight": &a.Requests, "queue_size": &a.QueueBytes, "queue_capacity": &a.Capacity,
		"oldest_sample_age": &a.Oldest,
	}[metric]
}

var (
	ownMetric     = regexp.MustCompile(`^otelcol_exporter_ordered_remote_write_(\w+)\{(?:.*,)?exporter="([^"]*)".*\} (\S+)$`)
	outOfOrder    = regexp.MustCompile(`(?m)^prometheus_tsdb_out_of_order_samples_total\{type="(?:float|histogram)"\} (\S+)$`)
	mainExporter  = "ordered_remote_write"
	otherExporter = "ordered_remote_write/self"
)

// readAccounts reads the exporters' metrics among the collector's own.
func readAccounts(metrics string) (map[string]accounts, error) {
	all := map[string]accounts{}
	lines := bufio.NewScanner(strings.NewReader(metrics))
	for lines.Scan() {
		m := ownMetric.FindStringSubmatch(lines.Text())
		if m == nil {
			continue
		}
		a := all[m[2]]
		if field := a.field(m[1]); field != nil {
			value, err := strconv.ParseFloat(m[3], 64)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", lines.Text(), err)
			}
			// A counter has a series for each reason or status.
			*field += value
			all[m[2]] = a
		}
	}
	return all, lines.Err()
}

// refusedOutOfOrder is how many samples Prometheus has refused since it was started, because they were not newer than the last
// of their series.
func (c client) refusedOutOfOrder(ctx context.Context, prometheus string) (n int, err error) {
	metrics, err := c.get(ctx, prometheus+"/metrics")
	if err != nil {
		return 0, err
	}
	found := outOfOrder.FindAllStringSubmatch(metrics, -1)
	if len(found) == 0 {
		return 0, fmt.Errorf("%s/metrics does not count samples out of order", prometheus)
	}
	for _, m := range found {
		value, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", m[0], err)
		}
		n += int(value)
	}
	return n, nil
}

// count writes a number with a comma between thousands.
func count[N int | float64](n N) string {
	s := strconv.FormatInt(int64(n), 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// size writes a number of bytes.
func size(bytes float64) string {
	for _, unit := range []string{"bytes", "KiB", "MiB"} {
		if bytes < 1024 {
			if unit == "bytes" {
				return fmt.Sprintf("%.0f bytes", bytes)
			}
			return fmt.Sprintf("%.1f %s", bytes, unit)
		}
		bytes /= 1024
	}
	return fmt.Sprintf("%.1f GiB", bytes)
}
