// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main

import (
	"bytes"
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

func newClient() client { return client{&http.Client{Timeout: 30 * time.Second}} }

func (c client) get(ctx context.Context, url string) (string, error) {
	return c.do(ctx, http.MethodGet, url, nil)
}

func (c client) post(ctx context.Context, url string, body []byte) error {
	_, err := c.do(ctx, http.MethodPost, url, body)
	return err
}

func (c client) do(ctx context.Context, method, url string, body []byte) (string, error) {
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(body))
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

// sum evaluates a query whose answer is one number, or nothing for 0.
func (c client) sum(ctx context.Context, prometheus, query string) (int, error) {
	result, err := c.query(ctx, prometheus, query)
	if err != nil || len(result) == 0 {
		return 0, err
	}
	if len(result) > 1 {
		return 0, fmt.Errorf("%s: %d series, not 1", query, len(result))
	}
	return int(result[0].number()), nil
}
