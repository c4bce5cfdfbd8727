// SPDX-License-Identifier: Apache-2.0

//go:build unix

package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// screen is what the user sees: text that stays, and below it, on a terminal, a block that is drawn again and again.
// Elsewhere the block is a line that comes now and then.
type screen struct {
	out      io.Writer
	terminal bool

	mu    sync.Mutex
	block []string
	drawn int // lines of the block that stand on the terminal
	last  time.Time
}

func newScreen(out *os.File) *screen {
	info, err := out.Stat()
	return &screen{out: out, terminal: err == nil && info.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"}
}

// say writes a text that stays.
func (s *screen) say(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.eraseLocked()
	fmt.Fprintln(s.out, text)
	s.drawLocked()
}

// show shows the state of the moment. Without a terminal it is shown if the last time is not within so long.
func (s *screen) show(state state, every time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.terminal {
		// A second is not quite one.
		if time.Since(s.last) >= every-100*time.Millisecond {
			s.last = time.Now()
			fmt.Fprintln(s.out, state.line())
		}
		return
	}
	s.eraseLocked()
	s.block = state.block()
	s.drawLocked()
}

// end leaves out the block from now on.
func (s *screen) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.eraseLocked()
	s.block = nil
}

func (s *screen) eraseLocked() {
	if s.drawn > 0 {
		fmt.Fprintf(s.out, "\x1b[%dA\r\x1b[J", s.drawn)
		s.drawn = 0
	}
}

func (s *screen) drawLocked() {
	for _, line := range s.block {
		fmt.Fprintln(s.out, line)
	}
	s.drawn = len(s.block)
}

// state is what the screen and the page show of a moment.
type state struct {
	Started time.Time `json:"started"`
	Time    time.Time `json:"time"`
	Phase   string    `json:"phase"`
	// Text says what happens in the phase.
	Text string `json:"text"`
	// Accepted and Delivered are samples a second.
	Accepted  float64  `json:"accepted_rate"`
	Delivered float64  `json:"delivered_rate"`
	Exporter  accounts `json:"exporter"`
	// Outages are the times without Prometheus, of which the last may not have ended.
	Outages []outage `json:"outages"`
	Verdict []string `json:"verdict"`
}

// outage is a time without Prometheus.
type outage struct {
	From time.Time  `json:"from"`
	To   *time.Time `json:"to,omitempty"`
}

func (s state) line() string {
	e := s.Exporter
	return fmt.Sprintf("%s  %-9s in %s/s  out %s/s  in flight %s  queued %s (%s)  oldest %.1f s  dropped %s",
		s.Time.Format(time.TimeOnly), s.Phase, count(s.Accepted), count(s.Delivered),
		count(e.InFlight), count(e.Queued), size(e.QueueBytes), e.Oldest, count(e.Dropped))
}

func (s state) block() []string {
	e := s.Exporter
	const bar = 30
	filled := 0
	if e.Queued > 0 {
		// A third of a minute of the load fills it.
		filled = min(bar, 1+int(bar*e.Queued/(20*seriesOfAll/interval.Seconds())))
	}
	return []string{
		"",
		s.Text,
		fmt.Sprintf("  rate       %7s samples/s accepted, %s samples/s delivered", count(s.Accepted), count(s.Delivered)),
		fmt.Sprintf("  in flight  %7s samples, %s requests under way", count(e.InFlight), count(e.Requests)),
		fmt.Sprintf("  queue      %7s samples, %s  %s", count(e.Queued), size(e.QueueBytes), strings.Repeat("█", filled)),
		fmt.Sprintf("  oldest     %7.1f s", e.Oldest),
		fmt.Sprintf("  dropped    %7s samples", count(e.Dropped)),
	}
}
