// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main

import (
	"encoding/json"
	"flag"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

func TestPayloadIsJSON(t *testing.T) {
	l := newLoad(newClient(), "")
	var payload struct {
		ResourceMetrics []struct {
			ScopeMetrics []struct {
				Metrics []struct {
					Name string
					Sum  struct{ DataPoints []struct{ AsInt string } }
				}
			}
		}
	}
	if err := json.Unmarshal(l.payload(3, 17, time.Now()), &payload); err != nil {
		t.Fatal(err)
	}
	metrics := payload.ResourceMetrics[0].ScopeMetrics[0].Metrics
	if points := metrics[1].Sum.DataPoints; len(points)+1 != perPayload || points[0].AsInt != "17" {
		t.Errorf("%d points", len(points))
	}
}

func TestPorts(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	number := taken.Addr().(*net.TCPAddr).Port

	p := usualPorts()
	for _, one := range p.all() {
		one.number = 0
	}
	p.page.number = number
	var said []string
	if err := p.choose(false, func(text string) { said = append(said, text) }); err != nil {
		t.Fatal(err)
	}
	if len(said) != 1 || !strings.Contains(said[0], "the page is on") || !strings.Contains(said[0], "-port-page") {
		t.Errorf("%q", said)
	}
	seen := map[int]bool{}
	for _, one := range p.all() {
		if one.number == 0 || one.number == number || seen[one.number] {
			t.Errorf("%s on %d", one.what, one.number)
		}
		seen[one.number] = true
	}

	// One that a flag asks for must be free.
	p = usualPorts()
	set := flag.NewFlagSet("", flag.ContinueOnError)
	p.flags(set)
	if err := set.Parse([]string{"-port-page", taken.Addr().String()[len("127.0.0.1:"):]}); err != nil {
		t.Fatal(err)
	}
	p.noteChosen(set)
	if err := p.choose(true, func(string) {}); err == nil || !strings.HasPrefix(err.Error(), "-port-page: ") {
		t.Errorf("%v", err)
	}
}

func TestAccounts(t *testing.T) {
	const metrics = `# HELP otelcol_exporter_ordered_remote_write_dropped_samples Samples
otelcol_exporter_ordered_remote_write_received_samples{exporter="ordered_remote_write",service_name="a"} 1234
otelcol_exporter_ordered_remote_write_dropped_samples{exporter="ordered_remote_write",http_response_status_code="400",reason="rejected"} 2
otelcol_exporter_ordered_remote_write_dropped_samples{exporter="ordered_remote_write",reason="too_old"} 3e+00
otelcol_exporter_ordered_remote_write_queue_size{exporter="ordered_remote_write/self"} 2048
otelcol_exporter_ordered_remote_write_request_size_sum{exporter="ordered_remote_write"} 7
otelcol_exporter_queue_size{data_type="metrics",exporter="ordered_remote_write"} 9
`
	all, err := readAccounts(metrics)
	if err != nil {
		t.Fatal(err)
	}
	if got := all[mainExporter]; got != (accounts{Received: 1234, Dropped: 5}) {
		t.Errorf("%+v", got)
	}
	if got := all[otherExporter]; got != (accounts{QueueBytes: 2048}) {
		t.Errorf("%+v", got)
	}
	if got := all[mainExporter].String(); !strings.HasPrefix(got, "1,234 received = 0 delivered + 5 dropped ") {
		t.Error(got)
	}
}

func TestVerdict(t *testing.T) {
	for want, v := range map[string]verdict{
		"":                               {sent: 10, stored: 10},
		"10 samples were sent":           {sent: 10, stored: 9},
		"1 samples were refused":         {sent: 10, stored: 10, refused: 1},
		"2 series do not hold":           {sent: 10, stored: 10, wrong: 2},
		"7 samples were sent, and Prome": {sent: 7, stored: 8},
	} {
		err := v.ok()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%+v: %v", v, err)
		}
	}
	if got := count(1234567.0); got != "1,234,567" {
		t.Error(got)
	}
	if got := count(-123456); got != "-123,456" {
		t.Error(got)
	}
}

func TestPanelsAreRead(t *testing.T) {
	panels, err := readPanels(`<section style="" data-panel="A &amp; B" data-queries="sum(otelcol_exporter_ordered_remote_write_requests{a=&quot;b&quot;})" data-points="12" data-greatest="3.5"><h3>`)
	if err != nil || len(panels) != 1 || panels[0].title != "A & B" || panels[0].points != 12 {
		t.Errorf("%v, %v", panels, err)
	}
	of := func(p panel) float64 { return p.greatest }
	if greatest(panels, "requests", of) != 3.5 || greatest(panels, "requests_in_flight", of) != 0 {
		t.Error("a panel is of the metrics in its queries")
	}
	if _, err := readPanels(`<body data-error="no &quot;x&quot;">`); err == nil || err.Error() != `no "x"` {
		t.Error(err)
	}
	if _, err := readPanels(""); err == nil {
		t.Error("a page without panels")
	}
}

// TestScreen draws the block over what it drew, and a line only now and then where that is not possible.
func TestScreen(t *testing.T) {
	var out strings.Builder
	s := &screen{out: &out, terminal: true}
	s.show(state{Text: "first"}, time.Second)
	s.say("stays")
	s.show(state{Text: "second"}, time.Second)
	s.end()
	if n := strings.Count(out.String(), "\x1b[7A\r\x1b[J"); n != 3 {
		t.Errorf("erased %d times: %q", n, out.String())
	}
	out.Reset()
	s = &screen{out: &out}
	s.show(state{Phase: "steady"}, time.Hour)
	s.show(state{Phase: "steady"}, time.Hour)
	if n := strings.Count(out.String(), "\n"); n != 1 {
		t.Errorf("%d lines", n)
	}
}

// TestPageIsComplete: the page needs nothing that is not in the binary, and the chart library has its licence.
func TestPageIsComplete(t *testing.T) {
	for _, name := range []string{"index.html", "page.js", "page.css", "uPlot.iife.min.js", "uPlot.min.css", "uPlot.LICENSE"} {
		text, err := pageFiles.ReadFile("page/" + name)
		if err != nil || len(text) == 0 {
			t.Errorf("%s: %v", name, err)
		}
		if strings.HasPrefix(name, "page.") || name == "index.html" {
			if strings.Contains(string(text), "https://") {
				t.Errorf("%s loads something from elsewhere", name)
			}
		}
	}
	if _, err := os.Stat("../../dashboards/ordered_remote_write.json"); err != nil {
		t.Error(err)
	}
}
