// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// stage is the last stage of a Containerfile: a configuration, and to whom the files belong that are copied into it.
type stage struct {
	config   v1.Config
	uid, gid int
}

// readStage reads the last stage. It must begin with nothing, and know no instruction but those that it has: what is built from
// the Containerfile and what is built here must not differ.
func readStage(containerfile string) (*stage, error) {
	_, last, ok := strings.Cut(containerfile, "\nFROM scratch\n")
	if !ok {
		return nil, errors.New("has no stage that begins FROM scratch")
	}
	s := &stage{config: v1.Config{Volumes: map[string]struct{}{}, ExposedPorts: map[string]struct{}{}}}
	copied := false
	for _, line := range strings.Split(last, "\n") {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		instruction, rest, _ := strings.Cut(line, " ")
		var err error
		switch instruction {
		case "COPY":
			var from string
			if _, err = fmt.Sscanf(rest, "--from=build --chown=%d:%d %s /", &s.uid, &s.gid, &from); err == nil && from != "/src/build/image" {
				err = fmt.Errorf("copies %s", from)
			}
			copied = true
		case "USER":
			s.config.User = rest
		case "ENV":
			s.config.Env = append(s.config.Env, strings.Fields(rest)...)
		case "VOLUME":
			s.config.Volumes[rest] = struct{}{}
		case "EXPOSE":
			for _, port := range strings.Fields(rest) {
				s.config.ExposedPorts[port+"/tcp"] = struct{}{}
			}
		case "ENTRYPOINT":
			err = json.Unmarshal([]byte(rest), &s.config.Entrypoint)
		case "CMD":
			err = json.Unmarshal([]byte(rest), &s.config.Cmd)
		default:
			err = errors.New("is not known here")
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", line, err)
		}
	}
	if !copied || len(s.config.Entrypoint) == 0 {
		return nil, errors.New("copies nothing, or starts nothing")
	}
	return s, nil
}
