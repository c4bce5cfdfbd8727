// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// verdict is what Prometheus has of what was sent.
type verdict struct {
	sent, stored int
	// refused is how many samples Prometheus has refused as out of order.
	refused int
	// wrong is how many series do not hold the values 1, 2, ... n in this order.
	wrong int
}

// ok is an error unless every sample is there and in order.
func (v verdict) ok() error {
	switch {
	case v.stored != v.sent:
		return fmt.Errorf("%d samples were sent, and Prometheus has %d", v.sent, v.stored)
	case v.refused > 0:
		return fmt.Errorf("%d samples were refused by Prometheus as out of order", v.refused)
	case v.wrong > 0:
		return fmt.Errorf("%d series do not hold what was sent", v.wrong)
	}
	return nil
}

func (v verdict) lines() []string {
	return []string{
		fmt.Sprintf("  sent            %9s samples of %s series", count(v.sent), count(seriesOfAll)),
		fmt.Sprintf("  in Prometheus   %9s samples, counted there (count_over_time)", count(v.stored)),
		fmt.Sprintf("  lost            %9s", count(v.sent-v.stored)),
		fmt.Sprintf("  out of order    %9s refused (prometheus_tsdb_out_of_order_samples_total)", count(v.refused)),
		fmt.Sprintf("  wrong           %9s series whose values are not 1, 2, ... n", count(v.wrong)),
	}
}

// verify waits until Prometheus has all that was sent, and returns what it has. Nothing is sent meanwhile: the caller holds the
// load's lock.
func (d *demo) verify(ctx context.Context) (v verdict, err error) {
	err = eventually(ctx, time.Minute, func() error {
		if v, err = d.count(ctx); err != nil {
			return err
		}
		if v.stored < v.sent {
			return errors.New("not all that was sent is in Prometheus")
		}
		return nil
	})
	if err != nil && v.sent > 0 {
		err = errors.Join(err, v.ok())
	}
	return v, err
}

// count asks Prometheus what it has now.
func (d *demo) count(ctx context.Context) (v verdict, err error) {
	url := d.ports.prometheus.url()
	v.sent = d.load.samples()
	within := fmt.Sprintf("[%ds]", int(time.Since(d.load.start).Seconds())+60)
	stored := `sum(count_over_time({__name__=~"demo_requests_total|demo_duration_seconds"}` + within + `))`
	if v.stored, err = d.client.sum(ctx, url, stored); err != nil {
		return v, err
	}
	if v.refused, err = d.client.refusedOutOfOrder(ctx, url); err != nil {
		return v, err
	}
	v.refused += d.refusedBefore
	for i, n := range d.load.sent {
		wrong, err := d.client.sum(ctx, url, wrongSeries(fmt.Sprintf(`demo_requests_total{instance="demo-%d"}%s`, i, within), n))
		if err != nil {
			return v, err
		}
		v.wrong += wrong
	}
	return v, nil
}

// wrongSeries is a query for the number of series that are anything else than the values 1, 2, ... n: that they are n values
// from 1 to n that never go down and change with each sample leaves nothing else.
func wrongSeries(selector string, n int) string {
	return fmt.Sprintf(`count(count_over_time(%[1]s) != %[2]d or min_over_time(%[1]s) != 1 or max_over_time(%[1]s) != %[2]d or resets(%[1]s) != 0 or changes(%[1]s) != %[3]d)`,
		selector, n, n-1)
}
