// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"context"
	"fmt"
	"strings"

	"go.opentelemetry.io/collector/component/componenttest"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
)

// ownMetric begins the names of the exporter's own metrics.
const ownMetric = "otelcol_exporter_ordered_remote_write_"

// Accounts is what one collection of the metrics says.
type Accounts struct {
	// Event and Until number the events before and after the collection.
	Event, Until int64
	// Values are the sums of all metrics' points. Names have no prefix if they are the exporter's own, and begin with exporter_
	// if they are those of any exporter.
	Values map[string]int64
	// Dropped are the dropped samples by reason and status of the answer.
	Dropped map[Drop]int64
	// Letters are the dead letters by what became of them.
	Letters map[string]int64
	// Sizes and Capacities are of the queues, by their attributes.
	Sizes, Capacities map[string]int64
	// During is the request that was in flight while this was collected, or nil.
	During *Exchange
}

// Drop is why samples were dropped. Status is that of the answer, 0 for none.
type Drop struct {
	Reason string
	Status int
}

// unsentOffenders are samples of series that were refused alone, for which there was no room.
func (a *Accounts) unsentOffenders() int64 { return a.Dropped[Drop{Reason: "isolation_limit"}] }

// dropped sums the drops of some reasons, or of all.
func (a *Accounts) dropped(reasons ...string) int64 {
	n := int64(0)
	for key, samples := range a.Dropped {
		for _, r := range reasons {
			if key.Reason == r {
				n += samples
			}
		}
		if len(reasons) == 0 {
			n += samples
		}
	}
	return n
}

func (a *Accounts) String() string {
	return fmt.Sprintf("received %d, delivered %d, dropped %v, queued %d, in flight %d",
		a.Values["received_samples"], a.Values["delivered_samples"], a.Dropped, a.Values["queued_samples"], a.Values["in_flight_samples"])
}

// collect reads all metrics.
func collect(telemetry *componenttest.Telemetry) (*Accounts, error) {
	a := &Accounts{
		Values: make(map[string]int64), Dropped: make(map[Drop]int64), Letters: make(map[string]int64),
		Sizes: make(map[string]int64), Capacities: make(map[string]int64),
	}
	var collected metricdata.ResourceMetrics
	if err := telemetry.Reader.Collect(context.Background(), &collected); err != nil {
		return nil, err
	}
	for _, scope := range collected.ScopeMetrics {
		for _, m := range scope.Metrics {
			name, own := strings.CutPrefix(m.Name, ownMetric)
			if !own {
				name = strings.TrimPrefix(m.Name, "otelcol_")
			}
			for _, dp := range numberPoints(m.Data) {
				a.add(name, dp)
			}
		}
	}
	return a, nil
}

func numberPoints(data metricdata.Aggregation) []metricdata.DataPoint[int64] {
	switch d := data.(type) {
	case metricdata.Sum[int64]:
		return d.DataPoints
	case metricdata.Gauge[int64]:
		return d.DataPoints
	default:
		return nil
	}
}

func (a *Accounts) add(name string, dp metricdata.DataPoint[int64]) {
	a.Values[name] += dp.Value
	text := func(key attribute.Key) string {
		value, _ := dp.Attributes.Value(key)
		return value.AsString()
	}
	switch name {
	case "dropped_samples":
		if dp.Value == 0 {
			break // Counters of what may happen start at 0.
		}
		status, _ := dp.Attributes.Value("http.response.status_code")
		a.Dropped[Drop{text("reason"), int(status.AsInt64())}] += dp.Value
	case "dead_letters":
		a.Letters[text("outcome")] += dp.Value
	case "queue_size":
		a.Sizes[dp.Attributes.Encoded(attribute.DefaultEncoder())] = dp.Value
	case "queue_capacity":
		a.Capacities[dp.Attributes.Encoded(attribute.DefaultEncoder())] = dp.Value
	}
}
