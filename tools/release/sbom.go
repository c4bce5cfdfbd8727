// SPDX-License-Identifier: Apache-2.0

package main

import "strings"

// bill is a bill of materials in the form of CycloneDX 1.6, without what would make two of the same differ.
type bill struct {
	BOMFormat    string       `json:"bomFormat"`
	SpecVersion  string       `json:"specVersion"`
	Version      int          `json:"version"`
	Metadata     metadata     `json:"metadata"`
	Components   []component  `json:"components"`
	Dependencies []dependency `json:"dependencies"`
}

type metadata struct {
	Component component `json:"component"`
}

type component struct {
	Type       string          `json:"type"`
	Ref        string          `json:"bom-ref"`
	Name       string          `json:"name"`
	Version    string          `json:"version"`
	PURL       string          `json:"purl,omitempty"`
	Licences   []licenceChoice `json:"licenses"`
	Properties []property      `json:"properties,omitempty"`
}

type licenceChoice struct {
	Licence licenceID `json:"license"`
}

type licenceID struct {
	ID string `json:"id"`
}

type property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type dependency struct {
	Ref       string   `json:"ref"`
	DependsOn []string `json:"dependsOn"`
}

// billOf returns the bill of materials of a program, or of a library, with these modules.
func billOf(name, version string, modules []module) bill {
	main := component{Type: "application", Ref: name, Name: name, Version: version, Licences: []licenceChoice{{licenceID{"Apache-2.0"}}}}
	b := bill{BOMFormat: "CycloneDX", SpecVersion: "1.6", Version: 1, Metadata: metadata{main}}
	all := dependency{Ref: name}
	for _, m := range modules {
		purl := "pkg:golang/" + strings.ReplaceAll(m.Path, "+", "%2B") + "@" + strings.ReplaceAll(m.Version, "+", "%2B")
		c := component{Type: "library", Ref: purl, Name: m.Path, Version: m.Version, PURL: purl}
		for _, id := range m.ids() {
			c.Licences = append(c.Licences, licenceChoice{licenceID{id}})
		}
		if m.Sum != "" {
			// The sum of Go's checksum database, which is none of a file.
			c.Properties = append(c.Properties, property{"go:sum", m.Sum})
		}
		b.Components = append(b.Components, c)
		all.DependsOn = append(all.DependsOn, purl)
	}
	b.Dependencies = []dependency{all}
	return b
}
