// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"strings"
	"testing"
)

// TestProgress follows what go list and then go build say.
func TestProgress(t *testing.T) {
	p := &progress{}
	expect := func(want string) {
		t.Helper()
		if got := p.String(); got != want {
			t.Errorf("%q instead of %q", got, want)
		}
	}
	expect("looking at what must be built")
	for _, line := range []string{"go: downloading example.org/a v1.0.0", "unicode/utf8", "example.org/a", ""} {
		if !p.count(line) {
			t.Errorf("%q is progress", line)
		}
	}
	expect("downloaded 1 modules")
	p.total, p.compiled = p.compiled, 0
	expect("compiled 0 of 2 packages")
	p.count("unicode/utf8")
	expect("compiled 1 of 2 packages")
	p.count("example.org/a")
	expect("linking")
	for _, line := range []string{"# example.org/a", "main.go:1:1: expected 'package'", "go: example.org/b: not found"} {
		if p.count(line) {
			t.Errorf("%q is no progress", line)
		}
	}
}

// TestClear writes the line over only where there is one.
func TestClear(t *testing.T) {
	var out strings.Builder
	p := &progress{name: "it", out: &out, terminal: true}
	p.clear()
	p.show()
	p.clear()
	p.clear()
	if got := strings.Count(out.String(), "\r"); got != 2 {
		t.Errorf("%d lines begun anew: %q", got, out.String())
	}
}

func TestListed(t *testing.T) {
	got := listed([]string{"-tags", "a", "-o", "../out", "./cmd"})
	if !slices.Equal(got, []string{"-tags", "a", "./cmd"}) {
		t.Error(got)
	}
}
