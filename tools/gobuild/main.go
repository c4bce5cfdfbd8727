// SPDX-License-Identifier: Apache-2.0

// Gobuild is "go build" that announces a long build and says how far it is: in one line that is written over on a terminal,
// and otherwise in a new line every ten seconds. A build of which everything is cached says nothing.
//
//	gobuild NAME DIRECTORY ARGUMENT...
//
// is go build -C DIRECTORY ARGUMENT..., of what is told under the name.
package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"time"
)

func main() {
	if len(os.Args) < 4 {
		fmt.Fprintln(os.Stderr, "usage: gobuild NAME DIRECTORY ARGUMENT...")
		os.Exit(2)
	}
	info, err := os.Stdout.Stat()
	p := &progress{
		name: os.Args[1], out: os.Stdout, begun: time.Now(),
		terminal: err == nil && info.Mode()&os.ModeCharDevice != 0,
	}
	done, told := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(told)
		p.tell(done)
	}()
	err = build(p, os.Args[2], os.Args[3:])
	close(done)
	<-told
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", p.name, err)
		os.Exit(1)
	}
}

func build(p *progress, dir string, args []string) error {
	// The number of packages is for the eyes only: if they cannot be listed, go build says why.
	_ = run(io.Discard, p, append([]string{"list", "-C", dir, "-deps", "-f", "{{if .Stale}}{{.ImportPath}}{{end}}"}, listed(args)...))
	p.mu.Lock()
	p.total, p.compiled = p.compiled, 0
	p.mu.Unlock()
	return run(os.Stderr, p, append([]string{"build", "-C", dir, "-v"}, args...))
}

// listed leaves out what go list does not know.
func listed(args []string) (known []string) {
	for i := 0; i < len(args); i++ {
		switch args[i] {
		case "-o":
			i++
		default:
			known = append(known, args[i])
		}
	}
	return known
}

// run runs go, counts what it says of its progress, and shows everything else.
func run(errs io.Writer, p *progress, args []string) error {
	cmd := exec.Command("go", args...)
	out, in := io.Pipe()
	cmd.Stdout, cmd.Stderr = in, in
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() {
		ended <- cmd.Wait()
		in.Close()
	}()
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if !p.count(lines.Text()) {
			p.clear()
			fmt.Fprintln(errs, lines.Text())
		}
	}
	return <-ended
}

// progress is how far a build is.
type progress struct {
	name     string
	out      io.Writer
	terminal bool
	begun    time.Time

	mu sync.Mutex
	// downloads are modules, total and compiled are packages; before total is known, compiled counts towards it.
	downloads, total, compiled int
	// shown says that something was, and pending that the last line is to be written over.
	shown, pending bool
}

// count returns false for a line that is no progress.
func (p *progress) count(line string) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case strings.HasPrefix(line, "go: downloading "):
		p.downloads++
	case line == "":
	case strings.ContainsAny(line, " :#"):
		return false
	default:
		p.compiled++
	}
	return true
}

// String says how far the build is.
func (p *progress) String() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.total > 0 && p.compiled >= p.total:
		return "linking"
	case p.total > 0:
		return fmt.Sprintf("compiled %d of %d packages", p.compiled, p.total)
	case p.downloads > 0:
		return fmt.Sprintf("downloaded %d modules", p.downloads)
	default:
		return "looking at what must be built"
	}
}

// tell shows the progress until the build has ended.
func (p *progress) tell(done <-chan struct{}) {
	interval := 10 * time.Second
	if p.terminal {
		interval = 500 * time.Millisecond
	}
	// What is built in a moment says nothing.
	timer := time.NewTimer(2 * time.Second)
	defer timer.Stop()
	for {
		select {
		case <-done:
			p.clear()
			if p.shown {
				fmt.Fprintf(p.out, "building %s: done in %s\n", p.name, time.Since(p.begun).Round(time.Second))
			}
			return
		case <-timer.C:
			timer.Reset(interval)
		}
		p.show()
	}
}

func (p *progress) show() {
	line := fmt.Sprintf("building %s: %s, %s", p.name, p, time.Since(p.begun).Round(time.Second))
	p.mu.Lock()
	defer p.mu.Unlock()
	p.shown = true
	if p.terminal {
		fmt.Fprintf(p.out, "\r%s\x1b[K", line)
		p.pending = true
		return
	}
	fmt.Fprintln(p.out, line)
}

// clear takes the line away that is written over, for other lines.
func (p *progress) clear() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pending {
		fmt.Fprint(p.out, "\r\x1b[K")
		p.pending = false
	}
}
