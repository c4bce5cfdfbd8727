// SPDX-License-Identifier: Apache-2.0

// Release writes what goes with a released binary: the licences of all modules in it, with their texts, and a bill of
// materials in the CycloneDX format. It fails if a licence is missing, unknown, or none that may be in there. What it writes
// depends on nothing but the modules, so that everybody can make the same files.
package main

import (
	"debug/buildinfo"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

func main() {
	binary := flag.String("binary", "", "the binary whose modules are listed")
	sources := flag.String("module", "", "the directory of a module whose imports are listed")
	dir := flag.String("modules-of", ".", "the directory of the main module, in which go list finds the others")
	name := flag.String("name", "", "what the bill of materials is for")
	version := flag.String("version", "", "its version")
	notices := flag.String("notices", "", "the file for the texts of the licences")
	bill := flag.String("sbom", "", "the file for the bill of materials")
	flag.Parse()
	if err := run(*binary, *sources, *dir, *name, *version, *notices, *bill); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run(binary, sources, dir, name, version, notices, bill string) error {
	modules, err := modulesOf(binary, sources, dir, version)
	if err != nil {
		return err
	}
	var errs []error
	for i := range modules {
		if err := modules[i].readLicences(); err != nil {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if notices != "" {
		if err := os.WriteFile(notices, noticesOf(modules), 0o644); err != nil {
			return err
		}
	}
	text, err := json.MarshalIndent(billOf(name, version, modules), "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(bill, append(text, '\n'), 0o644); err != nil {
		return err
	}
	fmt.Printf("%s: %d modules, %s\n", bill, len(modules), summary(modules))
	return nil
}

// module is what is linked or imported.
type module struct {
	Path, Version, Dir, Sum string
	licences                []licence
}

// licence is a file and what it is, or "" for a notice.
type licence struct {
	file, id, text string
}

// modulesOf returns the modules of a binary, or those that a module imports, in the order of their paths. Those that are here, and
// nowhere else, have the version of the release.
func modulesOf(binary, sources, dir, version string) ([]module, error) {
	var paths []string
	sums := make(map[string]string)
	if binary != "" {
		info, err := buildinfo.ReadFile(binary)
		if err != nil {
			return nil, err
		}
		for _, dep := range info.Deps {
			paths = append(paths, dep.Path)
			if dep.Replace != nil {
				dep = dep.Replace
			}
			sums[dep.Path] = dep.Sum
		}
	} else {
		dir = sources
		out, err := goList(dir, "-deps", "-f", "{{with .Module}}{{if not .Main}}{{.Path}}{{end}}{{end}}", ".")
		if err != nil {
			return nil, err
		}
		paths = strings.Fields(string(out))
	}
	slices.Sort(paths)
	paths = slices.Compact(paths)
	out, err := goList(dir, append([]string{"-m", "-json=Path,Version,Dir,Replace,Sum"}, paths...)...)
	if err != nil {
		return nil, err
	}
	var modules []module
	for decoder := json.NewDecoder(strings.NewReader(string(out))); decoder.More(); {
		var m struct {
			module
			Replace *module
		}
		if err := decoder.Decode(&m); err != nil {
			return nil, err
		}
		if m.Replace != nil && m.Replace.Version == "" {
			m.Version = version
		}
		if m.Sum == "" {
			m.Sum = sums[m.Path]
		}
		modules = append(modules, m.module)
	}
	return modules, nil
}

func goList(dir string, args ...string) ([]byte, error) {
	cmd := exec.Command("go", append([]string{"list"}, args...)...)
	cmd.Dir, cmd.Stderr = dir, os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("go list in %s: %w", dir, err)
	}
	return out, nil
}

// readLicences reads the licences and notices of a module. One without any has those of the repository that it is part of.
func (m *module) readLicences() error {
	for dir := m.Dir; ; dir = filepath.Dir(dir) {
		entries, err := os.ReadDir(dir)
		if err != nil {
			return fmt.Errorf("%s: %w", m.Path, err)
		}
		for _, entry := range entries {
			if entry.IsDir() || filepath.Ext(entry.Name()) == ".go" || !licenceName.MatchString(entry.Name()) {
				continue
			}
			text, err := os.ReadFile(filepath.Join(dir, entry.Name()))
			if err != nil {
				return err
			}
			l := licence{file: entry.Name(), text: string(text)}
			if !noticeName.MatchString(entry.Name()) {
				if l.id = identify(l.text); l.id == "" {
					return fmt.Errorf("%s: %s is no licence that is known here: look at it, and add it to licences.go", m.Path, entry.Name())
				}
			}
			m.licences = append(m.licences, l)
		}
		if len(m.ids()) > 0 {
			return nil
		}
		// Above the version, which is in the name of the directory, there are other modules.
		if !strings.Contains(filepath.Dir(dir), "@") {
			return fmt.Errorf("%s has no licence", m.Path)
		}
	}
}

// ids are the licences of a module.
func (m *module) ids() (ids []string) {
	for _, l := range m.licences {
		if l.id != "" && !slices.Contains(ids, l.id) {
			ids = append(ids, l.id)
		}
	}
	slices.Sort(ids)
	return ids
}

// summary counts the modules by licence.
func summary(modules []module) string {
	counts := make(map[string]int)
	for i := range modules {
		counts[strings.Join(modules[i].ids(), " and ")]++
	}
	var parts []string
	for ids, n := range counts {
		parts = append(parts, fmt.Sprintf("%s: %d", ids, n))
	}
	slices.Sort(parts)
	return strings.Join(parts, ", ")
}

// noticesOf returns the texts of all licences and notices, each of them once.
func noticesOf(modules []module) []byte {
	var texts []string
	of := make(map[string][]string)
	for _, m := range modules {
		for _, l := range m.licences {
			text := strings.TrimSpace(l.text)
			if of[text] == nil {
				texts = append(texts, text)
			}
			of[text] = append(of[text], fmt.Sprintf("%s %s: %s", m.Path, m.Version, l.file))
		}
	}
	line := strings.Repeat("=", 78)
	var b strings.Builder
	b.WriteString("The program contains these modules under these licences.\n")
	for _, text := range texts {
		fmt.Fprintf(&b, "\n%s\n%s\n%s\n\n%s\n", line, strings.Join(of[text], "\n"), line, text)
	}
	return []byte(b.String())
}
