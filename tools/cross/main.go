// SPDX-License-Identifier: Apache-2.0

// Cross type-checks the packages of a module and their tests for every platform that the exporter supports, and runs
// those checks of go vet that depend on the platform. It takes seconds for each, where go vet and go build first compile
// every dependency.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"golang.org/x/tools/go/analysis"
	"golang.org/x/tools/go/analysis/checker"
	"golang.org/x/tools/go/analysis/passes/asmdecl"
	"golang.org/x/tools/go/analysis/passes/atomicalign"
	"golang.org/x/tools/go/analysis/passes/buildtag"
	"golang.org/x/tools/go/analysis/passes/shift"
	"golang.org/x/tools/go/analysis/passes/unsafeptr"
	"golang.org/x/tools/go/packages"
)

var (
	systems       = []string{"linux", "darwin", "windows"}
	architectures = []string{"amd64", "arm64", "386", "arm"}
)

// analyzers find what compiles but goes wrong on one platform only.
var analyzers = []*analysis.Analyzer{
	asmdecl.Analyzer, atomicalign.Analyzer, buildtag.Analyzer, shift.Analyzer, unsafeptr.Analyzer,
}

func main() {
	dir := flag.String("C", ".", "the module's directory")
	flag.Parse()
	if err := run(*dir); err != nil {
		fmt.Fprintln(os.Stderr, "cross:", err)
		os.Exit(1)
	}
}

func run(dir string) error {
	platforms, err := supported()
	if err != nil {
		return err
	}
	failed := false
	for _, p := range platforms {
		started := time.Now()
		problems, err := check(dir, p)
		if err != nil {
			return fmt.Errorf("%v: %w", p, err)
		}
		fmt.Printf("%v\t%.1f s\n", p, time.Since(started).Seconds())
		slices.Sort(problems)
		// A package and the same one with its tests have the same problems.
		for _, problem := range slices.Compact(problems) {
			failed = true
			fmt.Println(problem)
		}
	}
	if failed {
		return errors.New("not every platform is supported")
	}
	return nil
}

// platform is a pair of GOOS and GOARCH.
type platform struct{ os, arch string }

func (p platform) String() string { return p.os + "/" + p.arch }

// supported returns the platforms that the Go toolchain has.
func supported() ([]platform, error) {
	out, err := exec.Command("go", "tool", "dist", "list").Output()
	if err != nil {
		return nil, fmt.Errorf("go tool dist list: %w", err)
	}
	known := map[string]bool{}
	for _, name := range strings.Fields(string(out)) {
		known[name] = true
	}
	var platforms []platform
	for _, system := range systems {
		for _, architecture := range architectures {
			if p := (platform{system, architecture}); known[p.String()] {
				platforms = append(platforms, p)
			}
		}
	}
	return platforms, nil
}

// check returns what is wrong on a platform.
func check(dir string, p platform) (problems []string, err error) {
	pkgs, err := packages.Load(&packages.Config{
		// With the dependencies asked for, they are type-checked from their source instead of compiled.
		Mode:  packages.LoadAllSyntax,
		Dir:   dir,
		Env:   append(os.Environ(), "GOOS="+p.os, "GOARCH="+p.arch, "CGO_ENABLED=0"),
		Tests: true,
	}, "./...")
	if err != nil {
		return nil, err
	}
	packages.Visit(pkgs, nil, func(pkg *packages.Package) {
		for _, err := range pkg.Errors {
			problems = append(problems, err.Error())
		}
	})
	if len(problems) > 0 {
		return problems, nil
	}
	graph, err := checker.Analyze(analyzers, pkgs, nil)
	if err != nil {
		return nil, err
	}
	for _, action := range graph.Roots {
		if action.Err != nil {
			return nil, fmt.Errorf("%v: %w", action, action.Err)
		}
		for _, d := range action.Diagnostics {
			problems = append(problems, fmt.Sprintf("%v: %s (%v)", action.Package.Fset.Position(d.Pos), d.Message, action.Analyzer))
		}
	}
	return problems, nil
}
