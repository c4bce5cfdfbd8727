// SPDX-License-Identifier: Apache-2.0

package main

import (
	"regexp"
	"strings"
)

var (
	licenceName = regexp.MustCompile(`(?i)^(licen[cs]e|copying|unlicense|notice)([-._].*)?$`)
	noticeName  = regexp.MustCompile(`(?i)^notice`)
)

// known are the licences that may be in the program, with what their texts, and no others, say. All of them allow to
// distribute it under the Apache License, and the Mozilla Public License as long as its files are available as source.
var known = []struct {
	id   string
	says []string
}{
	{"Apache-2.0", []string{"apache license", "version 2.0, january 2004"}},
	{"MPL-2.0", []string{"mozilla public license", "version 2.0"}},
	{"BSD-3-Clause", []string{"redistribution and use in source and binary forms", "endorse or promote products"}},
	{"BSD-2-Clause", []string{"redistribution and use in source and binary forms"}},
	{"ISC", []string{"permission to use, copy, modify, and/or distribute this software for any purpose with or without fee"}},
	{"ISC", []string{"permission to use, copy, modify, and distribute this software for any purpose with or without fee"}},
	{"MIT", []string{"permission is hereby granted, free of charge, to any person obtaining a copy"}},
	{"CC0-1.0", []string{"cc0 1.0 universal"}},
	{"Unlicense", []string{"this is free and unencumbered software released into the public domain"}},
}

// identify returns the SPDX identifier of a text, or "" if it is none of those that are known.
func identify(text string) string {
	text = strings.Join(strings.Fields(strings.ToLower(text)), " ")
	for _, l := range known {
		all := true
		for _, s := range l.says {
			all = all && strings.Contains(text, s)
		}
		if all {
			return l.id
		}
	}
	return ""
}
