// SPDX-License-Identifier: Apache-2.0

// Deadletters lists, shows and sends again what the exporter ordered_remote_write has kept in dead_letter.directory.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/orderedremotewrite/orderedremotewriteexporter/internal/deadletter"
)

const usage = `Usage: deadletters COMMAND [FLAGS] DIRECTORY

DIRECTORY is dead_letter.directory of the exporter, or the subdirectory of one exporter in it.

Commands:
  list   one line for each dead letter, the oldest first
  show   what each one holds, in words
  send   send them again to -url, the oldest samples first, each series in order

Flags of all commands:
  -since TIME, -until TIME   only what was dropped in that time: 2026-01-02T15:04:05Z, or 90m for 90 minutes ago
  -reason REASONS            only what was dropped for one of these reasons, as in: rejected,queue_full
  -match SELECTOR            only these series, as in: 'up{job="api", instance=~"eu-.*"}'; may be repeated, and then
                             any of them selects

`

func main() {
	ctx, release := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	release()
	switch {
	case err == nil:
	case errors.Is(err, errUsage), errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	default:
		fmt.Fprintln(os.Stderr, "deadletters:", err)
		os.Exit(1)
	}
}

// errUsage says that what is wrong with the arguments has been told.
var errUsage = errors.New("usage")

func run(ctx context.Context, args []string, out, errs io.Writer) error {
	if len(args) == 0 {
		fmt.Fprint(errs, usage)
		return errUsage
	}
	command := args[0]
	set := flag.NewFlagSet(command, flag.ContinueOnError)
	set.SetOutput(errs)
	set.Usage = func() {
		fmt.Fprint(errs, usage)
		fmt.Fprintf(errs, "Flags of %s:\n", command)
		set.PrintDefaults()
	}
	var f filter
	f.flags(set)
	var act func([]*letter) error
	switch command {
	case "list":
		act = func(letters []*letter) error { return list(out, &f, letters) }
	case "show":
		limit := set.Int("samples", 10, "the most samples that are shown of each; 0 is all")
		act = func(letters []*letter) error { return show(out, &f, letters, *limit) }
	case "send":
		var s sending
		s.flags(set)
		act = func(letters []*letter) error { return s.run(ctx, out, &f, letters) }
	default:
		fmt.Fprint(errs, usage)
		return errUsage
	}
	if err := set.Parse(args[1:]); err != nil {
		return errors.Join(errUsage, err)
	}
	if set.NArg() != 1 {
		set.Usage()
		return errUsage
	}
	letters, err := read(set.Arg(0), &f)
	if err != nil {
		return err
	}
	return act(letters)
}

// read returns the dead letters below a directory that the filter selects by time and reason.
func read(directory string, f *filter) (letters []*letter, err error) {
	records, err := deadletter.List(directory)
	if err != nil {
		return nil, err
	}
	journals := map[string]*journal{}
	for i := range records {
		k := &records[i]
		if !f.selects(k) {
			continue
		}
		j := journals[k.Directory]
		if j == nil {
			if j, err = openJournal(k.Directory); err != nil {
				return nil, err
			}
			journals[k.Directory] = j
		}
		letters = append(letters, &letter{Kept: *k, order: len(letters), journal: j})
	}
	return letters, nil
}
