// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

type client struct{ *http.Client }

func newClient() client { return client{&http.Client{Timeout: 10 * time.Second}} }

func (c client) get(ctx context.Context, url string) (string, error) {
	return c.do(ctx, http.MethodGet, url, "")
}

func (c client) post(ctx context.Context, url, body string) error {
	_, err := c.do(ctx, http.MethodPost, url, body)
	return err
}

func (c client) do(ctx context.Context, method, url, body string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s: %s", url, resp.Status, answer)
	}
	return string(answer), nil
}

// series is one series of the answer to a query.
type series struct {
	Metric map[string]string
	Value  [2]any // time, value
}

func (s series) value() string { return fmt.Sprint(s.Value[1]) }

// number is 0 for what is not a number.
func (s series) number() float64 {
	v, _ := strconv.ParseFloat(s.value(), 64)
	return v
}

func (s series) String() string {
	var labels []string
	for name, value := range s.Metric {
		if name != "__name__" {
			labels = append(labels, fmt.Sprintf("%s=%q", name, value))
		}
	}
	slices.Sort(labels)
	return s.Metric["__name__"] + "{" + strings.Join(labels, ", ") + "}"
}

// query evaluates a query in Prometheus.
func (c client) query(ctx context.Context, prometheus, query string) ([]series, error) {
	body, err := c.get(ctx, prometheus+"/api/v1/query?query="+url.QueryEscape(query))
	if err != nil {
		return nil, err
	}
	var answer struct{ Data struct{ Result []series } }
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		return nil, fmt.Errorf("answer to %s: %w", query, err)
	}
	result := answer.Data.Result
	slices.SortFunc(result, func(a, b series) int { return strings.Compare(a.String(), b.String()) })
	return result, nil
}

// samples is what the exporter says that became of its samples.
type samples struct {
	received, delivered, dropped, refused, queued, inFlight float64
}

func (s samples) String() string {
	return fmt.Sprintf("exporter's samples: received %.0f = delivered %.0f + dropped %.0f + queued %.0f + in flight %.0f; refused %.0f",
		s.received, s.delivered, s.dropped, s.queued, s.inFlight, s.refused)
}

// samples reads the exporter's counters among the collector's own metrics.
func (c client) samples(ctx context.Context, telemetry string) (samples, error) {
	body, err := c.get(ctx, telemetry)
	if err != nil {
		return samples{}, err
	}
	var s samples
	counters := map[string]*float64{
		"received": &s.received, "delivered": &s.delivered, "dropped": &s.dropped,
		"refused": &s.refused, "queued": &s.queued, "in_flight": &s.inFlight,
	}
	lines := bufio.NewScanner(strings.NewReader(body))
	for lines.Scan() {
		name, rest, _ := strings.Cut(lines.Text(), "{")
		name = strings.TrimPrefix(name, "otelcol_exporter_ordered_remote_write_")
		counter := counters[strings.TrimSuffix(name, "_samples")]
		if counter == nil {
			continue
		}
		// A counter has a series for each reason or status.
		value, err := strconv.ParseFloat(rest[strings.LastIndexByte(rest, ' ')+1:], 64)
		if err != nil {
			return samples{}, fmt.Errorf("%s: %w", lines.Text(), err)
		}
		*counter += value
	}
	return s, lines.Err()
}
