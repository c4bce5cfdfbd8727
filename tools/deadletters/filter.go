// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"flag"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/deadletter"
	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/wire"
)

// filter selects dead letters, and series in them.
type filter struct {
	since, until time.Time
	reasons      []string
	// selectors select series: any of them, or all series if there is none.
	selectors []selector
}

func (f *filter) flags(set *flag.FlagSet) {
	moment := func(t *time.Time) func(string) error {
		return func(text string) (err error) {
			*t, err = parseMoment(text, time.Now())
			return err
		}
	}
	set.Func("since", "only what was dropped at this `TIME` or later", moment(&f.since))
	set.Func("until", "only what was dropped before this `TIME`", moment(&f.until))
	set.Func("reason", "only what was dropped for these `REASONS`", func(text string) error {
		f.reasons = append(f.reasons, strings.Split(text, ",")...)
		return nil
	})
	set.Func("match", "only the series that a `SELECTOR` selects", func(text string) error {
		s, err := parseSelector(text)
		f.selectors = append(f.selectors, s)
		return err
	})
}

// parseMoment reads a time, or how long before now it is.
func parseMoment(text string, now time.Time) (time.Time, error) {
	if ago, err := time.ParseDuration(text); err == nil {
		return now.Add(-ago), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}, errors.New("must be like 2026-01-02T15:04:05Z, or like 90m for 90 minutes ago")
	}
	return t, nil
}

func (f *filter) selects(k *deadletter.Kept) bool {
	return !k.Time.Before(f.since) && (f.until.IsZero() || k.Time.Before(f.until)) &&
		(len(f.reasons) == 0 || slices.Contains(f.reasons, k.Reason))
}

func (f *filter) selectsSeries(labels []wire.Label) bool {
	return len(f.selectors) == 0 || slices.ContainsFunc(f.selectors, func(s selector) bool { return s.selects(labels) })
}

// selector is what all of a series' labels must be like.
type selector []matcher

func (s selector) selects(labels []wire.Label) bool {
	return !slices.ContainsFunc(s, func(m matcher) bool { return !m.matches(labels) })
}

// matcher is what the value of a label must be like. A label that is not there has an empty value.
type matcher struct {
	name    string
	value   string
	pattern *regexp.Regexp // or nil
	not     bool
}

func (m *matcher) matches(labels []wire.Label) bool {
	value := ""
	for _, l := range labels {
		if l.Name == m.name {
			value = l.Value
		}
	}
	if m.pattern != nil {
		return m.pattern.MatchString(value) != m.not
	}
	return (value == m.value) != m.not
}

var (
	selectorForm = regexp.MustCompile(`^\s*([^{}\s]*)\s*(?:\{(.*)\})?\s*$`)
	matcherForm  = regexp.MustCompile(`^\s*("(?:[^"\\]|\\.)*"|[a-zA-Z_][a-zA-Z0-9_]*)\s*(=~|!~|!=|=)\s*("(?:[^"\\]|\\.)*")\s*(?:,|$)`)
)

// parseSelector reads a selector as PromQL has it.
func parseSelector(text string) (s selector, err error) {
	form := selectorForm.FindStringSubmatch(text)
	if form == nil || form[1] == "" && form[2] == "" {
		return nil, fmt.Errorf("%q is no selector like up{job=\"api\"}", text)
	}
	if form[1] != "" {
		s = append(s, matcher{name: "__name__", value: form[1]})
	}
	for rest := form[2]; strings.TrimSpace(rest) != ""; {
		m := matcherForm.FindStringSubmatch(rest)
		if m == nil {
			return nil, fmt.Errorf("%q is no matcher like job=\"api\"", rest)
		}
		rest = rest[len(m[0]):]
		one := matcher{name: m[1], not: m[2][0] == '!'}
		if strings.HasPrefix(one.name, `"`) {
			if one.name, err = strconv.Unquote(one.name); err != nil {
				return nil, fmt.Errorf("%s: %w", m[1], err)
			}
		}
		if one.value, err = strconv.Unquote(m[3]); err != nil {
			return nil, fmt.Errorf("%s: %w", m[3], err)
		}
		if strings.HasSuffix(m[2], "~") {
			if one.pattern, err = regexp.Compile("^(?s:" + one.value + ")$"); err != nil {
				return nil, err
			}
		}
		s = append(s, one)
	}
	return s, nil
}
