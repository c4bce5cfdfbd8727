// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// The project's own Containerfile is understood; what is not understood is refused rather than left out.
func TestReadStage(t *testing.T) {
	text, err := os.ReadFile("../../deploy/Containerfile")
	if err != nil {
		t.Fatal(err)
	}
	containerfile := string(text)
	s, err := readStage(containerfile)
	if err != nil {
		t.Fatal(err)
	}
	if s.uid != 10001 || s.gid != 10001 || s.config.User != "10001:10001" || !slices.Equal(s.config.Entrypoint, []string{"/otelcol"}) {
		t.Errorf("got %+v", s)
	}
	for _, wrong := range []string{
		containerfile + "WORKDIR /\n",
		containerfile + "CMD /otelcol\n",
		containerfile + "COPY . /\n",
		strings.Replace(containerfile, "/src/build/image", "/src/bin", 1),
		strings.Replace(containerfile, "FROM scratch", "FROM alpine", 1),
		strings.Replace(containerfile, "ENTRYPOINT", "# ENTRYPOINT", 1),
	} {
		if _, err := readStage(wrong); err == nil {
			t.Errorf("taken: %s", wrong[strings.Index(wrong, "FROM"):])
		}
	}
}
