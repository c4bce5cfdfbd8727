// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestIdentify(t *testing.T) {
	for _, tt := range []struct{ text, want string }{
		{"MIT License\n\nPermission is hereby granted, free of charge, to any\nperson obtaining a copy", "MIT"},
		{"Apache License\n  Version 2.0, January 2004", "Apache-2.0"},
		{"Redistribution and use in source and binary forms, with or without\nmodification", "BSD-2-Clause"},
		{"Redistribution and use in source and binary forms. Neither the name may be used to\nendorse or promote products", "BSD-3-Clause"},
		{"Mozilla Public License, version 2.0", "MPL-2.0"},
		{"GNU GENERAL PUBLIC LICENSE Version 3", ""},
		{"All rights reserved.", ""},
	} {
		if got := identify(tt.text); got != tt.want {
			t.Errorf("%q is taken for %q, not %q", tt.text, got, tt.want)
		}
	}
}

// The exporter's own modules all have licences that are known, and the bill of materials names each with its licence. It is the
// same each time.
func TestBillOfTheExporter(t *testing.T) {
	dir := t.TempDir()
	var bills [2]string
	for i := range bills {
		sbom, notices := filepath.Join(dir, "sbom.json"), filepath.Join(dir, "notices.txt")
		if err := run("", "../..", "", "exporter", "1.2.3", notices, sbom); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(sbom)
		if err != nil {
			t.Fatal(err)
		}
		bills[i] = string(text)
		if text, err = os.ReadFile(notices); err != nil || !strings.Contains(string(text), "github.com/golang/snappy") {
			t.Fatalf("the notices lack snappy: %v", err)
		}
	}
	if bills[0] != bills[1] {
		t.Error("two bills of the same module differ")
	}
	var b bill
	if err := json.Unmarshal([]byte(bills[0]), &b); err != nil {
		t.Fatal(err)
	}
	if b.BOMFormat != "CycloneDX" || b.Metadata.Component.Version != "1.2.3" || len(b.Components) < 50 {
		t.Errorf("%+v", b.Metadata)
	}
	for _, c := range b.Components {
		if c.PURL == "" || c.Version == "" || len(c.Licences) == 0 {
			t.Errorf("incomplete: %+v", c)
		}
	}
}
