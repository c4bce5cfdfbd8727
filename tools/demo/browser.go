// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"html"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"time"
)

var browsers = []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome"}

// drawn are metrics that have something to show, whatever the machine.
var drawn = []string{
	"received_samples", "delivered_samples", "queue_size", "oldest_sample_age", "queued_samples",
	"requests", "request_duration_bucket", "request_size_sum", "requests_in_flight", "gate_closed", "queue_duration_bucket",
}

// checkPage opens the page in a headless Chromium, and returns an error unless it draws the panels and the outage.
func (d *demo) checkPage(ctx context.Context) error {
	browser, err := d.findBrowser()
	if err != nil {
		if d.picture != "" || d.browser != "" {
			return err
		}
		d.screen.say("\nThe page is not checked: " + err.Error())
		return nil
	}
	if !sleep(ctx, 2*interval) { // until what was recorded during the outage is older than the last point of the page
		return ctx.Err()
	}
	picture := d.picture
	if picture == "" {
		picture = filepath.Join(d.dir, "page.png")
	}
	dom, err := d.open(ctx, browser, picture)
	if err != nil {
		return err
	}
	panels, err := readPanels(dom)
	if err != nil {
		return fmt.Errorf("the page in %s: %w", browser, err)
	}
	for _, metric := range drawn {
		if greatest(panels, metric, func(p panel) float64 { return float64(p.points) }) == 0 {
			err = errors.Join(err, fmt.Errorf("the page draws nothing of %s", metric))
		}
	}
	// Half of what came in during the outage.
	least := d.outage.Seconds() * seriesOfAll / interval.Seconds() / 2
	if greatest(panels, "queued_samples", func(p panel) float64 { return p.greatest }) < least {
		err = errors.Join(err, fmt.Errorf("the page does not show that the queue grew to %.0f samples", least))
	}
	if err != nil {
		return err
	}
	d.screen.say(fmt.Sprintf("\nThe page in %s: %d panels without an error, picture in %s", filepath.Base(browser), len(panels), picture))
	return nil
}

func (d *demo) findBrowser() (string, error) {
	if d.browser != "" {
		return exec.LookPath(d.browser)
	}
	for _, name := range browsers {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", errors.New("there is no Chromium on this machine (Debian's package is called chromium)")
}

// open opens the page, and returns its document as the browser has it in the end.
func (d *demo) open(ctx context.Context, browser, picture string) (string, error) {
	picture, err := filepath.Abs(picture)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(picture), 0o755); err != nil {
		return "", err
	}
	if err := os.Remove(picture); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	profile, err := filepath.Abs(filepath.Join(d.dir, "chromium"))
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	args := []string{
		"--headless", "--disable-gpu", "--hide-scrollbars", "--no-first-run", "--user-data-dir=" + profile,
		"--window-size=1280,960", "--virtual-time-budget=8000", "--screenshot=" + picture, "--dump-dom",
	}
	if os.Getuid() == 0 {
		args = append(args, "--no-sandbox") // root has none
	}
	cmd := exec.CommandContext(ctx, browser, append(args, d.ports.page.url())...)
	dom, err := cmd.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		err = fmt.Errorf("%w: %s", err, exit.Stderr)
	}
	if err != nil {
		return "", fmt.Errorf("%s: %w", browser, err)
	}
	// The browser does not say that it could not write it.
	if _, err := os.Stat(picture); err != nil {
		return "", err
	}
	return string(dom), nil
}

// panel is what a panel of the page says of itself.
type panel struct {
	title, queries string
	points         int
	greatest       float64
}

// greatest is the greatest of the panels that show a metric, or 0.
func greatest(panels []panel, metric string, of func(panel) float64) (most float64) {
	name := regexp.MustCompile(`\botelcol_exporter_ordered_remote_write_` + metric + `\b`)
	for _, p := range panels {
		if name.MatchString(p.queries) {
			most = max(most, of(p))
		}
	}
	return most
}

var (
	panelElement = regexp.MustCompile(`<section[^>]* data-panel="([^"]*)" data-queries="([^"]*)" data-points="(\d+)" data-greatest="([^"]*)"`)
	pageError    = regexp.MustCompile(`data-error="([^"]*)"`)
)

func readPanels(dom string) (panels []panel, err error) {
	if m := pageError.FindStringSubmatch(dom); m != nil {
		return nil, errors.New(html.UnescapeString(m[1]))
	}
	for _, m := range panelElement.FindAllStringSubmatch(dom, -1) {
		p := panel{title: html.UnescapeString(m[1]), queries: html.UnescapeString(m[2])}
		if p.points, err = strconv.Atoi(m[3]); err != nil {
			return nil, err
		}
		if p.greatest, err = strconv.ParseFloat(m[4], 64); err != nil {
			return nil, err
		}
		panels = append(panels, p)
	}
	if len(panels) == 0 {
		return nil, errors.New("no panels")
	}
	return panels, nil
}
